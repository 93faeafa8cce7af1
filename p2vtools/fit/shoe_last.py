"""A schematic shoe last in neighbouring sizes, and the clearance of a foot in it.

The last is a solid defined by the length and ball girth of a foot, a toe allowance and fixed proportions. It is not a
manufacturer's last: it has no heel lift, toe spring or seam, and the shoe does not stretch. Its frame is the frame of
the foot, rotated so that the centres of heel and ball coincide with those of the last: metres, y up, toes along +x,
rearmost point at x = 0, and **+z inwards** for both feet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator

from p2vtools.fit.measure import HEEL_POSITION, MONDOPOINT_STEP, TOE_ROOM, Landmarks, measure_foot, polyline_length

GIRTH_STEP = 0.75
"""Growth of the ball girth with the length of the size: 5 mm per Paris point (6.67 mm), 6.35 mm per UK size (8.47)."""

STATIONS = np.array(
    [
        (0.000, -0.004, 0.030, 0.013, 0.400, 6.00, 6.00),
        (0.005, -0.015, 0.043, 0.014, 0.400, 6.00, 6.00),
        (0.015, -0.033, 0.063, 0.015, 0.400, 6.00, 6.00),
        (0.030, -0.051, 0.083, 0.016, 0.400, 6.00, 6.00),
        (0.060, -0.076, 0.103, 0.014, 0.400, 6.00, 6.00),
        (0.100, -0.099, 0.118, 0.010, 0.400, 6.00, 6.00),
        (0.160, -0.120, 0.130, 0.005, 0.400, 6.00, 6.00),
        (0.250, -0.137, 0.147, 0.005, 0.400, 6.00, 6.00),
        (0.350, -0.154, 0.152, 0.020, 0.395, 4.00, 4.00),
        (0.420, -0.169, 0.156, 0.045, 0.375, 1.62, 2.50),
        (0.500, -0.183, 0.165, 0.046, 0.290, 1.65, 2.73),
        (0.560, -0.192, 0.176, 0.061, 0.247, 1.70, 2.64),
        (0.620, -0.199, 0.192, 0.074, 0.210, 1.71, 2.60),
        (0.680, -0.195, 0.205, 0.089, 0.178, 1.84, 2.59),
        (0.730, -0.190, 0.209, 0.112, 0.155, 2.01, 2.60),
        (0.780, -0.189, 0.205, 0.130, 0.137, 2.20, 2.80),
    ]
)
"""Sections of the last. Columns: fraction of the length; outer edge, inner edge, ridge position and height as fractions
of the ball girth; exponents of the outer and inner quarter of a superellipse. Mean of 300 feet of this study's
population (seed 5); behind 42 %, where a shoe is open, vertical walls instead."""

BALL_POSITION = 0.68
"""Fraction of the length at which foot and last are aligned at the ball."""

TOE_EXPONENTS = {"outer": 2.2, "inner": 2.5, "height": 2.5}
"""Superellipse exponents of the toe cap, from the last station to the tip. Assumed."""

TOE_TIP = 0.06
"""Inward offset of the tip, fraction of the ball girth. Assumed."""

OPENING = ((0.0, 0.26), (0.2, 0.22), (0.48, 0.34), (0.5, 1.0))
"""Upper edge of the shoe: fraction of the length, height as a fraction of the ball girth. Assumed."""

WALL_DEPTH = 0.04
"""Depth of the walls below the floor, metres: the clearance under the sole is not evaluated."""

SOLE_NORMAL = -0.5
"""Largest upward component of the normal on the sole."""

SECTIONS, QUARTER_POINTS = 160, 40
"""Resolution of the surface: sections, and points of each quarter."""


@dataclass(frozen=True, eq=False)
class ShoeLast:
    """A last for feet of one length and ball girth."""

    length: float
    """Foot length, mm: the Mondopoint size."""
    girth: float
    """Ball girth of the foot, mm."""
    mesh: trimesh.Trimesh
    """Closed surface in its own frame, metres; longer than the foot by `TOE_ROOM`."""


@dataclass(frozen=True, eq=False)
class ShoeFit:
    """A foot in a last."""

    last: ShoeLast
    side: str
    foot: trimesh.Trimesh
    """In the frame of the last, metres."""
    clearance: Float[np.ndarray, " vertices"]
    """Distance of each vertex of the foot to the last, mm; negative: pressed; nan: sole, or above the opening."""
    toe_room: float
    """From the longest toe to the end of the last, along the axis, mm."""


def make_last(length: float, girth: float) -> ShoeLast:
    """The last for a foot of ``length`` and ball ``girth``, mm.

    Raises:
        ValueError: not the measurements of a foot.
    """
    if not 90 <= length <= 350:
        raise ValueError(f"expected a foot length of 90 to 350 mm; found {length:.0f}")
    if not 0.7 <= girth / length <= 1.3:
        raise ValueError(f"expected a ball girth of 70 to 130 % of the length {length:.0f} mm; found {girth:.0f} mm")
    share = (1 - np.cos(np.linspace(0, np.pi, SECTIONS))) / 2  # denser at heel and toe
    x = share * (length + TOE_ROOM) / 1000
    outer, inner, ridge, height, *exponents = _stations_at(x, length / 1000, girth / 1000)
    angle = np.linspace(0, np.pi / 2, QUARTER_POINTS)
    quarters = []
    for edge, exponent in ((outer, exponents[0]), (inner, exponents[1])):
        cos, sin = (wave[None] ** (2 / exponent[:, None]) for wave in (np.cos(angle).clip(0), np.sin(angle)))
        quarters.append(np.stack([ridge[:, None] + (edge - ridge)[:, None] * cos, height[:, None] * sin], -1))
    walls = [np.stack([edge, np.full(SECTIONS, -WALL_DEPTH)], -1)[:, None] for edge in (outer, inner)]
    ring = np.concatenate([walls[0], quarters[0], quarters[1][:, -2::-1], walls[1]], axis=1)
    points = np.concatenate([np.broadcast_to(x[:, None, None], (*ring.shape[:2], 1)), ring[..., ::-1]], -1)
    return ShoeLast(float(length), float(girth), _loft(points))


def _stations_at(
    x: Float[np.ndarray, " sections"], length: float, girth: float
) -> tuple[Float[np.ndarray, " sections"], ...]:
    """Columns of `STATIONS` interpolated at ``x``, lengths in metres, including the toe cap."""
    values = PchipInterpolator(STATIONS[:, 0], STATIONS[:, 1:])(np.minimum(x / length, STATIONS[-1, 0])).T
    outer, inner, ridge, height = girth * values[:4]
    start = STATIONS[-1, 0] * length
    share = ((x - start) / (length + TOE_ROOM / 1000 - start)).clip(0, 0.9999)
    taper = {name: (1 - share**exponent) ** (1 / exponent) for name, exponent in TOE_EXPONENTS.items()}
    tip = girth * TOE_TIP
    outer, inner = tip + (outer - tip) * taper["outer"], tip + (inner - tip) * taper["inner"]
    ridge = tip + (ridge - tip) * np.minimum(taper["outer"], taper["inner"])
    return outer, inner, ridge, height * taper["height"], *values[4:]


def _loft(rings: Float[np.ndarray, "sections around 3"]) -> trimesh.Trimesh:
    """A closed surface through rings of points, with a fan at both ends."""
    sections, around = rings.shape[:2]
    number = np.arange(sections * around).reshape(sections, around)
    following = np.roll(number, -1, axis=1)
    sides = [number[:-1], number[1:], following[1:], number[:-1], following[1:], following[:-1]]
    caps = []
    for first, second, centre in ((number[0], following[0], number.size), (following[-1], number[-1], number.size + 1)):
        caps.append(np.stack([first, second, np.full(around, centre)], -1))
    vertices = np.concatenate([rings.reshape(-1, 3), rings[[0, -1]].mean(axis=1)])
    mesh = trimesh.Trimesh(vertices, np.concatenate([np.stack(sides, -1).reshape(-1, 3), *caps]), process=False)
    mesh.fix_normals()
    return mesh


def opening_height(last: ShoeLast, x: Float[np.ndarray, " points"]) -> Float[np.ndarray, " points"]:
    """Height of the upper edge of the shoe at ``x``, both in metres."""
    share, height = np.array(OPENING).T
    return last.girth / 1000 * np.interp(1000 * x / last.length, share, height)


def clearance(last: ShoeLast, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, " points"]:
    """Distance from ``points`` (metres) inwards to the surface of ``last``, mm; nan above the opening."""
    import igl

    faces = last.mesh.faces.astype(np.int64)
    kind = igl.SignedDistanceType.SIGNED_DISTANCE_TYPE_PSEUDONORMAL
    distance = igl.signed_distance(np.ascontiguousarray(points), np.asarray(last.mesh.vertices), faces, kind)[0]
    return np.where(points[:, 1] < opening_height(last, points[:, 0]), -1000 * distance, np.nan)


def fit_shoes(mesh: trimesh.Trimesh, side: str) -> list[ShoeFit]:
    """A foot (as for `measure_foot`) in lasts of three neighbouring Mondopoint sizes, the nearest in the middle.

    Their girth is the ball girth of the foot, graded with the length by `GIRTH_STEP`.

    Raises:
        ValueError: not a foot, or not one that a last exists for.
    """
    measures, landmarks = measure_foot(mesh, side)
    if measures.ball_girth is None:
        raise ValueError("the scan ends below the top of the ball, so its girth is unknown; scan the foot to the ankle")
    foot = _align_to_last(mesh, side, landmarks)
    is_sole = foot.vertex_normals[:, 1] < SOLE_NORMAL
    nearest = MONDOPOINT_STEP * round(measures.length / MONDOPOINT_STEP)
    fits = []
    for length in (nearest - MONDOPOINT_STEP, nearest, nearest + MONDOPOINT_STEP):
        last = make_last(length, measures.ball_girth + GIRTH_STEP * (length - measures.length))
        room = np.where(is_sole, np.nan, clearance(last, np.asarray(foot.vertices)))
        fits.append(ShoeFit(last, side, foot, room, length + TOE_ROOM - measures.length))
    return fits


def _align_to_last(mesh: trimesh.Trimesh, side: str, landmarks: Landmarks) -> trimesh.Trimesh:
    """A foot in the frame of its last: a right foot mirrored, heel and ball centred as in the last."""
    mirror = np.array([1.0, 1.0, 1.0 if side == "left" else -1.0])
    heel = mirror * landmarks.heel_edges.mean(0)
    ball = mirror * (landmarks.first_metatarsal + landmarks.fifth_metatarsal) / 2
    heel_offset, ball_offset = (
        STATIONS[np.abs(STATIONS[:, 0] - share).argmin(), 1:3].mean() for share in (HEEL_POSITION, BALL_POSITION)
    )
    girth = polyline_length(landmarks.ball_tape)
    axis = ball - heel
    turn = np.arctan2(axis[2], axis[0]) - np.arctan2(girth * (ball_offset - heel_offset), axis[0])
    cos, sin = np.cos(turn), np.sin(turn)
    matrix = np.eye(4)
    matrix[:3, :3] = [[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]
    matrix[:3, 3] = -matrix[:3, :3] @ (heel * [1, 0, 1]) + [0, 0, girth * heel_offset]
    aligned = mesh.copy().apply_transform(np.diag([*mirror, 1.0])).apply_transform(matrix)
    aligned.apply_translation([-aligned.vertices[aligned.vertices[:, 1] < 0.06, 0].min(), 0, 0])
    return aligned
