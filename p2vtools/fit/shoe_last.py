"""A foot inside a shoe: a schematic last in neighbouring sizes, and how much room the foot has in each.

The last is a solid from four numbers and nothing else: the length and the ball girth of the foot that it is made for,
the toe allowance, and proportions. It is no maker's last: it has no heel lift, no toe spring and no seam, and the shoe
does not give. Its frame is the foot's, turned until the middles of heel and ball lie as they do in the last: metres,
y up, toes along +x, the rearmost point at x = 0, and **+z is inwards** for both feet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator

from p2vtools.fit.measure import MONDOPOINT_STEP, TOE_ROOM, Landmarks, measure_foot

GIRTH_STEP = 0.75
"""By how much the ball girth grows with the length of the size: a Paris point of 6.67 mm takes 5 mm of girth, an
English size of 8.47 mm takes 6.35 mm."""

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
"""Sections of the last: share of the length; outer edge, inner edge, place of the ridge and height, shares of the ball
girth; powers of the two quarters of super-ellipses that meet in the ridge. From the mean of 300 feet of this study's
population (seed 5); behind 42 %, where a shoe is open, walls instead."""

TOE_POWERS = {"outer": 2.2, "inner": 2.5, "height": 2.5}
"""How round the toe's cap is: from the last station to the tip its edges and its height are super-ellipses. Assumed."""

TOE_TIP = 0.06
"""Where the tip is, inwards, share of the ball girth. Assumed."""

OPENING = ((0.0, 0.26), (0.2, 0.22), (0.48, 0.34), (0.5, 1.0))
"""The shoe's upper edge: share of the length, height as a share of the ball girth. Assumed."""

BELOW = 0.04
"""The walls go on so far below the floor, metres: what the sole stands on is not judged."""

SOLE = -0.5
"""Where the surface of the foot looks down more than this (the upward part of its normal) it is sole."""

ALONG, AROUND = 160, 40
"""Sections of the last's surface, and points of each quarter."""


@dataclass(frozen=True, eq=False)
class ShoeLast:
    """A last for feet of one length and one ball girth."""

    length: float
    """Of the foot that it is made for, mm: the Mondopoint size."""
    girth: float
    """Around that foot's ball, mm."""
    mesh: trimesh.Trimesh
    """Its surface in its own frame, metres, closed; longer than the foot by `TOE_ROOM`."""


@dataclass(frozen=True, eq=False)
class ShoeFit:
    """A foot in a last."""

    last: ShoeLast
    side: str
    foot: trimesh.Trimesh
    """In the last's frame, metres."""
    clearance: Float[np.ndarray, " vertices"]
    """Of each vertex of the foot, mm: room to the last's surface; negative: pressed; nan: sole, or outside the shoe."""
    toe_room: float
    """From the longest toe to the end of the last, along the axis, mm."""


def make_last(length: float, girth: float) -> ShoeLast:
    """The last for a foot ``length`` mm long and ``girth`` mm around the ball.

    Raises:
        ValueError: measures of no foot.
    """
    if not 90 <= length <= 350:
        raise ValueError(f"a last is made for a foot of 90 to 350 mm; found {length:.0f}")
    if not 0.7 <= girth / length <= 1.3:
        raise ValueError(f"a ball girth is 70 to 130 % of the foot's length; found {girth:.0f} mm for {length:.0f} mm")
    share = (1 - np.cos(np.linspace(0, np.pi, ALONG))) / 2  # closer together where it is round, at heel and toe
    x = share * (length + TOE_ROOM) / 1000
    outer, inner, ridge, height, *powers = _stations(x, length / 1000, girth / 1000)
    quarter = np.linspace(0, np.pi / 2, AROUND)
    cos, sin = np.cos(quarter).clip(0), np.sin(quarter)
    rows = []
    for edge, power in ((outer, powers[0]), (inner, powers[1])):
        reach, rise = (wave[None] ** (2 / power[:, None]) for wave in (cos, sin))
        rows.append(np.stack([ridge[:, None] + (edge - ridge)[:, None] * reach, height[:, None] * rise], -1))
    bottom = [np.stack([edge, np.full(ALONG, -BELOW)], -1)[:, None] for edge in (outer, inner)]
    ring = np.concatenate([bottom[0], rows[0], rows[1][:, -2::-1], bottom[1]], axis=1)
    points = np.concatenate([np.broadcast_to(x[:, None, None], (*ring.shape[:2], 1)), ring[..., ::-1]], -1)
    return ShoeLast(float(length), float(girth), _closed(points))


def _stations(
    x: Float[np.ndarray, " sections"], length: float, girth: float
) -> tuple[Float[np.ndarray, " sections"], ...]:
    """The columns of `STATIONS` at ``x``, metres where they are lengths, with the toe's cap."""
    values = PchipInterpolator(STATIONS[:, 0], STATIONS[:, 1:])(np.minimum(x / length, STATIONS[-1, 0])).T
    outer, inner, ridge, height = girth * values[:4]
    start = STATIONS[-1, 0] * length
    way = ((x - start) / (length + TOE_ROOM / 1000 - start)).clip(0, 0.9999)
    left = {name: (1 - way**power) ** (1 / power) for name, power in TOE_POWERS.items()}
    tip = girth * TOE_TIP
    outer, inner = tip + (outer - tip) * left["outer"], tip + (inner - tip) * left["inner"]
    ridge = tip + (ridge - tip) * np.minimum(left["outer"], left["inner"])
    return outer, inner, ridge, height * left["height"], *values[4:]


def _closed(points: Float[np.ndarray, "sections around 3"]) -> trimesh.Trimesh:
    """A surface through rings of points, with a fan at either end."""
    sections, around = points.shape[:2]
    number = np.arange(sections * around).reshape(sections, around)
    here, there = number, np.roll(number, -1, axis=1)
    sides = np.stack([here[:-1], here[1:], there[1:], here[:-1], there[1:], there[:-1]], -1).reshape(-1, 3)
    ends = []
    for ring, after, middle in ((here[0], there[0], number.size), (there[-1], here[-1], number.size + 1)):
        ends.append(np.stack([ring, after, np.full(around, middle)], -1))
    middles = points[[0, -1]].mean(axis=1)
    mesh = trimesh.Trimesh(
        np.concatenate([points.reshape(-1, 3), middles]), np.concatenate([sides, *ends]), process=False
    )
    mesh.fix_normals()
    return mesh


def clearance(last: ShoeLast, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, " points"]:
    """Distance of points in the last's frame to its surface, mm: positive inside; nan above the shoe's opening."""
    import igl

    faces = last.mesh.faces.astype(np.int64)
    kind = igl.SignedDistanceType.SIGNED_DISTANCE_TYPE_PSEUDONORMAL
    away = igl.signed_distance(np.ascontiguousarray(points), np.asarray(last.mesh.vertices), faces, kind)[0]
    share, height = np.array(OPENING).T
    edge = last.girth / 1000 * np.interp(1000 * points[:, 0] / last.length, share, height)
    return np.where(points[:, 1] < edge, -1000 * away, np.nan)


def fit_shoes(mesh: trimesh.Trimesh, side: str) -> list[ShoeFit]:
    """A foot (`measure`) in lasts of three neighbouring Mondopoint sizes, the nearest in the middle.

    All three are made for its own ball girth, graded with their length by `GIRTH_STEP`.

    Raises:
        ValueError: a surface that is no foot, or one that no last is made for.
    """
    measures, marks = measure_foot(mesh, side)
    foot = _laid(mesh, side, marks)
    is_sole = foot.vertex_normals[:, 1] < SOLE
    nearest = MONDOPOINT_STEP * round(measures.length / MONDOPOINT_STEP)
    found = []
    for length in (nearest - MONDOPOINT_STEP, nearest, nearest + MONDOPOINT_STEP):
        last = make_last(length, measures.ball_girth + GIRTH_STEP * (length - measures.length))
        room = np.where(is_sole, np.nan, clearance(last, np.asarray(foot.vertices)))
        found.append(ShoeFit(last, side, foot, room, length + TOE_ROOM - measures.length))
    return found


def _laid(mesh: trimesh.Trimesh, side: str, marks: Landmarks) -> trimesh.Trimesh:
    """A foot in the frame of its last: a right one mirrored, the middle of its heel and of its ball on the last's."""
    across = np.array([1.0, 1.0, 1.0 if side == "left" else -1.0])
    heel, ball = across * marks.rear.mean(0), across * (marks.inner + marks.outer) / 2
    rear, wide = (STATIONS[np.abs(STATIONS[:, 0] - share).argmin(), 1:3].mean() for share in (0.16, 0.68))
    girth = float(np.linalg.norm(np.diff(marks.ball, axis=0), axis=1).sum())
    away = ball - heel
    turn = np.arctan2(away[2], away[0]) - np.arctan2(girth * (wide - rear), away[0])
    cos, sin = np.cos(turn), np.sin(turn)
    matrix = np.eye(4)
    matrix[:3, :3] = [[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]
    matrix[:3, 3] = -matrix[:3, :3] @ (heel * [1, 0, 1]) + [0, 0, girth * rear]
    laid = mesh.copy().apply_transform(np.diag([*across, 1.0])).apply_transform(matrix)
    laid.apply_translation([-laid.vertices[laid.vertices[:, 1] < 0.06, 0].min(), 0, 0])
    return laid
