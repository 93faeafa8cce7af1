"""Display, speaker and telephone, their fronts facing +x."""

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
    hull,
    lathe,
    mirrored,
    pick,
    prism,
    quarters,
    rod,
    spread,
    tint,
    union,
)

Rng = np.random.Generator


def display(rng: Rng) -> Iterator[Part]:
    """Monitors and television sets: flat, curved, deep, upright, twin or folding; about 1 wide (z)."""
    style = pick(rng, ("flat", 6), ("tube", 1.5), ("curved", 1.5), ("upright", 0.7), ("twin", 1), ("laptop", 1.2))
    case, glass = tint(rng, pick(rng, ("dark", 2), ("plastic", 1), ("metal", 1))), tint(rng, "glass")
    width, height = (rng.uniform(0.45, 0.65), 0.95) if style == "upright" else (1.0, rng.uniform(0.5, 0.72))
    thick, stand = rng.uniform(THIN, 0.1), rng.uniform(0.08, 0.4)
    if style == "laptop":
        yield from laptop(rng, case, glass)
        return
    if style == "tube":
        yield from picture_tube(rng, case, glass)
        return
    middle = stand + height / 2
    if style == "curved":
        bend = rng.uniform(1.3, 2.2)
        ring = lathe([(bend, -height / 2), (bend, height / 2)], segments=96) - lathe(
            [(bend - thick, -1), (bend - thick, 1)], segments=96
        )
        panel = ring.translate((bend - thick / 2, middle, 0)) ^ box((-1, 0, -0.5), (0.5, 2, 0.5))
        yield Part(panel, case)
        yield Part(panel.scale((1, 0.92, 0.92)).translate((0.012, 0.08 * middle, 0)), glass)
    else:
        yield from panels(2 if style == "twin" else 1, width, height, middle, thick, case, glass)
    yield from display_stand(rng, stand, middle, width, thick, tint(rng, pick(rng, ("metal", 1), ("dark", 1))))


def panels(
    count: int, width: float, height: float, middle: float, thick: float, case: Colour, glass: Colour
) -> Iterator[Part]:
    """``count`` flat panels in one row of total ``width``, a screen let into each; the rear bulges in the middle."""
    wide = width / count
    for z in spread(width / 2 - wide / 2, count):
        yield Part(block((0, middle, z), (thick, height, wide)), case)
        yield Part(block((thick / 2, middle, z), (0.02, height - 0.07, wide - 0.07)), glass)
    yield Part(block((-thick / 2 - 0.02, middle, 0), (0.06, 0.4 * height, 0.5 * width)), case)


def display_stand(rng: Rng, stand: float, middle: float, width: float, thick: float, colour: Colour) -> Iterator[Part]:
    """A plate and neck, an easel, two feet, or nothing but the wall."""
    style, r, reach = (
        pick(rng, ("plate", 3), ("round", 2), ("feet", 2), ("easel", 1), ("wall", 1.5)),
        THIN / 2,
        rng.uniform(0.12, 0.3),
    )
    if style == "wall":
        yield Part(block((-0.08, middle, 0), (0.14, 0.2, 0.2)), colour)
    elif style == "feet":
        z = width * rng.uniform(0.22, 0.4)
        for side in (-1, 1):
            bar = rod((-reach, r, side * z), (reach, r, side * z), r, sides=4)
            yield Part(bar + rod((-0.02, 0, side * z), (0.02, middle, side * z), r, sides=4), colour)
    elif style == "easel":
        yield Part(rod((-reach - 0.1, 0, 0), (-0.03, middle, 0), 0.06, 0.05, sides=4), colour)
        yield Part(mirrored(rod((0, 0, 0.2 * width), (0, middle, 0.1 * width), r)), colour)
    else:
        x = rng.uniform(-0.1, 0.0)
        wide = rng.uniform(0.2, 0.6) * width
        foot = (
            block((x, r, 0), (2 * reach, THIN, wide))
            if style == "plate"
            else lathe([(1, 0), (1, THIN)]).scale((reach, 1, wide / 2)).translate((x, 0, 0))
        )
        yield Part(foot, colour)
        neck = rng.uniform(THIN, 0.16)
        yield Part(hull(quads(x, r, THIN, neck), quads(-0.04, middle, THIN, neck)), colour)


def quads(x: float, y: float, depth: float, width: float) -> list[tuple[float, float, float]]:
    """The corners of a level rectangle about (x, y, 0)."""
    return [(x + a, y, b) for a, b in quarters(depth / 2, width / 2)]


def picture_tube(rng: Rng, case: Colour, glass: Colour) -> Iterator[Part]:
    """A set with a cathode-ray tube: a deep box that narrows to the rear, on a foot or on legs."""
    width, height, depth = rng.uniform(0.75, 1.0), rng.uniform(0.65, 0.9), rng.uniform(0.45, 0.95)
    lift, frame = rng.uniform(0.03, 0.2), rng.uniform(0.12, 0.5) * depth
    middle = (depth - frame) / 2
    yield Part(block((middle, lift + height / 2, 0), (frame, height, width)), case)
    small = rng.uniform(0.45, 0.9)
    face = [
        (depth / 2 - frame + 0.01, lift + height * (0.5 + s), t * width) for s in (-0.48, 0.48) for t in (-0.48, 0.48)
    ]
    rear = [
        (-depth / 2, lift + height * (0.45 + s * small), t * width * small)
        for s in (-0.45, 0.45)
        for t in (-0.45, 0.45)
    ]
    yield Part(hull(face, rear), tint(rng, "dark"))
    screen = rng.uniform(0.6, 0.9)
    yield Part(
        block((depth / 2, lift + height / 2, (screen - 0.92) / 2 * width), (0.03, 0.8 * height, screen * width)), glass
    )
    foot = block((0, lift / 2, 0), (0.6 * depth, lift + 0.08, 0.6 * width))
    yield Part(foot, case)
    if chance(rng, 0.3):
        yield Part(
            mirrored(rod((middle, lift + height - 0.03, 0.02), (middle - 0.1, lift + height + 0.3, 0.3), THIN / 2)),
            tint(rng, "metal"),
        )


def laptop(rng: Rng, case: Colour, glass: Colour) -> Iterator[Part]:
    """A keyboard with its lid open by 80 to 140 degrees."""
    depth, thick, lean = rng.uniform(0.55, 0.75), rng.uniform(THIN, 0.08), np.deg2rad(rng.uniform(-10, 50))
    yield Part(block((depth / 2, thick / 2, 0), (depth, thick, 1)), case)
    yield Part(block((0.45 * depth, thick, 0), (0.5 * depth, 0.02, 0.85)), tint(rng, "dark"))
    lid = box((-thick, 0, -0.5), (0, depth, 0.5)).rotate((0, 0, np.rad2deg(lean)))
    screen = box((-0.5 * thick, 0.06, -0.45), (0.01, depth - 0.05, 0.45)).rotate((0, 0, np.rad2deg(lean)))
    yield Part(lid.translate((0.02, 0.0, 0)), case)
    yield Part(screen.translate((0.02, 0.0, 0)), glass)


def speaker(rng: Rng) -> Iterator[Part]:
    """Towers, shelf boxes, bars, balls, cylinders, stage wedges, stacks, horns and speakers on stands."""
    style = pick(
        rng,
        ("tower", 2),
        ("shelf", 2),
        ("bar", 1.2),
        ("ball", 1),
        ("can", 1),
        ("wedge", 1),
        ("stand", 1.5),
        ("pair", 1.2),
        ("slab", 1),
    )
    case, cone = (
        tint(rng, pick(rng, ("dark", 2), ("wood", 2), ("plastic", 1))),
        tint(rng, pick(rng, ("metal", 1), ("light", 1))),
    )
    if style in ("tower", "shelf", "bar", "slab"):
        sizes = {
            "tower": ((0.2, 0.5), (1.0, 1.0), (0.16, 0.34)), "shelf": ((0.4, 1.0), (0.8, 1.0), (0.5, 0.85)),
            "bar": ((0.1, 0.3), (0.12, 0.35), (1.0, 1.0)), "slab": ((0.08, 0.25), (0.9, 1.0), (0.4, 1.0)),
        }[style]  # fmt: skip
        depth, height, width = (rng.uniform(*bounds) for bounds in sizes)
        yield from speaker_box(rng, depth, height, width, case, cone)
        if chance(rng, 0.4):
            yield Part(
                block((0, THIN / 2 - 0.03, 0), (depth * rng.uniform(0.9, 1.3), THIN, width * rng.uniform(0.9, 1.4))),
                cone,
            )
    elif style == "ball":
        yield Part(ball((0, 0.5, 0), (0.5, rng.uniform(0.4, 0.5), 0.5), 28), case)
        yield Part(rod((0.3, 0.5, 0), (0.48, 0.5, 0), 0.28), cone)
        yield Part(lathe([(rng.uniform(0.2, 0.45), 0), (0.1, 0.15)]), cone)
    elif style == "can":
        radius = rng.uniform(0.16, 0.5)
        yield Part(lathe([(radius, 0), (radius * rng.uniform(0.6, 1.1), 1)], segments=int(rng.choice([6, 28]))), case)
        yield Part(lathe([(radius * 1.06, 0.1), (radius * 1.06, 0.2)]), cone)
    elif style == "wedge":
        depth, height = rng.uniform(0.45, 0.8), rng.uniform(0.4, 0.7)
        yield Part(
            prism([(-depth / 2, 0), (depth / 2, 0), (depth / 2, 0.1), (-depth / 6, height), (-depth / 2, height)], 1.0),
            case,
        )
        yield Part(mirrored(rod((0, 0.3 * height, 0.22), (depth / 6 + 0.06, 0.5 * height + 0.1, 0.22), 0.14)), cone)
    elif style == "stand":
        yield from stand_speaker(rng, case, cone)
    else:
        yield from speaker_pair(rng, case, cone)


def speaker_box(
    rng: Rng, depth: float, height: float, width: float, case: Colour, cone: Colour, base: float = 0.0
) -> Iterator[Part]:
    """A box with a row of drivers on its front, along its longer side."""
    yield Part(block((0, base + height / 2, 0), (depth, height, width), rng.choice([0, 0.03])), case)
    count, room = int(rng.integers(1, 5)), max(height, width)
    radius = min(0.42 * min(height, width), 0.42 * room / count)
    for k, place in enumerate(spread(room * (0.5 - 0.5 / count), count)):
        y, z = (base + height / 2 + place, 0) if height > width else (base + height / 2, place)
        size = radius * (1 - 0.12 * k)
        yield Part(rod((depth / 2 - 0.03, y, z), (depth / 2 + 0.02, y, z), size, 0.85 * size, 20), cone)
        yield Part(rod((depth / 2, y, z), (depth / 2 + 0.035, y, z), 0.35 * size), case)


def stand_speaker(rng: Rng, case: Colour, cone: Colour) -> Iterator[Part]:
    """A box on a pole with a plate or a tripod."""
    pole, height, width, depth = (
        rng.uniform(0.35, 0.65),
        rng.uniform(0.25, 0.42),
        rng.uniform(0.18, 0.34),
        rng.uniform(0.15, 0.34),
    )
    yield from speaker_box(rng, depth, height, width, case, cone, pole)
    yield Part(rod((0, 0, 0), (0, pole + 0.02, 0), THIN * 0.6), cone)
    if chance(rng, 0.5):
        yield Part(block((0, THIN / 2, 0), (rng.uniform(0.2, 0.36), THIN, rng.uniform(0.2, 0.36))), cone)
    else:
        for turn in (0, 120, 240):
            yield Part(rod((0.28, 0, 0), (0, 0.3, 0), THIN / 2).rotate((0, turn, 0)), cone)


def speaker_pair(rng: Rng, case: Colour, cone: Colour) -> Iterator[Part]:
    """Two satellites beside a bass box or on a common bar."""
    height, width, depth = rng.uniform(0.4, 0.9), rng.uniform(0.18, 0.3), rng.uniform(0.2, 0.4)
    bass = rng.uniform(0.3, 0.6)
    for side in (-1, 1):
        for part in speaker_box(rng, depth, height, width, case, cone):
            yield Part(part.solid.translate((0, 0, side * (0.5 - width / 2))), part.colour)
    yield Part(block((0, THIN / 2, 0), (0.6 * depth, THIN, 0.9)), case)
    if chance(rng, 0.6):
        yield from speaker_box(rng, depth * 1.3, bass, 1 - 2 * width - 0.1, case, cone)


def telephone(rng: Rng) -> Iterator[Part]:
    """Mobile, folding, sliding, cordless, desk, dial and box telephones; the display looks to +x."""
    style = pick(
        rng, ("bar", 2.5), ("fold", 1.5), ("slide", 1.2), ("cordless", 1.5), ("desk", 2), ("dial", 1.3), ("box", 1)
    )
    case, glass = tint(rng, pick(rng, ("dark", 2), ("plastic", 2), ("metal", 1))), tint(rng, "glass")
    width, thick = rng.uniform(0.38, 0.62), rng.uniform(THIN, 0.14)
    if style == "bar":
        yield Part(block((0, 0.5, 0), (thick, 1, width), rng.choice([0, 0.015])), case)
        screen = rng.uniform(0.35, 0.88)
        yield Part(block((thick / 2, 0.95 - screen / 2, 0), (0.02, screen, width - 0.06)), glass)
        yield from keys(thick / 2, 0.06, 0.92 - screen, width, glass)
        if chance(rng, 0.35):
            yield Part(
                rod((0, 0.95, width / 2 - 0.06), (0, 1.0 + rng.uniform(0.05, 0.3), width / 2 - 0.06), THIN * 0.65), case
            )
    elif style in ("fold", "slide"):
        thick, angle = max(thick, 0.07), rng.uniform(-10, 75) if style == "fold" else 0.0
        reach = 0.5 if style == "fold" else rng.uniform(0.6, 0.7)
        yield Part(block((0, reach / 2, 0), (thick, reach, width)), case)
        yield from keys(thick / 2, 0.05, 0.4, width, glass)
        upper = block((0, reach / 2, 0), (thick, reach, width)) + block(
            (thick / 2, 0.52 * reach, 0), (0.02, 0.75 * reach, width - 0.08)
        )
        shift = (0.0, 0.49, 0) if style == "fold" else (thick * 0.95, 1.0 - reach, 0)
        yield Part(upper.rotate((0, 0, -angle)).translate(shift), tint(rng, "plastic"))
    elif style == "cordless":
        yield from cordless(rng, case, glass)
    elif style == "box":
        yield from call_box(rng, case, glass)
    else:
        yield from desk_telephone(rng, style == "dial", case, glass)


def keys(x: float, low: float, high: float, width: float, colour: Colour) -> Iterator[Part]:
    """Three columns of keys in the plane ``x``; none where there is no room."""
    for y in np.arange(low + 0.04, high - 0.03, 0.1):
        yield Part(union(*(block((x, y, z), (0.025, 0.06, 0.2 * width)) for z in spread(0.3 * width, 3))), colour)


def handset(length: float, girth: float) -> Manifold:
    """A receiver along z, its ear and mouth pieces hanging down from y = 0."""
    half = length / 2
    grip = rod((0, 0, -half), (0, 0, half), girth, sides=8)
    cups = (
        rod((0, 0, side * (half - girth)), (0, -1.8 * girth, side * (half - girth)), 1.1 * girth, 1.4 * girth)
        for side in (-1, 1)
    )
    return union(grip, *cups)


def desk_telephone(rng: Rng, dial: bool, case: Colour, glass: Colour) -> Iterator[Part]:
    """A wedge with a dial or keys; the receiver lies across or along it."""
    depth, rear, front = rng.uniform(0.5, 1.0), rng.uniform(0.2, 0.55), rng.uniform(0.08, 0.16)
    width, girth = rng.uniform(0.55, 0.95), rng.uniform(0.05, 0.09)
    ledge = -depth / 2 + rng.uniform(0.1, 0.3)
    yield Part(
        prism([(-depth / 2, 0), (depth / 2, 0), (depth / 2, front), (ledge, rear), (-depth / 2, rear)], width), case
    )
    slope = np.rad2deg(np.arctan2(rear - front, depth / 2 - ledge))
    centre = np.array(((depth / 2 + ledge) / 2, (rear + front) / 2, 0))
    if dial:
        plate = lathe([(0.19, -0.05), (0.19, 0.03), (0.06, 0.05)])
        yield Part(plate.rotate((0, 0, -slope)).translate(centre), glass)
        yield Part(mirrored(block((-depth / 2 + 0.12, rear + 0.05, 0.2), (0.1, 0.14, 0.06))), case)
    else:
        for x in (-0.1, 0.0, 0.1):
            row = block((x, 0.0, 0.1), (0.07, 0.05, 0.3))
            yield Part(row.rotate((0, 0, -slope)).translate(centre), glass)
    receiver = handset(width + rng.uniform(0.0, 0.2), girth)
    if dial or chance(rng, 0.4):
        yield Part(
            receiver.translate((-depth / 2 + 0.12, rear + (0.14 if dial else 1.2 * girth), 0)), tint(rng, "dark")
        )
    else:
        along = receiver.scale((1, 1, depth)).rotate((0, 90, 0)).rotate((0, 0, -slope))
        yield Part(along.translate(centre + (0, 1.5 * girth, 0.1 - width / 2)), tint(rng, "dark"))


def cordless(rng: Rng, case: Colour, glass: Colour) -> Iterator[Part]:
    """A handset standing in a charging cradle."""
    width, thick, lean = rng.uniform(0.22, 0.34), rng.uniform(0.1, 0.18), rng.uniform(0, 25)
    body = block((0, 0.42, 0), (thick, 0.84, width), 0.03)
    screen = block((thick / 2, 0.62, 0), (0.03, 0.2, width - 0.08))
    for solid, colour in ((body, case), (screen, glass), *keys(thick / 2, 0.16, 0.48, width, glass)):
        yield Part(solid.rotate((0, 0, lean)).translate((0.04, 0.08, 0)), colour)
    reach, wide = rng.uniform(0.3, 0.55), rng.uniform(0.35, 0.7)
    yield Part(block((0, 0.07, 0), (reach, 0.14, wide), 0.03), tint(rng, "dark"))
    if chance(rng, 0.5):
        yield Part(block((0.0, 0.07, wide / 2 + 0.1), (reach, 0.14, 0.24)), case)
    if chance(rng, 0.4):
        yield Part(rod((-reach / 2 + 0.04, 0.1, wide / 2 - 0.05), (-reach / 2, 0.9, wide / 2 - 0.05), THIN * 0.6), case)


def call_box(rng: Rng, case: Colour, glass: Colour) -> Iterator[Part]:
    """A coin telephone for the wall, its receiver at one side."""
    width, depth, side = rng.uniform(0.4, 0.7), rng.uniform(0.2, 0.4), rng.choice([-1, 1])
    yield Part(block((0, 0.5, 0), (depth, 1, width)), case)
    yield Part(block((depth / 2, 0.85, 0), (0.03, 0.16, width - 0.1)), glass)
    yield from keys(depth / 2, 0.4, 0.72, 0.6 * width, glass)
    receiver = handset(0.6, 0.06).rotate((90, 0, 0)).rotate((0, 90, 0))
    yield Part(receiver.translate((depth / 2 + 0.08, 0.55, side * (width / 2 - 0.04))), tint(rng, "dark"))
