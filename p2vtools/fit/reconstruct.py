"""Reconstruction of a foot from the photos and cameras of a capture.

A real capture does not tell where the foot stands and where its toes point. The silhouettes that the network predicts
give a coarse visual hull first; the foot's cube is placed around it, and placed again around the network's own volume.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import trimesh
from jaxtyping import Bool, Float, Float32
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
"""Edge of the cube in which the foot is searched first, relative to the cube of a foot."""

GRID_SIZES = (32, 64, 128)

NOTED_MARGIN = 1.8
"""Size of the crop relative to the projected cube, for cameras measured by hand."""

NOTED_PIXELS = 224
"""Edge of that crop, pixels."""

NOTED_FOCAL_ERROR = 0.03
"""Largest relative error of a focal length from EXIF or the manufacturer."""

OUTPUT_FORMATS = (".obj", ".stl", ".glb", ".ply", ".binvox")


@dataclass(frozen=True, eq=False)
class ReconstructedFoot:
    """A reconstructed foot in its own frame (`FOOT_CUBE`)."""

    probability: Float32[np.ndarray, "x y z"]
    threshold: float
    pose: Float[np.ndarray, "4 4"]
    """From the frame of the foot to that of the cameras, metres: yaw and translation on the floor."""
    silhouette_iou: dict[str, float]
    """Photo -> IoU of the rendered silhouette with the predicted one."""
    scale: float = 1.0
    """Factor on all lengths, where a foot length measured by a ruler sets the scale."""

    @property
    def solid(self) -> Bool[np.ndarray, "x y z"]:
        """The occupied voxels."""
        return self.probability >= self.threshold

    @property
    def certainty(self) -> float:
        """Share of voxels with a probability of at least 0.9, among those above 0.1."""
        candidates = self.probability > 0.1
        return float((self.probability[candidates] >= 0.9).sum() / max(1, candidates.sum()))

    @functools.cached_property
    def mesh(self) -> trimesh.Trimesh:
        """The interpolated surface, metres."""
        vertices, faces = to_mesh(self.probability, FOOT_CUBE, self.threshold)
        return trimesh.Trimesh(self.scale * vertices, faces, process=False)


# ------------------------------------------------------------------------------------------------------------ placement


def pose_matrix(yaw: float, position: np.ndarray) -> Float[np.ndarray, "4 4"]:
    """From the frame of a foot at ``position`` (metres) whose toes point ``yaw`` degrees clockwise of +x."""
    cos, sin = np.cos(np.deg2rad(yaw)), np.sin(np.deg2rad(yaw))
    pose = np.eye(4)
    pose[:3, :3] = [[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]]
    pose[:3, 3] = position
    return pose


def estimate_placement(volume: Float[np.ndarray, "x y z"], cube: Cube) -> tuple[float, np.ndarray] | None:
    """Yaw (degrees clockwise of +x, within 90) and centre on the floor of a coarse foot.

    The direction is the principal axis in the floor plane: on 600 training feet it differs from the true direction by
    -0.03 degrees (standard deviation 0.85), and the centre of the bounding box by 0.5 mm (1.6). None: fewer than ten
    occupied voxels.

    Args:
        volume: occupied above 0.5.
    """
    if (volume > 0.5).sum() < 10:
        return None
    points = cube.voxel_centres(len(volume))[volume > 0.5][:, [0, 2]]
    centred = points - points.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axis = axes[:, -1] * np.sign(axes[0, -1] or 1.0)
    rotation = np.stack([axis, [-axis[1], axis[0]]])  # rows: x and z of the rotated frame
    rotated = points @ rotation.T
    centre = (rotated.min(0) + rotated.max(0)) / 2 @ rotation
    return float(np.rad2deg(np.arctan2(axis[1], axis[0]))), np.array([centre[0], 0.0, centre[1]])


def find_foot(weights: PretrainedModel, photo_set: PhotoSet) -> Float[np.ndarray, "4 4"]:
    """Estimates the pose of the foot, twice from a visual hull and twice from the predicted volume.

    Raises:
        ValueError: no foot in the view of the cameras.
    """
    pose = pose_matrix(0.0, photo_set.initial_position)
    for from_hull in (True, True, False, False):
        edge = FOOT_CUBE_EDGE * (SEARCH_SCALE if from_hull else 1.0)
        cube = Cube((-edge / 2, 0.0, -edge / 2), edge)
        if from_hull:
            volume = foot_visual_hull(weights, photo_set, pose, cube)
        else:
            prediction, _ = _predict(weights, photo_set, pose, cube)
            volume = prediction.probability[0].numpy() / weights.threshold / 2
            volume = volume[:, :, ::-1] if photo_set.side == "right" else volume
        placement = estimate_placement(volume, cube)
        if placement is None:
            raise ValueError(
                f"no foot found in the {len(photo_set.photos)} photos; expected one on the floor at y = 0, within 4 cm"
                " and 30 degrees of the centre: check the cameras, or pass --placement given"
            )
        pose = pose @ pose_matrix(*placement)
    return pose


def foot_visual_hull(
    weights: PretrainedModel, photo_set: PhotoSet, pose: Float[np.ndarray, "4 4"], cube: Cube, size: int = 48
) -> Float[np.ndarray, "x y z"]:
    """Visual hull of the predicted silhouettes in ``cube`` of the frame ``pose``; one photo in four may disagree.

    Raises:
        ValueError: a camera that does not see the cube.
    """
    prediction, cameras = _predict(weights, photo_set, pose, cube)
    projection = project_points(cameras, voxel_centres(size))
    masks, places = prediction.mask_probability[0][:, None], projection.uv[0][:, None]
    samples = functional.grid_sample(masks, places, align_corners=False)[:, 0, 0]
    samples = torch.where(projection.visible[0], samples, torch.nan)
    hull = torch.nan_to_num(torch.nanquantile(samples, 0.25, dim=0)).reshape((size,) * 3)
    hull[:, round(FOOT_SHARE * size) :] = 0
    return hull.numpy()[:, :, ::-1] if photo_set.side == "right" else hull.numpy()


# ----------------------------------------------------------------------------------------------------------- prediction


def crop_to_cube(photo_set: PhotoSet, pose: Float[np.ndarray, "4 4"], cube: Cube, size: int) -> Captures:
    """The input of a network with ``size`` pixels: photos cropped to ``cube`` in the frame ``pose``.

    A right foot is mirrored. The truth is unknown.

    Raises:
        ValueError: a camera that does not see the cube.
    """
    photos, cameras = [], []
    for photo, camera, box, name in _project_cube(photo_set, pose, cube):
        if box[2] < 0 or box[3] < 0 or box[0] > photo.width or box[1] > photo.height:
            raise ValueError(f"{name}: its camera does not see the position of the foot; check the row of this photo")
        photos.append(crop_and_resize(photo, box, size))
        cameras.append(camera.normalised(cube, box))
    return _as_left_captures(photos, cameras, photo_set.side)


def _project_cube(
    photo_set: PhotoSet, pose: Float[np.ndarray, "4 4"], cube: Cube
) -> Iterator[tuple[Image.Image, Camera, tuple[float, ...], str]]:
    """Each photo, its camera in the frame ``pose``, the box of the lower part of ``cube`` in it, and its name."""
    for photo, camera, name in zip(photo_set.photos, photo_set.cameras, photo_set.names, strict=True):
        moved = replace(camera, extrinsics=camera.extrinsics @ pose)
        try:
            box = moved.crop_box(cube, FOOT_SHARE * cube.edge)
        except ValueError as error:
            raise ValueError(f"{name}: {error}; its pose does not agree with the other photos") from None
        yield photo, moved, box, name


def _as_left_captures(
    photos: Sequence[np.ndarray],
    cameras: Sequence[np.ndarray],
    side: str,
    boxes: Sequence[np.ndarray] = (),
    size: int = 0,
) -> Captures:
    """Photos and cameras of one foot as `Captures` of one row; a right foot is mirrored."""
    is_right, no_truth = torch.tensor([side == "right"]), torch.zeros(1, 1, 1, 1, dtype=torch.bool)
    pixels = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2)[None]
    pixels, _ = mirror_views(pixels, no_truth, is_right)
    left_cameras = mirror_cameras(torch.tensor(np.stack(cameras), dtype=torch.float32)[None], is_right)
    places = None
    if len(boxes):
        places = mirror_boxes(torch.tensor(np.stack(boxes), dtype=torch.float32)[None], pixels.shape[-1], is_right)
    return Captures(pd.DataFrame({"sample": ["capture"]}), pixels, no_truth, left_cameras, places, size)


def _predict(
    weights: PretrainedModel, photo_set: PhotoSet, pose: np.ndarray, cube: Cube
) -> tuple[Reconstruction, Float[Tensor, "1 views 3 7"]]:
    """Prediction in ``cube`` of the frame ``pose``, and the cameras passed to the network; a right foot is mirrored."""
    captures = crop_to_cube(photo_set, pose, cube, weights.model.config.image_size)
    with torch.no_grad():
        return weights.model(preprocess(captures.photos), captures.cameras), captures.cameras


def _predict_realigned(
    weights: PretrainedModel, photo_set: PhotoSet, pose: np.ndarray
) -> tuple[Reconstruction, Float[Tensor, "1 views 3 7"]]:
    """Prediction after the alignment of cameras measured by hand (`camera_alignment`), and the aligned cameras."""
    if weights.typical_foot is None:
        raise ValueError("these weights have no typical foot to align cameras to; pass --cameras exact")
    photos, cameras, boxes = [], [], []
    for photo, camera, place, _ in _project_cube(photo_set, pose, FOOT_CUBE):
        box = np.array(place)
        centre, half = (box[:2] + box[2:]) / 2, NOTED_MARGIN * (box[2:] - box[:2]) / 2
        crop = np.concatenate([centre - half, centre + half])
        photos.append(crop_and_resize(photo, crop, NOTED_PIXELS))
        cameras.append(camera.normalised(FOOT_CUBE, place))
        boxes.append((box - np.tile(crop[:2], 2)) * NOTED_PIXELS / (crop[2] - crop[0]))
    noted = _as_left_captures(photos, cameras, photo_set.side, boxes, size=weights.model.config.image_size)
    aligned = camera_alignment.realign_cameras(
        weights.model, noted, weights.typical_foot, weights.threshold, NOTED_FOCAL_ERROR
    )
    with torch.no_grad():
        (prediction,) = iter_predictions(weights.model, aligned, range(len(photos)))
    return prediction


def reconstruct(
    weights: PretrainedModel,
    photo_set: PhotoSet,
    size: int = 32,
    placement: str = "found",
    cameras: str = "exact",
    report: Callable[[str], object] = lambda line: None,
) -> ReconstructedFoot:
    """Reconstructs the foot in ``photo_set``.

    Args:
        size: edge of the volume in voxels; at 64 and 128 the network is evaluated again near the surface.
        placement: ``found`` (`find_foot`), or ``given``: the foot stands where the capture says, toes along +x.
        cameras: ``exact``, or ``noted``: measured by hand, aligned to the photos first (`camera_alignment`).
        report: receives progress messages.

    Raises:
        ValueError: cameras that do not see the foot, no foot found, or weights that cannot align cameras.
    """
    if size not in GRID_SIZES:
        raise ValueError(f"size is {size}; expected one of {', '.join(map(str, GRID_SIZES))}")
    start = time.perf_counter()
    pose = pose_matrix(0.0, photo_set.initial_position)
    if cameras == "noted":
        prediction, used_cameras = _predict_realigned(weights, photo_set, pose)
        placement = "by the aligned cameras"
    else:
        pose = find_foot(weights, photo_set) if placement == "found" else pose
        prediction, used_cameras = _predict(weights, photo_set, pose, FOOT_CUBE)
    yaw = np.rad2deg(np.arctan2(pose[2, 0], pose[0, 0]))
    shift = pose[:3, 3] - photo_set.initial_position
    report(
        f"{len(photo_set.photos)} photos of a {photo_set.side} foot; placement {placement}: "
        f"{np.hypot(*shift[[0, 2]]) * 1000:.0f} mm and {yaw:+.0f} degrees from the initial guess"
    )
    volume = weights.model.enlarged(prediction.coarse_state, size, weights.threshold)[0]
    scores = _silhouette_iou(prediction, used_cameras, weights.threshold)
    names = photo_set.names
    if photo_set.side == "right":
        volume = volume.flip(-1)
        names = [names[0], *names[:0:-1]]  # mirroring reverses the order of the photos
    foot = ReconstructedFoot(volume.numpy(), weights.threshold, pose, dict(zip(names, scores, strict=True)))
    if not foot.solid.any():
        raise ValueError("the reconstruction is empty: no foot in these photos; check photos, side and cameras")
    report(f"{time.perf_counter() - start:.1f} s at {size}^3")
    return foot


def _silhouette_iou(prediction: Reconstruction, cameras: Float[Tensor, "1 views 3 7"], threshold: float) -> list[float]:
    """IoU between the silhouettes of the volume and the predicted masks, for each view."""
    solid = (prediction.probability >= threshold).float()
    rendered = render_silhouettes(solid, cameras, prediction.mask_probability.shape[-1])[0] > 0.5
    masks = prediction.mask_probability[0] > 0.5
    intersection, union = (rendered & masks).sum((1, 2)), (rendered | masks).sum((1, 2))
    return (intersection / union.clamp(min=1)).tolist()


# --------------------------------------------------------------------------------------------------------------- output


def check_output_path(path: Path) -> None:
    """Checks before the work that `write_foot` supports the extension of ``path``.

    Raises:
        ValueError: unsupported extension.
    """
    if path.suffix.lower() not in OUTPUT_FORMATS:
        found = path.suffix or "a file without extension"
        raise ValueError(f"{path}: cannot write {found}; expected {', '.join(OUTPUT_FORMATS)}")


def write_foot(foot: ReconstructedFoot, path: Path) -> None:
    """Writes a mesh or a grid, by the extension of ``path``: in metres, ``.stl`` in millimetres.

    Raises:
        ValueError: unsupported extension.
        OSError: the file cannot be written.
    """
    check_output_path(path)
    extension = path.suffix.lower()
    if extension == ".binvox":
        lower = tuple(foot.scale * edge for edge in FOOT_CUBE.lower)
        grid = VoxelGrid(foot.solid, Cube(lower, foot.scale * FOOT_CUBE.edge))
        write_atomically(path, lambda partial: write_binvox(partial, grid))
        return
    mesh = foot.mesh.copy().apply_scale(1000 if extension == ".stl" else 1)
    write_atomically(path, lambda partial: mesh.export(partial))
