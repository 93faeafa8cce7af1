"""Chairs, benches and sofas, facing +x, their feet at y = 0."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from manifold3d import Manifold

from p2vtools.synthesis.objects.furniture import legs
from p2vtools.synthesis.objects.parts import (
    THIN,
    Colour,
    Part,
    arc,
    block,
    box,
    chance,
    hull,
    lathe,
    mirrored,
    pick,
    prism,
    rod,
    section,
    spread,
    tint,
    tube,
    union,
)

Rng = np.random.Generator


def back_rest(rng: Rng, x: float, low: float, high: float, width: float, style: str, lean: float) -> Manifold:
    """A back in the plane ``x`` from ``low`` to ``high``, leaning backwards; ``style`` as in `chair`."""
    height, half = high - low, THIN / 2

    def place(y: float, z: float) -> tuple[float, float, float]:
        return x - lean * (y - low), y, z

    if style in ("solid", "round"):
        top, bulge = (place(high, 0)[0], THIN * rng.uniform(1, 1.8))
        if style == "solid":
            return hull(
                *(
                    [(x + s * bulge / 2, low, z), (top + s * bulge / 2, high, z)]
                    for s in (-1, 1)
                    for z in (-width / 2, width / 2)
                )
            )
        middle = (x + top) / 2
        return rod((middle - half, (low + high) / 2, 0), (middle + half, (low + high) / 2, 0), 1.0, sides=20).translate(
            (-middle, -(low + high) / 2, 0)
        ).scale((bulge / THIN, height / 2, width / 2)).translate((middle, (low + high) / 2, 0)) + rod(
            place(low - THIN, 0), place(low + height / 3, 0), half * 1.5, sides=4
        )
    posts = mirrored(rod(place(low - half, width / 2 - half), place(high, width / 2 - half), half, sides=4))
    rail = rod(place(high - half, -width / 2), place(high - half, width / 2), half, sides=4)
    if style == "bars":
        count = max(1, int(width / THIN / 3))
        bars = (rod(place(low - half, z), place(high, z), half, sides=6) for z in spread(width / 2 - 3 * half, count))
        return union(posts, rail, *bars)
    count = max(1, int(height / THIN / rng.uniform(2.0, 3.5))) if style == "slats" else int(style == "ladder")
    levels = (low + height * (k + 0.5) / (count + 0.5) for k in range(count))
    return union(posts, rail, *(rod(place(y, -width / 2), place(y, width / 2), half * 1.1, sides=4) for y in levels))


def chair_base(rng: Rng, style: str, depth: float, width: float, height: float) -> Manifold:
    """What carries a chair's seat: legs, a swivel star, a cone foot, a cantilever, side panels, rockers or a plinth."""
    x, z, r = depth / 2, width / 2, THIN / 2
    if style == "star":
        feet = [(0.9 * x * np.cos(a), r, 0.9 * x * np.sin(a)) for a in 2 * np.pi * np.arange(5) / 5]
        return union(
            rod((0, r, 0), (0, height, 0), 1.3 * r), *(rod((0, 2.2 * r, 0), foot, 1.2 * r, r) for foot in feet)
        )
    if style == "pedestal":
        foot = 0.8 * min(x, z)
        return lathe([(foot, 0), (foot, THIN), (1.2 * r, 2.4 * THIN), (1.2 * r, height)])
    if style == "cantilever":
        side = tube([(-0.8 * x, r, z - r), (x - r, r, z - r), (x - r, height, z - r)], r)
        return mirrored(side) + rod((-0.8 * x, r, -z + r), (-0.8 * x, r, z - r), r)
    if style == "panels":
        return mirrored(block((0, height / 2, z - r), (depth, height, THIN)))
    if style == "plinth":
        return block((0, height / 2, 0), (0.9 * depth, height, 0.9 * width))
    if style == "rockers":
        runner = [(a, b + r, z - r) for a, b, _ in arc((0, 2.2 * x, 0), (2.2 * x, 2.2 * x), (240, 300))]
        return mirrored(tube(runner, r)) + legs(rng, 0.8 * depth, width, height).trim_by_plane((0, 1, 0), 1.2 * THIN)
    return legs(rng, depth, width, height)


def chair(rng: Rng) -> Iterator[Part]:
    """Dining, swivel, cantilever, rocking, bar and arm chairs; about 1 high."""
    style = pick(
        rng,
        ("legs", 7),
        ("star", 2),
        ("pedestal", 0.8),
        ("cantilever", 1),
        ("panels", 1),
        ("rockers", 0.7),
        ("plinth", 1),
    )
    back = pick(rng, ("solid", 4), ("slats", 2), ("bars", 2), ("frame", 0.7), ("ladder", 0.7), ("round", 1.2))
    frame, seat = (
        tint(rng, pick(rng, ("wood", 2), ("metal", 1), ("dark", 1))),
        tint(rng, pick(rng, ("fabric", 2), ("plastic", 1))),
    )
    stool = style in ("legs", "pedestal") and chance(rng, 0.12)
    height = rng.uniform(0.68, 0.8) if stool else rng.uniform(0.36, 0.52)
    width, depth = rng.uniform(0.32, 0.45, 2) if stool else (rng.uniform(0.46, 0.72), rng.uniform(0.46, 0.66))
    thick = rng.uniform(0.12, 0.25) if style == "plinth" else rng.uniform(THIN, 0.12)
    thick = min(thick, 0.5 * height)
    lean, rounded = rng.uniform(0.0, 0.25), chance(rng, 0.25)
    inset = 0.82 if rounded else 1.0
    yield Part(chair_base(rng, style, inset * depth, inset * width, height - thick / 2), frame)
    if rounded:
        yield Part(rounded_seat(depth, width, height, thick), seat)
    else:
        yield Part(block((0, height - thick / 2, 0), (depth, thick, width), rng.choice([0, 0.04])), seat)
    top = 1.0 if not stool else rng.uniform(height + 0.1, 1.0)
    rest = back_rest(rng, -depth / 2 + THIN / 2, height - thick / 2, top, width * rng.uniform(0.8, 1.0), back, lean)
    yield Part(rest, seat if back in ("solid", "round") and chance(rng, 0.6) else frame)
    if not stool and chance(rng, 0.9 if style == "plinth" else 0.4):
        rise = rng.uniform(0.14, 0.24)
        right = arm(rng, inset * depth, inset * width, height - thick, height + rise, style == "plinth")
        yield Part(mirrored(right), frame)


def rounded_seat(depth: float, width: float, height: float, thick: float) -> Manifold:
    """A seat with its top at ``height``: straight at the rear, its front corners rounded."""
    outline = section((0, 0, 0), (depth / 2, width / 2), power=3.5, count=24)[:, 1:]
    outline = np.concatenate([outline, [(-depth / 2, -width / 2), (-depth / 2, width / 2)]])
    return hull(*(np.insert(outline, 1, level, axis=1) for level in (height - thick, height)))


def arm(rng: Rng, depth: float, width: float, low: float, high: float, solid: bool) -> Manifold:
    """The right arm rest of a seat: a filled cheek, a plate on one post, or a bent tube."""
    z, reach = width / 2, depth * rng.uniform(0.7, 1.0)
    if solid or chance(rng, 0.25):
        thick = rng.uniform(THIN, 0.14)
        return block((-depth / 2 + reach / 2, (low + high) / 2, z), (reach, high - low, thick), rng.choice([0, 0.03]))
    front = -depth / 2 + reach - THIN / 2
    if chance(rng, 0.5):
        return tube([(-depth / 2, high, z), (front, high, z), (front, low + THIN / 2, z - THIN / 2)], THIN / 2)
    plate = box((-depth / 2, high - THIN, z - 0.8 * THIN), (front + THIN / 2, high, z + 0.8 * THIN))
    return plate + rod((0.6 * front, low, z - THIN / 2), (0.6 * front, high, z), THIN / 2, sides=4)


def bench(rng: Rng) -> Iterator[Part]:
    """Park, picnic, storage, stone and double-sided benches; about 1 wide (z)."""
    style = pick(rng, ("park", 7), ("picnic", 1), ("chest", 1.5), ("double", 0.7), ("curved", 0.6))
    wood, frame = (
        tint(rng, pick(rng, ("wood", 4), ("plastic", 1))),
        tint(rng, pick(rng, ("metal", 2), ("dark", 1), ("wood", 1))),
    )
    depth, height, thick = rng.uniform(0.28, 0.46), rng.uniform(0.26, 0.42), rng.uniform(THIN, 0.1)
    if style == "picnic":
        yield from picnic(rng, wood, frame)
        return
    if style == "curved":
        outer, hole = (
            lathe([(0.5, height - thick), (0.5, height)], segments=32),
            lathe([(0.5 - depth * 0.6, 0), (0.5 - depth * 0.6, 1)]),
        )
        yield Part((outer - hole).trim_by_plane((-1, 0, 0), -0.1), wood)
        for degrees in np.linspace(105, 255, int(rng.integers(3, 5))):
            x, z = (0.5 - 0.3 * depth) * np.cos(np.deg2rad(degrees)), (0.5 - 0.3 * depth) * np.sin(np.deg2rad(degrees))
            yield Part(rod((x, 0, z), (x, height - thick / 2, z), 0.07, sides=4), frame)
        return
    if style == "chest":
        yield Part(block((0, (height - thick / 2) / 2, 0), (0.92 * depth, height - thick / 2, 0.96)), frame)
    else:
        yield Part(bench_legs(rng, depth, height - thick / 2), frame)
    if chance(rng, 0.4) and style == "park":
        count = max(2, int(depth / THIN / 1.6))
        planks = (block((x, height - thick / 2, 0), (THIN, thick, 1)) for x in spread(depth / 2 - THIN / 2, count))
        yield Part(union(*planks, *(block((0, height - thick, z), (depth, THIN, THIN)) for z in spread(0.42, 3))), wood)
    else:
        yield Part(block((0, height - thick / 2, 0), (depth, thick, 1), rng.choice([0, 0.03])), wood)
    if chance(rng, 0.75) or style == "double":
        back, x = pick(rng, ("solid", 1), ("slats", 3), ("bars", 2), ("ladder", 1)), -depth / 2 + THIN / 2
        rise, lean = rng.uniform(0.2, 0.45), rng.uniform(0, 0.2)
        yield Part(back_rest(rng, x, height - thick / 2, height + rise, rng.uniform(0.85, 1.0), back, lean), wood)
        if style == "double":
            yield Part(block((-depth / 2 - 0.15, height - thick / 2, 0), (0.34, thick, 1)), wood)
            yield Part(bench_legs(rng, 0.3, height - thick / 2).translate((-depth / 2 - 0.15, 0, 0)), frame)
    if chance(rng, 0.4):
        yield Part(
            mirrored(arm(rng, depth, 1 - THIN, height - thick, height + rng.uniform(0.12, 0.2), style == "chest")),
            frame,
        )


def bench_legs(rng: Rng, depth: float, height: float) -> Manifold:
    """Under a bench 1 wide: four legs, two panels, two crosses, or blocks with a stretcher."""
    style, z = pick(rng, ("legs", 2), ("panels", 1), ("crosses", 1), ("blocks", 1)), rng.uniform(0.3, 0.5) - 0.05
    r = THIN / 2
    if style == "panels":
        return mirrored(block((0, height / 2, z), (depth * rng.uniform(0.6, 1.0), height, rng.uniform(THIN, 0.12))))
    if style == "crosses":
        cross = rod((-depth / 2 + r, 0, z), (depth / 2 - r, height, z), r, sides=4)
        cross += rod((depth / 2 - r, 0, z), (-depth / 2 + r, height, z), r, sides=4)
        return mirrored(cross) + rod((0, height / 2, -z), (0, height / 2, z), r)
    if style == "blocks":
        foot = mirrored(block((0, height / 2, z - 0.05), (depth * 0.8, height, 0.18)))
        return foot + rod((0, height / 2, -z + 0.05), (0, height / 2, z - 0.05), r, sides=4)
    return legs(rng, depth, 2 * z, height)


def picnic(rng: Rng, wood: Colour, frame: Colour) -> Iterator[Part]:
    """A table between two seats on crossed or straight frames."""
    reach, top, seat = rng.uniform(0.32, 0.5), rng.uniform(0.38, 0.6), rng.uniform(0.2, 0.32)
    yield Part(block((0, top, 0), (rng.uniform(0.3, 0.45), THIN, 1)), wood)
    yield Part(union(*(block((s * reach, seat, 0), (rng.uniform(0.13, 0.18), THIN, 1)) for s in (-1, 1))), wood)
    z, r = rng.uniform(0.22, 0.4), THIN / 2
    beams = [rod((-reach, seat - r, z), (reach, seat - r, z), r, sides=4)]
    beams += [rod((s * 0.7 * reach, 0, z), (s * 0.12, top, z), r, sides=4) for s in (-1, 1)]
    yield Part(mirrored(union(*beams)), frame)


def sofa(rng: Rng) -> Iterator[Part]:
    """Two- and three-seaters, corner sofas, day beds and tub sofas; about 1 wide (z)."""
    style = pick(rng, ("straight", 4), ("corner", 2), ("chaise", 1), ("tub", 1.2), ("armless", 1.2))
    cover, cushion, foot = tint(rng, "fabric"), tint(rng, "fabric"), tint(rng, pick(rng, ("wood", 1), ("metal", 1)))
    depth, height, width = rng.uniform(0.32, 0.62), rng.uniform(0.3, 0.62), rng.uniform(0.7, 1.0)
    lift, share = rng.choice([0.04, 0.08, 0.12]), rng.uniform(0.3, 0.55)
    seat, soft = lift + share * (height - lift), rng.choice([0.0, 0.03, 0.06])
    stance = 0.54 if style == "tub" else 0.84
    yield Part(legs(rng, stance * depth, stance * width, lift + 0.07), foot)
    if style == "tub":
        shell = lathe([(0.5, lift), (0.5, height)], segments=28).scale((2 * depth, 1, width))
        well = lathe([(0.5, seat), (0.5, 1)]).scale((2 * depth - 0.26, 1, width - 0.26))
        yield Part((shell - well).trim_by_plane((-1, 0, 0), 0.0).translate((depth / 2, 0, 0)), cover)
        return
    yield Part(block((0, (lift + seat) / 2, 0), (depth, seat - lift, width), soft), cover)
    thick, lean = rng.uniform(0.07, 0.18), rng.uniform(0.0, 0.25)
    rear = [
        (-depth / 2, lift),
        (-depth / 2 + thick + 0.04, lift),
        (-depth / 2 + thick - lean * 0.2, height),
        (-depth / 2 - lean * 0.4, height),
    ]
    back_width = width * (rng.uniform(0.4, 0.7) if style == "chaise" else 1.0)
    yield Part(prism(rear, back_width, (width - back_width) / 2 * rng.choice([-1, 1])), cover)
    if style not in ("armless", "chaise"):
        bulk, rise = rng.uniform(0.06, 0.18), rng.uniform(0.15, 1.0)
        top = seat + rise * (height - seat)
        cheek = block((0, (lift + top) / 2, width / 2), (depth, top - lift, bulk), soft)
        if chance(rng, 0.3):
            cheek += rod((-depth / 2, top, width / 2), (depth / 2, top, width / 2), max(0.05, bulk / 2))
        yield Part(mirrored(cheek), cover)
    if style == "corner":
        reach, wing, side = rng.uniform(0.25, 0.6), rng.uniform(0.3, 0.42) * width, rng.choice([-1, 1])
        corner = (depth / 2 + reach / 2 - 0.02, (lift + seat) / 2, side * (width - wing) / 2)
        yield Part(block(corner, (reach + 0.04, seat - lift, wing), soft), cover)
        yield Part(
            rod((depth / 2 + reach - 0.06, 0, corner[2]), (depth / 2 + reach - 0.06, lift + 0.02, corner[2]), 0.04),
            foot,
        )
    if chance(rng, 0.7):
        count = int(rng.integers(2, 4))
        for z in spread(width * (0.5 - 0.5 / count), count):
            yield Part(block((0.04, seat, z), (depth - 0.1, 0.07, width / count - 0.02), 0.02), cushion)
