"""Primitive solids in the world frame: front +x, up +y, right +z."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from manifold3d import CrossSection, Manifold, OpType

THIN = 0.052
"""Least thickness of a part in a drawing whose longest side is about 1: 1.2 voxels where it is 1.4; aeroplanes that
span more have thicker wings. Thinner parts fall between the voxel centres of a 32^3 grid and vanish from the truth."""

Vector = Sequence[float] | np.ndarray
Span = float | tuple[float, float]
"""An interval, or a size: centred on 0 along x and z, upwards from 0 along y."""


def corners(x: Span, y: Span, z: Span) -> np.ndarray:
    """The eight corners ``[8, 3]`` of a box; a plate's where an interval has no length."""
    spans = [(-x / 2, x / 2) if np.isscalar(x) else x, (0, y) if np.isscalar(y) else y]
    return np.array(list(product(*spans, (-z / 2, z / 2) if np.isscalar(z) else z)), dtype=float)


def box(x: Span, y: Span, z: Span, soft: float = 0.0) -> Manifold:
    """An axis-aligned box; its edges are chamfered by ``soft``, as those of a cushion are rounded."""
    lower, upper = corners(x, y, z)[[0, -1]]
    size = upper - lower
    shrunk = size - 2 * min(soft, 0.4 * size.min()) * (1 - np.eye(3))
    return Manifold.batch_hull([Manifold.cube(side, center=True) for side in shrunk]).translate((lower + upper) / 2)


def ball(centre: Vector, radii: Vector, segments: int = 20) -> Manifold:
    """An axis-aligned ellipsoid."""
    return Manifold.sphere(1.0, segments).scale(radii).translate(centre)


def hull(*points: np.ndarray | Sequence[Vector]) -> Manifold:
    """The convex hull of one or several point lists ``[n, 3]``."""
    return Manifold.hull_points(np.concatenate([np.asarray(group, dtype=float) for group in points]))


def rod(start: Vector, end: Vector, radius: float = THIN / 2, tip: float | None = None, sides: int = 14) -> Manifold:
    """A straight rod, tapered to the radius ``tip``; with four ``sides`` a square bar of half side ``radius``."""
    start, end = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
    axis = (end - start) / np.linalg.norm(end - start)
    across = np.cross(axis, np.eye(3)[np.argmin(np.abs(axis))])
    across /= np.linalg.norm(across)
    angles = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    circle = np.outer(np.cos(angles), across) + np.outer(np.sin(angles), np.cross(axis, across))
    circle /= np.cos(np.pi / sides)
    return hull(start + radius * circle, end + (radius if tip is None else tip) * circle)


def tube(path: Sequence[Vector] | np.ndarray) -> Manifold:
    """A thin round tube along a polyline, with balls in its joints."""
    joints = [ball(point, [THIN / 2] * 3, 12) for point in path[1:-1]]
    return union(*joints, *(rod(a, b, sides=10) for a, b in zip(path, path[1:], strict=False)))


def arc(radii: tuple[float, float], degrees: tuple[float, float], steps: int = 7) -> np.ndarray:
    """Points ``[steps, 3]`` of an elliptic arc about the origin in the x-y plane, counted from +x towards +y."""
    angles = np.deg2rad(np.linspace(*degrees, steps))
    return np.column_stack([radii[0] * np.cos(angles), radii[1] * np.sin(angles), 0 * angles])


def lathe(profile: Sequence[tuple[float, float]], segments: int = 24) -> Manifold:
    """Turns a profile of ``(radius, y)`` points, from bottom to top, about the y axis."""
    outline = [(0.0, profile[0][1]), *profile, (0.0, profile[-1][1])]
    return Manifold.revolve(CrossSection([outline]), segments).rotate([-90, 0, 0])


def cylinder(radius: float, y: Span, segments: int = 24) -> Manifold:
    """An upright cylinder about the y axis."""
    low, high = (0.0, y) if np.isscalar(y) else y
    return lathe([(radius, low), (radius, high)], segments)


def prism(outline: Sequence[tuple[float, float]], width: float) -> Manifold:
    """An outline of ``(x, y)`` points, counter-clockwise, extruded along z."""
    return Manifold.extrude(CrossSection([outline]), width).translate([0, 0, -width / 2])


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
