"""Primitives of the CAD families: solids in the world frame (front +x, up +y, right +z), and their coloured union.

Families are drawn with a longest side of about 1, so that ``THIN`` is the least thickness a part may have: thinner
ones fall between the voxel centres of a 32^3 grid and vanish from the truth.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import trimesh
from manifold3d import CrossSection, Manifold, OpType

THIN = 0.052
"""Least thickness, in units of a drawing: 1.3 voxels where the longest side is 1.25, as large as drawings get."""

Vector = Sequence[float] | np.ndarray
Colour = tuple[int, int, int]

PALETTES: dict[str, tuple[Colour, ...]] = {
    "wood": ((150, 101, 58), (193, 146, 92), (94, 58, 35), (215, 180, 130), (122, 70, 44)),
    "metal": ((170, 174, 180), (120, 124, 130), (205, 207, 210), (84, 88, 94), (181, 150, 90)),
    "fabric": ((122, 42, 48), (62, 84, 120), (142, 138, 126), (70, 94, 70), (205, 192, 170), (60, 56, 60)),
    "plastic": ((225, 225, 220), (50, 52, 56), (190, 60, 50), (60, 110, 160), (230, 190, 70), (90, 150, 110)),
    "paint": (
        (180, 30, 34),
        (36, 64, 130),
        (228, 228, 226),
        (40, 42, 46),
        (150, 154, 160),
        (32, 94, 66),
        (220, 160, 40),
    ),
    "dark": ((32, 33, 36), (46, 46, 50), (24, 24, 28)),
    "glass": ((70, 92, 112), (40, 54, 70), (120, 150, 170)),
    "light": ((250, 240, 205), (240, 225, 180), (245, 245, 240)),
}


class Part(NamedTuple):
    """A solid and its colour, sRGB 0-255."""

    solid: Manifold
    colour: Colour


def tint(rng: np.random.Generator, palette: str) -> Colour:
    """A colour of ``palette``, a little off its nominal value as materials are."""
    shades = np.asarray(PALETTES[palette])
    return tuple(
        int(level) for level in np.clip(rng.choice(shades) * rng.uniform(0.85, 1.1) + rng.normal(0, 5, 3), 8, 250)
    )


def chance(rng: np.random.Generator, probability: float) -> bool:
    """True with ``probability``."""
    return bool(rng.random() < probability)


def pick(rng: np.random.Generator, *weighted: tuple[str, float]) -> str:
    """One of the names, drawn by the weights beside them."""
    names, weights = zip(*weighted, strict=True)
    return str(rng.choice(names, p=np.divide(weights, sum(weights))))


def hull(*points: np.ndarray | Sequence[Vector]) -> Manifold:
    """The convex hull of one or several point lists ``[n, 3]``."""
    return Manifold.hull_points(np.concatenate([np.asarray(group, dtype=float) for group in points]))


def box(lower: Vector, upper: Vector) -> Manifold:
    """The axis-aligned box between two corners."""
    return Manifold.cube(np.subtract(upper, lower)).translate(lower)


def block(centre: Vector, size: Vector, soft: float = 0.0) -> Manifold:
    """A box by centre and size; its edges are chamfered by ``soft`` (as a cushion's are rounded)."""
    if not soft:
        return Manifold.cube(size, center=True).translate(centre)
    soft = min(soft, 0.4 * min(size))
    shrunk = [
        Manifold.cube([side - 2 * soft * (axis != k) for k, side in enumerate(size)], center=True) for axis in range(3)
    ]
    return Manifold.batch_hull(shrunk).translate(centre)


def ball(centre: Vector, radii: Vector, segments: int = 20) -> Manifold:
    """An axis-aligned ellipsoid."""
    return Manifold.sphere(1.0, segments).scale(radii).translate(centre)


def rod(start: Vector, end: Vector, radius: float, tip: float | None = None, sides: int = 14) -> Manifold:
    """A straight rod, tapered to ``tip``; four ``sides`` make a square bar whose half side is ``radius``."""
    start, end = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
    axis = (end - start) / np.linalg.norm(end - start)
    across = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    across /= np.linalg.norm(across)
    angles = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    circle = np.outer(np.cos(angles), across) + np.outer(np.sin(angles), np.cross(axis, across))
    circle /= np.cos(np.pi / sides)
    return hull(start + radius * circle, end + (radius if tip is None else tip) * circle)


def tube(path: Sequence[Vector] | np.ndarray, radius: float) -> Manifold:
    """A round tube along a broken line, with balls in its joints."""
    joints = [ball(point, [radius] * 3, 12) for point in path[1:-1]]
    return union(*joints, *(rod(a, b, radius, sides=10) for a, b in zip(path, path[1:], strict=False)))


def arc(centre: Vector, radii: tuple[float, float], degrees: tuple[float, float], steps: int = 7) -> np.ndarray:
    """Points ``[steps, 3]`` of an elliptic arc in the x-y plane, counted from +x towards +y."""
    angles = np.deg2rad(np.linspace(*degrees, steps))
    return np.asarray(centre) + np.column_stack([radii[0] * np.cos(angles), radii[1] * np.sin(angles), 0 * angles])


def lathe(profile: Sequence[tuple[float, float]], centre: Vector = (0, 0, 0), segments: int = 24) -> Manifold:
    """Turns a profile of ``(radius, height)`` points, from bottom to top, about a vertical axis through ``centre``."""
    outline = [(0.0, profile[0][1]), *profile, (0.0, profile[-1][1])]
    return Manifold.revolve(CrossSection([outline]), segments).rotate([-90, 0, 0]).translate(centre)


def prism(outline: Sequence[tuple[float, float]], width: float, z: float = 0.0) -> Manifold:
    """An outline of ``(x, y)`` points, counter-clockwise, pulled along z over ``width`` about ``z``."""
    return Manifold.extrude(CrossSection([outline]), width).translate([0, 0, z - width / 2])


def section(centre: Vector, half: tuple[float, float], power: float = 2.0, count: int = 16) -> np.ndarray:
    """A superellipse ``[count, 3]`` across x, half sizes (y, z): 2 is an ellipse, larger powers near a rectangle."""
    angles = 2 * np.pi * (np.arange(count) + 0.5) / count
    cosine, sine = np.cos(angles), np.sin(angles)
    radius = (np.abs(cosine) ** power + np.abs(sine) ** power) ** (-1 / power)
    return np.asarray(centre) + np.column_stack([0 * angles, half[0] * radius * sine, half[1] * radius * cosine])


def loft(*sections: np.ndarray) -> Manifold:
    """A body through convex sections ``[n, 3]``, one convex piece between every two neighbours."""
    return union(*(hull(a, b) for a, b in zip(sections, sections[1:], strict=False)))


def union(*solids: Manifold) -> Manifold:
    """One solid of several."""
    return Manifold.batch_boolean(list(solids), OpType.Add)


def mirrored(solid: Manifold) -> Manifold:
    """A solid of the right side (+z) together with its twin on the left."""
    return solid + solid.mirror([0, 0, 1])


def quarters(x: float, z: float) -> tuple[tuple[float, float], ...]:
    """The four corners (x, z) of a rectangle about the origin, given its half sides."""
    return (x, z), (x, -z), (-x, -z), (-x, z)


def spread(half: float, count: int) -> np.ndarray:
    """``count`` places from -half to +half; a single one is in the middle."""
    return np.linspace(-half, half, count) if count > 1 else np.zeros(1)


def assemble(parts: Iterable[Part]) -> trimesh.Trimesh:
    """The union of coloured parts as a watertight mesh whose faces keep the colour of the part they came from."""
    solids, colours = [], {}
    for solid, colour in parts:
        if solid.is_empty():
            raise ValueError(
                f"part {len(solids)} of a drawing has no volume ({solid.status()}); expected a closed solid"
            )
        solids.append(solid.as_original())
        colours[solids[-1].original_id()] = (*colour, 255)
    # A corner may poke through its neighbour by a hair, and two parts may seal a void that nobody sees (its volume is
    # negative): neither is a part of the object.
    whole = union(*solids)
    pieces = [piece for piece in whole.decompose() if piece.volume() > 1e-5 * whole.volume()]
    mesh = Manifold.compose(pieces).to_mesh64()
    runs = np.diff(mesh.run_index) // 3
    palette = np.array([colours[part] for part in mesh.run_original_id], dtype=np.uint8)
    vertices, faces = np.asarray(mesh.vert_properties)[:, :3], np.asarray(mesh.tri_verts).astype(np.int64)
    return trimesh.Trimesh(vertices, faces, face_colors=np.repeat(palette, runs, axis=0), process=False)
