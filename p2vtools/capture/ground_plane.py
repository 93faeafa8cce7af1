"""Finds the plane on which the foot in a scan stands: the floor, the sole, or the rim of a missing sole."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import trimesh
from jaxtyping import Bool, Float
from scipy import ndimage

from p2vtools.capture.template_registration import MAX_HEIGHT, MIN_HEIGHT, Points, Registration, TemplateRegistration

NUM_SAMPLES = 4000
"""Points that are sampled from the surface of a scan."""

NUM_PLANES, NUM_FACETS = 600, 120
"""RANSAC trials for a plane; facets of the convex hull that are tried as the base of a scan without a floor."""

FLOOR_TOLERANCE = 0.004
"""Points this close to a plane count as its inliers, metres."""

MAX_FLOOR_THICKNESS = 0.032
"""Thickest slab of floor, with its noise, that is fused to a foot, metres."""

MIN_FLOOR_SHARE = 0.08
"""Smallest share of the surface that the upper side of a floor takes."""

MAX_TEMPLATE_DISTANCE = 0.0075
"""Largest `Registration.distance` of a foot, metres. Scans of 50 feet of the training population had 3.6 to 6.4 mm;
chairs, cars and sofas at their best size 8.2 mm and more."""

MIN_TILT, MAX_DISAGREEMENT = 3.2, 4.0
"""Degrees: a sole is corrected against its floor from the first on, and two estimates agree within the second."""

RIM_DEPTH, OVERHANG_DEPTH = 0.004, 0.0095
"""Height of the rim of a missing sole above the floor, metres: where the app removed the floor, and where it kept it,
because cameras above the foot do not see where the sole curves under. Estimated on the training population."""

MAX_SOLE_DEPTH = 0.0045
"""A sole reaches at most so far below its plane, metres, by noise; further if the foot bears no weight. Then heel and
ball are round, and nothing of them is hidden."""

SOLE_TOLERANCE = 0.0035
"""Points of a sole or its rim this close to a plane count as its inliers, metres."""

Vector = Float[np.ndarray, " 3"]
Plane = Float[np.ndarray, " 4"]
"""A unit normal and an offset; ``normal @ point - offset`` is the height above the plane."""


@dataclass(frozen=True, eq=False)
class GroundPlane:
    """A foot in an upright frame: metres, floor at y = 0, any yaw."""

    to_upright: Float[np.ndarray, "4 4"]
    """From the scan, in metres, to the upright frame."""
    foot: trimesh.Trimesh
    """The surface above the first of `planes`, in the upright frame."""
    planes: list[Plane]
    """Surface below these planes is unknown: the floor and its noise, and a rim."""
    fit: Registration
    """The template foot in the upright frame."""
    notes: list[str]


def find_ground_plane(
    scan: trimesh.Trimesh, template: TemplateRegistration, rng: np.random.Generator
) -> GroundPlane | None:
    """Finds the foot that stands in a scan, whose unit is assumed to be metres.

    A scan stands on its floor, or on a facet of its convex hull, if it is long and narrow near the plane and compact
    higher up. Of these directions, the one in which the scan is nearest to the template is chosen.

    Returns:
        None if nothing in the scan stands like a foot.
    """
    extent = float(np.ptp(scan.vertices, axis=0).max())
    if not 0.08 < extent < 3.0:
        return None
    points, faces = trimesh.sample.sample_surface(scan, NUM_SAMPLES, seed=int(rng.integers(2**31)))
    points, normals = np.asarray(points), np.asarray(scan.face_normals)[faces]
    found = []
    for up, level, has_floor in _candidates(points, normals, rng):
        to_upright = _upright_transform(up, level)
        upright = trimesh.transform_points(points, to_upright)
        foot = upright[_largest_group(upright) & (upright[:, 1] < MAX_HEIGHT)]
        found.append((template.fit(foot, rng), to_upright, has_floor))
    fit, to_upright, has_floor = min(found, key=lambda one: one[0].distance, default=(None, None, False))
    if fit is None or fit.distance >= MAX_TEMPLATE_DISTANCE:
        return None
    return _stand_on_sole(scan.copy().apply_transform(to_upright), to_upright, has_floor, fit, rng)


# ------------------------------------------------------------------------------------------------- the upward direction


def _candidates(points: Points, normals: Points, rng: np.random.Generator) -> list[tuple[Vector, float, bool]]:
    """Upward directions, the level of the floor along each, and whether there is a floor: the best three."""
    found = []
    for up in _floor_normals(points, normals, rng):
        up, level = _refine_floor(points, normals, up, _floor_level(points @ up, normals @ up))
        found.append((_score(points, up, level), up, level, True))
    if not any(np.isfinite(score) for score, *_ in found):
        hull = trimesh.convex.convex_hull(points)
        facets = [np.array([face]) for face in np.argsort(-hull.area_faces)[:NUM_FACETS]] + list(hull.facets)
        for facet in facets:
            up = -np.average(hull.face_normals[facet], axis=0, weights=hull.area_faces[facet])
            up /= np.linalg.norm(up)
            level = float(np.quantile(points @ up, 0.002))
            found.append((_score(points, up, level), up, level, False))
    chosen = []
    for score, up, *others in sorted(found, key=lambda candidate: -candidate[0]):
        if np.isfinite(score) and all(up @ other < np.cos(0.35) for other, *_ in chosen):
            chosen.append((up, *others))
    return chosen[:3]


def _floor_normals(points: Points, normals: Points, rng: np.random.Generator) -> list[Vector]:
    """Upward normals of at most two planes that hold much of the surface and have the rest on one side (RANSAC)."""
    normal, length, base = random_planes(points, rng, NUM_PLANES)
    long = length > 0.002
    ups, base = normal[long] / length[long, None], base[long]
    height = points @ ups.T - (ups * base).sum(1)
    sign = np.where((height > MAX_FLOOR_THICKNESS).sum(0) >= (height < -MAX_FLOOR_THICKNESS).sum(0), 1.0, -1.0)
    ups, height = ups * sign[:, None], height * sign
    facing_up = normals @ ups.T > 0.7
    share = ((np.abs(height) < FLOOR_TOLERANCE) & facing_up).mean(0)
    share[(height < -MAX_FLOOR_THICKNESS).mean(0) > 0.05] = 0
    chosen = []
    for number in np.argsort(-share):
        if share[number] < MIN_FLOOR_SHARE or len(chosen) == 2:
            break
        if all(abs(ups[number] @ other) < np.cos(0.35) for other in chosen):
            chosen.append(ups[number])
    return chosen


def random_planes(points: Points, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draws planes through three points each.

    Returns:
        Normals ``[count, 3]``, which are not normalised, their lengths ``[count]``, and a point of each plane
        ``[count, 3]``.
    """
    corners = points[rng.integers(len(points), size=(count, 3))]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return normal, np.linalg.norm(normal, axis=1), corners[:, 0]


def fit_plane(points: Points, up: Vector) -> tuple[Vector, float]:
    """Normal, on the side of ``up``, and offset of the plane that fits ``points`` best."""
    centre, normal = trimesh.points.plane_fit(points)
    normal = normal * np.sign(normal @ up)
    return normal, float(centre @ normal)


def _floor_level(height: np.ndarray, facing: np.ndarray) -> float:
    """The level of the floor along a direction: the mode of the upward-facing points near the bottom."""
    bottom = float(np.quantile(height, 0.01))
    flat = (facing > 0.7) & (np.abs(height - bottom) < MAX_FLOOR_THICKNESS)
    if not flat.any():
        return bottom
    bins = np.arange(bottom - 0.010, bottom + MAX_FLOOR_THICKNESS + 0.004, 0.004)
    count, edges = np.histogram(height[flat], bins)
    return float(edges[int(count.argmax())] + 0.002)


def _refine_floor(points: Points, normals: Points, up: Vector, level: float) -> tuple[Vector, float]:
    """Refits the floor to the points near it that face up."""
    for factor in (2.5, 2, 2, 2):
        inlier = points[(np.abs(points @ up - level) < factor * FLOOR_TOLERANCE) & (normals @ up > 0.5)]
        if len(inlier) < 50:
            break
        up, level = fit_plane(inlier, up)
    return up, level


def _score(points: Points, up: Vector, level: float) -> float:
    """Score of a plane as the one on which the foot of a scan stands; minus infinity if none can stand on it."""
    upright = trimesh.transform_points(points, _upright_transform(up, level))
    height = upright[:, 1]
    foot = _largest_group(upright)
    low, high = (
        upright[foot & (height > lower) & (height < upper)][:, [0, 2]]
        for lower, upper in ((MIN_HEIGHT, 0.032), (0.085, 0.115))
    )
    if len(low) < 40 or len(high) < 15 or (height < -MAX_FLOOR_THICKNESS).mean() > 0.05:
        return -np.inf
    foot_length, foot_width = _principal_extents(low)
    leg_length, leg_width = _principal_extents(high)
    if not (0.10 < foot_length < 0.36 and 0.04 < foot_width < 0.17 and leg_length < 0.22 and leg_width > 0.03):
        return -np.inf
    # A foot that stands flat has more surface near the floor than one that is tilted about its heel or toes.
    near_floor = (np.abs(height) < 0.025).mean()
    return float(min(foot_length / foot_width, 3.0) / 3 - leg_length / leg_width / 3 + 8 * near_floor)


def _largest_group(upright: Points) -> Bool[np.ndarray, " points"]:
    """Selects the foot: the largest connected group, in plan view, of the points above the floor."""
    above = upright[:, 1] > MIN_HEIGHT
    if not above.any():
        return above
    cells = np.floor(upright[:, [0, 2]] / 0.01).astype(int)
    cells -= cells[above].min(0)
    occupied = np.zeros(cells[above].max(0) + 1, bool)
    occupied[tuple(cells[above].T)] = True
    labels, _ = ndimage.label(occupied, np.ones((3, 3)))
    label = labels[tuple(cells[above].T)]
    above[above] = label == np.bincount(label).argmax()
    return above


def _principal_extents(flat: Float[np.ndarray, "points 2"]) -> tuple[float, float]:
    """Extents along the principal axis and across it, without the outermost 2 % at each end."""
    centred = flat - flat.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    low, high = np.quantile(centred @ axes.T, (0.02, 0.98), axis=0)
    return tuple((high - low).tolist())


def _upright_transform(up: Vector, level: float) -> Float[np.ndarray, "4 4"]:
    """The rigid transform that maps a plane to y = 0."""
    transform = trimesh.geometry.align_vectors(up, [0.0, 1.0, 0.0])
    transform[1, 3] = -level
    return transform


# ------------------------------------------------------------------------------------------------------------ the sole


def _stand_on_sole(
    scan: trimesh.Trimesh,
    to_upright: Float[np.ndarray, "4 4"],
    has_floor: bool,
    fit: Registration,
    rng: np.random.Generator,
) -> GroundPlane:
    """Extracts the foot of an upright ``scan`` and turns it until its own sole lies on the floor."""
    lowest = -0.02
    if has_floor:
        flat = np.asarray(scan.triangles_center)[np.asarray(scan.face_normals)[:, 1] > 0.7][:, 1]
        roughness = float(np.std(flat[np.abs(flat) < 2 * FLOOR_TOLERANCE]))
        lowest = float(np.clip(2.5 * roughness + 0.001, 0.004, 0.008))
    floor = _horizontal(lowest)
    foot, notes = _cut_foot(scan, floor)
    sole, is_rim = _find_sole(foot, lowest + 0.001 if has_floor else lowest, rng)
    if has_floor:
        to_scan = np.linalg.inv(fit.to_template)
        expected_up = to_scan[:3, 1] / np.linalg.norm(to_scan[:3, 1])
        sole, is_rim = _confirm_tilt(sole, is_rim, expected_up, to_scan[:3, 3])
    if sole is None:
        return GroundPlane(to_upright, foot, [floor], fit, notes)
    depth = 0.0 if not is_rim else OVERHANG_DEPTH if has_floor else RIM_DEPTH
    level, hidden = float(sole[3]) - depth, 0.0015 + depth
    if not has_floor and not is_rim:
        heights = foot.vertices @ sole[:3]
        lowest_part = np.quantile(heights[foot.vertex_normals @ sole[:3] < -0.7], 0.05)
        if level - lowest_part > MAX_SOLE_DEPTH:
            level, hidden = float(np.quantile(heights, 0.002)), 0.0
    transform = _upright_transform(sole[:3], level)
    planes = [_horizontal(hidden)]
    if has_floor:
        notes.append(f"the floor is tilted by {_degrees_from_vertical(sole):.0f} degrees against the sole")
        normal = transform[:3, :3] @ floor[:3]
        planes.append(np.array([*normal, floor[3] + normal @ transform[:3, 3]]))
    foot.apply_transform(transform)
    fit = replace(fit, to_template=fit.to_template @ np.linalg.inv(transform))
    return GroundPlane(transform @ to_upright, foot, planes, fit, notes)


def _confirm_tilt(sole: Plane | None, is_rim: bool, expected_up: Vector, origin: Vector) -> tuple[Plane | None, bool]:
    """The plane of a sole that is tilted against a level floor, or None if it is not tilted.

    Both the visible sole and the registered template have to show the tilt, because each is wrong by some degrees.
    Where the two disagree about its direction, the visible surface was not the sole, and the template decides.
    """
    visible, expected = (0.0 if up is None else _degrees_from_vertical(up) for up in (sole, expected_up))
    if visible < MIN_TILT or expected < MIN_TILT:
        return None, False
    if np.rad2deg(np.arccos(min(sole[:3] @ expected_up, 1.0))) < MAX_DISAGREEMENT:
        return sole, is_rim
    if expected > 1.5 * MIN_TILT:
        return np.array([*expected_up, expected_up @ origin]), False
    return None, False


def _degrees_from_vertical(normal: np.ndarray) -> float:
    return np.rad2deg(np.arccos(min(normal[1], 1.0)))


def _horizontal(height: float) -> Plane:
    return np.array([0.0, 1.0, 0.0, height])


def _cut_foot(scan: trimesh.Trimesh, floor: Plane) -> tuple[trimesh.Trimesh, list[str]]:
    """The largest piece where a foot is, with the pieces that gaps separate from it in its bounding box or above it.

    Only the surface below `MAX_HEIGHT` tells which piece is the foot: a leg may be a larger piece of its own.

    Raises:
        ValueError: no surface at the height of a foot.
    """
    vertices, faces, _ = trimesh.intersections.slice_faces_plane(
        np.asarray(scan.vertices), np.asarray(scan.faces), floor[:3], floor[:3] * floor[3]
    )
    above = trimesh.Trimesh(vertices, faces, process=True)
    pieces = trimesh.graph.connected_components(above.face_adjacency, nodes=np.arange(len(above.faces)))
    height = above.triangles_center[:, 1]
    foot_areas = np.where((height > MIN_HEIGHT) & (height < MAX_HEIGHT), above.area_faces, 0.0)
    if not foot_areas.any():
        raise ValueError("nothing in the scan stands on its floor; expected a foot with its leg upwards")
    largest = max(pieces, key=lambda piece: foot_areas[piece].sum())
    corners = above.triangles[largest].reshape(-1, 3)
    lower, upper = corners.min(0) - 0.01, corners.max(0) + 0.01
    inside = (above.triangles >= lower) & (above.triangles <= upper)
    # A leg, or a part of the foot, above or below a gap is large, and most of it is in the box in plan view.
    in_plan, smallest = inside[..., [0, 2]].all((1, 2)), 0.1 * above.area_faces[largest].sum()
    near = [
        piece
        for piece in pieces
        if inside[piece].all() or (above.area_faces[piece].sum() > smallest and in_plan[piece].mean() > 0.5)
    ]
    foot = above.submesh([np.concatenate(near)], append=True)
    notes = [f"{1 - above.area / scan.area:.0%} of the surface was floor"] if floor[3] > 0 else []
    if stray := len(pieces) - len(near):
        notes.append(f"{stray} stray piece{'s' * (stray > 1)} removed")
    return foot, notes


def _find_sole(foot: trimesh.Trimesh, lowest: float, rng: np.random.Generator) -> tuple[Plane | None, bool]:
    """Fits a plane to the visible sole, or to the rim where the sole is missing.

    Returns:
        The plane (None if neither is visible above ``lowest``) and whether it is a rim's.
    """
    edges = foot.edges_sorted[trimesh.grouping.group_rows(foot.edges_sorted, require_count=1)]
    ends = np.asarray(foot.vertices)[edges]
    facing_down = np.asarray(foot.face_normals)[:, 1] < -0.7
    places = np.concatenate([ends.mean(1), np.asarray(foot.triangles_center)[facing_down]])
    # A rim counts as a band 1 cm wide: so its weight equals that of the sole it replaces.
    lengths = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
    weights = np.concatenate([0.01 * lengths, np.asarray(foot.area_faces)[facing_down]])
    on_rim = np.arange(len(places)) < len(ends)
    low = (places[:, 1] > lowest) & (places[:, 1] < 0.06)
    if low.sum() < 30 or weights[low].sum() < 5e-4:
        return None, False
    chosen = rng.choice(np.flatnonzero(low), 500, p=weights[low] / weights[low].sum())
    points, on_rim = places[chosen], on_rim[chosen]
    normals, length, base = random_planes(points, rng, NUM_PLANES)
    usable = (np.abs(normals[:, 1]) > np.cos(np.deg2rad(16)) * length) & (length > 4e-4)
    if not usable.any():
        return None, False
    normals = normals[usable] / (length * np.sign(normals[:, 1]))[usable, None]
    offsets = (normals * base[usable]).sum(1)
    inliers = np.abs(points @ normals.T - offsets) < SOLE_TOLERANCE
    surface = np.asarray(foot.vertices)[rng.integers(len(foot.vertices), size=1000)]
    cuts_foot = (surface @ normals.T - offsets < -0.005).mean(0) > 0.02
    count = np.where(cuts_foot, 0, inliers.sum(0))
    best = int(count.argmax())
    if count[best] < 60:
        return None, False
    normal, offset = normals[best], float(offsets[best])
    for _ in range(4):
        inlier = np.abs(points @ normal - offset) < SOLE_TOLERANCE
        normal, offset = fit_plane(points[inlier], normal)
    width = np.linalg.svd(points[inlier] - points[inlier].mean(0), compute_uv=False)[1] / np.sqrt(inlier.sum())
    if width < 0.008:  # the inliers form a line, about which the plane may turn
        return None, False
    return np.array([*normal, offset]), bool(on_rim[inlier].mean() > 0.5)
