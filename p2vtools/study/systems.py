"""The comparison of systems in notebook 06: what each system needs, what it costs and how well it reconstructs.

`system_training` trains and evaluates the networks. This module adds the baselines without training, the refinement at
test time, the measurements and the tables.
"""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from p2vlib import evaluation
from p2vlib.config import Config
from p2vlib.data.augmentation import preprocess
from p2vlib.data.dataset import Captures
from p2vlib.geometry.frames import FOOT_CUBE_EDGE, FOOT_SHARE, Cube
from p2vlib.geometry.grids import to_mesh
from p2vlib.models.psgn import sample_surface
from p2vlib.provenance import data_folder
from p2vtools import viewer
from p2vtools.archives.capture_folder import read_capture
from p2vtools.fit.silhouette_fitting import refine_volume
from p2vtools.study import baselines, calibration, experiments, surfaces, system_training
from p2vtools.study.experiments import TrainedNetwork
from p2vtools.study.intervals import interval_cells


@dataclass(frozen=True)
class System:
    """What a system needs: the fixed columns of its row in the table."""

    poses: bool = False
    masks: bool = False
    order_free: bool = True
    parameters: int = 0
    minutes: float = 0.0
    """Of the trainings that its result on feet comes from."""
    missing: str = ""
    """What it needs that is not there, for a system that cannot run."""


UNTRAINED = {
    "mean-shape": System(),
    **dict.fromkeys(("visual-hull", "visual-hull-cut"), System(poses=True, masks=True)),
    "predicted-hull": System(poses=True),
    "sfm": System(),
    # It would make the points of structure from motion denser, where that registers photos.
    "multi-view stereo": System(
        poses=True, missing="not run: the patch-match stereo of COLMAP needs a GPU with CUDA, and poses of SfM"
    ),
}
"""The systems without a training of their own, in the order of the table."""


def describe_systems(networks: Mapping[str, Mapping[str, TrainedNetwork]]) -> dict[str, System]:
    """System -> what it needs: those without training, ``networks`` (as of `recipe_table`), and ``rendering``."""
    found = dict(UNTRAINED)
    for name, stages in networks.items():
        model = stages["feet-phone"].model
        parameters = sum(parameter.numel() for parameter in model.parameters())
        start = system_training.RECIPES.get(name, system_training.Recipe()).from_objects
        minutes = sum(network.minutes for stage, network in stages.items() if start or stage != "objects")
        found[name] = System(model.needs_cameras, False, model.order_free, parameters, minutes)
    return found | {"rendering": found["unprojection"]}


# -------------------------------------------------------------------------------------------- systems without training


def evaluate_solids(
    captures: Captures, views: Iterable[int], solids: Callable[[int], Tensor], **labels: str
) -> pd.DataFrame:
    """Metrics of solids that no network was trained for, by number of photos.

    Args:
        solids: number of photos -> solids, bool [captures, x, y, z].
        labels: ``model``, ``dataset`` and ``cameras`` of the metrics.
    """
    scores = [evaluation.score_volumes(captures, solids(number), number) for number in views]
    return evaluation.metric_rows(pd.concat(scores, ignore_index=True), 0.5, training="none", **labels)


def evaluate_baselines(
    tests: Mapping[tuple[str, str], Captures], splits: Mapping[str, Sequence[Captures]], views: Sequence[int]
) -> Iterator[pd.DataFrame]:
    """Metrics of the mean shape and, in the studio, of the visual hulls of exact silhouettes.

    Args:
        tests: (dataset, domain) -> test captures (`system_training.select_tests`).
        splits: training -> its train and validation captures.
    """
    for (dataset, domain), test in tests.items():
        training, by = ("objects", "taxonomy") if dataset == "objects" else ("feet-phone", "side")
        labels = dict(by=by, training=training, dataset=dataset, views=views)
        train, validation = splits[training]
        yield experiments.evaluate_mean_shape(train, test, validation, **labels)
        hull = partial(baselines.dataset_visual_hulls, test)
        if domain == "studio":
            yield evaluate_solids(test, views, hull, model="visual-hull", dataset=dataset, cameras="true")
        if (dataset, domain) == ("feet", "studio"):
            cut = partial(hull, height=FOOT_SHARE)
            yield evaluate_solids(test, views, cut, model="visual-hull-cut", dataset=dataset, cameras="true")


def predicted_hulls(network: TrainedNetwork, captures: Captures, number: int) -> Tensor:
    """Visual hulls of feet, bool [captures, x, y, z], of silhouettes that ``network`` predicts in ``number`` photos."""
    volumes = [
        baselines.visual_hull(prediction.mask_probability, cameras, captures.truth.shape[-1], FOOT_SHARE)
        for prediction, cameras in evaluation.iter_predictions(network.model, captures, captures.test_views(number))
    ]
    return torch.cat(volumes)


def refine_volumes(network: TrainedNetwork, captures: Captures, number: int) -> tuple[Tensor, float]:
    """Volumes of ``network``, fitted to the silhouettes that it predicts (`refine_volume`); seconds per capture."""
    began, volumes = time.perf_counter(), []
    for prediction, cameras in evaluation.iter_predictions(network.model, captures, captures.test_views(number)):
        volumes.append(refine_volume(prediction.probability, prediction.mask_probability, cameras))
    return torch.cat(volumes), (time.perf_counter() - began) / len(captures)


def run_sfm_on_captures(
    config: Config, captures: Captures, number: int, limit: int
) -> tuple[Captures, Tensor, pd.DataFrame]:
    """Structure from motion on the first ``limit`` captures of feet.

    Returns:
        The captures; their solids, empty where no photo was registered; and a table of one row per capture with the
        columns sample, photos, registered, points, seconds.
    """
    from p2vtools.capture.sfm import alpha_shape, run_sfm

    some = captures.select(sample=captures.table["sample"].tolist()[:limit])
    solids, rows = [], []
    for sample, side, domain in some.table[["sample", "side", "look"]].itertuples(index=False):
        capture = read_capture(data_folder("feet", config.scale) / domain / sample)
        chosen = some.test_views(number)[0].tolist()
        model = run_sfm([capture.files[i] for i in chosen], [capture.cameras[i] for i in chosen])
        solid = alpha_shape(model.points, capture.truth.cube, captures.truth.shape[-1], FOOT_SHARE)
        solids.append(solid[:, :, ::-1].copy() if side == "right" else solid)
        rows.append((sample, number, len(model.registered), len(model.points), model.seconds))
    columns = ["sample", "photos", "registered", "points", "seconds"]
    return some, torch.from_numpy(np.stack(solids)), pd.DataFrame(rows, columns=columns)


def run_sfm_on_floors(config: Config, kinds: Iterable[str], people: int, photos: int, pixels: int) -> pd.DataFrame:
    """Structure from motion on new photos of the left feet of test people, on floors of several ``kinds``.

    Columns: floor, feet, photos (of all feet), registered (share), cameras off (median error, mm), seconds (mean).
    """
    from p2vtools.capture.sfm import run_sfm
    from p2vtools.synthesis.feet.foot import make_feet
    from p2vtools.synthesis.feet.population import sample_population
    from p2vtools.synthesis.photos.rendering import render_phone_photos
    from p2vtools.synthesis.photos.trajectories import sample_phone_trajectory

    rows = []
    for kind in kinds:
        models = []
        for index, person in enumerate(sample_population(config.feet.test_seed, people)):
            rng = np.random.default_rng([config.feet.test_seed, index])
            walk = sample_phone_trajectory(rng, photos, np.array([0, 0.05, 0]), pixels=pixels)
            walk = replace(walk, floor=replace(walk.floor, kind=kind))
            pictures = render_phone_photos(make_feet(person)["left"].leg_mesh, walk, config.feet.phone_samples)
            models.append(run_sfm(pictures, walk.cameras))
        registered = sum(len(model.registered) for model in models) / (people * photos)
        errors = [1000 * model.error for model in models if model.registered]
        error = float(np.median(errors)) if errors else float("nan")
        seconds = np.mean([model.seconds for model in models])
        rows.append((kind, people, people * photos, registered, error, seconds))
    return pd.DataFrame(rows, columns=["floor", "feet", "photos", "registered", "cameras off, mm", "seconds"])


# --------------------------------------------------------------------------------------------------------- measurements


def inference_milliseconds(network: TrainedNetwork, captures: Captures, number: int) -> float:
    """Median of five times to reconstruct one object from ``number`` photos in a batch of one, after a warm-up."""
    capture = captures.select(sample=captures.table["sample"].iloc[0])
    predict = partial(evaluation.predict, network.model, capture, capture.test_views(number))
    seconds = timeit.repeat(lambda: predict().cpu(), number=1, repeat=6)
    return 1000 * float(np.median(seconds[1:]))


def foot_lengths(volumes: Tensor, threshold: float) -> np.ndarray:
    """Extent of each foot's marching-cubes surface along x, mm; NaN for an empty volume."""
    cube = Cube((0.0, 0.0, 0.0), FOOT_CUBE_EDGE * 1000)
    lengths = [
        np.ptp(to_mesh(volume, cube, threshold)[0][:, 0]) if (volume > threshold).any() else np.nan
        for volume in volumes.float().cpu().numpy()
    ]
    return np.array(lengths)


def true_lengths(config: Config, captures: Captures) -> np.ndarray:
    """Extent along x of the mesh that each foot was photographed from, mm."""
    import trimesh

    folder = data_folder("feet", config.scale)
    places = captures.table[["look", "sample"]].itertuples(index=False)
    return np.array([np.ptp(trimesh.load_mesh(folder / a / b / "model.obj").vertices[:, 0]) * 1000 for a, b in places])


def chamfer_distances(volumes: Tensor, threshold: float, captures: Captures) -> np.ndarray:
    """Chamfer distance of each foot to the truth, mm: the mean of both directions; NaN for an empty volume."""
    edge = volumes.shape[-1]
    unit = FOOT_CUBE_EDGE * 1000 * (edge + 1) / edge  # unit of `surface_distances`
    distances = []
    for volume, truth in zip(volumes.float().cpu().numpy() >= threshold, captures.truth.cpu().numpy(), strict=True):
        both = surfaces.surface_distances(volume, truth) if volume.any() else (np.nan, np.nan)
        distances.append(unit * (np.mean(both[0]) + np.mean(both[1])) / 2)
    return np.array(distances)


def point_chamfer_distances(network: TrainedNetwork, captures: Captures, number: int) -> np.ndarray:
    """Chamfer distance of the points that a point-set network predicts to points on the true surface, mm."""
    predictions = evaluation.iter_predictions(network.model, captures, captures.test_views(number))
    clouds = torch.cat([prediction.points.detach().cpu() for prediction, _ in predictions])
    distances = []
    for cloud, truth in zip(clouds.split(1), captures.truth.cpu().split(1), strict=True):
        surface = sample_surface(truth, 8192, torch.Generator().manual_seed(0))
        distances.append(_cloud_distances(cloud, surface).item())
    return np.array(distances)


def _cloud_distances(one: Float[Tensor, "clouds _ 3"], two: Float[Tensor, "clouds _ 3"]) -> Float[Tensor, " clouds"]:
    """Chamfer distances, mm, of point clouds whose unit is the edge of the cube: the mean of both directions."""
    pairs = torch.cdist(one, two)
    return FOOT_CUBE_EDGE * 1000 * (pairs.amin(2).mean(1) + pairs.amin(1).mean(1)) / 2


def plausible_clouds(network: TrainedNetwork, captures: Captures, guesses: int) -> Tensor:
    """Clouds [captures, 1 + guesses, points, 3] of a PSGN from the first photo of each capture.

    The first cloud has the random input zero, as in every test; the others have random ones, the same for all captures.
    """
    inputs = torch.randn(1, guesses, network.model.config.random, generator=torch.Generator().manual_seed(0))
    inputs = torch.cat([torch.zeros_like(inputs[:, :1]), inputs], 1)
    model = network.model.cpu().eval()
    with torch.no_grad():
        clouds = [model.sample(preprocess(photos[:, :1]), inputs) for photos in captures.photos.split(1)]
    return torch.cat(clouds)


def cloud_table(network: TrainedNetwork, captures: Captures, guesses: int) -> pd.DataFrame:
    """Chamfer distances, mm, of the `plausible_clouds` of each foot: to the truth, and to each other."""
    clouds = plausible_clouds(network, captures, guesses).unbind(1)
    truth = sample_surface(captures.truth, 1024, torch.Generator().manual_seed(0))
    to_truth = torch.stack([_cloud_distances(cloud, truth) for cloud in clouds])
    values = {
        "random input zero": to_truth[0],
        "a random input": to_truth[1:],
        f"the best of {guesses}": to_truth[1:].amin(0),
        "two random inputs, to each other": torch.stack([_cloud_distances(clouds[1], two) for two in clouds[2:]]),
    }
    return pd.DataFrame([(name, float(value.mean())) for name, value in values.items()], columns=["cloud", "mm"])


def calibration_report(
    networks: Mapping[str, TrainedNetwork], test: Captures, validation: Captures, number: int
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame, dict[str, float]]:
    """Reliability of the probabilities of ``networks`` on ``test``, as predicted and calibrated on ``validation``.

    Returns:
        Name -> `calibration.reliability_table`; all of them in one table; name -> expected calibration error.
    """
    tables = {}
    for name, network in networks.items():
        fitted, predicted = (evaluation.predict(network.model, some, range(number)) for some in (validation, test))
        slope, offset = calibration.fit_calibration(fitted, validation.truth)
        calibrated = torch.sigmoid(slope * torch.logit(predicted, eps=1e-7) + offset) * (predicted > 0)
        tables[name] = calibration.reliability_table(predicted, test.truth)
        tables[f"{name}, calibrated"] = calibration.reliability_table(calibrated, test.truth)
    combined = pd.concat([table.assign(network=name) for name, table in tables.items()], ignore_index=True)
    errors = {name: calibration.expected_calibration_error(table) for name, table in tables.items()}
    return tables, combined[["network", "predicted", "occupied", "voxels"]], errors


def order_spread(network: TrainedNetwork, captures: Captures, threshold: float, number: int) -> float:
    """Standard deviation of IoU over ten random orders of ``number`` photos, averaged over captures."""
    if network.model.order_free or number == 1:
        return 0.0
    chosen, orders = captures.test_views(number), evaluation.view_orders("shuffled", number)
    volumes = (evaluation.predict(network.model, captures, chosen[:, order]) for order in orders)
    scores = torch.stack([evaluation.iou_at(volume, captures.truth, (threshold,)) for volume in volumes])
    return float(scores.std(0).mean())


def shape_metrics(
    volumes: Mapping[str, Tensor],
    thresholds: Mapping[str, float],
    networks: Mapping[str, TrainedNetwork],
    config: Config,
    captures: Captures,
    number: int,
) -> dict[str, dict[str, float]]:
    """Metrics other than IoU of feet reconstructed from ``number`` photos: title of the metric -> system -> value.

    Args:
        volumes: system -> predicted probabilities of ``captures``.
        thresholds: system -> occupancy threshold.
        networks: system -> network, for the systems that are networks.
    """
    metrics: dict[str, dict[str, float]] = {}
    truth = true_lengths(config, captures)
    for name, volume in volumes.items():
        threshold = thresholds[name]
        values = {
            "F-score@1%": surfaces.f_score_rows(volume >= threshold, captures).f_score.mean(),
            "Chamfer, mm": pd.Series(chamfer_distances(volume, threshold, captures)).mean(),
            "length off, median mm": pd.Series(foot_lengths(volume, threshold) - truth).abs().median(),
        }
        if network := networks.get(name):
            values["spread over orders"] = order_spread(network, captures, threshold, number)
            if name.startswith("psgn"):
                values["Chamfer of its points, mm"] = point_chamfer_distances(network, captures, number).mean()
        for title, value in values.items():
            metrics.setdefault(title, {})[name] = float(value)
    return metrics


# ---------------------------------------------------------------------------------------------------- table and figures


def system_panel(
    title: str,
    sample: str,
    captures: Captures,
    networks: Mapping[str, TrainedNetwork],
    number: int,
    metrics: pd.DataFrame,
    others: Mapping[str, Tensor],
) -> viewer.Panel:
    """One capture reconstructed by all ``networks`` and by the ``others`` (system -> solids of all captures)."""
    (panel,) = experiments.prediction_panels(networks, captures, {title: sample}, number, metrics)
    index = captures.table["sample"].tolist().index(sample)
    more = {name: solids[index].cpu().numpy() for name, solids in others.items()}
    return replace(panel, predictions={**panel.predictions, **more})


def variant_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """IoU with intervals, one row for each variant, by number of photos."""
    wide = pd.Series(interval_cells(metrics, ["variant", "views"])).unstack().loc[metrics.variant.unique()]
    return wide.rename(columns="{} photos".format).rename_axis(index="variant", columns=None).reset_index()


def systems_table(
    metrics: pd.DataFrame,
    systems: Mapping[str, System],
    views: Sequence[int],
    milliseconds: Mapping[str, float],
    columns: Mapping[str, Mapping[str, float]],
) -> pd.DataFrame:
    """The table of systems, one row each, with IoU and intervals by number of photos on objects and on feet.

    Args:
        systems: system -> needs, in the order of the rows.
        milliseconds: system -> time per object.
        columns: title -> system -> value (`shape_metrics`).
    """
    cells, rows = interval_cells(metrics, ["model", "dataset", "look", "views"]), []
    for name, system in systems.items():
        row: dict[str, object] = {
            "system": name,
            "parameters": f"{system.parameters:,}" if system.parameters else "–",
            "needs": system.missing or ", ".join(["poses"] * system.poses + ["masks"] * system.masks) or "–",
            "order-free": "yes" if system.order_free else "no",
            "training min": f"{system.minutes:.1f}" if system.minutes else "–",
            "ms/object": f"{milliseconds[name]:.0f}" if name in milliseconds else "–",
        }
        for title, values in columns.items():
            row[title] = f"{values[name]:.3g}" if name in values else "–"
        for dataset, domain in (("objects", "studio"), ("feet", "studio"), ("feet", "phone")):
            for number in views:
                title = f"{dataset} {domain}, {number}" if dataset == "feet" else f"{dataset}, {number}"
                row[title] = cells.get((name, dataset, domain, number), "–")
        rows.append(row)
    return pd.DataFrame(rows)
