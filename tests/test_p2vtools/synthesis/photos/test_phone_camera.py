"""What a phone's lens and a hand do to a picture, against OpenCV's own model."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from p2vlib.geometry.cameras import look_at
from p2vtools.synthesis.photos.phone_camera import Optics, apply_optics, widened_camera

CAMERA = look_at((30.0, 40.0, 3.0, 0.5, 55.0), np.zeros(3), 320, 240)
STILL = np.zeros((1, 2))


def with_spot(point: np.ndarray, spread: float = 2.0) -> np.ndarray:
    """What the wide camera sees of a small bright spot at ``point`` of the world."""
    wide = widened_camera(CAMERA)
    u, v, _ = wide.project(point[None])[0]
    rows, columns = np.mgrid[: wide.height, : wide.width] + 0.5
    spot = np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / 2 / spread**2)
    return np.repeat(spot[..., None], 3, 2)


def middle(picture: np.ndarray) -> np.ndarray:
    """Where the light is, pixels, the corner of the first one at (0, 0)."""
    rows, columns = np.mgrid[: picture.shape[0], : picture.shape[1]] + 0.5
    light = picture[..., 0]
    return np.array([(columns * light).sum(), (rows * light).sum()]) / light.sum()


def test_the_wider_camera_sees_the_same_with_a_margin():
    wide, point = widened_camera(CAMERA), np.array([[0.05, 0.02, -0.04]])
    margin = (wide.width - CAMERA.width) / 2
    assert wide.height - CAMERA.height == 2 * margin > 60
    np.testing.assert_allclose(wide.project(point)[0, :2] - margin, CAMERA.project(point)[0, :2])


@pytest.mark.parametrize("distortion", [-0.1, 0.0, 0.1])
@pytest.mark.parametrize("point", [(0.0, 0.0, 0.0), (0.12, 0.0, -0.1), (-0.15, 0.05, 0.08)])
def test_a_point_shows_where_opencv_says(distortion, point):
    found = middle(apply_optics(with_spot(np.array(point)), CAMERA, Optics(distortion, STILL), 0))
    turn, _ = cv2.Rodrigues(CAMERA.extrinsics[:3, :3])
    bend = np.array([distortion, 0, 0, 0, 0])
    expected, _ = cv2.projectPoints(np.array([point]), turn, CAMERA.extrinsics[:3, 3], CAMERA.intrinsics, bend)
    np.testing.assert_allclose(found, expected.ravel(), atol=0.05)


def test_the_margin_covers_what_a_bent_lens_sees():
    """Light in all that the wide camera sees leaves no dark border."""
    wide = widened_camera(CAMERA)
    lit = np.zeros((wide.height, wide.width, 3))
    lit[1:-1, 1:-1] = 1
    assert apply_optics(lit, CAMERA, Optics(-0.1, STILL), 0).min() == pytest.approx(1)


@pytest.mark.parametrize("shake", [(6.0, 0.0), (-3.0, 5.0), (0.2, -0.1)])
def test_a_shaken_point_becomes_a_line_and_loses_no_light(shake):
    light = with_spot(np.zeros(3), 1.0)
    still, shaken = (apply_optics(light, CAMERA, Optics(0.0, np.array([one])), 0) for one in ((0.0, 0.0), shake))
    np.testing.assert_allclose(middle(shaken), middle(still), atol=0.02)
    assert shaken.sum() == pytest.approx(still.sum(), rel=1e-3)
    rows, columns = np.mgrid[: CAMERA.height, : CAMERA.width]

    def spread(picture: np.ndarray) -> np.ndarray:
        weight = picture[..., 0].ravel() / picture[..., 0].sum()
        return np.cov(np.stack([columns.ravel(), rows.ravel()]), aweights=weight, bias=True)

    grown = spread(shaken) - spread(still)
    np.testing.assert_allclose(grown, np.outer(shake, shake) / 12, atol=0.35)
