"""Voxels as shaded pictures, by numpy alone: fast enough for a page of panels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from scipy.ndimage import affine_transform, gaussian_filter, map_coordinates

from p2vtools.viewer.style import SOLID


def label_agreement(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """Labels ``[x, y, z]`` uint8: 0 empty, 1 hit, 2 missed (truth alone), 3 invented (prediction alone).

    Raises:
        ValueError: volumes of different shapes or not of booleans.
    """
    if truth.shape != prediction.shape or truth.dtype != bool or prediction.dtype != bool:
        raise ValueError(
            f"expected two boolean volumes of one shape; found {truth.dtype} {truth.shape}, "
            f"{prediction.dtype} {prediction.shape}"
        )
    return np.where(truth & prediction, 1, np.where(truth, 2, np.where(prediction, 3, 0))).astype(np.uint8)


def render_voxels(
    labels: np.ndarray,
    colours: Sequence[str] = (SOLID,),
    *,
    azimuth: float = 40.0,
    elevation: float = 28.0,
    pixels: int = 200,
) -> np.ndarray:
    """A shaded picture of voxels seen from one direction, without perspective.

    The frame is the volume's cube whatever it holds, so pictures of one cube compare.

    Args:
        labels: ``[x, y, z]``, bool or uint8; 0 is empty, label k is drawn in ``colours[k - 1]``.
        azimuth, elevation: where the viewer stands, degrees (`p2vlib.geometry.frames`).
        pixels: width of the picture.

    Returns:
        ``[height, pixels, 4]`` uint8 RGBA, clear where nothing is.

    Raises:
        ValueError: labels of another shape, or without a colour.
    """
    labels = np.asarray(labels).astype(np.uint8)
    if labels.ndim != 3 or labels.max(initial=0) > len(colours):
        found = f"{labels.shape} up to {labels.max(initial=0)}"
        raise ValueError(f"expected labels [x, y, z] up to {len(colours)}, one a colour; found {found}")
    axes = _viewing_axes(azimuth, elevation)
    reach = np.abs(axes) @ labels.shape
    pitch = reach[2] / (2 * pixels)
    height = int(np.ceil(reach[1] / pitch / 2))
    picture = np.zeros((2 * height, 2 * pixels, 4))
    if labels.any():
        top, left, part = _cast(labels, axes, pitch, (2 * height, 2 * pixels), colours)
        picture[top : top + part.shape[0], left : left + part.shape[1]] = part
    # Two by two rays make a pixel; colours are weighted by cover so that rims do not darken.
    halves = picture.reshape(height, 2, pixels, 2, 4).mean(axis=(1, 3))
    halves[..., :3] /= np.maximum(halves[..., 3:], 1e-6)
    return np.rint(halves.clip(0, 1) * 255).astype(np.uint8)


def _viewing_axes(azimuth: float, elevation: float) -> np.ndarray:
    """Rows: towards the viewer, up and right in the picture, world frame."""
    az, el = np.deg2rad([azimuth, elevation])
    back = np.array([np.cos(el) * np.cos(az), np.sin(el), np.cos(el) * np.sin(az)])
    right = np.array([np.sin(az), 0.0, -np.cos(az)])
    return np.stack([back, np.cross(back, right), right])


def _cast(
    labels: np.ndarray, axes: np.ndarray, pitch: float, frame: tuple[int, int], colours: Sequence[str]
) -> tuple[int, int, np.ndarray]:
    """Rays through the box of what is occupied: the part's top and left in the ``frame`` and its RGB-cover pixels.

    A ray walks until the first occupied voxel; a blurred copy of the volume gives the normals and how much light
    reaches a place.
    """
    # The rim of empty voxels lets scipy sample the outer half of those that touch the cube's wall.
    blur, labels = labels.shape[0] / 32, np.pad(labels, 1)
    step, middle = 0.2, (np.array(labels.shape) - 1) / 2
    occupied = np.argwhere(labels)
    ends = np.stack([occupied.min(axis=0) - 0.5, occupied.max(axis=0) + 0.5]) - middle
    corners = np.stack(np.meshgrid(*ends.T, indexing="ij"), axis=-1).reshape(8, 3) @ axes.T
    near, below, (left, end) = corners[:, 0].max(), corners[:, 1], (corners[:, 2].min(), corners[:, 2].max())
    first_row = max(0, int((frame[0] / 2) - below.max() / pitch))
    first_column = max(0, int((frame[1] / 2) + left / pitch))
    last_row = min(frame[0], int(np.ceil(frame[0] / 2 - below.min() / pitch)))
    last_column = min(frame[1], int(np.ceil(frame[1] / 2 + end / pitch)))
    shape = (int(np.ptp(corners[:, 0]) / step) + 2, last_row - first_row, last_column - first_column)
    matrix = np.column_stack([-step * axes[0], -pitch * axes[1], pitch * axes[2]])
    start = [-near / step, first_row + 0.5 - frame[0] / 2, first_column + 0.5 - frame[1] / 2]
    offset = middle + matrix @ start
    seen = affine_transform(labels, matrix, offset, output_shape=shape, order=0)
    depth = (seen > 0).argmax(axis=0)
    rows, columns = np.indices(depth.shape)
    label = seen[depth, rows, columns]
    places = (matrix @ np.stack([depth, rows, columns]).reshape(3, -1)) + offset[:, None]

    soft = gaussian_filter((labels > 0).astype(np.float32), 0.9 * blur)
    normal = -np.stack([map_coordinates(slope, places, order=1) for slope in np.gradient(soft)])
    normal /= np.linalg.norm(normal, axis=0) + 1e-6
    shut = map_coordinates(soft, places + normal * 1.5 * blur, order=1)
    lamp = np.array([0.65, 0.55, -0.5]) @ axes
    light = 0.48 + 0.71 * (lamp / np.linalg.norm(lamp) @ normal).clip(0, 1) - 0.4 * shut.clip(0, 1)
    tones = np.array([(0, 0, 0), *map(to_rgb, colours)])[label] * light.reshape(label.shape)[..., None]
    cover = (label > 0)[..., None]
    return first_row, first_column, np.concatenate([tones.clip(0, 1) * cover, cover], axis=-1)
