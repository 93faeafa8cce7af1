"""A renderer of voxels in numpy: fast enough for a page of panels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, UInt8
from matplotlib import colormaps
from matplotlib.colors import to_hex, to_rgb
from scipy.ndimage import distance_transform_cdt, gaussian_filter, map_coordinates

from p2vtools.viewer.style import SOLID

WEIGHT_COLOURS, WEIGHT_STEPS = "cividis", 16
"""Colour map of view weights, ordered for colour-blind readers too (Nuñez et al. 2018), and its number of colours."""

STEP = 0.2
"""Distance of samples along a ray, voxels."""


def label_agreement(
    truth: Bool[np.ndarray, "x y z"], prediction: Bool[np.ndarray, "x y z"]
) -> UInt8[np.ndarray, "x y z"]:
    """Labels: 0 empty, 1 hit, 2 missed (truth only), 3 invented (prediction only)."""
    return np.where(truth & prediction, 1, np.where(truth, 2, np.where(prediction, 3, 0))).astype(np.uint8)


def label_weights(solid: np.ndarray, weights: np.ndarray, top: float) -> tuple[np.ndarray, list[str]]:
    """Labels of the voxels of ``solid`` by their weight in `WEIGHT_STEPS` steps up to ``top``, and their colours."""
    step = 1 + np.clip((weights / top * WEIGHT_STEPS).astype(int), 0, WEIGHT_STEPS - 1)
    colours = colormaps[WEIGHT_COLOURS](np.linspace(0, 1, WEIGHT_STEPS))
    return np.where(solid, step, 0).astype(np.uint8), [to_hex(colour) for colour in colours]


def render_voxels(
    labels: np.ndarray,
    colours: Sequence[str] = (SOLID,),
    *,
    azimuth: float = 40.0,
    elevation: float = 28.0,
    pixels: int = 200,
) -> np.ndarray:
    """A shaded orthographic picture of voxels.

    It always frames the whole cube, so pictures of one cube are comparable.

    Args:
        labels: ``[x, y, z]``, bool or uint8; 0 is empty, label k has ``colours[k - 1]``.
        azimuth, elevation: position of the viewer, degrees (`p2vlib.geometry.frames`).
        pixels: width of the picture.

    Returns:
        ``[height, pixels, 4]`` uint8 RGBA, transparent where nothing is.
    """
    labels = labels.astype(np.uint8)
    axes = _viewing_axes(azimuth, elevation)
    extent = np.abs(axes) @ labels.shape
    pitch = extent[2] / (2 * pixels)
    height = int(np.ceil(extent[1] / pitch / 2))
    picture = np.zeros((2 * height, 2 * pixels, 4))
    if labels.any():
        top, left, part = _cast_rays(labels, axes, pitch, (2 * height, 2 * pixels), colours)
        picture[top : top + part.shape[0], left : left + part.shape[1]] = part
    # Four rays make a pixel; colours are weighted by coverage so that edges do not darken.
    averaged = picture.reshape(height, 2, pixels, 2, 4).mean(axis=(1, 3))
    averaged[..., :3] /= np.maximum(averaged[..., 3:], 1e-6)
    return np.rint(averaged.clip(0, 1) * 255).astype(np.uint8)


def _viewing_axes(azimuth: float, elevation: float) -> np.ndarray:
    """Rows: direction to the viewer, up and right in the picture, world frame."""
    az, el = np.deg2rad([azimuth, elevation])
    back = np.array([np.cos(el) * np.cos(az), np.sin(el), np.cos(el) * np.sin(az)])
    right = np.array([np.sin(az), 0.0, -np.cos(az)])
    return np.stack([back, np.cross(back, right), right])


def _cast_rays(
    labels: np.ndarray, axes: np.ndarray, pitch: float, frame: tuple[int, int], colours: Sequence[str]
) -> tuple[int, int, np.ndarray]:
    """Rays through the bounding box of what is occupied: top and left of that part of the ``frame``, RGB and coverage.

    A ray stops at the first occupied voxel; a blurred copy of the volume gives normals and ambient occlusion.
    """
    # The empty border stands for everything around the cube.
    blur, labels = labels.shape[0] / 32, np.pad(labels, 1)
    centre = (np.array(labels.shape) - 1) / 2
    occupied = np.argwhere(labels)
    ends = np.stack([occupied.min(axis=0) - 0.5, occupied.max(axis=0) + 0.5]) - centre
    depth, up, right = (np.stack(np.meshgrid(*ends.T, indexing="ij"), axis=-1).reshape(8, 3) @ axes.T).T
    top = max(0, int((frame[0] / 2) - up.max() / pitch))
    left = max(0, int((frame[1] / 2) + right.min() / pitch))
    bottom = min(frame[0], int(np.ceil(frame[0] / 2 - up.min() / pitch)))
    end = min(frame[1], int(np.ceil(frame[1] / 2 + right.max() / pitch)))
    shape = (int(np.ptp(depth) / STEP) + 2, bottom - top, end - left)
    matrix = np.column_stack([-STEP * axes[0], -pitch * axes[1], pitch * axes[2]])
    start = [-depth.max() / STEP, top + 0.5 - frame[0] / 2, left + 0.5 - frame[1] / 2]
    offset = centre + matrix @ start
    first, label = _first_samples(labels, matrix, offset, shape)
    places = (matrix @ np.stack([first, *np.indices(first.shape)]).reshape(3, -1)) + offset[:, None]

    soft = gaussian_filter((labels > 0).astype(np.float32), 0.9 * blur)
    normal = -np.stack([map_coordinates(slope, places, order=1) for slope in np.gradient(soft)])
    normal /= np.linalg.norm(normal, axis=0) + 1e-6
    occlusion = map_coordinates(soft, places + normal * 1.5 * blur, order=1)
    light = np.array([0.65, 0.55, -0.5]) @ axes
    shade = 0.48 + 0.71 * (light / np.linalg.norm(light) @ normal).clip(0, 1) - 0.4 * occlusion.clip(0, 1)
    tones = np.array([(0, 0, 0), *map(to_rgb, colours)])[label] * shade.reshape(label.shape)[..., None]
    coverage = (label > 0)[..., None]
    return top, left, np.concatenate([tones.clip(0, 1) * coverage, coverage], axis=-1)


def _first_samples(
    labels: np.ndarray, matrix: np.ndarray, offset: np.ndarray, shape: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """For each ray, the number of the first of its samples that is occupied, and its label; 0 and 0 without one.

    Sample i of the ray at (row, column) is at ``matrix @ (i, row, column) + offset``. Where the nearest occupied voxel
    is k voxels away (in the maximum norm), the samples within k - 1 voxels are empty and are skipped. ``shape`` is the
    numbers of samples of a ray, of rows and of columns.
    """
    margin = len(labels) // 4  # beyond it, samples count as those at the border
    labels, offset = np.pad(labels, margin), offset + margin
    free = distance_transform_cdt(labels == 0, "chessboard")
    skip = np.maximum((free - 1) / STEP, 1).astype(int).ravel()
    starts = (matrix[:, 1:] @ np.indices(shape[1:]).reshape(2, -1)) + offset[:, None]
    first, label = np.zeros((2, starts.shape[1]), int)
    rays = np.arange(starts.shape[1])
    while rays.size:
        places = starts[:, rays] + matrix[:, :1] * first[rays]
        voxels = np.ravel_multi_index(np.floor(places + 0.5).astype(int), labels.shape, mode="clip")
        label[rays] = labels.ravel()[voxels]
        first[rays] += np.where(label[rays], 0, skip[voxels])
        rays = rays[(label[rays] == 0) & (first[rays] < shape[0])]
    return np.where(label, first, 0).reshape(shape[1:]), label.reshape(shape[1:])
