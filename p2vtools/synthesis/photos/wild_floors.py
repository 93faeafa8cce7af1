"""Textures of floors, rugs, cloth and sheets of paper of the domain ``wild``: linear reflectances."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import scipy.fft
from jaxtyping import Float

from p2vtools.synthesis.colours import Colour, any_colour

Texture = Float[np.ndarray, "height width 3"]

PIXELS = 1024
SPAN = 1.2
"""A floor texture is ``PIXELS`` wide and high and covers ``SPAN`` metres: 1.2 mm per pixel."""


def noise(rng: np.random.Generator, across: float, along: float | None = None) -> np.ndarray:
    """Periodic smooth noise of unit variance, ``[PIXELS, PIXELS]``; correlation lengths in pixels.

    Coarse noise is computed at a lower resolution.
    """
    along = along or across
    factor = 1
    while min(across, along) / factor > 12 and PIXELS // factor > 128:
        factor *= 2
    low = PIXELS // factor
    rows, columns = scipy.fft.fftfreq(low).astype(np.float32), scipy.fft.rfftfreq(low).astype(np.float32)
    radius = (rows[:, None] * across / factor) ** 2 + (columns[None, :] * along / factor) ** 2
    spectrum = scipy.fft.rfft2(rng.standard_normal((low, low), dtype=np.float32)) * np.exp(-2 * radius)
    field = scipy.fft.irfft2(spectrum, s=(low, low))
    field /= field.std()
    if factor > 1:
        field = cv2.resize(np.pad(field, 1, mode="wrap"), None, fx=factor, fy=factor)[factor:-factor, factor:-factor]
    return field


def cells(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Voronoi cells of ``count`` random points: index of the cell and distance from its point, ``[PIXELS, PIXELS]``."""
    mask = np.full((PIXELS, PIXELS), 255, np.uint8)
    points = rng.integers(0, PIXELS, (count, 2))
    mask[points[:, 0], points[:, 1]] = 0
    distance, label = cv2.distanceTransformWithLabels(mask, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    return label, distance


def ornament(rng: np.random.Generator, size: int, colours: int) -> np.ndarray:
    """A symmetric motif that can be repeated: index of the colour, ``[size, size]``, below ``colours``."""
    x, y = np.meshgrid(*[(np.arange(size) + 0.5) / size * 2 * np.pi] * 2)
    field = np.zeros((size, size))
    for _ in range(rng.integers(3, 7)):
        k, m, phase = rng.integers(0, 6), rng.integers(0, 6), rng.uniform(-1, 1)
        field += rng.uniform(0.4, 1) * (np.cos(k * x) * np.cos(m * y) + np.cos(m * x) * np.cos(k * y)) * np.sign(phase)
    field += 0.8 * np.cos(np.hypot(x - np.pi, y - np.pi) * rng.uniform(1, 6))
    levels = np.quantile(field, np.sort(rng.uniform(0.15, 0.85, colours - 1)))
    return np.searchsorted(levels, field)


def _near(rng: np.random.Generator, *palette: tuple[float, float, float]) -> Colour:
    """A colour of ``palette`` with random brightness and a slight variation of hue."""
    return np.array(palette[rng.integers(len(palette))]) * rng.uniform(0.7, 1.35) * rng.uniform(0.9, 1.1, 3)


def _times(colour: Colour, light: np.ndarray) -> Texture:
    return (colour * light[..., None]).astype(np.float32)


WOODS = ((0.36, 0.20, 0.10), (0.20, 0.09, 0.04), (0.50, 0.34, 0.19), (0.30, 0.25, 0.20), (0.10, 0.05, 0.03))
WOODS += ((0.45, 0.40, 0.34), (0.55, 0.45, 0.32), (0.40, 0.14, 0.05), (0.33, 0.33, 0.33))
BRIGHT = ((0.75, 0.75, 0.74), (0.70, 0.66, 0.58), (0.62, 0.63, 0.66), (0.80, 0.79, 0.76))


def _wood(rng: np.random.Generator) -> Texture:
    """Planks with shifted ends, grain and dark seams; wide even ones are laminate."""
    planks = int(rng.choice([6, 8, 10, 12, 16]))
    rows, columns = np.mgrid[:PIXELS, :PIXELS].astype(np.int32)
    plank = rows * planks // PIXELS
    along = columns + rng.integers(PIXELS, size=planks)[plank]
    length = PIXELS // int(rng.choice([1, 2]))
    board = plank + planks * (along // length % (PIXELS // length))
    grain = 0.10 * noise(rng, 3, 100) + 0.09 * noise(rng, 16, 400) + 0.03 * noise(rng, 1.5, 20)
    tones = np.clip(1 + rng.uniform(0.03, 0.2) * rng.standard_normal(board.max() + 1), 0.6, 1.5)
    light = tones[board] * np.exp(rng.uniform(0.4, 2.0) * grain)
    seam = ((rows % (PIXELS / planks)) < rng.uniform(0.5, 2.5)) | ((along % length) < 2)
    return _times(_near(rng, *WOODS), np.where(seam, light * rng.uniform(0.25, 0.8), light))


def _parquet(rng: np.random.Generator) -> Texture:
    """Squares of short boards whose direction alternates."""
    squares, boards = int(rng.choice([4, 6, 8, 10])), int(rng.integers(3, 7))
    rows, columns = np.mgrid[:PIXELS, :PIXELS].astype(np.int32)
    size = PIXELS // squares
    row, column = rows // size, columns // size
    turned = (row + column) % 2 == 1
    across = np.where(turned, columns % size, rows % size)
    board = (row * squares + column) * boards + across * boards // size
    tones = np.clip(1 + rng.uniform(0.05, 0.25) * rng.standard_normal(board.max() + 1), 0.5, 1.6)
    grain = noise(rng, 3, 80)
    light = tones[board] * np.exp(rng.uniform(0.05, 0.15) * np.where(turned, grain.T, grain))
    seam = (across * boards % size < boards * 1.5) | (rows % size < 2) | (columns % size < 2)
    return _times(_near(rng, *WOODS), np.where(seam, light * rng.uniform(0.3, 0.8), light))


def _tile(rng: np.random.Generator) -> Texture:
    """Square tiles with joints, plain, marbled or chequered; half of them bright."""
    tiles = int(rng.choice([2, 3, 4, 6, 8, 12]))
    rows, columns = np.mgrid[:PIXELS, :PIXELS].astype(np.int32)
    size = PIXELS / tiles
    row, column = (rows / size).astype(int), (columns / size).astype(int)
    first = _near(rng, *BRIGHT) if rng.random() < 0.55 else any_colour(rng)
    second = any_colour(rng) if rng.random() < 0.2 else first
    colour = np.where(((row + column) % 2 == 0)[..., None], first, second)
    tone = 1 + rng.uniform(0.0, 0.06) * rng.standard_normal((tiles, tiles))[row % tiles, column % tiles]
    cloud = rng.uniform(0.0, 0.12) * noise(rng, 80)
    vein = rng.choice([0, rng.uniform(0.05, 0.4)]) * np.exp(-np.abs(noise(rng, 120) + 0.3 * noise(rng, 24)) / 0.07)
    tile = colour * (tone * np.exp(cloud) * (1 - vein))[..., None]
    joint = rng.uniform(1.0, 4.5)
    is_joint = (rows % size < joint) | (columns % size < joint)
    return np.where(is_joint[..., None], rng.uniform(0.08, 0.7) * np.array([1.0, 0.97, 0.92]), tile)


def _marble(rng: np.random.Generator) -> Texture:
    colour = _near(rng, *BRIGHT) if rng.random() < 0.6 else any_colour(rng)
    vein = np.exp(-np.abs(noise(rng, 90) + 0.4 * noise(rng, 20)) / rng.uniform(0.03, 0.2))
    light = np.exp(rng.uniform(0.03, 0.15) * noise(rng, 60)) * (1 - rng.uniform(0.1, 0.6) * vein)
    return _times(colour, light)


def _terrazzo(rng: np.random.Generator) -> Texture:
    label, distance = cells(rng, int(rng.integers(1500, 9000)))
    chips = np.stack([any_colour(rng) for _ in range(6)])[rng.integers(0, 6, label.max() + 1)]
    is_chip = distance < rng.uniform(1, 9, label.max() + 1)[label] * rng.uniform(0.6, 1.3)
    ground = _near(rng, *BRIGHT, (0.3, 0.3, 0.3), (0.2, 0.15, 0.1))
    return np.where(is_chip[..., None], chips[label], ground).astype(np.float32)


def _mosaic(rng: np.random.Generator) -> Texture:
    """Small square tiles of a few colours."""
    count = int(rng.choice([16, 24, 32, 40, 64]))
    colours = np.stack([any_colour(rng) for _ in range(rng.integers(2, 6))])
    index = rng.integers(0, len(colours), (count, count))
    if rng.random() < 0.5:
        motif = ornament(rng, count // 2 if count < 30 else count // 4, len(colours))
        index = np.tile(motif, (count // len(motif) + 1,) * 2)[:count, :count]
    tiles = colours[index] * np.exp(rng.uniform(0, 0.25) * rng.standard_normal((count, count, 1)))
    image = cv2.resize(tiles.astype(np.float32), (PIXELS, PIXELS), interpolation=cv2.INTER_NEAREST)
    rows, columns = np.mgrid[:PIXELS, :PIXELS]
    joint = (rows % (PIXELS / count) < 2.5) | (columns % (PIXELS / count) < 2.5)
    return np.where(joint[..., None], rng.uniform(0.1, 0.7), image)


def _encaustic(rng: np.random.Generator) -> Texture:
    """Ornamental tiles, one motif or a patchwork of several."""
    size = int(rng.choice([102, 128, 170, 256]))
    count = PIXELS // size + 1
    motifs = []
    for _ in range(int(rng.choice([1, 1, 2, 5]))):
        colours = np.stack([any_colour(rng) for _ in range(rng.integers(2, 5))])
        motif = colours[ornament(rng, size, len(colours))]
        motif[:2] = motif[:, :2] = rng.uniform(0.1, 0.6)
        motifs.append(motif)
    index = rng.integers(0, len(motifs), (count, count))
    rows = [np.concatenate([motifs[i] for i in line], axis=1) for line in index]
    image = np.concatenate(rows)[:PIXELS, :PIXELS].astype(np.float32)
    return image * np.exp(rng.uniform(0, 0.12) * noise(rng, 2))[..., None]


def _carpet(rng: np.random.Generator) -> Texture:
    pile = rng.uniform(0.1, 0.45) * noise(rng, rng.uniform(1.5, 5)) + 0.08 * noise(rng, 60)
    colour = np.broadcast_to(any_colour(rng), (PIXELS, PIXELS, 3))
    if rng.random() < 0.4:
        stripes = np.sin(2 * np.pi * rng.integers(3, 40) * np.arange(PIXELS) / PIXELS) > rng.uniform(-0.5, 0.9)
        colour = np.where(stripes[:, None, None], any_colour(rng), colour)
    return colour * np.exp(pile)[..., None]


def _cloth(rng: np.random.Generator) -> Texture:
    """Sheets, blankets and towels with wrinkles, plain, striped, chequered or with ornaments."""
    kind = rng.random()
    if kind < 0.5:
        colour = np.broadcast_to(any_colour(rng, 0.05, 0.9), (PIXELS, PIXELS, 3))
    elif kind < 0.75:
        wave = np.sin(2 * np.pi * rng.integers(2, 50) * np.arange(PIXELS) / PIXELS) > rng.uniform(-0.6, 0.8)
        mixed = 0.5 * (wave[:, None] + wave[None, :] * (rng.random() < 0.5))
        first, second = any_colour(rng), any_colour(rng)
        colour = first + (second - first) * mixed[..., None]
    else:
        colour = _encaustic(rng)
    relief = noise(rng, rng.uniform(30, 120)) + 0.4 * noise(rng, rng.uniform(10, 30))
    slope = np.roll(relief, 3, 0) - relief + np.roll(relief, 3, 1) - relief
    light = np.clip(1 + rng.uniform(0.0, 0.25) * slope / slope.std(), 0.3, 1.5)
    return colour * (light * np.exp(rng.uniform(0.02, 0.15) * noise(rng, 1.5)))[..., None]


def _grass(rng: np.random.Generator) -> Texture:
    """Blades in two directions over darker ground, in tufts of differing green, some of it dry."""
    blades = np.maximum(noise(rng, 1.6, 14), noise(rng, 1.6, 14).T)
    colour = _near(rng, (0.09, 0.17, 0.03), (0.15, 0.21, 0.05), (0.06, 0.13, 0.04), (0.21, 0.20, 0.08))
    dry = np.clip(noise(rng, 40) - rng.uniform(0.3, 2), 0, 1)[..., None]
    colour = colour * (1 - 0.6 * dry) + 0.6 * dry * np.array([0.25, 0.19, 0.09])
    return colour * np.exp(0.55 * blades - 0.2)[..., None]


def _granular(rng: np.random.Generator) -> Texture:
    """Asphalt, sand and soil: grains of a random size in one colour."""
    colour = _near(rng, (0.09, 0.09, 0.09), (0.45, 0.36, 0.24), (0.15, 0.10, 0.06), (0.3, 0.3, 0.29), (0.6, 0.5, 0.35))
    light = rng.uniform(0.08, 0.4) * noise(rng, rng.uniform(1, 4)) + rng.uniform(0, 0.15) * noise(rng, 50)
    return _times(colour, np.exp(light))


def _stones(rng: np.random.Generator) -> Texture:
    """Gravel, or slabs of natural stone with joints, depending on the number of stones."""
    count = int(np.exp(rng.uniform(np.log(30), np.log(7000))))
    label, distance = cells(rng, count)
    typical = PIXELS / np.sqrt(count)
    colour = _near(rng, (0.3, 0.29, 0.27), (0.35, 0.25, 0.17), (0.15, 0.15, 0.16), (0.5, 0.47, 0.4))
    tone = np.exp(rng.uniform(0.1, 0.4) * rng.standard_normal((label.max() + 1, 1)))
    hue = 1 + 0.06 * rng.standard_normal((label.max() + 1, 3))
    edge = cv2.morphologyEx(label.astype(np.float32), cv2.MORPH_GRADIENT, np.ones((3, 3))) > 0
    joint = cv2.dilate(edge.astype(np.uint8), np.ones((3, 3))) > 0 if count < 800 else edge
    light = np.exp(0.12 * noise(rng, 3)) * (1.15 - 0.5 * np.clip(distance / typical, 0, 1.2))
    image = (colour * tone * hue)[label] * light[..., None]
    return np.where(joint[..., None], image * rng.uniform(0.2, 0.7), image)


def _plain(rng: np.random.Generator) -> Texture:
    """Concrete, linoleum or paint: faint clouds and speckles."""
    colour = _near(rng, *BRIGHT) if rng.random() < 0.35 else any_colour(rng)
    clouds = rng.uniform(0.01, 0.15) * noise(rng, rng.uniform(40, 160)) + rng.uniform(0.0, 0.12) * noise(rng, 2)
    return _times(colour, np.exp(clouds))


FLOORS: dict[str, tuple[Callable[[np.random.Generator], Texture], float, bool]] = {
    "wood": (_wood, 0.16, True),
    "parquet": (_parquet, 0.07, True),
    "tile": (_tile, 0.25, True),
    "marble": (_marble, 0.06, True),
    "terrazzo": (_terrazzo, 0.05, True),
    "mosaic": (_mosaic, 0.05, True),
    "encaustic": (_encaustic, 0.06, True),
    "carpet": (_carpet, 0.07, False),
    "cloth": (_cloth, 0.07, False),
    "grass": (_grass, 0.03, False),
    "granular": (_granular, 0.04, False),
    "stones": (_stones, 0.04, False),
    "plain": (_plain, 0.05, True),
}
"""Name -> painter, share among the floors, and whether the floor can be glossy."""

OUTDOORS = ("grass", "granular", "stones")


def wild_floor_texture(kind: str, seed: int) -> Texture:
    """The linear reflectance of a floor of `FLOORS`, ``[PIXELS, PIXELS, 3]`` in [0.01, 0.92]."""
    return np.clip(FLOORS[kind][0](np.random.default_rng(seed)), 0.01, 0.92).astype(np.float32)


def rug_texture(seed: int) -> Texture:
    """A rug or towel with a border, ``[512, 512, 3]``."""
    rng = np.random.default_rng(seed)
    painter = (_encaustic, _cloth, _carpet)[rng.choice(3, p=[0.5, 0.25, 0.25])]
    image = np.asarray(painter(rng)[:512, :512]).copy()
    for _ in range(rng.integers(0, 3)):
        width, edge, colour = int(rng.integers(4, 30)), int(rng.integers(0, 50)), any_colour(rng)
        frame = np.zeros((512, 512), bool)
        frame[edge : 512 - edge, edge : 512 - edge] = True
        frame[edge + width : 512 - edge - width, edge + width : 512 - edge - width] = False
        image[frame] = colour
    return np.clip(image, 0.01, 0.9).astype(np.float32)


PAPER_PRINTS = ("blank", "lined", "squared", "text", "newspaper")


def paper_texture(print_: str, width: float, depth: float, seed: int) -> Texture:
    """A sheet of white paper of ``width`` x ``depth`` metres at 1 mm per pixel.

    Args:
        print_: one of `PAPER_PRINTS`.
    """
    rng = np.random.default_rng(seed)
    columns, rows = round(width * 1000), round(depth * 1000)
    white = rng.uniform(0.72, 0.92)
    page = np.full((rows, columns, 3), white) * rng.uniform(0.97, 1.0, 3)
    ink = any_colour(rng, 0.02, 0.4)
    if print_ in ("lined", "squared"):
        step = int(rng.integers(5, 11))
        page[::step] = 0.45 * page[::step] + 0.55 * ink
        if print_ == "squared":
            page[:, ::step] = 0.45 * page[:, ::step] + 0.55 * ink
    elif print_ != "blank":
        page = _print_text(rng, page * (0.72 if print_ == "newspaper" else 1.0), print_ == "newspaper")
    fold = rng.random(2) < 0.15
    if fold[0]:
        page[rows // 2 - 1 : rows // 2 + 1] *= rng.uniform(0.8, 0.95)
    if fold[1]:
        page[:, columns // 2 - 1 : columns // 2 + 1] *= rng.uniform(0.8, 0.95)
    slope = cv2.resize(rng.standard_normal((6, 5)).astype(np.float32), (columns, rows), interpolation=cv2.INTER_CUBIC)
    return (page * (1 + rng.uniform(0, 0.05) * slope[..., None])).astype(np.float32)


def _print_text(rng: np.random.Generator, page: Texture, columns: bool) -> Texture:
    """Rows of random words, in several columns with pictures for a newspaper."""
    page, (rows, width) = page.copy(), page.shape[:2]
    parts, line = (int(rng.integers(2, 5)), 3) if columns else (1, int(rng.integers(4, 7)))
    for part in range(parts):
        left, right = (int((width - 16) * (part + share) / parts + 8) for share in (0.03, 0.95))
        words = rng.random((rows // line + 1, (right - left) // 2 + 1)) < 0.68
        for number, row in enumerate(range(12, rows - 14, line)):
            strip = words[number].repeat(2)[: right - left]
            page[row : row + max(1, line // 2), left:right][:, strip] *= 0.35
        if columns and rng.random() < 0.7:
            top = int(rng.integers(12, rows - 60))
            page[top : top + 55, left:right] = any_colour(rng) * np.exp(0.5 * rng.standard_normal((55, 1, 1)))
    return page
