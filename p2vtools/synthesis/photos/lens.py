"""What a phone's lens and a hand do to a picture that a pinhole on a stand would take."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from p2vlib.geometry.cameras import Camera

MARGIN = 0.12
"""Share of the picture's larger side that is rendered beyond each border: what a bent lens sees more than a pinhole."""


class Lens(NamedTuple):
    """One phone in one hand."""

    distortion: float
    """The first radial coefficient, k1 of OpenCV's model: below zero straight lines bulge outwards."""
    shake: Float[np.ndarray, "views 2"]
    """Pixels to the right and down by which each picture moves while its shutter is open."""


def widened_camera(camera: Camera) -> Camera:
    """``camera`` with a margin about its picture: what `through` needs to see."""
    margin = _margin(camera)
    intrinsics = camera.intrinsics.copy()
    intrinsics[:2, 2] += margin
    return Camera(intrinsics, camera.extrinsics, camera.width + 2 * margin, camera.height + 2 * margin)


def distort(radiance: Float[np.ndarray, "rows columns 3"], camera: Camera, lens: Lens, view: int) -> np.ndarray:
    """What ``camera`` shows through ``lens`` of the ``radiance`` that `wider` sees: ``[height, width, 3]``."""
    import cv2

    margin = _margin(camera)
    matrix = camera.intrinsics.copy()
    matrix[:2, 2] -= 0.5  # OpenCV counts from the centre of the first pixel
    pixels = np.stack(np.meshgrid(np.arange(camera.width), np.arange(camera.height)), -1).astype(np.float32)
    bend = np.array([lens.distortion, 0, 0, 0, 0])
    places = cv2.undistortPoints(pixels.reshape(-1, 1, 2), matrix, bend, P=matrix).reshape(pixels.shape) + margin
    blurred = cv2.filter2D(radiance.astype(np.float32), -1, _trail(lens.shake[view]), borderType=cv2.BORDER_REPLICATE)
    return cv2.remap(blurred, places.astype(np.float32), None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _margin(camera: Camera) -> int:
    return round(MARGIN * max(camera.width, camera.height))


def _trail(shake: Float[np.ndarray, "2"]) -> Float[np.ndarray, "size size"]:
    """The kernel that smears a point along ``shake``, pixels."""
    reach = int(np.ceil(np.abs(shake).max() / 2)) + 1
    kernel = np.zeros((2 * reach + 1,) * 2, np.float32)
    for step in np.linspace(-0.5, 0.5, 8 * reach + 1):
        x, y = step * shake + reach
        column, row = int(x), int(y)
        for dx, dy in ((0, 0), (1, 0), (0, 1), (1, 1)):
            share = abs(1 - dx - (x - column)) * abs(1 - dy - (y - row))
            kernel[row + dy, column + dx] += share
    return kernel / kernel.sum()
