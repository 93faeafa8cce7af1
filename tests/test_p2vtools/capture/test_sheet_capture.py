"""Cameras from a blank sheet under a foot: found in drawn photos, and turned to agree with each other."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from p2vlib.geometry.cameras import Camera, look_at
from p2vtools.capture import sheet_capture
from p2vtools.capture.sheet_cameras import locate_sheets
from p2vtools.fit.pretrained import PretrainedModel

CORNERS = np.array([[-0.1485, 0, -0.105], [0.1485, 0, -0.105], [0.1485, 0, 0.105], [-0.1485, 0, 0.105]])
SHEET = (0.297, 0.210)
CAMERAS = [
    look_at((azimuth, elevation, 4.0, distance, 60.0), np.array([0.01, 0.03, 0.0]), *size)
    for azimuth, elevation, distance, size in (
        (130.0, 38.0, 0.5, (512, 384)),
        (250.0, 62.0, 0.6, (512, 512)),
    )
]


def draw(camera: Camera, sheet: bool = True) -> np.ndarray:
    """A brown foot and leg on a white sheet on a grey floor with noise."""
    picture = np.full((camera.height, camera.width, 3), (120, 125, 128), np.uint8)
    if sheet:
        fill(picture, camera, CORNERS, (235, 234, 230))
    angle = np.linspace(0, 2 * np.pi, 40)
    foot = np.stack([0.125 * np.cos(angle), 0 * angle, 0.045 * np.sin(angle)], 1)
    leg = np.stack([0.045 * np.cos(angle) - 0.07, 0 * angle, 0.045 * np.sin(angle)], 1)
    fill(picture, camera, np.concatenate([foot, 0.9 * foot + [0, 0.05, 0]]), (150, 100, 75))
    fill(picture, camera, np.concatenate([leg, leg + [0, 0.25, 0]]), (150, 100, 75))
    noise = np.random.default_rng(0).normal(0, 3, picture.shape)
    return np.clip(cv2.GaussianBlur(picture, (0, 0), 0.7) + noise, 0, 255).astype(np.uint8)


def fill(picture: np.ndarray, camera: Camera, points: np.ndarray, colour: tuple[int, int, int]) -> None:
    """Fills the convex hull of the projected points; 0.5: OpenCV's origin is the centre of the first pixel."""
    pixels = cv2.convexHull((camera.project(points)[:, :2] - 0.5).astype(np.float32))
    cv2.fillConvexPoly(picture, np.round(16 * pixels).astype(np.int32), colour, cv2.LINE_AA, 4)


def test_finds_the_cameras_and_names_the_photo_without_a_sheet():
    photos = {str(number): draw(camera) for number, camera in enumerate(CAMERAS)}
    photos["floor"] = draw(CAMERAS[0], sheet=False)
    true_focal = CAMERAS[0].intrinsics[0, 0] / 512
    solution = locate_sheets(photos, SHEET, 1.02 * true_focal)
    assert solution.names == ["0", "1"]
    assert "no sheet found" in solution.rejected["floor"]
    for found, true in zip(solution.cameras, CAMERAS, strict=True):
        assert found.intrinsics[0, 0] == pytest.approx(true.intrinsics[0, 0], rel=0.015)
        both = [np.linalg.norm(turn * found.position - true.position) for turn in (1, np.array([-1, 1, -1]))]
        assert min(both) < 0.006
        pixels = found.project(CORNERS)[:, :2]
        errors = [np.abs(np.roll(pixels, shift, 0) - true.project(CORNERS)[:, :2]).max() for shift in (0, 2)]
        assert min(errors) < 1.5


def test_refuses_photos_without_a_line():
    with pytest.raises(ValueError, match="none of 1 photos shows the sheet"):
        locate_sheets({"floor": np.full((384, 512, 3), 128, np.uint8)}, SHEET)


def test_turns_cameras_until_the_directions_of_the_toes_agree(monkeypatch):
    """Toes at 90 degrees; the second and the fourth of four photos, placed from the other end, show them at 270."""
    seen = iter(torch.deg2rad(torch.tensor([90.0, 270.0, 95.0, 260.0])))
    monkeypatch.setattr(sheet_capture, "_silhouette", lambda *_: next(seen))
    monkeypatch.setattr(sheet_capture, "_fit", lambda _, toes, starts, steps: (-torch.cos(starts[:, 2] - toes), starts))
    turned = np.diag([-1.0, 1, -1, 1])
    cameras = [CAMERAS[0]] * 4
    wrong = [replace(one, extrinsics=one.extrinsics @ turned) if n % 2 else one for n, one in enumerate(cameras)]
    pictures = [np.zeros((384, 512, 3), np.uint8)] * 4
    found = sheet_capture.agree_on_ends(object.__new__(PretrainedModel), pictures, wrong, "left")
    assert all(np.allclose(camera.position, CAMERAS[0].position) for camera in found)
