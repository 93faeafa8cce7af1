"""Cars, the bonnet at +x; about 1 long, the wheels standing on y = 0."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from p2vtools.synthesis.objects.parts import (
    THIN,
    Colour,
    Part,
    ball,
    block,
    box,
    chance,
    hull,
    loft,
    mirrored,
    pick,
    prism,
    rod,
    section,
    tint,
)

Rng = np.random.Generator


@dataclass(frozen=True)
class Car:
    """Ranges of one kind of car, in its own length; the cabin is given by fractions of the length from the rear."""

    height: tuple[float, float]
    width: tuple[float, float]
    belt: tuple[float, float]
    """Height of the body's shoulder, as a share of the whole height."""
    bonnet: tuple[float, float]
    """Height of the bonnet's front edge, as a share of the shoulder."""
    cabin: tuple[tuple[float, float], ...]
    """Foot of the rear window, roof's rear, roof's front, foot of the windscreen: 0 rear, 1 front."""
    wheel: tuple[float, float]
    """Wheel radius."""


CARS = {
    "saloon": Car(
        height=(0.28, 0.36),
        width=(0.36, 0.42),
        belt=(0.55, 0.65),
        bonnet=(0.7, 0.95),
        cabin=((0.04, 0.16), (0.2, 0.3), (0.5, 0.58), (0.66, 0.74)),
        wheel=(0.06, 0.08),
    ),
    "hatchback": Car(
        height=(0.36, 0.5),
        width=(0.42, 0.54),
        belt=(0.5, 0.65),
        bonnet=(0.7, 0.9),
        cabin=((0.0, 0.02), (0.04, 0.14), (0.5, 0.6), (0.72, 0.82)),
        wheel=(0.07, 0.1),
    ),
    "jeep": Car(
        height=(0.42, 0.58),
        width=(0.42, 0.56),
        belt=(0.5, 0.6),
        bonnet=(0.9, 1.0),
        cabin=((0.0, 0.01), (0.0, 0.03), (0.56, 0.64), (0.6, 0.7)),
        wheel=(0.09, 0.13),
    ),
    "van": Car(
        height=(0.38, 0.55),
        width=(0.38, 0.48),
        belt=(0.5, 0.6),
        bonnet=(0.6, 0.9),
        cabin=((0.0, 0.01), (0.0, 0.02), (0.68, 0.8), (0.84, 0.95)),
        wheel=(0.06, 0.085),
    ),
    "sports": Car(
        height=(0.22, 0.29),
        width=(0.4, 0.48),
        belt=(0.55, 0.68),
        bonnet=(0.5, 0.75),
        cabin=((0.05, 0.2), (0.25, 0.35), (0.42, 0.5), (0.56, 0.66)),
        wheel=(0.065, 0.085),
    ),
    "pickup": Car(
        height=(0.32, 0.42),
        width=(0.34, 0.42),
        belt=(0.52, 0.62),
        bonnet=(0.85, 1.0),
        cabin=((0.36, 0.46), (0.4, 0.48), (0.58, 0.66), (0.68, 0.76)),
        wheel=(0.07, 0.1),
    ),
    "open": Car(
        height=(0.24, 0.34),
        width=(0.38, 0.46),
        belt=(0.66, 0.8),
        bonnet=(0.6, 0.9),
        cabin=((0.5, 0.54), (0.52, 0.55), (0.56, 0.58), (0.62, 0.68)),
        wheel=(0.06, 0.09),
    ),
}


def car(rng: Rng) -> Iterator[Part]:
    """Saloons, hatchbacks, jeeps, vans, sports cars, pick-ups, convertibles, lorries, buses and racing cars."""
    name = pick(
        rng,
        ("saloon", 2),
        ("hatchback", 1.5),
        ("jeep", 1.5),
        ("van", 1),
        ("sports", 1.5),
        ("pickup", 1.5),
        ("open", 1),
        ("lorry", 1.2),
        ("bus", 1),
        ("racer", 1.2),
    )
    colour, glass, tyre = tint(rng, "paint"), tint(rng, "glass"), tint(rng, "dark")
    if name not in CARS:
        yield from {"lorry": lorry, "bus": bus, "racer": racer}[name](rng, colour, glass, tyre)
        return
    kind = CARS[name]
    height, width, belt, bonnet, wheel = (
        rng.uniform(*bounds) for bounds in (kind.height, kind.width, kind.belt, kind.bonnet, kind.wheel)
    )
    shoulder, floor, half = belt * height, rng.uniform(0.5, 1.0) * wheel, width / 2
    rear, roof_rear, roof_front, front = (rng.uniform(*bounds) - 0.5 for bounds in kind.cabin)
    tail = rng.uniform(0.8, 1.0) * shoulder
    outline = [
        (-0.47, floor),
        (0.47, floor),
        (0.5, bonnet * shoulder),
        (front, shoulder),
        (rear, shoulder),
        (-0.5, tail),
    ]
    body = prism(outline, width)
    if name in ("pickup", "open"):
        x = (-0.46, rear - 0.05) if name == "pickup" else (-0.28, front - 0.06)
        body -= box((x[0], floor + 0.06, -half + THIN), (x[1], 1, half - THIN))
    yield Part(body, colour)
    inset = rng.uniform(0.75, 0.95)
    window = [(x, shoulder - 0.01, z) for x in (rear, front) for z in (-0.96 * half, 0.96 * half)]
    roof = [(x, height - THIN, z) for x in (roof_rear, roof_front) for z in (-inset * half, inset * half)]
    yield Part(hull(window, roof), glass)
    if name != "open":
        yield Part(hull(roof, [(0.96 * x, height, 0.9 * z) for x, _, z in roof]), colour)
    if name in ("jeep", "hatchback") and chance(rng, 0.4):
        yield Part(rod((-0.49, shoulder * 0.8, 0), (-0.56, shoulder * 0.8, 0), wheel), tyre)
    if name == "sports" and chance(rng, 0.5):
        yield Part(
            box((-0.5, tail, -half), (-0.4, tail + THIN, half))
            + box((-0.5, tail - 0.02, -0.06), (-0.44, tail + 0.02, 0.06)),
            colour,
        )
    yield from wheels(rng.uniform(0.27, 0.36), rng.uniform(0.27, 0.34), half, wheel, tyre)


def wheels(front: float, rear: float, half: float, radius: float, colour: Colour, wide: float = 0.07) -> Iterator[Part]:
    """Two axles at ``front`` and -``rear``, their tyres flush with the half width of the body."""
    for x in (front, -rear):
        yield Part(mirrored(rod((x, radius, half - wide), (x, radius, half + 0.01), radius, sides=20)), colour)
        yield Part(mirrored(rod((x, radius, half), (x, radius, half + 0.02), 0.5 * radius)), (190, 192, 196))


def lorry(rng: Rng, colour: Colour, glass: Colour, tyre: Colour) -> Iterator[Part]:
    """A cab before a box, a tank, a tipper or a bare flat bed."""
    width, cab, height = rng.uniform(0.22, 0.34), rng.uniform(0.18, 0.3), rng.uniform(0.28, 0.42)
    half, wheel, load = width / 2, rng.uniform(0.05, 0.07), rng.uniform(0.25, 0.45)
    yield Part(box((-0.5, wheel, -0.8 * half), (0.5, 2 * wheel + 0.02, 0.8 * half)), tint(rng, "dark"))
    nose = rng.choice([0.0, 0.08])
    front = [
        (0.5 - cab, wheel),
        (0.5, wheel),
        (0.5, 0.5 * height),
        (0.48 - nose, 0.55 * height),
        (0.45 - nose, height),
        (0.5 - cab, height),
    ]
    yield Part(prism(front, width), colour)
    yield Part(block((0.47 - nose, 0.75 * height, 0), (0.06, 0.3 * height, 0.85 * width)), glass)
    bed, end = 2 * wheel + 0.01, 0.46 - cab
    style, paint = pick(rng, ("box", 2), ("tank", 1), ("flat", 1), ("tipper", 1)), tint(rng, "paint")
    if style == "box":
        yield Part(box((-0.5, bed, -half), (end, load, half)), paint)
    elif style == "tank":
        yield Part(rod((-0.49, bed + 0.9 * half, 0), (end, bed + 0.9 * half, 0), half), paint)
    elif style == "flat":
        yield Part(
            box((-0.5, bed, -half), (end, bed + THIN, half)) + box((end - THIN, bed, -half), (end, 0.8 * height, half)),
            paint,
        )
    else:
        tub = prism([(-0.45, bed), (end - 0.02, bed), (end, load), (-0.5, load)], width)
        yield Part(tub - box((-0.41, bed + THIN, -half + THIN), (end - 0.07, 1, half - THIN)), paint)
    for x in (0.36, -0.3, -0.42):
        yield Part(mirrored(rod((x, wheel, half - 0.06), (x, wheel, half), wheel, sides=20)), tyre)


def bus(rng: Rng, colour: Colour, glass: Colour, tyre: Colour) -> Iterator[Part]:
    """A box with a band of windows, one deck or two."""
    decks = int(rng.choice([1, 1, 2]))
    width, height, wheel = rng.uniform(0.2, 0.28), (rng.uniform(0.24, 0.3), rng.uniform(0.36, 0.44))[decks - 1], 0.045
    yield Part(block((0, (height + wheel) / 2, 0), (1, height - wheel, width), 0.02), colour)
    for level in np.arange(decks) + 0.62:
        yield Part(block((0.01, level * height / decks, 0), (0.97, 0.3 * height / decks, width + 0.012)), glass)
    yield from wheels(0.32, 0.3, width / 2 - 0.01, wheel + 0.01, tyre)


def racer(rng: Rng, colour: Colour, glass: Colour, tyre: Colour) -> Iterator[Part]:
    """A single-seater: a slim body, four free wheels and two wings."""
    track, wheel, nose = rng.uniform(0.17, 0.25), rng.uniform(0.06, 0.09), rng.uniform(0.035, 0.05)
    level, girth = 0.7 * wheel + 0.02, rng.uniform(0.07, 0.12)
    hoops = [(0.5, nose, 0.03), (0.2, 0.05, 0.05), (0.0, 0.08, girth), (-0.3, 0.08, girth * 0.8), (-0.46, 0.05, 0.05)]
    yield Part(loft(*(section((x, level + 0.02, 0), (tall, wide), 4) for x, tall, wide in hoops)), colour)
    yield Part(ball((-0.02, level + 0.1, 0), (0.05, 0.05, 0.04)), glass)
    yield Part(prism([(-0.4, level), (-0.12, level), (-0.12, level + 0.17), (-0.2, level + 0.17)], THIN), colour)
    yield Part(box((0.42, level - 0.03, -track), (0.53, level - 0.03 + THIN, track)), tint(rng, "paint"))
    yield Part(
        box((-0.5, level + 0.14, -0.7 * track), (-0.4, level + 0.14 + THIN, 0.7 * track))
        + box((-0.48, level, -0.03), (-0.42, level + 0.16, 0.03)),
        colour,
    )
    for x in (0.3, -0.34):
        yield Part(rod((x, wheel, -track), (x, wheel, track), THIN / 2), tint(rng, "metal"))
        yield Part(mirrored(rod((x, wheel, track - 0.08), (x, wheel, track + 0.02), wheel, sides=20)), tyre)
