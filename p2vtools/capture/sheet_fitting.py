"""Bundle adjustment: one focal length, one distortion, the heights of a bent sheet and the pose of each photo.

All are fitted to the edges of the sheet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Bool, Float
from scipy.linalg import block_diag
from scipy.optimize import least_squares

from p2vlib.geometry.cameras import Camera
from p2vtools.capture import sheet_detection
from p2vtools.capture.charuco import MIN_PHOTOS, camera_from_pose
from p2vtools.capture.sheet_detection import SheetLines

SAMPLES = 40
"""Points along each side of the sheet at which its edge is searched."""

ALONG = np.linspace(0.03, 0.97, SAMPLES)
"""Where they are, from the first corner of a side (0) to the next (1)."""

SEARCH = (14.0, 8.0, 5.0, 4.0)
"""Distance from the side of the sheet within which its edge is searched, thousandths of the photo's longer side, in
each round of the fit."""

MIN_CONTRAST, MIN_SLOPE = 2.0, 0.03
"""Smallest difference of colour (Lab) across a side of the sheet, and the share of it that changes within half a
thousandth where the edge is."""

MIN_SEEN, MIN_SIDES = 0.3, 3
"""Share of the sheet's outline and number of its sides that a photo has to show."""

MAX_RESIDUAL = 2.5
"""Largest median distance of the edges from the fitted sheet in a photo that is kept, thousandths of its side."""

FOCAL_SPREAD, EXIF_SPREAD, DISTORTION_SPREAD = 0.3, 0.04, 0.05
"""Standard deviations of the prior: of the logarithm of the focal length about the best candidate's, and about that of
the photos' EXIF, and of the radial distortion k1."""

RAISED_SPREAD, LOWERED_SPREAD = 0.003, 0.0003
"""Standard deviations of the prior of the heights of the sheet above and below the floor, metres."""

SHARED = 10
"""Number of parameters that all photos share: focal length, distortion, heights of corners and middles of sides."""


@dataclass(frozen=True, eq=False)
class SheetPhoto:
    """A photo that shows the sheet."""

    name: str
    lines: SheetLines
    pose: Float[np.ndarray, " 6"]
    """Rotation vector and translation from the sheet, whose x axis is its longer edge and whose z axis points down."""
    residual: float = 0.0
    """Median distance of the edges, thousandths of the longer side."""


class _Edges(NamedTuple):
    """Where the outline of the sheet is in a photo."""

    points: Float[np.ndarray, "samples 2"]
    normals: Float[np.ndarray, "samples 2"]
    seen: Bool[np.ndarray, " samples"]


def pose_of(corners: Float[np.ndarray, "4 2"], focal: float, size: tuple[float, float]) -> Float[np.ndarray, " 6"]:
    """The pose of a sheet with these corners, whose longer side is chosen by the proportions."""
    first_is_short = sheet_detection.proportion_errors(corners[None], np.array([focal]), size)[0, :, 0].argmin()
    image = np.roll(corners, -first_is_short, 0)
    _, rotation, translation = cv2.solvePnP(_outline(size)[0], image, np.diag([focal, focal, 1.0]), None)
    return np.concatenate([rotation.ravel(), translation.ravel()])


def _outline(size: tuple[float, float]) -> tuple[Float[np.ndarray, "4 3"], Float[np.ndarray, "samples 3"]]:
    """The corners of a sheet and points along its sides, `SAMPLES` per side, metres."""
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * [size[0] / 2, size[1] / 2, 0]
    points = [
        start + ALONG[:, None] * (end - start) for start, end in zip(corners, np.roll(corners, -1, 0), strict=True)
    ]
    return corners, np.concatenate(points)


def _height_basis() -> Float[np.ndarray, "samples 8"]:
    """Heights of the points along the sides (`_outline`) for a height of 1 at each corner and the middle of each side.

    They are quadratic along a side.
    """
    basis = np.zeros((4, SAMPLES, 8))
    for side in range(4):
        basis[side, :, side] = (1 - ALONG) * (1 - 2 * ALONG)
        basis[side, :, (side + 1) % 4] = ALONG * (2 * ALONG - 1)
        basis[side, :, 4 + side] = 4 * ALONG * (1 - ALONG)
    return basis.reshape(4 * SAMPLES, 8)


class SheetFit:
    """Focal length, distortion, heights of the sheet and poses, fitted to its edges in several rounds."""

    def __init__(self, size: tuple[float, float], focal: float, spread: float) -> None:
        self.size, self.expected, self.spread = size, focal, spread
        self.focal, self.distortion, self.heights = focal, np.zeros(5), np.zeros(8)
        self.points, self.height_basis = _outline(size)[1], _height_basis()

    def fit(self, photos: Sequence[SheetPhoto], rejected: dict[str, str]) -> list[SheetPhoto]:
        """The photos with their poses, without those that do not agree, which are added to ``rejected``."""
        for reach in SEARCH:
            kept = []
            for photo in photos:
                edges = self._edges(photo, reach)
                sides = edges.seen.reshape(4, SAMPLES).mean(1)
                if edges.seen.mean() < MIN_SEEN or (sides > 0.15).sum() < MIN_SIDES:
                    rejected[photo.name] = "too little of the edges of the sheet is visible"
                else:
                    kept.append((photo, edges))
            if len(kept) < MIN_PHOTOS:
                return [photo for photo, _ in kept]
            photos = self._solve(*zip(*kept, strict=True))
        for photo in photos:
            if photo.residual > MAX_RESIDUAL:
                rejected[photo.name] = f"the edges of the sheet are bent or moved ({photo.residual:.1f} thousandths)"
        return [photo for photo in photos if photo.name not in rejected]

    def corners(self, photo: SheetPhoto) -> Float[np.ndarray, "4 2"]:
        """The corners of the sheet in a photo, thousandths of its longer side from its centre."""
        return self._project(photo.pose, _outline(self.size)[0], self.heights[:4])

    def _sides(self, pose: Float[np.ndarray, " 6"]) -> Float[np.ndarray, "samples 2"]:
        """The points along the sides in a photo with this pose, as `corners`."""
        return self._project(pose, self.points, self.height_basis @ self.heights)

    def _project(
        self,
        pose: Float[np.ndarray, " 6"],
        points: Float[np.ndarray, "points 3"],
        heights: Float[np.ndarray, " points"],
    ) -> Float[np.ndarray, "points 2"]:
        matrix, raised = np.diag([self.focal, self.focal, 1.0]), points - heights[:, None] * [0, 0, 1]
        return cv2.projectPoints(raised, pose[:3], pose[3:], matrix, self.distortion)[0][:, 0]

    def _edges(self, photo: SheetPhoto, reach: float) -> _Edges:
        """Where the edges of the sheet are, within ``reach`` of its present pose."""
        points = self._sides(photo.pose).reshape(4, SAMPLES, 2)
        along = np.gradient(points, axis=1)
        inwards = np.stack([-along[..., 1], along[..., 0]], -1)
        inwards /= np.linalg.norm(inwards, axis=2, keepdims=True)
        steps = np.arange(-reach - 3, reach + 3.5, 0.5)
        places = points[:, :, None] + steps[:, None] * inwards[:, :, None]
        lab = photo.lines.lab
        height, width = lab.shape[:2]
        pixels = (places + [width / 2 - 0.5, height / 2 - 0.5]).astype(np.float32).reshape(4 * SAMPLES, -1, 2)
        profiles = cv2.remap(lab, pixels, None, cv2.INTER_LINEAR).reshape(4, SAMPLES, len(steps), 3)
        visible = ((pixels > 0) & (pixels < [width - 1, height - 1])).all((1, 2)).reshape(4, SAMPLES)
        inner, outer = profiles[:, :, -6:].mean(2), profiles[:, :, :6].mean(2)
        row, column = np.clip(pixels[:, -1, ::-1].astype(int), 0, [height - 1, width - 1]).T
        visible &= photo.lines.paper[row, column].reshape(4, SAMPLES)
        seen, offsets = np.zeros((4, SAMPLES), bool), np.zeros((4, SAMPLES))
        for index in range(4):
            if visible[index].sum() < 3:
                continue
            contrast = np.median((inner - outer)[index][visible[index]], axis=0)
            if (strength := float(np.linalg.norm(contrast))) < MIN_CONTRAST:
                continue
            slopes = np.gradient(profiles[index] @ (contrast / strength), axis=1)[:, 6:-6]
            best = slopes.argmax(1)
            left, middle, right = (
                np.take_along_axis(slopes, np.clip(best + step, 0, slopes.shape[1] - 1)[:, None], 1)[:, 0]
                for step in (-1, 0, 1)
            )
            curvature = np.minimum(left - 2 * middle + right, -1e-6)
            shift = np.clip(0.5 * (left - right) / curvature, -0.5, 0.5)
            offsets[index] = steps[6:-6][best] + 0.5 * shift
            seen[index] = visible[index] & (middle > MIN_SLOPE * strength) & (best > 0) & (best < slopes.shape[1] - 1)
        found = points + offsets[..., None] * inwards
        return _Edges(found.reshape(-1, 2), inwards.reshape(-1, 2), seen.ravel())

    def _solve(self, photos: Sequence[SheetPhoto], edges: Sequence[_Edges]) -> list[SheetPhoto]:
        """Fits everything to ``edges`` by robust least squares."""

        def residuals(values: Float[np.ndarray, " parameters"]) -> Float[np.ndarray, " residuals"]:
            self._set(values)
            poses = values[SHARED:].reshape(-1, 6)
            parts = [
                ((self._sides(pose) - edge.points) * edge.normals).sum(1)[edge.seen]
                for pose, edge in zip(poses, edges, strict=True)
            ]
            heights = values[2:SHARED]
            prior = [values[0] / self.spread, values[1] / DISTORTION_SPREAD]
            return np.concatenate([*parts, prior, heights / np.where(heights > 0, RAISED_SPREAD, LOWERED_SPREAD)])

        lens = [math.log(self.focal / self.expected), self.distortion[0]]
        start = np.concatenate([lens, self.heights, *(photo.pose for photo in photos)])
        counts = [int(edge.seen.sum()) for edge in edges]
        of_poses = block_diag(*(np.ones((count, 6)) for count in counts), np.zeros((SHARED, 0)))
        pattern = np.hstack([np.vstack([np.ones((sum(counts), SHARED)), np.eye(SHARED)]), of_poses])
        result = least_squares(
            residuals, start, loss="soft_l1", x_scale="jac", jac_sparsity=pattern, method="trf", max_nfev=30
        )
        self._set(result.x)
        distances = np.split(np.abs(residuals(result.x)), np.cumsum(counts))
        return [
            replace(photo, pose=pose, residual=float(np.median(distance)))
            for photo, pose, distance in zip(photos, result.x[SHARED:].reshape(-1, 6), distances, strict=False)
        ]

    def _set(self, values: Float[np.ndarray, " parameters"]) -> None:
        self.focal, self.distortion = self.expected * math.exp(values[0]), np.array([values[1], 0, 0, 0, 0])
        self.heights = values[2:SHARED]

    def camera(self, photo: SheetPhoto, shape: Sequence[int]) -> Camera:
        """The pinhole camera of a photo of this ``shape`` (height, width and channels), in the frame of the sheet."""
        return camera_from_pose(self.focal, np.split(photo.pose, 2), shape[1::-1])
