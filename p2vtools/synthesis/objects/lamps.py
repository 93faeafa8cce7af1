"""Lamps: table, floor, desk, hanging and wall; an arm reaches towards +x."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from manifold3d import Manifold

from p2vtools.synthesis.objects.parts import (
    THIN,
    Colour,
    Part,
    arc,
    ball,
    block,
    chance,
    lathe,
    pick,
    rod,
    spread,
    tint,
    tube,
)

Rng = np.random.Generator


def shade(rng: Rng, top: float, radius: float, height: float) -> Manifold:
    """A lamp shade hanging from ``top``: drum, cone, bell, globe, bowl or four-sided."""
    style = pick(rng, ("drum", 1), ("cone", 2), ("bell", 1), ("globe", 1), ("bowl", 1), ("square", 1))
    low, narrow = top - height, radius * rng.uniform(0.3, 0.7)
    if style == "globe":
        return ball((0, top - 0.8 * radius, 0), (radius, 0.8 * radius, radius))
    profiles = {
        "drum": [(radius, low), (radius, top)],
        "cone": [(radius, low), (narrow, top)],
        "square": [(radius, low), (narrow, top)],
        "bell": [
            (radius, low),
            (0.65 * radius, low + 0.35 * height),
            (0.5 * radius, low + 0.7 * height),
            (0.12 * radius + 0.03, top),
        ],
        "bowl": [
            (radius, low),
            (0.95 * radius, low + 0.3 * height),
            (0.6 * radius, low + 0.8 * height),
            (0.2 * radius, top),
        ],
    }
    return lathe(profiles[style], segments=4 if style == "square" else 24)


def lamp(rng: Rng) -> Iterator[Part]:
    """Table, floor, arc, desk, hanging, chandelier, wall and tripod lamps."""
    style = pick(
        rng,
        ("table", 4),
        ("floor", 3),
        ("arc", 1),
        ("desk", 2),
        ("hanging", 2),
        ("chandelier", 1.5),
        ("wall", 1),
        ("tripod", 1),
        ("column", 0.6),
    )
    metal, cloth = tint(rng, pick(rng, ("metal", 2), ("wood", 1), ("dark", 1))), tint(rng, "light")
    r = THIN / 2
    if style == "table":
        yield from table_lamp(rng, metal, cloth)
    elif style == "floor":
        radius, height = rng.uniform(0.1, 0.24), rng.uniform(0.15, 0.35)
        yield Part(lathe([(rng.uniform(0.1, 0.2), 0), (0.1, THIN), (r, THIN * 1.5), (r, 1 - height / 2)]), metal)
        yield Part(shade(rng, 1.0, radius, height), cloth)
        yield Part(rod((0, 1 - height * 0.9, 0), (0, 1 + THIN / 2, 0), r), metal)
    elif style == "tripod":
        radius, height, foot = rng.uniform(0.18, 0.3), rng.uniform(0.22, 0.36), rng.uniform(0.2, 0.34)
        for turn in np.deg2rad([0, 120, 240]):
            yield Part(rod((foot * np.cos(turn), 0, foot * np.sin(turn)), (0, 1 - height, 0), r), metal)
        yield Part(shade(rng, 1.0, radius, height), cloth)
        yield Part(rod((0, 0.9 - height, 0), (0, 1 + r, 0), r), metal)
    elif style == "column":
        wide = rng.uniform(0.1, 0.35)
        yield Part(lathe([(wide, 0.04), (wide * rng.uniform(0.7, 1.1), 1)], segments=int(rng.choice([4, 24]))), cloth)
        yield Part(lathe([(wide * 1.1, 0), (wide * 1.1, 0.07)]), metal)
    else:
        yield from {
            "arc": arc_lamp,
            "desk": desk_lamp,
            "hanging": hanging_lamp,
            "chandelier": chandelier,
            "wall": wall_lamp,
        }[style](rng, metal, cloth)


def table_lamp(rng: Rng, metal: Colour, cloth: Colour) -> Iterator[Part]:
    """A vase, a stack of balls, a column or a block under a wide shade."""
    height, radius, share = rng.uniform(0.55, 1.0), rng.uniform(0.25, 0.42), rng.uniform(0.35, 0.55)
    body, style = height * (1 - share) + 0.03, pick(rng, ("vase", 2), ("balls", 1), ("column", 1), ("block", 1))
    if style == "vase":
        belly = rng.uniform(0.1, 0.26)
        yield Part(
            lathe(
                [(0.5 * belly, 0), (belly, 0.3 * body), (0.9 * belly, 0.5 * body), (0.05, 0.85 * body), (0.05, body)]
            ),
            tint(rng, "plastic"),
        )
    elif style == "balls":
        count = int(rng.integers(2, 4))
        for k in range(count):
            yield Part(
                ball(
                    (0, body * (k + 0.5) / count, 0),
                    (rng.uniform(0.08, 0.18), 0.55 * body / count, rng.uniform(0.08, 0.18)),
                ),
                metal,
            )
    elif style == "column":
        yield Part(lathe([(0.2, 0), (0.2, THIN), (0.035, 1.6 * THIN), (0.035, body)]), metal)
    else:
        yield Part(block((0, body / 2, 0), (rng.uniform(0.1, 0.3), body, rng.uniform(0.1, 0.4))), tint(rng, "wood"))
    yield Part(rod((0, 0.6 * body, 0), (0, height + THIN / 2, 0), THIN / 2), metal)
    yield Part(shade(rng, height, radius, height * share), cloth)


def arc_lamp(rng: Rng, metal: Colour, cloth: Colour) -> Iterator[Part]:
    """A foot, a bow over +x, and a shade at its end."""
    reach, radius, drop = rng.uniform(0.25, 0.45), rng.uniform(0.1, 0.2), rng.uniform(0.12, 0.25)
    bow = arc((0, 0.7, 0), (reach, 0.3), (180, 0), 9)
    yield Part(tube([(-reach, 0, 0), *bow], THIN / 2), metal)
    yield Part(lathe([(0.14, 0), (0.14, THIN)], (-reach, 0, 0)), metal)
    yield Part(shade(rng, 0.7, radius, drop).translate((reach, 0.02, 0)), cloth)


def desk_lamp(rng: Rng, metal: Colour, cloth: Colour) -> Iterator[Part]:
    """A jointed arm on a foot, with a cone that looks down."""
    elbow, head = (rng.uniform(-0.4, 0.0), rng.uniform(0.35, 0.6)), (rng.uniform(0.15, 0.45), rng.uniform(0.6, 0.95))
    yield Part(lathe([(rng.uniform(0.14, 0.24), 0), (0.12, THIN * 1.2)]), metal)
    yield Part(tube([(0, THIN / 2, 0), (*elbow, 0), (*head, 0)], THIN / 2), metal)
    tilt = rng.uniform(-10, 50)
    cone = lathe([(rng.uniform(0.14, 0.24), -0.22), (0.07, -0.02), (0.05, 0.05)]).rotate((0, 0, tilt))
    yield Part(cone.translate((*head, 0)), cloth)


def hanging_lamp(rng: Rng, metal: Colour, cloth: Colour) -> Iterator[Part]:
    """One to three shades on cords under a ceiling plate."""
    count, cord = int(rng.choice([1, 1, 2, 3])), rng.uniform(0.1, 0.65)
    radius = rng.uniform(0.2, 0.45) / count
    places = spread(radius * 1.2 * (count - 1), count)
    yield Part(block((0, 0, 0), (0.16, THIN, 0.16 + 2 * places.max())), metal)
    for z in places:
        low = -cord * rng.uniform(0.7, 1.0)
        tall = rng.uniform(0.7, 1.6) * radius
        yield Part(rod((0, 0, z), (0, low - 0.3 * tall, z), THIN / 2), metal)
        yield Part(shade(rng, low, radius, tall).translate((0, 0, z)), cloth)


def chandelier(rng: Rng, metal: Colour, cloth: Colour) -> Iterator[Part]:
    """A stem with curved arms, a candle or a small globe on each, upright or hanging."""
    arms, reach, stem = int(rng.integers(3, 8)), rng.uniform(0.3, 0.5), rng.uniform(0.3, 0.8)
    up, sag = rng.choice([-1, 1]), rng.uniform(0.05, 0.2)
    yield Part(lathe([(0.1, stem - THIN), (0.1, stem)]) + rod((0, -sag, 0), (0, stem, 0), THIN / 2), metal)
    yield Part(ball((0, -0.5 * sag, 0), (0.09, 0.07 + 0.5 * sag, 0.09)), metal)
    for turn in 360 * np.arange(arms) / arms:
        path = [(0, -sag / 2, 0), (0.5 * reach, -sag, 0), (reach, 0, 0)]
        yield Part(tube(path, THIN / 2).rotate((0, turn, 0)), metal)
        bulb = ball((reach, up * 0.07, 0), (0.07, 0.1, 0.07), 12) + rod((reach, 0, 0), (reach, up * 0.05, 0), THIN / 2)
        yield Part(bulb.rotate((0, turn, 0)), cloth)


def wall_lamp(rng: Rng, metal: Colour, cloth: Colour) -> Iterator[Part]:
    """A plate on the wall, an arm towards +x, and a shade that looks up or down."""
    reach, radius, tall = rng.uniform(0.2, 0.5), rng.uniform(0.14, 0.3), rng.uniform(0.25, 0.5)
    plate = rng.uniform(0.15, 0.45)
    yield Part(block((0, 0, 0), (THIN, plate, rng.uniform(0.12, 0.3)), rng.choice([0, 0.02])), metal)
    yield Part(tube([(0, 0, 0), (reach, rng.uniform(-0.15, 0.0), 0), (reach, 0.2, 0)], THIN / 2), metal)
    cup = shade(rng, 0.0, radius, tall)
    yield Part((cup if chance(rng, 0.5) else cup.mirror((0, 1, 0))).translate((reach, 0.15, 0)), cloth)
