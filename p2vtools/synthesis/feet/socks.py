"""Socks: where they cover a leg, and their patterns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from p2vtools.synthesis.colours import saturated_colour
from p2vtools.synthesis.feet.leg_canvas import CHART_SHAPE, Drawing, LegCanvas

PATTERNS = ("plain", "rings", "lengthwise", "dots", "argyle", "letters", "fair isle", "ribbed", "melange")

CUTS = {"no-show": 0.2, "ankle": 0.4, "knee": 0.4}
"""Share of each cut among socks."""


@dataclass(frozen=True)
class Sock:
    """Shape and colours of a sock."""

    pattern: str
    """One of `PATTERNS`."""
    cut: str
    """A key of `CUTS`."""
    rim: float
    """Height of the rim for a foot of 250 mm, mm; for a no-show sock at the heel."""
    colours: tuple[tuple[float, float, float], ...]
    """Three colours, linear RGB: ground, pattern, and accent."""
    has_accent: bool
    """Toes, heel and rim have the colour of the accent."""
    texture: float
    """Relative deviation of the brightness from stitch to stitch."""


def sample_sock(rng: np.random.Generator) -> Sock:
    """Samples a sock: about half have a ground of white, grey or black, the others of a saturated colour."""
    cut = str(rng.choice(list(CUTS), p=list(CUTS.values())))
    rim = {"no-show": (45, 65), "ankle": (85, 150), "knee": (180, 420)}[cut]
    greys = [(level * rng.uniform(0.9, 1.1, 3)) for level in (0.75, 0.75, 0.3, 0.12, 0.025, 0.02)]
    ground = greys[rng.integers(6)] if rng.random() < 0.55 else saturated_colour(rng, 0.1)
    others = [greys[rng.integers(6)] if rng.random() < 0.4 else saturated_colour(rng, 0.1) for _ in range(2)]
    return Sock(
        pattern=str(rng.choice(PATTERNS, p=[0.3, *[0.7 / 8] * 8])),
        cut=cut,
        rim=float(rng.uniform(*rim)),
        colours=tuple(tuple(np.clip(colour, 0.012, 0.85).tolist()) for colour in (ground, *others)),
        has_accent=bool(rng.random() < 0.3),
        texture=float(rng.uniform(0.02, 0.15)),
    )


def is_covered(canvas: LegCanvas, sock: Sock) -> Bool[np.ndarray, " vertices"]:
    """Whether each vertex is below the rim; a no-show sock is open over the instep from the ankle to the forefoot."""
    x, height = canvas.position[:, 0], canvas.position[:, 1]
    if sock.cut != "no-show":
        return height < sock.rim
    return height < np.interp(x, [0, 60, 150, 165, 185], [sock.rim, 32, 28, 40, 200])


def paint_sock(canvas: LegCanvas, sock: Sock, rng: np.random.Generator) -> Float[np.ndarray, "vertices 3"]:
    """Linear RGB of the sock at all vertices, covered or not."""
    ground, second, accent = (np.array(colour) for colour in sock.colours)
    pattern = _draw_pattern(sock.pattern, rng).sample(canvas, 0.7)
    if sock.pattern == "melange":
        pattern = np.clip(0.5 + 0.6 * canvas.noise(rng, 3), 0, 1)[:, None]
    albedo = ground + pattern * (second - ground)
    if sock.pattern == "ribbed":
        albedo = ground * (1 - 0.35 * pattern)
    if sock.pattern == "argyle":
        albedo += _crossing_lines().sample(canvas, 0.6) * (accent - albedo)
    if sock.has_accent:
        is_heel = np.hypot(canvas.position[:, 0] / 42, canvas.position[:, 1] / 55) < 1
        is_rim = (sock.cut != "no-show") & (canvas.position[:, 1] > sock.rim - 15)
        albedo = np.where(((canvas.along < 45) | is_heel | is_rim)[:, None], accent, albedo)
    stitches = canvas.noise(rng, 2.2) + 0.7 * canvas.noise(rng, 9)
    return albedo * np.clip(1 + sock.texture * stitches, 0.4, 1.6)[:, None]


def _draw_pattern(pattern: str, rng: np.random.Generator) -> Drawing:
    draw, (height, width) = Drawing(), CHART_SHAPE
    period, duty = rng.uniform(8, 45), rng.uniform(0.2, 0.7)
    if pattern == "rings":
        for start in np.arange(0, height, period):
            draw.rectangle((0, start, width, start + duty * period), fill=255)
    elif pattern in ("lengthwise", "ribbed"):
        step, stripe = (6, 2) if pattern == "ribbed" else (0.6 * period, duty * 0.6 * period)
        for start in np.arange(0, width, step):
            draw.rectangle((start, 0, start + stripe, height), fill=255)
    elif pattern == "dots":
        radius = 0.4 * duty * period
        for row, y in enumerate(np.arange(0, height, 0.8 * period)):
            for x in np.arange(period / 2 * (row % 2), width, period):
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    elif pattern == "argyle":
        for y in range(0, height, 56):
            for x in range(0, width + 40, 40):
                draw.polygon([(x, y), (x + 19, y + 27), (x, y + 54), (x - 19, y + 27)], fill=255)
    elif pattern == "letters":
        size = rng.uniform(8, 24)
        for y in np.arange(rng.uniform(0, 30), height, size * rng.uniform(1.3, 6)):
            for x in np.arange(0, width, 0.8 * size):
                strokes = rng.integers(0, 3, (4, 2)) * [0.3 * size, 0.45 * size] + [x, y]
                draw.line([tuple(stroke) for stroke in strokes], fill=255, width=max(2, round(size / 6)))
    elif pattern == "fair isle":
        step, motif = 4, rng.random((24, 8)) < 0.45
        motif = np.hstack([motif, motif[:, ::-1]]) & (rng.random(24) < 0.8)[:, None]
        tiles = np.tile(motif, (height // (24 * step) + 1, width // (16 * step) + 1))
        image = Image.fromarray(np.uint8(255 * tiles)).resize(np.array(tiles.shape[::-1]) * step, Image.NEAREST)
        draw.bitmap((0, 0), image, fill=255)
    return draw


def _crossing_lines() -> Drawing:
    """The thin lines over the diamonds of argyle."""
    draw, (height, width) = Drawing(), CHART_SHAPE
    rise = width * (27 / 19)
    for start in range(-int(rise) - 56, height, 56):
        draw.line([(0, start + 28), (width, start + 28 + rise)], fill=255, width=2)
        draw.line([(width, start + 28), (0, start + 28 + rise)], fill=255, width=2)
    return draw
