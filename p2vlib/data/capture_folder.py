"""Reading and writing capture folders: photos of one foot or object from all sides, with their cameras.

A capture folder holds ``rendering/`` (the photos in clockwise order, ``renderings.txt``, ``rendering_metadata.txt``)
and ``subject.json``. Optional files are ``cameras.json``, which takes precedence over the metadata, ``model.obj``
(metres) and ``model.binvox``. `read_capture` is strict and reads training data; `read_photo_set` is lenient and reads
photos as a phone took them.
"""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from p2vlib.geometry.cameras import (
    Camera,
    Row,
    look_at,
    r2n2_camera,
    read_cameras,
    read_metadata,
    write_cameras,
    write_metadata,
)
from p2vlib.geometry.frames import FOOT_CUBE, SIDES, Cube
from p2vlib.geometry.grids import VoxelGrid, read_binvox, write_binvox

MAX_VIEWS = 24
"""`read_photo_set` reads at most this many photos, evenly spaced; more add little."""

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".heic", ".heif")

MAX_TRAINING_PIXELS = 4096 * 4096
"""Largest accepted photo of a training capture; checked before decoding."""

MAX_PHOTO_PIXELS = 64_000_000
"""Largest accepted photo of a phone; phones have up to 50 million pixels."""

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

# Image sizes are checked in this module before decoding.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


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
        lists: dict[str, Any] = {
            name: [getattr(self, name)[i] for i in indices] for name in ("photos", "cameras", "names")
        }
        return replace(self, **lists)


@dataclass(frozen=True, eq=False, kw_only=True)
class Capture(PhotoSet):
    """A capture of training data: photos as stored, with their files and the ground truth."""

    folder: Path
    subject: dict[str, Any]
    """Content of ``subject.json``."""
    files: list[bytes]
    """Contents of the photo files; empty where there are none for single photos."""
    truth: VoxelGrid
    """Content of ``model.binvox``."""


# ---------------------------------------------------------------------------------------------------------------- read


def read_capture(folder: Path) -> Capture:
    """Reads a capture folder of training data, with its ground truth.

    Raises:
        ValueError: a missing photo, an unreadable image, metadata that do not match the photos, or a broken grid; the
            message names the file.
    """
    subject_file = folder / "subject.json"
    try:
        subject = json.loads(subject_file.read_text("utf-8"))
        cube = Cube(tuple(subject["cube"]["lower"]), subject["cube"]["edge"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{subject_file}: expected a JSON object with the cube of the capture ({error})") from None
    rendering = folder / "rendering"
    names, files, photos = read_photos(rendering)
    rows = read_metadata(rendering / "rendering_metadata.txt", len(photos))
    if (folder / "cameras.json").is_file():
        cameras = read_cameras(folder / "cameras.json")
    elif subject.get("metadata") == "r2n2":
        cameras = [r2n2_camera(row, 1.0, np.zeros(3), *photo.size) for row, photo in zip(rows, photos, strict=True)]
    else:
        cameras = [look_at(row, cube.centre, *photo.size) for row, photo in zip(rows, photos, strict=True)]
    sizes = [(camera.width, camera.height) for camera in cameras]
    if sizes != [photo.size for photo in photos]:
        raise ValueError(f"{folder / 'cameras.json'}: does not match the {len(photos)} photos in {rendering}")
    truth = read_binvox(folder / "model.binvox")
    side, position = subject.get("side", "none"), cube.centre * [1, 0, 1]
    fields: dict[str, Any] = {"folder": folder, "subject": subject, "files": files, "truth": truth}
    return Capture(photos, cameras, names, side, position, scale_of(folder, subject), **fields)


def read_photos(rendering: Path) -> tuple[list[str], list[bytes], list[Image.Image]]:
    """Names, file contents and decoded images of the photos listed in ``renderings.txt``, in its order.

    Raises:
        ValueError: no list, an empty list, or a photo that is missing, outside the folder or unreadable.
    """
    listing = rendering / "renderings.txt"
    if not listing.is_file():
        raise ValueError(f"{listing}: missing; expected the names of the photos, one per line")
    names = listing.read_text("utf-8").split()
    if not names:
        raise ValueError(f"{listing}: empty; expected the name of at least one photo")
    files = [_listed_photo(rendering, name).read_bytes() for name in names]
    return names, files, [decode_photo(rendering / name, file) for name, file in zip(names, files, strict=True)]


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
        raise ValueError(f"{folder}: {found}; expected a capture folder with photos and their cameras")
    rendering = folder / "rendering" if (folder / "rendering").is_dir() else folder
    listing = rendering / "renderings.txt"
    if listing.is_file():
        names = listing.read_text("utf-8").split()
    else:
        names = sorted(path.name for path in rendering.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES)
    if not names:
        raise ValueError(f"{rendering}: no photos; expected images ({', '.join(PHOTO_SUFFIXES)}) of one foot")
    subject = read_subject(folder)
    side = side or subject.get("side")
    if side not in SIDES:
        raise ValueError(f"{folder}: unknown side; subject.json has none: pass --side left or --side right")
    scale, length = scale_of(folder, subject), None
    if scale == "foot length":
        length = check_foot_length(subject.get(LENGTH_KEY), f"{folder / 'subject.json'}: {LENGTH_KEY!r}") / 1000
    cameras_or_rows = _read_cameras(folder, rendering, len(names))
    indices = evenly_spaced(len(names), min(len(names), MAX_VIEWS))
    cube = _cube_of(subject)
    photos, cameras = [], []
    for i in indices:  # one after the other: a decoded photo of a phone takes up to 200 MB
        photo = ImageOps.exif_transpose(open_photo(_listed_photo(rendering, names[i]), max_side))
        camera = cameras_or_rows[i]
        if not isinstance(camera, Camera):
            camera = look_at(camera, cube.centre, *photo.size)
        if not camera.matches_aspect(*photo.size):
            found = f"{photo.width} x {photo.height} pixels upright"
            raise ValueError(f"{rendering / names[i]}: {found}; its camera has {camera.width} x {camera.height}")
        photo.thumbnail((max_side, max_side), reducing_gap=2.0)
        photos.append(photo.convert("RGBA"))
        cameras.append(camera.resized(*photo.size))
    if isinstance(cameras_or_rows[0], Camera) and "cube" not in subject:
        position = _floor_target(cameras)
    else:
        position = cube.centre * [1, 0, 1]
    return PhotoSet(photos, cameras, [names[i] for i in indices], side, position, scale, length)


def photo_set_from_arrays(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]], cameras: Sequence[Camera], names: list[str], side: str, **fields: Any
) -> PhotoSet:
    """A `PhotoSet` of upright ``images`` in memory, scaled down to `DEFAULT_PHOTO_SIDE`.

    ``fields`` are other fields of the `PhotoSet`.
    """
    photos = [Image.fromarray(image) for image in images]
    for photo in photos:
        photo.thumbnail((DEFAULT_PHOTO_SIDE, DEFAULT_PHOTO_SIDE), reducing_gap=2.0)
    scaled = [camera.resized(*photo.size) for camera, photo in zip(cameras, photos, strict=True)]
    return PhotoSet([photo.convert("RGBA") for photo in photos], scaled, names, side, **fields)


def read_subject(folder: Path) -> dict[str, Any]:
    """The content of ``subject.json``; empty without such a file.

    Raises:
        ValueError: not JSON.
    """
    path = folder / "subject.json"
    if not path.is_file():
        return {}
    try:
        subject = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); expected the description of a capture") from None
    return subject if isinstance(subject, dict) else {}


def scale_of(folder: Path, subject: Mapping[str, Any]) -> str:
    """Where the scale of a capture comes from, a key of `SCALES`.

    Captures of earlier versions do not say so: those that were rendered have a recipe, and the others name what gave
    their cameras.

    Raises:
        ValueError: not a key of `SCALES`.
    """
    scale = subject.get("scale")
    if scale not in SCALES and scale is not None:
        raise ValueError(f"{folder / 'subject.json'}: scale is {scale!r}; expected one of {', '.join(SCALES)}")
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
    if not isinstance(length, int | float) or not 90 <= length <= 350:
        raise ValueError(f"{where} is {length!r}; expected the length of a foot, 90 to 350 mm")
    return float(length)


def _cube_of(subject: Mapping[str, Any]) -> Cube:
    """The cube in ``subject``, or `FOOT_CUBE`."""
    try:
        x, y, z = map(float, subject["cube"]["lower"])
        return Cube((x, y, z), float(subject["cube"]["edge"]))
    except (KeyError, TypeError, ValueError):
        return FOOT_CUBE


def _read_cameras(folder: Path, rendering: Path, count: int) -> list[Camera] | list[Row]:
    """The ``count`` cameras of ``cameras.json``, or the rows of ``rendering_metadata.txt``."""
    path = next((path for path in (folder / "cameras.json", rendering / "cameras.json") if path.is_file()), None)
    if path is not None:
        cameras = read_cameras(path)
        if len(cameras) != count:
            raise ValueError(f"{path}: {len(cameras)} cameras for {count} photos; expected one per photo")
        return cameras
    if not (rendering / "rendering_metadata.txt").is_file():
        raise ValueError(f"{folder}: no cameras; expected cameras.json, or rendering_metadata.txt with a row per photo")
    return read_metadata(rendering / "rendering_metadata.txt", count)


def evenly_spaced(available: int, views: int) -> list[int]:
    """Indices of ``views`` evenly spaced photos out of ``available`` clockwise ones, the first nearest the front."""
    if not 1 <= views <= available:
        raise ValueError(f"{views} views of {available} photos; expected between 1 and {available}")
    return [i * available // views for i in range(views)]


# -------------------------------------------------------------------------------------------------------------- decode


def _listed_photo(rendering: Path, name: str) -> Path:
    path = rendering / name
    if path.resolve().parent != rendering.resolve() or not path.is_file():
        raise ValueError(f"{path}: missing; renderings.txt lists it and expects it in the same folder")
    return path


def open_photo(path: Path, min_side: int) -> Image.Image:
    """Decodes a photo of a phone as stored; a JPEG may be decoded at a reduced size, at least ``min_side`` pixels.

    Raises:
        ValueError: unreadable, or more than `MAX_PHOTO_PIXELS`.
    """
    if path.suffix.lower() in (".heic", ".heif"):
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            raise ValueError(
                f"{path}: reading HEIC needs the package pillow-heif; install it or save as JPEG"
            ) from None
        register_heif_opener()
    return decode_photo(path, path.read_bytes(), MAX_PHOTO_PIXELS, min_side)


def decode_photo(path: Path, content: bytes, max_pixels: int = MAX_TRAINING_PIXELS, min_side: int = 0) -> Image.Image:
    """Decodes the image file ``content``, which was read from ``path``.

    Args:
        max_pixels: larger images are rejected before decoding.
        min_side: if not 0, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, at least this many pixels a side.

    Raises:
        ValueError: unreadable, or more than ``max_pixels``.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            if image.width * image.height > max_pixels:
                raise ValueError(f"{path}: {image.width} x {image.height} pixels; the limit is {max_pixels}")
            if min_side:
                image.draft(None, (min_side, min_side))
            image.load()
            return image
    except UnidentifiedImageError:
        raise ValueError(f"{path}: not a readable image; expected PNG or JPEG") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable image ({error}); expected PNG or JPEG") from None


# --------------------------------------------------------------------------------------------------------------- write


def write_capture(
    folder: Path,
    photos: Mapping[str, bytes],
    rows: Sequence[Row],
    cameras: Sequence[Camera],
    subject: Mapping[str, Any],
    truth: VoxelGrid | None = None,
    mesh: str | None = None,
) -> None:
    """Fills ``folder`` with a capture; for an all-or-nothing write pass a folder of `p2vlib.files.atomic_directory`.

    Args:
        photos: file name -> content of the image file, in clockwise order.
        rows: one row of ``rendering_metadata.txt`` per photo.
        cameras: one camera per photo, for ``cameras.json``.
        subject: content of ``subject.json``.
        truth: content of ``model.binvox``.
        mesh: content of ``model.obj``.
    """
    rendering = folder / "rendering"
    rendering.mkdir(parents=True, exist_ok=True)
    for name, content in photos.items():
        (rendering / name).write_bytes(content)
    (rendering / "renderings.txt").write_text("".join(f"{name}\n" for name in photos))
    write_metadata(rendering / "rendering_metadata.txt", rows)
    write_cameras(folder / "cameras.json", cameras)
    if mesh is not None:
        (folder / "model.obj").write_text(mesh)
    if truth is not None:
        write_binvox(folder / "model.binvox", truth)
    (folder / "subject.json").write_text(json.dumps(dict(subject), indent=1))


# -------------------------------------------------------------------------------------------------------- where to look


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
