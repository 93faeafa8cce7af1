"""Photos of a foot whose places are known, whatever told them, as a capture folder, and what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.figure import Figure
from PIL import Image

from p2vlib.files import atomic_directory, write_text
from p2vlib.geometry.cameras import Camera, Row, write_cameras, write_metadata
from p2vlib.geometry.frames import FOOT_CUBE, FOOT_SYNSET
from p2vtools.capture.charuco import sharpness
from p2vtools.viewer.style import AGREEMENT, FAINT, INK, PALETTE, new_figure, study_style

MAX_GAP = 75.0
"""Degrees between neighbouring photos from which a side counts as not seen."""

RECOMMENDED_PHOTOS = 6
"""Photos below which the card of the weights shows a reconstruction to fall off (`data/weights`)."""


@dataclass(frozen=True, eq=False)
class WrittenCapture:
    """A capture that is filed."""

    folder: Path
    names: list[str]
    """Of the photos as they were before, clockwise."""
    cameras: list[Camera]
    """Pinhole cameras of the photos as they are filed."""
    rows: list[Row]
    """Azimuth, elevation, in-plane rotation, distance and field of view of each photo about the middle of the foot."""
    advice: list[str]
    """What to photograph again and why; nothing where nothing is missing."""
    notes: list[str] = field(default_factory=list)
    """How it was made, in sentences."""

    @property
    def quality(self) -> str:
        """In a word."""
        return "good" if not self.advice else "usable" if len(self.rows) >= RECOMMENDED_PHOTOS else "poor"


def metadata_row(camera: Camera, target: Float[np.ndarray, "3"]) -> Row:
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


def clockwise_order(rows: Sequence[Row]) -> list[int]:
    """Numbers of the ``rows`` in the order of a walk: clockwise seen from above, the one nearest the front first."""
    return sorted(range(len(rows)), key=lambda number: (rows[number][0] + 15) % 360)


def write_capture(
    out: Path,
    side: str,
    names: list[str],
    pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]],
    cameras: list[Camera],
    subject: dict[str, object],
    extra_advice: Sequence[str] = (),
    notes: Sequence[str] = (),
    write_extra: Callable[[Path], object] = lambda folder: None,
) -> WrittenCapture:
    """Writes a capture folder, whole or not at all.

    Args:
        pictures: upright and straightened, clockwise, of the photos that were called ``names``.
        cameras: of the pictures, in the foot's frame.
        subject: what ``subject.json`` tells beside what every capture does.
        extra_advice: advice beyond what all photos are looked at for.
        notes: how it was made.
        write_extra: writes other files into the folder.

    Raises:
        ValueError: ``out`` is there already.
    """
    rows = [metadata_row(camera, FOOT_CUBE.centre) for camera in cameras]
    advice = [*capture_advice(rows, names, pictures), *extra_advice]
    intake = WrittenCapture(out, names, cameras, rows, advice, list(notes))
    with atomic_directory(out) as folder:
        rendering = folder / "rendering"
        rendering.mkdir()
        files = [f"{number:02d}.jpg" for number in range(len(rows))]
        for file, picture in zip(files, pictures, strict=True):
            Image.fromarray(picture).save(rendering / file, quality=92)  # without EXIF: neither place nor phone
        write_text(rendering / "renderings.txt", "\n".join(files) + "\n")
        write_metadata(rendering / "rendering_metadata.txt", rows)
        write_cameras(folder / "cameras.json", cameras)
        description = {
            "subject": out.name,
            "taxonomy": FOOT_SYNSET,
            "side": side,
            "look": "phone",
            "metadata": "metric",
            "cube": {"lower": list(FOOT_CUBE.lower), "edge": FOOT_CUBE.edge},
            **subject,
        }
        write_text(folder / "subject.json", json.dumps(description, indent=1) + "\n")
        coverage(intake).savefig(folder / "coverage.png", dpi=110)
        write_extra(folder)
    return intake


def capture_advice(rows: Sequence[Row], names: Sequence[str], pictures: Sequence[np.ndarray]) -> list[str]:
    """What is missing, in sentences: sides that nobody photographed, photos that are too few, too flat or blurred."""
    told = []
    for middle, gap in _gaps(rows):
        told.append(f"photograph the {_side_of(middle)}: {gap:.0f} degrees are not seen")
    if len(rows) < RECOMMENDED_PHOTOS:
        told.append(f"{len(rows)} photos are few; take 8 to 16")
    if max(row[1] for row in rows) < 30:
        told.append("all photos are from low down; hold the phone higher, 35 to 60 degrees above the floor")
    sharp = np.array([sharpness(picture) for picture in pictures])
    blurred = [name for name, value in zip(names, sharp, strict=True) if value < 0.15 * np.median(sharp)]
    if blurred:
        told.append(f"blurred: {', '.join(blurred)}")
    return told


def _gaps(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Middle and width in degrees of what lies between neighbouring photos further apart than `WIDEST`."""
    azimuths = np.sort([row[0] for row in rows])
    widths = np.diff([*azimuths, azimuths[0] + 360])
    return [((start + gap / 2) % 360, gap) for start, gap in zip(azimuths, widths, strict=True) if gap > MAX_GAP]


def _side_of(azimuth: float) -> str:
    names = ("toes", "toes from the right", "right side", "heel from the right", "heel", "heel from the left",
             "left side", "toes from the left")  # fmt: skip
    return names[round(azimuth / 45) % 8]


@study_style
def coverage(intake: WrittenCapture) -> Figure:
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
    title = f"{intake.quality}: {len(intake.rows)} photos"
    axes.set_title("\n".join([title, *intake.advice]), fontsize=9)
    return figure
