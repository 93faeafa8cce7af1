"""Photos or a video of a foot on the mat, written as a capture folder.

Only the pixels of a photo are kept: upright, without lens distortion, without EXIF.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image

from p2vlib.files import FileError
from p2vlib.geometry.cameras import Camera
from p2vlib.geometry.frames import FOOT_CUBE, SIDES
from p2vtools.capture.capture_writer import WrittenCapture, clockwise_order, metadata_row, write_foot_capture
from p2vtools.capture.charuco import (
    DEFAULT_FOCAL,
    MIN_PHOTOS,
    BoardDetection,
    detect_board,
    most_common_problem,
    printed_design,
    solve_cameras,
    undistort,
)
from p2vtools.executor import read_in_process
from p2vtools.files import ensure_absent
from p2vtools.fit.photo_set import MAX_VIEWS, PHOTO_SUFFIXES, open_photo, upright
from p2vtools.synthesis.mat import RULER, Mat

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v")

MAX_PHOTO_SIDE = 2048
"""Longer side, pixels, to which photos are scaled down before detection and storage; phones have twice as many."""

MAX_FRAMES = 150
"""Frames of a video that are examined, evenly spaced."""

VIDEO_SECONDS = 120.0
"""Time limit for the detection of the mat in a video, to which a second per MiB is added."""

MIN_AZIMUTH_STEP = 13.5
"""Degrees of azimuth between the chosen frames of a video, at least: at most 26 in one walk around the foot."""

EXIF_FOCAL_LENGTH, FILM_WIDTH = 0xA405, 36.0
"""EXIF tag of the focal length on 35 mm film, and the width of that film, mm."""


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
        ValueError: no or unreadable photos, no mat in them, an unknown side, or ``out`` exists already.
    """
    if side not in SIDES:
        raise ValueError(f"side is {side!r}; expected left or right: which foot stands on the mat?")
    if not 0.8 <= ruler / RULER <= 1.2:
        raise ValueError(f"the ruler is {ruler:g} mm long; expected {0.8 * RULER:.0f} to {1.2 * RULER:.0f} mm")
    ensure_absent(out)
    if source.is_file() and source.suffix.lower() in VIDEO_SUFFIXES:
        expected = "expected a video, MP4 or MOV, that walks around a foot on the mat"
        pictures, focal = read_in_process(_choose_frames, source, mat, expected=expected, seconds=VIDEO_SECONDS), None
    elif source.is_dir():
        pictures, focal = read_photos(list_photos(source))
    else:
        raise FileError(
            source,
            "no such folder or video",
            f"expected a folder of photos ({', '.join(PHOTO_SUFFIXES)}) or a video ({', '.join(VIDEO_SUFFIXES)})",
        )
    mat, detections = printed_design(pictures.values(), mat), []
    for number, (name, picture) in enumerate(pictures.items(), start=1):
        detections.append(detect_board(name, picture, mat))
        report(f"{name}: {len(detections[-1].ids)} corners of the mat ({number} of {len(pictures)})")
    solution = solve_cameras(detections, mat, focal)
    for name, reason in solution.rejected.items():
        report(f"{name}: rejected, {reason}")
    cameras = [_scale_camera(camera, ruler / RULER) for camera in solution.cameras]
    order = clockwise_order([metadata_row(camera, FOOT_CUBE.centre) for camera in cameras])
    order = [order[round(step)] for step in np.linspace(0, len(order) - 1, min(len(order), MAX_VIEWS))]
    names, cameras = ([values[index] for index in order] for values in (solution.names, cameras))
    pairs = zip(names, cameras, strict=True)
    undistorted = [undistort(pictures[name], camera, solution.distortion) for name, camera in pairs]
    errors, pixels = solution.errors[order], cameras[0].intrinsics[0, 0]
    median, advice = float(np.median(errors)), []
    if median > 1.5:
        advice = [f"median reprojection error is {median:.1f} pixels; is the mat flat and still, are photos sharp?"]
    notes = [f"mean reprojection error {errors.mean():.2f} pixels, focal length {pixels:.0f} pixels"]
    subject = {"cameras": f"mat {mat.name}", "ruler, mm": ruler, "pixels off": round(median, 3)}
    return write_foot_capture(out, side, "mat", names, undistorted, cameras, subject, advice, notes)


def _scale_camera(camera: Camera, factor: float) -> Camera:
    """The camera in a world that is larger by ``factor``."""
    extrinsics = camera.extrinsics.copy()
    extrinsics[:3, 3] *= factor
    return replace(camera, extrinsics=extrinsics)


def list_photos(folder: Path) -> list[Path]:
    """The photos in ``folder``, sorted by name.

    Raises:
        ValueError: no photos.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES)
    if not paths:
        raise FileError(folder, "no photos", f"expected images ({', '.join(PHOTO_SUFFIXES)}) of one foot")
    return paths


def read_photos(paths: Sequence[Path]) -> tuple[dict[str, UInt8[np.ndarray, "_ _ 3"]], float | None]:
    """Photos by file name, upright and at most `MAX_PHOTO_SIDE` pixels large, and their focal length.

    The focal length is the median of EXIF's values divided by the longer side of the photo; None without any.

    Raises:
        ValueError: an unreadable or too large photo.
    """
    pictures, focals = {}, []
    for path in paths:
        photo = open_photo(path, MAX_PHOTO_SIDE)
        with contextlib.suppress(Exception):  # Pillow raises many types of errors for damaged EXIF
            focal = float(photo.getexif().get_ifd(0x8769)[EXIF_FOCAL_LENGTH])
            focals += [focal / FILM_WIDTH] if 5 < focal < 500 else []
        turned = upright(photo).convert("RGB")
        turned.thumbnail((MAX_PHOTO_SIDE, MAX_PHOTO_SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
        pictures[path.name] = np.asarray(turned)
    return pictures, float(np.median(focals)) if focals else None


def _choose_frames(path: Path, mat: Mat) -> dict[str, np.ndarray]:
    """The sharpest frames of the walk around the foot by name, at least `MIN_AZIMUTH_STEP` apart."""
    indices = _frame_indices(path)
    mat = printed_design((frame for _, frame in _read_frames(path, indices)), mat)
    found = {index: detect_board(f"frame {index}", frame, mat) for index, frame in _read_frames(path, indices)}
    azimuths = {index: _azimuth(one, mat) for index, one in found.items() if len(one.ids) >= mat.min_corners}
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


def _frame_indices(path: Path) -> list[int]:
    """The frames of a video that are examined, evenly spaced."""
    video = cv2.VideoCapture(str(path))
    count = int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
    video.release()
    if not 1 <= count < 1_000_000:
        raise FileError(path, "not a readable video", "expected MP4 or MOV")
    return np.linspace(0, count - 1, min(count, MAX_FRAMES)).round().astype(int).tolist()


def _read_frames(path: Path, indices: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """The frames at ``indices``, in ascending order, RGB, at most `MAX_PHOTO_SIDE` pixels large."""
    video, remaining = cv2.VideoCapture(str(path)), set(indices)
    try:
        for index in range(max(indices) + 1):
            if not video.grab():
                return
            if index not in remaining:
                continue
            decoded, frame = video.retrieve()
            if decoded:
                scale = min(1.0, MAX_PHOTO_SIDE / max(frame.shape[:2]))
                frame = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                yield index, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    finally:
        video.release()


def _azimuth(detection: BoardDetection, mat: Mat) -> float:
    """Approximate azimuth of a frame, with the default focal length."""
    return metadata_row(solve_cameras([detection], mat, DEFAULT_FOCAL).cameras[0], FOOT_CUBE.centre)[0]
