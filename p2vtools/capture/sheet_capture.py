"""Photos of a foot on a sheet of paper, as an `Export` in the frame of the sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from p2vlib.geometry.cameras import Camera
from p2vlib.geometry.frames import FOOT_CUBE_EDGE, Cube
from p2vtools.capture.app_exports import Y_UP, Export, Frame
from p2vtools.capture.mat_capture import list_photos, read_photos
from p2vtools.capture.sheet_cameras import locate_sheets
from p2vtools.capture.sheet_detection import SIZES
from p2vtools.fit.photo_set import photo_set_from_arrays
from p2vtools.fit.placement import SEARCH_SCALE, silhouettes_in_cube
from p2vtools.fit.pretrained import PretrainedModel

HALF_TURN = np.diag([-1.0, 1.0, -1.0, 1.0])

CARVED_VOXELS = 24
"""Voxels a side of the grid in which the silhouettes of two photos are compared."""


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

    The silhouette of the foot in each photo is projected back into a cube on the sheet. Of two photos, those turns are
    right with which these volumes overlap more; the turns of all follow from the leading eigenvector of the differences
    (angular synchronisation, Singer 2011).
    """
    photo_set = photo_set_from_arrays(pictures, cameras, [str(number) for number in range(len(cameras))], side)
    edge = FOOT_CUBE_EDGE * SEARCH_SCALE
    volumes = silhouettes_in_cube(weights, photo_set, np.eye(4), Cube((-edge / 2, 0.0, -edge / 2), edge), CARVED_VOXELS)
    volumes = np.nan_to_num(volumes - np.nanmean(volumes, axis=(1, 2, 3), keepdims=True))
    turned = volumes[:, ::-1, :, ::-1]
    difference = np.einsum("ixyz,jxyz->ij", volumes, volumes - turned)
    leading = np.linalg.eigh((difference + difference.T) / 2)[1][:, -1]
    return [
        replace(camera, extrinsics=camera.extrinsics @ HALF_TURN) if sign < 0 else camera
        for camera, sign in zip(cameras, leading, strict=True)
    ]
