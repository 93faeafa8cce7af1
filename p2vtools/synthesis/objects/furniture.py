"""Benches, cabinets, chairs, sofas and tables, facing +x, their feet at y = 0."""

from __future__ import annotations

import numpy as np
from manifold3d import Manifold

from p2vtools.synthesis.objects.parts import Parts, Sampler, Values, cells, copies, mirrored, sheared, turned
from p2vtools.synthesis.objects.solids import THIN, arc, box, cylinder, hull, lathe, rod, section, tube

# fmt: off
CHAIRS = {
    "chair": dict(weight=8, base=dict(legs=7, star=2, pedestal=0.8, cantilever=1, panels=1, rockers=0.7)),
    "stool": dict(weight=1, base=["legs", "pedestal"], height=(0.68, 0.8), width=(0.32, 0.45), depth=(0.32, 0.45),
        top=(0.9, 1.0), arms=0.0),
    "armchair": dict(weight=1, base="plinth", thick=(0.12, 0.22), arms=0.9),
}
"""Kinds of chairs, 1 high; ``thick``: thickness of the seat; ``arms``: probability of arm rests."""

BENCHES = {
    "park": dict(weight=7, seat=dict(slab=6, planks=4)),
    "storage": dict(weight=1.5, base="plinth"),
    "double": dict(weight=0.7, back=dict(solid=1, slats=3, bars=2, ladder=1)),
    "picnic": dict(weight=1),
    "curved": dict(weight=0.6, depth=(0.17, 0.28)),
}
"""Kinds of benches, 1 wide (z)."""

CABINETS = {
    "wardrobe": dict(weight=4, height=1.0, width=(0.3, 1.1)),
    "sideboard": dict(weight=3, height=(0.3, 0.75), width=1.0),
    "bookcase": dict(weight=1.5, height=1.0, width=(0.3, 0.95)),
    "shelves": dict(weight=1.5, height=(0.3, 0.75), width=1.0),
    "hutch": dict(weight=2, height=1.0, width=(0.3, 0.95)),
    "stepped": dict(weight=1, height=(0.3, 0.75), width=1.0),
}
"""Kinds of cabinets; the longest side is about 1."""
# fmt: on


def legs(sample: Sampler, depth: float, width: float, height: float, thick: float = THIN) -> Manifold:
    """Four legs under a plate of ``depth`` (x) by ``width`` (z): straight, splayed or tapered, round or square."""
    sides, splay, tip = sample.choice([4, 12]), sample.choice([0.0, 0.0, 0.05]), sample(0.9, 1.0)
    radius = max(thick * sample(1.0, 1.6), THIN / tip) / 2
    x, z = depth / 2 - radius, width / 2 - radius
    return mirrored(rod((x + splay, 0, z + splay), (x, height, z), radius * tip, radius, sides), "xz")


def base(sample: Sampler, style: str, depth: float, width: float, height: float) -> Manifold:
    """What carries a seat or a table top of ``depth`` (x) by ``width`` (z): its feet, frame or block."""
    x, z, r, thick = depth / 2, width / 2, THIN / 2, sample(THIN, 0.1)
    if style == "star":
        return rod((0, r, 0), (0, height, 0), 1.3 * r) + turned(rod((0, 2.2 * r, 0), (0.9 * x, r, 0), 1.2 * r, r), 5)
    if style == "pedestal":
        foot, neck = sample(0.4, 0.9) * min(x, z), sample(0.04, 0.1)
        return lathe([(foot, 0), (foot, THIN), (neck, THIN * sample(1.5, 3)), (neck * sample(0.7, 1.3), height)])
    if style == "cantilever":
        side = tube([(-0.8 * x, r, z - r), (x - r, r, z - r), (x - r, height, z - r)])
        return mirrored(side) + rod((-0.8 * x, r, -z + r), (-0.8 * x, r, z - r))
    if style == "rockers":
        runner = tube(arc((2.2 * x, 2.2 * x), (240, 300)) + (0, 2.2 * x + r, z - r))
        return mirrored(runner) + legs(sample, 0.8 * depth, width, height).trim_by_plane((0, 1, 0), 1.2 * THIN)
    if style == "panels":
        outer = z * sample(0.75, 1.0)
        return mirrored(box(depth * sample(0.7, 1.0), height, (outer - thick, outer)))
    if style == "plinth":
        return box(depth * sample(0.5, 0.95), height, width * sample(0.5, 0.95))
    if style == "trestle":
        outer = z * sample(0.6, 0.9)
        frame = box(1.8 * x, THIN, (outer - THIN, outer)) + box(1.4 * THIN, height, (outer - 1.2 * THIN, outer))
        return mirrored(frame) + box(THIN, (height / 2, height / 2 + THIN), 2 * outer - THIN)
    if style == "cross":
        return mirrored(rod((0.85 * x, 0, 0.85 * z), (-0.7 * x, height, -0.7 * z), 1.1 * r, sides=4), "xz")
    if style == "desk":
        wide, low = width * sample(0.25, 0.4), sample.choice([0.0, 0.5]) * height
        drawers = box(0.92 * depth, (low, height), (z - wide, z - 0.02))
        rest = mirrored(drawers) if sample.chance(0.4) else drawers + legs(sample, 0.95 * depth, 0.95 * width, height)
        screen = box((-0.9 * x, THIN - 0.9 * x), (height * 0.3, height + sample(-0.1, 0.4)), 0.95 * width)
        return rest + screen if sample.chance(0.5) else rest
    if style == "saw horses":
        outer = z * sample(0.6, 0.95) - r
        side = mirrored(rod((r - x, 0, outer), (x - r, height, outer), sides=4), "x")
        return mirrored(side) + rod((0, height / 2, -outer), (0, height / 2, outer))
    return legs(sample, depth, width, height, THIN * sample(1, 1.5))


def back_rest(sample: Sampler, style: str, low: float, high: float, width: float) -> Manifold:
    """A back over x = 0, leaning backwards: solid, round, or a frame with bars, slats or a single rail."""
    tall, bulge = high - low, THIN * sample(1, 1.8)
    frame = mirrored(box(THIN, (low, high), (width / 2 - THIN, width / 2))) + box(THIN, (high - THIN, high), width)
    if style == "solid":
        rest = box(bulge, (low, high), width)
    elif style == "round":
        disc = cylinder(1, (-bulge / 2, bulge / 2), 20).rotate((0, 0, 90)).scale((1, tall / 2, width / 2))
        rest = disc.translate((0, low + tall / 2, 0)) + box(THIN, (low - THIN, low + tall / 2), 1.5 * THIN)
    elif style == "bars":
        count = max(1, int(width / THIN / 3))
        rest = frame + copies(box(THIN, (low, high), THIN), z=cells(width - 2 * THIN, count))
    else:
        count = max(1, int(tall / THIN / sample(2.0, 3.5))) if style == "slats" else int(style == "ladder")
        rest = frame
        for y in low + tall * (np.arange(count) + 0.5) / (count + 0.5):
            rest += box(THIN, (y - THIN / 2, y + THIN / 2), width)
    return sheared(rest, sample(0.0, 0.25), low)


def arm_rests(sample: Sampler, depth: float, width: float, low: float, high: float, padded: bool) -> Manifold:
    """Arm rests of a seat: padded cheeks, bent tubes, or plates on posts."""
    rear, reach, z = -depth / 2, depth * sample(0.7, 1.0), width / 2
    if padded:
        thick = sample(0.07, 0.16)
        cheek = box((rear, rear + reach), (low, high), thick, sample.choice([0.0, 0.03, 0.06]))
        if sample.chance(0.25):
            cheek += rod((rear, high, 0), (rear + reach, high, 0), max(0.05, thick / 2))
        return copies(cheek, z=(-z, z))
    front = rear + reach - THIN / 2
    if sample.chance(0.5):
        return mirrored(tube([(rear, high, z), (front, high, z), (front, low + THIN / 2, z - THIN / 2)]))
    post = box((0.6 * front - THIN / 2, 0.6 * front + THIN / 2), (low, high), (z - THIN, z))
    return mirrored(post + box((rear, front + THIN / 2), (high - THIN, high), (z - 0.8 * THIN, z + 0.8 * THIN)))


def seating(sample: Sampler, p: Values) -> Parts:
    """A seat of the values ``p`` on its base, perhaps with a back and arm rests."""
    low, under, inset = p.height - p.thick, p.height - p.thick / 2, 0.82 if p.seat == "rounded" else 1.0
    yield base(sample, p.base, inset * p.depth, inset * p.width, under), p.frame
    if p.seat == "rounded":
        front = section((0, 0, 0), (p.depth / 2, p.width / 2), power=3.5, count=24)[:, [1, 0, 2]]
        rear = box((-p.depth / 2, 0), (low, p.height), p.width)
        yield rear + hull(front + (0, low, 0), front + (0, p.height, 0)), p.cover
    elif p.seat == "planks":
        yield copies(box(THIN, (low, p.height), p.width), cells(p.depth, max(2, int(p.depth / THIN / 1.6)))), p.cover
        yield copies(box(p.depth, (low - THIN / 2, low + THIN / 2), THIN), z=cells(1.26 * p.width, 3)), p.cover
    else:
        yield box(p.depth, (low, p.height), p.width, sample.choice([0, 0.04])), p.cover
    if p.back != "none":
        rest = back_rest(sample, p.back, under, p.top, p.width * sample(0.8, 1.0))
        covered = p.back in ("solid", "round") and sample.chance(0.6)
        yield rest.translate(((THIN - p.depth) / 2, 0, 0)), p.cover if covered else p.frame
    if sample.chance(p.arms):
        rise = p.height + sample(0.14, 0.24)
        yield arm_rests(sample, inset * p.depth, inset * p.width, low, rise, p.base == "plinth"), p.frame


def chair(sample: Sampler) -> Parts:
    """Dining, swivel, cantilever, rocking and arm chairs and bar stools; about 1 high."""
    p = sample.kind(CHAIRS, height=(0.36, 0.52), width=(0.46, 0.72), depth=(0.46, 0.66), thick=(THIN, 0.12), top=1.0,
                    back=dict(solid=4, slats=2, bars=2, frame=0.7, ladder=0.7, round=1.2), arms=0.4,
                    seat=dict(slab=3, rounded=1), frame=dict(wood=2, metal=1, dark=1),
                    cover=dict(fabric=2, plastic=1))  # fmt: skip
    yield from seating(sample, p)


def bench(sample: Sampler) -> Parts:
    """Park, picnic, storage, double-sided and curved benches; about 1 wide (z)."""
    p = sample.kind(BENCHES, height=(0.26, 0.42), width=1.0, depth=(0.28, 0.46), thick=(THIN, 0.1), top=(0.5, 0.85),
                    base=["legs", "saw horses", "panels", "plinth", "trestle"], seat="slab", arms=0.4,
                    back=dict(none=2.3, solid=1, slats=3, bars=2, ladder=1), cover=dict(wood=4, plastic=1),
                    frame={"metal": 2, "dark": 1, "wood 2": 1})  # fmt: skip
    if p.kind == "picnic":
        reach, top, seat, z, r = sample(0.32, 0.5), sample(0.38, 0.6), 0.8 * p.height, sample(0.22, 0.4), THIN / 2
        yield box(sample(0.3, 0.45), (top - r, top + r), 1), p.cover
        yield copies(box(sample(0.13, 0.18), (seat - r, seat + r), 1), x=(-reach, reach)), p.cover
        feet = mirrored(rod((0.7 * reach, 0, z), (0.12, top, z), sides=4), "x")
        yield mirrored(feet + box(2 * reach, (seat - THIN, seat), (z - r, z + r))), p.frame
    elif p.kind == "curved":
        ring = cylinder(0.5, (p.height - p.thick, p.height), 32) - cylinder(0.5 - p.depth, 1)
        yield ring.trim_by_plane((-1, 0, 0), -0.1), p.cover
        post = box((p.depth / 2 - 0.57, p.depth / 2 - 0.43), p.height - p.thick / 2, 0.14)
        for turn in cells(200, sample.count(3, 4)):
            yield post.rotate((0, turn, 0)), p.frame
    else:
        yield from seating(sample, p)
    if p.kind == "double":
        p.back, p.arms = "none", 0.0
        for solid, material in seating(sample, p):
            yield solid.translate((0.01 - p.depth, 0, 0)), material


def sofa(sample: Sampler) -> Parts:
    """Two- and three-seaters, corner sofas, day beds and tub sofas; about 1 wide (z)."""
    style, foot = sample.choice(straight=4, corner=2, chaise=1, tub=1.2, armless=1.2), sample.choice(wood=1, metal=1)
    depth, height, width = sample(0.32, 0.62), sample(0.3, 0.62), sample(0.7, 1.0)
    low, soft = sample.choice([0.04, 0.08, 0.12]), sample.choice([0.0, 0.03, 0.06])
    seat, stance = low + sample(0.3, 0.55) * (height - low), 0.54 if style == "tub" else 0.84
    yield legs(sample, stance * depth, stance * width, low + 0.07), foot
    if style == "tub":
        shell = cylinder(0.5, (low, height), 28).scale((2 * depth, 1, width))
        shell -= cylinder(0.5, (seat, 1)).scale((2 * depth - 0.26, 1, width - 0.26))
        yield shell.trim_by_plane((-1, 0, 0), 0.0).translate((depth / 2, 0, 0)), "fabric"
        return
    yield box(depth, (low, seat), width, soft), "fabric"
    rear, thick = -depth / 2, sample(0.09, 0.2)
    back_width = width * (sample(0.4, 0.7) if style == "chaise" else 1.0)
    back = sheared(box((rear, rear + thick), (low, height), back_width), sample(0.0, 0.3), low)
    yield back.translate((0, 0, (width - back_width) / 2 * sample.choice([-1, 1]))), "fabric"
    if style not in ("armless", "chaise"):
        top = seat + sample(0.15, 1.0) * (height - seat)
        yield arm_rests(sample, depth, width, low, top, padded=True), "fabric"
    if style == "corner":
        front, wing, side = depth / 2 + sample(0.25, 0.6), sample(0.3, 0.42) * width, sample.choice([-1, 1])
        z = side * (width - wing) / 2
        yield box((depth / 2 - 0.04, front), (low, seat), wing, soft).translate((0, 0, z)), "fabric"
        yield cylinder(0.04, low + 0.02).translate((front - 0.06, 0, z)), foot
    if sample.chance(0.7):
        count = sample.count(2, 3)
        cushion = box((0.09 - depth / 2, depth / 2 - 0.01), (seat - 0.035, seat + 0.035), width / count - 0.02, 0.02)
        yield copies(cushion, z=cells(width, count)), "fabric 2"


def table(sample: Sampler) -> Parts:
    """Dining, coffee, side, console, pedestal, trestle and writing tables; the longest side is about 1."""
    style = sample.choice(legs=4, pedestal=2, trestle=1, panels=1, desk=2, cross=1, shelf=1.5, plinth=0.7)
    top, frame = sample.choice(wood=3, glass=1, plastic=1), sample.choice({"wood 2": 2, "metal": 1, "dark": 1})
    height, thick = sample(0.38, 0.7), sample(THIN, 0.1)
    width, depth = (1.0, sample(0.45, 0.8)) if sample.chance(0.8) else (sample(0.55, 0.95), sample(0.5, 1.0))
    under, inset = height - thick / 2, 1.0
    if style in ("legs", "pedestal", "cross", "shelf") and sample.chance(0.4):
        yield cylinder(0.5, (height - thick, height), sample.choice([6, 8, 32])).scale((depth, 1, width)), top
        inset = 0.72
    else:
        yield box(depth, (height - thick, height), width), top
    yield base(sample, style, inset * depth, inset * width, under), frame
    if style == "shelf":
        yield box(inset * depth, THIN, inset * width).translate((0, under * sample(0.15, 0.6), 0)), top


def cabinet(sample: Sampler) -> Parts:
    """Wardrobes, sideboards, bookcases, shelves, hutches and stepped cabinets; the doors look to +x."""
    p = sample.kind(CABINETS, depth=(0.2, 0.65), foot=[0.0, 0.05, 0.12, 0.25], body=dict(wood=3, metal=1, plastic=1))
    depth, width, low, high = p.depth, p.width, p.foot * p.height, p.height
    if low:
        plinth = box(0.85 * depth, low + 0.01, 0.9 * width)
        yield legs(sample, depth, width, low + 0.01) if sample.chance(0.7) else plinth, "metal 2"
    if p.kind in ("bookcase", "shelves"):
        yield from shelves(sample, depth, width, low, high, p.body)
        return
    shut = {"hutch": sample(0.35, 0.6), "stepped": low + (high - low) / 3}.get(p.kind, high)
    yield from doors(sample, depth / 2, width, low, shut)
    if p.kind == "stepped":
        count, side = sample.count(3, 4), sample.choice([-1, 1])
        for step, z in enumerate(cells(width, count)):
            top = low + (high - low) * (1 - step / count * 0.8)
            yield box(depth, (low, top), width / count + 0.002).translate((0, 0, side * z)), p.body
        return
    yield box(depth, (low, shut), width), p.body
    if p.kind == "hutch":
        share = sample(0.4, 0.7)
        for solid, material in shelves(sample, depth * share, width, shut - 0.01, 1.0, p.body):
            yield solid.translate((-depth * (1 - share) / 2, 0, 0)), material
    elif sample.chance(0.4):
        yield box(depth * 1.15, (high - THIN / 2, high + THIN / 2), width * 1.1), p.body


def shelves(sample: Sampler, depth: float, width: float, low: float, high: float, material: str) -> Parts:
    """An open case: sides, boards, perhaps a rear wall, uprights and closed bays."""
    rows = max(1, min(sample.count(2, 4), int((high - low) / THIN / 3)))
    columns = max(1, min(sample.count(1, 3), int(width / THIN / 3)))
    levels = np.linspace(low, high - THIN, rows + 1)
    sides = np.linspace(THIN - width, width - THIN, columns + 1) / 2
    yield copies(box(depth - 0.02, THIN, width), y=levels), "wood 2"
    yield copies(box(depth, (low + 0.01, high - 0.01), THIN), z=sides), material
    if sample.chance(0.6):
        yield box((-depth / 2, THIN - depth / 2), (low, high), width), material
    for _ in range(sample.count(0, 2)):
        row, column = sample.count(0, rows - 1), sample.count(0, columns - 1)
        bay = (levels[row], levels[row + 1]), (sides[column], sides[column + 1])
        yield box((-depth / 2, 0.48 * depth), *bay), "wood 3"


def doors(sample: Sampler, x: float, width: float, low: float, high: float) -> Parts:
    """Doors or drawers in the plane ``x``, each with a knob."""
    drawers, front = sample.chance(0.5), sample.choice({"wood 2": 2, "plastic 2": 1})
    rows, columns = (sample.count(2, 5), sample.count(1, 2)) if drawers else (1, sample.count(1, 4))
    rows = min(rows, max(1, int((high - low) / 0.09)))
    tall, wide = (high - low) / rows, width / columns
    y, z = low + tall * np.arange(rows), cells(width, columns)
    yield copies(box(0.03, (0.015, tall - 0.015), wide - 0.03), x, y, z), front
    knob = box((0.005, 0.035), (tall / 2 - 0.015, tall / 2 + 0.015), 0.03)
    yield copies(knob, x, y, z + (0.0 if drawers else 0.35 * wide)), "metal 2"
