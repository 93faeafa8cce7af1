"""Photos of a foot on a sheet of paper, as an `Export` in the frame of the sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from p2vlib.geometry.cameras import Camera
from p2vlib.geometry.frames import FOOT_CUBE
from p2vtools.capture.app_exports import Y_UP, Export, Frame
from p2vtools.capture.mat_capture import list_photos, read_photos
from p2vtools.capture.sheet_cameras import locate_sheets
from p2vtools.capture.sheet_detection import SIZES
from p2vtools.fit.cube_crops import predict_masks
from p2vtools.fit.photo_set import photo_set_from_arrays
from p2vtools.fit.pretrained import PretrainedModel
from p2vtools.fit.silhouette_fitting import PosePrior, fit_pose

HALF_TURN = np.diag([-1.0, 1.0, -1.0, 1.0])

DIRECTIONS = 8
"""Directions of the toes on the sheet that are tried."""


def read_photos_on_sheet(
    source: Path, paper: str, side: str, weights: PretrainedModel, report: Callable[[str], object] = lambda line: None
) -> Export:
    """The photos in the folder ``source`` with cameras from the sheet of paper in them, metric.

    Args:
        paper: a key of `SIZES`.
        side: left or right.
        weights: predict the silhouettes of the foot, by which the photos agree on the ends of the sheet.
        report: called with one line for each photo.

    Raises:
        ValueError: an unknown sheet, no photos, or no sheet in them.
    """
    if paper not in SIZES:
        raise ValueError(f"no sheet {paper!r}; expected one of {', '.join(SIZES)}")
    if not source.is_dir():
        raise ValueError(f"{source}: no such folder; expected photos of one foot on a sheet of paper")
    pictures, focal = read_photos(list_photos(source))
    try:
        solution = locate_sheets(pictures, SIZES[paper], focal)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None
    for name in pictures:
        line = f"rejected, {solution.rejected[name]}" if name in solution.rejected else "sheet found"
        report(f"{name}: {line}")
    cameras = agree_on_ends(weights, [pictures[name] for name in solution.names], solution.cameras, side)
    frames = [Frame(name, camera, solution.distortion) for name, camera in zip(solution.names, cameras, strict=True)]
    x, z = (axis.ravel() for axis in np.meshgrid(*(np.linspace(-edge / 2, edge / 2, 9) for edge in SIZES[paper])))
    return Export(
        f"sheet {paper}",
        frames,
        lambda name, side: Image.fromarray(pictures[name]),
        Y_UP,
        metric=True,
        scale="sheet",
        points=np.stack([x, 0 * x, z], 1),
        notes=[f"median distance of edges from the sheet {np.median(solution.errors):.1f} pixels"],
    )


def agree_on_ends(
    weights: PretrainedModel, pictures: Sequence[np.ndarray], cameras: Sequence[Camera], side: str
) -> list[Camera]:
    """The cameras in one frame, in which each of them may be wrong by half a turn of the sheet about its middle.

    The typical foot is fitted to its silhouette in each photo from `DIRECTIONS` around. The direction is the one that
    fits all photos best if each may be turned. Then each photo is compared with the median of the fits, twice.
    """
    seen = [_silhouette(weights, *pair, side) for pair in zip(pictures, cameras, strict=True)]
    starts = torch.zeros(DIRECTIONS, 4)
    starts[:, 2] = torch.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS
    fits = [_fit(weights, one, starts, 12) for one in seen]
    losses, half = torch.stack([loss for loss, _ in fits]), DIRECTIONS // 2
    best = int(torch.minimum(losses[:, :half], losses[:, half:]).sum(0).argmin())
    turned = losses[:, best + half] < losses[:, best]
    places = torch.stack([found[best + half * int(turn)] for (_, found), turn in zip(fits, turned, strict=True)])
    for _ in range(2):
        common = torch.where(turned[:, None], _turn(places, -np.pi), places).median(0).values
        pairs = [_fit(weights, one, torch.stack([common, _turn(common, np.pi)]), 4) for one in seen]
        turned = torch.tensor([bool(loss[1] < loss[0]) for loss, _ in pairs])
        places = torch.stack([found[int(turn)] for (_, found), turn in zip(pairs, turned, strict=True)])
    return [
        replace(camera, extrinsics=camera.extrinsics @ HALF_TURN) if turn else camera
        for camera, turn in zip(cameras, turned.tolist(), strict=True)
    ]


def _turn(places: Float[Tensor, "*_ 4"], angle: float) -> Float[Tensor, "*_ 4"]:
    """Places of a foot (`PoseFit.parameters`) after half a turn, ``angle``, about the middle of the sheet."""
    return places * torch.tensor([-1.0, -1.0, 1.0, 1.0]) + torch.tensor([0.0, 0.0, angle, 0.0])


def _silhouette(
    weights: PretrainedModel, picture: np.ndarray, camera: Camera, side: str
) -> tuple[Tensor, Tensor] | None:
    """Silhouette and camera of one photo in the cube of a foot on the sheet; None where the photo does not show it."""
    try:
        photo = photo_set_from_arrays([picture], [camera], ["photo"], side)
        return predict_masks(weights, photo, np.eye(4), FOOT_CUBE)
    except ValueError:
        return None


def _fit(
    weights: PretrainedModel, seen: tuple[Tensor, Tensor] | None, starts: Float[Tensor, "starts 4"], steps: int
) -> tuple[Float[Tensor, " starts"], Float[Tensor, "starts 4"]]:
    """Losses and places of the typical foot from ``starts``; all losses are 1 without a silhouette."""
    if seen is None:
        return torch.ones(len(starts)), starts
    prior = PosePrior(torch.zeros(4), torch.tensor([0.15, 0.15, 100.0, weights.typical_foot.spread**0.5]))
    fit = fit_pose(weights.typical_foot.solid, prior, *seen, 1.0, starts, steps, 0.04, 16)
    return fit.loss, fit.parameters
