"""Samples that the viewer shows, the predictions of networks for them, and a cache of predictions.

Everything is in the sample's own frame, toes along +x. Networks receive right feet mirrored as left ones; their
predictions are mirrored back here. Photos keep the order in which networks receive them.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import trimesh
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from p2vlib.data.augmentation import preprocess
from p2vlib.data.dataset import Captures, evenly_spaced, mirror_cameras
from p2vlib.evaluation import iter_predictions, view_orders
from p2vlib.geometry.cameras import Camera
from p2vlib.geometry.frames import FOOT_CUBE, Cube, Volume
from p2vlib.geometry.grids import iou, voxelise
from p2vlib.models import Reconstruction
from p2vtools.fit.cube_crops import crop_to_cube, predict_closely
from p2vtools.fit.ensemble import Ensemble
from p2vtools.fit.photo_set import read_photo_set
from p2vtools.fit.placement import find_foot
from p2vtools.fit.pretrained import load_pretrained
from p2vtools.fit.reconstruct import GRID_SIZES

Networks = Mapping[str, tuple[nn.Module, float]]
"""Name -> network, and the occupancy from which a voxel is solid."""

ORDERS = ("clockwise", "shuffled", "reversed")

THUMBNAIL = 128
"""Longer side of the photos of a capture folder, pixels."""

UNIT_CUBE = Cube((-0.5, -0.5, -0.5), 1.0)
"""The cube of a normalised object, whose size in metres is unknown."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One foot or object."""

    name: str
    photos: list[UInt8[np.ndarray, "_ _ 3"]]
    photo_names: list[str]
    cameras: list[Camera]
    """Of the photos; empty where they are unknown."""
    cube: Cube
    side: str
    """left, right, or none for an object."""
    is_metric: bool
    """Whether the size in metres is known; otherwise the cube's edge is the unit."""
    predict: Callable[[nn.Module, Sequence[int]], Reconstruction]
    """(network, numbers of photos in order) -> prediction, a right foot mirrored."""
    truth: Callable[[int], Volume | None]
    """Voxels a side -> true solid; None where it is unknown at that size."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """The prediction of a network for a sample."""

    probability: Float[np.ndarray, "x y z"]
    coarse: Float[np.ndarray, "n n n"]
    """Before the refiner, at the network's own size."""
    refined: Float[np.ndarray, "n n n"]
    """After the refiner; the same in a network without one."""
    view_weights: Float[np.ndarray, "views n n n"]
    """Weight of each photo in each voxel."""
    photos: tuple[int, ...]
    """Numbers of the photos, in order."""
    seconds: float


@torch.no_grad()
def predict_sample(
    sample: Sample, network: tuple[nn.Module, float], photos: Sequence[int], size: int = 32
) -> Prediction:
    """The prediction of ``network`` for ``photos`` (numbers, in order) of ``sample``, at ``size`` voxels a side.

    Raises:
        ValueError: photos of another size than the network's, or missing cameras.
    """
    start = time.perf_counter()
    model, threshold = network
    result = sample.predict(model, photos)
    probability = result.probability
    if size != probability.shape[-1]:
        probability = model.enlarged(result.coarse_state, size, threshold)
    volumes = (probability[0], result.coarse[0], result.probability[0], result.view_weights[0])
    if sample.side == "right":
        volumes = tuple(volume.flip(-1) for volume in volumes)
    arrays = (volume.float().cpu().numpy() for volume in volumes)
    return Prediction(*arrays, tuple(photos), time.perf_counter() - start)


@dataclass(frozen=True)
class Choice:
    """What is predicted: number of the sample, number and order of its photos, voxels a side."""

    sample: int = 0
    views: int = 1
    order: str = "clockwise"
    size: int = 32


class Predictions:
    """Predictions of ``networks`` for ``samples``; each is computed once, the last 64 are kept."""

    def __init__(self, samples: Sequence[Sample], networks: Networks) -> None:
        self.samples = list(samples)
        self.networks = dict(networks)
        self.get = functools.lru_cache(64)(self._predict)

    def _predict(self, name: str, choice: Choice) -> Prediction:
        return predict_sample(self.samples[choice.sample], self.networks[name], self.photo_numbers(choice), choice.size)

    def photo_numbers(self, choice: Choice) -> list[int]:
        """The chosen photos: evenly spaced, then ordered; shuffled always in the same way."""
        numbers = evenly_spaced(len(self.samples[choice.sample].photos), choice.views)
        return [numbers[position] for position in view_orders(choice.order, choice.views)[0]]

    def sizes(self, name: str, sample: int) -> list[int]:
        """Voxels a side that the network called ``name`` can predict, with a known truth where there is one."""
        if not hasattr(self.networks[name][0], "enlarged"):  # without a point head
            return [len(self.get(name, Choice(sample)).refined)]
        return [size for size in GRID_SIZES if self.samples[sample].truth(size) is not None] or list(GRID_SIZES)

    def has_refiner(self, name: str, sample: int) -> bool:
        """Whether the network called ``name`` has a refiner."""
        prediction = self.get(name, Choice(sample))
        return not np.array_equal(prediction.coarse, prediction.refined)


# -------------------------------------------------------------------------------------------------------------- metrics


def describe_iou(sample: Sample, probability: Float[np.ndarray, "x y z"], threshold: float) -> str:
    """IoU of a prediction with the truth as text, a dash where the truth is unknown."""
    truth = sample.truth(len(probability))
    return "–" if truth is None else f"{iou(probability >= threshold, truth):.3f}"


def describe_size(sample: Sample, probability: Float[np.ndarray, "x y z"], threshold: float) -> str:
    """Volume of a prediction as text; in a cube of unknown size, volume and length relative to the cube.

    `p2vtools.fit.verdict.reconstruct_and_judge` measures millimetres, on a corrected surface and with intervals.
    """
    solid = probability >= threshold
    share = float(solid.mean())
    if not sample.is_metric:
        layers = np.flatnonzero(solid.any((1, 2)))
        length = float(np.ptp(layers) + 1) / len(solid) if len(layers) else 0.0
        return f"volume {share:.1%} of the cube · length {length:.1%} of its edge"
    return f"volume {1e6 * sample.cube.edge**3 * share:.0f}\N{NO-BREAK SPACE}cm³"


# -------------------------------------------------------------------------------------------------------------- loading


def load_samples(source: Path | Captures) -> list[Sample]:
    """The samples of a table, or of a capture folder, in which the pretrained weights find the foot.

    Raises:
        ValueError: as `read_photo_set` and `find_foot`.
    """
    if isinstance(source, Captures):
        return [_sample_of_row(source, number) for number in range(len(source))]
    return [_sample_of_folder(source)]


def _sample_of_folder(folder: Path) -> Sample:
    photo_set, model = read_photo_set(folder), folder / "model.obj"
    weights, backwards = load_pretrained(), photo_set.side == "right"
    pose = find_foot(weights, photo_set).pose
    cropped = functools.lru_cache(2)(functools.partial(crop_to_cube, photo_set, pose, FOOT_CUBE))

    def predict(network: nn.Module, numbers: Sequence[int]) -> Reconstruction:
        if isinstance(network, Ensemble):
            first, *others = numbers
            chosen = ordered.subset([first, *(others[::-1] if backwards else others)])
            return predict_closely(replace(weights, model=network.eval()), chosen, pose)[0]
        captures = cropped(network.config.image_size)
        return network.eval()(preprocess(captures.photos[:, list(numbers)]), captures.cameras[:, list(numbers)])

    @functools.lru_cache(maxsize=3)
    def truth(size: int) -> Volume | None:
        if not model.is_file():
            return None
        mesh = trimesh.load_mesh(model, process=False).apply_transform(np.linalg.inv(pose))
        return voxelise(np.asarray(mesh.vertices), np.asarray(mesh.faces), FOOT_CUBE, size).volume

    count = len(photo_set.photos)
    # Mirroring reverses the order of the photos.
    ordered = photo_set.subset([0, *range(count - 1, 0, -1)] if backwards else range(count))
    cameras = [replace(camera, extrinsics=camera.extrinsics @ pose) for camera in ordered.cameras]
    thumbnails = []
    for photo in ordered.photos:
        thumbnail = photo.convert("RGB")
        thumbnail.thumbnail((THUMBNAIL, THUMBNAIL), reducing_gap=2.0)
        thumbnails.append(np.asarray(thumbnail))
    side, has_scale = photo_set.side, photo_set.has_scale
    return Sample(folder.name, thumbnails, ordered.names, cameras, FOOT_CUBE, side, has_scale, predict, truth)


def _sample_of_row(captures: Captures, number: int) -> Sample:
    row, one = captures.table.iloc[number], captures.rows(np.array([number])).to("cpu")
    is_right, is_metric = bool(row["side"] == "right"), bool(row["cube"] == "metric")
    cube = FOOT_CUBE if is_metric else UNIT_CUBE
    views = preprocess(one.photos, sharp=one.as_published, boxes=one.boxes, size=one.crop_size)[0]
    solid = one.truth[0]
    if is_right:
        views, solid = views.flip(-1), solid.flip(-1)
    photos, solid = (255 * views).round().byte().permute(0, 2, 3, 1).numpy(), solid.numpy()
    cameras = []
    if one.cameras is not None:
        single = one.cameras[0][:, None]  # one batch entry per view, so that mirroring keeps their order
        matrices = mirror_cameras(single, torch.full((len(single),), is_right))[:, 0]
        cameras = [_camera_of_matrix(matrix, cube, photos.shape[1]) for matrix in matrices]
    name = f"{row['taxonomy']} {row['sample']}"
    if row["dataset"] == "feet":
        name = f"{row['sample']}, {row['look']}" + (", without drift" if row["light"] == "steady" else "")
    return Sample(
        name,
        list(photos),
        [str(number) for number in range(len(photos))],
        cameras,
        cube,
        row["side"],
        is_metric,
        lambda network, numbers: next(iter_predictions(network, one, numbers))[0],
        lambda size: solid if size == len(solid) else None,
    )


def _camera_of_matrix(matrix: Float[Tensor, "3 7"], cube: Cube, pixels: int) -> Camera:
    """The camera of a matrix of `Captures.cameras`, with an image of ``pixels`` a side."""
    intrinsics, rotation, translation = (part.double().numpy() for part in matrix.split([3, 3, 1], -1))
    to_pixels = np.array([[pixels / 2, 0, pixels / 2], [0, pixels / 2, pixels / 2], [0, 0, 1]])
    extrinsics = np.eye(4)
    extrinsics[:3, :3] = rotation
    extrinsics[:3, 3] = cube.edge * translation[:, 0] - rotation @ np.array(cube.lower)
    return Camera(to_pixels @ intrinsics, extrinsics, pixels, pixels)
