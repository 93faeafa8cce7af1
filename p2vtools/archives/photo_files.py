"""Photo files as phones, messengers and programs write them: the one reader of photos.

Only the content decides what a file is. Damaged EXIF never makes a photo unreadable.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from p2vlib.files import FileError, check_size, reading
from p2vtools import limits

PHOTO_FORMATS = ("JPEG", "PNG", "WEBP", "HEIF")
"""Formats of photos, as Pillow calls them, whatever the name of the file ends in."""

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".webp", ".heic", ".heif")
"""Endings by which `list_photos` finds photos."""

FILM_DIAGONAL = 43.27
"""Diagonal of the 35 mm film to which EXIF's focal lengths refer, mm."""

# Image sizes are checked in this module before decoding; Pillow warns of damaged EXIF with UserWarning.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def list_photos(folder: Path) -> list[Path]:
    """The photos in ``folder``, sorted by name, without hidden files.

    Raises:
        FileError: no photos.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES and path.name[0] != ".")
    if not paths:
        raise FileError(folder, "no photos", f"expected images ({', '.join(PHOTO_SUFFIXES)}) of one foot")
    return paths


def read_photo(path: Path, max_side: int | None = None) -> tuple[Image.Image, float | None]:
    """A photo, upright, RGB or RGBA, scaled down to ``max_side`` pixels along its longer side; and its focal length.

    The focal length is that of EXIF, divided by the longer side of the photo; None without a plausible one.

    Raises:
        FileError: unreadable, or larger than `limits.PHOTO_BYTES` or `limits.PHOTO_PIXELS`.
    """
    check_size(path, limits.PHOTO_BYTES, "expected a photo")
    stored = decode_photo(path, path.read_bytes(), limits.PHOTO_PIXELS, max_side or 0)
    focal, orientation = _focal_length(stored), 1
    with contextlib.suppress(Exception):
        orientation = int(stored.getexif()[ExifTags.Base.Orientation])
    with reading(path, "expected a photo"):
        photo, exif = _to_rgb(stored), Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        photo.info = {"exif": exif.tobytes()}  # without other entries, which may be damaged
        photo = ImageOps.exif_transpose(photo)
        if max_side:
            photo.thumbnail((max_side, max_side), reducing_gap=2.0)
    return photo, focal


def decode_photo(
    path: Path, content: bytes, max_pixels: int = limits.TRAINING_PIXELS, min_side: int = 0, as_stored: bool = False
) -> Image.Image:
    """Decodes the image file ``content``, which was read from ``path``; not turned upright.

    Args:
        max_pixels: larger images are rejected before decoding.
        min_side: if not 0, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, at least this many pixels a side.
        as_stored: keep the 16 bits of a grey image, for a depth map; otherwise they are scaled to 8.

    Raises:
        FileError: none of `PHOTO_FORMATS`, damaged, or more than ``max_pixels``.
    """
    expected = "expected PNG, JPEG, WebP or HEIC"
    if content[4:8] == b"ftyp":
        from pillow_heif import register_heif_opener

        register_heif_opener()
    Image.init()
    formats = [name for name in PHOTO_FORMATS if name in Image.OPEN]
    with reading(path, expected):
        try:
            image = Image.open(io.BytesIO(content), formats=formats)
        except UnidentifiedImageError:
            raise FileError(path, "not a readable image", expected) from None
        if image.width * image.height > max_pixels:
            raise FileError(path, f"{image.width} x {image.height} pixels", f"the limit is {max_pixels}: reduce it")
        if min_side:
            image.draft(None, (min_side, min_side))
        image.load()
        if not image.mode.startswith("I") or as_stored:
            return image
        scaled = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))  # Pillow would clip 16 bits
        scaled.info = image.info
        return scaled


def encode_photo(pixels: UInt8[np.ndarray, "height width channels"], kind: str = "JPEG", quality: int = 92) -> bytes:
    """The content of an image file with these pixels and no metadata: no EXIF, place, time or comment.

    ``kind`` is a format as Pillow calls it.
    """
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, kind, quality=quality)
    return stream.getvalue()


def _focal_length(photo: Image.Image) -> float | None:
    """EXIF's focal length, divided by the longer side of the photo."""
    with contextlib.suppress(Exception):  # Pillow raises many types of errors for damaged EXIF
        focal = float(photo.getexif().get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm])
        if 5 < focal < 500:
            return focal / FILM_DIAGONAL * float(np.hypot(*photo.size)) / max(photo.size)
    return None


def _to_rgb(photo: Image.Image) -> Image.Image:
    """The photo as RGB, or RGBA where it is transparent; the colours of a print through its ICC profile."""
    if photo.mode == "CMYK" and "icc_profile" in photo.info:
        with contextlib.suppress(ImageCms.PyCMSError, OSError):
            profiles = io.BytesIO(photo.info["icc_profile"]), ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(photo, *profiles, outputMode="RGB")
    return photo.convert("RGBA" if photo.has_transparency_data else "RGB")
