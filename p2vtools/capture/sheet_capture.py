"""Photos of a foot on a plain sheet of paper, written as a capture folder.

The sheet is found in every photo (`sheet_detection`). One focal length and one distortion for all photos and the pose
of each are then fitted to the edges of the sheet (bundle adjustment). A sheet looks the same from both ends: which one
is at the toes follows from the silhouette of the foot.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool, Float, UInt8
from scipy.optimize import least_squares

from p2vlib.files import FileError
from p2vlib.geometry.cameras import Camera
from p2vlib.geometry.frames import FOOT_CUBE, SIDES
from p2vtools.archives.photo_files import PHOTO_SUFFIXES
from p2vtools.capture import sheet_detection
from p2vtools.capture.capture_writer import WrittenCapture, clockwise_order, metadata_row, write_foot_capture
from p2vtools.capture.charuco import MIN_PHOTOS, undistort
from p2vtools.capture.mat_capture import MAX_PHOTOS, choose_photos, read_photos, spread
from p2vtools.capture.sheet_detection import FOCALS, FREE_ERROR, WEIGHT_ERROR, SheetLines
from p2vtools.files import ensure_absent
from p2vtools.fit.cube_crops import FootNotSeenError, predict_cube, silhouette_iou
from p2vtools.fit.photo_set import MAX_VIEWS, PhotoSet, photo_set_from_arrays
from p2vtools.fit.placement import pose_matrix
from p2vtools.fit.pretrained import PretrainedModel

MIN_SCORE = 0.82
"""Score of a candidate (`sheet_detection.score`, less the error of its proportions) from which it is a sheet: of 18
real photos, 15 correct ones have .91 and more, and three wrong ones .75 and less."""

SAME_PAPER = 1.04
"""Ratio of the sums of the best scores in all photos above which the sheet is of the other kind of paper; those of A4
and Letter differ by 7 to 10 % in rendered walks."""

SAMPLES = 40
"""Points along each side of the sheet at which its edge is searched."""

SEARCH = (14.0, 8.0, 5.0, 4.0)
"""Distance from the side of the sheet within which its edge is searched, thousandths of the photo's longer side, in
each round of the fit."""

MIN_CONTRAST, MIN_SLOPE = 2.0, 0.03
"""Smallest difference of colour (Lab) across a side of the sheet, and the share of it that changes within half a
thousandth where the edge is."""

MIN_SEEN, MIN_SIDES = 0.3, 3
"""Share of the sheet's outline and number of its sides that a photo has to show."""

MAX_RESIDUAL = 2.5
"""Median distance of the edges from the fitted sheet from which on a photo is rejected, thousandths of its side."""

FOCAL_SPREAD, EXIF_SPREAD, DISTORTION_SPREAD = 0.3, 0.04, 0.05
"""Standard deviations of the prior: of the logarithm of the focal length about the best candidate's, and about that of
the photos' EXIF, and of the radial distortion k1."""

MIN_AGREEMENT = 0.5
"""IoU of the silhouette of the foot with that predicted in a photo, below which the photo is rejected."""


@dataclass(frozen=True, eq=False)
class SheetSolution:
    """The photos that show the sheet, and their cameras."""

    names: list[str]
    pictures: list[UInt8[np.ndarray, "_ _ 3"]]
    """Without lens distortion."""
    cameras: list[Camera]
    """Of ``pictures``, in the frame of the sheet: x along its longer edge towards the toes, the floor at y = 0."""
    residual: float
    """Median over the photos of the median distance of the edges from the fitted sheet, pixels."""
    rejected: dict[str, str]
    """Name of each rejected photo -> reason."""


def capture_on_sheet(
    source: Path,
    paper: str,
    side: str,
    out: Path,
    weights: PretrainedModel,
    report: Callable[[str], object] = lambda line: None,
) -> WrittenCapture:
    """Writes the photos in the folder ``source`` as the capture folder ``out``.

    Args:
        paper: a key of `sheet_detection.PAPERS`.
        report: called with one line of progress or of what was rejected.

    Raises:
        ValueError: no or unreadable photos, too few that show the sheet, an unknown side, or ``out`` exists already.
    """
    if side not in SIDES:
        raise ValueError(f"side is {side!r}; expected left or right: which foot stands on the sheet?")
    if paper not in sheet_detection.PAPERS:
        raise ValueError(f"sheet {paper!r}; expected one of {', '.join(sheet_detection.PAPERS)}")
    ensure_absent(out)
    if not source.is_dir():
        raise FileError(source, "no such folder", f"expected a folder of photos ({', '.join(PHOTO_SUFFIXES)})")
    pictures, focals = read_photos(choose_photos(source, MAX_PHOTOS, report), report)
    solution = solve_sheet(pictures, paper, focals, side, weights, report)
    for name, reason in solution.rejected.items():
        report(f"{name}: rejected, {reason}")
    chosen = spread(solution.cameras, MAX_VIEWS)
    order = clockwise_order([metadata_row(solution.cameras[index], FOOT_CUBE.centre) for index in chosen])
    names, undistorted, cameras = (
        [values[chosen[index]] for index in order] for values in (solution.names, solution.pictures, solution.cameras)
    )
    focal = round(cameras[0].intrinsics[0, 0])
    notes = [f"the edges of the sheet are {solution.residual:.1f} pixels off, focal length {focal} pixels"]
    subject = {"cameras": f"sheet {paper}", "pixels off": round(solution.residual, 3)}
    return write_foot_capture(out, side, "sheet", names, undistorted, cameras, subject, notes=notes)


def solve_sheet(
    pictures: Mapping[str, UInt8[np.ndarray, "_ _ 3"]],
    paper: str,
    focals: Mapping[str, float | None],
    side: str,
    weights: PretrainedModel,
    report: Callable[[str], object] = lambda line: None,
) -> SheetSolution:
    """The cameras of RGB photos of one lens that show a foot on a sheet of ``paper``.

    Args:
        focals: name -> focal length by EXIF, relative to the longer side.

    Raises:
        ValueError: fewer than `MIN_PHOTOS` show it well enough.
    """
    size, found = sheet_detection.PAPERS[paper], {}
    for number, (name, picture) in enumerate(pictures.items(), start=1):
        report(f"{name}: looks for the sheet ({number} of {len(pictures)})")
        found[name] = sheet_detection.find_lines(picture)
    candidates = {name: sheet_detection.from_four_lines(lines) for name, lines in found.items()}
    scores = {name: sheet_detection.score(candidates[name], lines) for name, lines in found.items()}
    totals = {
        name: sum(_penalised(candidates[photo], scores[photo], FOCALS, of).max(0, initial=0) for photo in found)
        for name, of in sheet_detection.PAPERS.items()
    }
    better = max(totals, key=lambda name: totals[name].max())
    is_seen = totals[better].max() > MIN_SCORE * len(found) / 2
    if is_seen and totals[better].max() > SAME_PAPER * totals[paper].max():
        raise ValueError(f"the sheet has the proportions of {better} paper, not of {paper}: pass --sheet {better}")
    known = [1000 * focal for focal in focals.values() if focal]
    focal = float(np.median(known) if known else FOCALS[totals[paper].argmax()])
    photos, rejected = [], {}
    for name, lines in found.items():
        corners, value = _best_candidate(lines, candidates[name], scores[name], focal, size)
        if value < MIN_SCORE:
            rejected[name] = f"no {paper} sheet was found; at least three of its edges have to be visible"
        else:
            photos.append(_Photo(name, lines, _pose_of(corners, focal, size)))
    fit = _Fit(size, focal, EXIF_SPREAD if known else FOCAL_SPREAD)
    while True:  # again without the photos whose foot is elsewhere
        photos = fit.fit(photos, rejected)
        if len(photos) < MIN_PHOTOS:
            reasons = "; ".join(f"{name} {reason}" for name, reason in [*rejected.items()][:2])
            raise ValueError(
                f"{len(photos)} of {len(pictures)} photos show the sheet well enough, expected at least {MIN_PHOTOS}:"
                f" {reasons}. Lay a white sheet flat on a darker floor and take 8 to 16 photos that show all of it"
            )
        names = [photo.name for photo in photos]
        cameras = [fit.camera(photo, pictures[photo.name].shape) for photo in photos]
        undistorted = [
            undistort(pictures[name], camera, fit.distortion) for name, camera in zip(names, cameras, strict=True)
        ]
        cameras, agreement = towards_toes(weights, undistorted, cameras, names, side)
        wrong = {name for name, overlap in zip(names, agreement, strict=True) if overlap < MIN_AGREEMENT}
        if not wrong:
            break
        rejected |= dict.fromkeys(sorted(wrong), "the foot in it does not agree with that in the other photos")
        photos = [photo for photo in photos if photo.name not in wrong]
    residuals = [photo.residual * max(pictures[photo.name].shape) / 1000 for photo in photos]
    return SheetSolution(names, undistorted, cameras, float(np.median(residuals)), rejected)


def _penalised(
    corners: Float[np.ndarray, "candidates 4 2"],
    scores: Float[np.ndarray, " candidates"],
    focals: Float[np.ndarray, " focals"],
    size: tuple[float, float],
) -> Float[np.ndarray, "candidates focals"]:
    """The ``scores`` of candidates, less the errors of their proportions at each focal length."""
    errors = sheet_detection.proportion_errors(corners, focals, size).min(1)
    return scores[:, None] - WEIGHT_ERROR * np.maximum(errors - FREE_ERROR, 0)


def _best_candidate(
    lines: SheetLines,
    corners: Float[np.ndarray, "candidates 4 2"],
    scores: Float[np.ndarray, " candidates"],
    focal: float,
    size: tuple[float, float],
) -> tuple[Float[np.ndarray, "4 2"], float]:
    """Corners and score of the best of these candidates and of those from three lines; -inf without any."""
    further = sheet_detection.from_three_lines(lines, focal, size)
    scores = np.concatenate([scores, sheet_detection.score(further, lines)])
    corners = np.concatenate([corners, further])
    if not len(corners):
        return np.zeros((4, 2)), -math.inf
    values = _penalised(corners, scores, np.array([focal]), size)[:, 0]
    return corners[values.argmax()], float(values.max())


# --------------------------------------------------------------------------------------------------- bundle adjustment


@dataclass(frozen=True, eq=False)
class _Photo:
    """A photo that shows the sheet."""

    name: str
    lines: SheetLines
    pose: Float[np.ndarray, " 6"]
    """Rotation vector and translation from the sheet, whose x axis is its longer edge and whose z axis points down."""
    residual: float = 0.0
    """Median distance of the edges, thousandths of the longer side."""


def _pose_of(corners: Float[np.ndarray, "4 2"], focal: float, size: tuple[float, float]) -> Float[np.ndarray, " 6"]:
    """The pose of a sheet with these corners, whose longer side is chosen by the proportions."""
    first_is_short = sheet_detection.proportion_errors(corners[None], np.array([focal]), size)[0, :, 0].argmin()
    image = np.roll(corners, -first_is_short, 0)
    _, rotation, translation = cv2.solvePnP(_outline(size)[0], image, np.diag([focal, focal, 1.0]), None)
    return np.concatenate([rotation.ravel(), translation.ravel()])


def _outline(size: tuple[float, float]) -> tuple[Float[np.ndarray, "4 3"], Float[np.ndarray, "samples 3"]]:
    """The corners of a sheet and points along its sides, `SAMPLES` per side, metres."""
    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * [size[0] / 2, size[1] / 2, 0]
    shares = np.linspace(0.03, 0.97, SAMPLES)[:, None]
    points = [start + shares * (end - start) for start, end in zip(corners, np.roll(corners, -1, 0), strict=True)]
    return corners, np.concatenate(points)


class _Fit:
    """Focal length, distortion and poses, fitted to the edges of the sheet in several rounds."""

    def __init__(self, size: tuple[float, float], focal: float, spread: float) -> None:
        self.size, self.expected, self.spread = size, focal, spread
        self.focal, self.distortion = focal, np.zeros(5)
        self.points = _outline(size)[1]

    def fit(self, photos: Sequence[_Photo], rejected: dict[str, str]) -> list[_Photo]:
        """The photos with their poses, without those that do not agree, which are added to ``rejected``."""
        for reach in SEARCH:
            edges = [self._edges(photo, reach) for photo in photos]
            kept = []
            for photo, edge in zip(photos, edges, strict=True):
                sides = edge.seen.reshape(4, SAMPLES).mean(1)
                if edge.seen.mean() < MIN_SEEN or (sides > 0.15).sum() < MIN_SIDES:
                    rejected[photo.name] = "too little of the edges of the sheet is visible"
                else:
                    kept.append((photo, edge))
            if len(kept) < MIN_PHOTOS:
                return [photo for photo, _ in kept]
            photos = self._solve(*zip(*kept, strict=True))
        for photo in photos:
            if photo.residual > MAX_RESIDUAL:
                rejected[photo.name] = f"the edges of the sheet are bent or moved ({photo.residual:.1f} thousandths)"
        return [photo for photo in photos if photo.name not in rejected]

    def _project(self, pose: Float[np.ndarray, " 6"]) -> Float[np.ndarray, "samples 2"]:
        matrix = np.diag([self.focal, self.focal, 1.0])
        return cv2.projectPoints(self.points, pose[:3], pose[3:], matrix, self.distortion)[0][:, 0]

    def _edges(self, photo: _Photo, reach: float) -> _Edges:
        """Where the edges of the sheet are, within ``reach`` of its present pose."""
        points = self._project(photo.pose).reshape(4, SAMPLES, 2)
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

    def _solve(self, photos: Sequence[_Photo], edges: Sequence[_Edges]) -> list[_Photo]:
        """Fits everything to ``edges`` by robust least squares."""

        def residuals(values: Float[np.ndarray, " parameters"]) -> Float[np.ndarray, " residuals"]:
            self._set(values)
            poses = values[2:].reshape(-1, 6)
            parts = [
                ((self._project(pose) - edge.points) * edge.normals).sum(1)[edge.seen]
                for pose, edge in zip(poses, edges, strict=True)
            ]
            prior = [values[0] / self.spread, values[1] / DISTORTION_SPREAD]
            return np.concatenate([*parts, prior])

        start = np.concatenate([[math.log(self.focal / self.expected), self.distortion[0]], *(p.pose for p in photos)])
        counts = [int(edge.seen.sum()) for edge in edges]
        pattern = np.zeros((sum(counts) + 2, len(start)), bool)
        ends = np.cumsum([0, *counts])
        pattern[: ends[-1], :2] = True
        pattern[ends[-1], 0] = pattern[ends[-1] + 1, 1] = True
        for index, (first, last) in enumerate(zip(ends[:-1], ends[1:], strict=True)):
            pattern[first:last, 2 + 6 * index : 8 + 6 * index] = True
        result = least_squares(
            residuals, start, loss="soft_l1", x_scale="jac", jac_sparsity=pattern, method="trf", max_nfev=30
        )
        self._set(result.x)
        distances = np.split(np.abs(residuals(result.x)), ends[1:])
        return [
            replace(photo, pose=pose, residual=float(np.median(distance)))
            for photo, pose, distance in zip(photos, result.x[2:].reshape(-1, 6), distances, strict=False)
        ]

    def _set(self, values: Float[np.ndarray, " parameters"]) -> None:
        self.focal, self.distortion = self.expected * math.exp(values[0]), np.array([values[1], 0, 0, 0, 0])

    def camera(self, photo: _Photo, shape: Sequence[int]) -> Camera:
        """The pinhole camera of a photo, in the frame of the sheet."""
        height, width = shape[:2]
        focal = self.focal * max(height, width) / 1000
        extrinsics = np.eye(4)
        # The sheet's x axis is the world's x, its y axis the world's z, and its z axis points down.
        extrinsics[:3, :3] = cv2.Rodrigues(photo.pose[:3])[0] @ [[1, 0, 0], [0, 0, 1], [0, -1, 0]]
        extrinsics[:3, 3] = photo.pose[3:]
        return Camera(np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]), extrinsics, width, height)


@dataclass(frozen=True, eq=False)
class _Edges:
    """Where the outline of the sheet is in a photo."""

    points: Float[np.ndarray, "samples 2"]
    normals: Float[np.ndarray, "samples 2"]
    seen: Bool[np.ndarray, " samples"]


# ---------------------------------------------------------------------------------------------------------- orientation


def towards_toes(
    weights: PretrainedModel,
    pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    cameras: Sequence[Camera],
    names: list[str],
    side: str,
) -> tuple[list[Camera], list[float]]:
    """The cameras in a frame whose x axis points to the toes, each turned by half a turn or not.

    In the wrong direction the foot that the network reconstructs from a photo does not have the silhouette that it
    predicts in that photo.

    Returns:
        The cameras, and for each the IoU of the silhouette of the foot with that predicted in the photo: of the foot
        from this photo alone if one of these is below `MIN_AGREEMENT`, otherwise of that from all photos.
    """
    photo_set = photo_set_from_arrays(pictures, cameras, names, side, scale="sheet")
    frames = np.eye(4), pose_matrix(180.0, np.zeros(3))
    both = np.array([[_agreement(weights, photo_set.subset([i]), f)[0] for f in frames] for i in range(len(names))])
    chosen = [frames[index] for index in both.argmax(1)]
    turned, resized = (
        [replace(camera, extrinsics=camera.extrinsics @ frame) for camera, frame in zip(some, chosen, strict=True)]
        for some in (cameras, photo_set.cameras)
    )
    if both.max(1).min() < MIN_AGREEMENT:
        return turned, both.max(1).tolist()
    return turned, _agreement(weights, replace(photo_set, cameras=resized), np.eye(4))


def _agreement(weights: PretrainedModel, photo_set: PhotoSet, pose: Float[np.ndarray, "4 4"]) -> list[float]:
    """IoU of the silhouettes of the reconstruction at ``pose`` with those predicted in each photo; 0: not seen."""
    try:
        found = silhouette_iou(*predict_cube(weights, photo_set, pose, FOOT_CUBE), weights.threshold)
    except FootNotSeenError:
        return [0.0] * len(photo_set.photos)
    return found[::-1] if photo_set.side == "right" else found  # the photos of a right foot are mirrored and reversed
