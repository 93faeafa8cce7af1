"""Camera calibration from photos of the mat: board detection, then lens and poses of all photos in one solution.

All photos are from one phone, so its focal length and radial distortion are estimated from all of them together (Zhang,
A Flexible New Technique for Camera Calibration, PAMI 2000).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from p2vlib.geometry.cameras import Camera
from p2vtools.synthesis.mat import MATS, BorderMat, Mat, find_mats, marker_dictionary

CELLS = 7
"""Cells along the edge of a marker, with its black frame."""

MIN_PHOTOS = 3
"""Photos needed to calibrate a lens."""

MAX_ERROR = 2.5
"""Mean reprojection error, in thousandths of the photo's longer side, above which a photo is rejected: the mat was
moved or not flat."""

DEFAULT_FOCAL = 0.8
"""Initial focal length divided by the photo's longer side: a field of view of 64 degrees, as phones have."""


@dataclass(frozen=True, eq=False)
class BoardDetection:
    """The corners of the board found in one photo."""

    name: str
    size: tuple[int, int]
    """Width and height of the photo, pixels."""
    ids: Int[np.ndarray, " corners"]
    corners: Float[np.ndarray, "corners 2"]
    """Pixels; (0, 0) is the centre of the first pixel, as in OpenCV."""
    sharpness: float
    problem: str = ""
    """Why the board was not found, where the photo shows the reason, and what to do."""


@dataclass(frozen=True, eq=False)
class CameraSolution:
    """Lens and camera poses of the photos that could be solved."""

    names: list[str]
    cameras: list[Camera]
    """Pinhole cameras of the photos after `undistort`, in the frame of the mat."""
    errors: Float[np.ndarray, " photos"]
    """Mean reprojection error of each photo, pixels."""
    distortion: Float[np.ndarray, " 5"]
    """OpenCV's coefficients; only the first radial one is estimated."""
    rejected: dict[str, str]
    """Name of each rejected photo -> reason."""


def detect_board(name: str, picture: UInt8[np.ndarray, "height width 3"], mat: Mat) -> BoardDetection:
    """Detects the board of ``mat`` in an RGB photo."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    corners, ids, marker_ids = _detect(grey, mat)
    problem = "" if len(ids) >= mat.min_corners else _find_problem(grey, mat, marker_ids)
    return BoardDetection(name, (picture.shape[1], picture.shape[0]), ids, corners, sharpness(picture), problem)


def _detect(
    grey: UInt8[np.ndarray, "height width"], mat: Mat
) -> tuple[Float[np.ndarray, "corners 2"], Int[np.ndarray, " corners"], Int[np.ndarray, " markers"]]:
    """Corners of the board of ``mat``, their ids, and the ids of all detected markers, of any mat."""
    if isinstance(mat, BorderMat):
        marks, marker_ids = _detect_markers(grey)
        shown = np.isin(marker_ids, mat.marker_ids)
        ids = (4 * (marker_ids[shown] - mat.first_marker)[:, None] + np.arange(4)).ravel()
        corners = [_intersect_edges(grey, mark) for mark in marks[shown]]
        return np.reshape(corners, (-1, 2)), ids, marker_ids
    corners, ids, _, marker_ids = cv2.aruco.CharucoDetector(mat.board()).detectBoard(grey)
    corners = np.asarray([] if corners is None else corners, float).reshape(-1, 2)
    return corners, *(np.asarray([] if found is None else found, int).ravel() for found in (ids, marker_ids))


def _detect_markers(
    grey: UInt8[np.ndarray, "height width"],
) -> tuple[Float[np.ndarray, "markers 4 2"], Int[np.ndarray, " markers"]]:
    """Corners and ids of all markers of the dictionary."""
    marks, ids, _ = cv2.aruco.ArucoDetector(marker_dictionary()).detectMarkers(grey)
    return np.asarray(marks, float).reshape(-1, 4, 2), np.asarray([] if ids is None else ids, int).ravel()


def _intersect_edges(
    grey: UInt8[np.ndarray, "height width"], mark: Float[np.ndarray, "4 2"]
) -> Float[np.ndarray, "4 2"]:
    """The corners of a detected mark as intersections of lines through its edges.

    Blur rounds a corner, so that a refinement at the corner itself is half a pixel too far inside.
    """
    sides = np.roll(mark, -1, 0) - mark
    lengths = np.linalg.norm(sides, axis=1)
    reach = min(3.0, 0.4 * lengths.min() / CELLS)  # not as far as the inner edge of the frame
    steps, along, lines = np.linspace(-reach, reach, 25), np.linspace(0.12, 0.88, 24)[:, None], []
    for corner, side, length in zip(mark, sides, lengths, strict=True):
        normal = np.array([side[1], -side[0]]) / length
        points = corner + along * side
        samples = (points[:, None] + steps[:, None] * normal).astype(np.float32)
        slopes = np.abs(np.diff(cv2.remap(grey, samples, None, cv2.INTER_LINEAR).astype(float), axis=1)) + 1e-6
        offsets = slopes @ (steps[1:] + steps[:-1]) / 2 / slopes.sum(1)
        x, y, x0, y0 = cv2.fitLine(
            (points + offsets[:, None] * normal).astype(np.float32), cv2.DIST_HUBER, 0, 0.01, 0.01
        )
        lines.append(np.cross([*x0, *y0, 1], [*(x0 + x), *(y0 + y), 1]))
    corners = np.stack([np.cross(lines[number - 1], lines[number]) for number in range(4)])
    return corners[:, :2] / corners[:, 2:]


def printed_design(pictures: Iterable[UInt8[np.ndarray, "height width 3"]], mat: Mat) -> Mat:
    """``mat``, or the chessboard that was printed on the same paper before, if that is what RGB photos show."""
    older = MATS[mat.name]
    for picture in pictures if older != mat else ():
        if found := find_mats(_detect_markers(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))[1]):
            return older if older in found else mat
    return mat


def _find_problem(grey: UInt8[np.ndarray, "height width"], mat: Mat, marker_ids: Int[np.ndarray, " markers"]) -> str:
    """Whether the photo shows another mat, or is a mirror image; no marker can be read in a mirror image."""
    others = find_mats(marker_ids)
    if others and mat not in others:
        names = " or ".join(repr(other.name) for other in others)
        return f"shows the mat {names}, not {mat.name!r}: pass --mat {others[0].name}"
    if not others and find_mats(_detect(np.ascontiguousarray(grey[:, ::-1]), mat)[2]):
        return (
            "is a mirror image, as from a selfie camera: use the camera at the back of the phone, or turn mirroring off"
        )
    return ""


def sharpness(picture: UInt8[np.ndarray, "height width 3"]) -> float:
    """Variance of the Laplacian; of two photos of the same scene the sharper one has the larger value."""
    return float(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var())


def solve_cameras(detections: Sequence[BoardDetection], mat: Mat, focal: float | None = None) -> CameraSolution:
    """Lens and camera poses of the photos, without those that do not agree with the others.

    Args:
        focal: focal length divided by the longer side, as from EXIF. It is the initial value of the estimate; with
            fewer than `MIN_PHOTOS` photos it is used as it is.

    Raises:
        ValueError: photos of different sizes, or too few photos that show enough of the mat.
    """
    if focal is None and len(detections) < MIN_PHOTOS:
        raise ValueError(f"{len(detections)} photos are too few; walk once around the foot and take 8 to 16")
    rejected = {
        one.name: one.problem
        or f"shows {len(one.ids)} of {len(mat.corners())} corners of the mat; {mat.min_corners} needed"
        for one in detections
        if len(one.ids) < mat.min_corners
    }
    used = [one for one in detections if one.name not in rejected]
    if len(used) < (MIN_PHOTOS if focal is None else 1):
        raise ValueError(
            f"{len(used)} of {len(detections)} photos show the mat {mat.name!r} well enough; expected at least"
            f" {MIN_PHOTOS}: {most_common_problem(detections)}"
        )
    width, height = common_size({one.name: one.size for one in used})
    while True:
        intrinsics, distortion, poses = _calibrate(used, mat, focal)
        errors = np.array([_error(*pair, mat, intrinsics, distortion) for pair in zip(used, poses, strict=True)])
        worst = int(errors.argmax())
        limit = max(MAX_ERROR * max(width, height) / 1000, 3 * float(np.median(errors)))
        if errors[worst] <= limit or len(used) <= MIN_PHOTOS:
            break
        rejected[used[worst].name] = f"corners are off by {errors[worst]:.1f} pixels: did the mat or the foot move?"
        del used[worst]
    cameras = [Camera(_shift_origin(intrinsics, 0.5), _extrinsics(pose, mat), width, height) for pose in poses]
    return CameraSolution([one.name for one in used], cameras, errors, distortion, rejected)


def common_size(sizes: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """Width and height of all photos.

    Args:
        sizes: name of a photo -> its width and height.

    Raises:
        ValueError: photos of different sizes; names those that differ from most.
    """
    counts = Counter(sizes.values())
    ((size, _),) = counts.most_common(1)
    if len(counts) > 1:
        found = ", ".join(f"{width} x {height}" for width, height in sorted(counts))
        others = ", ".join(name for name, other in sizes.items() if other != size)
        raise ValueError(
            f"photos of different sizes ({found}); take all of them upright or all of them sideways, with one lens and"
            f" uncropped: leave out {others}"
        )
    return size


def most_common_problem(detections: Sequence[BoardDetection]) -> str:
    """The most common reason why the mat was not found, or a question if no reason was found."""
    problems = Counter(one.problem for one in detections if one.problem)
    if not problems:
        return "is it this mat, flat, and well lit?"
    ((problem, count),) = problems.most_common(1)
    first = next(one.name for one in detections if one.problem == problem)
    return f"{first} {problem}" + (f" (and {count - 1} more)" if count > 1 else "")


def undistort(picture: UInt8[np.ndarray, "height width 3"], camera: Camera, distortion: np.ndarray) -> np.ndarray:
    """The photo without lens distortion, as the pinhole ``camera`` would take it."""
    return cv2.undistort(picture, _shift_origin(camera.intrinsics, -0.5), distortion)


def _shift_origin(intrinsics: np.ndarray, pixels: float) -> Float[np.ndarray, "3 3"]:
    """Moves the principal point: OpenCV's origin is the centre of the first pixel, ours its corner (0.5 pixels off)."""
    shifted = np.array(intrinsics, dtype=float)
    shifted[:2, 2] += pixels
    return shifted


def _calibrate(
    detections: Sequence[BoardDetection], mat: Mat, focal: float | None
) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Intrinsics, distortion, and (rotation vector, translation) of each photo in the frame of the board."""
    board = mat.board_corners().astype(np.float32)
    objects = [board[one.ids] for one in detections]
    images = [one.corners.astype(np.float32) for one in detections]
    width, height = size = detections[0].size
    initial = (focal or DEFAULT_FOCAL) * max(size)
    intrinsics = np.array([[initial, 0, (width - 1) / 2], [0, initial, (height - 1) / 2], [0, 0, 1]])
    if len(detections) < MIN_PHOTOS:
        distortion = np.zeros(5)
        poses = [cv2.solvePnP(*pair, intrinsics, distortion)[1:] for pair in zip(objects, images, strict=True)]
        return intrinsics, distortion, poses
    flags = cv2.CALIB_USE_INTRINSIC_GUESS | cv2.CALIB_FIX_ASPECT_RATIO | cv2.CALIB_FIX_PRINCIPAL_POINT
    flags |= cv2.CALIB_ZERO_TANGENT_DIST | cv2.CALIB_FIX_K2 | cv2.CALIB_FIX_K3
    _, intrinsics, distortion, rotations, translations = cv2.calibrateCamera(
        objects, images, size, intrinsics, np.zeros(5), flags=flags
    )
    return intrinsics, np.asarray(distortion).ravel()[:5], list(zip(rotations, translations, strict=True))


def _error(one: BoardDetection, pose: tuple, mat: Mat, intrinsics: np.ndarray, distortion: np.ndarray) -> float:
    """Mean reprojection error, pixels."""
    expected, _ = cv2.projectPoints(mat.board_corners()[one.ids], *pose, intrinsics, distortion)
    return float(np.linalg.norm(expected[:, 0] - one.corners, axis=1).mean())


def _extrinsics(pose: tuple[np.ndarray, np.ndarray], mat: Mat) -> Float[np.ndarray, "4 4"]:
    """World -> camera. The board's x axis is the world's x, its y axis the world's z, and its z axis points down."""
    rotation, translation = pose
    from_board, to_board = np.eye(4), np.eye(4)
    from_board[:3, :3], from_board[:3, 3] = cv2.Rodrigues(rotation)[0], np.ravel(translation)
    width, height = mat.size
    to_board[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
    to_board[:2, 3] = width / 2000, height / 2000
    return from_board @ to_board
