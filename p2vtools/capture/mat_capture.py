"""Photos or a video of a foot on the mat, written as a capture folder.

Only the pixels of a photo are kept: upright, without lens distortion, without EXIF.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from p2vlib.data.dataset import evenly_spaced
from p2vlib.files import FileError
from p2vlib.geometry.cameras import Camera, Row
from p2vlib.geometry.frames import FOOT_CUBE
from p2vtools.archives.photo_files import list_photos, read_photo
from p2vtools.capture.capture_writer import (
    WrittenCapture,
    clockwise_order,
    metadata_row,
    turn_upright,
    write_foot_capture,
)
from p2vtools.capture.charuco import (
    MIN_PHOTOS,
    BoardDetection,
    Picture,
    calibrate,
    detect_board,
    most_common_problem,
    printed_design,
    solve_cameras,
    undistort,
)
from p2vtools.executor import read_in_process
from p2vtools.files import ensure_absent
from p2vtools.fit.photo_set import MAX_VIEWS
from p2vtools.synthesis.mat import RULER, GluedMat, Mat

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v")

MAX_PHOTO_SIDE = 2048
"""Longer side, pixels, to which photos are scaled down before detection and storage; phones have twice as many."""

MAX_PHOTOS = 60
"""Photos of one capture that are examined."""

MAX_FRAMES = 150
"""Frames of a video that are examined, evenly spaced."""

VIDEO_SECONDS = 120.0
"""Time limit for the detection of the mat in a video, to which a second per MiB is added."""

MIN_AZIMUTH_STEP = 13.5
"""Degrees of azimuth between the chosen frames of a video, at least: at most 26 in one walk around the foot."""


def capture_on_mat(
    source: Path,
    mat: Mat,
    side: str,
    out: Path,
    report: Callable[[str], object] = lambda line: None,
    ruler: float = RULER,
) -> WrittenCapture:
    """Writes the photos in the folder ``source``, or frames of the video ``source``, as the capture folder ``out``.

    Args:
        report: called with one line of progress or of what was rejected.
        ruler: measured length, mm, of the ruler on the printed mat, which has `RULER` if the print has its true size.

    Raises:
        ValueError: no or unreadable photos, no mat in them, or ``out`` exists already.
    """
    if not 0.8 <= ruler / RULER <= 1.2:
        raise ValueError(f"the ruler is {ruler:g} mm long; expected {0.8 * RULER:.0f} to {1.2 * RULER:.0f} mm")
    ensure_absent(out)
    if source.is_file() and source.suffix.lower() in VIDEO_SUFFIXES:
        expected = "expected a video, MP4 or MOV, that walks around a foot on the mat"
        pictures = read_in_process(_choose_frames, source, mat, expected=expected, seconds=VIDEO_SECONDS)
    else:
        pictures, _ = read_photos(source, MAX_PHOTOS, report)
    mat, detections = printed_design(pictures.values(), mat), []
    for number, (name, picture) in enumerate(pictures.items(), start=1):
        detections.append(detect_board(name, picture, mat))
        seen = len(detections[-1].ids) / len(mat.corners())
        report(f"{name}: {seen:.0%} of the mat is visible ({number} of {len(pictures)})")
    solved, rejected, mat = solve_cameras(detections, mat)
    for name, reason in rejected.items():
        report(f"{name}: rejected, {reason}")
    cameras = [one.camera(mat, ruler / RULER) for one in solved]
    solved, cameras = zip(*[(solved[index], cameras[index]) for index in choose_views(cameras)], strict=True)
    names, errors = [one.detection.name for one in solved], np.array([one.pixel_error for one in solved])
    lenses = zip(names, cameras, solved, strict=True)
    undistorted = [undistort(pictures[name], camera, one.lens.distortion) for name, camera, one in lenses]
    photos, cameras = map(list, zip(*map(turn_upright, undistorted, cameras), strict=True))
    focals = sorted({round(camera.intrinsics[0, 0]) for camera in cameras})
    median, advice = float(np.median(errors)), []
    if median > 1.5:
        advice = [f"median reprojection error is {median:.1f} pixels; is the mat flat and still, are photos sharp?"]
    notes = [f"mean reprojection error {errors.mean():.2f} pixels, focal length {', '.join(map(str, focals))} pixels"]
    if isinstance(mat, GluedMat):
        right, down, turn = mat.offset
        notes.append(
            f"the second sheet is glued {np.hypot(right, down):.1f} mm and {turn:+.1f} degrees off; solved for"
        )
    subject = {"cameras": f"mat {mat.name}", "ruler, mm": ruler, "pixels off": round(median, 3)}
    return write_foot_capture(out, side, "mat", names, photos, cameras, subject, advice, notes, rejected=rejected)


def choose_views(cameras: Sequence[Camera]) -> list[int]:
    """Indices of at most `MAX_VIEWS` cameras, clockwise: each was chosen as the farthest in angle from those before."""
    directions = np.stack([camera.position - FOOT_CUBE.centre for camera in cameras])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    chosen, nearest = [0], directions @ directions[0]
    while len(chosen) < min(MAX_VIEWS, len(cameras)):
        nearest[chosen] = np.inf
        chosen.append(int(nearest.argmin()))
        nearest = np.maximum(nearest, directions @ directions[chosen[-1]])
    return [chosen[index] for index in clockwise_order([metadata_row(cameras[i], FOOT_CUBE.centre) for i in chosen])]


def read_photos(
    folder: Path, limit: int, report: Callable[[str], object]
) -> tuple[dict[str, Picture], dict[str, float | None]]:
    """Photos by file name, upright and at most `MAX_PHOTO_SIDE` pixels large, and their focal lengths (`read_photo`).

    Of more than ``limit``, evenly spaced ones by name are read, as phones number them. Unreadable and too large ones
    are left out, and reported.

    Raises:
        FileError: no folder, no photos, or none can be read.
    """
    if not folder.is_dir():
        found, videos = "a file, not a folder" if folder.is_file() else "no such folder", ", ".join(VIDEO_SUFFIXES)
        raise FileError(
            folder, found, f"expected a folder of photos or, if the foot stands on a mat, a video ({videos})"
        )
    paths = list_photos(folder)
    if len(paths) > limit:
        report(f"{folder}: {len(paths)} photos, of which {limit} are used, evenly spaced by their names")
        paths = [paths[index] for index in evenly_spaced(len(paths), limit)]
    pictures, focals, error = {}, {}, None
    for path in paths:
        try:
            photo, focals[path.name] = read_photo(path, MAX_PHOTO_SIDE)
        except FileError as unreadable:
            error = error or unreadable
            report(f"{path.name}: left out, {unreadable.found}; {unreadable.expected}")
            continue
        pictures[path.name] = np.asarray(photo.convert("RGB"))
    if error and not pictures:
        raise error
    return pictures, focals


def _choose_frames(path: Path, mat: Mat) -> dict[str, Picture]:
    """The sharpest frames of the walk around the foot by name, at least `MIN_AZIMUTH_STEP` apart."""
    video = cv2.VideoCapture(str(path))
    count = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
    if not 1 <= count < 1_000_000:
        raise FileError(path, "not a readable video", "expected MP4 or MOV")
    indices = np.linspace(0, count - 1, min(count, MAX_FRAMES)).round().astype(int).tolist()
    mat = printed_design((frame for _, frame in _read_frames(path, indices)), mat)
    found = {index: detect_board(f"frame {index}", frame, mat) for index, frame in _read_frames(path, indices)}
    azimuths = {index: approximate_row(one, mat)[0] for index, one in found.items() if len(one.ids) >= mat.min_corners}
    if not azimuths:
        problem = most_common_problem([*found.values()])
        raise FileError(path, f"none of {len(found)} frames shows the mat {mat.name!r} well enough", problem)
    chosen: list[int] = []
    for index in sorted(azimuths, key=lambda index: -found[index].sharpness):
        steps = [abs((azimuths[index] - azimuths[other] + 180) % 360 - 180) for other in chosen]
        if min(steps, default=360) > MIN_AZIMUTH_STEP:
            chosen.append(index)
    if len(chosen) < MIN_PHOTOS:
        places = "one place" if len(chosen) == 1 else "two places"
        found = f"filmed from {places} only, according to the {len(azimuths)} frames that show the mat"
        raise FileError(path, found, "start the video and walk once around the foot")
    # Read again: all frames in memory would take a gigabyte.
    return {f"frame {index}": frame for index, frame in _read_frames(path, chosen)}


def _read_frames(path: Path, indices: Sequence[int]) -> Iterator[tuple[int, Picture]]:
    """The frames at ``indices``, in ascending order, RGB, at most `MAX_PHOTO_SIDE` pixels large."""
    video = cv2.VideoCapture(str(path))
    for index in range(max(indices) + 1):
        if not video.grab():
            return
        decoded, frame = video.retrieve() if index in indices else (False, None)
        if decoded:
            scale = min(1.0, MAX_PHOTO_SIDE / max(frame.shape[:2]))
            frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            yield index, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def approximate_row(detection: BoardDetection, mat: Mat) -> Row:
    """Where one photo was taken from, without the lens distortion that only several photos show."""
    return metadata_row(calibrate([detection], mat)[0].camera(mat), FOOT_CUBE.centre)
