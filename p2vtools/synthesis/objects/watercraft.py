"""Ships and boats, the bow at +x; the hull is 1 long and its deck lies at y = 0."""

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
    loft,
    mirrored,
    pick,
    prism,
    rod,
    spread,
    tint,
    union,
)

Rng = np.random.Generator


def hull_of_ship(length: float, beam: float, draught: float, sharp: float, sheer: float, transom: float) -> Manifold:
    """A ship's hull, its deck at y = 0 and rising by ``sheer`` to the bow, which takes the share ``sharp`` of it."""
    stations = []
    shape = [(0.0, transom, 0.8, 0.3), (0.2, 1, 1, 0.05), (1 - sharp, 1, 1, 0), (1 - sharp / 2, 0.72, 0.95, 0.35)]
    for share, wide, deep, rise in [*shape, (1, 0.06, 0.6, 1)]:
        x, y, half = (share - 0.5) * length, rise * sheer, max(wide * beam / 2, THIN / 2)
        keel = max(0.55 * half, THIN / 2)
        foot = x - (0.08 * length if share == 1 else 0)
        stations.append(
            np.array([(x, y, half), (x, y, -half), (foot, -deep * draught, keel), (foot, -deep * draught, -keel)])
        )
    return loft(*stations)


def watercraft(rng: Rng) -> Iterator[Part]:
    """Sailing boats, motor yachts, freighters, tankers, warships, rowing boats, catamarans and tugs."""
    style = pick(
        rng,
        ("sail", 2.5),
        ("yacht", 2),
        ("freighter", 1.5),
        ("warship", 1.3),
        ("rowing", 1.3),
        ("catamaran", 1),
        ("tug", 1.2),
    )
    shell, deck = tint(rng, pick(rng, ("paint", 2), ("wood", 1))), tint(rng, "light")
    beam, draught, sharp = rng.uniform(0.2, 0.42), rng.uniform(0.08, 0.2), rng.uniform(0.25, 0.6)
    if style in ("freighter", "warship"):
        beam = rng.uniform(0.1, 0.2)
    elif style == "rowing":
        beam, draught = rng.uniform(0.3, 0.42), rng.uniform(0.15, 0.22)
    body = hull_of_ship(1.0, beam, draught, sharp, rng.uniform(0.0, 0.1), rng.uniform(0.5, 1.0))
    if style == "rowing":
        well = hull_of_ship(1.0 - 0.16, beam - 2 * THIN, draught, sharp, 0.3, 0.7).translate((0, THIN, 0))
        yield Part(body - well, shell)
        for x in spread(0.22, int(rng.integers(1, 4))):
            yield Part(block((x, -0.35 * draught, 0), (0.07, THIN, 0.72 * beam)), tint(rng, "wood"))
        return
    if style == "catamaran":
        gap = rng.uniform(0.2, 0.32)
        slim = hull_of_ship(1.0, 0.11, draught, sharp, 0.03, 0.8).translate((0, 0, gap))
        yield Part(mirrored(slim), shell)
        yield Part(box((-0.42, -0.03, -gap), (0.22, 0.03, gap)), deck)
    else:
        yield Part(body, shell)
    if style == "sail" or (style == "catamaran" and chance(rng, 0.6)):
        yield from rigging(rng, -0.02)
    superstructure = {"freighter": freight, "warship": turrets, "tug": wheelhouse}.get(style, tiers)
    yield from superstructure(rng, beam, deck)


def rigging(rng: Rng, deck: float) -> Iterator[Part]:
    """One or two masts with a main sail each, and a fore sail."""
    cloth, spar = tint(rng, "light"), tint(rng, "wood")
    masts = ((0.1, 1.0),) if chance(rng, 0.65) else ((0.2, 1.0), (-0.22, 0.8))
    rise = rng.uniform(0.75, 1.25)
    for x, share in masts:
        top, boom = deck + share * rise, rng.uniform(0.3, 0.48) if len(masts) == 1 else 0.3
        yield Part(rod((x, deck, 0), (x, top, 0), 0.55 * THIN), spar)
        yield Part(rod((x, deck + 0.12, 0), (x - boom, deck + 0.12, 0), 0.55 * THIN), spar)
        if chance(rng, 0.9):
            yield Part(prism([(x, deck + 0.12), (x, top - 0.03), (x - boom, deck + 0.12)], THIN * 1.1), cloth)
    if chance(rng, 0.6):
        x = masts[0][0]
        yield Part(
            prism([(x, deck + 0.1), (0.47, deck + 0.05), (x, deck + rise * rng.uniform(0.6, 0.9))], THIN * 1.1), cloth
        )


def tiers(rng: Rng, beam: float, colour: Colour) -> Iterator[Part]:
    """Cabins on each other, raked at the front, with dark windows."""
    rear, front, level, glass = rng.uniform(-0.42, -0.2), rng.uniform(0.05, 0.25), -0.01, tint(rng, "glass")
    for tier in range(int(rng.integers(1, 4))):
        tall, half = rng.uniform(0.06, 0.1), beam * (0.38 - 0.06 * tier)
        rake = rng.uniform(0.02, 0.1)
        outline = [(rear, level), (front, level), (front - rake, level + tall), (rear + 0.2 * rake, level + tall)]
        yield Part(prism(outline, 2 * half), colour)
        yield Part(
            prism([(x * 0.96 + 0.02 * (x < 0), y * 0.7 + 0.3 * level + 0.02) for x, y in outline], 2 * half + 0.01),
            glass,
        )
        level, rear, front = level + tall - 0.005, rear + rng.uniform(0, 0.08), front - rake - rng.uniform(0.02, 0.1)
        if front - rear < 0.12:
            break
    if chance(rng, 0.4):
        yield Part(
            rod((rear + 0.05, level, 0), (rear + 0.02, level + rng.uniform(0.1, 0.2), 0), THIN / 2), tint(rng, "metal")
        )


def freight(rng: Rng, beam: float, colour: Colour) -> Iterator[Part]:
    """A bridge, a funnel, and containers, tanks or cranes."""
    bridge, tall = rng.choice([-0.4, -0.4, 0.28]), rng.uniform(0.12, 0.24)
    yield Part(block((bridge, tall / 2 - 0.01, 0), (0.1, tall, 0.9 * beam)), colour)
    yield Part(rod((bridge - 0.01, tall - 0.02, 0), (bridge - 0.02, tall + 0.07, 0), 0.03), tint(rng, "paint"))
    load = pick(rng, ("containers", 2), ("tanks", 1), ("cranes", 1))
    for x in np.arange(-0.3, 0.22, 0.11):
        if load == "containers":
            stack = rng.integers(0, 4) * 0.055 + 0.01
            yield Part(block((x, stack / 2 - 0.01, 0), (0.1, stack + 0.02, 0.85 * beam)), tint(rng, "paint"))
        elif load == "tanks":
            yield Part(ball((x, 0.02, 0), (0.05, 0.07, 0.4 * beam)), tint(rng, "paint"))
        elif int(round(x / 0.11)) % 2:
            yield Part(
                rod((x, -0.02, 0), (x, 0.24, 0), THIN / 2) + rod((x, 0.12, 0), (x + 0.11, 0.22, 0), THIN / 2),
                tint(rng, "paint"),
            )


def turrets(rng: Rng, beam: float, colour: Colour) -> Iterator[Part]:
    """A warship's tower, masts and guns."""
    grey = tint(rng, "metal")
    tower = rng.uniform(-0.1, 0.1)
    for tier, rise in enumerate(np.cumsum(rng.uniform(0.05, 0.09, int(rng.integers(2, 5))))):
        yield Part(block((tower, rise / 2 - 0.01, 0), (0.36 - 0.08 * tier, rise, beam * (0.8 - 0.12 * tier))), grey)
    yield Part(rod((tower, 0, 0), (tower, rise + rng.uniform(0.05, 0.2), 0), THIN / 2), colour)
    for x, aim in ((0.27, 1), (0.38, 1), (-0.3, -1))[: int(rng.integers(1, 4))]:
        yield Part(rod((x, -0.01, 0), (x, 0.05, 0), 0.045), grey)
        yield Part(rod((x, 0.035, 0), (x + aim * 0.12, 0.05, 0), THIN / 2), grey)


def wheelhouse(rng: Rng, beam: float, colour: Colour) -> Iterator[Part]:
    """A tug's or trawler's tall house, funnel and mast."""
    x, wide, tall = rng.uniform(-0.25, 0.25), rng.uniform(0.18, 0.32), rng.uniform(0.18, 0.36)
    yield Part(block((x, tall / 2 - 0.01, 0), (wide, tall, 0.65 * beam)), colour)
    yield Part(block((x, 0.75 * tall, 0), (wide + 0.015, 0.2 * tall, 0.65 * beam + 0.015)), tint(rng, "glass"))
    yield Part(rod((x - 0.04, tall - 0.03, 0), (x - 0.04, tall + rng.uniform(0.08, 0.3), 0), 0.03), tint(rng, "dark"))
    if chance(rng, 0.6):
        mast = -np.sign(x) * 0.3
        yield Part(
            union(
                rod((mast, -0.02, 0), (mast, 0.45, 0), THIN / 2),
                rod((mast, 0.1, 0), (mast + np.sign(x) * 0.15, 0.4, 0), THIN / 2),
            ),
            tint(rng, "metal"),
        )
