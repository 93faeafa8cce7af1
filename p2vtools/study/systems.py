"""The systems of notebook 06 beside each other: what each needs, what it costs and what it gives.

Networks are trained and tested by `experiments`; here is what only this comparison asks for: systems that learn
nothing, the volume that is bent at test time, noise on the cameras, and the one table.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from p2vlib import evaluation
from p2vlib.config import Config
from p2vlib.data.capture_folder import read_capture
from p2vlib.data.dataset import Captures
from p2vlib.evaluation import calibration
from p2vlib.geometry import placement
from p2vlib.geometry.frames import FOOT_CUBE_EDGE, FOOT_SHARE, Cube
from p2vlib.geometry.grids import to_mesh
from p2vlib.models.psgn import sample_surface
from p2vlib.provenance import data_folder
from p2vtools import viewer
from p2vtools.fit.pretrained import load_pretrained
from p2vtools.fit.silhouette_fitting import refine_volume
from p2vtools.study import experiments
from p2vtools.study.experiments import TrainedNetwork
from p2vtools.study.notebook_run import NotebookRun
from p2vtools.study.tables import format_interval

FLOOR_NOISE = 0.03125
"""Standard deviation of the floor's height where nobody knows it: edges of the cube, of a foot 10 mm."""

FLOOR_NOISE_HEIGHT = 0.5
"""How high an unprojection network then computes the cube."""


@dataclass(frozen=True)
class System:
    """A row of the table, as it is known before anything is measured."""

    poses: bool = False
    masks: bool = False
    order_free: bool = True
    parameters: int = 0
    minutes: float = 0.0


def train_system(
    run: NotebookRun,
    captures: Captures,
    name: str,
    training: str,
    variant: str = "main",
    lift: float = 0.0,
    **overrides: object,
) -> TrainedNetwork:
    """The network ``name`` from nothing on ``training``, with the steps that all of the comparison get.

    Rays compute a foot's cube only as high as it can reach; with a ``lift`` the cube stands that much too high or low.
    """
    if name == "unprojection" and training.startswith("feet"):
        overrides = {"height": FLOOR_NOISE_HEIGHT if lift else FOOT_SHARE, **overrides}
    recipe = replace(run.config.comparison, lift_noise=lift)
    return experiments.train_network(run, captures, name, training, variant=f"{variant}-06", recipe=recipe, **overrides)


def evaluate_system(network: TrainedNetwork, captures: Captures, views: Sequence[int]) -> Iterator[pd.DataFrame]:
    """Metrics of one network on what it was trained for, feet in both looks."""
    own = experiments.training_captures(captures, network.training, "validation")
    if network.training == "objects":
        dataset, looks = "objects", [captures.select(dataset="objects", split="test")]
    else:
        feet = captures.select(dataset="feet", cube="metric", split="test")
        dataset, looks = "feet", [feet.select(look="studio"), feet.select(look="phone", light="drift")]
    for look in looks:
        yield experiments.evaluate_network(network, look, own, dataset=dataset, views=views, variant="main")


def describe_network(network: TrainedNetwork) -> System:
    """What is known of a trained network."""
    model = network.model
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return System(model.needs_cameras, False, model.order_free, parameters, network.history.seconds.iloc[-1] / 60)


def limit_people(captures: Captures, people: int) -> Captures:
    """The feet of ``captures`` with no more than ``people`` to learn from; those of validation and test stay."""
    feet = captures.select(dataset="feet")
    learnt = feet.table.split == "train"
    few = sorted(feet.table.subject[learnt].unique())[:people]
    return feet.select(subject=[*few, *feet.table.subject[~learnt].unique()])


def without_poses(captures: Captures) -> Captures:
    """``captures`` with one and the same camera told for every photo, that of the first.

    An unprojection network that learns and is tested so can know nothing of where a photo was taken from.
    """
    return replace(captures, cameras=captures.cameras[:1, :1].expand_as(captures.cameras).contiguous())


def with_floor_noise(captures: Captures, seed: int = 0) -> Captures:
    """``captures`` (`datasets.load_feet`) in cubes whose floor is not the one that the foot stands on (`LIFT`)."""
    generator = torch.Generator().manual_seed(seed)
    moves = placement.sample_placements(len(captures), 0.0, 0.0, generator, FLOOR_NOISE)
    room, size = placement.MAX_DEVIATIONS * FLOOR_NOISE, captures.truth.shape[-1]
    truth, cameras, boxes = placement.move_cube(
        captures.fine_truth, captures.cameras, captures.boxes, moves, size, room
    )
    return replace(captures, truth=truth, cameras=cameras, boxes=boxes, fine_truth=None)


def pretrained_network(path: Path) -> TrainedNetwork:
    """The weights at ``path`` as a network of the comparison."""
    weights = load_pretrained(path)
    return TrainedNetwork("unprojection", "feet-phone", "shipped", weights.model, pd.DataFrame(), path)


# ------------------------------------------------------------------------------------------ systems that learn nothing


def score_visual_hulls(captures: Captures, views: Iterable[int], height: float = 1.0) -> pd.DataFrame:
    """Rows of the visual hull of exact silhouettes, by number of photos; ``height`` as in `evaluation.visual_hull`."""
    parts = [evaluation.score_volumes(captures, evaluation.dataset_visual_hulls(captures, n, height), n) for n in views]
    return pd.concat(parts, ignore_index=True)


def predicted_hulls(network: TrainedNetwork, captures: Captures, number: int, height: float) -> Tensor:
    """Visual hulls, bool [captures, x, y, z], of the silhouettes that the network predicts in ``number`` photos."""
    volumes = [
        evaluation.visual_hull(said.mask_probability, cameras, captures.truth.shape[-1], height)
        for said, cameras in evaluation.iter_predictions(network.model, captures, captures.test_views(number))
    ]
    return torch.cat(volumes)


def score_predicted_hulls(
    network: TrainedNetwork, captures: Captures, views: Iterable[int], height: float
) -> pd.DataFrame:
    """Rows of `predicted_hull` by number of photos."""
    parts = [evaluation.score_volumes(captures, predicted_hulls(network, captures, n, height), n) for n in views]
    return pd.concat(parts, ignore_index=True)


def refine_volumes(network: TrainedNetwork, captures: Captures, number: int) -> tuple[Tensor, float]:
    """The volumes of ``network`` bent until their silhouettes agree with those it sees; and seconds for each."""
    began, volumes = time.perf_counter(), []
    for said, cameras in evaluation.iter_predictions(network.model, captures, captures.test_views(number)):
        volumes.append(refine_volume(said.probability, said.mask_probability, cameras))
    return torch.cat(volumes), (time.perf_counter() - began) / len(captures)


def run_sfm_on_captures(
    config: Config, captures: Captures, number: int, limit: int
) -> tuple[Captures, Tensor, pd.DataFrame]:
    """Structure from motion on the first ``limit`` captures (feet): the captures, their solids, and how each went.

    The last has a row a capture: sample, photos, registered, points, seconds. Where nothing registers nothing is solid.
    """
    from p2vtools.capture.sfm import alpha_shape, run_sfm

    some = captures.select(sample=captures.table["sample"].tolist()[:limit])
    solids, rows = [], []
    for sample, side, look in some.table[["sample", "side", "look"]].itertuples(index=False):
        capture = read_capture(data_folder("feet", config.scale) / look / sample)
        chosen = some.test_views(number)[0].tolist()
        found = run_sfm([capture.photos[i] for i in chosen], [capture.cameras[i] for i in chosen])
        solid = alpha_shape(found.points, capture.truth.cube, captures.truth.shape[-1], FOOT_SHARE)
        solids.append(solid[:, :, ::-1].copy() if side == "right" else solid)
        rows.append((sample, number, len(found.registered), len(found.points), found.seconds))
    told = pd.DataFrame(rows, columns=["sample", "photos", "registered", "points", "seconds"])
    return some, torch.from_numpy(np.stack(solids)), told


def run_sfm_on_floors(config: Config, kinds: Iterable[str], people: int, photos: int, pixels: int) -> pd.DataFrame:
    """Structure from motion on left feet of test people who stand on floors of other ``kinds``, photographed anew.

    Columns: floor, feet, photos (of all feet), registered (their share), cameras off (median, mm), seconds (mean).
    """
    from p2vtools.capture.sfm import run_sfm
    from p2vtools.synthesis.feet.foot import make_feet
    from p2vtools.synthesis.feet.population import sample_population
    from p2vtools.synthesis.photos import trajectories as looks
    from p2vtools.synthesis.photos.rendering import render_phone_photos

    rows = []
    for kind in kinds:
        found = []
        for index, person in enumerate(sample_population(config.feet.test_seed, people)):
            rng = np.random.default_rng([config.feet.test_seed, index])
            walk = looks.sample_phone_trajectory(rng, photos, np.array([0, 0.05, 0]), pixels=pixels)
            walk = replace(walk, floor=replace(walk.floor, kind=kind))
            pictures = render_phone_photos(make_feet(person)["left"].leg_mesh, walk, config.feet.phone_samples)
            found.append(run_sfm(pictures, walk.cameras))
        registered = sum(len(one.registered) for one in found) / (people * photos)
        errors = [1000 * one.error for one in found if one.registered]
        off = float(np.median(errors)) if errors else float("nan")
        rows.append((kind, people, people * photos, registered, off, np.mean([one.seconds for one in found])))
    return pd.DataFrame(rows, columns=["floor", "feet", "photos", "registered", "cameras off, mm", "seconds"])


# --------------------------------------------------------------------------------------------------------- measurements


def inference_milliseconds(network: TrainedNetwork, captures: Captures, number: int, repeats: int = 5) -> float:
    """Median time for one object with ``number`` photos, alone in its batch, on the device where the network is."""
    one = captures.select(sample=captures.table["sample"].iloc[0])
    times = []
    for _ in range(repeats + 1):
        began = time.perf_counter()
        evaluation.predict(network.model, one, one.test_views(number)).cpu()
        times.append(1000 * (time.perf_counter() - began))
    return float(np.median(times[1:]))  # the first one warms up


def foot_lengths(volumes: Tensor, threshold: float) -> np.ndarray:
    """Longest extent of each foot along its axis, of the surface between the voxels, mm; NaN where nothing is solid."""
    unit = Cube((0.0, 0.0, 0.0), FOOT_CUBE_EDGE * 1000)
    found = []
    for volume in volumes.float().cpu().numpy():
        solid = (volume > threshold).any()
        found.append(np.ptp(to_mesh(volume, unit, threshold)[0][:, 0]) if solid else np.nan)
    return np.array(found)


def chamfer_distances(volumes: Tensor, threshold: float, captures: Captures) -> np.ndarray:
    """Chamfer distance of each foot's surface from the true one, mm: the mean over both and over all their points.

    NaN where nothing is solid.
    """
    edge = volumes.shape[-1]
    unit = FOOT_CUBE_EDGE * 1000 * (edge + 1) / edge  # that of `surface_distances`
    found = []
    for volume, truth in zip(volumes.float().cpu().numpy() >= threshold, captures.truth.cpu().numpy(), strict=True):
        both = evaluation.surface_distances(volume, truth) if volume.any() else (np.nan, np.nan)
        found.append(unit * (np.mean(both[0]) + np.mean(both[1])) / 2)
    return np.array(found)


def point_chamfer_distances(network: TrainedNetwork, captures: Captures, number: int) -> np.ndarray:
    """The same of the points that a point-set network itself gives, before they enclose a solid."""
    found = []
    rows = iter(captures.truth.split(1))
    for said, _ in evaluation.iter_predictions(network.model, captures, captures.test_views(number)):
        for points in said.points.detach().cpu():
            surface = sample_surface(next(rows).cpu(), 8192, torch.Generator().manual_seed(0))[0]
            away = torch.cdist(points, surface)
            found.append(FOOT_CUBE_EDGE * 1000 * float(away.amin(1).mean() + away.amin(0).mean()) / 2)
    return np.array(found)


def true_lengths(config: Config, captures: Captures) -> np.ndarray:
    """The same of the meshes that the feet were photographed as, mm."""
    import trimesh

    folder = data_folder("feet", config.scale)
    places = captures.table[["look", "sample"]].itertuples(index=False)
    return np.array([np.ptp(trimesh.load_mesh(folder / a / b / "model.obj").vertices[:, 0]) * 1000 for a, b in places])


def calibration_report(
    networks: Mapping[str, TrainedNetwork], test: Captures, validation: Captures, number: int
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame, dict[str, float]]:
    """How far the probabilities of ``networks`` can be believed on ``test``, also calibrated on ``validation``.

    Returns:
        Name -> `calibration.reliability`; all of it in one table; name -> `calibration.expected_error`.
    """
    tables = {}
    for name, network in networks.items():
        known, tried = (evaluation.predict(network.model, some, range(number)) for some in (validation, test))
        slope, offset = calibration.fit_calibration(known, validation.truth)
        mended = torch.sigmoid(slope * torch.logit(tried, eps=1e-7) + offset) * (tried > 0)
        tables[name] = calibration.reliability_table(tried, test.truth)
        tables[f"{name}, calibrated"] = calibration.reliability_table(mended, test.truth)
    told = pd.concat([table.assign(network=name) for name, table in tables.items()], ignore_index=True)
    errors = {name: calibration.expected_calibration_error(table) for name, table in tables.items()}
    return tables, told[["network", "predicted", "occupied", "voxels"]], errors


def system_panel(
    title: str,
    sample: str,
    captures: Captures,
    networks: Mapping[str, TrainedNetwork],
    number: int,
    metrics: pd.DataFrame,
    others: Mapping[str, Tensor],
) -> viewer.Panel:
    """One of ``captures`` by every network, cut as ``metrics`` say, and by ``others`` (name -> solids of all)."""
    told = metrics.replace({"variant": {"main": "main-06"}})
    (row,) = experiments.prediction_panels(networks, captures, {title: sample}, number, told)
    place = captures.table["sample"].tolist().index(sample)
    more = {name: solids[place].cpu().numpy() for name, solids in others.items()}
    return replace(row, predictions={**row.predictions, **more})


def order_spread(network: TrainedNetwork, captures: Captures, threshold: float, number: int) -> float:
    """How far IoU falls apart over ten random orders of ``number`` photos: standard deviation, mean over captures."""
    if network.model.order_free or number == 1:
        return 0.0
    chosen = captures.test_views(number)
    volumes = (
        evaluation.predict(network.model, captures, chosen[:, o]) for o in evaluation.view_orders("shuffled", number)
    )
    scores = [evaluation.iou_at(volume, captures.truth, (threshold,))[:, 0] for volume in volumes]
    return float(torch.stack(scores).std(0).mean())


def shape_metrics(
    volumes: Mapping[str, Tensor],
    levels: Mapping[str, float],
    networks: Mapping[str, TrainedNetwork],
    config: Config,
    captures: Captures,
    number: int,
) -> dict[str, dict[str, float]]:
    """What IoU does not tell of ``volumes`` (system -> occupancy of feet) cut at ``levels``: title -> system -> number.

    ``networks`` are those of the systems that are one; ``captures`` were shown with ``number`` photos.
    """
    found: dict[str, dict[str, float]] = {}
    truth = true_lengths(config, captures)
    for name, volume in volumes.items():
        f_scores = evaluation.f_score_rows(volume >= levels[name], captures).f_score
        facts = {
            "F-score@1%": f_scores.mean(),
            "Chamfer, mm": pd.Series(chamfer_distances(volume, levels[name], captures)).mean(),
            "length off, median mm": pd.Series(foot_lengths(volume, levels[name]) - truth).abs().median(),
        }
        if network := networks.get(name):
            facts["spread over orders"] = order_spread(network, captures, levels[name], number)
            if name.startswith("psgn"):
                facts["Chamfer of its points, mm"] = point_chamfer_distances(network, captures, number).mean()
        for title, value in facts.items():
            found.setdefault(title, {})[name] = float(value)
    return found


def systems_table(
    metrics: pd.DataFrame,
    known: Mapping[str, System],
    views: Sequence[int],
    cost: Mapping[str, float],
    more: Mapping[str, Mapping[str, float]],
) -> pd.DataFrame:
    """The table of systems: a row each, IoU with intervals by number of photos on objects and feet of both looks.

    Args:
        known: system -> what it needs, in the order of the rows.
        cost: system -> milliseconds an object.
        more: title of a column -> system -> number (F-score, millimetres, spread …).
    """
    cells = evaluation.summarise(metrics, ["model", "dataset", "look", "views"])
    cells = cells.set_index(["model", "dataset", "look", "views"])
    rows = []
    for name, system in known.items():
        row: dict[str, object] = {
            "system": name,
            "parameters": f"{system.parameters:,}" if system.parameters else "–",
            "needs": ", ".join(["poses"] * system.poses + ["masks"] * system.masks) or "–",
            "order-free": "yes" if system.order_free else "no",
            "training min": f"{system.minutes:.1f}" if system.minutes else "–",
            "ms/object": f"{cost[name]:.0f}" if name in cost else "–",
        }
        for title, values in more.items():
            row[title] = f"{values[name]:.3g}" if name in values else "–"
        for dataset, look in (("objects", "studio"), ("feet", "studio"), ("feet", "phone")):
            for number in views:
                key = (name, dataset, look, number)
                title = f"{dataset} {look}, {number}" if dataset == "feet" else f"{dataset}, {number}"
                row[title] = format_interval(*cells.loc[key, ["iou", "low", "high"]]) if key in cells.index else "–"
        rows.append(row)
    return pd.DataFrame(rows)
