"""Photos of one foot or object as a phone took them, with their cameras: what a reconstruction starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from p2vlib.data.dataset import evenly_spaced
from p2vlib.files import FileError, reading
from p2vlib.geometry.cameras import Camera, Row, look_at
from p2vlib.geometry.frames import FOOT_CUBE, SIDES, Cube
from p2vtools.archives.camera_files import read_cameras, read_metadata
from p2vtools.archives.capture_folder import listed_photo, read_names, read_subject
from p2vtools.archives.photo_files import list_photos, read_photo

MAX_VIEWS = 24
"""`read_photo_set` reads at most this many photos, evenly spaced; more add little."""

DEFAULT_PHOTO_SIDE = 1024
"""`read_photo_set` scales photos down to this many pixels along the longer side; the networks use 96 for the cube."""

SCALES = {
    "mat": "the printed mat",
    "sheet": "the sheet of paper",
    "tracking": "the phone's tracking of its own position",
    "foot length": "the length of the foot, measured by hand",
    "noted": "distances of the cameras noted by hand",
    "rendered": "the renderer",
    "file": "the unit of the file",
    "unknown": "unknown",
}
"""Where the scale of a capture or a mesh comes from (``scale`` in ``subject.json``) -> description."""

LENGTH_KEY = "foot length, mm"
"""Key in ``subject.json`` of the length of the foot as measured with a ruler."""


@dataclass(frozen=True, eq=False)
class PhotoSet:
    """Photos of one foot or object with their cameras, in clockwise order."""

    photos: list[Image.Image]
    cameras: list[Camera]
    """Cameras of ``photos`` at their present size, in the world frame."""
    names: list[str]
    side: str = "none"
    initial_position: Float[np.ndarray, " 3"] = field(default_factory=lambda: np.zeros(3))
    """Point on the floor where the search for the foot begins, metres."""
    scale: str = "unknown"
    """Where the scale comes from, a key of `SCALES`; ``unknown``: only ratios are known."""
    length: float | None = None
    """Length of the foot measured by hand, metres; the scale is ``foot length``."""

    @property
    def has_scale(self) -> bool:
        """Whether sizes are known, by the cameras or by the length of the foot."""
        return self.scale != "unknown"

    @property
    def metric(self) -> bool:
        """Whether the cameras are in metres."""
        return self.scale not in ("unknown", "foot length")

    def subset(self, indices: Sequence[int]) -> PhotoSet:
        """The same photo set with the photos at ``indices`` only."""
        photos, cameras, names = ([values[i] for i in indices] for values in (self.photos, self.cameras, self.names))
        return replace(self, photos=photos, cameras=cameras, names=names)


def read_photo_set(folder: Path, side: str | None = None, max_side: int = DEFAULT_PHOTO_SIDE) -> PhotoSet:
    """Reads photos of any size and orientation with their cameras.

    The photos are those listed in ``renderings.txt``, or all images in the folder (or its ``rendering`` folder) sorted
    by name. Cameras come from ``cameras.json``, or from ``rendering_metadata.txt``, whose cameras look at the centre of
    the foot's cube.

    Args:
        side: left or right; default: the side in ``subject.json``.
        max_side: photos are scaled down to this many pixels along the longer side.

    Raises:
        ValueError: no photos, an unreadable or too large photo, cameras that do not match, no side, an unknown source
            of the scale, or a foot length that is not plausible.
    """
    if not folder.is_dir():
        found = "a file" if folder.is_file() else "no such folder"
        raise FileError(folder, found, "expected a capture folder, as p2v capture writes it")
    rendering = folder / "rendering" if (folder / "rendering").is_dir() else folder
    listing = rendering / "renderings.txt"
    names = read_names(listing) if listing.is_file() else [path.name for path in list_photos(rendering)]
    cameras_or_rows = _read_cameras(folder, rendering, len(names))
    subject = read_subject(folder)
    side = side or subject.get("side")
    if side not in SIDES:
        raise FileError(folder, "unknown side", "subject.json has none: pass --side left or --side right")
    scale, length = scale_of(folder, subject), None
    if scale == "foot length":
        length = check_foot_length(subject.get(LENGTH_KEY), f"{folder / 'subject.json'}: {LENGTH_KEY!r}") / 1000
    indices = evenly_spaced(len(names), min(len(names), MAX_VIEWS))
    cube = _cube_of(subject)
    photos, cameras = [], []
    for i in indices:  # one after the other: a decoded photo of a phone takes up to 200 MB
        photo, _ = read_photo(listed_photo(rendering, names[i]), max_side)
        camera = cameras_or_rows[i]
        if not isinstance(camera, Camera):
            with reading(rendering / "rendering_metadata.txt", "expected the camera of each photo"):
                camera = look_at(camera, cube.centre, *photo.size)
        if not matches_aspect(camera, *photo.size):
            found = f"{photo.width} x {photo.height} pixels upright"
            raise FileError(rendering / names[i], found, f"its camera has {camera.width} x {camera.height}")
        photos.append(photo.convert("RGBA"))
        cameras.append(camera.resized(*photo.size))
    if isinstance(cameras_or_rows[0], Camera) and "cube" not in subject:
        position = _floor_target(cameras)
    else:
        position = cube.centre * [1, 0, 1]
    return PhotoSet(photos, cameras, [names[i] for i in indices], side, position, scale, length)


def photo_set_from_arrays(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]], cameras: Sequence[Camera], names: list[str], side: str, scale: str
) -> PhotoSet:
    """A `PhotoSet` of upright ``images`` in memory, scaled down to `DEFAULT_PHOTO_SIDE`."""
    photos = [Image.fromarray(image) for image in images]
    for photo in photos:
        photo.thumbnail((DEFAULT_PHOTO_SIDE, DEFAULT_PHOTO_SIDE), reducing_gap=2.0)
    scaled = [camera.resized(*photo.size) for camera, photo in zip(cameras, photos, strict=True)]
    return PhotoSet([photo.convert("RGBA") for photo in photos], scaled, names, side, scale=scale)


def scale_of(folder: Path, subject: Mapping[str, Any]) -> str:
    """Where the scale of a capture comes from, a key of `SCALES`.

    Captures of earlier versions do not say so: those that were rendered have a recipe, and the others name what gave
    their cameras.

    Raises:
        ValueError: not a key of `SCALES`.
    """
    scale = subject.get("scale")
    if scale not in [*SCALES, None]:
        raise FileError(folder / "subject.json", f"scale is {scale!r}", f"expected one of {', '.join(SCALES)}")
    if scale is None:
        cameras = str(subject.get("cameras") or subject.get("made")).removeprefix("photos, cameras: ")
        in_metres = {"mat": "mat", "polycam": "tracking", "record3d": "tracking", "scannerapp": "tracking"}
        scale = "rendered" if "recipe" in subject else in_metres.get(cameras.split(" ")[0], "unknown")
        if subject.get("unit of the scan", "unknown") != "unknown":
            scale = "file"
    return "foot length" if scale == "unknown" and LENGTH_KEY in subject else scale


def check_foot_length(length: object, where: str) -> float:
    """``length``, if it can be the length of a foot in millimetres.

    Args:
        where: for the error message.

    Raises:
        ValueError: it cannot.
    """
    if type(length) not in (int, float) or not 90 <= length <= 350:
        raise FileError(where, f"{length!r}", "expected the length of a foot, 90 to 350 mm")
    return float(length)


def _cube_of(subject: Mapping[str, Any]) -> Cube:
    """The cube in ``subject``, or `FOOT_CUBE`."""
    try:
        x, y, z = map(float, subject["cube"]["lower"])
        return Cube((x, y, z), float(subject["cube"]["edge"]))
    except (KeyError, TypeError, ValueError, OverflowError):
        return FOOT_CUBE


def _read_cameras(folder: Path, rendering: Path, count: int) -> list[Camera] | list[Row]:
    """The ``count`` cameras of ``cameras.json``, or the rows of ``rendering_metadata.txt``."""
    path = next((path for path in (folder / "cameras.json", rendering / "cameras.json") if path.is_file()), None)
    if path is not None:
        cameras = read_cameras(path)
        if len(cameras) != count:
            raise FileError(path, f"{len(cameras)} cameras for {count} photos", "expected one per photo")
        return cameras
    if not (rendering / "rendering_metadata.txt").is_file():
        made = "plain photos become a capture folder by p2v capture"
        raise FileError(folder, "no cameras", f"expected cameras.json or rendering_metadata.txt; {made}")
    return read_metadata(rendering / "rendering_metadata.txt", count)


def matches_aspect(camera: Camera, width: int, height: int) -> bool:
    """Whether an image of this size has the camera's aspect ratio, to one percent."""
    return abs(camera.width * height - camera.height * width) <= 0.01 * camera.width * height


def _floor_target(cameras: Sequence[Camera]) -> Float[np.ndarray, " 3"]:
    """The point on the floor at which the cameras look."""
    if len(cameras) > 1:
        return common_target(cameras) * [1, 0, 1]
    position, axis = cameras[0].position, cameras[0].extrinsics[2, :3]
    if axis[1] >= -1e-3:
        return np.zeros(3)
    return (position - axis * position[1] / axis[1]) * [1, 0, 1]


def common_target(cameras: Sequence[Camera]) -> Float[np.ndarray, " 3"]:
    """The point nearest to the optical axes of two or more ``cameras``, by least squares."""
    positions = np.stack([camera.position for camera in cameras])
    axes = np.stack([camera.extrinsics[2, :3] for camera in cameras])
    projectors = np.eye(3) - axes[:, :, None] * axes[:, None]
    return np.linalg.lstsq(projectors.sum(0), (projectors @ positions[:, :, None]).sum(0)[:, 0], rcond=None)[0]
