"""The shape model on surfaces that were drawn from it."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from p2vlib.geometry.frames import SIDES
from p2vtools.capture.shape_model import ShapeModel
from p2vtools.fit.placement import pose_matrix
from p2vtools.synthesis.feet.shape_modes import principal_modes


@pytest.mark.parametrize("side", SIDES)
def test_a_drawn_foot_is_found_though_its_sole_and_its_leg_are_hidden(side):
    model, mirror = ShapeModel(), [1, 1, 1 if side == "left" else -1]
    weights = np.random.default_rng(0).normal(scale=0.7, size=len(model.modes))
    vertices = 0.25 * (model.mean + np.tensordot(weights, model.modes, 1)) * mirror
    foot = trimesh.Trimesh(vertices, model.faces if side == "left" else model.faces[:, ::-1], process=False)
    pose = pose_matrix(4.0, np.array([0.003, 0.0, -0.004]))
    foot.apply_transform(pose)

    def is_visible(points: np.ndarray) -> np.ndarray:
        return (points[:, 1] > 0.01) & (points[:, 1] < 0.12)

    points, faces = trimesh.sample.sample_surface(foot, 3000, seed=0)
    seen = is_visible(points)
    start = np.diag([0.26, 0.26, 0.26, 1.0])
    found = model.fit(points[seen], foot.face_normals[faces[seen]], is_visible, start)
    low = foot.vertices[:, 1] < 0.12
    assert found.side == side
    assert np.linalg.norm(found.surface.vertices - foot.vertices, axis=1)[low].mean() < 0.002
    axis = found.to_scan[:3, 0] / np.linalg.norm(found.to_scan[:3, 0])
    assert np.rad2deg(np.arccos(axis @ pose[:3, 0])) < 1.0


def test_principal_modes_of_two_shapes():
    """Their difference is the only mode; its standard deviation is the difference over the square root of two."""
    shapes = np.zeros((2, 4, 3))
    shapes[0, 1, 2], shapes[1, 1, 2] = 1.0, 3.0
    tensors = principal_modes(shapes)
    assert tensors["mean"][1].tolist() == [0, 0, 2] and np.abs(tensors["mean"]).sum() == 2
    assert abs(tensors["modes"][0, 1, 2]) == pytest.approx(np.sqrt(2), abs=1e-3)
