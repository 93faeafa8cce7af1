"""Rifles, about 1 long: the muzzle at +x, the bore on the x axis."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from p2vtools.synthesis.objects.parts import (
    THIN,
    Colour,
    Part,
    block,
    box,
    chance,
    mirrored,
    pick,
    prism,
    rod,
    tint,
    tube,
)

Rng = np.random.Generator


def rifle(rng: Rng) -> Iterator[Part]:
    """Hunting, assault, sniper and lever rifles, carbines and submachine guns; about 1 long, bore at y = 0."""
    style = pick(rng, ("hunting", 2), ("assault", 3), ("sniper", 2), ("compact", 1.5), ("bullpup", 1))
    wood, steel = (
        tint(rng, pick(rng, ("wood", 2), ("dark", 1), ("plastic", 0.5))),
        tint(rng, pick(rng, ("dark", 2), ("metal", 1))),
    )
    barrel, body, bore = rng.uniform(0.2, 0.45), rng.uniform(0.07, 0.13), rng.uniform(0.5, 0.65) * THIN
    if style in ("compact", "bullpup"):
        barrel, body = rng.uniform(0.12, 0.22), rng.uniform(0.1, 0.17)
    front, wide = 0.5 - barrel, rng.uniform(THIN, 0.08)
    middle = rng.uniform(-0.15, 0.0) if style != "bullpup" else -0.3
    yield Part(rod((front - 0.05, 0, 0), (0.5, 0, 0), bore), steel)
    yield Part(box((middle - 0.08, -body / 2, -wide / 2), (max(middle + 0.2, front), body / 2, wide / 2)), steel)
    yield from stock(rng, style, middle, body, wide, wood)
    if chance(rng, 0.7):
        reach = front + barrel * rng.uniform(0.2, 0.8)
        yield Part(box((middle + 0.1, -body / 2 - 0.01, -wide / 2 - 0.01), (reach, bore * 1.2, wide / 2 + 0.01)), wood)
    if style != "hunting":
        grip = middle if style != "bullpup" else 0.02
        yield Part(
            prism(
                [(grip - 0.07, -body / 2 - 0.15), (grip - 0.01, -body / 2 - 0.15), (grip + 0.03, 0), (grip - 0.03, 0)],
                THIN,
            ),
            wood,
        )
        yield from magazine(rng, middle + 0.1 if style != "bullpup" else -0.25, body, steel)
    if style == "sniper" or chance(rng, 0.3):
        level, length = body / 2 + rng.uniform(0.045, 0.07), rng.uniform(0.15, 0.32)
        tubes = rod((middle - 0.04, level, 0), (middle - 0.04 + length, level, 0), 0.6 * THIN, 0.8 * THIN)
        yield Part(tubes + block((middle + 0.04, level / 2, 0), (0.1, level, THIN)), tint(rng, "dark"))
    elif chance(rng, 0.4):
        yield Part(
            prism([(middle, 0), (middle + 0.18, 0), (middle + 0.15, body / 2 + 0.08), (middle, body / 2 + 0.08)], THIN),
            steel,
        )
    if (style == "sniper" and chance(rng, 0.6)) or chance(rng, 0.1):
        yield Part(mirrored(rod((front + 0.05, 0, 0), (front + 0.09, -rng.uniform(0.18, 0.28), 0.1), THIN / 2)), steel)
    if chance(rng, 0.4):
        yield Part(prism([(0.42, 0), (0.48, 0), (0.475, 0.07), (0.42, 0.07)], THIN), steel)


def stock(rng: Rng, style: str, middle: float, body: float, wide: float, colour: Colour) -> Iterator[Part]:
    """A carved stock, a thumb-hole stock, a wire stock, a bare butt or none."""
    butt, toe = -0.5, -body / 2 - rng.uniform(0.03, 0.14)
    kind = (
        "solid"
        if style in ("hunting", "bullpup")
        else pick(rng, ("solid", 2), ("hole", 1.5), ("wire", 1.5), ("tube", 1))
    )
    if style == "compact" and chance(rng, 0.4):
        return
    neck = (middle, -body / 2 - 0.02), (middle, body / 3), (butt, body / 3 - rng.uniform(0, 0.06)), (butt, toe)
    outline = [neck[3], (middle - 0.1, -body / 2 - 0.03), neck[0], neck[1], neck[2]]
    if kind == "solid":
        yield Part(prism(outline, wide), colour)
    elif kind == "hole":
        beams = box((butt, body / 3 - 1.1 * THIN, -wide / 2), (middle, body / 3, wide / 2))
        beams += rod((butt + 0.05, toe - 0.03, 0), (middle - 0.02, -body / 2 + THIN / 2, 0), 0.55 * THIN, sides=4)
        yield Part(beams + box((butt, toe - 0.06, -wide / 2), (butt + 0.08, body / 3, wide / 2)), colour)
    elif kind == "wire":
        path = [
            (middle - 0.02, 0, 0),
            (butt + THIN / 2, 0, 0),
            (butt + THIN / 2, toe - 0.03, 0),
            (middle - 0.04, -body / 2 + THIN / 2, 0),
        ]
        yield Part(tube(path, THIN / 2), colour)
    else:
        yield Part(rod((middle, 0, 0), (butt + 0.02, 0, 0), 0.6 * THIN), colour)
        yield Part(box((butt, toe, -wide / 2), (butt + 0.08, body / 3, wide / 2)), colour)


def magazine(rng: Rng, x: float, body: float, colour: Colour) -> Iterator[Part]:
    """Straight, curved, drum, or none."""
    style, drop = pick(rng, ("straight", 2), ("curved", 2), ("drum", 0.7), ("none", 1)), rng.uniform(0.08, 0.24)
    low = -body / 2 - drop
    if style == "straight":
        yield Part(box((x - 0.035, low, -THIN / 2), (x + 0.035, 0, THIN / 2)), colour)
    elif style == "curved":
        yield Part(
            prism(
                [
                    (x + 0.05, low),
                    (x + 0.11, low + 0.03),
                    (x + 0.05, -body / 2 - 0.02),
                    (x + 0.04, 0),
                    (x - 0.04, 0),
                    (x - 0.02, -body / 2 - 0.04),
                ],
                THIN,
            ),
            colour,
        )
    elif style == "drum":
        yield Part(rod((x, -body / 2 - 0.05, -0.05), (x, -body / 2 - 0.05, 0.05), 0.08), colour)
