"""Writing photos with known cameras as the capture folder of a foot, with advice on what to photograph again."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from p2vlib.geometry.cameras import Camera, Row
from p2vlib.geometry.frames import FOOT_CUBE, FOOT_SYNSET
from p2vtools.archives import capture_folder
from p2vtools.archives.photo_files import encode_photo
from p2vtools.capture.charuco import Picture, sharpness
from p2vtools.files import atomic_directory

MAX_GAP = 75.0
"""Degrees of azimuth between neighbouring photos above which the side between them counts as not photographed."""

BLURRED = 0.15
"""A photo with less than this share of the median sharpness is blurred."""

RECOMMENDED_PHOTOS = 6
"""With fewer photos the model card of the pretrained weights shows clearly worse reconstructions (`data/weights`)."""

DIRECTIONS = ("toes", "toes from the right", "right side", "heel from the right", "heel", "heel from the left",
              "left side", "toes from the left")  # fmt: skip
"""Names of azimuths in steps of 45 degrees."""


@dataclass(frozen=True, eq=False)
class WrittenCapture:
    """Summary of a capture folder that was written."""

    folder: Path
    names: list[str]
    """Original names of the photos, clockwise."""
    cameras: list[Camera]
    """Pinhole cameras of the photos in the folder, in the frame of the foot."""
    scale: str
    """Where the scale of the cameras comes from, a key of `photo_set.SCALES`."""
    advice: list[str]
    """What to photograph again, one sentence each; empty if nothing is missing."""
    notes: list[str]
    """How the capture was made, one sentence each."""
    rejected: dict[str, str]
    """Original name of each photo that was rejected -> reason."""

    @property
    def rows(self) -> list[Row]:
        """Rows of ``rendering_metadata.txt``, about the centre of the foot's cube."""
        return [metadata_row(camera, FOOT_CUBE.centre) for camera in self.cameras]

    @property
    def quality(self) -> str:
        """``good``, ``usable`` or ``poor``."""
        return rate_capture(len(self.cameras), self.advice)


def metadata_row(camera: Camera, target: Float[np.ndarray, "3"]) -> Row:
    """The metadata row (azimuth, elevation, in-plane rotation, distance, fov) of ``camera`` about ``target`` (metres).

    The inverse of `look_at` for a camera that looks at ``target``; other cameras need ``cameras.json``.
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
    """Indices of ``rows`` clockwise seen from above, beginning 15 degrees before the front."""
    return sorted(range(len(rows)), key=lambda index: (rows[index][0] + 15) % 360)


def turn_upright(picture: Picture, camera: Camera) -> tuple[Picture, Camera]:
    """A photo and its ``camera``, both turned by quarters until the world's up points up in the photo.

    A phone that looks down does not know it.
    """
    for _ in range(3):
        right, down, _ = camera.extrinsics[:3, 1]
        if -down >= abs(right):
            break
        picture, camera = np.rot90(picture, -1), _turn_clockwise(camera)
    return np.ascontiguousarray(picture), camera


def _turn_clockwise(camera: Camera) -> Camera:
    """The camera of the photo after a quarter turn clockwise."""
    (fx, _, cx), (_, fy, cy), _ = camera.intrinsics
    intrinsics = np.array([[fy, 0, camera.height - cy], [0, fx, cx], [0, 0, 1]])
    quarter_turn = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    return Camera(intrinsics, quarter_turn @ camera.extrinsics, camera.height, camera.width)


def write_foot_capture(
    out: Path,
    side: str,
    scale: str,
    names: list[str],
    pictures: Sequence[Picture],
    cameras: list[Camera],
    subject: dict[str, object],
    extra_advice: Sequence[str] = (),
    notes: Sequence[str] = (),
    write_extra: Callable[[Path], object] = lambda folder: None,
    rejected: Mapping[str, str] = MappingProxyType({}),
) -> WrittenCapture:
    """Writes the capture folder ``out`` atomically, with ``coverage.png``.

    Args:
        scale: where the scale of the cameras comes from, a key of `photo_set.SCALES`.
        names: original names of the photos.
        pictures: the photos in clockwise order, upright and without lens distortion.
        cameras: their cameras, in the frame of the foot.
        subject: additional entries of ``subject.json``.
        extra_advice: advice in addition to that of `capture_advice`.
        notes: how the capture was made.
        write_extra: writes more files into the folder it is called with.
        rejected: original name of each photo that was rejected -> reason.

    Raises:
        ValueError: ``out`` exists already.
    """
    rows = [metadata_row(camera, FOOT_CUBE.centre) for camera in cameras]
    advice = [*capture_advice(rows, names, [*map(sharpness, pictures)]), *extra_advice]
    common = {"subject": out.name, "taxonomy": FOOT_SYNSET, "side": side, "look": "phone", "metadata": "metric"}
    subject = {**common, "scale": scale, "cube": asdict(FOOT_CUBE), **subject}
    photos = {f"{number:02d}.jpg": encode_photo(picture) for number, picture in enumerate(pictures)}
    with atomic_directory(out) as folder:
        capture_folder.write_capture(folder, photos, rows, cameras, subject)
        coverage_figure(rows, advice).savefig(folder / "coverage.png", dpi=110)
        write_extra(folder)
    return WrittenCapture(out, names, cameras, scale, advice, list(notes), dict(rejected))


def rate_capture(photos: int, advice: Sequence[str]) -> str:
    """The quality of a capture: ``good``, ``usable`` or ``poor``."""
    return "good" if not advice else "usable" if photos >= RECOMMENDED_PHOTOS else "poor"


def capture_advice(rows: Sequence[Row], names: Sequence[str], sharpnesses: Sequence[float]) -> list[str]:
    """What to photograph again: sides without a photo, too few photos, all from low down, blurred ones."""
    advice = [
        f"photograph the {DIRECTIONS[round(middle / 45) % 8]}: {gap:.0f} degrees without a photo"
        for middle, gap in azimuth_gaps(rows)
    ]
    if len(rows) < RECOMMENDED_PHOTOS:
        advice.append(f"{len(rows)} photos are few; take 8 to 16")
    if max(row[1] for row in rows) < 30:
        advice.append("all photos are from low down; hold the phone higher, 35 to 60 degrees above the floor")
    blurred = [name for name, value in zip(names, sharpnesses, strict=True) if is_blurred(value, sharpnesses)]
    if blurred:
        advice.append(f"blurred: {', '.join(blurred)}")
    return advice


def is_blurred(value: float, values: Sequence[float]) -> bool:
    """Whether a photo with this `sharpness` is blurred, compared with all photos of its capture."""
    return value < BLURRED * float(np.median(values))


def azimuth_gaps(rows: Sequence[Row]) -> list[tuple[float, float]]:
    """Middle and width, degrees, of the azimuth ranges wider than `MAX_GAP` between neighbouring photos."""
    azimuths = np.sort([row[0] for row in rows])
    widths = np.diff([*azimuths, azimuths[0] + 360])
    return [((start + gap / 2) % 360, gap) for start, gap in zip(azimuths, widths, strict=True) if gap > MAX_GAP]


def coverage_figure(rows: Sequence[Row], advice: Sequence[str]) -> Figure:
    """The directions of the photos seen from above; directions without a photo in orange."""
    figure = Figure(figsize=(5.6, 5.2), layout="constrained")
    axes = figure.add_subplot(projection="polar")
    axes.set_theta_direction(-1)  # clockwise, as azimuths grow
    axes.set_ylim(90, 0)  # straight from above is the middle
    for middle, gap in azimuth_gaps(rows):
        axes.bar(np.deg2rad(middle), -90, np.deg2rad(gap), 90, color="#E69F00", alpha=0.35)
    angles, elevations = np.deg2rad([row[0] for row in rows]), [row[1] for row in rows]
    axes.plot(angles, elevations, "o", color="#0072B2", zorder=3)
    for number, position in enumerate(zip(angles, elevations, strict=True)):
        axes.annotate(f"{number:02d}", position, (4, 4), textcoords="offset points", fontsize=8)
    axes.set_xticks(np.deg2rad(np.arange(0, 360, 45)), DIRECTIONS, fontsize=8)
    axes.tick_params(axis="x", pad=12)
    axes.set_yticks([0, 30, 60, 90], ["0°", "30°", "60°", "90°"], color="#222222", fontsize=7)
    axes.grid(color="#c9ced6")
    axes.set_title("\n".join([f"{rate_capture(len(rows), advice)}: {len(rows)} photos", *advice]), fontsize=9)
    return figure
