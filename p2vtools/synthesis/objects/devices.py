"""Displays, lamps, rifles, speakers and telephones, their fronts (or muzzles) at +x; about 1 long, wide or high."""

from __future__ import annotations

import numpy as np
from manifold3d import Manifold

from p2vtools.synthesis.objects.parts import Parts, Sampler, Values, cells, copies, mirrored, sheared, turned
from p2vtools.synthesis.objects.solids import THIN, arc, ball, box, corners, cylinder, hull, lathe, prism, rod, tube

# fmt: off
SPEAKERS = {
    "tower": dict(weight=2, depth=(0.2, 0.5), height=1.0, width=(0.16, 0.34), base=0.4),
    "shelf": dict(weight=2, depth=(0.4, 1.0), height=(0.8, 1.0), width=(0.5, 0.85), base=0.4),
    "bar": dict(weight=1.2, depth=(0.1, 0.3), height=(0.12, 0.35), width=1.0, base=0.4),
    "slab": dict(weight=1, depth=(0.08, 0.25), height=(0.9, 1.0), width=(0.4, 1.0), base=0.4),
    "stand": dict(weight=1.5, depth=(0.15, 0.34), height=(0.25, 0.42), width=(0.18, 0.34), pole=(0.35, 0.65)),
    "pair": dict(weight=1.2, depth=(0.2, 0.4), height=(0.4, 0.9), width=(0.18, 0.3)),
    "ball": dict(weight=1),
    "can": dict(weight=1),
    "wedge": dict(weight=1),
}
"""Kinds of speakers; ``base``: the probability of a base plate; ``pole``: height of the stand."""

RIFLES = {
    "hunting": dict(weight=2, stock="solid", magazine="none"),
    "assault": dict(weight=3),
    "sniper": dict(weight=2, scope=1.0, bipod=0.6),
    "compact": dict(weight=1.5, barrel=(0.12, 0.22), body=(0.1, 0.17),
        stock=dict(none=4, solid=2, hole=1.5, wire=1.5, tube=1)),
    "bullpup": dict(weight=1, barrel=(0.12, 0.22), body=(0.1, 0.17), rear=-0.3, grip=0.32, well=0.05, stock="solid"),
}
"""Kinds of rifles. ``rear``: x of the receiver's rear end; ``grip`` and ``well``: places of the pistol grip and the
magazine in front of it; ``scope`` and ``bipod``: their probabilities."""
# fmt: on


def pole_stand(sample: Sampler, height: float) -> Manifold:
    """A pole on a disc, a plate or a tripod."""
    foot, joint, r = sample.choice(disc=2, plate=1, tripod=1), height * sample(0.6, 1.0), THIN / 2
    if foot == "tripod":
        return cylinder(r, (joint - THIN, height)) + turned(rod((sample(0.2, 0.34), 0, 0), (0, joint, 0)), 3)
    if foot == "plate":
        return cylinder(r, height) + box(sample(0.2, 0.4), THIN, sample(0.2, 0.5))
    return lathe([(sample(0.1, 0.2), 0), (0.1, THIN), (r, THIN * 1.5), (r, height)])


def display(sample: Sampler) -> Parts:
    """Monitors and television sets: flat, curved, deep, upright, twin or folding; about 1 wide (z)."""
    style = sample.choice(flat=6, tube=1.5, curved=1.5, upright=0.7, twin=1, laptop=1.2)
    case = sample.choice(dark=2, plastic=1, metal=1)
    width, height = (sample(0.45, 0.65), 0.95) if style == "upright" else (1.0, sample(0.5, 0.72))
    thick, low = sample(THIN, 0.1), sample(0.08, 0.4)
    middle, high, count = low + height / 2, low + height, 2 if style == "twin" else 1
    if style == "tube":
        yield from picture_tube(sample, case)
    elif style == "laptop":
        lean, thick = (0, 0, sample(-10, 50)), min(thick, 0.08)
        yield box((0, height), thick, 1), case
        yield box((0.2 * height, 0.7 * height), (thick - 0.01, thick + 0.01), 0.85), "dark 2"
        yield box((-thick, 0), height, 1).rotate(lean).translate((0.02, 0, 0)), case
        yield box((-0.5 * thick, 0.01), (0.06, height - 0.05), 0.9).rotate(lean).translate((0.02, 0, 0)), "glass"
    elif style == "curved":
        bend = sample(1.3, 2.2)
        ring = cylinder(bend, (low, high), 96) - cylinder(bend - thick, 3, 96)
        panel = ring.translate((bend - thick / 2, 0, 0)) ^ box((-1, 0.5), 3, 1)
        yield panel, case
        yield panel.scale((1, 0.92, 0.92)).translate((0.012, 0.08 * middle, 0)), "glass"
    else:
        z, wide = cells(width, count), width / count
        yield copies(box(thick, (low, high), wide), z=z), case
        yield copies(box((0, thick / 2 + 0.01), (low + 0.035, high - 0.035), wide - 0.07), z=z), "glass"
        yield box((-thick / 2 - 0.05, 0), (middle - 0.2 * height, middle + 0.2 * height), 0.5 * width), case
    if style not in ("tube", "laptop"):
        yield display_stand(sample, middle, width), sample.choice(["metal 2", "dark 2"])


def display_stand(sample: Sampler, middle: float, width: float) -> Manifold:
    """A plate or disc with a neck, two feet, or a bracket for the wall."""
    style, reach = sample.choice(plate=3, disc=2, feet=2, wall=1.5), sample(0.12, 0.3)
    if style == "wall":
        return box((-reach, -0.01), (middle - 0.1, middle + 0.1), 0.2)
    if style == "feet":
        z = width * sample(0.22, 0.4)
        return copies(box((-reach, sample(0.05, 0.3)), THIN, THIN) + box((-0.046, 0.006), middle, THIN), z=(-z, z))
    x, wide, neck = sample(-0.2, 0.1), sample(0.2, 0.6) * width, sample(THIN, 0.16)
    foot = box(2 * reach, THIN, wide) if style == "plate" else cylinder(1, THIN).scale((reach, 1, wide / 2))
    return (foot + sheared(box(THIN, (THIN / 2, middle), neck), (0.04 + x) / middle)).translate((x, 0, 0))


def picture_tube(sample: Sampler, case: str) -> Parts:
    """A set with a cathode-ray tube: a deep box that narrows to the rear."""
    width, height, depth, low = sample(0.75, 1.0), sample(0.65, 0.9), sample(0.45, 0.95), sample(0.03, 0.2)
    frame, small, share = sample(0.12, 0.5) * depth, sample(0.45, 0.9), sample(0.6, 0.9)
    front, joint, rear, high = depth / 2, depth / 2 - frame, -depth / 2, low + height
    yield box((joint, front), (low, high), width), case
    middle, half = low + 0.45 * height, 0.45 * height * small
    wide_end = corners((joint, joint + 0.01), (low + 0.02, high - 0.02), 0.96 * width)
    yield hull(wide_end, corners((rear, rear), (middle - half, middle + half), 0.9 * width * small)), "dark 2"
    screen = box((joint, front + 0.015), (low + 0.08, high - 0.08), share * width)
    yield screen.translate((0, 0, (share - 0.92) / 2 * width)), "glass"
    yield box(0.6 * depth, low + 0.04, 0.6 * width), case


def speaker(sample: Sampler) -> Parts:
    """Towers, shelf boxes, bars, slabs, balls, cylinders, stage wedges, pairs and speakers on stands."""
    p = sample.kind(SPEAKERS, depth=(0.45, 0.8), height=(0.4, 0.7), width=1.0, pole=0.0, base=0.0,
                    case=dict(dark=2, wood=2, plastic=1), cone=["metal", "light"])  # fmt: skip
    front, tilt = p.depth / 2, sample(0.6, 1.1)
    if p.kind == "ball":
        yield ball((0, 0.5, 0), (0.5, sample(0.4, 0.5), 0.5), 28), p.case
        yield rod((0.3, 0.5, 0), (0.48, 0.5, 0), 0.28) + lathe([(sample(0.2, 0.45), 0), (0.1, 0.15)]), p.cone
    elif p.kind == "can":
        radius = sample(0.16, 0.5)
        yield lathe([(radius, 0), (radius * tilt, 1)], sample.choice([6, 28])), p.case
        yield cylinder(radius * 1.06, (0.1, 0.2)), p.cone
    elif p.kind == "wedge":
        outline = [(-front, 0), (front, 0), (front, 0.1), (-front / 3, p.height), (-front, p.height)]
        yield prism(outline, 1.0), p.case
        yield mirrored(rod((0, 0.3 * p.height, 0.22), (front / 3 + 0.06, 0.5 * p.height + 0.1, 0.22), 0.14)), p.cone
    elif p.kind == "pair":
        for solid, material in speaker_box(sample, p):
            yield mirrored(solid.translate((0, 0, 0.5 - p.width / 2))), material
        yield box(0.6 * p.depth, THIN, 0.9), p.case
        if sample.chance(0.6):
            p.depth, p.height, p.width = p.depth * 1.3, sample(0.3, 0.6), 0.9 - 2 * p.width
            yield from speaker_box(sample, p)
    else:
        yield from speaker_box(sample, p)
        if p.pole:
            yield pole_stand(sample, p.pole + 0.02), p.cone
        if sample.chance(p.base):
            yield box(p.depth * sample(0.9, 1.3), (-0.03, THIN - 0.03), p.width * sample(0.9, 1.4)), p.cone


def speaker_box(sample: Sampler, p: Values) -> Parts:
    """A box with a row of drivers on its front, along its longer side."""
    middle, front = p.pole + p.height / 2, p.depth / 2
    yield box(p.depth, (p.pole, p.pole + p.height), p.width, sample.choice([0, 0.03])), p.case
    count, long = sample.count(1, 4), max(p.height, p.width)
    radius = min(0.42 * min(p.height, p.width), 0.42 * long / count)
    for number, place in enumerate(cells(long, count)):
        y, z = (middle + place, 0) if p.height > p.width else (middle, place)
        size = radius * (1 - 0.12 * number)
        yield rod((front - 0.03, y, z), (front + 0.02, y, z), size, 0.85 * size, 20), p.cone
        yield rod((front, y, z), (front + 0.035, y, z), 0.35 * size), p.case


def telephone(sample: Sampler) -> Parts:
    """Mobile, folding, sliding, cordless, desk, dial and coin telephones; the display looks to +x."""
    style = sample.choice(mobile=2.5, fold=1.5, slide=1.2, cordless=1.5, desk=2, dial=1.3, coin=1)
    case, width, thick = sample.choice(dark=2, plastic=2, metal=1), sample(0.38, 0.62), sample(THIN, 0.14)
    if style == "mobile":
        screen = sample(0.35, 0.88)
        yield box(thick, 1, width, sample.choice([0, 0.015])), case
        yield box((0, thick / 2 + 0.01), (0.95 - screen, 0.95), width - 0.06), "glass"
        if screen < 0.75:
            yield keys(thick / 2, 0.07, 0.92 - screen, width), "glass"
        if sample.chance(0.35):
            yield cylinder(0.65 * THIN, (0.95, 1 + sample(0.05, 0.3))).translate((0, 0, width / 2 - 0.06)), case
    elif style in ("fold", "slide"):
        thick, reach = max(thick, 0.07), 0.5 if style == "fold" else sample(0.6, 0.7)
        yield box(thick, reach, width), case
        yield keys(thick / 2, 0.06, 0.4, width), "glass"
        lid = box(thick, reach, width) + box((0, thick / 2 + 0.01), (0.15 * reach, 0.9 * reach), width - 0.08)
        turn, x, y = (sample(-75, 10), 0, 0.49) if style == "fold" else (0, 0.95 * thick, 1 - reach)
        yield lid.rotate((0, 0, turn)).translate((x, y, 0)), "plastic 2"
    elif style == "coin":
        depth, z = sample(0.2, 0.4), sample.choice([-1, 1]) * (width / 2 - 0.04)
        yield box(depth, 1, width), case
        yield box((0, depth / 2 + 0.015), (0.77, 0.93), width - 0.1), "glass"
        yield keys(depth / 2, 0.41, 0.72, 0.6 * width), "glass"
        yield receiver(0.6, 0.06).rotate((90, 90, 0)).translate((depth / 2 + 0.08, 0.55, z)), "dark 2"
    elif style == "cordless":
        width, thick, reach, wide = 0.6 * width, max(thick, 0.1), sample(0.3, 0.55), sample(0.35, 0.7)
        lean = (0, 0, sample(0, 25))
        body, screen = box(thick, 0.84, width, 0.03), box((0, thick / 2 + 0.015), (0.52, 0.72), width - 0.08)
        for solid, material in ((body, case), (screen + keys(thick / 2, 0.17, 0.48, width), "glass")):
            yield solid.rotate(lean).translate((0.04, 0.08, 0)), material
        yield box(reach, 0.14, wide, 0.03), "dark 2"
        if sample.chance(0.5):
            yield box(reach, 0.14, (wide / 2 - 0.02, wide / 2 + 0.22)), case
        if sample.chance(0.4):
            yield rod((0.04 - reach / 2, 0.1, wide / 2 - 0.05), (-reach / 2, 0.9, wide / 2 - 0.05), 0.6 * THIN), case
    else:
        yield from desk_telephone(sample, style == "dial", case)


def keys(x: float, low: float, high: float, width: float) -> Manifold:
    """Three columns of keys in the plane ``x``."""
    return copies(box(0.025, 0.06, 0.2 * width), x, np.arange(low, high - 0.06, 0.1), cells(0.9 * width, 3))


def receiver(length: float, girth: float) -> Manifold:
    """A receiver along z, its ear and mouth pieces hanging down from y = 0."""
    z = length / 2 - girth
    cup = rod((0, 0, z), (0, -1.8 * girth, z), 1.1 * girth, 1.4 * girth)
    return rod((0, 0, -length / 2), (0, 0, length / 2), girth, sides=8) + mirrored(cup)


def desk_telephone(sample: Sampler, dial: bool, case: str) -> Parts:
    """A wedge with a dial or keys; the receiver lies across or along it."""
    depth, width, girth = sample(0.5, 1.0), sample(0.55, 0.95), sample(0.05, 0.09)
    rear, front, x = sample(0.2, 0.55), sample(0.08, 0.16), depth / 2
    ledge, handset = sample(0.1, 0.3) - x, receiver(width + sample(0.0, 0.2), girth)
    yield prism([(-x, 0), (x, 0), (x, front), (ledge, rear), (-x, rear)], width), case
    tilt, centre = np.rad2deg(np.arctan2(front - rear, x - ledge)), np.array([(x + ledge) / 2, (rear + front) / 2, 0])
    if dial:
        panel = lathe([(0.19, -0.05), (0.19, 0.03), (0.06, 0.05)])
        yield mirrored(box((0.07 - x, 0.17 - x), (rear - 0.02, rear + 0.12), (0.17, 0.23))), case
    else:
        panel = copies(box(0.07, (-0.025, 0.025), (-0.05, 0.25)), (-0.1, 0, 0.1))
    yield panel.rotate((0, 0, tilt)).translate(centre), "glass"
    if dial or sample.chance(0.4):
        yield handset.translate((0.12 - x, rear + (0.14 if dial else 1.2 * girth), 0)), "dark 2"
    else:
        along = handset.scale((1, 1, depth)).rotate((0, 90, 0)).rotate((0, 0, tilt))
        yield along.translate(centre + (0, 1.5 * girth, 0.1 - width / 2)), "dark 2"


def shade(sample: Sampler, top: float, radius: float, height: float) -> Manifold:
    """A lamp shade hanging from ``top``: drum, cone, bell, globe, bowl or four-sided."""
    style, narrow = sample.choice(drum=1, cone=2, bell=1, globe=1, bowl=1, square=1), sample(0.3, 0.7)
    if style == "globe":
        return ball((0, top - 0.8 * radius, 0), (radius, 0.8 * radius, radius))
    profile = {
        "drum": [(1, 0), (1, 1)],
        "bell": [(1, 0), (0.65, 0.35), (0.5, 0.7), (0.12 + 0.03 / radius, 1)],
        "bowl": [(1, 0), (0.95, 0.3), (0.6, 0.8), (0.2, 1)],
    }.get(style, [(1, 0), (narrow, 1)])
    solid = lathe(profile, 4 if style == "square" else 24)
    return solid.scale((radius, height, radius)).translate((0, top - height, 0))


def lamp(sample: Sampler) -> Parts:
    """Table, floor, arc, desk, hanging, chandelier and wall lamps; an arm reaches towards +x."""
    style = sample.choice(table=4, floor=4, arc=1, desk=2, hanging=2, chandelier=1.5, wall=1)
    metal, reach, r = sample.choice(metal=2, wood=1, dark=1), sample(0.25, 0.45), THIN / 2
    if style == "table":
        yield from table_lamp(sample, metal)
    elif style == "floor":
        height = sample(0.15, 0.36)
        yield pole_stand(sample, 1 - height / 2) + cylinder(r, (0.5, 1 + r)), metal
        yield shade(sample, 1.0, sample(0.12, 0.28), height), "light"
    elif style == "arc":
        bow = arc((reach, 0.3), (180, 0), 9) + (0, 0.7, 0)
        yield tube([(-reach, 0, 0), *bow]) + cylinder(0.14, THIN).translate((-reach, 0, 0)), metal
        yield shade(sample, 0.7, sample(0.1, 0.2), sample(0.12, 0.25)).translate((reach, 0.02, 0)), "light"
    elif style == "desk":
        elbow, head = (sample(-0.4, 0.0), sample(0.35, 0.6), 0), (reach, sample(0.6, 0.95), 0)
        yield lathe([(sample(0.14, 0.24), 0), (0.12, THIN * 1.2)]) + tube([(0, r, 0), elbow, head]), metal
        cone = lathe([(sample(0.14, 0.24), -0.22), (0.07, -0.02), (0.05, 0.05)])
        yield cone.rotate((0, 0, sample(-10, 50))).translate(head), "light"
    elif style == "hanging":
        count, cord = sample.choice([1, 1, 2, 3]), sample(0.1, 0.65)
        radius = sample(0.2, 0.45) / count
        yield box(0.16, (-r, r), 0.16 + 2.4 * radius * (count - 1)), metal
        for z in cells(2.4 * radius * count, count):
            low, tall = -cord * sample(0.7, 1.0), sample(0.7, 1.6) * radius
            yield rod((0, 0, z), (0, low - 0.3 * tall, z)), metal
            yield shade(sample, low, radius, tall).translate((0, 0, z)), "light"
    elif style == "wall":
        half, cup = sample(0.08, 0.22), shade(sample, 0.0, sample(0.14, 0.3), sample(0.25, 0.5))
        yield box(THIN, (-half, half), sample(0.12, 0.3), sample.choice([0, 0.02])), metal
        yield tube([(0, 0, 0), (reach, sample(-0.15, 0.0), 0), (reach, 0.2, 0)]), metal
        yield sample.choice([cup, cup.mirror((0, 1, 0))]).translate((reach, 0.15, 0)), "light"
    else:
        count, stem, sag, up = sample.count(3, 7), sample(0.3, 0.8), sample(0.05, 0.2), sample.choice([-1, 1])
        yield cylinder(0.1, (stem - THIN, stem)) + cylinder(r, (-sag, stem)), metal
        yield ball((0, -0.5 * sag, 0), (0.09, 0.07 + 0.5 * sag, 0.09)), metal
        yield turned(tube([(0, -sag / 2, 0), (0.5 * reach, -sag, 0), (reach, 0, 0)]), count), metal
        bulb = ball((reach, up * 0.07, 0), (0.07, 0.1, 0.07), 12) + rod((reach, 0, 0), (reach, up * 0.05, 0))
        yield turned(bulb, count), "light"


def table_lamp(sample: Sampler, metal: str) -> Parts:
    """A vase, a stack of balls, a column or a block under a wide shade."""
    style, height, share = sample.choice(vase=2, balls=1, column=1, block=1), sample(0.55, 1.0), sample(0.35, 0.55)
    body, belly = height * (1 - share) + 0.03, sample(0.1, 0.26)
    if style == "vase":
        profile = [(0.5, 0), (1, 0.3), (0.9, 0.5), (0.05 / belly, 0.85), (0.05 / belly, 1)]
        yield lathe(profile).scale((belly, body, belly)), "plastic"
    elif style == "balls":
        count = sample.count(2, 3)
        for y in body * (np.arange(count) + 0.5) / count:
            yield ball((0, y, 0), (sample(0.08, 0.18), 0.55 * body / count, sample(0.08, 0.18))), metal
    elif style == "column":
        yield lathe([(0.2, 0), (0.2, THIN), (0.035, 1.6 * THIN), (0.035, body)]), metal
    else:
        yield box(belly, body, sample(0.1, 0.4)), "wood 2"
    yield cylinder(THIN / 2, (0.6 * body, height + THIN / 2)), metal
    yield shade(sample, height, sample(0.25, 0.42), height * share), "light"


def rifle(sample: Sampler) -> Parts:
    """Hunting, assault, sniper and bullpup rifles and submachine guns; the bore on the x axis."""
    p = sample.kind(RIFLES, barrel=(0.2, 0.45), body=(0.07, 0.13), bore=(0.5 * THIN, 0.65 * THIN), width=(THIN, 0.08),
                    rear=(-0.15, 0.0), grip=0.0, well=0.1, scope=0.3, bipod=0.1,
                    stock=dict(solid=2, hole=1.5, wire=1.5, tube=1),
                    magazine=dict(straight=2, curved=2, drum=0.7, none=1),
                    wood=dict(wood=2, dark=1, plastic=0.5), steel={"dark 2": 2, "metal": 1})  # fmt: skip
    front, rear, half, well = 0.5 - p.barrel, p.rear, p.body / 2, p.rear + p.well
    yield rod((front - 0.05, 0, 0), (0.5, 0, 0), p.bore), p.steel
    yield box((rear - 0.08, max(rear + 0.2, front)), (-half, half), p.width), p.steel
    if p.stock != "none":
        yield stock(sample, p.stock, rear, half, p.width), p.wood
    if sample.chance(0.7):
        reach = front + p.barrel * sample(0.2, 0.8)
        yield box((rear + 0.1, reach), (-half - 0.01, 1.2 * p.bore), p.width + 0.02), p.wood
    if p.kind != "hunting":
        x, low = rear + p.grip, -half - 0.15
        yield prism([(x - 0.07, low), (x - 0.01, low), (x + 0.03, 0), (x - 0.03, 0)], THIN), p.wood
    if p.magazine == "drum":
        yield rod((well, -half - 0.05, -0.05), (well, -half - 0.05, 0.05), 0.08), p.steel
    elif p.magazine != "none":
        slope = sample(0.25, 0.6) if p.magazine == "curved" else 0.0
        yield sheared(box((well - 0.035, well + 0.035), (-half - sample(0.08, 0.24), 0), THIN), slope), p.steel
    if sample.chance(p.scope):
        y, end = half + sample(0.045, 0.07), rear - 0.04 + sample(0.15, 0.32)
        scope = rod((rear - 0.04, y, 0), (end, y, 0), 0.6 * THIN, 0.8 * THIN)
        yield scope + box((rear - 0.01, rear + 0.09), y, THIN), "dark 3"
    elif sample.chance(0.4):
        yield prism([(rear, 0), (rear + 0.18, 0), (rear + 0.15, half + 0.08), (rear, half + 0.08)], THIN), p.steel
    if sample.chance(p.bipod):
        yield mirrored(rod((front + 0.05, 0, 0), (front + 0.09, -sample(0.18, 0.28), 0.1))), p.steel
    if sample.chance(0.4):
        yield prism([(0.42, 0), (0.48, 0), (0.475, 0.07), (0.42, 0.07)], THIN), p.steel


def stock(sample: Sampler, style: str, rear: float, half: float, width: float) -> Manifold:
    """A carved stock, one with a hole, a wire frame, or a butt on a tube."""
    butt, toe, comb = -0.5, -half - sample(0.03, 0.14), half * 2 / 3
    if style == "solid":
        under = [(butt, toe), (rear - 0.1, -half - 0.03), (rear, -half - 0.02)]
        return prism([*under, (rear, comb), (butt, comb - sample(0, 0.06))], width)
    if style == "wire":
        x = butt + THIN / 2
        return tube([(rear - 0.02, 0, 0), (x, 0, 0), (x, toe - 0.03, 0), (rear - 0.04, THIN / 2 - half, 0)])
    end = box((butt, butt + 0.08), (toe - 0.04, comb), width)
    if style == "hole":
        lower = rod((butt + 0.05, toe - 0.02, 0), (rear - 0.02, THIN / 2 - half, 0), 0.55 * THIN, sides=4)
        return box((butt, rear), (comb - 1.1 * THIN, comb), width) + lower + end
    return rod((rear, 0, 0), (butt + 0.02, 0, 0), 0.6 * THIN) + end
