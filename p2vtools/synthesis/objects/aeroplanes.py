"""Aeroplanes, the nose at +x; the fuselage is 1 long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from manifold3d import Manifold

from p2vtools.synthesis.objects.parts import (
    THIN,
    Colour,
    Part,
    ball,
    block,
    box,
    hull,
    loft,
    mirrored,
    pick,
    rod,
    section,
    tint,
)

Rng = np.random.Generator


def fin(
    root: tuple[float, float, float], tip: tuple[float, float, float], chords: tuple[float, float], thick: float = THIN
) -> Manifold:
    """A wing or tail from ``root`` to ``tip`` (points of the leading edge), thinning to ``THIN`` at both edges.

    ``chords`` are the lengths along x at root and tip; the thickness is across x and the span.
    """
    root, tip = np.asarray(root), np.asarray(tip)
    across = np.cross((1.0, 0, 0), tip - root)
    across /= np.linalg.norm(across)
    points = []
    for lead, chord, depth in ((root, chords[0], thick), (tip, chords[1], THIN)):
        for back, share in ((0.0, 0.8), (0.3, 1.0), (1.0, 0.8)):
            half = max(depth * share, THIN) / 2 * across
            points += [lead - (back * chord, 0, 0) + half, lead - (back * chord, 0, 0) - half]
    return hull(points)


@dataclass(frozen=True)
class Plane:
    """Ranges that tell one kind of aeroplane from another, for a fuselage 1 long."""

    radius: tuple[float, float]
    span: tuple[float, float]
    sweep: tuple[float, float]
    """How far the wing tip lies behind the root."""
    chord: tuple[float, float]
    taper: tuple[float, float]
    station: tuple[float, float]
    """x of the root's leading edge."""
    heights: tuple[float, ...]
    """Wing heights to choose from, in fuselage radii."""
    tails: tuple[str, ...]
    engines: tuple[str, ...]


PLANES = {
    "airliner": Plane(
        radius=(0.05, 0.075),
        span=(0.8, 1.15),
        sweep=(0.2, 0.4),
        chord=(0.16, 0.26),
        taper=(0.3, 0.5),
        station=(0.12, 0.22),
        heights=(-0.6, -0.5),
        tails=("low", "low", "tee"),
        engines=("under", "under", "four", "rear"),
    ),
    "freighter": Plane(
        radius=(0.07, 0.1),
        span=(0.9, 1.25),
        sweep=(0.0, 0.2),
        chord=(0.14, 0.22),
        taper=(0.4, 0.8),
        station=(0.1, 0.2),
        heights=(0.8,),
        tails=("tee", "low"),
        engines=("four", "under", "wing"),
    ),
    "light": Plane(
        radius=(0.06, 0.1),
        span=(1.0, 1.35),
        sweep=(0.0, 0.05),
        chord=(0.15, 0.26),
        taper=(0.6, 1.0),
        station=(0.15, 0.28),
        heights=(-0.8, 0.9),
        tails=("low", "tee"),
        engines=("nose", "nose", "wing"),
    ),
    "biplane": Plane(
        radius=(0.06, 0.09),
        span=(0.9, 1.2),
        sweep=(0.0, 0.04),
        chord=(0.15, 0.22),
        taper=(0.8, 1.0),
        station=(0.2, 0.3),
        heights=(-0.8,),
        tails=("low",),
        engines=("nose",),
    ),
    "fighter": Plane(
        radius=(0.05, 0.075),
        span=(0.45, 0.75),
        sweep=(0.2, 0.42),
        chord=(0.3, 0.5),
        taper=(0.1, 0.35),
        station=(0.0, 0.15),
        heights=(0.0, 0.4),
        tails=("twin", "low", "vee"),
        engines=("inside",),
    ),
    "delta": Plane(
        radius=(0.04, 0.06),
        span=(0.45, 0.8),
        sweep=(0.45, 0.6),
        chord=(0.55, 0.7),
        taper=(0.05, 0.15),
        station=(0.15, 0.25),
        heights=(-0.3,),
        tails=("single",),
        engines=("inside", "rear"),
    ),
    "glider": Plane(
        radius=(0.04, 0.055),
        span=(1.4, 1.9),
        sweep=(0.0, 0.06),
        chord=(0.08, 0.12),
        taper=(0.5, 0.8),
        station=(0.12, 0.22),
        heights=(0.3, 0.6),
        tails=("tee", "vee"),
        engines=("none",),
    ),
}


def aeroplane(rng: Rng) -> Iterator[Part]:
    """Airliners, freighters, light and double-decker planes, jets and gliders."""
    kind = PLANES[
        pick(
            rng,
            ("airliner", 3),
            ("freighter", 1.2),
            ("light", 1.5),
            ("biplane", 0.8),
            ("fighter", 2),
            ("delta", 1.2),
            ("glider", 1),
        )
    ]
    span, sweep, chord, taper, station = (
        rng.uniform(*bounds) for bounds in (kind.span, kind.sweep, kind.chord, kind.taper, kind.station)
    )
    scale = max(1.0, span)
    radius = max(rng.uniform(*kind.radius), 0.036 * scale)
    body, wing = tint(rng, "paint"), tint(rng, pick(rng, ("paint", 1), ("metal", 2)))
    nose, tail = rng.uniform(0.06, 0.2), rng.uniform(0.15, 0.4)
    lift = rng.uniform(0.2, 0.7) * radius
    hoops = [(0.5, 0.0, 0.3), (0.5 - nose / 3, 0, 0.75), (0.5 - nose, 0, 1), (-0.5 + tail, 0, 1), (-0.5, lift, 0.45)]
    yield Part(loft(*(section((x, y, 0), (max(share * radius, THIN * scale / 2),) * 2) for x, y, share in hoops)), body)
    yield Part(ball((0.5 - nose * 1.1, 0.6 * radius, 0), (0.07, 0.6 * radius, 0.6 * radius)), tint(rng, "glass"))
    height, dihedral = rng.choice(kind.heights) * radius, rng.uniform(-0.02, 0.1) * span / 2
    chords = (chord, max(chord * taper, THIN))
    levels = (height, height + rng.uniform(0.14, 0.2)) if kind is PLANES["biplane"] else (height,)
    for y in levels:
        right = fin((station, y, 0), (station - sweep, y + dihedral, span / 2), chords, THIN * scale * 1.1)
        yield Part(mirrored(right), wing)
    for z in (0.04, 0.3 * span) if len(levels) == 2 else ():
        ends = ((station - 0.5 * chord, height, z), (station - 0.5 * chord, levels[-1] + dihedral, z))
        yield Part(mirrored(rod(*ends, THIN / 2)), wing)
    yield from tail_planes(rng, str(rng.choice(kind.tails)), radius, lift, THIN * scale, wing)
    yield from engines(
        rng, str(rng.choice(kind.engines)), radius, (station, height, span, sweep, chord, dihedral), THIN * scale
    )


def tail_planes(rng: Rng, style: str, radius: float, lift: float, thick: float, colour: Colour) -> Iterator[Part]:
    """Fin and stabiliser: low, T, V, twin, or a single fin."""
    root, rise, half = rng.uniform(0.12, 0.2), rng.uniform(0.12, 0.22), rng.uniform(0.13, 0.24)
    slant, x, y = rng.uniform(0.04, 0.16), -0.5 + root * 0.95, lift + 0.2 * radius
    chords = (root, 0.55 * root)
    if style in ("vee", "twin"):
        z, splay = (0.0, half * 0.8) if style == "vee" else (radius * 1.4, 0.02)
        yield Part(mirrored(fin((x, y, z), (x - slant, y + rise, z + splay), chords, thick)), colour)
    else:
        yield Part(fin((x, y, 0), (x - slant, y + rise, 0), chords, thick), colour)
    if style in ("low", "tee", "twin"):
        level, back = (y + rise * 0.95, slant) if style == "tee" else (lift, 0)
        yield Part(mirrored(fin((x - back, level, 0), (x - back - slant, level, half), chords, thick)), colour)


def engines(rng: Rng, style: str, radius: float, wing: tuple[float, ...], thick: float) -> Iterator[Part]:
    """Jets under the wings or at the tail, propellers in the nose or on the wings, or an intake inside."""
    station, height, span, sweep, chord, dihedral = wing
    colour, size = tint(rng, "metal"), max(radius * rng.uniform(0.5, 0.75), 0.6 * thick)

    def propeller(x: float, y: float, z: float) -> Manifold:
        blade = block((x, y, z), (thick, 2 * radius * rng.uniform(1.6, 2.2), thick))
        turn = rng.uniform(0, 180)
        return blade.translate((-x, -y, -z)).rotate((turn, 0, 0)).translate((x, y, z))

    if style == "nose":
        yield Part(propeller(0.5, 0, 0), tint(rng, "dark"))
    elif style == "rear":
        y, z = 0.5 * radius, 0.6 * radius + 0.8 * size
        jet = rod((-0.2, y, z), (-0.36, y, z), size)
        yield Part(mirrored(jet), colour)
    elif style == "inside":
        yield Part(mirrored(box((-0.4, -0.8 * radius, 0), (rng.uniform(0.0, 0.2), 0.5 * radius, 1.5 * radius))), colour)
        yield Part(rod((-0.45, 0, 0), (-0.53, 0, 0), 0.9 * radius, 0.7 * radius), tint(rng, "dark"))
    elif style != "none":
        for share in (0.35, 0.65) if style == "four" else (rng.uniform(0.28, 0.4),):
            x, y, z = station - share * sweep, height + share * dihedral, share * span / 2
            drop = 0.3 * size if style == "wing" else size
            yield Part(mirrored(rod((x + 0.08, y - drop, z), (x - 0.5 * chord, y - drop, z), size, 0.8 * size)), colour)
            if style == "wing":
                yield Part(mirrored(propeller(x + 0.08, y - drop, z)), tint(rng, "dark"))
