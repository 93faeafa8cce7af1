"""What is looked at: a sample with its photos, cameras and truth, and what a network says of it.

All of it stands in the sample's own frame, toes along +x. Networks are shown right feet mirrored, as left ones; what
they say is mirrored back here, and photos keep the order in which the networks are shown them.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from p2vlib.data.augmentation import preprocess
from p2vlib.data.capture_folder import PhotoSet, read_photo_set
from p2vlib.data.dataset import Captures, mirror_cameras
from p2vlib.evaluation import iter_predictions
from p2vlib.geometry.cameras import Camera
from p2vlib.geometry.frames import FOOT_CUBE, Cube, Volume
from p2vlib.geometry.grids import iou, to_mesh, voxelise
from p2vlib.models import Reconstruction
from p2vtools.fit import pretrained, reconstruct
from p2vtools.fit.measure import measure_foot

Networks = Mapping[str, tuple[nn.Module, float]]
"""Name -> a network, and the occupancy from which a voxel of its answers is solid."""

THUMBNAIL = 128
"""Pixels of a photo's longer side where photos of a capture folder are shown."""

UNIT_CUBE = Cube((-0.5, -0.5, -0.5), 1.0)
"""The cube of what was normalised: its size in metres is not known."""

UNKNOWN = "–"
"""In place of a number that cannot be told."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One foot or object."""

    name: str
    photos: list[UInt8[np.ndarray, "_ _ 3"]]
    names: list[str]
    """Of the photos."""
    cameras: list[Camera]
    """Of the photos; empty: nobody knows where they were taken from."""
    cube: Cube
    side: str
    """left, right, or none: no foot."""
    is_metric: bool
    """Whether metres are metres; else the cube's edge is the unit."""
    said: Callable[[nn.Module, Sequence[int]], Reconstruction]
    """What a network says of some of the photos, in that order; as the library's own commands ask it."""
    truth: Callable[[int], Volume | None]
    """Voxels a side -> the true solid, as far as it is known at that size."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a network says of a sample."""

    probability: Float[np.ndarray, "x y z"]
    coarse: Float[np.ndarray, "n n n"]
    """Before the refiner, at the network's own size."""
    refined: Float[np.ndarray, "n n n"]
    """After it; the same in a network without one."""
    scores: Float[np.ndarray, "views n n n"]
    """How much each of the photos shown counts in each voxel."""
    chosen: tuple[int, ...]
    """Which photos were shown, in their order."""
    seconds: float


@dataclass(frozen=True)
class ShapeFacts:
    """What a line of text tells of a solid; None: it cannot be told."""

    iou: float | None
    volume: float
    """cm³, or the share of the cube where that has no size."""
    length: float | None
    """mm, or the share of the cube's edge."""
    is_metric: bool = True

    @property
    def agreed(self) -> str:
        """The IoU in words."""
        return UNKNOWN if self.iou is None else f"{self.iou:.3f}"

    @property
    def size(self) -> str:
        """Volume and length in words."""
        if not self.is_metric:
            return f" volume {self.volume:.1%} of the cube · length {self.length or 0:.1%} of its edge"
        long = UNKNOWN if self.length is None else f"{self.length:.0f}\N{NO-BREAK SPACE}mm"
        return f"volume {self.volume:.0f}\N{NO-BREAK SPACE}cm³ · length {long}"


@torch.no_grad()
def predict_sample(
    sample: Sample, network: tuple[nn.Module, float], chosen: Sequence[int], size: int = 32
) -> Prediction:
    """What ``network`` says of ``sample`` when it is shown the photos ``chosen``, in that order.

    Raises:
        ValueError: photos of another size than the network's, no cameras where it needs them, or a size above its own
            from a network without a finer head.
    """
    began = time.perf_counter()
    model, threshold = network
    said = sample.said(model, chosen)
    whole = said.probability
    if size != whole.shape[-1]:
        if not is_finer(model):
            raise ValueError(f"this network answers at {whole.shape[-1]} voxels a side; found {size}")
        whole = model.enlarged(said.coarse_state, size, threshold)
    parts = (whole[0], said.coarse[0], said.probability[0], said.view_weights[0])
    if sample.side == "right":
        parts = tuple(part.flip(-1) for part in parts)
    volumes = (part.float().cpu().numpy() for part in parts)
    return Prediction(*volumes, tuple(chosen), time.perf_counter() - began)


def is_finer(model: nn.Module) -> bool:
    """Whether a network can be asked at more voxels than its grid has."""
    return hasattr(model, "enlarged")


def facts(sample: Sample, probability: Float[np.ndarray, "x y z"], threshold: float) -> ShapeFacts:
    """IoU with the truth, volume and length of what is occupied from ``threshold`` on."""
    solid, truth = probability >= threshold, sample.truth(len(probability))
    agreed = None if truth is None else float(iou(solid, truth))
    share = float(solid.mean())
    if not sample.is_metric:
        along = np.flatnonzero(solid.any((1, 2)))
        return ShapeFacts(agreed, share, float(np.ptp(along) + 1) / len(solid) if len(along) else 0.0, False)
    return ShapeFacts(agreed, 1e6 * sample.cube.edge**3 * share, _length(sample, probability, threshold))


def _length(sample: Sample, probability: Float[np.ndarray, "x y z"], threshold: float) -> float | None:
    import trimesh

    try:
        surface = trimesh.Trimesh(*to_mesh(probability, sample.cube, threshold), process=False)
        return measure_foot(surface, sample.side)[0].length
    except ValueError:  # too little is left of it to be a foot
        return None


# ------------------------------------------------------------------------------------------------------------- reading


def samples(what: Path | PhotoSet | Captures) -> list[Sample]:
    """The samples of a capture folder, of photos in memory, or of a table.

    Where a foot stands in a capture is found by the weights that come with the project.

    Raises:
        ValueError: what `shots.read_shots` or `inference.find` cannot use.
    """
    if isinstance(what, Captures):
        return [_row(what, number) for number in range(len(what))]
    if isinstance(what, PhotoSet):
        return [_captured(what, "photos", None)]
    return [_captured(read_photo_set(what), what.name, what / "model.obj")]


def _captured(shots: PhotoSet, name: str, solid: Path | None) -> Sample:
    pose = reconstruct.find_foot(pretrained.load_pretrained(), shots)

    @functools.lru_cache(maxsize=2)
    def framed(size: int) -> Captures:
        return reconstruct.crop_to_cube(shots, pose, FOOT_CUBE, size)

    def said(model: nn.Module, chosen: Sequence[int]) -> Reconstruction:
        one = framed(model.config.image_size)
        return model.eval()(preprocess(one.photos[:, list(chosen)]), one.cameras[:, list(chosen)])

    @functools.lru_cache(maxsize=3)
    def truth(size: int) -> Volume | None:
        if solid is None or not solid.is_file():
            return None
        import trimesh

        mesh = trimesh.load_mesh(solid, process=False).apply_transform(np.linalg.inv(pose))
        return voxelise(np.asarray(mesh.vertices), np.asarray(mesh.faces), FOOT_CUBE, size).volume

    # Mirrored photos come in the other order.
    order = [0, *range(len(shots.photos) - 1, 0, -1)] if shots.side == "right" else range(len(shots.photos))
    own = shots.subset(list(order))
    cameras = [replace(camera, extrinsics=camera.extrinsics @ pose) for camera in own.cameras]
    photos = []
    for photo in own.photos:
        small = photo.convert("RGB")
        small.thumbnail((THUMBNAIL, THUMBNAIL), reducing_gap=2.0)
        photos.append(np.asarray(small))
    metric = shots.metric or shots.length is not None
    return Sample(name, photos, own.names, cameras, FOOT_CUBE, shots.side, metric, said, truth)


def _row(captures: Captures, number: int) -> Sample:
    facts = captures.table.iloc[number]
    some = slice(number, number + 1)
    parts = ("photos", "truth", "cameras", "boxes", "files", "fine")
    values = {part: getattr(captures, part) for part in parts}
    values = {part: None if value is None else value[some].cpu() for part, value in values.items()}
    one = replace(captures, table=captures.table.iloc[some].reset_index(drop=True), **values)
    right, metric = facts["side"] == "right", facts["cube"] == "metric"
    cube = FOOT_CUBE if metric else UNIT_CUBE
    shown = preprocess(one.photos, sharp=one.as_published, boxes=one.boxes, size=one.size)[0]
    pictures = (255 * (shown.flip(-1) if right else shown)).round().byte().permute(0, 2, 3, 1).numpy()

    def said(model: nn.Module, chosen: Sequence[int]) -> Reconstruction:
        return next(iter_predictions(model, one, chosen))[0]

    cameras = []
    if one.cameras is not None:
        told = one.cameras[0][:, None]  # each by itself, so that mirroring leaves their order
        told = mirror_cameras(told, torch.full((len(told),), bool(right)))[:, 0]
        cameras = [_camera(matrix, cube, pictures.shape[1]) for matrix in told]
    solid = (one.truth[0].flip(-1) if right else one.truth[0]).numpy()
    names = [str(number) for number in range(len(pictures))]
    of = f"{facts['sample']}, {facts['look']}" + (", without drift" if facts["light"] == "steady" else "")
    return Sample(
        of if facts["dataset"] == "feet" else f"{facts['taxonomy']} {facts['sample']}",
        list(pictures),
        names,
        cameras,
        cube,
        facts["side"],
        bool(metric),
        said,
        lambda size: solid if size == len(solid) else None,
    )


def _camera(seen: Float[Tensor, "3 7"], cube: Cube, pixels: int) -> Camera:
    """The camera that `Camera.normalised` wrote down, with its picture of ``pixels`` a side."""
    intrinsics, rotation, translation = (part.double().numpy() for part in seen.split([3, 3, 1], -1))
    half = np.array([[pixels / 2, 0, pixels / 2], [0, pixels / 2, pixels / 2], [0, 0, 1]])
    extrinsics = np.eye(4)
    extrinsics[:3, :3] = rotation
    extrinsics[:3, 3] = cube.edge * translation[:, 0] - rotation @ np.array(cube.lower)
    return Camera(half @ intrinsics, extrinsics, pixels, pixels)
