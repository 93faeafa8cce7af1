"""Reading a capture folder as somebody took it: photos of any size and orientation, and where each was taken from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageOps

from p2vlib.data.capture_folder import open_picture
from p2vlib.data.dataset import evenly_spaced
from p2vlib.geometry.cameras import Camera, look_at, read_cameras, read_metadata
from p2vlib.geometry.frames import FOOT_CUBE_EDGE, SIDES, Cube

MOST_VIEWS = 24
"""More photos than this add little; of more, as many evenly spaced ones are taken."""

PICTURES = (".jpg", ".jpeg", ".png", ".heic", ".heif")

LARGEST_PHOTO = 64_000_000
"""Pixels of a photo that is still decoded; phones make up to 50 million."""

KEPT = 1024
"""Pixels of a photo's longer side that are kept: at 96 to the cube, more are never looked at."""

RULER = "foot length, mm"
"""What ``subject.json`` calls the length of the foot as a ruler gave it."""

FOOT_CUBE = Cube((-FOOT_CUBE_EDGE / 2, 0.0, -FOOT_CUBE_EDGE / 2), FOOT_CUBE_EDGE)
"""The cube about a foot in the foot's own frame: toes along +x, the floor at 0."""


@dataclass(frozen=True, eq=False)
class PhotoSet:
    """A capture as it was taken: photos upright, at most so large, their cameras in the world's frame."""

    photos: list[Image.Image]
    cameras: list[Camera]
    names: list[str]
    side: str
    start: np.ndarray
    """Where the foot is first looked for: a point of the floor, ``[3]``, metres."""
    metric: bool = True
    """Whether lengths are what they say: cameras of photos without a mat only stand in proportion to each other."""
    length: float | None = None
    """The foot's length in metres as a ruler gave it, which then makes the result metric."""

    def only(self, chosen: Sequence[int]) -> PhotoSet:
        """The capture with these of its photos alone."""
        parts = {name: [getattr(self, name)[number] for number in chosen] for name in ("photos", "cameras", "names")}
        return replace(self, **parts)


def photo_set_from_arrays(
    pictures: Sequence[UInt8[np.ndarray, "_ _ 3"]], cameras: Sequence[Camera], names: list[str], side: str, **more: Any
) -> PhotoSet:
    """Upright ``pictures`` that are not in a folder, with their cameras, looked for about the origin; for ``more`` see
    `Shots`."""
    photos = [Image.fromarray(picture) for picture in pictures]
    for photo in photos:
        photo.thumbnail((KEPT, KEPT), reducing_gap=2.0)
    seen = [camera.resized(*photo.size) for camera, photo in zip(cameras, photos, strict=True)]
    return PhotoSet([photo.convert("RGBA") for photo in photos], seen, names, side, np.zeros(3), **more)


def read_photo_set(folder: Path, side: str | None = None, kept: int = KEPT) -> PhotoSet:
    """The photos and cameras of a capture folder.

    The photos are those that ``renderings.txt`` names, or all in the folder (or its ``rendering``) by name; they keep
    ``kept`` pixels along their longer side. Cameras come from ``cameras.json``, or from ``rendering_metadata.txt``,
    whose rows look at the middle of the foot. The side is that of ``subject.json`` unless it is given.

    Raises:
        ValueError: no photos, one that cannot be read or is too large, cameras that do not fit, no side.
    """
    if not folder.is_dir():
        found = "a file" if folder.is_file() else "no such folder"
        raise ValueError(f"{folder}: {found}; expected a capture folder with photos and their cameras")
    inside = folder / "rendering" if (folder / "rendering").is_dir() else folder
    listing = inside / "renderings.txt"
    if listing.is_file():
        names = listing.read_text().split()
    else:
        names = sorted(path.name for path in inside.iterdir() if path.suffix.lower() in PICTURES)
    if not names:
        raise ValueError(f"{inside}: no photos; expected pictures ({', '.join(PICTURES)}) of one foot from all sides")
    subject = read_subject(folder)
    side = side or subject.get("side")
    if side not in SIDES:
        raise ValueError(f"{folder}: which foot is it? No side is in its subject.json; say --side left or --side right")
    cameras_file = next((path for path in (folder / "cameras.json", inside / "cameras.json") if path.is_file()), None)
    known = read_cameras(cameras_file) if cameras_file else None
    rows = None if known else read_metadata(inside / "rendering_metadata.txt", len(names)) if _rows(inside) else None
    if known is None and rows is None:
        raise ValueError(f"{folder}: no cameras; expected cameras.json, or rendering_metadata.txt with a row a photo")
    if known is not None and len(known) != len(names):
        raise ValueError(f"{cameras_file}: {len(known)} cameras for {len(names)} photos; expected one a photo")
    chosen = evenly_spaced(len(names), min(len(names), MOST_VIEWS))
    target = _middle(subject)
    photos, cameras = [], []
    for number in chosen:
        path = inside / names[number]
        photo = _read_photo(path, inside, kept)
        camera = known[number] if known else look_at(rows[number], target, *photo.size)
        if not camera.takes(*photo.size):
            found = f"{photo.width} x {photo.height} pixels upright"
            raise ValueError(f"{path}: {found}; its camera was told {camera.width} x {camera.height}: another shape")
        photo.thumbnail((kept, kept), reducing_gap=2.0)
        photos.append(photo.convert("RGBA"))
        cameras.append(camera.resized(*photo.size))
    start = target * [1, 0, 1] if rows or "cube" in subject else _aim(cameras)
    metric, length = subject.get("scale") != "unknown", subject.get(RULER)
    if length is not None and not isinstance(length, int | float):
        raise ValueError(f"{folder}: subject.json has {RULER!r} {length!r}; expected a number")
    told = None if length is None else length / 1000
    return PhotoSet(photos, cameras, [names[number] for number in chosen], side, start, metric, told)


def _rows(inside: Path) -> bool:
    return (inside / "rendering_metadata.txt").is_file()


def read_subject(folder: Path) -> dict:
    """What ``subject.json`` tells of a capture; nothing where there is none.

    Raises:
        ValueError: not JSON.
    """
    path = folder / "subject.json"
    if not path.is_file():
        return {}
    try:
        subject = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); expected a capture's description") from None
    return subject if isinstance(subject, dict) else {}


def _middle(subject: dict) -> np.ndarray:
    """Where metadata rows look: the middle of the cube that the capture tells, or of one about the origin."""
    try:
        return Cube(tuple(map(float, subject["cube"]["lower"])), float(subject["cube"]["edge"])).centre
    except (KeyError, TypeError, ValueError):
        return FOOT_CUBE.centre


def _read_photo(path: Path, inside: Path, kept: int) -> Image.Image:
    """The photo, upright as its EXIF says, at little more than ``kept`` pixels where the format allows it."""
    if path.resolve().parent != inside.resolve() or not path.is_file():
        raise ValueError(f"{path}: missing; expected the photo that renderings.txt names beside it")
    return ImageOps.exif_transpose(open_photo(path, kept))


def open_photo(path: Path, side: int) -> Image.Image:
    """The photo at ``path`` as it lies in the file, where the format allows it at little more than ``side`` pixels.

    Raises:
        ValueError: none that can be read here, or one that is too large.
    """
    if path.suffix.lower() in (".heic", ".heif"):
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            raise ValueError(
                f"{path}: reading HEIC needs the package pillow-heif; install it or save as JPEG"
            ) from None
        register_heif_opener()
    return open_picture(path, path.read_bytes(), LARGEST_PHOTO, side)


def _aim(cameras: list[Camera]) -> np.ndarray:
    """The point of the floor under where the cameras look, or on the floor for one."""
    if len(cameras) == 1:
        stand, axis = cameras[0].position, cameras[0].extrinsics[2, :3]
        if axis[1] >= -1e-3:
            return np.zeros(3)
        return (stand - axis * stand[1] / axis[1]) * [1, 0, 1]
    return common_target(cameras) * [1, 0, 1]


def common_target(cameras: Sequence[Camera]) -> Float[np.ndarray, "3"]:
    """The point that is nearest to the axes of all ``cameras``, of which there are two or more."""
    stands = np.stack([camera.position for camera in cameras])
    axes = np.stack([camera.extrinsics[2, :3] for camera in cameras])
    away = np.eye(3) - axes[:, :, None] * axes[:, None]
    return np.linalg.lstsq(away.sum(0), (away @ stands[:, :, None]).sum(0)[:, 0], rcond=None)[0]
