"""Reconstruction of a foot from the photos and cameras of a capture."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import trimesh
from jaxtyping import Bool, Float32

from p2vlib.data.dataset import Captures, crop_and_resize
from p2vlib.evaluation import iter_predictions
from p2vlib.files import write_atomically
from p2vlib.geometry.frames import FOOT_CUBE, Cube
from p2vlib.geometry.grids import VoxelGrid, to_mesh, voxelise
from p2vlib.geometry.placement import Cameras
from p2vlib.models import Reconstruction
from p2vtools.archives.binvox import write_binvox
from p2vtools.fit import camera_alignment
from p2vtools.fit.cube_crops import Pose, as_left_captures, predict_closely, project_cube, silhouette_iou
from p2vtools.fit.photo_set import PhotoSet
from p2vtools.fit.placement import FootPlacement, describe_shift, find_foot, pose_matrix
from p2vtools.fit.pretrained import PretrainedModel

GRID_SIZES = (32, 64, 128)

NOTED_MARGIN, NOTED_PIXELS = 1.8, 224
"""Crop for cameras measured by hand: its edge relative to the projected cube, and in pixels."""

WHOLE_PIXELS = 448
"""Edge of the whole photo for cameras that are far off, pixels."""

FOCAL_ERRORS = (0.03, 0.1, 0.3)
"""Largest relative errors of a focal length: from EXIF or the manufacturer, and two that are tried in addition."""

ALIGNMENT_GAIN, FAR_OFF, FAR_OFF_GAIN = 0.1, 0.6, 0.05
"""Aligned cameras replace noted ones only if the mean silhouette IoU improves by more than the first. Below the second
the noted cameras are far off, and the third is enough."""

OUTPUT_FORMATS = (".obj", ".stl", ".glb", ".ply", ".binvox")

Found = tuple[FootPlacement | None, tuple[Reconstruction, Cameras]]
"""Placement, and the prediction there with the cameras passed to the network."""


@dataclass(frozen=True, eq=False)
class ReconstructedFoot:
    """A reconstructed foot in its own frame (`FOOT_CUBE`)."""

    probability: Float32[np.ndarray, "x y z"]
    threshold: float
    pose: Pose
    silhouette_iou: dict[str, float]
    """Photo -> IoU of the rendered silhouette with the predicted one."""
    member_probability: Float32[np.ndarray, "members n n n"]
    """Occupancy by each member of the ensemble, on the grid of the network."""
    placement: FootPlacement | None = None
    """How the pose was found; None: it was given, or the cameras were aligned."""
    scale: float = 1.0
    """Factor on all lengths, where a foot length measured by a ruler sets the scale."""
    corrected_surface: trimesh.Trimesh | None = None
    """The surface with its bias corrected (`uncertainty.measure_with_intervals`), metres, before ``scale``."""

    @property
    def solid(self) -> Bool[np.ndarray, "x y z"]:
        """The occupied voxels."""
        return self.probability >= self.threshold

    @functools.cached_property
    def mesh(self) -> trimesh.Trimesh:
        """``corrected_surface`` if there is one, otherwise the interpolated surface; scaled, metres."""
        surface = self.corrected_surface
        if surface is None:
            surface = trimesh.Trimesh(*to_mesh(self.probability, FOOT_CUBE, self.threshold), process=False)
        return trimesh.Trimesh(self.scale * surface.vertices, surface.faces, process=False)


# ----------------------------------------------------------------------------------------------------------- prediction


def _noted_captures(weights: PretrainedModel, photo_set: PhotoSet, pose: Pose, far_off: bool) -> Captures:
    """Photos with cameras measured by hand: around the projected cube, or whole if the cameras are ``far_off``."""
    photos, cameras, boxes = [], [], []
    for photo, camera, place, _ in project_cube(photo_set, pose, FOOT_CUBE):
        box, size = np.array(place), np.array(photo.size)
        centre, half = (box[:2] + box[2:]) / 2, NOTED_MARGIN * (box[2:] - box[:2]) / 2
        pixels, outside = NOTED_PIXELS, "edge"
        if far_off:
            centre, half, pixels, outside = size / 2, size.max() / 2, WHOLE_PIXELS, "constant"
        crop = np.concatenate([centre - half, centre + half])
        photos.append(crop_and_resize(photo, crop, pixels, outside))
        cameras.append(camera.normalised(FOOT_CUBE, place))
        boxes.append((box - np.tile(crop[:2], 2)) * pixels / (crop[2] - crop[0]))
    return as_left_captures(photos, cameras, photo_set.side, boxes, size=weights.model.config.image_size)


def _predict_aligned(
    weights: PretrainedModel, photo_set: PhotoSet, pose: Pose, far_off: bool
) -> tuple[Reconstruction, Cameras]:
    """Prediction after the alignment of cameras measured by hand (`camera_alignment`), and the aligned cameras."""
    noted = _noted_captures(weights, photo_set, pose, far_off)
    settings = weights.model, noted, weights.typical_foot, weights.threshold
    if far_off:
        aligned = camera_alignment.find_cameras(*settings, FOCAL_ERRORS)
    else:
        aligned = [camera_alignment.realign_cameras(*settings, FOCAL_ERRORS[0])]
    predictions, views = [], range(len(photo_set.photos))
    with torch.no_grad():
        for captures in aligned:
            predictions += iter_predictions(weights.model, captures, views)
    return max(predictions, key=lambda one: np.mean(silhouette_iou(*one, weights.threshold)))


def _predict_exact(weights: PretrainedModel, photo_set: PhotoSet, find: bool) -> Found:
    """Placement, None if the foot is not to be found, and prediction with exact cameras."""
    found = find_foot(weights, photo_set) if find else None
    pose = found.pose if found else pose_matrix(0.0, photo_set.initial_position)
    return found, predict_closely(weights, photo_set, pose)


def _predict_noted(weights: PretrainedModel, photo_set: PhotoSet, find: bool) -> Found:
    """Placement and prediction with cameras measured by hand, either as noted or aligned (then without a placement).

    An alignment always improves the agreement of the silhouettes a little and makes exact cameras worse, so the aligned
    cameras are used only if the agreement improves clearly (`ALIGNMENT_GAIN`). Cameras with which the silhouettes
    hardly agree (`FAR_OFF`) are looked for in the whole photos, from both sides of the foot.
    """
    found, kept, before = None, None, 0.0
    with contextlib.suppress(ValueError):  # such cameras may not see the foot
        found, kept = _predict_exact(weights, photo_set, find)
        before = float(np.mean(silhouette_iou(*kept, weights.threshold)))
    far_off = before < FAR_OFF
    aligned = _predict_aligned(weights, photo_set, pose_matrix(0.0, photo_set.initial_position), far_off)
    after = float(np.mean(silhouette_iou(*aligned, weights.threshold)))
    is_better = after > before + (FAR_OFF_GAIN if far_off else ALIGNMENT_GAIN)
    return (None, aligned) if kept is None or is_better else (found, kept)


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
        cameras: ``exact``, or ``noted``: measured by hand, and aligned to the photos (`camera_alignment`) if that
            clearly improves the agreement of the silhouettes.
        report: receives progress messages.

    Raises:
        FootNotSeenError: a camera that does not see the foot.
        ValueError: no foot found.
    """
    if size not in GRID_SIZES:
        raise ValueError(f"size is {size}; expected one of {', '.join(map(str, GRID_SIZES))}")
    start = time.perf_counter()
    predict = _predict_noted if cameras == "noted" else _predict_exact
    found, (prediction, used_cameras) = predict(weights, photo_set, placement == "found")
    pose = found.pose if found else pose_matrix(0.0, photo_set.initial_position)
    method = "by the aligned cameras" if placement == "found" and found is None else placement
    shift = f"{describe_shift(photo_set, pose)} from the initial guess"
    report(f"{len(photo_set.photos)} photos of a {photo_set.side} foot; placement {method}: {shift}")
    volume = weights.model.enlarged(prediction.coarse_state, size, weights.threshold)[0]
    scores = silhouette_iou(prediction, used_cameras, weights.threshold)
    names, members = photo_set.names, prediction.member_probability[0]
    if photo_set.side == "right":
        volume, members = volume.flip(-1), members.flip(-1)
        names = [names[0], *names[:0:-1]]  # mirroring reverses the order of the photos
    overlap = dict(zip(names, scores, strict=True))
    foot = ReconstructedFoot(volume.numpy(), weights.threshold, pose, overlap, members.numpy(), found)
    if not foot.solid.any():
        raise ValueError("the reconstruction is empty: no foot in these photos; check photos, side and cameras")
    report(f"{time.perf_counter() - start:.1f} s at {size}^3")
    return foot


# --------------------------------------------------------------------------------------------------------------- output


def write_foot(foot: ReconstructedFoot, path: Path) -> None:
    """Writes a mesh or a grid, by the extension of ``path``: in metres, ``.stl`` in millimetres.

    Raises:
        OSError: the file cannot be written.
    """
    extension = path.suffix.lower()
    if extension == ".binvox":
        lower = tuple(foot.scale * edge for edge in FOOT_CUBE.lower)
        cube, solid = Cube(lower, foot.scale * FOOT_CUBE.edge), foot.solid
        if foot.corrected_surface is not None:
            solid = voxelise(foot.mesh.vertices, foot.mesh.faces, cube, len(solid)).volume
        grid = VoxelGrid(solid, cube)
        write_atomically(path, lambda partial: write_binvox(partial, grid))
        return
    mesh = foot.mesh.copy().apply_scale(1000 if extension == ".stl" else 1)
    write_atomically(path, lambda partial: mesh.export(partial))
