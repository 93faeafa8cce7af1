"""Correction of the bias of a reconstructed surface.

The tips of the toes are thinner than a voxel, and a blurred surface ends before them, so a reconstructed foot is a few
millimetres too short. The correction moves the surface itself, so that every program that measures the mesh gets the
same millimetres. It stretches the toes along x to correct the length, and scales the foot across its axis by a factor
that changes linearly from the heel to the ball to correct the breadths.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import trimesh

from p2vtools.fit.measure import HEEL_POSITION, Landmarks, measure_foot

CORRECTED_MEASURES = ("length", "ball_breadth", "heel_breadth")
"""Measurements whose bias is corrected; the others follow from the corrected surface."""

STRETCH_START = 0.6
"""Fraction of the length at which the stretch of the toes starts; it grows towards the tip."""

ROUNDS = 4
"""Number of repetitions: the points between which a breadth is measured can change when the surface moves."""


def correct_surface(mesh: trimesh.Trimesh, side: str, targets: Mapping[str, float]) -> trimesh.Trimesh:
    """Moves the surface of a foot until `measure_foot` finds ``targets``.

    Args:
        mesh: surface in the frame of the foot, metres.
        targets: each measurement of `CORRECTED_MEASURES` -> wanted value, mm.

    Raises:
        ValueError: not a foot in this frame and unit.
    """
    vertices = np.array(mesh.vertices)
    for _ in range(ROUNDS):
        measures, marks = measure_foot(trimesh.Trimesh(vertices, mesh.faces, process=False), side)
        missing = {name: target - getattr(measures, name) for name, target in targets.items()}
        if all(abs(millimetres) < 0.01 for millimetres in missing.values()):
            break
        vertices = _stretch_toes(vertices, marks, missing["length"] / 1000)
        factors = (1 + missing[name] / getattr(measures, name) for name in ("heel_breadth", "ball_breadth"))
        vertices = _scale_breadths(vertices, marks, *factors)
    return trimesh.Trimesh(vertices, mesh.faces, process=False)


def _stretch_toes(vertices: np.ndarray, marks: Landmarks, metres: float) -> np.ndarray:
    """Moves the tip of the toes by ``metres`` and nothing behind `STRETCH_START`, with a smoothstep between."""
    share = (vertices[:, 0] - marks.heel[0]) / (marks.toe[0] - marks.heel[0])
    ramp = ((share - STRETCH_START) / (1 - STRETCH_START)).clip(0, 1)
    return vertices + np.outer(metres * ramp**2 * (3 - 2 * ramp), [1, 0, 0])


def _scale_breadths(vertices: np.ndarray, marks: Landmarks, at_heel: float, at_ball: float) -> np.ndarray:
    """Scales z about the middle of the foot, linearly along x from the heel breadth to the ball."""
    ball = (marks.first_metatarsal + marks.fifth_metatarsal) / 2
    heel_x = marks.heel[0] + HEEL_POSITION * (marks.toe[0] - marks.heel[0])
    along = ((vertices[:, 0] - heel_x) / (ball[0] - heel_x)).clip(0, 1)
    middle = np.interp(along, [0, 1], [marks.heel_edges[:, 2].mean(), ball[2]])
    factor = np.interp(along, [0, 1], [at_heel, at_ball])
    scaled = vertices.copy()
    scaled[:, 2] = middle + factor * (vertices[:, 2] - middle)
    return scaled
