"""Structure from motion: a textured floor registers the photos, smooth skin does not, and points enclose a solid."""

from __future__ import annotations

import numpy as np

from p2vlib.geometry.frames import Cube
from p2vtools.capture.sfm import alpha_shape, run_sfm

CUBE = Cube((-0.16, 0.0, -0.16), 0.32)


def test_a_textured_floor_registers_the_photos_and_tells_where_they_were_taken(on_wood):
    photos, walk = on_wood
    sparse = run_sfm(photos, walk.cameras)
    assert len(sparse.registered) >= 0.95 * len(photos)
    assert sparse.error < 0.02, "camera places to centimetres, from photos of 4 mm a pixel"
    on_floor = np.abs(sparse.points[:, 1]) < 0.02
    assert on_floor.mean() > 0.5 and len(sparse.points) > 100, "most of what it sees is the floor, and at its height"


def test_a_plain_floor_and_smooth_skin_give_no_model(on_plain):
    photos, walk = on_plain
    sparse = run_sfm(photos, walk.cameras)
    assert sparse.registered == () and len(sparse.points) == 0 and np.isnan(sparse.error)
    assert sparse.seconds > 0 and not alpha_shape(sparse.points, CUBE).any()


def test_points_of_a_solid_enclose_it():
    rng = np.random.default_rng(0)
    way = rng.normal(size=(1500, 3))
    middle, radius = np.array([0.0, 0.06, 0.0]), 0.05
    points = middle + radius * way / np.linalg.norm(way, axis=1, keepdims=True)
    points = np.concatenate([points, middle + rng.uniform(-0.03, 0.03, (1500, 3))])
    solid = alpha_shape(points, CUBE)
    truth = np.linalg.norm(CUBE.voxel_centres(32) - middle, axis=-1) < radius
    assert (solid & truth).sum() / (solid | truth).sum() > 0.85
    assert not alpha_shape(points, CUBE, height=0.1)[:, 3:].any()
    far = np.concatenate([points, [[0.15, 0.01, 0.15]]])
    assert (alpha_shape(far, CUBE) ^ solid).sum() < 5, "a stray point far off makes no bridge"
    assert not alpha_shape(points * [1, 0, 1] + [0, 0.05, 0], CUBE).any(), "a plane encloses nothing"
    assert not alpha_shape(points[:3], CUBE).any()
