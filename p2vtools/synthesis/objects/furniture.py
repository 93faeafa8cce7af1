"""Cabinets and tables, facing +x, their feet at y = 0; and the four legs that many things stand on."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from manifold3d import Manifold

from p2vtools.synthesis.objects.parts import (
    THIN,
    Colour,
    Part,
    ball,
    block,
    box,
    chance,
    lathe,
    mirrored,
    pick,
    quarters,
    rod,
    spread,
    tint,
    union,
)

Rng = np.random.Generator


def legs(rng: Rng, depth: float, width: float, height: float, thick: float = THIN) -> Manifold:
    """Four legs under a plate of ``depth`` (x) by ``width`` (z): straight, splayed or tapered, round or square."""
    sides, splay, tip = int(rng.choice([4, 12])), rng.choice([0.0, 0.0, 0.05]), rng.uniform(0.9, 1.0)
    radius = max(thick * rng.uniform(1.0, 1.6), THIN / tip) / 2
    x, z = depth / 2 - radius, width / 2 - radius
    return union(
        *(
            rod((a * (1 + splay / x), 0, b * (1 + splay / z)), (a, height, b), radius * tip, radius, sides)
            for a, b in quarters(x, z)
        )
    )


def cabinet(rng: Rng) -> Iterator[Part]:
    """Wardrobes, sideboards, chests, bookcases, hutches and desks' pedestals; the doors look to +x."""
    style = pick(rng, ("wardrobe", 2), ("sideboard", 3), ("chest", 2), ("shelves", 3), ("hutch", 2), ("stepped", 1))
    tall = style in ("wardrobe", "hutch") or (style == "shelves" and chance(rng, 0.5))
    height, width = (1.0, rng.uniform(0.3, 0.95)) if tall else (rng.uniform(0.3, 0.75), 1.0)
    if style == "chest":
        height, width = 1.0, rng.uniform(0.6, 1.1)
    depth, foot = rng.uniform(0.2, 0.65), rng.choice([0.0, 0.05, 0.12, 0.25]) * height
    body, front = (
        tint(rng, pick(rng, ("wood", 3), ("metal", 1), ("plastic", 1))),
        tint(rng, pick(rng, ("wood", 2), ("plastic", 1))),
    )
    knob = tint(rng, "metal")
    if foot:
        plinth = block((0, foot / 2, 0), (0.85 * depth, foot + 0.02, 0.9 * width))
        yield Part(legs(rng, depth, width, foot + 0.01) if chance(rng, 0.7) else plinth, knob)
    if style == "shelves":
        yield from shelves(rng, depth, width, foot, height, body)
    elif style == "hutch":
        waist, setback = rng.uniform(0.35, 0.6), rng.uniform(0.4, 0.7)
        yield Part(block((0, (foot + waist) / 2, 0), (depth, waist - foot, width)), body)
        yield from doors(rng, depth / 2, width, foot, waist, front, knob)
        upper = (
            part.solid.translate((-depth * (1 - setback) / 2, 0, 0))
            for part in shelves(rng, depth * setback, width, waist - 0.01, 1.0, body)
        )
        yield Part(union(*upper), body)
    elif style == "stepped":
        yield Part(union(*stairs(rng, depth, width, foot, height)), body)
        yield from doors(rng, depth / 2, width, foot, foot + (height - foot) / 3, front, knob)
    else:
        yield Part(block((0, (foot + height) / 2, 0), (depth, height - foot, width)), body)
        yield from doors(rng, depth / 2, width, foot, height, front, knob)
        if chance(rng, 0.4):
            yield Part(block((0, height, 0), (depth * 1.15, THIN, width * 1.1)), body)


def stairs(rng: Rng, depth: float, width: float, low: float, high: float) -> Iterator[Manifold]:
    """Boxes beside each other that climb to one side."""
    count, side = int(rng.integers(3, 5)), rng.choice([-1, 1])
    for k in range(count):
        top = low + (high - low) * (1 - k / count * 0.8)
        yield block(
            (0, (low + top) / 2, side * width * ((k + 0.5) / count - 0.5)), (depth, top - low, width / count + 0.002)
        )


def shelves(rng: Rng, depth: float, width: float, low: float, high: float, colour: Colour) -> Iterator[Part]:
    """An open case: sides, boards, perhaps a rear wall, uprights and one closed bay."""
    rows, columns = int(rng.integers(2, 5)), int(rng.integers(1, 4))
    rows, columns = (max(1, int(min(n, side / THIN / 3))) for n, side in ((rows, high - low), (columns, width)))
    levels = np.linspace(low + THIN / 2, high - THIN / 2, rows + 1)
    uprights = spread(width / 2 - THIN / 2, columns + 1)
    yield Part(union(*(block((0, y, 0), (depth, THIN, width)) for y in levels)), colour)
    yield Part(union(*(block((0, (low + high) / 2, z), (depth, high - low, THIN)) for z in uprights)), colour)
    if chance(rng, 0.6):
        yield Part(block((-depth / 2 + THIN / 2, (low + high) / 2, 0), (THIN, high - low, width)), colour)
    for _ in range(int(rng.integers(0, 3))):
        row, column = rng.integers(rows), rng.integers(columns)
        corner = (-depth / 2, levels[row], uprights[column])
        yield Part(box(corner, (depth * 0.48, levels[row + 1], uprights[column + 1])), tint(rng, "wood"))


def doors(rng: Rng, x: float, width: float, low: float, high: float, colour: Colour, knob: Colour) -> Iterator[Part]:
    """Doors or drawers in the plane ``x``, each with a knob or a bar."""
    drawers = chance(rng, 0.5)
    rows, columns = (int(rng.integers(2, 6)), int(rng.integers(1, 3))) if drawers else (1, int(rng.integers(1, 5)))
    rows = min(rows, max(1, int((high - low) / 0.09)))
    tall, wide = (high - low) / rows, width / columns
    for y in low + tall * (np.arange(rows) + 0.5):
        for z in width * ((np.arange(columns) + 0.5) / columns - 0.5):
            yield Part(block((x, y, z), (0.03, tall - 0.03, wide - 0.03)), colour)
            handle = z if drawers else z + 0.35 * wide
            yield Part(block((x + 0.02, y, handle), (0.03, 0.03, 0.03)), knob)


def table(rng: Rng) -> Iterator[Part]:
    """Dining, coffee, side, console, pedestal, trestle and writing tables; the longest side is about 1."""
    style = pick(
        rng,
        ("legs", 4),
        ("pedestal", 2),
        ("trestle", 1),
        ("panels", 1),
        ("desk", 2),
        ("cross", 1),
        ("shelf", 1.5),
        ("block", 0.7),
    )
    width, depth = (
        (1.0, rng.uniform(0.45, 0.8)) if chance(rng, 0.8) else (rng.uniform(0.55, 0.95), rng.uniform(0.5, 1.0))
    )
    height, thick = rng.uniform(0.38, 0.7), rng.uniform(THIN, 0.1)
    top, frame = (
        tint(rng, pick(rng, ("wood", 3), ("glass", 1), ("plastic", 1))),
        tint(rng, pick(rng, ("wood", 2), ("metal", 1), ("dark", 1))),
    )
    under = height - thick / 2
    if style in ("legs", "pedestal", "cross", "shelf") and chance(rng, 0.4):
        plate = lathe([(0.5, -thick), (0.5, 0)], segments=int(rng.choice([6, 8, 32, 32])))
        yield Part(plate.scale((depth, 1, width)).translate((0, height, 0)), top)
        x, z = 0.36 * depth, 0.36 * width
    else:
        yield Part(block((0, under, 0), (depth, thick, width)), top)
        x, z = 0.5 * depth, 0.5 * width
    if style == "desk":
        yield from desk(rng, x, z, under, frame)
    else:
        yield Part(table_base(rng, style, x, z, under), frame)
    if style == "shelf":
        yield Part(block((0, under * rng.uniform(0.15, 0.6), 0), (2 * x, THIN, 2 * z)), top)


def table_base(rng: Rng, style: str, x: float, z: float, height: float) -> Manifold:
    """What carries a table's top, within the half sides ``x`` and ``z``: see the styles of `table`."""
    r = THIN / 2
    if style == "pedestal":
        foot, neck, rise = rng.uniform(0.4, 0.9) * min(x, z), rng.uniform(0.04, 0.1), THIN * rng.uniform(1.5, 3)
        return lathe([(foot, 0), (foot, THIN), (neck, rise), (neck * rng.uniform(0.7, 1.3), height)])
    if style == "trestle":
        inset = z * rng.uniform(0.6, 0.9)
        foot = rod((-0.9 * x, r, inset), (0.9 * x, r, inset), r, sides=4)
        post = rod((0, 0, inset), (0, height, inset), 1.4 * r, sides=4)
        return mirrored(foot + post) + rod((0, height / 2, -inset), (0, height / 2, inset), r, sides=4)
    if style == "panels":
        return mirrored(block((0, height / 2, z - THIN), (1.9 * x, height, rng.uniform(THIN, 0.1))))
    if style == "block":
        return block((0, height / 2, 0), (2 * x * rng.uniform(0.5, 0.9), height, 2 * z * rng.uniform(0.5, 0.9)))
    if style == "cross":
        feet = quarters(0.85 * x, 0.85 * z)
        return union(*(rod((a, 0, b), (-0.8 * a, height, -0.8 * b), 1.1 * r, sides=4) for a, b in feet))
    return legs(rng, 2 * x, 2 * z, height, THIN * rng.uniform(1, 2))


def desk(rng: Rng, x: float, z: float, under: float, frame: Colour) -> Iterator[Part]:
    """Under a writing table: drawer boxes on one side or both, legs on the other, perhaps a modesty panel."""
    wide, both = rng.uniform(0.25, 0.4), chance(rng, 0.4)
    low = rng.choice([0.0, 0.5]) * under
    drawers = box((-0.92 * x, low, z - 2 * z * wide), (0.92 * x, under, z - 0.02))
    yield Part(mirrored(drawers) if both else drawers, tint(rng, "wood"))
    if low or not both:
        yield Part(legs(rng, 1.9 * x, 1.9 * z, under), frame)
    if chance(rng, 0.5):
        yield Part(box((-0.9 * x, under * 0.3, -0.95 * z), (-0.9 * x + THIN, under, 0.95 * z)), frame)
    if chance(rng, 0.3):
        yield Part(box((-x, under, -z), (-x + 0.3 * x + THIN, under + rng.uniform(0.15, 0.4), z)), frame)
    yield Part(ball((0.93 * x, under - 0.06, z - z * wide), (0.03, 0.025, 0.025), 8), tint(rng, "metal"))
