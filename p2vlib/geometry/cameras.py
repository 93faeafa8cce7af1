"""Cameras: intrinsics and extrinsics, R2N2 metadata rows, `cameras.json`, and the picture box of a cube.

Inside a camera the axes are OpenCV's: x right, y down, z forward; pixel (0, 0) is the corner of the top left pixel,
so the centre of that pixel is at (0.5, 0.5).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from p2vlib.geometry.frames import R2N2_DISTANCE_SCALE, R2N2_FOV, Cube

Row = tuple[float, float, float, float, float]
"""azimuth, elevation, in-plane rotation (degrees), distance (metres, or R2N2's ratio), field of view (degrees)."""


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera: ``intrinsics`` in pixels, ``extrinsics`` world -> camera in metres, picture size in pixels."""

    intrinsics: Float[np.ndarray, "3 3"]
    extrinsics: Float[np.ndarray, "4 4"]
    width: int
    height: int

    def __post_init__(self) -> None:
        if np.shape(self.intrinsics) != (3, 3) or np.shape(self.extrinsics) != (4, 4):
            raise ValueError(
                f"a camera needs 3x3 and 4x4; found {np.shape(self.intrinsics)}, {np.shape(self.extrinsics)}"
            )
        rotation = self.extrinsics[:3, :3]
        if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-4) or np.linalg.det(rotation) < 0:
            raise ValueError("a camera's extrinsics must hold a right-handed rotation (axes at right angles, length 1)")

    @property
    def position(self) -> Float[np.ndarray, " 3"]:
        """Where the camera stands in the world, metres."""
        return -self.extrinsics[:3, :3].T @ self.extrinsics[:3, 3]

    def project(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        """World points (metres) to ``[u, v, depth]``: pixels, pixels and metres in front of the camera."""
        inside = points @ self.extrinsics[:3, :3].T + self.extrinsics[:3, 3]
        pixels = inside @ self.intrinsics.T
        return np.column_stack([pixels[:, :2] / pixels[:, 2:], inside[:, 2]])

    def cropped(self, box: tuple[int, int, int, int]) -> Camera:
        """The camera of the part ``box`` (left, top, right, bottom, pixels) of its picture: points show where they did.

        Raises:
            ValueError: a box without a pixel.
        """
        left, top, right, bottom = box
        if right <= left or bottom <= top:
            raise ValueError(f"a picture is cut to left < right and top < bottom; found {box}")
        intrinsics = self.intrinsics.astype(float)
        intrinsics[:2] -= np.outer([left, top], intrinsics[2])
        return Camera(intrinsics, self.extrinsics, right - left, bottom - top)

    def matches_aspect(self, width: int, height: int) -> bool:
        """Whether it can have taken a picture of this shape, at whatever size: to a hundredth."""
        return abs(self.width * height - self.height * width) <= 0.01 * self.width * height

    def resized(self, width: int, height: int) -> Camera:
        """This camera where its picture is scaled to another size."""
        scale = np.diag([width / self.width, height / self.height, 1.0])
        return Camera(scale @ self.intrinsics, self.extrinsics, width, height)

    def normalised(self, cube: Cube, box: tuple[float, float, float, float]) -> Float[np.ndarray, "3 7"]:
        """This camera as a network takes it: intrinsics, rotation and translation side by side, without units.

        A point q of the cube, its lower corner 0 and its upper one 1, stands at ``c = rotation q + translation`` before
        the camera, in edges of the cube; ``intrinsics c`` divided by its last entry is where it shows in the picture
        that is cut to ``box``, from -1 at its left and upper border to 1 at the opposite one.
        """
        left, top, right, bottom = box
        width, height = right - left, bottom - top
        cut = np.array([[2 / width, 0, -(left + right) / width], [0, 2 / height, -(top + bottom) / height], [0, 0, 1]])
        rotation = self.extrinsics[:3, :3]
        translation = (rotation @ np.array(cube.lower) + self.extrinsics[:3, 3]) / cube.edge
        return np.column_stack([cut @ self.intrinsics, rotation, translation])

    def crop_box(self, cube: Cube, height: float | None = None) -> tuple[float, float, float, float]:
        """The smallest square picture box (left, top, right, bottom, pixels) over the projected ``cube``.

        With a ``height`` (metres) only the cube's lower part counts, where all that can be occupied lies. The box may
        reach beyond the picture. It is what makes scale visible to a network that knows no camera.
        """
        corners = cube.corners()
        if height is not None:
            corners[:, 1] = corners[:, 1].clip(max=cube.lower[1] + height)
        pixels = self.project(corners)
        if (pixels[:, 2] <= 0).any():
            raise ValueError("the camera stands inside the cube or looks away from it: no picture box")
        lower, upper = pixels[:, :2].min(axis=0), pixels[:, :2].max(axis=0)
        middle, half = (lower + upper) / 2, (upper - lower).max() / 2
        return (*(middle - half), *(middle + half))


def look_at(row: Row, target: np.ndarray, width: int, height: int) -> Camera:
    """The camera of a metric metadata ``row``, looking at ``target`` (metres); the field of view spans the width."""
    azimuth, elevation, inplane, distance, fov = row
    if not (distance > 0 and 0 < fov < 180 and abs(elevation) < 89.9):
        raise ValueError(f"a camera needs distance > 0, 0 < fov < 180, |elevation| < 89.9; found {row}")
    az, el, roll = np.deg2rad([azimuth, elevation, inplane])
    back = np.array([np.cos(el) * np.cos(az), np.sin(el), np.cos(el) * np.sin(az)])
    right = np.cross(-back, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(-back, right), -back])
    turn = np.array([[np.cos(roll), np.sin(roll), 0], [-np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    extrinsics = np.eye(4)
    extrinsics[:3, :3] = turn @ rotation
    extrinsics[:3, 3] = -extrinsics[:3, :3] @ (np.asarray(target, dtype=float) + distance * back)
    focal = width / 2 / np.tan(np.deg2rad(fov) / 2)
    return Camera(np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]), extrinsics, width, height)


def r2n2_camera(row: Row, unit: float, target: np.ndarray, width: int, height: int) -> Camera:
    """The camera that took a ShapeNet rendering: 1.75 x column 4 in object ``unit`` s (metres), 49.13 degrees.

    Column 5 says 25 and is not used; both numbers come from two independent fits to the real renderings.
    """
    return look_at((*row[:3], row[3] * R2N2_DISTANCE_SCALE * unit, R2N2_FOV), target, width, height)


def read_metadata(path: Path, rows: int) -> list[Row]:
    """Reads `rendering_metadata.txt`, one view a line.

    Raises:
        ValueError: a line without five finite numbers, or another number of lines than ``rows``.
    """
    try:
        table = [[float(word) for word in line.split()] for line in path.read_text().splitlines() if line.strip()]
    except ValueError as error:
        raise ValueError(
            f"{path}: a row that is not five numbers (azimuth elevation in-plane distance fov): {error}"
        ) from None
    if len(table) != rows:
        raise ValueError(f"{path}: {len(table)} rows for {rows} photos; expected one row a photo")
    for number, row in enumerate(table, start=1):
        if len(row) != 5 or not np.isfinite(row).all():
            raise ValueError(f"{path}: line {number} is {row}; expected azimuth elevation in-plane distance fov")
    return [tuple(row) for row in table]


def write_metadata(path: Path, rows: Sequence[Row]) -> None:
    """Writes `rendering_metadata.txt`."""
    path.write_text("".join(" ".join(f"{value:.6g}" for value in row) + "\n" for row in rows))


def write_cameras(path: Path, cameras: Sequence[Camera]) -> None:
    """Writes `cameras.json`: full intrinsics and world -> camera extrinsics (OpenCV axes) of every photo, in order."""
    frames = [
        {"width": c.width, "height": c.height, "intrinsics": c.intrinsics.tolist(), "extrinsics": c.extrinsics.tolist()}
        for c in cameras
    ]
    path.write_text(json.dumps({"axes": "opencv", "unit": "metre", "extrinsics": "world to camera", "frames": frames}))


def read_cameras(path: Path) -> list[Camera]:
    """Reads `cameras.json`.

    Raises:
        ValueError: not JSON, or a frame without its matrices.
    """
    try:
        frames = json.loads(path.read_text())["frames"]
        return [
            Camera(
                np.array(f["intrinsics"], float), np.array(f["extrinsics"], float), int(f["width"]), int(f["height"])
            )
            for f in frames
        ]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{path}: not a camera file ({error}); expected frames with intrinsics and extrinsics"
        ) from None
