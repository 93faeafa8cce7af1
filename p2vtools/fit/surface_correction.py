"""Correction of the bias of a reconstructed surface.

The tips of toes are thinner than a voxel, and a blurred surface ends before them: a reconstructed foot is too short by
some millimetres. The correction moves the surface itself, so that whoever measures it finds the same millimetres: a
stretch of the toes along x for the length, and a change of the breadth across the axis that goes over smoothly from the
heel to the ball.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import trimesh

from p2vtools.fit.measure import HEEL_POSITION, Landmarks, measure_foot

CORRECTED = ("length", "ball_breadth", "heel_breadth")
"""Measurements whose bias is corrected; the others follow from the corrected surface."""

TOES_BEGIN = 0.6
"""Fraction of the length from which the stretch of the length grows, towards the tip."""

ROUNDS = 4
"""The points between which a breadth is taken can move with the surface, so the correction is repeated."""


def correct_surface(mesh: trimesh.Trimesh, side: str, targets: Mapping[str, float]) -> trimesh.Trimesh:
    """Moves the surface of a foot until `measure_foot` finds ``targets``.

    Args:
        mesh: surface in the frame of the foot, metres.
        targets: some of `CORRECTED` -> mm.

    Raises:
        ValueError: not a foot in this frame and unit.
    """
    vertices = np.array(mesh.vertices)
    for _ in range(ROUNDS):
        measures, marks = measure_foot(trimesh.Trimesh(vertices, mesh.faces, process=False), side)
        missing = {name: target - getattr(measures, name) for name, target in targets.items()}
        if all(abs(millimetres) < 0.01 for millimetres in missing.values()):
            break
        vertices = _stretched_toes(vertices, marks, missing.get("length", 0.0) / 1000)
        factors = {name: 1 + missing[name] / getattr(measures, name) for name in missing if name != "length"}
        vertices = _scaled_breadths(vertices, marks, factors.get("heel_breadth", 1.0), factors.get("ball_breadth", 1.0))
    return trimesh.Trimesh(vertices, mesh.faces, process=False)


def _stretched_toes(vertices: np.ndarray, marks: Landmarks, metres: float) -> np.ndarray:
    """The tip of the toes moves by ``metres``, the foot behind `TOES_BEGIN` not at all (smoothstep between)."""
    share = (vertices[:, 0] - marks.heel[0]) / (marks.toe[0] - marks.heel[0])
    ramp = ((share - TOES_BEGIN) / (1 - TOES_BEGIN)).clip(0, 1)
    return vertices + np.outer(metres * ramp**2 * (3 - 2 * ramp), [1, 0, 0])


def _scaled_breadths(vertices: np.ndarray, marks: Landmarks, at_heel: float, at_ball: float) -> np.ndarray:
    """Scales z about the middle of the foot, linearly along x from the heel breadth to the ball."""
    ball = (marks.first_metatarsal + marks.fifth_metatarsal) / 2
    heel_x = marks.heel[0] + HEEL_POSITION * (marks.toe[0] - marks.heel[0])
    along = ((vertices[:, 0] - heel_x) / (ball[0] - heel_x)).clip(0, 1)
    middle = np.interp(along, [0, 1], [marks.heel_edges[:, 2].mean(), ball[2]])
    factor = np.interp(along, [0, 1], [at_heel, at_ball])
    scaled = vertices.copy()
    scaled[:, 2] = middle + factor * (vertices[:, 2] - middle)
    return scaled
