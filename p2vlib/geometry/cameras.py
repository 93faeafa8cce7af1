"""Pinhole cameras: projection, cropping, R2N2 metadata rows.

Camera axes are those of OpenCV: x right, y down, z forward. Pixel coordinates have their origin at the corner of the
top left pixel, whose centre is at (0.5, 0.5).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from p2vlib.geometry.frames import R2N2_DISTANCE_SCALE, R2N2_FOV, Cube

Row = tuple[float, float, float, float, float]
"""Azimuth, elevation, in-plane rotation (degrees), distance (metres, or R2N2's ratio), field of view (degrees)."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, pixels; a box may extend beyond the image."""

LARGEST_SIDE = 100_000
"""Largest width or height of the image of a camera, pixels."""

LARGEST_NUMBER = 1e9
"""Largest absolute value in the matrices of a camera: pixels, or the unit of its world."""


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera.

    Raises:
        ValueError: matrices of another shape, transposed or not finite, extrinsics without a rotation, a focal length
            or an image size that is not positive.
    """

    intrinsics: Float[np.ndarray, "3 3"]
    """Pixels."""
    extrinsics: Float[np.ndarray, "4 4"]
    """World to camera, metres."""
    width: int
    height: int

    def __post_init__(self) -> None:
        shapes = np.shape(self.intrinsics), np.shape(self.extrinsics)
        if shapes != ((3, 3), (4, 4)):
            raise ValueError(f"a camera needs 3x3 and 4x4; found {shapes[0]}, {shapes[1]}")
        largest = max(np.abs(self.intrinsics).max(), np.abs(self.extrinsics).max())
        focal = min(self.intrinsics[0, 0], self.intrinsics[1, 1])
        smallest, side = min(self.width, self.height), max(self.width, self.height)
        if not (largest < LARGEST_NUMBER and focal > 0 and smallest > 0 and side <= LARGEST_SIDE):
            raise ValueError(
                "a camera needs finite matrices, positive focal lengths and an image size; found a focal length of "
                f"{focal:g}, an image of {self.width:g} x {self.height:g} and numbers up to {largest:g}"
            )
        if not np.allclose([*self.intrinsics[2], *self.extrinsics[3]], [0, 0, 1, 0, 0, 0, 1], atol=1e-6):
            raise ValueError("the last rows of a camera's matrices need 0 0 1 and 0 0 0 1; are they transposed?")
        rotation = self.extrinsics[:3, :3]
        if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-4) or np.linalg.det(rotation) < 0:
            raise ValueError("the extrinsics of a camera need a rotation (orthonormal, right-handed)")

    @property
    def position(self) -> Float[np.ndarray, " 3"]:
        """The optical centre in the world frame, metres."""
        return -self.extrinsics[:3, :3].T @ self.extrinsics[:3, 3]

    def project(self, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points 3"]:
        """World points (metres) to ``[u, v, depth]``: pixels, pixels and metres.

        >>> camera = look_at((0.0, 0.0, 0.0, 2.0, 90.0), np.zeros(3), 100, 80)
        >>> camera.project(np.array([[0.0, 0.0, 0.0], [0.0, 0.5, -1.0]])).round(6).tolist()
        [[50.0, 40.0, 2.0], [75.0, 27.5, 2.0]]
        """
        in_camera = points @ self.extrinsics[:3, :3].T + self.extrinsics[:3, 3]
        pixels = in_camera @ self.intrinsics.T
        return np.column_stack([pixels[:, :2] / pixels[:, 2:], in_camera[:, 2]])

    def resized(self, width: int, height: int) -> Camera:
        """The camera of its image scaled to another size."""
        scale = np.diag([width / self.width, height / self.height, 1.0])
        return Camera(scale @ self.intrinsics, self.extrinsics, width, height)

    def normalised(self, cube: Cube, box: Box) -> Float[np.ndarray, "3 7"]:
        """The camera as networks take it, without units: intrinsics, rotation and translation, side by side.

        For a point q of the cube, in [0, 1] along each axis, ``c = rotation q + translation`` is its position in the
        camera frame in edges of the cube, and ``intrinsics c``, divided by its last entry, its position in the image
        cropped to ``box``, in [-1, 1] from left to right and from top to bottom.
        """
        left, top, right, bottom = box
        width, height = right - left, bottom - top
        crop = np.array([[2 / width, 0, -(left + right) / width], [0, 2 / height, -(top + bottom) / height], [0, 0, 1]])
        rotation = self.extrinsics[:3, :3]
        translation = (rotation @ np.array(cube.lower) + self.extrinsics[:3, 3]) / cube.edge
        return np.column_stack([crop @ self.intrinsics, rotation, translation])

    def crop_box(self, cube: Cube, height: float | None = None) -> Box:
        """The smallest square image box around the projected ``cube``; it may extend beyond the image.

        Cropping to it makes the scale of the cube visible to networks that take no camera.

        Args:
            height: only the part of the cube up to this height, metres; for feet, the part that can be occupied.

        Raises:
            ValueError: a corner of the cube is behind the camera.
        """
        corners = cube.corners()
        if height is not None:
            corners[:, 1] = corners[:, 1].clip(max=cube.lower[1] + height)
        pixels = self.project(corners)
        if (pixels[:, 2] <= 0).any():
            raise ValueError("the camera is inside the cube or looks away from it: no crop box")
        lower, upper = pixels[:, :2].min(axis=0), pixels[:, :2].max(axis=0)
        centre, half = (lower + upper) / 2, (upper - lower).max() / 2
        return (*(centre - half), *(centre + half))


def look_at(row: Row, target: Float[np.ndarray, " 3"], width: int, height: int) -> Camera:
    """The camera of a metadata ``row`` in metres that looks at ``target``; the field of view is horizontal.

    >>> look_at((90.0, 0.0, 0.0, 2.0, 60.0), np.zeros(3), 64, 64).position.round(6).tolist()
    [0.0, 0.0, 2.0]

    Raises:
        ValueError: a distance, field of view or elevation out of range.
    """
    azimuth, elevation, inplane, distance, fov = row
    if not (distance > 0 and 0 < fov < 180 and abs(elevation) < 89.9):
        raise ValueError(f"a camera needs distance > 0, 0 < fov < 180, |elevation| < 89.9; found {row}")
    az, el, roll = np.deg2rad([azimuth, elevation, inplane])
    back = np.array([np.cos(el) * np.cos(az), np.sin(el), np.cos(el) * np.sin(az)])
    right = np.cross(-back, [0.0, 1.0, 0.0])
    right /= np.linalg.norm(right)
    upright = np.stack([right, np.cross(-back, right), -back])
    turn = np.array([[np.cos(roll), np.sin(roll), 0], [-np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
    extrinsics = np.eye(4)
    extrinsics[:3, :3] = turn @ upright
    extrinsics[:3, 3] = -extrinsics[:3, :3] @ (np.asarray(target, dtype=float) + distance * back)
    focal = width / 2 / np.tan(np.deg2rad(fov) / 2)
    return Camera(np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]), extrinsics, width, height)


def r2n2_camera(row: Row, unit: float, target: Float[np.ndarray, " 3"], width: int, height: int) -> Camera:
    """The camera of an R2N2 rendering of ShapeNet: distance 1.75 x column 4 x ``unit`` metres, fov 49.13 degrees.

    Both constants were fitted to the published renderings, twice and independently; column 5, always 25, is not used.

    >>> row = (0.0, 0.0, 0.0, 0.8, 25.0)
    >>> r2n2_camera(row, 1.0, np.zeros(3), 137, 137).position.round(3).tolist()
    [1.4, 0.0, 0.0]
    """
    return look_at((*row[:3], row[3] * R2N2_DISTANCE_SCALE * unit, R2N2_FOV), target, width, height)
