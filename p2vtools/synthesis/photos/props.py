"""Objects around a foot in a photo: thigh, trousers, the other foot, shoes, boxes, bottles, legs of chairs, cables."""

from __future__ import annotations

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.spatial import cKDTree
from trimesh.creation import box, capsule, cylinder, icosphere, revolve

from p2vtools.synthesis.colours import any_colour, linear_to_srgb

ANKLE_HEIGHT = 0.11
"""Height of the ankle above the floor, metres."""

THIGH_LENGTH = 0.42
"""Metres."""

# ------------------------------------------------------------------------------------------------------ leg and cloth


def leg_curve(leg: trimesh.Trimesh) -> tuple[Float[np.ndarray, "stations 3"], Float[np.ndarray, " stations"]]:
    """Centres and largest radii of a lower leg every 2 cm from the ankle to the top, along its own axis.

    The leg may lean. Its last vertex is the centre of the cap that closes it at the knee.
    """
    points, top = np.asarray(leg.vertices), np.asarray(leg.vertices)[-1]
    ankle = points[np.abs(points[:, 1] - ANKLE_HEIGHT) < 0.02]
    start = (ankle.min(axis=0) + ankle.max(axis=0)) / 2
    length = np.linalg.norm(top - start)
    axis = (top - start) / length
    along = (points - start) @ axis
    count = max(int(length / 0.02), 2)
    centres, radii = [], []
    for station in np.linspace(0, length, count + 1):
        ring = points[(np.abs(along - station) < 0.02) & (points[:, 1] > 0.08)]
        across = ring - np.outer((ring - start) @ axis - station, axis)
        centre = (across.min(axis=0) + across.max(axis=0)) / 2 if len(ring) else start + station * axis
        centres.append(centre)
        radii.append(np.linalg.norm(across - centre, axis=1).max() if len(ring) else radii[-1])
    return np.array(centres), np.array(radii)


def thigh(
    leg: trimesh.Trimesh, direction: Float[np.ndarray, "3"]
) -> tuple[trimesh.Trimesh, Float[np.ndarray, "stations 3"], Float[np.ndarray, " stations"]]:
    """A tube that continues the ``leg`` from its upper border and bends into ``direction``, its centres and radii."""
    faces, top = np.asarray(leg.faces), len(leg.vertices) - 1
    ring = np.unique(faces[(faces == top).any(axis=1)])
    points = np.asarray(leg.vertices)
    centre, border = points[top], points[ring[ring != top]]
    centres, _ = leg_curve(leg)
    axis = centre - centres[len(centres) // 2]
    axis = axis / np.linalg.norm(axis)
    first, second = _perpendicular(axis)
    angle = np.arctan2((border - centre) @ second, (border - centre) @ first)
    border, angle = border[np.argsort(angle)], np.sort(angle)
    offset = border - centre
    reach = np.linalg.norm(offset, axis=1).mean()
    steps = np.linspace(0, THIGH_LENGTH, 13)
    rings, middles, radii, position = [], [], [], centre.copy()
    for index, step in enumerate(steps):
        bend = np.clip(step / 0.10, 0, 1)
        tangent = (1 - bend) * axis + bend * direction
        tangent = tangent / np.linalg.norm(tangent)
        if index:
            position = position + (steps[1] - steps[0]) * tangent
        blend = np.clip(step / 0.06, 0, 1)
        circle = np.outer(np.cos(angle), first) + np.outer(np.sin(angle), second)
        rotated = (1 - blend) * offset + blend * reach * circle
        turn = trimesh.geometry.align_vectors(axis, tangent)[:3, :3] if index else np.eye(3)
        grown = (1 + 0.12 * blend + 0.45 * step / THIGH_LENGTH) * (rotated @ turn.T)
        rings.append(position + grown)
        middles.append(position)
        radii.append(np.linalg.norm(grown, axis=1).max())
    return tube(np.array(rings)), np.array(middles), np.array(radii)


def trousers(
    rng: np.random.Generator,
    centres: Float[np.ndarray, "stations 3"],
    radii: Float[np.ndarray, " stations"],
    hem: float,
    width: float,
) -> trimesh.Trimesh:
    """A trouser leg around a leg, with wrinkles and a colour or pattern as vertex attribute ``albedo``.

    Args:
        centres: of leg and thigh, from the ankle up.
        hem: distance of the hem from the first centre along the leg, metres.
        width: 0 (follows the leg) to 1 (straight and wide).
    """
    steps = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(centres, axis=0), axis=1))])
    start = min(hem, steps[-1] - 0.08)
    stations = np.linspace(start, steps[-1], int((steps[-1] - start) / 0.015) + 2)
    middle = np.stack([np.interp(stations, steps, column) for column in centres.T], axis=1)
    local = np.interp(stations, steps, radii)
    widest = radii[steps < 0.42].max()
    reach = np.maximum((1 - width) * local * 1.05 + width * widest * 1.25, local + 0.004)
    count = 40
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    folds = sum(
        rng.normal(0, 0.02)
        * np.sin(rng.integers(1, 5) * angle + stations[:, None] * rng.normal(0, 45) + rng.uniform(0, 6))
        for _ in range(5)
    )
    tangent = np.gradient(middle, axis=0)
    rings = []
    for index in range(len(stations)):
        first, second = _perpendicular(tangent[index] / np.linalg.norm(tangent[index]))
        spoke = np.outer(np.cos(angle), first) + np.outer(np.sin(angle), second)
        rings.append(middle[index] + (reach[index] * (1 + np.clip(folds[index], -0.02, 1)))[:, None] * spoke)
    mesh = tube(np.array(rings))
    colour, other = any_colour(rng, 0.01, 0.6) * rng.choice([0.3, 1.0]), any_colour(rng, 0.01, 0.8)
    row, column = np.divmod(np.arange(len(mesh.vertices)), count)
    pattern = rng.random()
    mixed = np.zeros(len(mesh.vertices))
    if pattern < 0.12:
        mixed = (column // rng.integers(1, 6) % 2).astype(float)
    elif pattern < 0.24:
        mixed = 0.5 * (column // 4 % 2) + 0.5 * (row // 3 % 2)
    elif pattern < 0.32:
        mixed = rng.random(len(mesh.vertices)) ** 3
    albedo = colour + mixed[:, None] * (other - colour)
    albedo[row < 2] *= rng.uniform(0.6, 1.3)
    mesh.vertex_attributes["albedo"] = np.clip(albedo, 0.005, 0.9)
    return mesh


def _perpendicular(axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two unit vectors that form a right-handed frame with the unit vector ``axis``."""
    first = np.cross([0.0, 0.0, 1.0], axis)
    first /= np.linalg.norm(first)
    return first, np.cross(axis, first)


def tube(rings: Float[np.ndarray, "rings points 3"], clockwise: bool = False) -> trimesh.Trimesh:
    """The surface through closed rings that run anticlockwise, or ``clockwise``, seen from the last ring."""
    levels, count = rings.shape[:2]
    lower = count * np.arange(levels - 1)[:, None] + np.arange(count)
    following = count * np.arange(levels - 1)[:, None] + (np.arange(count) + 1) % count
    quads = np.stack([lower, following, following + count, lower + count], -1).reshape(-1, 4)
    quads = quads[:, [0, 3, 2, 1]] if clockwise else quads
    faces = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return trimesh.Trimesh(rings.reshape(-1, 3), faces, process=False)


def other_foot(rng: np.random.Generator, leg: trimesh.Trimesh, side: str) -> Float[np.ndarray, "4 4"] | None:
    """The transform that mirrors ``leg`` to the other leg beside it; None: there is no room for it."""
    outwards = 1.0 if side == "left" else -1.0
    yaw = np.deg2rad(rng.normal(0, 14)) - outwards * np.deg2rad(6)
    matrix = trimesh.transformations.rotation_matrix(yaw, [0, 1, 0]) @ np.diag([1.0, 1.0, -1.0, 1.0])
    matrix[0, 3], matrix[2, 3] = rng.normal(0, 0.09), outwards * rng.uniform(0.10, 0.28)
    tree = cKDTree(np.asarray(leg.vertices)[::3])
    points = np.asarray(leg.vertices)[::3] @ matrix[:3, :3].T
    for _ in range(8):
        if tree.query(points + matrix[:3, 3])[0].min() > 0.018:
            return matrix
        matrix[2, 3] += 0.035 * outwards
    return None


def transform_mesh(mesh: trimesh.Trimesh, matrix: Float[np.ndarray, "4 4"]) -> trimesh.Trimesh:
    """A copy of ``mesh`` with its vertex attributes; the faces are flipped where ``matrix`` mirrors."""
    faces = np.asarray(mesh.faces)
    if np.linalg.det(matrix[:3, :3]) < 0:
        faces = faces[:, ::-1]
    points = np.asarray(mesh.vertices) @ matrix[:3, :3].T + matrix[:3, 3]
    copy = trimesh.Trimesh(points, faces, process=False)
    copy.vertex_attributes.update(mesh.vertex_attributes)
    return copy


# -------------------------------------------------------------------------------------------------------------- props


def _paint(mesh: trimesh.Trimesh, colours: np.ndarray) -> trimesh.Trimesh:
    """``mesh`` with one linear colour, or one per face."""
    colours = np.broadcast_to(colours, (len(mesh.faces), 3))
    rgba = np.column_stack([255 * linear_to_srgb(colours), np.full(len(colours), 255)])
    return trimesh.Trimesh(mesh.vertices, mesh.faces, face_colors=rgba.astype(np.uint8), process=False)


def _stand_on_floor(mesh: trimesh.Trimesh) -> trimesh.Trimesh:
    """Moves ``mesh`` up or down until it stands on the floor."""
    mesh.apply_translation([0, -mesh.bounds[0, 1], 0])
    return mesh


UPRIGHT = trimesh.transformations.rotation_matrix(-np.pi / 2, [1, 0, 0])
"""Turns the z axis of trimesh's primitives to +y."""


def _box(rng: np.random.Generator) -> trimesh.Trimesh:
    """A box, a book or a telephone."""
    flat = rng.random() < 0.5
    size = rng.uniform([0.06, 0.008, 0.08], [0.2, 0.05, 0.28]) if flat else rng.uniform(0.05, 0.25, 3)
    mesh = box(size).subdivide().subdivide()
    colours = np.tile(any_colour(rng), (len(mesh.faces), 1))
    if rng.random() < 0.5:
        pick = np.asarray(mesh.face_normals)[:, rng.integers(3)] > 0.5
        colours[pick] = any_colour(rng)
    if rng.random() < 0.4:
        band = np.abs(mesh.triangles_center[:, rng.integers(3)]) < rng.uniform(0.01, 0.05)
        colours[band] = any_colour(rng)
    return _stand_on_floor(_paint(mesh, colours))


def _bottle(rng: np.random.Generator) -> trimesh.Trimesh:
    """A bottle, a can, a cup or a jar."""
    radius, height = rng.uniform(0.022, 0.05), rng.uniform(0.07, 0.26)
    neck = rng.uniform(0.3, 1.0)
    profile = [[0, 0], [radius, 0], [radius, 0.35 * height], [radius, 0.7 * height]]
    profile += [[neck * radius, 0.85 * height], [neck * radius, height], [0, height]]
    mesh = revolve(np.array(profile), sections=28).apply_transform(UPRIGHT)
    level = mesh.triangles_center[:, 1] / height
    colours = np.tile(any_colour(rng), (len(mesh.faces), 1))
    if rng.random() < 0.7:
        colours[(level > 0.3) & (level < 0.7)] = any_colour(rng)
    colours[level > 0.84] = any_colour(rng)
    if rng.random() < 0.25:
        mesh.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, [0, 0, 1]))
    return _stand_on_floor(_paint(mesh, colours))


def _furniture(rng: np.random.Generator) -> trimesh.Trimesh:
    """One or two legs of a chair or table."""
    radius, tilt = rng.uniform(0.008, 0.03), rng.normal(0, 0.06, 2)
    colour = any_colour(rng, 0.01, 0.8) * rng.choice([0.15, 1.0])
    spread, parts = rng.uniform(0.3, 0.5), []
    is_round = rng.random() < 0.5
    for number in range(rng.integers(1, 3)):
        bar = cylinder(radius, 0.6, sections=20).apply_transform(UPRIGHT)
        part = (bar if is_round else box([1.7 * radius, 0.6, 1.7 * radius])).subdivide()
        part.vertices[:, [0, 2]] += part.vertices[:, 1:2] * tilt
        part.apply_translation([number * spread, 0, 0])
        parts.append(part)
    return _stand_on_floor(_paint(trimesh.util.concatenate(parts), colour))


def _cable(rng: np.random.Generator) -> trimesh.Trimesh:
    """A cable on the floor."""
    time = np.linspace(-1, 1, 40)
    x, z = 0.3 * time, sum(rng.normal(0, 0.03) * np.sin(k * time * 2 + rng.uniform(0, 6)) for k in (1, 2, 3, 5))
    radius = rng.uniform(0.0015, 0.005)
    angle = np.linspace(0, 2 * np.pi, 7, endpoint=False)
    ring = np.column_stack([0 * angle, radius + radius * np.cos(angle), radius * np.sin(angle)])
    rings = ring + np.column_stack([x, 0 * x, z])[:, None]
    return _paint(tube(rings), any_colour(rng) * rng.choice([0.1, 1.0]))


def _ruler(rng: np.random.Generator) -> trimesh.Trimesh:
    """A ruler or a tape measure with marks every centimetre, or a pen."""
    length, width = rng.choice([0.15, 0.2, 0.3, 0.5]), rng.uniform(0.012, 0.035)
    cells = round(length / 0.005)
    parts = [
        box([0.005, 0.002, width / 2]).apply_translation([0.005 * i, 0.001, w * width / 4])
        for i in range(cells)
        for w in (-1, 1)
    ]
    index = np.repeat(np.arange(2 * cells), 12)
    colour, ink = any_colour(rng, 0.2, 0.9), any_colour(rng, 0.01, 0.2)
    marked = (index % 2 == 0) & (index // 2 % 2 == 0) & (rng.random() < 0.85)
    return _paint(trimesh.util.concatenate(parts), np.where(marked[:, None], ink, colour))


def _toy(rng: np.random.Generator) -> trimesh.Trimesh:
    """A ball, or a figure of balls and capsules in bright colours."""
    parts, colours = [], []
    radius = rng.uniform(0.015, 0.06)
    for number in range(rng.choice([1, 3, 5])):
        size = radius * (1 if number == 0 else rng.uniform(0.4, 0.9))
        part = icosphere(2, size) if rng.random() < 0.7 else capsule(2 * size, size / 2, count=[12, 12])
        part.apply_translation([0, 0, 0] if number == 0 else radius * rng.uniform([-1.5, -0.6, -1.5], [1.5, 1.6, 1.5]))
        parts.append(part)
        colours.append(np.tile(any_colour(rng, 0.1), (len(part.faces), 1)))
    return _stand_on_floor(_paint(trimesh.util.concatenate(parts), np.concatenate(colours)))


def _lump(rng: np.random.Generator) -> trimesh.Trimesh:
    """A heap of cloth, a bag or a stone."""
    mesh = icosphere(3, 1.0)
    waves = sum(rng.normal(0, 0.12) * np.sin(mesh.vertices @ rng.normal(0, 3, 3) + rng.uniform(0, 6)) for _ in range(6))
    mesh.vertices = mesh.vertices * (1 + waves[:, None]) * rng.uniform([0.04, 0.015, 0.04], [0.18, 0.08, 0.14])
    return _stand_on_floor(_paint(mesh, any_colour(rng)))


def shoe(rng: np.random.Generator, leg: trimesh.Trimesh) -> trimesh.Trimesh:
    """The shape of a closed shoe or slipper around the foot of ``leg``, with a sole."""
    height = rng.uniform(0.05, 0.10)
    points = np.asarray(leg.vertices)
    hull = trimesh.convex.convex_hull(points[points[:, 1] < height])
    vertices, faces = trimesh.remesh.subdivide_to_size(hull.vertices, hull.faces, 0.025)
    mesh = trimesh.Trimesh(vertices, faces)
    centre = mesh.bounds.mean(axis=0) * [1, 0, 1]
    # The instep falls towards the toes.
    along = np.clip((mesh.vertices[:, 0] - centre[0]) / 0.12, -1, 1)
    scale = np.tile([1.06, 1, rng.uniform(1.0, 1.12)], (len(along), 1))
    scale[:, 1] = 0.9 - 0.15 * along
    mesh.vertices = (mesh.vertices - centre) * scale
    sole, level = rng.uniform(0.008, 0.03), mesh.triangles_center[:, 1]
    colours = np.tile(any_colour(rng) * rng.choice([0.1, 1.0]), (len(mesh.faces), 1))
    colours[level < sole] = any_colour(rng) if rng.random() < 0.5 else (0.75, 0.75, 0.73)
    if rng.random() < 0.5:
        stripe = np.abs(mesh.triangles_center[:, 0] - rng.uniform(-0.05, 0.08)) < rng.uniform(0.008, 0.03)
        colours[stripe & (level >= sole)] = any_colour(rng)
    return _stand_on_floor(_paint(mesh, colours))


PROPS = dict(box=_box, bottle=_bottle, furniture=_furniture, cable=_cable, ruler=_ruler, toy=_toy, lump=_lump)


def place(
    rng: np.random.Generator, mesh: trimesh.Trimesh, occupied: Float[np.ndarray, "points 3"], centre: np.ndarray
) -> trimesh.Trimesh | None:
    """Moves ``mesh`` on the floor to 3-25 cm from the ``occupied`` points, in a random direction and rotation.

    Returns None where there is no such place within 0.8 m of ``centre``.
    """
    mesh.apply_transform(trimesh.transformations.rotation_matrix(rng.uniform(0, 2 * np.pi), [0, 1, 0]))
    gap = 0.03 + 0.22 * rng.beta(1, 1.7)
    angle = rng.uniform(0, 2 * np.pi)
    direction = np.array([np.cos(angle), 0, np.sin(angle)])
    low = occupied[occupied[:, 1] < mesh.bounds[1, 1] + 0.03][:, [0, 2]]
    tree, points = cKDTree(low), np.concatenate([mesh.vertices, mesh.triangles_center])[:, [0, 2]]
    middle = (mesh.bounds[0] + mesh.bounds[1])[[0, 2]] / 2
    for distance in np.arange(0.05, 0.8, 0.02):
        shift = centre[[0, 2]] + distance * direction[[0, 2]] - middle
        if tree.query(points + shift, distance_upper_bound=gap)[0].min() == np.inf:
            mesh.apply_translation([shift[0], 0, shift[1]])
            return mesh
    return None
