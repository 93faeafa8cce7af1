"""Where photos of a foot on the mat were taken from, and with which lens: every photo's board, solved all together.

One phone took them all, so focal length and radial distortion are found from all photos at once (Zhang, A Flexible New
Technique for Camera Calibration, PAMI 2000); nobody has to know them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, Int, UInt8

from p2vlib.geometry.cameras import Camera
from p2vtools.synthesis.mat import Mat, find_mats

MIN_CORNERS = 8
"""Corners of the board from which a photo is placed: of 96 on the large mats."""

MIN_PHOTOS = 3
"""Photos from which a lens can be calibrated."""

MAX_ERROR = 2.5
"""Mean distance in pixels of a photo of a thousand pixels between corners seen and expected, from which it is left
out: somebody moved the mat, or it was not flat."""

DEFAULT_FOCAL = 0.8
"""A phone's focal length in widths of its long side, to begin with: 64 degrees."""


@dataclass(frozen=True, eq=False)
class BoardDetection:
    """The corners of the board that a photo shows."""

    name: str
    size: tuple[int, int]
    """Width and height, pixels."""
    ids: Int[np.ndarray, " corners"]
    corners: Float[np.ndarray, "corners 2"]
    """Pixels, the centre of the first one at (0, 0), as OpenCV counts."""
    sharpness: float
    problem: str = ""
    """What the picture is instead of one of the mat, where that can be told, and what to do about it."""


@dataclass(frozen=True, eq=False)
class CameraSolution:
    """Lens and places of all photos that could be solved."""

    names: list[str]
    cameras: list[Camera]
    """Pinhole cameras of the undistorted photos (`undistorted`), in the frame of the mat."""
    errors: Float[np.ndarray, " photos"]
    """Mean distance between corners seen and expected, pixels."""
    distortion: Float[np.ndarray, " 5"]
    """OpenCV's coefficients; only the first, radial one is not zero."""
    rejected: dict[str, str]
    """Photo -> why it is not used."""


def detect_board(name: str, picture: UInt8[np.ndarray, "height width 3"], mat: Mat) -> BoardDetection:
    """Looks for the board of ``mat`` in an RGB ``picture``."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    corners, ids, markers = _board(grey, mat)
    size = (picture.shape[1], picture.shape[0])
    wrong = _instead(grey, mat, markers) if len(ids) < MIN_CORNERS else ""
    return BoardDetection(name, size, ids, corners, sharpness(picture), wrong)


def _board(
    grey: UInt8[np.ndarray, "height width"], mat: Mat
) -> tuple[Float[np.ndarray, "corners 2"], Int[np.ndarray, " corners"], Int[np.ndarray, " markers"]]:
    """Corners of the board of ``mat`` and their numbers, and the numbers of all markers, of whatever board."""
    corners, ids, _, markers = cv2.aruco.CharucoDetector(mat.board()).detectBoard(grey)
    places = np.asarray([] if corners is None else corners, float).reshape(-1, 2)
    return places, *(np.asarray([] if found is None else found, int).ravel() for found in (ids, markers))


def _instead(grey: UInt8[np.ndarray, "height width"], mat: Mat, markers: Int[np.ndarray, " markers"]) -> str:
    """What a picture without enough of ``mat`` is: one of another mat, or a mirror image, in which no marker is one."""
    other = find_mats(markers)
    if other and mat not in other:
        names = " or ".join(repr(one.name) for one in other)
        return f"shows the mat {names}, not {mat.name!r}: say --mat {other[0].name}"
    if not other and find_mats(_board(np.ascontiguousarray(grey[:, ::-1]), mat)[2]):
        return (
            "is a mirror image, as selfie cameras make them: take it with the camera at the back of the phone, or turn"
            " mirroring off"
        )
    return ""


def sharpness(picture: UInt8[np.ndarray, "height width 3"]) -> float:
    """Variance of the Laplacian: of two photos of the same, the sharper one has more of it."""
    return float(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var())


def solve_cameras(sightings: Sequence[BoardDetection], mat: Mat, focal: float | None = None) -> CameraSolution:
    """Lens and places of the photos.

    Args:
        focal: focal length in widths of the long side, where EXIF tells it; it is only where the search begins, but
            with fewer than three photos it has to be believed.

    Raises:
        ValueError: photos of different sizes, or too few that show enough of the mat.
    """
    if focal is None and len(sightings) < MIN_PHOTOS:
        raise ValueError(f"{len(sightings)} photos are too few; walk once around the foot and take 8 to 16")
    left_out = {
        one.name: one.problem
        or f"shows {len(one.ids)} of {len(mat.corners())} corners of the mat; {MIN_CORNERS} are needed"
        for one in sightings
        if len(one.ids) < MIN_CORNERS
    }
    used = [one for one in sightings if one.name not in left_out]
    if len(used) < (MIN_PHOTOS if focal is None else 1):
        raise ValueError(
            f"{len(used)} of {len(sightings)} photos show the mat {mat.name!r} well enough; expected at least"
            f" {MIN_PHOTOS}: {most_common_problem(sightings)}"
        )
    sizes = Counter(one.size for one in used)
    if len(sizes) > 1:
        told = ", ".join(f"{width} x {height}" for width, height in sorted(sizes))
        (most, _), *_ = sizes.most_common()
        odd = ", ".join(one.name for one in used if one.size != most)
        raise ValueError(
            f"photos of different sizes ({told}); take all of them upright, or all of them lying, with one lens and"
            f" uncut: leave out {odd}"
        )
    while True:
        lens, distortion, poses = _calibrated(used, mat, focal)
        errors = np.array([_error(one, mat, lens, distortion, pose) for one, pose in zip(used, poses, strict=True)])
        worst, limit = int(errors.argmax()), max(MAX_ERROR * max(used[0].size) / 1000, 3 * float(np.median(errors)))
        if errors[worst] <= limit or len(used) <= MIN_PHOTOS:
            break
        left_out[used[worst].name] = f"its corners are {errors[worst]:.1f} pixels off: did mat or foot move?"
        del used[worst]
    cameras = [_camera(one, mat, lens, pose) for one, pose in zip(used, poses, strict=True)]
    return CameraSolution([one.name for one in used], cameras, errors, distortion, left_out)


def most_common_problem(sightings: Sequence[BoardDetection]) -> str:
    """What most pictures are that do not show the mat, and what to do; a question where nothing can be told."""
    told = Counter(one.problem for one in sightings if one.problem)
    if not told:
        return "is it this mat, flat, and in the light?"
    ((wrong, count),) = told.most_common(1)
    first = next(one.name for one in sightings if one.problem == wrong)
    return f"{first} {wrong}" + (f" (and {count - 1} more)" if count > 1 else "")


def undistort(picture: UInt8[np.ndarray, "height width 3"], camera: Camera, distortion: np.ndarray) -> np.ndarray:
    """``picture`` as the pinhole ``camera`` would have taken it."""
    return cv2.undistort(picture, _as_opencv(camera.intrinsics), distortion)


def _as_opencv(intrinsics: np.ndarray) -> np.ndarray:
    """OpenCV counts from the centre of the first pixel, we from its corner."""
    moved = np.array(intrinsics, dtype=float)
    moved[:2, 2] -= 0.5
    return moved


def _calibrated(
    used: Sequence[BoardDetection], mat: Mat, focal: float | None
) -> tuple[np.ndarray, np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """Intrinsics, distortion and (rotation vector, translation) of each photo, of the board's own frame."""
    board = np.asarray(mat.board().getChessboardCorners(), dtype=np.float32)
    width, height = used[0].size
    begun = (focal or DEFAULT_FOCAL) * max(width, height)
    lens = np.array([[begun, 0, (width - 1) / 2], [0, begun, (height - 1) / 2], [0, 0, 1]])
    shapes = [board[one.ids] for one in used]
    places = [one.corners.astype(np.float32) for one in used]
    if len(used) < MIN_PHOTOS:
        none = np.zeros(5)
        solved = [cv2.solvePnP(s, p, lens, none) for s, p in zip(shapes, places, strict=True)]
        return lens, none, [(turn, shift) for _, turn, shift in solved]
    flags = cv2.CALIB_USE_INTRINSIC_GUESS | cv2.CALIB_FIX_ASPECT_RATIO | cv2.CALIB_FIX_PRINCIPAL_POINT
    flags |= cv2.CALIB_ZERO_TANGENT_DIST | cv2.CALIB_FIX_K2 | cv2.CALIB_FIX_K3
    _, lens, distortion, turns, shifts = cv2.calibrateCamera(
        shapes, places, (width, height), lens, np.zeros(5), flags=flags
    )
    return lens, np.asarray(distortion).ravel()[:5], list(zip(turns, shifts, strict=True))


def _error(one: BoardDetection, mat: Mat, lens: np.ndarray, distortion: np.ndarray, pose: tuple) -> float:
    board = np.asarray(mat.board().getChessboardCorners(), dtype=float)[one.ids]
    expected, _ = cv2.projectPoints(board, *pose, lens, distortion)
    return float(np.linalg.norm(expected[:, 0] - one.corners, axis=1).mean())


def _camera(one: BoardDetection, mat: Mat, lens: np.ndarray, pose: tuple) -> Camera:
    """In the frame of the mat: the board's x is where the toes point, its y their right, and up is against its z."""
    turn, shift = pose
    from_board, to_board = np.eye(4), np.eye(4)
    from_board[:3, :3], from_board[:3, 3] = cv2.Rodrigues(turn)[0], np.ravel(shift)
    across, down = mat.size
    to_board[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
    to_board[:2, 3] = across / 2000, down / 2000
    intrinsics = lens.copy()
    intrinsics[:2, 2] += 0.5
    return Camera(intrinsics, from_board @ to_board, *one.size)
