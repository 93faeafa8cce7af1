"""Pictures of a mat for tests that need no foot: its board under a homography, as photos or as a film."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from p2vlib.geometry.cameras import Camera, look_at
from p2vtools.synthesis.mat import Mat


def bare(mat: Mat, azimuth: float, width: int = 640, height: int = 480) -> np.ndarray:
    """The mat without a foot on a grey floor, from ``azimuth``."""
    return seen_by(look_at((azimuth, 50, 0, 0.6, 50), np.zeros(3), width, height), mat)


def seen_by(camera: Camera, mat: Mat) -> np.ndarray:
    """The mat without a foot on a grey floor, as ``camera`` shows it: no renderer, a hundredth of a second."""
    printed = mat.image(3)
    down, across = printed.shape
    x, z = mat.size[0] / 2000, mat.size[1] / 2000
    shown = camera.project(np.array([[-x, 0, -z], [x, 0, -z], [x, 0, z], [-x, 0, z]]))[:, :2].astype(np.float32)
    sheet = np.array([[0, 0], [across, 0], [across, down], [0, down]], np.float32)
    turn = cv2.getPerspectiveTransform(sheet, shown)
    seen = cv2.warpPerspective(printed, turn, (camera.width, camera.height), borderValue=128, flags=cv2.INTER_AREA)
    return np.repeat(seen[..., None], 3, axis=2)


def folder_of(path: Path, pictures: list[np.ndarray]) -> Path:
    path.mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(path / f"IMG_{number}.jpg", quality=95)
    return path


def film_of(path: Path, pictures: list[np.ndarray]) -> Path:
    height, width = pictures[0].shape[:2]
    film = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10, (width, height))
    for picture in pictures:
        film.write(cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2BGR))
    film.release()
    return path
