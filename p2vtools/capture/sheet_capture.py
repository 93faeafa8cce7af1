"""Photos of a foot on a sheet of paper, as an `Export` in the frame of the sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

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
    fits all photos best if each may be turned.
    """
    losses = np.stack([_direction_losses(weights, *pair, side) for pair in zip(pictures, cameras, strict=True)])
    half = DIRECTIONS // 2
    best = int(np.minimum(losses[:, :half], losses[:, half:]).sum(0).argmin())
    return [
        replace(camera, extrinsics=camera.extrinsics @ HALF_TURN) if turned else camera
        for camera, turned in zip(cameras, losses[:, best + half] < losses[:, best], strict=True)
    ]


def _direction_losses(
    weights: PretrainedModel, picture: np.ndarray, camera: Camera, side: str
) -> Float[np.ndarray, " directions"]:
    """Loss of the fit (`fit_pose`) to one photo from each direction of the toes; 1 where the photo shows no foot."""
    try:
        masks, views = predict_masks(
            weights, photo_set_from_arrays([picture], [camera], ["photo"], side), np.eye(4), FOOT_CUBE
        )
    except ValueError:
        return np.ones(DIRECTIONS)
    starts = torch.zeros(DIRECTIONS, 4)
    starts[:, 2] = torch.arange(DIRECTIONS) * 2 * np.pi / DIRECTIONS
    prior = PosePrior(torch.zeros(4), torch.tensor([0.15, 0.15, 100.0, np.sqrt(weights.typical_foot.spread)]))
    return fit_pose(weights.typical_foot.solid, prior, masks, views, 1.0, starts, 12, 0.04, 16).loss.numpy()
