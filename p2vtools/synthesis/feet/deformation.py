"""Deformations of feet beyond anny's parameters, for people of wide variety: measures, toes, bumps and a leaning shank.

All functions take vertices ``[vertices, 3]`` in metres of a foot that stands on y = 0 and points along +x with its
pternion at x = z = 0; the public ones return new ones, the others change them.
"""

from __future__ import annotations

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.interpolate import PchipInterpolator
from scipy.spatial.transform import Rotation

from p2vtools.synthesis.feet.landmarks import landmark_vertices
from p2vtools.synthesis.feet.legs import LegTemplate
from p2vtools.synthesis.feet.population import FootForm

HEIGHT_POSITIONS = (0.50, 0.65, 0.75)
"""Positions of `FootForm.heights`, as shares of the length."""

TOE_DISTANCES = (0.004, 0.010, 0.022)
"""Distances behind the tip of a toe at which its thickness is set, metres, for a foot of `ADULT_LENGTH`."""

TOE_THICKENING = 1.2
"""Thickness of a toe at the last of `TOE_DISTANCES` as a share of that at the second."""

ADULT_LENGTH = 0.26

SOLE_HEIGHT = 0.07
"""Height above the floor, as a share of the length, over which `FootForm.sole` fades."""

ANKLE_DEPTH = 0.90
"""Depth of an ankle from front to back as a share of anny's."""

LEAN_START, LEAN_ZONE, LEAN_SLOPE = 0.22, 0.45, 0.25
"""Rotation of a leaning shank: height at which it starts and height over which it grows, as shares of the length; slope
of the starting height along x."""

Vertices = Float[np.ndarray, "vertices 3"]


def deform_foot(vertices: Vertices, leg: LegTemplate, form: FootForm, side: str, length: float) -> Vertices:
    """Gives a foot of ``length`` the measures, the toes and the bumps of ``form``.

    The function is meant to be applied twice, with an alignment of the foot after each: one application adds half of
    the bumps, then sets the measures, so the second one corrects the errors that the first alignment leaves.
    """
    vertices = vertices.copy()
    _add_bumps(vertices, leg, form, 1.0 if side == "left" else -1.0, length)
    _move_ball(vertices, form, side, length)
    _scale_breadth(vertices, leg, form, side, length)
    _scale_height(vertices, leg, form, length)
    _scale_ankle(vertices, form.ankle**0.5, length)
    _shape_toes(vertices, leg, form, length)
    return vertices


def lean_shank(vertices: Vertices, lean: tuple[float, float], side: str, length: float) -> Vertices:
    """Bends the ankle until the axis of the shank leans by ``lean`` (forwards, outwards, degrees) from the vertical.

    The rotation grows smoothly over nearly half the foot length, so that the shortened side does not fold.
    """
    x, y = vertices[:, 0] / length, vertices[:, 1] / length
    outwards = -1.0 if side == "left" else 1.0
    lower, upper = (vertices[abs(y - height) < 0.08].mean(axis=0) for height in (0.65, 1.05))
    axis = (upper - lower) / np.linalg.norm(upper - lower)
    wanted = np.array([np.tan(np.deg2rad(lean[0])), 1.0, outwards * np.tan(np.deg2rad(lean[1]))])
    turn = np.cross(axis, wanted / np.linalg.norm(wanted))
    turn *= np.arcsin(np.linalg.norm(turn)) / max(np.linalg.norm(turn), 1e-12)
    ankle = vertices[abs(y - 0.42) < 0.05]
    back, front = ankle.min(axis=0), ankle.max(axis=0)
    pivot = np.array([0.6 * back[0] + 0.4 * front[0], 0.28 * length, (back + front)[2] / 2])
    along_leg = y - LEAN_SLOPE * (x - pivot[0] / length)
    share = _smooth_step((along_leg - LEAN_START) / LEAN_ZONE)
    return pivot + Rotation.from_rotvec(share[:, None] * turn).apply(vertices - pivot)


def _add_bumps(vertices: Vertices, leg: LegTemplate, form: FootForm, inwards: float, length: float) -> None:
    normals = trimesh.Trimesh(vertices, leg.faces, process=False).vertex_normals
    middle = vertices[leg.is_foot, 2].min() / 2 + vertices[leg.is_foot, 2].max() / 2
    displacement = np.zeros(len(vertices))
    for along, height, across, amplitude, width in form.bumps:
        centre = np.array([along * length, height * length, middle + inwards * across * form.breadth / 2])
        centre = vertices[((vertices - centre) ** 2).sum(axis=1).argmin()]
        displacement += amplitude * np.exp(-((vertices - centre) ** 2).sum(axis=1) / (2 * width**2))
    fade = 1 - _smooth_step((vertices[:, 1] / length - 0.5) / 0.5)
    fade = fade * (1 - 0.6 * leg.toes.sum(axis=0))
    vertices += (displacement * fade)[:, None] * normals / 2


def _move_ball(vertices: Vertices, form: FootForm, side: str, length: float) -> None:
    """Stretches the rear of the foot along its axis until the inner ball joint is where it should be."""
    inner, _ = _ball_points(vertices, side)
    ball = np.clip(form.ball_position, inner[0] / length - 0.05, inner[0] / length + 0.05)
    knots = np.array([-2.0, -1.0, 0.0, 0.3, inner[0] / length, 1.0, 1.3, 1.6])
    moved = knots.copy()
    moved[3:5] = [0.3 * (ball / knots[4]), ball]
    shift = length * PchipInterpolator(knots, moved)(vertices[:, 0] / length) - vertices[:, 0]
    vertices[:, 0] += shift * (1 - _smooth_step((vertices[:, 1] / length - 0.25) / 0.3))


def _scale_breadth(vertices: Vertices, leg: LegTemplate, form: FootForm, side: str, length: float) -> None:
    """Scales the foot across its axis to the breadths of ball and heel."""
    inner, outer = _ball_points(vertices, side)
    along, height = vertices[:, 0] / length, vertices[:, 1] / length
    heel = vertices[leg.is_foot & (along < 0.25) & (height < 0.18), 2]
    ball_scale, heel_scale = form.breadth / abs(inner - outer)[2], form.heel_breadth / np.ptp(heel)
    ball_scale, heel_scale = np.clip(ball_scale, 0.7, 1.5), np.clip(heel_scale, 0.75, 1.4)
    middle = (0.4 * heel_scale + 0.6 * ball_scale) * form.midfoot**0.5
    scales = [heel_scale] * 3 + [middle] + [ball_scale] * 3
    profile = PchipInterpolator([-2.0, 0.0, 0.22, 0.48, 0.70, 0.80, 3.0], scales)(along)
    fade = 1 - _smooth_step((height - 0.2) / (0.15 + 0.15 * np.clip(along - 0.3, 0, 0.5) / 0.5))
    vertices[:, 2] *= 1 + (profile - 1) * fade


def _scale_height(vertices: Vertices, leg: LegTemplate, form: FootForm, length: float) -> None:
    """Scales the top of the foot to the heights of the form, and lowers the edge of the sole."""
    along, height = vertices[:, 0] / length, vertices[:, 1] / length
    tops = [_top(along[leg.is_foot], height[leg.is_foot], position) for position in HEIGHT_POSITIONS]
    scales = np.clip(np.array(form.heights) / tops, 0.65, 1.7)
    height = height * (1 - form.sole / 2 * np.exp(-height / SOLE_HEIGHT))
    scales = [1, 1, 0.6 + 0.4 * scales[0], *scales, *[0.5 + 0.5 * scales[-1]] * 2]
    profile = PchipInterpolator([-2.0, 0.25, 0.35, *HEIGHT_POSITIONS, 0.9, 3.0], scales)(along)
    fade = 1 - _smooth_step((height - 0.25) / 0.35)
    vertices[:, 1] = length * height * (1 + (profile - 1) * fade)


def _scale_ankle(vertices: Vertices, scale: float, length: float) -> None:
    """Scales ankle and leg about the axis of the leg."""
    height = vertices[:, 1] / length
    section = vertices[abs(height - 0.42) < 0.05]
    back, front = section.min(axis=0), section.max(axis=0)
    share = _smooth_step((height - 0.15) / 0.25) * (1 - 0.5 * _smooth_step((height - 0.5) / 0.5))
    vertices[:, 2] += (scale - 1) * share * (vertices[:, 2] - (back + front)[2] / 2)
    # Seen from the side, anny's ankle is thick: its back, the Achilles tendon, moves forwards.
    vertices[:, 0] += (scale * ANKLE_DEPTH**0.5 - 1) * share * (vertices[:, 0] - 0.2 * back[0] - 0.8 * front[0])


def _shape_toes(vertices: Vertices, leg: LegTemplate, form: FootForm, length: float) -> None:
    """Gives the toes their thickness and width, and the second toe its length."""
    unit = length / ADULT_LENGTH
    tips = [vertices[weights > 0.5, 0].max() for weights in leg.toes]
    shift = np.clip(form.second_toe - (tips[1] - tips[0]), -0.012 * unit, 0.012 * unit)
    for toe, share in ((1, 1.0), (2, 0.6), (3, 0.3)):
        vertices[:, 0] += share * shift * leg.toes[toe]
    for weights, thickness in zip(leg.toes, form.toe_heights, strict=True):
        on_toe = weights > 0.5
        behind = (vertices[on_toe, 0].max() - vertices[:, 0]) / unit
        bottom = vertices[on_toe & (behind < 0.03), 1].min()
        height = vertices[:, 1] - bottom
        wanted = thickness * np.array([form.toe_bluntness, 1.0, TOE_THICKENING])
        found = [_top(behind[on_toe], height[on_toe], distance) for distance in TOE_DISTANCES]
        gains = np.clip(wanted / found, 0.6, 2.2)
        gain = PchipInterpolator([-1.0, *TOE_DISTANCES, 1.0], [gains[0], *gains, gains[-1]])(behind)
        vertices[:, 1] += weights * height * (gain - 1)
        middle = np.average(vertices[on_toe & (behind < 0.03), 2])
        vertices[:, 2] += weights * (form.toe_width**0.5 - 1) * (vertices[:, 2] - middle)


def _ball_points(vertices: Vertices, side: str) -> tuple[np.ndarray, np.ndarray]:
    """The inner and the outer ball joint, as `p2vtools.synthesis.feet.landmarks` finds them."""
    regions, inwards = landmark_vertices(side), 1.0 if side == "left" else -1.0
    inner, outer = vertices[regions["first metatarsal"]], vertices[regions["fifth metatarsal"]]
    return inner[(inwards * inner[:, 2]).argmax()], outer[(inwards * outer[:, 2]).argmin()]


def _top(along: np.ndarray, height: np.ndarray, position: float) -> float:
    """The greatest height among the 2 % of the vertices (at least 12) that are nearest to ``position``."""
    count = max(12, len(along) // 50)
    return float(height[np.argpartition(abs(along - position), count)[:count]].max())


def _smooth_step(value: np.ndarray) -> np.ndarray:
    value = np.clip(value, 0, 1)
    return value * value * (3 - 2 * value)
