"""Photos or a film of a foot on the mat, filed as a capture folder that `reconstruct` and the data set take.

What is kept of a photo is its picture: upright, without the lens's distortion, without EXIF.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

from p2vlib.data.capture_folder import MAX_VIEWS, PHOTO_SUFFIXES, open_photo
from p2vlib.files import ensure_absent
from p2vlib.geometry.frames import FOOT_CUBE, SIDES
from p2vtools.capture.capture_writer import WrittenCapture, clockwise_order, metadata_row, write_capture
from p2vtools.capture.charuco import (
    MIN_CORNERS,
    MIN_PHOTOS,
    BoardDetection,
    detect_board,
    most_common_problem,
    solve_cameras,
    undistort,
)
from p2vtools.synthesis.mat import Mat

VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v")

MAX_PHOTO_SIDE = 2048
"""Pixels of a photo's longer side in which the board is looked for, and that are kept: phones make twice as many."""

MAX_FRAMES = 150
"""Frames of a film that are looked at, evenly spread."""

MIN_AZIMUTH_STEP = 13.5
"""Degrees of azimuth between frames of a film that are taken, at least: a walk gives up to 26."""

EXIF_FOCAL, FULL_FRAME = 0xA405, 36.0
"""EXIF's focal length as on 35 mm film, and the width of that film, mm."""


def capture_on_mat(
    source: Path, mat: Mat, side: str, out: Path, report: Callable[[str], object] = lambda line: None
) -> WrittenCapture:
    """Files the photos in the folder ``source``, or the film that it is, as a capture folder ``out``.

    Raises:
        ValueError: nothing to read, a picture that cannot be read, a mat that is not seen, no or an unknown side, a
            target that is there already.
    """
    if side not in SIDES:
        raise ValueError(f"side is {side!r}; expected left or right: which foot stands on the mat?")
    ensure_absent(out)
    seen, pictures, focal = _seen(source, mat, report)
    solution = solve_cameras(seen, mat, focal)
    for name, reason in solution.rejected.items():
        report(f"{name}: left out, {reason}")
    order = clockwise_order(
        [metadata_row(camera, FOOT_CUBE.centre) for camera in solution.cameras]
    )  # as walked, at most so many
    order = [order[round(step)] for step in np.linspace(0, len(order) - 1, min(len(order), MAX_VIEWS))]
    names, cameras = ([part[number] for number in order] for part in (solution.names, solution.cameras))
    pairs = zip(names, cameras, strict=True)
    straight = [undistort(pictures[name], camera, solution.distortion) for name, camera in pairs]
    errors, focal = solution.errors[order], cameras[0].intrinsics[0, 0]
    median, words = float(np.median(errors)), []
    if median > 1.5:
        words = [f"corners are {median:.1f} pixels off in the middle; is the mat flat and still, are photos sharp?"]
    notes = [f"corners off by {errors.mean():.2f} pixels, focal length {focal:.0f} pixels"]
    told = {"cameras": f"mat {mat.name}", "pixels off": round(median, 3)}
    return write_capture(out, side, names, straight, cameras, told, words, notes)


def _seen(
    source: Path, mat: Mat, report: Callable[[str], object]
) -> tuple[list[BoardDetection], dict[str, np.ndarray], float | None]:
    """What each photo or chosen frame shows of the mat, the pictures by name, and the focal length EXIF tells."""
    if source.is_file() and source.suffix.lower() in VIDEO_SUFFIXES:
        seen, pictures = _from_film(source, mat)
        return seen, pictures, None
    if not source.is_dir():
        raise ValueError(
            f"{source}: no such folder of photos or film; expected photos ({', '.join(PHOTO_SUFFIXES)}) in a folder, or"
            f" a film ({', '.join(VIDEO_SUFFIXES)})"
        )
    seen, pictures, focals = [], {}, []
    paths = list_photos(source)
    for number, path in enumerate(paths, start=1):
        picture, focal = read_photo(path)
        pictures[path.name] = picture
        seen.append(detect_board(path.name, picture, mat))
        focals.append(focal)
        report(f"{path.name}: {len(seen[-1].ids)} corners of the mat ({number} of {len(paths)})")
    known = [focal for focal in focals if focal]
    return seen, pictures, float(np.median(known)) if known else None


def list_photos(folder: Path) -> list[Path]:
    """The photos in ``folder`` by name.

    Raises:
        ValueError: there are none.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES)
    if not paths:
        raise ValueError(
            f"{folder}: no photos; expected pictures ({', '.join(PHOTO_SUFFIXES)}) of one foot from all sides"
        )
    return paths


def read_photo(path: Path) -> tuple[UInt8[np.ndarray, "height width 3"], float | None]:
    """A photo, upright and at most `SIDE` pixels large, and its focal length in widths of its long side if told.

    Raises:
        ValueError: none that can be read, or one that is too large.
    """
    picture = open_photo(path, MAX_PHOTO_SIDE)
    told = picture.getexif().get_ifd(0x8769).get(EXIF_FOCAL)
    upright = ImageOps.exif_transpose(picture).convert("RGB")
    upright.thumbnail((MAX_PHOTO_SIDE, MAX_PHOTO_SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    focal = float(told) / FULL_FRAME if isinstance(told, int | float) and 5 < told < 500 else None
    return np.asarray(upright), focal


def _from_film(path: Path, mat: Mat) -> tuple[list[BoardDetection], dict[str, np.ndarray]]:
    """The sharpest frames of the walk around the foot, none within `APART` degrees of a sharper one."""
    count = _length(path)
    wanted = np.linspace(0, count - 1, min(count, MAX_FRAMES)).round().astype(int).tolist()
    seen = {number: detect_board(f"frame {number}", picture, mat) for number, picture in _frames(path, wanted)}
    placed = {number: _azimuth(one, mat) for number, one in seen.items() if len(one.ids) >= MIN_CORNERS}
    if not placed:
        wrong = most_common_problem([*seen.values()])
        raise ValueError(f"{path}: none of {len(seen)} frames shows the mat {mat.name!r} well enough: {wrong}")
    kept: list[int] = []
    for number in sorted(placed, key=lambda number: -seen[number].sharpness):
        away = [abs((placed[number] - placed[other] + 180) % 360 - 180) for other in kept]
        if min(away, default=360) > MIN_AZIMUTH_STEP:
            kept.append(number)
    if len(kept) < MIN_PHOTOS:
        raise ValueError(
            f"{path}: filmed from {'one place' if len(kept) == 1 else 'two places'} alone, as the {len(placed)} frames"
            " say that show the mat; start the film and walk once around the foot"
        )
    kept.sort()
    # Read once more: all frames at once would be a gigabyte.
    return [seen[number] for number in kept], {f"frame {number}": picture for number, picture in _frames(path, kept)}


def _length(path: Path) -> int:
    film = cv2.VideoCapture(str(path))
    count = int(film.get(cv2.CAP_PROP_FRAME_COUNT)) if film.isOpened() else 0
    film.release()
    if not 1 <= count < 1_000_000:
        raise ValueError(f"{path}: not a film that can be read; expected MP4 or MOV")
    return count


def _frames(path: Path, wanted: Sequence[int]) -> Iterator[tuple[int, np.ndarray]]:
    """The frames of these numbers, rising, RGB, at most `SIDE` pixels large."""
    film, left = cv2.VideoCapture(str(path)), set(wanted)
    try:
        for number in range(max(wanted) + 1):
            if not film.grab():
                return
            if number not in left:
                continue
            fine, frame = film.retrieve()
            if fine:
                shrink = min(1.0, MAX_PHOTO_SIDE / max(frame.shape[:2]))
                frame = cv2.resize(frame, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
                yield number, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    finally:
        film.release()


def _azimuth(one: BoardDetection, mat: Mat) -> float:
    """Roughly, with the usual lens: it only says which part of the walk a frame belongs to."""
    return metadata_row(solve_cameras([one], mat, 0.8).cameras[0], FOOT_CUBE.centre)[0]
