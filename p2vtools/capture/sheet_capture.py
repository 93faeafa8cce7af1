"""Photos of a foot on a plain sheet of paper, written as a capture folder.

The sheet is found in every photo (`sheet_detection`). One focal length, one distortion and the heights of the sheet,
which is never quite flat, for all photos and the pose of each are then fitted to its edges (bundle adjustment). A sheet
looks the same from both ends: which one is at the toes follows from the silhouette of the foot.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from p2vlib.geometry.cameras import Camera, Row
from p2vlib.geometry.frames import FOOT_CUBE
from p2vtools.capture import sheet_detection
from p2vtools.capture.capture_writer import WrittenCapture, metadata_row, turn_upright, write_foot_capture
from p2vtools.capture.charuco import DEFAULT_FOCAL, MIN_PHOTOS, SAME_LENS, Picture, undistort
from p2vtools.capture.mat_capture import MAX_PHOTOS, choose_views, read_photos
from p2vtools.capture.sheet_detection import FOCALS, FREE_ERROR, WEIGHT_ERROR, Candidates, Scores, SheetLines
from p2vtools.capture.sheet_fitting import EXIF_SPREAD, FOCAL_SPREAD, SheetFit, SheetPhoto, pose_of
from p2vtools.files import ensure_absent
from p2vtools.fit.cube_crops import FootNotSeenError, predict_cube, silhouette_iou
from p2vtools.fit.photo_set import PhotoSet, photo_set_from_arrays
from p2vtools.fit.placement import pose_matrix
from p2vtools.fit.pretrained import PretrainedModel

MIN_SCORE = 0.82
"""Score of a candidate (`sheet_detection.score`, less the error of its proportions) from which it is a sheet; chosen
on real and rendered photos."""

SAME_PAPER = 1.04
"""Ratio of the sums of the best scores in all photos above which the sheet is of the other kind of paper; chosen on
rendered photos."""

MIN_AGREEMENT = 0.65
"""IoU of the silhouette of the foot with that predicted in a photo, below which the photo is rejected: its foot is not
seen well enough to tell the toes from the heel. Chosen on real and rendered photos."""

WRONG_FOOT = (
    "the foot is hardly visible, not in the middle of the sheet along its longer edge, or not as in the other photos"
)


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
        ValueError: no or unreadable photos, too few that show the sheet, or ``out`` exists already.
    """
    ensure_absent(out)
    pictures, focals = read_photos(source, MAX_PHOTOS, report)
    solved, residual, rejected = solve_sheet(pictures, paper, focals, side, weights, report)
    for name, reason in rejected.items():
        report(f"{name}: rejected, {reason}")
    order = choose_views([camera for _, camera in solved.values()])
    names = [[*solved][index] for index in order]
    photos, cameras = map(list, zip(*(solved[name] for name in names), strict=True))
    focal = round(cameras[0].intrinsics[0, 0])
    notes = [f"the edges of the sheet are {residual:.1f} pixels off, focal length {focal} pixels"]
    subject = {"cameras": f"sheet {paper}", "pixels off": round(residual, 3)}
    return write_foot_capture(out, side, "sheet", names, photos, cameras, subject, notes=notes, rejected=rejected)


def solve_sheet(
    pictures: Mapping[str, Picture],
    paper: str,
    focals: Mapping[str, float | None],
    side: str,
    weights: PretrainedModel,
    report: Callable[[str], object] = lambda line: None,
) -> tuple[dict[str, tuple[Picture, Camera]], float, dict[str, str]]:
    """The cameras of RGB photos of one lens that show a foot on a sheet of ``paper``.

    Args:
        focals: name -> focal length by EXIF, relative to the longer side.

    Returns:
        Each photo, upright and without lens distortion, with its camera in the frame of the sheet (x along its longer
        edge towards the toes, the floor at y = 0); the median over the photos of the median distance of the edges from
        the fitted sheet, pixels; and the rejected photos -> reason.

    Raises:
        ValueError: fewer than `MIN_PHOTOS` show it well enough.
    """
    fit, photos, rejected = find_sheets(pictures, paper, focals, report)
    while True:  # again without the photos whose foot is elsewhere
        photos = fit.fit(photos, rejected)
        if len(photos) < MIN_PHOTOS:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in [*rejected.items()][:2])
            raise ValueError(
                f"{len(photos)} of {len(pictures)} photos can be used, expected at least {MIN_PHOTOS}"
                + (f" ({reasons})" if reasons else "")
                + ". Lay a white sheet flat on a darker floor, stand in its middle and take 8 to 16 photos of it"
            )
        names = [photo.name for photo in photos]
        upright = []
        for photo in photos:
            camera = fit.camera(photo, pictures[photo.name].shape)
            upright.append(turn_upright(undistort(pictures[photo.name], camera, fit.distortion), camera))
        undistorted, cameras = map(list, zip(*upright, strict=True))
        cameras, agreement = towards_toes(weights, undistorted, cameras, names, side)
        wrong = {name for name, overlap in zip(names, agreement, strict=True) if overlap < MIN_AGREEMENT}
        if not wrong:
            break
        rejected |= dict.fromkeys(sorted(wrong), WRONG_FOOT)
        photos = [photo for photo in photos if photo.name not in wrong]
    residuals = [photo.residual * max(pictures[photo.name].shape) / 1000 for photo in photos]
    solved = dict(zip(names, zip(undistorted, cameras, strict=True), strict=True))
    return solved, float(np.median(residuals)), rejected


def approximate_row(
    picture: Picture, paper: str, focal: float | None, side: str, weights: PretrainedModel
) -> Row | None:
    """Where one photo was taken from, without the lens that only several photos show; None: it shows no sheet.

    Args:
        focal: focal length by EXIF, relative to the longer side.
    """
    fit, photos, _ = find_sheets({"": picture}, paper, {"": focal})
    if not photos:
        return None
    upright, camera = turn_upright(picture, fit.camera(photos[0], picture.shape))
    (camera,), _ = towards_toes(weights, [upright], [camera], [""], side)
    return metadata_row(camera, FOOT_CUBE.centre)


def find_sheets(
    pictures: Mapping[str, Picture],
    paper: str,
    focals: Mapping[str, float | None],
    report: Callable[[str], object] = lambda line: None,
) -> tuple[SheetFit, list[SheetPhoto], dict[str, str]]:
    """The first step of `solve_sheet`: photos with a pose that is not fitted yet, and rejected ones -> reason.

    Raises:
        ValueError: the sheet has the proportions of another paper.
    """
    size, found, rejected = sheet_detection.PAPERS[paper], {}, _other_lenses(pictures, focals)
    for number, (name, picture) in enumerate(pictures.items(), start=1):
        if name in rejected:
            continue
        report(f"{name}: looking for the sheet ({number} of {len(pictures)})")
        found[name] = sheet_detection.find_lines(picture)
    scored = {
        name: sheet_detection.score(sheet_detection.from_four_lines(lines), lines) for name, lines in found.items()
    }
    totals = {
        name: sum(_penalised(*one, FOCALS, of).max(0, initial=0) for one in scored.values())
        for name, of in sheet_detection.PAPERS.items()
    }
    better = max(totals, key=lambda name: totals[name].max())
    is_seen = len(found) >= MIN_PHOTOS and totals[better].max() > MIN_SCORE * len(found) / 2
    if is_seen and totals[better].max() > SAME_PAPER * totals[paper].max():
        raise ValueError(f"the sheet has the proportions of {better} paper, not of {paper}: choose {better} (--sheet)")
    if len(found) >= MIN_PHOTOS and not is_seen:
        report(f"few photos show all four edges, so it is not checked that the sheet is {paper} paper")
    known = [1000 * focal for name in found if (focal := focals[name])]
    seen = FOCALS[totals[paper].argmax()] if totals[paper].max() > 0 else 1000 * DEFAULT_FOCAL
    focal, photos = float(np.median(known) if known else seen), []
    for name, lines in found.items():
        corners, value = _best_candidate(lines, *scored[name], focal, size)
        if value < MIN_SCORE:
            rejected[name] = f"no {paper} sheet was found; at least three of its edges have to be visible"
        else:
            photos.append(SheetPhoto(name, lines, pose_of(corners, focal, size)))
    fit = SheetFit(size, focal, EXIF_SPREAD if known else FOCAL_SPREAD)
    return fit, photos, rejected


def _other_lenses(pictures: Mapping[str, Picture], focals: Mapping[str, float | None]) -> dict[str, str]:
    """The photos that were cropped or taken with another lens than most -> reason."""
    shapes = {name: round(min(picture.shape[:2]) / max(picture.shape[:2]), 2) for name, picture in pictures.items()}
    usual = statistics.mode(shapes.values())
    other = {name: "has another shape than most photos: was it cropped?" for name in shapes if shapes[name] != usual}
    known = {name: focal for name in shapes if name not in other and (focal := focals[name])}
    middle = statistics.median_high(known.values()) if known else 0.0  # of a photo: their mean may be that of none
    far = {name for name, focal in known.items() if not 1 / SAME_LENS <= focal / middle <= SAME_LENS}
    return other | dict.fromkeys(sorted(far), "was taken with another lens than most photos")


def _penalised(
    corners: Candidates, scores: Scores, focals: Float[np.ndarray, " focals"], size: tuple[float, float]
) -> Float[np.ndarray, "candidates focals"]:
    """The ``scores`` of candidates, less the errors of their proportions at each focal length."""
    errors = sheet_detection.proportion_errors(corners, focals, size).min(1)
    return scores[:, None] - WEIGHT_ERROR * np.maximum(errors - FREE_ERROR, 0)


def _best_candidate(
    lines: SheetLines, corners: Candidates, scores: Scores, focal: float, size: tuple[float, float]
) -> tuple[Float[np.ndarray, "4 2"], float]:
    """Corners and score of the best of these candidates and of those from three lines; -inf without any."""
    further = sheet_detection.score(sheet_detection.from_three_lines(lines, focal, size), lines)
    corners, scores = np.concatenate([corners, further[0]]), np.concatenate([scores, further[1]])
    if not len(corners):
        return np.zeros((4, 2)), -math.inf
    values = _penalised(corners, scores, np.array([focal]), size)[:, 0]
    return corners[values.argmax()], float(values.max())


def towards_toes(
    weights: PretrainedModel, pictures: Sequence[Picture], cameras: Sequence[Camera], names: list[str], side: str
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
    # Mirroring the photos of a right foot reverses their order, but the first stays the first.
    return [found[0], *found[:0:-1]] if photo_set.side == "right" else found
