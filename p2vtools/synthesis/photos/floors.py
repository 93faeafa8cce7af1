"""Procedural floor textures: wood, tile, carpet, grass and plain, as tileable linear reflectance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageDraw

PIXELS = 512
SPAN = 1.6
"""A texture is ``PIXELS`` wide and high and covers ``SPAN`` metres: 3 mm per pixel, finer than the photos."""

Texture = Float[np.ndarray, "height width 3"]

WOODS = ((0.36, 0.20, 0.10), (0.20, 0.09, 0.04), (0.50, 0.34, 0.19), (0.30, 0.25, 0.20), (0.10, 0.05, 0.03))
TILES = ((0.70, 0.68, 0.63), (0.35, 0.34, 0.33), (0.42, 0.20, 0.12), (0.12, 0.13, 0.15), (0.55, 0.45, 0.33))
CARPETS = ((0.30, 0.27, 0.24), (0.10, 0.12, 0.20), (0.28, 0.06, 0.06), (0.45, 0.40, 0.32), (0.08, 0.14, 0.10))
PLAINS = ((0.45, 0.44, 0.42), (0.72, 0.70, 0.67), (0.22, 0.22, 0.23), (0.50, 0.42, 0.32), (0.25, 0.33, 0.40))
GRASSES = ((0.09, 0.17, 0.03), (0.15, 0.21, 0.05), (0.06, 0.13, 0.04), (0.21, 0.20, 0.08))


@dataclass(frozen=True)
class Floor:
    """A floor."""

    kind: str
    """One of `FLOOR_KINDS`."""
    seed: int
    """Of the texture."""
    rotation: float
    """Of the texture, degrees."""


def floor_texture(floor: Floor) -> Texture:
    """The linear reflectance of a floor, ``[PIXELS, PIXELS, 3]`` in [0.01, 0.9], tileable without a seam."""
    return np.clip(PAINTERS[floor.kind](np.random.default_rng(floor.seed)), 0.01, 0.9).astype(np.float32)


def _noise(rng: np.random.Generator, across: float, along: float | None = None) -> Float[np.ndarray, "height width"]:
    """Periodic smooth noise of unit variance; ``across`` and ``along`` are its correlation lengths in pixels."""
    frequency = np.fft.fftfreq(PIXELS), np.fft.rfftfreq(PIXELS)
    radius = np.hypot(frequency[0][:, None] * across, frequency[1][None, :] * (along or across))
    spectrum = np.fft.rfft2(rng.standard_normal((PIXELS, PIXELS))) * np.exp(-2 * radius**2)
    noise = np.fft.irfft2(spectrum, s=(PIXELS, PIXELS))
    return noise / noise.std()


def _colour(rng: np.random.Generator, palette: tuple[tuple[float, float, float], ...]) -> np.ndarray:
    """A colour of the palette with random brightness and a slight variation of hue."""
    return np.array(palette[rng.integers(len(palette))]) * rng.uniform(0.75, 1.3) * rng.uniform(0.93, 1.07, 3)


def _wood(rng: np.random.Generator) -> Texture:
    """Planks of differing tones with shifted ends, grain along them and dark seams between them."""
    planks = int(rng.choice([8, 10, 12, 16]))
    rows, columns = np.mgrid[:PIXELS, :PIXELS]
    plank = rows * planks // PIXELS
    shift = rng.integers(PIXELS, size=planks)
    length = PIXELS // int(rng.choice([1, 2]))
    along = columns + shift[plank]
    board = plank + planks * (along // length % (PIXELS // length))
    grain = 0.09 * _noise(rng, 2.5, 90) + 0.07 * _noise(rng, 9, 200) + 0.03 * _noise(rng, 1.5, 12)
    strength = rng.uniform(0.6, 1.6)
    tones = 1 + rng.uniform(0.06, 0.2) * rng.standard_normal(board.max() + 1)
    light = np.clip(tones, 0.6, 1.5)[board] * np.exp(strength * grain)
    width = PIXELS / planks
    seam = ((rows % width) < 1.0) | ((along % length) < 1)
    light = np.where(seam, light * rng.uniform(0.25, 0.6), light)
    hue = 1 + np.array([0.0, -0.04, -0.10]) * (light[..., None] < 1)
    return _colour(rng, WOODS) * light[..., None] * hue


def _tile(rng: np.random.Generator) -> Texture:
    """Square tiles with grout between them; some are marbled, some alternate between two colours."""
    tiles = int(rng.choice([4, 6, 8, 16]))
    rows, columns = np.mgrid[:PIXELS, :PIXELS]
    size = PIXELS / tiles
    row, column = (rows // size).astype(int), (columns // size).astype(int)
    first = _colour(rng, TILES)
    second = _colour(rng, TILES) if rng.random() < 0.3 else first
    colour = np.where(((row + column) % 2 == 0)[..., None], first, second)
    tone = 1 + rng.uniform(0.01, 0.08) * rng.standard_normal((tiles, tiles))[row, column]
    cloud = rng.uniform(0.02, 0.10) * _noise(rng, 40) + 0.02 * _noise(rng, 5)
    vein = rng.uniform(0, 0.35) * np.exp(-np.abs(_noise(rng, 60) + 0.3 * _noise(rng, 12)) / 0.06)
    tile = colour * (tone * np.exp(cloud) * (1 - vein))[..., None]
    joint = rng.uniform(1.2, 2.6)
    grout = (rows % size < joint) | (columns % size < joint)
    return np.where(grout[..., None], rng.uniform(0.12, 0.6) * np.array([1.0, 0.97, 0.92]), tile)


def _carpet(rng: np.random.Generator) -> Texture:
    """Fibres and worn patches; half of the carpets are striped."""
    pile = rng.uniform(0.18, 0.4) * _noise(rng, rng.uniform(1.5, 4)) + 0.08 * _noise(rng, 60)
    colour = np.broadcast_to(_colour(rng, CARPETS), (PIXELS, PIXELS, 3))
    if rng.random() < 0.5:
        stripes = np.sin(2 * np.pi * rng.integers(3, 12) * np.arange(PIXELS) / PIXELS) > rng.uniform(0, 0.9)
        colour = np.where(stripes[:, None, None], _colour(rng, CARPETS), colour)
    return colour * np.exp(pile)[..., None]


def _grass(rng: np.random.Generator) -> Texture:
    """Thousands of blades over dark soil, in tufts of differing green."""
    colour = _colour(rng, GRASSES)
    image = Image.new("RGB", (PIXELS, PIXELS), tuple((255 * np.sqrt(colour * 0.35)).astype(int).tolist()))
    draw = ImageDraw.Draw(image)
    count = 9000
    start = rng.uniform(0, PIXELS, (count, 2))
    angle, length = rng.uniform(0, 2 * np.pi, count), rng.uniform(6, 22, count)
    end = start + length[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    shade = colour * np.exp(0.35 * rng.standard_normal((count, 1)) + np.linspace(-0.5, 0.35, count)[:, None])
    shade = np.where(rng.random((count, 1)) < 0.08, shade.mean(axis=1, keepdims=True) * [1.5, 1.3, 0.6], shade)
    colours = np.clip(255 * np.sqrt(shade), 0, 255).astype(int)
    for line, fill in zip(np.column_stack([start, end]).tolist(), colours.tolist(), strict=True):
        draw.line(line, fill=tuple(fill), width=2)
    return (np.asarray(image, dtype=float) / 255) ** 2 * np.exp(0.25 * _noise(rng, 80))[..., None]


def _plain(rng: np.random.Generator) -> Texture:
    """Concrete, linoleum or paint: faint clouds and speckles."""
    clouds = rng.uniform(0.02, 0.12) * _noise(rng, 90) + rng.uniform(0.0, 0.08) * _noise(rng, 2)
    return _colour(rng, PLAINS) * np.exp(clouds)[..., None]


PAINTERS = {"wood": _wood, "tile": _tile, "carpet": _carpet, "grass": _grass, "plain": _plain}
FLOOR_KINDS = tuple(PAINTERS)
