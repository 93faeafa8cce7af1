"""Aeroplanes, cars and watercraft, about 1 long: the nose, bonnet or bow at +x."""

from __future__ import annotations

import numpy as np
from manifold3d import Manifold

from p2vtools.synthesis.objects.parts import Parts, Sampler, Values, cells, copies, mirrored
from p2vtools.synthesis.objects.solids import THIN, ball, box, corners, cylinder, hull, loft, prism, rod, section

# fmt: off
AEROPLANES = {
    "airliner": dict(weight=3, radius=(0.05, 0.075), span=(0.8, 1.15), sweep=(0.2, 0.4), chord=(0.16, 0.26),
        taper=(0.3, 0.5), station=(0.12, 0.22), level=-0.55, tail=["low", "tee"], engine=["under", "four", "rear"]),
    "freighter": dict(weight=1.2, radius=(0.07, 0.1), span=(0.9, 1.25), sweep=(0.0, 0.2), chord=(0.14, 0.22),
        taper=(0.4, 0.8), station=(0.1, 0.2), level=0.8, tail=["tee", "low"], engine=["four", "under", "wing"]),
    "light": dict(weight=1.5, radius=(0.06, 0.1), span=(1.0, 1.35), sweep=(0.0, 0.05), chord=(0.15, 0.26),
        taper=(0.6, 1.0), station=(0.15, 0.28), level=[-0.8, 0.9], tail=["low", "tee"], engine=["nose", "wing"]),
    "biplane": dict(weight=0.8, radius=(0.06, 0.09), span=(0.9, 1.2), sweep=(0.0, 0.04), chord=(0.15, 0.22),
        taper=(0.8, 1.0), station=(0.2, 0.3), level=-0.8, tail="low", engine="nose"),
    "fighter": dict(weight=2, radius=(0.05, 0.075), span=(0.45, 0.75), sweep=(0.2, 0.42), chord=(0.3, 0.5),
        taper=(0.1, 0.35), station=(0.0, 0.15), level=[0.0, 0.4], tail=["twin", "low", "vee"], engine="intake"),
    "delta": dict(weight=1.2, radius=(0.04, 0.06), span=(0.45, 0.8), sweep=(0.45, 0.6), chord=(0.55, 0.7),
        taper=(0.05, 0.15), station=(0.15, 0.25), level=-0.3, tail="fin", engine=["intake", "rear"]),
    "glider": dict(weight=1, radius=(0.04, 0.055), span=(1.4, 1.9), sweep=(0.0, 0.06), chord=(0.08, 0.12),
        taper=(0.5, 0.8), station=(0.12, 0.22), level=[0.3, 0.6], tail=["tee", "vee"], engine="none"),
}
"""Kinds of aeroplanes. ``sweep``: how far the wing tip lies behind the root; ``station``: x of the root's leading edge;
``level``: height of the wing in fuselage radii."""

CARS = {
    "saloon": dict(weight=2, height=(0.28, 0.36), width=(0.36, 0.42), belt=(0.55, 0.65), bonnet=(0.7, 0.95),
        wheel=(0.06, 0.08), rear=(0.04, 0.16), roof_rear=(0.2, 0.3), roof_front=(0.5, 0.58), front=(0.66, 0.74)),
    "hatchback": dict(weight=1.5, height=(0.36, 0.5), width=(0.42, 0.54), belt=(0.5, 0.65), bonnet=(0.7, 0.9),
        wheel=(0.07, 0.1), rear=(0.0, 0.02), roof_rear=(0.04, 0.14), roof_front=(0.5, 0.6), front=(0.72, 0.82)),
    "jeep": dict(weight=1.5, height=(0.42, 0.58), width=(0.42, 0.56), belt=(0.5, 0.6), bonnet=(0.9, 1.0),
        wheel=(0.09, 0.13), rear=(0.0, 0.01), roof_rear=(0.0, 0.03), roof_front=(0.56, 0.64), front=(0.6, 0.7)),
    "van": dict(weight=1, height=(0.38, 0.55), width=(0.38, 0.48), belt=(0.5, 0.6), bonnet=(0.6, 0.9),
        wheel=(0.06, 0.085), rear=(0.0, 0.01), roof_rear=(0.0, 0.02), roof_front=(0.68, 0.8), front=(0.84, 0.95)),
    "bus": dict(weight=1, height=(0.24, 0.42), width=(0.2, 0.28), belt=(0.4, 0.6), bonnet=(0.9, 1.0),
        wheel=(0.045, 0.06), rear=(0.0, 0.01), roof_rear=(0.0, 0.01), roof_front=(0.96, 0.98), front=(0.98, 1.0)),
    "sports": dict(weight=1.5, height=(0.22, 0.29), width=(0.4, 0.48), belt=(0.55, 0.68), bonnet=(0.5, 0.75),
        wheel=(0.065, 0.085), rear=(0.05, 0.2), roof_rear=(0.25, 0.35), roof_front=(0.42, 0.5), front=(0.56, 0.66)),
    "pickup": dict(weight=1.5, height=(0.32, 0.42), width=(0.34, 0.42), belt=(0.52, 0.62), bonnet=(0.85, 1.0),
        wheel=(0.07, 0.1), rear=(0.36, 0.46), roof_rear=(0.4, 0.48), roof_front=(0.58, 0.66), front=(0.68, 0.76)),
    "convertible": dict(weight=1, height=(0.24, 0.34), width=(0.38, 0.46), belt=(0.66, 0.8), bonnet=(0.6, 0.9),
        wheel=(0.06, 0.09), rear=(0.5, 0.54), roof_rear=(0.52, 0.55), roof_front=(0.56, 0.58), front=(0.62, 0.68)),
}
"""Kinds of cars and buses, in their own length. ``belt``: height of the shoulder as a share of the whole; ``bonnet``:
height of its front edge as a share of the shoulder; ``wheel``: radius; ``rear`` to ``front``: foot of the rear window,
both ends of the roof and foot of the windscreen, 0 at the rear bumper and 1 at the front."""

WATERCRAFT = {
    "sailing boat": dict(weight=2.5, sails=1.0),
    "yacht": dict(weight=2),
    "freighter": dict(weight=1.5, beam=(0.1, 0.2), tiers=1, rear=[-0.45, -0.45, 0.23], long=0.1, tall=(0.12, 0.24),
        rake=0.0, funnel=1.0, load=dict(containers=2, tanks=1, cranes=1)),
    "warship": dict(weight=1.3, beam=(0.1, 0.2), tiers=[2, 3, 4], rear=(-0.28, -0.08), long=0.36, rake=0.0, mast=1.0,
        house="metal", load="guns"),
    "rowing boat": dict(weight=1.3, beam=(0.3, 0.42), draught=(0.15, 0.22), tiers=0),
    "catamaran": dict(weight=1, sails=0.6),
    "tug": dict(weight=1.2, tiers=1, rear=(-0.4, 0.1), long=(0.18, 0.32), tall=(0.18, 0.36), rake=0.0, funnel=1.0,
        load=["derrick", "none"]),
}
"""Kinds of watercraft: the hull, the cabins (their number, place and size) and the load; probabilities of a funnel, a
mast and sails."""
# fmt: on


def fin(root: tuple[float, ...], tip: tuple[float, ...], chords: tuple[float, float], thick: float) -> Manifold:
    """A wing or tail from ``root`` to ``tip`` (points of the leading edge), thinning towards both edges and the tip.

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


def aeroplane(sample: Sampler) -> Parts:
    """Airliners, freighters, light aeroplanes, biplanes, fighters, deltas and gliders; the fuselage is 1 long."""
    p = sample.kind(AEROPLANES, wing={"paint 2": 1, "metal": 2}, nose=(0.06, 0.2), cone=(0.15, 0.4))
    thick = THIN * max(1.0, p.span)
    p.radius = max(p.radius, 0.7 * thick)
    lift, y, rise = sample(0.2, 0.7) * p.radius, p.level * p.radius, sample(-0.01, 0.05) * p.span
    rings = [(0.5, 0, 0.3), (0.5 - p.nose / 3, 0, 0.75), (0.5 - p.nose, 0, 1), (p.cone - 0.5, 0, 1), (-0.5, lift, 0.45)]
    yield loft(*(section((x, y, 0), (max(share * p.radius, thick / 2),) * 2) for x, y, share in rings)), "paint"
    yield ball((0.5 - 1.1 * p.nose, 0.6 * p.radius, 0), (0.07, 0.6 * p.radius, 0.6 * p.radius)), "glass"
    chords, tip = (p.chord, max(p.chord * p.taper, THIN)), (p.station - p.sweep, y + rise, p.span / 2)
    wing = mirrored(fin((p.station, y, 0), tip, chords, 1.1 * thick))
    yield wing, p.wing
    if p.kind == "biplane":
        gap, x, z = sample(0.14, 0.2), p.station - 0.5 * p.chord, 0.3 * p.span
        yield wing.translate((0, gap, 0)), p.wing
        yield copies(rod((x, y + 0.3 * rise, 0), (x, y + gap + 0.3 * rise, 0)), z=(-z, -0.04, 0.04, z)), p.wing
    yield tail_planes(sample, p.tail, p.radius, lift, thick), p.wing
    yield from engines(sample, p, y, rise, thick)


def tail_planes(sample: Sampler, style: str, radius: float, lift: float, thick: float) -> Manifold:
    """Fin and stabiliser: low, T, V, twin fins, or a single fin."""
    root, rise, half, slant = sample(0.12, 0.2), sample(0.12, 0.22), sample(0.13, 0.24), sample(0.04, 0.16)
    x, y, chords = -0.5 + root * 0.95, lift + 0.2 * radius, (root, 0.55 * root)
    z, splay = {"vee": (0.0, half * 0.8), "twin": (radius * 1.4, 0.02)}.get(style, (0.0, 0.0))
    planes = mirrored(fin((x, y, z), (x - slant, y + rise, z + splay), chords, thick))
    if style in ("low", "tee", "twin"):
        level, back = (y + rise * 0.95, slant) if style == "tee" else (lift, 0)
        planes += mirrored(fin((x - back, level, 0), (x - back - slant, level, half), chords, thick))
    return planes


def engines(sample: Sampler, p: Values, level: float, rise: float, thick: float) -> Parts:
    """Jets under the wings or at the tail, propellers in the nose or on the wings, or intakes along the fuselage."""
    size, radius = max(p.radius * sample(0.5, 0.75), 0.6 * thick), p.radius
    blade = box(thick, (-1.8 * radius, 1.8 * radius), thick).rotate((sample(0, 180), 0, 0))
    if p.engine == "nose":
        yield blade.translate((0.5, 0, 0)), "dark"
    elif p.engine == "rear":
        z = 0.6 * radius + 0.8 * size
        yield mirrored(rod((-0.2, 0.5 * radius, z), (-0.36, 0.5 * radius, z), size)), "metal 2"
    elif p.engine == "intake":
        yield box((-0.4, sample(0.0, 0.2)), (-0.8 * radius, 0.5 * radius), 3 * radius), "metal 2"
        yield rod((-0.45, 0, 0), (-0.53, 0, 0), 0.9 * radius, 0.7 * radius), "dark"
    elif p.engine != "none":
        drop = size * (0.3 if p.engine == "wing" else 1.0)
        for share in (0.35, 0.65) if p.engine == "four" else (sample(0.28, 0.4),):
            x, y, z = p.station - share * p.sweep, level + share * rise - drop, share * p.span / 2
            yield mirrored(rod((x + 0.08, y, z), (x - 0.5 * p.chord, y, z), size, 0.8 * size)), "metal 2"
            if p.engine == "wing":
                yield mirrored(blade.translate((x + 0.08, y, z))), "dark"


def car(sample: Sampler) -> Parts:
    """Passenger cars and buses, lorries and racing cars; the wheels stand on y = 0."""
    yield from sample.choice({passenger_car: 11, lorry: 2, racing_car: 1.6})(sample)


def wheels(x: tuple[float, ...], half: float, radius: float, wide: float = 0.07) -> Parts:
    """Axles at ``x``, their tyres flush with the half width of the body."""
    yield mirrored(copies(rod((0, radius, half - wide), (0, radius, half + 0.01), radius, sides=20), x)), "dark"
    yield mirrored(copies(rod((0, radius, half), (0, radius, half + 0.02), 0.5 * radius), x)), "metal"


def passenger_car(sample: Sampler) -> Parts:
    """A body on wheels and a cabin of glass under a roof."""
    p = sample.kind(CARS, floor=(0.5, 1.0), tail=(0.8, 1.0), inset=(0.75, 0.95))
    shoulder, floor, half = p.belt * p.height, p.floor * p.wheel, p.width / 2
    rear, roof, front, top = p.rear - 0.5, (p.roof_rear - 0.5, p.roof_front - 0.5), p.front - 0.5, p.height - THIN
    under = [(-0.47, floor), (0.47, floor), (0.5, p.bonnet * shoulder)]
    body = prism([*under, (front, shoulder), (rear, shoulder), (-0.5, p.tail * shoulder)], p.width)
    if p.kind in ("pickup", "convertible"):
        tub = (-0.46, rear - 0.05) if p.kind == "pickup" else (-0.28, front - 0.06)
        body -= box(tub, (floor + 0.06, 1), p.width - 2 * THIN)
    yield body, "paint"
    window, eaves = corners((rear, front), (shoulder - 0.01, shoulder), 0.96 * p.width), p.inset * p.width
    yield hull(window, corners(roof, (top, top), eaves)), "glass"
    if p.kind != "convertible":
        ridge = corners((0.96 * roof[0], 0.96 * roof[1]), (top, p.height), 0.9 * eaves)
        yield hull(corners(roof, (top, top), eaves), ridge), "paint"
    yield from wheels((sample(0.27, 0.36), -sample(0.27, 0.34)), half, p.wheel)


def lorry(sample: Sampler) -> Parts:
    """A cab in front of a box, a tank or a tipper."""
    width, cab, height = sample(0.22, 0.34), sample(0.18, 0.3), sample(0.28, 0.42)
    half, wheel, load, nose = width / 2, sample(0.05, 0.07), sample(0.25, 0.45), sample.choice([0.0, 0.08])
    yield box(1, (wheel, 2 * wheel + 0.02), 0.8 * width), "dark"
    front = [(0.5, wheel), (0.5, 0.5 * height), (0.48 - nose, 0.55 * height), (0.45 - nose, height)]
    yield prism([(0.5 - cab, wheel), *front, (0.5 - cab, height)], width), "paint"
    yield box((0.44 - nose, 0.5 - nose), (0.6 * height, 0.9 * height), 0.85 * width), "glass"
    bed, end, style = 2 * wheel + 0.01, 0.46 - cab, sample.choice(box=2, tank=1.5, tipper=1.5)
    if style == "box":
        cargo = box((-0.5, end), (bed, load), width)
    elif style == "tank":
        cargo = rod((-0.49, bed + 0.9 * half, 0), (end, bed + 0.9 * half, 0), half)
    else:
        cargo = prism([(-0.45, bed), (end - 0.02, bed), (end, load), (-0.5, load)], width)
        cargo -= box((-0.41, end - 0.07), (bed + THIN, 1), width - 2 * THIN)
    yield cargo, "paint 2"
    yield from wheels((0.36, -0.3, -0.42), half - 0.01, wheel, 0.05)


def racing_car(sample: Sampler) -> Parts:
    """A single-seater: a slim body, four free wheels and two wings."""
    track, wheel, nose, girth = sample(0.17, 0.25), sample(0.06, 0.09), sample(0.035, 0.05), sample(0.07, 0.12)
    y = 0.7 * wheel + 0.02
    rings = [(0.5, nose, 0.03), (0.2, 0.05, 0.05), (0.0, 0.08, girth), (-0.3, 0.08, girth * 0.8), (-0.46, 0.05, 0.05)]
    yield loft(*(section((x, y + 0.02, 0), (tall, wide), 4) for x, tall, wide in rings)), "paint"
    yield ball((-0.02, y + 0.1, 0), (0.05, 0.05, 0.04)), "glass"
    yield prism([(-0.4, y), (-0.12, y), (-0.12, y + 0.17), (-0.2, y + 0.17)], THIN), "paint"
    for x, low, wide in ((0.42, y - 0.03, 2 * track), (-0.5, y + 0.14, 1.4 * track)):
        yield box((x, x + 0.1), (low, low + THIN), wide), "paint 2"
    yield box((-0.48, -0.42), (y, y + 0.16), 0.06), "paint"
    yield copies(rod((0, wheel, -track), (0, wheel, track)), (0.3, -0.34)), "metal"
    yield from wheels((0.3, -0.34), track + 0.01, wheel, 0.09)


def ship_hull(length: float, beam: float, draught: float, bow: float, sheer: float, transom: float) -> Manifold:
    """A hull with its deck at y = 0, rising by ``sheer`` to the bow, which takes the share ``bow`` of the length."""
    stations = []
    shape = [(0.0, transom, 0.8, 0.3), (0.2, 1, 1, 0.05), (1 - bow, 1, 1, 0), (1 - bow / 2, 0.72, 0.95, 0.35)]
    for share, wide, deep, rise in [*shape, (1, 0.06, 0.6, 1)]:
        x, y, low, half = (share - 0.5) * length, rise * sheer, -deep * draught, max(wide * beam / 2, THIN / 2)
        keel, foot = max(0.55 * half, THIN / 2), x - (0.08 * length if share == 1 else 0)
        stations.append(np.array([(x, y, half), (x, y, -half), (foot, low, keel), (foot, low, -keel)]))
    return loft(*stations)


def watercraft(sample: Sampler) -> Parts:
    """Sailing boats, motor yachts, freighters, warships, rowing boats, catamarans and tugs; the deck at y = 0."""
    p = sample.kind(WATERCRAFT, shell=dict(paint=2, wood=1), beam=(0.2, 0.42), draught=(0.08, 0.2), house="light",
                    tiers=[1, 2, 3], rear=(-0.42, -0.2), long=(0.3, 0.6), tall=(0.06, 0.1), rake=(0.02, 0.1),
                    funnel=0.0, mast=0.4, sails=0.0, load="none")  # fmt: skip
    bow, sheer, transom = sample(0.25, 0.6), sample(0.0, 0.1), sample(0.5, 1.0)
    if p.kind == "catamaran":
        gap = sample(0.2, 0.32)
        yield mirrored(ship_hull(1.0, 0.11, p.draught, bow, 0.03, 0.8).translate((0, 0, gap))), p.shell
        yield box((-0.42, 0.22), (-0.03, 0.03), 2 * gap), "light"
    else:
        body = ship_hull(1.0, p.beam, p.draught, bow, sheer, transom)
        if p.kind == "rowing boat":
            body -= ship_hull(0.84, p.beam - 2 * THIN, p.draught, bow, 0.3, 0.7).translate((0, THIN, 0))
            seat, y = box(0.07, THIN, 0.6 * p.beam), -0.35 * p.draught - THIN / 2
            yield copies(seat, cells(0.6, sample.count(1, 3)) - 0.08, y), "wood 2"
        yield body, p.shell
    if p.tiers:
        yield from cabins(sample, p)
    yield from cargo(sample, p.load, p.beam)
    if sample.chance(p.sails):
        yield from rigging(sample)


def cabins(sample: Sampler, p: Values) -> Parts:
    """Cabins stacked in tiers, raked at the front, with bands of windows; perhaps a funnel and a mast."""
    rear, front, level = p.rear, p.rear + p.long, -0.01
    for tier in range(p.tiers):
        half, tall, width = (front - rear) / 2, p.tall * sample(0.8, 1.2), p.beam * (0.8 - 0.14 * tier)
        cabin = prism([(-half, 0), (half, 0), (half - p.rake, tall), (0.2 * p.rake - half, tall)], width)
        windows = (cabin ^ box(1, (0.45 * tall, 0.8 * tall), 1)).scale((1.04, 1, 1.04))
        for solid, material in ((cabin, p.house), (windows, "glass")):
            yield solid.translate((rear + half, level, 0)), material
        level, rear = level + tall - 0.005, rear + sample(0, 0.06)
        front = max(front - p.rake - sample(0.02, 0.06), rear + p.rake + 0.06)
    x = (rear + front) / 2
    if sample.chance(p.funnel):
        yield cylinder(0.03, (level - 0.03, level + sample(0.08, 0.3))).translate((x, 0, 0)), "paint 2"
    elif sample.chance(p.mast):
        yield rod((x, level - 0.02, 0), (x - 0.03, level + sample(0.1, 0.2), 0)), "metal 2"


def cargo(sample: Sampler, load: str, beam: float) -> Parts:
    """What stands on the deck: guns, a derrick, containers, tanks, cranes or nothing."""
    if load == "guns":
        for x, muzzle in ((0.27, 0.39), (0.38, 0.5), (-0.33, -0.45))[: sample.count(1, 3)]:
            yield cylinder(0.045, (-0.01, 0.05)).translate((x, 0, 0)) + rod((x, 0.035, 0), (muzzle, 0.05, 0)), "metal"
    elif load == "derrick":
        yield rod((0.3, -0.02, 0), (0.3, 0.45, 0)) + rod((0.3, 0.1, 0), (0.15, 0.4, 0)), "metal"
    elif load != "none":
        for number, x in enumerate(np.arange(-0.3, 0.22, 0.11)):
            material = f"paint {3 + number}"
            if load == "containers":
                yield box((x - 0.05, x + 0.05), (-0.02, 0.055 * sample.count(0, 3) + 0.01), 0.85 * beam), material
            elif load == "tanks":
                yield ball((x, 0.02, 0), (0.05, 0.07, 0.4 * beam)), material
            elif number % 2:
                yield rod((x, -0.02, 0), (x, 0.24, 0)) + rod((x, 0.12, 0), (x + 0.11, 0.22, 0)), material


def rigging(sample: Sampler) -> Parts:
    """One or two masts with a main sail each, and a fore sail."""
    rise, boom, single = sample(0.75, 1.25), sample(0.3, 0.48), sample.chance(0.65)
    masts = [(0.1, rise, boom)] if single else [(0.2, rise, 0.3), (-0.22, 0.8 * rise, 0.3)]
    for x, top, reach in masts:
        yield rod((x, -0.02, 0), (x, top, 0), 0.55 * THIN), "wood 2"
        yield rod((x, 0.1, 0), (x - reach, 0.1, 0), 0.55 * THIN), "wood 2"
        if sample.chance(0.9):
            yield prism([(x, 0.1), (x, top - 0.03), (x - reach, 0.1)], THIN * 1.1), "light 2"
    if sample.chance(0.6):
        x = masts[0][0]
        yield prism([(x, 0.08), (0.47, 0.03), (x, rise * sample(0.6, 0.9))], THIN * 1.1), "light 2"
