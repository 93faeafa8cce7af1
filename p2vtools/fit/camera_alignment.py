"""Simulated errors of camera poses, and the alignment of cameras measured by hand.

The metadata of the slides were noted by hand. The alignment starts from the mean foot: each camera is rotated and moved
until the mean foot projects to the silhouette that the network predicts. The mean change of the distances tells the
size of the foot. Then the cameras are aligned once more, to the network's own reconstruction.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from p2vlib.data.augmentation import perturb_cameras
from p2vlib.data.dataset import Captures
from p2vlib.evaluation import iou_at, iter_predictions, predict
from p2vlib.geometry.frames import FOOT_CUBE_EDGE, FOOT_SHARE
from p2vlib.geometry.placement import Boxes, Cameras, projected_boxes, recrop, solid_boxes
from p2vlib.geometry.projection import voxel_centres
from p2vtools.fit.silhouette_fitting import (
    CameraUpdate,
    Masks,
    align_cameras,
    no_update,
    pivot_in_camera,
    silhouette_overlap,
    update_cameras,
)

CAMERA_NOISE = {"a mat": (0.3, 0.001), "a hand": (1.0, 0.003)}
"""Source of the cameras -> standard deviation of each view's error: degrees about each axis, metres along it."""

AZIMUTH_ERROR, ELEVATION_ERROR = 8.0, 15.0
"""Largest errors of the slides' metadata, degrees."""

AIM_ERROR = 0.04
"""Largest distance of the foot from the optical axis, metres."""

DISTANCE_ERROR = 0.3
"""Largest relative error of the distance."""

MASK_MARGIN, FIRST_ROUND = 1.35, (40, 0.03)
"""Edge of a crop to a predicted silhouette, relative to that of the silhouette; steps and learning rate there."""

OPPOSITE_GAIN = 0.01
"""A camera goes to the opposite side of the foot if its silhouette agrees better there by this much (Dice)."""

TYPICAL_FOOT_ROUNDS = ((1.35, 80, 0.03), (1.15, 60, 0.01), (1.0, 40, 0.005))
"""Rounds of alignment to the typical foot: size of the crop relative to the cube, steps, learning rate."""

PREDICTION_ROUNDS = ((1.0, 30, 0.005),)
"""Rounds of alignment to the network's prediction, likewise."""

FLOOR_CENTRE = (0.5, 0.0, 0.5)
"""Fixed point of a change of scale, in cube edges: where the foot stands."""

SCALES = torch.linspace(0.8, 1.25, 19)
"""Candidates of `rescale_to_truth`."""


class TypicalFoot(NamedTuple):
    """Prior of the alignment."""

    solid: Bool[Tensor, "x y z"]
    """Voxels that more than half of the training feet occupy."""
    spread: float
    """Variance of the logarithm of their lengths."""


def typical_foot(captures: Captures) -> TypicalFoot:
    """The typical foot of training ``captures``."""
    log_lengths = captures.truth.any(3).any(2).sum(1).float().log()
    return TypicalFoot(captures.truth.float().mean(0) > 0.5, float(log_lengths.var()))


def add_camera_noise(captures: Captures, degrees: float, metres: float, seed: int = 0) -> Captures:
    """Foot ``captures`` with an independent camera error in each view, of these standard deviations."""
    generator = torch.Generator().manual_seed(seed)
    # In training `perturb_cameras` draws the amount of noise per sample; here every sample has all of it.
    noisy = perturb_cameras(captures.cameras, degrees, metres / FOOT_CUBE_EDGE, generator, share=False)
    return replace(captures, cameras=noisy)


def recrop_captures(captures: Captures, cameras: Cameras, margin: float = 1.0) -> Captures:
    """``captures`` (`dataset.load_feet`) with other ``cameras``, which refer to the present boxes.

    The photos are cropped to the cube as projected by these cameras, ``margin`` times as large.
    """
    boxes = _scaled_boxes(projected_boxes(cameras, captures.boxes, FOOT_SHARE), margin)
    return _crop(replace(captures, cameras=cameras), boxes)


def _crop(captures: Captures, boxes: Boxes) -> Captures:
    return replace(captures, cameras=recrop(captures.cameras, captures.boxes, boxes), boxes=boxes)


def _scaled_boxes(boxes: Boxes, factor: float) -> Boxes:
    centre, half = (boxes[..., :2] + boxes[..., 2:]) / 2, factor * (boxes[..., 2:] - boxes[..., :2]) / 2
    return torch.cat([centre - half, centre + half], -1)


def note_by_hand(cameras: Cameras, generator: torch.Generator, focal_error: float = 0.0) -> Cameras:
    """``cameras`` as noted by hand: errors are uniform within the largest ones above.

    Args:
        focal_error: largest relative error of the focal length, shared by the photos of a capture: 0 where it is known,
            0.03 from EXIF, `DISTANCE_ERROR` where it is unknown.
    """
    shape = cameras.shape[:2]

    def uniform(*more: int) -> Tensor:
        return 2 * torch.rand(*shape, *more, generator=generator) - 1

    # Azimuth: about the vertical, the second column of the rotation. Elevation: about the x axis of the camera.
    rotation = cameras[..., 3:6][..., :, 1] * torch.deg2rad(AZIMUTH_ERROR * uniform(1))
    rotation = rotation + torch.deg2rad(ELEVATION_ERROR * uniform(1)) * torch.tensor([1.0, 0, 0])
    focal = 2 * torch.rand(shape[0], 1, generator=generator).expand(shape) - 1
    update = CameraUpdate(
        rotation,
        AIM_ERROR / FOOT_CUBE_EDGE * uniform(2),
        (1 + DISTANCE_ERROR * uniform()).log(),
        (1 + focal_error * focal).log(),
    )
    return update_cameras(cameras, update)


def realign_cameras(
    model: nn.Module, captures: Captures, typical: TypicalFoot, threshold: float, focal_error: float = 0.0
) -> Captures:
    """``captures`` with cameras aligned to the silhouettes that ``model`` predicts.

    First to the typical foot, each camera independently; then, in a cube of the likely size (`rescale_to_prior`), to
    the model's own prediction.

    Args:
        threshold: occupancy from which a predicted voxel is solid.
        focal_error: largest relative error of the focal length.
    """
    aligned = _align(model, captures, TYPICAL_FOOT_ROUNDS, typical.solid, threshold)
    rescaled = rescale_to_prior(aligned, captures, typical.spread, focal_error)
    return _align(model, rescaled, PREDICTION_ROUNDS, None, threshold)


def _align(
    model: nn.Module,
    captures: Captures,
    rounds: Sequence[tuple[float, int, float]],
    solid: Bool[Tensor, "x y z"] | None,
    threshold: float,
) -> Captures:
    """``captures`` with cameras aligned to ``solid``, or to the prediction if it is None."""
    for margin, steps, learning_rate in rounds:
        wide, aligned = recrop_captures(captures, captures.cameras, margin), []
        for prediction, cameras in iter_predictions(model, wide, range(captures.photos.shape[1])):
            target = prediction.probability >= threshold
            target = target if solid is None else solid.expand_as(target)
            aligned.append(align_cameras(target, prediction.mask_probability, cameras, steps, learning_rate))
        captures = recrop_captures(wide, torch.cat(aligned))
    return captures


# --------------------------------------------------------------------------------------------- cameras that are far off


def find_cameras(
    model: nn.Module, captures: Captures, typical: TypicalFoot, threshold: float, focal_errors: Sequence[float]
) -> list[Captures]:
    """``captures`` with cameras aligned to the typical foot, wherever the noted ones are, once for each focal error.

    The alignment starts where the model sees the foot in the whole photos, and from both sides of the foot. The model's
    prediction in the cubes of different sizes tells which focal error is right.

    Args:
        focal_errors: largest relative errors of the focal length, from which the size follows (`rescale_to_prior`).
    """
    towards = _turn_towards_feet(model, captures, typical.solid)
    aligned = _align(model, towards, TYPICAL_FOOT_ROUNDS, typical.solid, threshold)
    return [rescale_to_prior(aligned, captures, typical.spread, error) for error in focal_errors]


def _predict_masks(model: nn.Module, captures: Captures) -> Masks:
    predictions = iter_predictions(model, captures, range(captures.photos.shape[1]))
    return torch.cat([prediction.mask_probability for prediction, _ in predictions])


def _turn_towards_feet(model: nn.Module, captures: Captures, solid: Bool[Tensor, "x y z"]) -> Captures:
    """``captures`` with cameras that see the foot where the model sees it in the photos, whatever they said.

    Each camera is aligned to ``solid`` from its own side of the foot and from the opposite one; the better is kept.
    """
    whole = captures.boxes.new_tensor([0, 0, captures.photos.shape[-1], captures.photos.shape[-2]])
    captures = _crop(captures, whole.expand_as(captures.boxes))
    target = _mask_boxes(_predict_masks(model, captures), captures.boxes)
    captures = _crop(captures, _scaled_boxes(target, MASK_MARGIN))
    masks = _predict_masks(model, captures)
    target, solids = _mask_boxes(masks, captures.boxes), solid.expand(len(captures), -1, -1, -1)
    aligned, overlaps = [], []
    for radians in (0.0, math.pi):
        start = _move_to_boxes(_orbit(captures.cameras, radians), captures.boxes, target, solids)
        aligned.append(align_cameras(solids, masks, start, *FIRST_ROUND))
        overlaps.append(silhouette_overlap(solids, masks, aligned[-1]))
    is_opposite = overlaps[1] > overlaps[0] + OPPOSITE_GAIN
    return recrop_captures(captures, torch.where(is_opposite[..., None, None], aligned[1], aligned[0]))


def _mask_boxes(masks: Masks, boxes: Boxes) -> Boxes:
    """The smallest square boxes around ``masks`` in photos cropped to ``boxes``, pixels; ``boxes`` of empty masks."""
    inside, size = masks > 0.5, masks.shape[-1]
    line = torch.arange(size, device=masks.device) / size
    sides = [inside.any(2), inside.any(3)]
    least = torch.stack([torch.where(side, line, torch.inf).amin(-1) for side in sides], -1)
    most = torch.stack([torch.where(side, line + 1 / size, -torch.inf).amax(-1) for side in sides], -1)
    centre, half = (least + most) / 2, (most - least).amax(-1, keepdim=True) / 2
    extent, corner = (boxes[..., 2:] - boxes[..., :2]).tile(2), boxes[..., :2].tile(2)
    around = corner + extent * torch.cat([centre - half, centre + half], -1)
    return torch.where(inside.any(3).any(2)[..., None], around, boxes)


def _orbit(cameras: Cameras, radians: float) -> Cameras:
    """The cameras moved around the vertical line through `silhouette_fitting.PIVOT`."""
    return update_cameras(cameras, no_update(cameras)._replace(rotation=radians * cameras[..., 3:6][..., :, 1]))


def _move_to_boxes(cameras: Cameras, boxes: Boxes, target: Boxes, solids: Bool[Tensor, "batch x y z"]) -> Cameras:
    """``cameras`` of photos cropped to ``boxes``, moved without a turn until ``solids`` project to ``target``."""
    for _ in range(4):  # the shape of the projection changes with the distance
        found = solid_boxes(solids, cameras, boxes)
        ratio = (found[..., 2] - found[..., 0]) / (target[..., 2] - target[..., 0])
        offset = (target - found)[..., :2] + (target - found)[..., 2:]  # twice that of the centres
        uv = offset / (boxes[..., 2:] - boxes[..., :2])
        focal = torch.stack([cameras[..., 0, 0], cameras[..., 1, 1]], -1)
        across = uv * pivot_in_camera(cameras)[..., 2, :] / focal
        cameras = update_cameras(cameras, no_update(cameras)._replace(translation=across, log_distance=ratio.log()))
    return cameras


# --------------------------------------------------------------------------------------------------------------- scale


def rescale_to_prior(captures: Captures, noted: Captures, spread: float, focal_error: float) -> Captures:
    """``captures`` aligned to the typical foot, with the cube rescaled to the likely size of each foot.

    A foot k times as long as the typical one, seen from distance d, projects as the typical one from d / k. The mean
    log ratio of aligned and ``noted`` distances over the views therefore estimates -log k. It is shrunk by the ratio of
    the prior variance ``spread`` (`TypicalFoot`) to the sum of prior and error variance.
    """
    aligned_distance, noted_distance = (pivot_in_camera(one.cameras).norm(dim=(2, 3)) for one in (captures, noted))
    log_ratio = (aligned_distance / noted_distance).log().mean(1)
    error = (DISTANCE_ERROR**2 / captures.photos.shape[1] + focal_error**2) / 3  # variances of uniform errors
    factor = (-log_ratio * spread / (spread + error)).exp()[:, None, None, None]
    intrinsics, rotation, translation = captures.cameras.split([3, 3, 1], -1)
    floor = rotation @ captures.cameras.new_tensor(FLOOR_CENTRE)[:, None]
    moved = factor * (floor + translation) - floor
    return recrop_captures(captures, torch.cat([intrinsics, rotation, moved], -1))


def rescale_to_truth(
    volumes: Float[Tensor, "captures x y z"], truth: Bool[Tensor, "captures x y z"], threshold: float
) -> Float[Tensor, "captures x y z"]:
    """Each volume at the scale, about the centre of the floor, with the best IoU.

    The remaining error is one of shape and pose: cameras with a common scale error cannot tell the size of a foot.
    """
    points, centre = voxel_centres(truth.shape[-1]), torch.tensor(FLOOR_CENTRE)
    candidates = []
    for scale in SCALES:
        grid = (2 * ((points - centre) / scale + centre) - 1).flip(-1).expand(len(volumes), 1, 1, -1, 3)
        scaled = functional.grid_sample(volumes[:, None], grid, align_corners=False)
        candidates.append(scaled.reshape(volumes.shape))
    scores = torch.stack([iou_at(volume, truth, (threshold,))[:, 0] for volume in candidates])
    return torch.stack(candidates)[scores.argmax(0), torch.arange(len(volumes))]


def alignment_table(
    model: nn.Module, test: Captures, train: Captures, threshold: float, focal_errors: Mapping[str, float]
) -> pd.DataFrame:
    """IoU with all photos before and after the alignment, a row for each of ``focal_errors`` (title -> largest error).

    Columns: focal length, true cameras, rough, realigned, realigned at the best scale, won back (share of the loss).
    """
    views, typical = range(test.photos.shape[1]), typical_foot(train)

    def mean_iou(volumes: Tensor) -> float:
        return float(iou_at(volumes, test.truth, (threshold,)).mean())

    best, rows = mean_iou(predict(model, test, views)), []
    for title, focal_error in focal_errors.items():
        noted = recrop_captures(test, note_by_hand(test.cameras, torch.Generator().manual_seed(0), focal_error))
        aligned = predict(model, realign_cameras(model, noted, typical, threshold, focal_error), views)
        before, after = mean_iou(predict(model, noted, views)), mean_iou(aligned)
        scaled = mean_iou(rescale_to_truth(aligned, test.truth, threshold))
        rows.append((title, best, before, after, scaled, (after - before) / max(best - before, 1e-6)))
    names = ["focal length", "true cameras", "rough", "realigned", "realigned, best scale", "won back"]
    return pd.DataFrame(rows, columns=names)
