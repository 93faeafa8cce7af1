"""Photos or a film of a foot on the mat, filed as a capture folder that `reconstruct` and the data set take.

What is kept of a photo is its picture: upright, without the lens's distortion, without EXIF.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from ..cameras import Camera, Row, write_cameras, write_metadata
from ..capture.mat import Mat
from ..conventions import FOOT_SYNSET, SIDES
from ..files import check_new, whole_folder, write_text
from ..shots import FOOT_CUBE, MOST_VIEWS, PICTURES, open_photo
from ..viewer.style import AGREEMENT, FAINT, INK, PALETTE, new_figure, styled
from .poses import FEWEST_CORNERS, FEWEST_PHOTOS, Sighting, Solution, sighting, solve, undistorted, whats_wrong

FILMS = (".mp4", ".mov", ".m4v")

SIDE = 2048
"""Pixels of a photo's longer side in which the board is looked for, and that are kept: phones make twice as many."""

LOOKED_AT = 150
"""Frames of a film that are looked at, evenly spread."""

APART = 13.5
"""Degrees of azimuth between frames of a film that are taken, at least: a walk gives up to 26."""

WIDEST = 75.0
"""Degrees between neighbouring photos from which a side counts as not seen."""

FEW = 6
"""Photos below which the card of the weights shows a reconstruction to fall off (`data/weights`)."""

EXIF_FOCAL, FULL_FRAME = 0xA405, 36.0
"""EXIF's focal length as on 35 mm film, and the width of that film, mm."""


@dataclass(frozen=True, eq=False)
class Intake:
    """A capture that is filed."""

    folder: Path
    solution: Solution
    rows: list[Row]
    """Azimuth, elevation, in-plane rotation, distance and field of view of each photo about the middle of the foot."""
    advice: list[str]
    """What to photograph again and why; nothing where nothing is missing."""

    @property
    def verdict(self) -> str:
        """In a word."""
        return "good" if not self.advice else "usable" if len(self.rows) >= FEW else "poor"


def row_of(camera: Camera, target: Float[np.ndarray, "3"]) -> Row:
    """The metadata row of ``camera`` about ``target`` (metres): what `look_at` makes a camera of, as far as it can.

    A camera that does not look at the target exactly is more than five numbers; `cameras.json` holds all of it.
    """
    away = camera.position - target
    distance = float(np.linalg.norm(away))
    azimuth = float(np.rad2deg(np.arctan2(away[2], away[0])) % 360)
    elevation = float(np.rad2deg(np.arcsin(away[1] / distance)))
    right, down = camera.extrinsics[0, :3], camera.extrinsics[1, :3]
    roll = float(np.rad2deg(np.arctan2(-right[1], -down[1])))
    fov = float(np.rad2deg(2 * np.arctan(camera.width / 2 / camera.intrinsics[0, 0])))
    return azimuth, elevation, roll, distance, fov


def clockwise(rows: Sequence[Row]) -> list[int]:
    """Numbers of the ``rows`` in the order of a walk: clockwise seen from above, the one nearest the front first."""
    return sorted(range(len(rows)), key=lambda number: (rows[number][0] + 15) % 360)


def take(source: Path, mat: Mat, side: str, out: Path, report: Callable[[str], object] = lambda line: None) -> Intake:
    """Files the photos in the folder ``source``, or the film that it is, as a capture folder ``out``.

    Raises:
        ValueError: nothing to read, a picture that cannot be read, a mat that is not seen, no or an unknown side, a
            target that is there already.
    """
    if side not in SIDES:
        raise ValueError(f"side is {side!r}; expected left or right: which foot stands on the mat?")
    check_new(out)
    seen, pictures, focal = _seen(source, mat, report)
    solution = solve(seen, mat, focal)
    for name, reason in solution.left_out.items():
        report(f"{name}: left out, {reason}")
    rows = [row_of(camera, FOOT_CUBE.centre) for camera in solution.cameras]
    order = clockwise(rows)  # as they were walked, at most so many
    order = [order[round(step)] for step in np.linspace(0, len(order) - 1, min(len(order), MOST_VIEWS))]
    names, cameras, rows = ([part[n] for n in order] for part in (solution.names, solution.cameras, rows))
    solution = replace(solution, names=names, cameras=cameras, errors=solution.errors[order])
    intake = Intake(out, solution, rows, advice(rows, seen, solution))
    _write(intake, pictures, mat, side)
    return intake


def _seen(
    source: Path, mat: Mat, report: Callable[[str], object]
) -> tuple[list[Sighting], dict[str, np.ndarray], float | None]:
    """What each photo or chosen frame shows of the mat, the pictures by name, and the focal length EXIF tells."""
    if source.is_file() and source.suffix.lower() in FILMS:
        seen, pictures = _from_film(source, mat)
        return seen, pictures, None
    if not source.is_dir():
        raise ValueError(f"{source}: no such folder of photos or film; expected photos ({', '.join(PICTURES)}) in a"
                         f" folder, or a film ({', '.join(FILMS)})")  # fmt: skip
    paths = sorted(path for path in source.iterdir() if path.suffix.lower() in PICTURES)
    if not paths:
        raise ValueError(f"{source}: no photos; expected pictures ({', '.join(PICTURES)}) of one foot from all sides")
    seen, pictures, focals = [], {}, []
    for number, path in enumerate(paths, start=1):
        picture, focal = read_photo(path)
        pictures[path.name] = picture
        seen.append(sighting(path.name, picture, mat))
        focals.append(focal)
        report(f"{path.name}: {len(seen[-1].ids)} corners of the mat ({number} of {len(paths)})")
    known = [focal for focal in focals if focal]
    return seen, pictures, float(np.median(known)) if known else None


def read_photo(path: Path) -> tuple[UInt8[np.ndarray, "height width 3"], float | None]:
    """A photo, upright and at most `SIDE` pixels large, and its focal length in widths of its long side if told.

    Raises:
        ValueError: none that can be read, or one that is too large.
    """
    picture = open_photo(path, SIDE)
    told = picture.getexif().get_ifd(0x8769).get(EXIF_FOCAL)
    upright = ImageOps.exif_transpose(picture).convert("RGB")
    upright.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    focal = float(told) / FULL_FRAME if isinstance(told, int | float) and 5 < told < 500 else None
    return np.asarray(upright), focal


def _from_film(path: Path, mat: Mat) -> tuple[list[Sighting], dict[str, np.ndarray]]:
    """The sharpest frames of the walk around the foot, none within `APART` degrees of a sharper one."""
    count = _length(path)
    wanted = np.linspace(0, count - 1, min(count, LOOKED_AT)).round().astype(int).tolist()
    seen = {number: sighting(f"frame {number}", picture, mat) for number, picture in _frames(path, wanted)}
    placed = {number: _azimuth(one, mat) for number, one in seen.items() if len(one.ids) >= FEWEST_CORNERS}
    if not placed:
        wrong = whats_wrong([*seen.values()])
        raise ValueError(f"{path}: none of {len(seen)} frames shows the mat {mat.name!r} well enough: {wrong}")
    kept: list[int] = []
    for number in sorted(placed, key=lambda number: -seen[number].sharpness):
        away = [abs((placed[number] - placed[other] + 180) % 360 - 180) for other in kept]
        if min(away, default=360) > APART:
            kept.append(number)
    if len(kept) < FEWEST_PHOTOS:
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
                shrink = min(1.0, SIDE / max(frame.shape[:2]))
                frame = cv2.resize(frame, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
                yield number, cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    finally:
        film.release()


def _azimuth(one: Sighting, mat: Mat) -> float:
    """Roughly, with the usual lens: it only says which part of the walk a frame belongs to."""
    return row_of(solve([one], mat, 0.8).cameras[0], FOOT_CUBE.centre)[0]


def advice(rows: Sequence[Row], seen: Sequence[Sighting], solution: Solution) -> list[str]:
    """What is missing, in sentences: sides that nobody photographed, photos that are too few, too flat or blurred."""
    told = []
    for middle, gap in _gaps(rows):
        told.append(f"photograph the {_side_of(middle)}: {gap:.0f} degrees are not seen")
    if len(rows) < FEW:
        told.append(f"{len(rows)} photos are few; take 8 to 16")
    if max(row[1] for row in rows) < 30:
        told.append("all photos are from low down; hold the phone higher, 35 to 60 degrees above the floor")
    median = float(np.median(solution.errors))
    if median > 1.5:
        told.append(f"corners are {median:.1f} pixels off in the middle; is the mat flat and still, are photos sharp?")
    sharp = {one.name: one.sharpness for one in seen}
    middle = np.median(list(sharp.values()))
    blurred = [name for name in solution.names if sharp[name] < 0.15 * middle]
    if blurred:
        told.append(f"blurred: {', '.join(blurred)}")
    return told


def _gaps(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Middle and width in degrees of what lies between neighbouring photos further apart than `WIDEST`."""
    azimuths = np.sort([row[0] for row in rows])
    widths = np.diff([*azimuths, azimuths[0] + 360])
    return [((start + gap / 2) % 360, gap) for start, gap in zip(azimuths, widths, strict=True) if gap > WIDEST]


def _side_of(azimuth: float) -> str:
    names = ("toes", "toes from the right", "right side", "heel from the right", "heel", "heel from the left",
             "left side", "toes from the left")  # fmt: skip
    return names[round(azimuth / 45) % 8]


def _write(intake: Intake, pictures: dict[str, np.ndarray], mat: Mat, side: str) -> None:
    """The whole folder or nothing."""
    solution = intake.solution
    with whole_folder(intake.folder) as folder:
        rendering = folder / "rendering"
        rendering.mkdir()
        names = [f"{number:02d}.jpg" for number in range(len(intake.rows))]
        for name, before, camera in zip(names, solution.names, solution.cameras, strict=True):
            straight = undistorted(pictures[before], camera, solution.distortion)
            Image.fromarray(straight).save(rendering / name, quality=92)  # without EXIF: neither place nor phone
        write_text(rendering / "renderings.txt", "\n".join(names) + "\n")
        write_metadata(rendering / "rendering_metadata.txt", intake.rows)
        write_cameras(folder / "cameras.json", solution.cameras)
        subject = {
            "subject": intake.folder.name,
            "taxonomy": FOOT_SYNSET,
            "side": side,
            "look": "phone",
            "metadata": "metric",
            "cube": {"lower": list(FOOT_CUBE.lower), "edge": FOOT_CUBE.edge},
            "cameras": f"mat {mat.name}",
            "pixels off": round(float(np.median(solution.errors)), 3),
        }
        write_text(folder / "subject.json", json.dumps(subject, indent=1) + "\n")
        coverage(intake).savefig(folder / "coverage.png", dpi=110)


@styled
def coverage(intake: Intake) -> Figure:
    """From where the foot was photographed, seen from above: photos, and in orange what is missing."""
    figure = new_figure(5.6, 5.2)
    axes = figure.add_subplot(projection="polar")
    axes.set_theta_direction(-1)  # clockwise, as azimuths grow
    axes.set_ylim(90, 0)  # straight from above is the middle
    azimuths = np.array([row[0] for row in intake.rows])
    for middle, gap in _gaps(intake.rows):
        axes.bar(np.deg2rad(middle), -90, np.deg2rad(gap), 90, color=AGREEMENT["invented"], alpha=0.35)
    axes.plot(np.deg2rad(azimuths), [row[1] for row in intake.rows], "o", color=PALETTE[0], zorder=3)
    for number, row in enumerate(intake.rows):
        axes.annotate(f"{number:02d}", (np.deg2rad(row[0]), row[1]), (4, 4), textcoords="offset points", fontsize=8)
    axes.set_xticks(np.deg2rad(np.arange(0, 360, 45)), [_side_of(angle) for angle in range(0, 360, 45)], fontsize=8)
    axes.tick_params(axis="x", pad=12)
    axes.set_yticks([0, 30, 60, 90], ["0°", "30°", "60°", "90°"], color=INK, fontsize=7)
    axes.grid(color=FAINT)
    title = f"{intake.verdict}: {len(intake.rows)} photos"
    axes.set_title("\n".join([title, *intake.advice]), fontsize=9)
    return figure
