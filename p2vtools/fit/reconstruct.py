"""From a capture folder to a solid foot: photos and cameras in, an occupied cube about the foot out.

Nobody knows where in a real capture the foot stands and where its toes point. The silhouettes that the network sees in
the photos carve a rough solid first; the cube is set about it, and once more about what the network then finds.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import trimesh
from jaxtyping import Bool, Float, Float32, UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional

from p2vlib.data.augmentation import preprocess
from p2vlib.data.capture_folder import PhotoSet
from p2vlib.data.dataset import Captures, crop_and_resize, mirror_boxes, mirror_cameras, mirror_views
from p2vlib.evaluation import iter_predictions
from p2vlib.files import write_atomically
from p2vlib.geometry.cameras import Camera
from p2vlib.geometry.frames import FOOT_CUBE, FOOT_CUBE_EDGE, FOOT_SHARE, Cube
from p2vlib.geometry.grids import VoxelGrid, to_mesh, write_binvox
from p2vlib.geometry.projection import project_points, render_silhouettes, voxel_centres
from p2vlib.models import Reconstruction
from p2vtools.fit import camera_alignment
from p2vtools.fit.pretrained import PretrainedModel

SEARCH_SCALE = 1.35
"""Edge of the cube in which the foot is looked for at first, in edges of its own."""

GRID_SIZES = (32, 64, 128)

NOTED_ROOM = 1.8
"""How much more than the cube's place in a photo is looked at where cameras were measured by hand."""

NOTED_PIXELS = 224
"""Edge of that in pixels."""

NOTED_FOCAL = 0.03
"""Largest relative error of a focal length that is told by EXIF or by the phone's maker."""

OUTPUT_FORMATS = (".obj", ".stl", ".glb", ".ply", ".binvox")


@dataclass(frozen=True, eq=False)
class ReconstructedFoot:
    """A reconstructed foot, in its own frame: `FOOT_CUBE`."""

    probability: Float32[np.ndarray, "x y z"]
    threshold: float
    pose: Float[np.ndarray, "4 4"]
    """From the foot's frame to that of the cameras, metres: a turn about the vertical and a shift over the floor."""
    agreement: dict[str, float]
    """Photo -> IoU of the solid's silhouette with the one that the network sees in the photo."""
    scale: float = 1.0
    """By which the foot is larger than the cameras say, where a ruler gave them their scale."""

    @property
    def solid(self) -> Bool[np.ndarray, "x y z"]:
        """What is occupied."""
        return self.probability >= self.threshold

    @property
    def certainty(self) -> float:
        """The share of the solid's voxels, and of as many beside it, of which the network is sure to nine in ten."""
        near = self.probability > 0.1
        return float((self.probability[near] >= 0.9).sum() / max(1, near.sum()))

    @functools.cached_property
    def mesh(self) -> trimesh.Trimesh:
        """The surface between the voxels, metres."""
        vertices, faces = to_mesh(self.probability, FOOT_CUBE, self.threshold)
        return trimesh.Trimesh(self.scale * vertices, faces, process=False)


# ------------------------------------------------------------------------------------------------------------ placement


def pose_matrix(yaw: float, place: np.ndarray) -> Float[np.ndarray, "4 4"]:
    """From the frame of a foot that stands at ``place`` (metres) with its toes ``yaw`` degrees clockwise of +x."""
    cos, sin = np.cos(np.deg2rad(yaw)), np.sin(np.deg2rad(yaw))
    pose = np.eye(4)
    pose[:3, :3] = [[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]]
    pose[:3, 3] = place
    return pose


def estimate_placement(weight: Float[np.ndarray, "x y z"], cube: Cube) -> tuple[float, np.ndarray] | None:
    """Which way a rough solid points (degrees clockwise of +x, within 90) and the middle of its box over the floor.

    The direction is the principal axis seen from above: on 600 training feet it stands -0.03 degrees from where the
    toes point, standard deviation 0.85, and the middle within 0.5 mm, 1.6. None: there is too little of it.

    Args:
        weight: occupied above one half.
    """
    if (weight > 0.5).sum() < 10:
        return None
    points = cube.voxel_centres(len(weight))[weight > 0.5][:, [0, 2]]
    away = points - points.mean(0)
    _, axes = np.linalg.eigh(away.T @ away)
    axis = axes[:, -1] * np.sign(axes[0, -1] or 1.0)
    along = np.stack([axis, [-axis[1], axis[0]]])  # x and z of the frame that is turned with it
    turned = points @ along.T
    middle = (turned.min(0) + turned.max(0)) / 2 @ along
    return float(np.rad2deg(np.arctan2(axis[1], axis[0]))), np.array([middle[0], 0.0, middle[1]])


def crop_to_cube(shots: PhotoSet, pose: Float[np.ndarray, "4 4"], cube: Cube, size: int) -> Captures:
    """A capture as networks of ``size`` pixels are shown it: its photos cut to ``cube`` in the frame of ``pose``.

    A right foot enters mirrored. What is true of it is not known.

    Raises:
        ValueError: a camera that does not see the cube.
    """
    photos, seen = [], []
    for photo, own, box, name in _placed(shots, pose, cube):
        if box[2] < 0 or box[3] < 0 or box[0] > photo.width or box[1] > photo.height:
            raise ValueError(f"{name}: its camera does not see the foot's place at all; check the row of this photo")
        photos.append(crop_and_resize(photo, box, size))
        seen.append(own.normalised(cube, box))
    pictures, cameras = _as_left(photos, seen, shots.side)
    nothing = torch.zeros(1, 1, 1, 1, dtype=torch.bool)
    return Captures(pd.DataFrame({"sample": ["capture"]}), pictures, nothing, cameras)


def _ask(
    weights: PretrainedModel, shots: PhotoSet, pose: np.ndarray, cube: Cube
) -> tuple[Reconstruction, Float[Tensor, "1 views 3 7"]]:
    """What the network says of ``cube`` in the frame of ``pose``, and the cameras it is told; a right foot mirrored."""
    one = crop_to_cube(shots, pose, cube, weights.model.config.image_size)
    with torch.no_grad():
        return weights.model(preprocess(one.photos), one.cameras), one.cameras


def _placed(
    shots: PhotoSet, pose: Float[np.ndarray, "4 4"], cube: Cube
) -> Iterator[tuple[Image.Image, Camera, tuple[float, ...], str]]:
    """Each photo, its camera in the frame of ``pose``, where the lower part of ``cube`` shows in it, and its name."""
    for photo, camera, name in zip(shots.photos, shots.cameras, shots.names, strict=True):
        own = replace(camera, extrinsics=camera.extrinsics @ pose)
        try:
            box = own.crop_box(cube, FOOT_SHARE * cube.edge)
        except ValueError as error:
            raise ValueError(f"{name}: {error}; where it was taken from does not fit the others, or nothing") from None
        yield photo, own, box, name


def _as_left(
    photos: list[np.ndarray], cameras: list[np.ndarray], side: str
) -> tuple[UInt8[Tensor, "1 views 4 size size"], Float[Tensor, "1 views 3 7"]]:
    """Photos and cameras of one foot as a batch; a right foot mirrored."""
    pictures = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2)[None]
    right = torch.tensor([side == "right"])
    pictures, _ = mirror_views(pictures, torch.zeros(1, 1, 1, 1, dtype=torch.bool), right)
    return pictures, mirror_cameras(torch.tensor(np.stack(cameras), dtype=torch.float32)[None], right)


def _realigned(
    weights: PretrainedModel, shots: PhotoSet, pose: np.ndarray
) -> tuple[Reconstruction, Float[Tensor, "1 views 3 7"]]:
    """What the network says once the cameras agree with the foot in the photos, and these cameras (`rough`)."""
    if weights.typical_foot is None:
        raise ValueError("these weights came without a typical foot to align cameras to; say --cameras exact")
    photos, seen, boxes = [], [], []
    for photo, own, place, _ in _placed(shots, pose, FOOT_CUBE):
        box = np.array(place)
        middle, half = (box[:2] + box[2:]) / 2, NOTED_ROOM * (box[2:] - box[:2]) / 2
        wide = np.concatenate([middle - half, middle + half])
        photos.append(crop_and_resize(photo, wide, NOTED_PIXELS))
        seen.append(own.normalised(FOOT_CUBE, place))
        boxes.append((box - np.tile(wide[:2], 2)) * NOTED_PIXELS / (wide[2] - wide[0]))
    pictures, cameras = _as_left(photos, seen, shots.side)
    right = torch.tensor([shots.side == "right"])
    places = mirror_boxes(torch.tensor(np.stack(boxes), dtype=torch.float32)[None], NOTED_PIXELS, right)
    table = pd.DataFrame({"sample": ["noted"]})
    nothing = torch.zeros(1, 1, 1, 1, dtype=torch.bool)
    noted = Captures(table, pictures, nothing, cameras, places, weights.model.config.image_size)
    known = camera_alignment.realign_cameras(weights.model, noted, weights.typical_foot, weights.threshold, NOTED_FOCAL)
    with torch.no_grad():
        (answer,) = iter_predictions(weights.model, known, range(len(photos)))
    return answer


def _carved(said: Reconstruction, cameras: Float[Tensor, "1 views 3 7"], size: int) -> Float[np.ndarray, "x y z"]:
    """A visual hull of the silhouettes that the network sees, forgiving one photo in four."""
    projection = project_points(cameras, voxel_centres(size))
    read = functional.grid_sample(said.mask_probability[0][:, None], projection.uv[0][:, None], align_corners=False)[
        :, 0, 0
    ]
    told = torch.where(projection.visible[0], read, torch.nan)
    hull = torch.nan_to_num(torch.nanquantile(told, 0.25, dim=0)).reshape((size,) * 3)
    hull[:, round(FOOT_SHARE * size) :] = 0
    return hull.numpy()


def foot_visual_hull(
    weights: PretrainedModel, shots: PhotoSet, pose: Float[np.ndarray, "4 4"], cube: Cube, size: int = 48
) -> Float[np.ndarray, "x y z"]:
    """What the silhouettes that the network sees in the photos carve out of ``cube`` in the frame of ``pose``.

    Raises:
        ValueError: a camera that does not see the cube.
    """
    said, cameras = _ask(weights, shots, pose, cube)
    carved = _carved(said, cameras, size)
    return carved[:, :, ::-1] if shots.side == "right" else carved


def find_foot(weights: PretrainedModel, shots: PhotoSet) -> Float[np.ndarray, "4 4"]:
    """The pose of the foot: carved roughly from silhouettes first, then twice from what the network makes of it.

    Raises:
        ValueError: nothing that looks like a foot is seen where the cameras look.
    """
    pose = pose_matrix(0.0, shots.initial_position)
    for carving in (True, True, False, False):
        edge = FOOT_CUBE_EDGE * (SEARCH_SCALE if carving else 1.0)
        cube = Cube((-edge / 2, 0.0, -edge / 2), edge)
        if carving:
            volume = foot_visual_hull(weights, shots, pose, cube)
        else:
            said, _ = _ask(weights, shots, pose, cube)
            volume = said.probability[0].numpy() / weights.threshold / 2
            volume = volume[:, :, ::-1] if shots.side == "right" else volume
        found = estimate_placement(volume, cube)
        if found is None:
            raise ValueError(
                f"no foot is seen where the {len(shots.photos)} cameras look; expected one on the floor at y = 0,"
                " within 4 cm and 30 degrees of the middle: check the cameras, or say --placement given"
            )
        yaw, middle = found
        pose = pose @ pose_matrix(yaw, middle)
    return pose


def reconstruct(
    weights: PretrainedModel,
    shots: PhotoSet,
    size: int = 32,
    placement: str = "found",
    cameras: str = "exact",
    report: Callable[[str], object] = lambda line: None,
) -> ReconstructedFoot:
    """The foot in ``shots``.

    Args:
        size: edge of the volume in voxels: at 64 and 128 the network is asked again near its surface at half of it.
        placement: ``found``, or ``given``: the foot stands where the capture says, toes along +x.
        cameras: ``exact``, or ``noted``: measured by hand, to be aligned to the foot in the photos first (`rough`).
        report: is told what is done.

    Raises:
        ValueError: cameras that do not see the foot, no foot to be seen, or weights that cannot align cameras.
    """
    if size not in GRID_SIZES:
        raise ValueError(f"size is {size}; expected one of {', '.join(map(str, GRID_SIZES))}")
    began = time.perf_counter()
    pose = pose_matrix(0.0, shots.initial_position)
    if cameras == "noted":
        said, seen = _realigned(weights, shots, pose)
        placement = "by the cameras, aligned to the foot"
    else:
        pose = find_foot(weights, shots) if placement == "found" else pose
        said, seen = _ask(weights, shots, pose, FOOT_CUBE)
    yaw = np.rad2deg(np.arctan2(pose[2, 0], pose[0, 0]))
    shift = pose[:3, 3] - shots.initial_position
    report(
        f"{len(shots.photos)} photos of a {shots.side} foot; placement {placement}: "
        f"{np.hypot(*shift[[0, 2]]) * 1000:.0f} mm and {yaw:+.0f} degrees from where the capture looks for it"
    )
    volume = weights.model.enlarged(said.coarse_state, size, weights.threshold)[0]
    agreement = _agreement(said, seen, weights.threshold)
    names = shots.names
    if shots.side == "right":
        volume = volume.flip(-1)
        names = [names[0], *names[:0:-1]]  # mirrored photos come in the other order
    foot = ReconstructedFoot(volume.numpy(), weights.threshold, pose, dict(zip(names, agreement, strict=True)))
    if not foot.solid.any():
        raise ValueError(
            "the network sees no foot in these photos: nothing is occupied; check photos, side and cameras"
        )
    report(f"{time.perf_counter() - began:.1f} s at {size}^3")
    return foot


def _agreement(said: Reconstruction, cameras: Float[Tensor, "1 views 3 7"], threshold: float) -> list[float]:
    solid = (said.probability >= threshold).float()
    drawn = render_silhouettes(solid, cameras, said.mask_probability.shape[-1])[0] > 0.5
    seen = said.mask_probability[0] > 0.5
    hit, union = (drawn & seen).sum((1, 2)), (drawn | seen).sum((1, 2))
    return (hit / union.clamp(min=1)).tolist()


def check_output_path(path: Path) -> None:
    """Says before the work whether `write` knows the ending of ``path``.

    Raises:
        ValueError: an unknown ending.
    """
    if path.suffix.lower() not in OUTPUT_FORMATS:
        found = path.suffix or "a file without ending"
        raise ValueError(f"{path}: cannot write {found}; expected {', '.join(OUTPUT_FORMATS)}")


def write_foot(foot: ReconstructedFoot, path: Path) -> None:
    """Writes the foot as a mesh or a grid, by the ending of ``path``: metres, and millimetres in ``.stl``.

    Raises:
        ValueError: an unknown ending.
        OSError: it cannot be written.
    """
    check_output_path(path)
    ending = path.suffix.lower()
    if ending == ".binvox":
        lower = tuple(foot.scale * edge for edge in FOOT_CUBE.lower)
        grid = VoxelGrid(foot.solid, Cube(lower, foot.scale * FOOT_CUBE.edge))
        write_atomically(path, lambda partial: write_binvox(partial, grid))
        return
    mesh = foot.mesh.copy().apply_scale(1000 if ending == ".stl" else 1)
    write_atomically(path, lambda partial: mesh.export(partial))
