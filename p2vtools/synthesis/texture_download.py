"""Download of the photographic textures: MakeHuman's skins and pmndrs' environment maps, both CC0.

Each file is checked by its SHA-256. Only the needed part of an original is kept: the feet of a skin, and the maps at
512 x 256 pixels. Prepared files can be copied from a folder instead.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import drjit
import numpy as np
import pooch
from PIL import Image

from p2vlib.files import write_atomically
from p2vtools.archives.download import Source, download
from p2vtools.files import file_lock
from p2vtools.synthesis.assets import SKIN_WINDOW, asset_folder
from p2vtools.synthesis.photos.surfaces import mitsuba_scalar

ADDRESSES = {
    "skins": "https://media.githubusercontent.com/media/makehumancommunity/makehuman-assets/"
    "8cf9645b975a98eea056b140df11a1d278da0d10/base/skins/textures/",
    "hdri": "https://raw.githubusercontent.com/pmndrs/assets/d8709a9b11247dc51b72bb32fade56048807d868/src/hdri/",
}
"""Kind -> address of the originals, at a fixed commit."""

LARGEST = 2**26
"""Size that no original exceeds, bytes."""

LIGHT_SIZE = (512, 256)
"""Width and height of a prepared environment map, pixels."""

TEXTURES = Path(__file__).with_name("textures.txt")
"""A line per texture: file in `asset_folder`, name and SHA-256 of the original, and SHA-256 of the prepared file that
the pretrained weights were trained with. A download prepares the file again: the same picture, possibly compressed to
other bytes."""


def fetch_textures(folder: Path | None = None, source: Path | None = None) -> Path:
    """Downloads the textures into ``folder`` (default `asset_folder`), or copies prepared ones from ``source``.

    A download keeps files that exist, so an interrupted one continues where it stopped.

    Raises:
        ValueError: a file of ``source`` is missing or is not the expected one, or a download has a wrong sha256.
        OSError: a download failed.
    """
    folder = folder or asset_folder()
    for name, original, original_sha256, sha256 in map(str.split, TEXTURES.read_text("utf-8").splitlines()):
        target = folder / name
        with file_lock(folder / ".lock"):
            target.parent.mkdir(parents=True, exist_ok=True)
            if source is not None:
                _copy(source / name, target, sha256)
            elif not target.is_file():
                _prepare(Source(ADDRESSES[target.parent.name] + original, LARGEST, sha256=original_sha256), target)
        print(f"{target}: done", flush=True)
    return folder


def _copy(source: Path, target: Path, sha256: str) -> None:
    if not source.is_file():
        raise ValueError(f"{source}: not found; --from expects a folder with skins/*.jpg and hdri/*.exr")
    if (found := pooch.file_hash(str(source), "sha256")) != sha256:
        raise ValueError(f"{source}: its sha256 is {found}; expected {sha256}; use the original prepared file")
    # Without the permissions of the source: a read-only file could not be replaced later.
    write_atomically(target, lambda path: shutil.copyfile(source, path))


def _prepare(source: Source, target: Path) -> None:
    original = target.with_name(source.name)
    download(source, original, source.sha256)
    write = _write_skin if target.suffix == ".jpg" else _write_light
    write_atomically(target, lambda path: write(original, path))
    original.unlink()


def _write_skin(original: Path, target: Path) -> None:
    with Image.open(original) as image:
        image.convert("RGB").crop(SKIN_WINDOW).save(target, format="JPEG", quality=92)


def _write_light(original: Path, target: Path) -> None:
    """A smaller copy, each pixel the mean of those it covers."""
    mi = mitsuba_scalar()
    pixels = np.array(mi.Bitmap(str(original)).convert(mi.Bitmap.PixelFormat.RGB, mi.Struct.Type.Float32, False))
    width, height = LIGHT_SIZE
    blocks = pixels.reshape(height, pixels.shape[0] // height, width, pixels.shape[1] // width, 3)
    smaller = mi.Bitmap(np.maximum(blocks.mean(axis=(1, 3)), 0)).convert(component_format=mi.Struct.Type.Float16)
    drjit.set_thread_count(2)  # Mitsuba never finishes an EXR file with one thread
    try:
        smaller.write(str(target))
    finally:
        drjit.set_thread_count(1)
