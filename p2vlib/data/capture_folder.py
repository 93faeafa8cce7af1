"""A capture folder, read and checked: its photos as they are in their files, its cameras, its truth."""

from __future__ import annotations

import io
import json
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from p2vlib.geometry.cameras import Camera, look_at, r2n2_camera, read_cameras, read_metadata
from p2vlib.geometry.frames import Cube
from p2vlib.geometry.grids import VoxelGrid, read_binvox

PIXEL_LIMIT = 4096 * 4096
"""No photo of a capture is larger; one that claims to be is refused before it is decoded."""

# Sizes are checked here before anything is decoded; Pillow's warning beside an error would be a second sentence.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Capture:
    """One capture folder, read: ``photos`` are file contents in clockwise order, ``truth`` is its `model.binvox`."""

    folder: Path
    subject: dict
    photos: list[bytes]
    cameras: list[Camera]
    truth: VoxelGrid


def read_capture(folder: Path) -> Capture:
    """Reads and checks a capture folder.

    Raises:
        ValueError: a missing view, an unreadable picture, metadata that do not fit, a broken grid; names the file.
    """
    subject_file = folder / "subject.json"
    try:
        subject = json.loads(subject_file.read_text())
        cube = Cube(tuple(subject["cube"]["lower"]), subject["cube"]["edge"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{subject_file}: not a capture's description ({error}); expected JSON that names its cube"
        ) from None
    rendering = folder / "rendering"
    photos, pictures = read_photos(rendering)
    sizes = [picture.size for picture in pictures]
    rows = read_metadata(rendering / "rendering_metadata.txt", len(photos))
    if (folder / "cameras.json").is_file():
        cameras = read_cameras(folder / "cameras.json")
    elif subject.get("metadata") == "r2n2":
        cameras = [r2n2_camera(row, 1.0, np.zeros(3), *size) for row, size in zip(rows, sizes, strict=True)]
    else:
        cameras = [look_at(row, cube.centre, *size) for row, size in zip(rows, sizes, strict=True)]
    if len(cameras) != len(photos) or any((c.width, c.height) != size for c, size in zip(cameras, sizes, strict=False)):
        raise ValueError(f"{folder / 'cameras.json'}: does not fit the {len(photos)} photos in {rendering}")
    return Capture(folder, subject, photos, cameras, read_binvox(folder / "model.binvox"))


def read_photos(rendering: Path) -> tuple[list[bytes], list[Image.Image]]:
    """File contents of the photos, and the pictures in them, that ``renderings.txt`` names, in its order.

    Raises:
        ValueError: no such list, an empty one, or a picture that is missing, elsewhere or unreadable.
    """
    listing = rendering / "renderings.txt"
    if not listing.is_file():
        raise ValueError(f"{listing}: missing; expected the names of the photos, one a line")
    found = [_read_photo(rendering / name, rendering) for name in listing.read_text().split()]
    if not found:
        raise ValueError(f"{listing}: names no photo; expected at least one")
    return [content for content, _ in found], [picture for _, picture in found]


def _read_photo(path: Path, inside: Path) -> tuple[bytes, Image.Image]:
    if path.resolve().parent != inside.resolve() or not path.is_file():
        raise ValueError(f"{path}: a view named in renderings.txt is missing; expected a picture beside that list")
    content = path.read_bytes()
    return content, open_picture(path, content)


def open_picture(path: Path, content: bytes, limit: int = 0, draft: int = 0) -> Image.Image:
    """The decoded picture in the ``content`` of ``path``, which has at most ``limit`` (`PIXEL_LIMIT`) pixels.

    With a ``draft`` a JPEG may be decoded at a half, a quarter or an eighth, not below so many pixels a side.

    Raises:
        ValueError: none that can be read, or one that is too large to be believed.
    """
    try:
        with Image.open(io.BytesIO(content)) as picture:
            if picture.width * picture.height > (limit or PIXEL_LIMIT):
                found = f"{picture.width} x {picture.height} pixels"
                raise ValueError(f"{path}: {found}; at most {limit or PIXEL_LIMIT} are read")
            if draft:
                picture.draft(None, (draft, draft))
            picture.load()
            return picture
    except UnidentifiedImageError:
        raise ValueError(f"{path}: not a readable picture; expected PNG or JPEG") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable picture ({error}); expected PNG or JPEG") from None
