"""How a scan stands: its floor, or the sole and the rim where one is missing; what of it is the foot."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import trimesh
from jaxtyping import Bool, Float
from scipy import ndimage

from p2vtools.capture.template_registration import HIGH, LOW, Registration, TemplateRegistration

SAMPLES = 4000
"""Points of a scan that are looked at."""

PLANES, FACETS = 600, 120
"""Planes through three points that are tried as floors; facets of the convex hull on which a scan may stand."""

THICK = 0.004
"""Half of how thick a floor is believed to be at least, metres."""

SLAB = 0.032
"""Thickest slab of floor that is fused to a foot, with its noise, metres."""

FLOOR_SHARE = 0.08
"""The share of the surface that the upper side of a floor takes at least."""

UNLIKE = 0.0075
"""Farther than this, metres, a typical foot is from nothing that is one (`Fit.apart`): scans of 50 feet of the training
population were 3.6 to 6.4 mm away from it, chairs, cars and sofas at their best size 8.2 and more."""

TILTED, AGREED = 3.2, 4.0
"""Degrees from which a sole is believed to be turned against its floor, and within which two answers are the same."""

BELOW_RIM, BELOW_OVERHANG = 0.004, 0.0095
"""How far below the rim of a missing sole the floor was, metres: where the app cut the floor off, and where it left it,
since cameras from above lose sight of a sole where it turns under. As on people of the training population."""

NEAR = 0.0035
"""Points of a sole or its rim are so near to its plane, metres."""

Points = Float[np.ndarray, "points 3"]
Plane = Float[np.ndarray, " 4"]
"""A unit normal and an offset: ``normal @ point - offset`` is the height above it."""


@dataclass(frozen=True, eq=False)
class GroundPlane:
    """A foot that stands: ``foot`` and the rest in a frame whose floor is y = 0 and whose direction is any."""

    to_upright: Float[np.ndarray, "4 4"]
    """From the scan, in metres."""
    foot: trimesh.Trimesh
    """The surface above `ground`, in the upright frame."""
    ground: list[Plane]
    """Below these nothing was seen: the floor and its noise, a rim."""
    fit: Registration
    """The typical foot in it."""
    notes: list[str]


def find_ground_plane(
    scan: trimesh.Trimesh, like: TemplateRegistration, rng: np.random.Generator
) -> GroundPlane | None:
    """The foot that stands in a scan, whose unit is believed to be metres; None: nothing stands like a foot.

    A scan stands on its floor, or on a facet of its convex hull, if it is long and narrow low down and compact higher
    up. Of the directions in which it does, the one is taken in which it is most like a typical foot.
    """
    extent = float(np.ptp(scan.vertices, axis=0).max())
    if not 0.08 < extent < 3.0:
        return None
    points, at = trimesh.sample.sample_surface(scan, SAMPLES, seed=int(rng.integers(2**31)))
    points, normals = np.asarray(points), np.asarray(scan.face_normals)[at]
    best = None
    for up, level, floor in _ways_up(points, normals, rng):
        upright = _upright(up, level)
        there = trimesh.transform_points(points, upright)
        seen = there[_foot_like(there)]
        seen = seen[(seen[:, 1] > LOW) & (seen[:, 1] < HIGH)]
        fit = like.fit(seen, rng)
        if fit.apart < UNLIKE and (best is None or fit.apart < best[0].apart):
            best = fit, upright, floor
    if best is None:
        return None
    fit, upright, floor = best
    return _on_its_sole(scan.copy().apply_transform(upright), upright, floor, fit, rng)


# --------------------------------------------------------------------------------------------------------- which way up


def _ways_up(
    points: Points, normals: Points, rng: np.random.Generator, most: int = 3
) -> list[tuple[Float[np.ndarray, " 3"], float, bool]]:
    """Directions that may be up, how far along them the floor is, and whether there is one; the likeliest first."""
    found = []
    for up in _floors(points, normals, rng):
        level = _level(points @ up, normals @ up)
        up, level = _fitted(points, normals, up, level)
        found.append((_score(points, up, level), up, level, True))
    if not any(np.isfinite(score) for score, *_ in found):
        hull = trimesh.convex.convex_hull(points)
        groups = [np.array([n]) for n in np.argsort(-hull.area_faces)[:FACETS]] + list(hull.facets)
        for group in groups:
            up = -np.average(hull.face_normals[group], axis=0, weights=hull.area_faces[group])
            up /= np.linalg.norm(up)
            level = float(np.quantile(points @ up, 0.002))
            found.append((_score(points, up, level), up, level, False))
    ways = []
    for score, up, level, floor in sorted(found, key=lambda way: -way[0]):
        if np.isfinite(score) and len(ways) < most and all(up @ other < np.cos(0.35) for other, *_ in ways):
            ways.append((up, level, floor))
    return ways


def _floors(points: Points, normals: Points, rng: np.random.Generator) -> list[Float[np.ndarray, " 3"]]:
    """Upward normals of the planes that hold much of the surface and have all else on one side (RANSAC)."""
    corners = points[rng.integers(len(points), size=(PLANES, 3))]
    ups = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    size = np.linalg.norm(ups, axis=1)
    broad = size > 0.002
    ups, corners = ups[broad] / size[broad, None], corners[broad]
    height = points @ ups.T - (ups * corners[:, 0]).sum(1)
    sign = np.where((height > SLAB).sum(0) >= (height < -SLAB).sum(0), 1.0, -1.0)
    ups, height = ups * sign[:, None], height * sign
    facing = normals @ ups.T > 0.7
    share = ((np.abs(height) < THICK) & facing).mean(0)
    share[(height < -SLAB).mean(0) > 0.05] = 0
    chosen = []
    for number in np.argsort(-share):
        if share[number] < FLOOR_SHARE or len(chosen) == 2:
            break
        if all(abs(ups[number] @ other) < np.cos(0.35) for other in chosen):
            chosen.append(ups[number])
    return chosen


def _level(height: np.ndarray, facing: np.ndarray) -> float:
    """Where the floor is along a direction: its upper side, near the bottom."""
    bottom = float(np.quantile(height, 0.01))
    flat = (facing > 0.7) & (np.abs(height - bottom) < SLAB)
    if not flat.any():
        return bottom
    count, edges = np.histogram(height[flat], bins=np.arange(bottom - 0.010, bottom + SLAB + 0.004, 0.004))
    top = int(count.argmax())
    return float(edges[top] + 0.002)


def _fitted(
    points: Points, normals: Points, up: Float[np.ndarray, " 3"], level: float
) -> tuple[Float[np.ndarray, " 3"], float]:
    """The plane through what lies in it and faces up."""
    for reach in (2.5 * THICK, 2 * THICK, 2 * THICK, 2 * THICK):
        lying = points[(np.abs(points @ up - level) < reach) & (normals @ up > 0.5)]
        if len(lying) < 50:
            break
        up, level = through(lying, up)
    return up, level


def through(points: Points, up: Float[np.ndarray, " 3"]) -> tuple[Float[np.ndarray, " 3"], float]:
    """Normal, on the side of ``up``, and offset of the plane nearest to ``points``."""
    centre, normal = trimesh.points.plane_fit(points)
    normal = normal * np.sign(normal @ up)
    return normal, float(centre @ normal)


def _score(points: Points, up: Float[np.ndarray, " 3"], level: float) -> float:
    """How much a scan stands like a foot in this direction; minus infinity: not at all."""
    there = trimesh.transform_points(points, _upright(up, level))
    height = there[:, 1]
    seen = _foot_like(there)
    low, high = (there[seen & (height > a) & (height < b)][:, [0, 2]] for a, b in ((LOW, 0.032), (0.085, 0.115)))
    if len(low) < 40 or len(high) < 15 or (height < -SLAB).mean() > 0.05:
        return -np.inf
    long, broad = _extents(low)
    leg, depth = _extents(high)
    if not (0.10 < long < 0.36 and 0.04 < broad < 0.17 and leg < 0.22 and depth > 0.03):
        return -np.inf
    # Standing flat, more of its surface is near the floor than tilted about heel or toes.
    return float(min(long / broad, 3.0) / 3 - leg / depth / 3 + 8 * (np.abs(height) < 0.025).mean())


def _foot_like(there: Points) -> Bool[np.ndarray, " points"]:
    """The largest group, seen from above, of the points above the floor: the foot without what stands beside it."""
    above = there[:, 1] > LOW
    if not above.any():
        return above
    cells = np.floor(there[:, [0, 2]] / 0.01).astype(int)
    cells -= cells[above].min(0)
    there_are = np.zeros(cells[above].max(0) + 1, bool)
    there_are[tuple(cells[above].T)] = True
    groups, _ = ndimage.label(there_are, np.ones((3, 3)))
    of = groups[tuple(cells[above].T)]
    above[above] = of == np.bincount(of).argmax()
    return above


def _extents(flat: Float[np.ndarray, "points 2"]) -> tuple[float, float]:
    """Along the principal axis and across it, without the outermost points."""
    centred = flat - flat.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    low, high = np.quantile(centred @ axes.T, (0.02, 0.98), axis=0)
    return tuple((high - low).tolist())


def _upright(up: Float[np.ndarray, " 3"], level: float) -> Float[np.ndarray, "4 4"]:
    """The turn and the move that make a plane y = 0."""
    turn = trimesh.geometry.align_vectors(up, [0.0, 1.0, 0.0])
    turn[1, 3] = -level
    return turn


# ------------------------------------------------------------------------------------------------------------ the sole


def _on_its_sole(
    scan: trimesh.Trimesh, upright: Float[np.ndarray, "4 4"], floor: bool, fit: Registration, rng: np.random.Generator
) -> GroundPlane:
    """The foot of an upright ``scan``, turned until its own sole is the floor."""
    lowest = -0.02
    if floor:
        flat = np.asarray(scan.triangles_center)[np.asarray(scan.face_normals)[:, 1] > 0.7][:, 1]
        rough = float(np.std(flat[np.abs(flat) < 2 * THICK]))
        lowest = float(np.clip(2.5 * rough + 0.001, 0.004, 0.008))
    ground = _flat(lowest)
    foot, notes = _largest(scan, ground)
    sole, is_rim = _sole(foot, lowest + 0.001 if floor else lowest, rng)
    if floor:
        to_scan = np.linalg.inv(fit.to_foot)
        sole, is_rim = _turned(sole, is_rim, to_scan[:3, 1] / np.linalg.norm(to_scan[:3, 1]), to_scan[:3, 3])
    if sole is None:
        return GroundPlane(upright, foot, [ground], fit, notes)
    below = 0.0 if not is_rim else BELOW_OVERHANG if floor else BELOW_RIM
    turn = _upright(sole[:3], float(sole[3]) - below)
    grounds = [_flat(0.0015 + below)]
    if floor:
        notes.append(f"the floor is turned by {np.rad2deg(np.arccos(min(sole[1], 1.0))):.0f} degrees against the sole")
        normal = turn[:3, :3] @ ground[:3]
        grounds.append(np.array([*normal, ground[3] + normal @ turn[:3, 3]]))
    foot.apply_transform(turn)
    return GroundPlane(turn @ upright, foot, grounds, replace(fit, to_foot=fit.to_foot @ np.linalg.inv(turn)), notes)


def _turned(
    sole: Plane | None, is_rim: bool, likely: Float[np.ndarray, " 3"], origin: Float[np.ndarray, " 3"]
) -> tuple[Plane | None, bool]:
    """The sole on a level floor against which it is turned; None: it is not.

    Both what is seen of the sole and how the typical foot lies have to say so: each errs by some degrees. Where they do
    not agree how it is turned, what is seen of the sole was something else.
    """
    seen, lying = (0.0 if one is None else np.rad2deg(np.arccos(min(one[1], 1.0))) for one in (sole, likely))
    if seen < TILTED or lying < TILTED:
        return None, False
    if np.rad2deg(np.arccos(min(sole[:3] @ likely, 1.0))) < AGREED:
        return sole, is_rim
    return (np.array([*likely, likely @ origin]), False) if lying > 1.5 * TILTED else (None, False)


def _flat(height: float) -> Plane:
    return np.array([0.0, 1.0, 0.0, height])


def _largest(scan: trimesh.Trimesh, ground: Plane) -> tuple[trimesh.Trimesh, list[str]]:
    """What is above the ground, in its largest piece, with those that holes have cut off it."""
    vertices, faces, _ = trimesh.intersections.slice_faces_plane(
        np.asarray(scan.vertices), np.asarray(scan.faces), ground[:3], ground[:3] * ground[3]
    )
    above = trimesh.Trimesh(vertices, faces, process=True)
    pieces = trimesh.graph.connected_components(above.face_adjacency, nodes=np.arange(len(above.faces)))
    largest = max(pieces, key=lambda piece: above.area_faces[piece].sum())
    corners = above.triangles[largest].reshape(-1, 3)
    lower, upper = corners.min(0) - 0.01, corners.max(0) + 0.01
    inside = ((above.triangles >= lower) & (above.triangles <= upper)).all((1, 2))
    near = [piece for piece in pieces if inside[piece].all()]
    foot = above.submesh([np.concatenate(near)], append=True)
    notes = [f"{1 - above.area / scan.area:.0%} of the surface was floor"] if ground[3] > 0 else []
    if stray := len(pieces) - len(near):
        notes.append(f"{stray} stray piece{'s' * (stray > 1)} dropped")
    return foot, notes


def _sole(foot: trimesh.Trimesh, lowest: float, rng: np.random.Generator) -> tuple[Plane | None, bool]:
    """The plane on which a foot stands by what it shows of its sole or of the rim where that is missing.

    Returns:
        The plane (None: neither is seen above ``lowest``) and whether it is a rim's.
    """
    edges = foot.edges_sorted[trimesh.grouping.group_rows(foot.edges_sorted, require_count=1)]
    ends = np.asarray(foot.vertices)[edges]
    down = np.asarray(foot.face_normals)[:, 1] < -0.7
    places = np.concatenate([ends.mean(1), np.asarray(foot.triangles_center)[down]])
    # A rim counts as a band of its length: so it weighs as much as the sole that it stands for.
    lengths = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
    weights = np.concatenate([0.01 * lengths, np.asarray(foot.area_faces)[down]])
    rims = np.arange(len(places)) < len(ends)
    low = (places[:, 1] > lowest) & (places[:, 1] < 0.06)
    if low.sum() < 30 or weights[low].sum() < 5e-4:
        return None, False
    chosen = rng.choice(np.flatnonzero(low), 500, p=weights[low] / weights[low].sum())
    points, rims = places[chosen], rims[chosen]
    corners = points[rng.integers(len(points), size=(PLANES, 3))]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    size = np.linalg.norm(normals, axis=1)
    steep = np.abs(normals[:, 1]) > np.cos(np.deg2rad(16)) * size
    usable = steep & (size > 4e-4)
    if not usable.any():
        return None, False
    normals = normals[usable] / (size * np.sign(normals[:, 1]))[usable, None]
    offsets = (normals * corners[usable, 0]).sum(1)
    inside = np.abs(points @ normals.T - offsets) < NEAR
    surface = np.asarray(foot.vertices)
    surface = surface[rng.integers(len(surface), size=1000)]
    sunk = (surface @ normals.T - offsets < -0.005).mean(0) > 0.02
    count = np.where(sunk, 0, inside.sum(0))
    best = int(count.argmax())
    if count[best] < 60:
        return None, False
    normal, offset = normals[best], float(offsets[best])
    for _ in range(4):
        lying = np.abs(points @ normal - offset) < NEAR
        normal, offset = through(points[lying], normal)
    if np.linalg.svd(points[lying] - points[lying].mean(0), compute_uv=False)[1] / np.sqrt(lying.sum()) < 0.008:
        return None, False  # a line, on which a plane may turn
    return np.array([*normal, offset]), bool(rims[lying].mean() > 0.5)
