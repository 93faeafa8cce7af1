"""Lens distortion and motion blur against OpenCV's camera model; the sRGB curve at values worked out by hand."""

import cv2
import numpy as np
import pytest

from p2vlib.geometry.cameras import look_at
from p2vtools.synthesis.colours import linear_to_srgb, monk_tone, srgb_to_linear
from p2vtools.synthesis.photos.phone_camera import Optics, apply_optics, widened_camera

CAMERA = look_at((30.0, 40.0, 3.0, 0.5, 55.0), np.zeros(3), 320, 240)
NO_MOTION = np.zeros((1, 2))


def render_spot(point: np.ndarray, spread: float = 2.0) -> np.ndarray:
    """A small bright spot at the world ``point`` as the widened camera renders it."""
    wide = widened_camera(CAMERA)
    u, v, _ = wide.project(point[None])[0]
    rows, columns = np.mgrid[: wide.height, : wide.width] + 0.5
    spot = np.exp(-((columns - u) ** 2 + (rows - v) ** 2) / 2 / spread**2)
    return np.repeat(spot[..., None], 3, 2)


def moments(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (x, y) and covariance of the light, pixels; the corner of the first pixel is at (0, 0)."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    points, weights = np.stack([columns.ravel(), rows.ravel()]), image[..., 0].ravel()
    return np.average(points, axis=1, weights=weights), np.cov(points, aweights=weights / weights.sum(), bias=True)


def test_the_widened_camera_adds_a_margin_that_covers_the_distortion():
    wide, point = widened_camera(CAMERA), np.array([[0.05, 0.02, -0.04]])
    margin = (wide.width - CAMERA.width) / 2
    assert wide.height - CAMERA.height == 2 * margin > 60
    np.testing.assert_allclose(wide.project(point)[0, :2] - margin, CAMERA.project(point)[0, :2])
    lit = np.zeros((wide.height, wide.width, 3))
    lit[1:-1, 1:-1] = 1
    dark = apply_optics(lit, CAMERA, Optics(-0.1, NO_MOTION), 0).min()
    assert dark == pytest.approx(1), "no dark border although the last pixels of the margin are dark"


@pytest.mark.parametrize("distortion", [-0.1, 0.0, 0.1])
@pytest.mark.parametrize("point", [(0.0, 0.0, 0.0), (0.12, 0.0, -0.1), (-0.15, 0.05, 0.08)])
def test_distortion_agrees_with_opencv(distortion, point):
    found, _ = moments(apply_optics(render_spot(np.array(point)), CAMERA, Optics(distortion, NO_MOTION), 0))
    rotation, _ = cv2.Rodrigues(CAMERA.extrinsics[:3, :3])
    coefficients, translation = np.array([distortion, 0, 0, 0, 0]), CAMERA.extrinsics[:3, 3]
    expected, _ = cv2.projectPoints(np.array([point]), rotation, translation, CAMERA.intrinsics, coefficients)
    np.testing.assert_allclose(found, expected.ravel(), atol=0.05)


@pytest.mark.parametrize("motion", [(6.0, 0.0), (-3.0, 5.0), (0.2, -0.1)])
def test_motion_blurs_a_point_to_a_line_without_losing_light(motion):
    light = render_spot(np.zeros(3), 1.0)
    still, moved = (apply_optics(light, CAMERA, Optics(0.0, np.array([one])), 0) for one in ((0.0, 0.0), motion))
    assert moved.sum() == pytest.approx(still.sum(), rel=1e-3)
    (mean, covariance), (moved_mean, moved_covariance) = moments(still), moments(moved)
    np.testing.assert_allclose(moved_mean, mean, atol=0.02)
    # The variance of a uniform distribution of width w is w^2 / 12.
    np.testing.assert_allclose(moved_covariance - covariance, np.outer(motion, motion) / 12, atol=0.35)


def test_srgb_and_skin_tones_match_values_worked_out_by_hand():
    srgb = linear_to_srgb(np.array([0.0, 0.002, 0.18, 1.0, 7.0]))
    np.testing.assert_allclose(srgb, [0, 0.02584, 0.4613, 1, 1], atol=1e-4)
    np.testing.assert_allclose(srgb_to_linear(srgb), [0, 0.002, 0.18, 1, 1], atol=1e-12)
    # The last two tones are 3a312a and 292420; 0x3a = 58 and 0x29 = 41.
    red = [((value / 255 + 0.055) / 1.055) ** 2.4 for value in (58, 41)]
    np.testing.assert_allclose(monk_tone(8.25)[0], 0.75 * red[0] + 0.25 * red[1], rtol=1e-9)
