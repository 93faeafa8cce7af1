"""Camera calibration from photos of the mat: board detection, then the lenses and the poses of all photos.

The focal length and radial distortion of a lens are estimated from all of its photos together (Zhang, A Flexible New
Technique for Camera Calibration, PAMI 2000). Photos have one lens if they have one shape, upright or sideways, and
nearly one focal length relative to their size. So photos may be turned, resized or taken with several lenses.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float32, Int, UInt8

from p2vlib.geometry.cameras import Camera
from p2vtools.synthesis.mat import MATS, BorderMat, GluedMat, Mat, find_mats, marker_dictionary

Picture = UInt8[np.ndarray, "_ _ 3"]
"""An RGB photo."""

Grey = UInt8[np.ndarray, "height width"]

CELLS = 7
"""Cells along the edge of a marker, with its black frame."""

MIN_PHOTOS = 3
"""Photos needed for a capture, and to calibrate the distortion of a lens."""

MAX_ERROR, MAX_ERROR_ALONE = 2.5, 1.25
"""Mean reprojection error, in thousandths of the photo's longer side, above which a photo is rejected: the mat was
moved or not flat. The second is for a photo whose lens is estimated from it alone, which may have been cropped."""

SAME_LENS = 1.15
"""Largest ratio of the focal lengths that single photos of one lens, with their neighbours, give."""

GLUE_STEPS = 3
"""Estimates of the place of the second of two sheets; each is followed by a calibration."""

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


class Lens(NamedTuple):
    """A lens whose optical axis goes through the centre of the photo."""

    focal: float
    """Focal length in thousandths of the photo's longer side."""
    distortion: Float[np.ndarray, " 5"]
    """OpenCV's coefficients; only the first radial one is estimated."""


class SolvedPhoto(NamedTuple):
    """A photo with its lens and its pose."""

    detection: BoardDetection
    lens: Lens
    pose: tuple[np.ndarray, np.ndarray]
    """Rotation vector and translation of the board, metres."""
    error: float
    """Mean reprojection error, thousandths of the photo's longer side."""

    @property
    def pixel_error(self) -> float:
        """Mean reprojection error, pixels."""
        return self.error * max(self.detection.size) / 1000

    def camera(self, mat: Mat, scale: float = 1.0) -> Camera:
        """The pinhole camera after `undistort` in the frame of ``mat``, which was printed ``scale`` times too large."""
        middle = mat.size[0] / 2000, mat.size[1] / 2000
        return camera_from_pose(self.lens.focal, self.pose, self.detection.size, middle, scale)


def detect_board(name: str, picture: Picture, mat: Mat) -> BoardDetection:
    """Detects the board of ``mat`` in an RGB photo."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    corners, ids = _detect(grey, mat)
    problem = "" if len(ids) >= mat.min_corners else _find_problem(grey, mat)
    return BoardDetection(name, grey.shape[::-1], ids, corners, sharpness(picture), problem)


def _detect(grey: Grey, mat: Mat) -> tuple[Float[np.ndarray, "corners 2"], Int[np.ndarray, " corners"]]:
    """Corners of the board of ``mat``, and their ids."""
    if isinstance(mat, BorderMat):
        marks, marker_ids = _detect_markers(grey)
        shown = np.isin(marker_ids, mat.marker_ids)
        ids = (4 * (marker_ids[shown] - mat.first_marker)[:, None] + np.arange(4)).ravel()
        return np.reshape([_intersect_edges(grey, mark) for mark in marks[shown]], (-1, 2)), ids
    corners, ids, *_ = cv2.aruco.CharucoDetector(mat.board()).detectBoard(grey)
    in_row = mat.columns - 1
    if ids is None or not (np.ptp(ids // in_row) and np.ptp(ids % in_row)):  # corners on a line determine no pose
        return np.zeros((0, 2)), np.zeros(0, int)
    return corners.reshape(-1, 2).astype(float), ids.ravel().astype(int)


def _detect_markers(grey: Grey) -> tuple[Float[np.ndarray, "markers 4 2"], Int[np.ndarray, " markers"]]:
    """Corners and ids of all markers of the dictionary."""
    marks, ids, _ = cv2.aruco.ArucoDetector(marker_dictionary()).detectMarkers(grey)
    return np.asarray(marks, float).reshape(-1, 4, 2), np.asarray([] if ids is None else ids, int).ravel()


def _visible_mats(grey: Grey) -> list[Mat]:
    """The mats whose markers are visible, several if they have the same board; none with too few markers."""
    return find_mats(_detect_markers(grey)[1])


def _intersect_edges(grey: Grey, mark: Float[np.ndarray, "4 2"]) -> Float[np.ndarray, "4 2"]:
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


def recognise_mat(picture: Picture) -> Mat | None:
    """The mat in an RGB photo, any of those with the same board; None if too few of its markers are visible."""
    return next(iter(_visible_mats(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))), None)


def printed_design(pictures: Iterable[Picture], mat: Mat) -> Mat:
    """``mat``, or the chessboard that was printed on the same paper before, if that is what RGB photos show."""
    older = MATS[mat.name]
    seen = mat if older == mat else next(filter(None, map(recognise_mat, pictures)), mat)
    return older if seen == older else mat


def _find_problem(grey: Grey, mat: Mat) -> str:
    """Whether the photo shows another mat, or is a mirror image; no marker can be read in a mirror image."""
    others = _visible_mats(grey)
    if others and mat not in others:
        names = " or ".join(repr(other.name) for other in others)
        return f"shows the mat {names}, not {mat.name!r}: pass --mat {others[0].name}"
    if not others and _visible_mats(np.ascontiguousarray(grey[:, ::-1])):
        return (
            "is a mirror image, as from a selfie camera: use the camera at the back of the phone, or turn mirroring off"
        )
    return ""


def sharpness(picture: Picture) -> float:
    """Variance of the Laplacian; of two photos of the same scene the sharper one has the larger value."""
    return float(cv2.Laplacian(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.CV_32F).var())


def solve_cameras(detections: Sequence[BoardDetection], mat: Mat) -> tuple[list[SolvedPhoto], dict[str, str], Mat]:
    """Lenses and camera poses of the photos, without those that do not agree with the others.

    Returns:
        The photos that agree, the names of the rejected ones -> reason, and the mat: of two sheets glued together a
        `GluedMat`, if enough photos show both.

    Raises:
        ValueError: too few photos that show enough of the mat.
    """
    if len(detections) < MIN_PHOTOS:
        raise ValueError(f"too few photos ({len(detections)}), expected {MIN_PHOTOS}; take 8 to 16 around the foot")
    unusable = {
        one.name: one.problem
        or f"shows {len(one.ids)} of {len(mat.corners())} corners of the mat; {mat.min_corners} needed"
        for one in detections
        if len(one.ids) < mat.min_corners
    }
    used = [one for one in detections if one.name not in unusable]
    if len(used) < MIN_PHOTOS:
        raise ValueError(
            f"{len(used)} of {len(detections)} photos show the mat {mat.name!r} well enough; expected at least"
            f" {MIN_PHOTOS}: {most_common_problem(detections)}"
        )
    solved, rejected = _solve(used, mat)
    for _ in range(GLUE_STEPS if mat.sheets == 2 else 0):
        mat = _locate_second_sheet(solved, mat)
        solved, rejected = _solve(used, mat)
    return solved, unusable | rejected, mat


def _solve(used: Sequence[BoardDetection], mat: Mat) -> tuple[list[SolvedPhoto], dict[str, str]]:
    """The photos that agree, in their order, and the rejected ones -> reason."""
    rejected: dict[str, str] = {}
    groups, solved = _group_by_lens(used, mat), []
    if len(groups[0]) < MIN_PHOTOS:
        raise ValueError(
            f"no {MIN_PHOTOS} of {len(used)} photos have one shape and one lens; use whole photos, as phones take them,"
            " not cropped by hand"
        )
    for group in groups:
        if len(group) < MIN_PHOTOS:
            solved += [one for detection in group if (one := _solve_alone(detection, mat, solved, rejected))]
        else:
            solved += _solve_together(group, mat, rejected)
    if len(solved) < MIN_PHOTOS:
        reasons = "; ".join(f"{one.name} {rejected[one.name]}" for one in used if one.name in rejected)
        raise ValueError(f"{len(solved)} of {len(used)} photos agree, expected at least {MIN_PHOTOS}: {reasons}")
    return sorted(solved, key=lambda one: used.index(one.detection)), rejected


def _locate_second_sheet(solved: Sequence[SolvedPhoto], mat: Mat) -> Mat:
    """The mat with its second sheet where the corners in all photos agree best, by a Gauss-Newton step.

    It needs `MIN_PHOTOS` photos with enough corners of both sheets; otherwise ``mat`` is returned.
    """
    first = mat.board_corners()[:, 0] < mat.size[0] / 2000
    both = [
        one
        for one in solved
        if mat.min_corners <= first[one.detection.ids].sum() <= len(one.detection.ids) - mat.min_corners
    ]
    if len(both) < MIN_PHOTOS:
        return mat
    glued = mat if isinstance(mat, GluedMat) else GluedMat(**vars(mat))
    steps = np.diag([0.2, 0.2, 0.05])  # mm, mm, degrees

    def errors_at(offset: Float[np.ndarray, " 3"]) -> Float[np.ndarray, " coordinates"]:
        moved = replace(glued, offset=tuple(offset.tolist()))
        posed = [_with_lens(one.detection, moved, one.lens) for one in both]
        return np.concatenate([_residuals(one.detection, one.pose, moved, one.lens) for one in posed], None)

    error = errors_at(offset := np.array(glued.offset))
    slopes = np.stack([(errors_at(offset + step) - error) / step.sum() for step in steps], 1)
    offset -= np.linalg.lstsq(slopes, error, rcond=None)[0]
    return replace(glued, offset=tuple(offset.tolist()))


def _group_by_lens(detections: Sequence[BoardDetection], mat: Mat) -> list[list[BoardDetection]]:
    """Photos of one shape, upright or sideways, and of nearly one focal length; the largest group first."""
    alone = [(_shape(one), calibrate([one], mat)[0].lens.focal, one) for one in detections]
    groups, last_shape, last_focal = [], 0.0, 0.0
    for shape, focal, detection in sorted(alone, key=lambda one: one[:2]):
        if shape != last_shape or focal > SAME_LENS * last_focal:
            groups.append([])
        groups[-1].append(detection)
        last_shape, last_focal = shape, focal
    return sorted(groups, key=len, reverse=True)


def _shape(detection: BoardDetection) -> float:
    """Ratio of the shorter to the longer side, to a percent."""
    return round(min(detection.size) / max(detection.size), 2)


def _solve_together(group: list[BoardDetection], mat: Mat, rejected: dict[str, str]) -> list[SolvedPhoto]:
    """Photos of one lens, without those that do not agree, which are added to ``rejected``."""
    group = list(group)
    while True:
        solved = calibrate(group, mat)
        errors = np.array([one.error for one in solved])
        worst = int(errors.argmax())
        if errors[worst] <= max(MAX_ERROR, 3 * float(np.median(errors))) or len(group) <= MIN_PHOTOS:
            return solved
        rejected[group[worst].name] = _describe_error(solved[worst])
        del group[worst]


def _solve_alone(
    detection: BoardDetection, mat: Mat, solved: Sequence[SolvedPhoto], rejected: dict[str, str]
) -> SolvedPhoto | None:
    """A photo with a lens of the ``solved`` ones of its shape if it agrees, otherwise with its own.

    None: it was added to ``rejected``.
    """
    lenses = {one.lens.focal: one.lens for one in solved if _shape(one.detection) == _shape(detection)}
    for lens in lenses.values():
        one = _with_lens(detection, mat, lens)
        if one.error <= MAX_ERROR:
            return one
    (one,) = calibrate([detection], mat, solved[0].lens.distortion)
    if one.error <= MAX_ERROR_ALONE:
        return one
    rejected[detection.name] = _describe_error(one)
    return None


def _describe_error(one: SolvedPhoto) -> str:
    return f"corners are off by {one.pixel_error:.1f} pixels: did the mat or the foot move, or was the photo cropped?"


def _with_lens(detection: BoardDetection, mat: Mat, lens: Lens) -> SolvedPhoto:
    """The pose of a photo whose lens is known."""
    matrix, points = _matrix(lens.focal), _to_thousandths(detection)
    _, *pose = cv2.solvePnP(mat.board_corners()[detection.ids], points.astype(float), matrix, lens.distortion)
    return SolvedPhoto(detection, lens, tuple(pose), _error(detection, tuple(pose), mat, lens))


def most_common_problem(detections: Sequence[BoardDetection]) -> str:
    """The most common reason why the mat was not found, or a question if no reason was found."""
    problems = Counter(one.problem for one in detections if one.problem)
    if not problems:
        return "is it this mat, flat, and well lit?"
    ((problem, count),) = problems.most_common(1)
    first = next(one.name for one in detections if one.problem == problem)
    return f"{first} {problem}" + (f" (and {count - 1} more)" if count > 1 else "")


def undistort(picture: Picture, camera: Camera, distortion: np.ndarray) -> Picture:
    """The photo without lens distortion, as the pinhole ``camera`` would take it."""
    intrinsics = camera.intrinsics.copy()
    intrinsics[:2, 2] -= 0.5  # OpenCV's origin is the centre of the first pixel, ours its corner
    return cv2.undistort(picture, intrinsics, distortion)


def _to_thousandths(detection: BoardDetection) -> Float32[np.ndarray, "corners 2"]:
    """The corners in a square image of 1000 pixels with the same centre and longer side as the photo."""
    size = np.array(detection.size)
    return ((detection.corners + 0.5 - size / 2) * 1000 / size.max() + 499.5).astype(np.float32)


def _matrix(focal: float) -> Float[np.ndarray, "3 3"]:
    """Intrinsics of that square image, in OpenCV's convention."""
    return np.array([[focal, 0, 499.5], [0, focal, 499.5], [0, 0, 1]])


def calibrate(
    detections: Sequence[BoardDetection], mat: Mat, distortion: Float[np.ndarray, " 5"] | None = None
) -> list[SolvedPhoto]:
    """Lens and poses of photos of one lens. With fewer than `MIN_PHOTOS` its ``distortion`` is not estimated."""
    board = mat.board_corners().astype(np.float32)
    objects, images = [board[one.ids] for one in detections], [_to_thousandths(one) for one in detections]
    flags = cv2.CALIB_USE_INTRINSIC_GUESS | cv2.CALIB_FIX_ASPECT_RATIO | cv2.CALIB_FIX_PRINCIPAL_POINT
    flags |= cv2.CALIB_ZERO_TANGENT_DIST | cv2.CALIB_FIX_K2 | cv2.CALIB_FIX_K3
    flags |= cv2.CALIB_FIX_K1 if len(detections) < MIN_PHOTOS else 0
    initial = np.zeros(5) if distortion is None else distortion.copy()
    _, matrix, found, *poses = cv2.calibrateCamera(
        objects, images, (1000, 1000), _matrix(1000 * DEFAULT_FOCAL), initial, flags=flags
    )
    lens = Lens(float(matrix[0, 0]), np.asarray(found).ravel()[:5])
    pairs = zip(detections, zip(*poses, strict=True), strict=True)
    return [SolvedPhoto(one, lens, pose, _error(one, pose, mat, lens)) for one, pose in pairs]


def _error(one: BoardDetection, pose: tuple, mat: Mat, lens: Lens) -> float:
    """Mean reprojection error, thousandths of the longer side."""
    return float(np.linalg.norm(_residuals(one, pose, mat, lens), axis=1).mean())


def _residuals(one: BoardDetection, pose: tuple, mat: Mat, lens: Lens) -> Float[np.ndarray, "corners 2"]:
    """Reprojection errors of the corners, thousandths of the longer side."""
    expected, _ = cv2.projectPoints(mat.board_corners()[one.ids], *pose, _matrix(lens.focal), lens.distortion)
    return expected[:, 0] - _to_thousandths(one)


def camera_from_pose(
    focal: float,
    pose: Sequence[np.ndarray],
    size: Sequence[int],
    middle: tuple[float, float] = (0.0, 0.0),
    scale: float = 1.0,
) -> Camera:
    """The pinhole camera of a photo of a board on the floor, in the world whose origin is the middle of the board.

    Args:
        focal: thousandths of the photo's longer side.
        pose: rotation vector and translation from the frame of the board (metres, z axis down) to that of the camera.
        size: width and height of the photo, pixels.
        middle: of the board, in its frame.
        scale: true size of the board, relative to that in its frame.
    """
    width, height = size
    focal = focal * max(width, height) / 1000
    from_board, to_board = np.eye(4), np.eye(4)
    from_board[:3, :3], from_board[:3, 3] = cv2.Rodrigues(pose[0])[0], np.ravel(pose[1])
    # The board's x axis is the world's x, its y axis the world's z.
    to_board[:3, :3] = [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
    to_board[:2, 3] = middle
    intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    extrinsics = from_board @ to_board
    extrinsics[:3, 3] *= scale
    return Camera(intrinsics, extrinsics, width, height)
