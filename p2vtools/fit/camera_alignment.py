"""Cameras that are not quite where they were measured: what it costs, and what the photos themselves put right.

Those of the slides were noted by hand. To put them right the mean foot comes first: each camera is turned and moved
until it shows as the foot that the network sees in the photo. How far all of them moved away from or towards it tells
how large this foot is. Then the network is asked with these cameras, and they are aligned once more to its own answer.
"""

from __future__ import annotations

from collections.abc import Mapping
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
from p2vlib.geometry.placement import projected_boxes, recrop
from p2vlib.geometry.projection import voxel_centres
from p2vtools.fit.silhouette_fitting import MIDDLE, CameraUpdate, align_cameras, update_cameras

CAMERA_NOISE = {"a mat": (0.3, 0.001), "a hand": (1.0, 0.003)}
"""Who measured the cameras -> degrees about each axis and metres along it, standard deviations of each view's error."""

AZIMUTH, ELEVATION = 8.0, 15.0
"""Most degrees by which the slides' metadata are off."""

AIM = 0.04
"""Most metres by which a camera looks beside the foot."""

DISTANCE_ERROR = 0.3
"""Largest relative error of distance and field of view."""

GUESSING = ((1.35, 80, 0.03), (1.15, 60, 0.01), (1.0, 40, 0.005))
"""Rounds of alignment to the mean foot: how much wider photos are cut, steps, rate."""

ANSWERING = ((1.0, 30, 0.005),)
"""Rounds to the network's own answer."""

FLOOR = (0.5, 0.0, 0.5)
"""About which a cube grows, in its edges: where a foot stands."""

SCALES = torch.linspace(0.8, 1.25, 19)
"""Sizes that are tried for the best one."""


class TypicalFoot(NamedTuple):
    """What is known of feet before any is seen."""

    solid: Bool[Tensor, "x y z"]
    """Where most training feet are."""
    spread: float
    """Variance of the logarithm of their lengths."""


def typical_foot(learnt: Captures) -> TypicalFoot:
    """The typical one of the feet in ``learnt``."""
    lengths = learnt.truth.any(3).any(2).sum(1).float().log()
    return TypicalFoot(learnt.truth.float().mean(0) > 0.5, float(lengths.var()))


def add_camera_noise(captures: Captures, degrees: float, metres: float, seed: int = 0) -> Captures:
    """``captures`` (feet) whose cameras were measured with an error of their own in each view."""
    generator = torch.Generator().manual_seed(seed)
    # `jittered` gives each sample a share of the error; here all have all of it.
    wrong = perturb_cameras(captures.cameras, degrees, metres / FOOT_CUBE_EDGE, generator, share=False)
    return replace(captures, cameras=wrong)


def recrop_captures(captures: Captures, cameras: Float[Tensor, "captures views 3 7"], grown: float = 1.0) -> Captures:
    """``captures`` (`datasets.load_feet`) seen by other ``cameras``, which belong to their present boxes.

    The photos are then cut where these cameras think that the cube is, ``grown`` times as large.
    """
    boxes = projected_boxes(cameras, captures.boxes, FOOT_SHARE)
    middle, half = (boxes[..., :2] + boxes[..., 2:]) / 2, (boxes[..., 2:] - boxes[..., :2]) / 2
    boxes = torch.cat([middle - grown * half, middle + grown * half], -1)
    return replace(captures, cameras=recrop(cameras, captures.boxes, boxes), boxes=boxes)


def noted_cameras(captures: Captures, focal: float = 0.0, seed: int = 0) -> Captures:
    """``captures`` with cameras as somebody noted them down: every number evenly drawn within its largest error.

    ``focal`` is the largest relative error of the focal length, one for all photos of a capture: 0 where it is known,
    .03 as EXIF tells it, `DISTANCE_ERROR` where nothing is known.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = captures.cameras.shape[:2]

    def drawn(*more: int) -> Tensor:
        return 2 * torch.rand(*shape, *more, generator=generator) - 1

    rotation = captures.cameras[..., 3:6]
    # About the vertical, which in the camera's frame is the rotation's second column, and about the camera's own x.
    turn = rotation[..., :, 1] * torch.deg2rad(AZIMUTH * drawn(1))
    turn = turn + torch.deg2rad(ELEVATION * drawn(1)) * torch.tensor([1.0, 0, 0])
    wrong = 2 * torch.rand(shape[0], 1, generator=generator).expand(shape) - 1
    change = CameraUpdate(
        turn, AIM / FOOT_CUBE_EDGE * drawn(2), (1 + DISTANCE_ERROR * drawn()).log(), (1 + focal * wrong).log()
    )
    return recrop_captures(captures, update_cameras(captures.cameras, change))


def realign_cameras(
    model: nn.Module, captures: Captures, known: TypicalFoot, threshold: float, focal: float = 0.0
) -> Captures:
    """``captures`` with cameras that agree with the silhouettes that ``model`` sees in the photos.

    First those of the typical foot, from which every camera is found by itself; then those of the model's own answer in
    a cube of the likely size (`sized`).

    Args:
        focal: largest relative error of the focal length.
    """
    noted = captures
    for grown, steps, rate in GUESSING:
        captures = _aligned(model, captures, grown, steps, rate, known.solid, threshold)
    captures = rescale_to_prior(captures, noted, known.spread, focal)
    for grown, steps, rate in ANSWERING:
        captures = _aligned(model, captures, grown, steps, rate, None, threshold)
    return captures


def _aligned(
    model: nn.Module,
    captures: Captures,
    grown: float,
    steps: int,
    rate: float,
    solid: Bool[Tensor, "x y z"] | None,
    threshold: float,
) -> Captures:
    """One round: photos cut ``grown`` times as large, cameras aligned to ``solid`` or to what ``model`` answers."""
    wide, found = recrop_captures(captures, captures.cameras, grown), []
    for said, cameras in iter_predictions(model, wide, range(captures.photos.shape[1])):
        own = said.probability >= threshold
        found.append(
            align_cameras(own if solid is None else solid.expand_as(own), said.mask_probability, cameras, steps, rate)
        )
    return recrop_captures(wide, torch.cat(found))


def rescale_to_prior(captures: Captures, noted: Captures, spread: float, focal: float) -> Captures:
    """``captures``, aligned to the typical foot, in cubes as much larger or smaller as their feet likely are.

    A foot k times as long as the typical one shows as that one does from 1 / k of the distance. So the distances, which
    were ``noted`` with errors of their own, tell k by their mean over the views: believed as far as lengths of feet
    ``spread`` (`Typical`) more than such a mean errs.
    """
    away, before = (torch.linalg.norm(_middles(one.cameras), dim=(2, 3)) for one in (captures, noted))
    shorter = (away / before).log().mean(1)
    error = (DISTANCE_ERROR**2 / captures.photos.shape[1] + focal**2) / 3  # both are even between their largest
    factor = (-shorter * spread / (spread + error)).exp()[:, None, None, None]
    intrinsics, rotation, translation = captures.cameras.split([3, 3, 1], -1)
    floor = rotation @ captures.cameras.new_tensor(FLOOR)[:, None]
    moved = factor * (floor + translation) - floor
    return recrop_captures(captures, torch.cat([intrinsics, rotation, moved], -1))


def _middles(cameras: Float[Tensor, "captures views 3 7"]) -> Float[Tensor, "captures views 3 1"]:
    """Where the middle of a foot is from each camera."""
    return cameras[..., 3:6] @ cameras.new_tensor(MIDDLE)[:, None] + cameras[..., 6:]


def rescale_to_truth(
    volumes: Float[Tensor, "captures x y z"], truth: Bool[Tensor, "captures x y z"], threshold: float
) -> Float[Tensor, "captures x y z"]:
    """Each of ``volumes`` at the size, about the middle of the floor, at which it agrees best with the truth.

    What is left of the error is of shape and place: cameras that all err alike cannot tell how large a foot is.
    """
    edge = truth.shape[-1]
    points, middle = voxel_centres(edge), torch.tensor([0.5, 0.0, 0.5])
    tried = []
    for scale in SCALES:
        places = (2 * ((points - middle) / scale + middle) - 1).flip(-1).expand(len(volumes), 1, 1, -1, 3)
        moved = functional.grid_sample(volumes[:, None], places, align_corners=False)
        tried.append(moved.reshape(volumes.shape))
    scores = torch.stack([iou_at(one, truth, (threshold,))[:, 0] for one in tried])
    return torch.stack(tried)[scores.argmax(0), torch.arange(len(volumes))]


def alignment_table(
    model: nn.Module,
    test: Captures,
    learnt: Captures,
    threshold: float,
    known: Mapping[str, float],
) -> pd.DataFrame:
    """IoU with all photos by how well the focal length is ``known`` (title -> largest relative error).

    Columns: focal length, true cameras, rough, realigned, realigned at the best scale, won back (of what was lost).
    """
    every, known_before = range(test.photos.shape[1]), typical_foot(learnt)

    def scored(volumes: Tensor) -> float:
        return float(iou_at(volumes, test.truth, (threshold,)).mean())

    best, rows = scored(predict(model, test, every)), []
    for title, focal in known.items():
        wrong = noted_cameras(test, focal)
        right = predict(model, realign_cameras(model, wrong, known_before, threshold, focal), every)
        before, after = scored(predict(model, wrong, every)), scored(right)
        scaled = scored(rescale_to_truth(right, test.truth, threshold))
        rows.append((title, best, before, after, scaled, (after - before) / max(best - before, 1e-6)))
    names = ["focal length", "true cameras", "rough", "realigned", "realigned, best scale", "won back"]
    return pd.DataFrame(rows, columns=names)
