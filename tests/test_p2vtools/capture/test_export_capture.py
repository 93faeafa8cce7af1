"""Exports in the frame of the foot: the choice of photos, their orientation, and the floor."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from p2vlib.geometry.cameras import Camera, look_at
from p2vlib.geometry.frames import FOOT_CUBE
from p2vtools.capture import capture_writer, export_capture
from p2vtools.capture.app_exports import NO_POINTS, Export, Frame
from p2vtools.fit.photo_set import MAX_VIEWS

UP = np.array([0.0, 1, 0])


def walk(count: int, pixels: tuple[int, int] = (40, 60)) -> list[Camera]:
    return [look_at((360 * number / count, 45, 0, 0.5, 50), FOOT_CUBE.centre, *pixels) for number in range(count)]


def export_of(cameras: list[Camera], points: np.ndarray = NO_POINTS, up: np.ndarray | None = UP, metric=True) -> Export:
    """Every third photo is sharper than the two before it."""
    frames = [Frame(str(number), camera, sharpness=number % 3) for number, camera in enumerate(cameras)]
    return Export("test", frames, lambda name, side: Image.new("RGB", (40, 60)), up, metric, points=points)


def floor_points(rng: np.random.Generator) -> np.ndarray:
    """A floor, a box on it, a wall with more points, and noise."""
    flat = np.column_stack([rng.uniform(-0.5, 0.5, 300), rng.normal(0, 0.002, 300), rng.uniform(-0.5, 0.5, 300)])
    box = rng.uniform([-0.1, 0, -0.05], [0.1, 0.1, 0.05], (150, 3))
    wall = np.column_stack([np.full(350, 0.6), rng.uniform(0, 0.5, 350), rng.uniform(-0.5, 0.5, 350)])
    return np.concatenate([flat, box, wall, rng.uniform(-0.5, 0.5, (60, 3))])


@pytest.mark.parametrize("quarters", range(4))
def test_photos_are_turned_upright_together_with_their_cameras(quarters):
    camera = look_at((30, 40, 5, 0.5, 50), FOOT_CUBE.centre + [0.02, 0, 0.01], 60, 44)
    for _ in range(quarters):
        camera = capture_writer._turn_clockwise(camera)
    mark = np.array([[0.05, 0.02, -0.03]])
    column, row, depth = camera.project(mark)[0]
    picture = np.zeros((camera.height, camera.width, 3), np.uint8)
    picture[int(row), int(column)] = 255
    export = Export("test", [], lambda name, side: Image.fromarray(picture), UP, True)
    upright, turned = export_capture._upright_photo(export, Frame("0", camera), camera)
    assert upright.shape[:2] == (44, 60) == (turned.height, turned.width)
    assert turned.extrinsics[1, 1] < -0.5, "up in the world is up in the photo"
    column, row, turned_depth = turned.project(mark)[0]
    assert upright[int(row), int(column)].min() == 255 and turned_depth == pytest.approx(depth)


def test_a_photo_with_another_aspect_ratio_than_its_camera_is_refused():
    (camera,) = walk(1, pixels=(60, 40))
    with pytest.raises(ValueError, match=r"0: 40 x 60 pixels, but its camera has 60 x 40: another aspect ratio"):
        export_capture._upright_photo(export_of([camera]), Frame("0", camera), camera)


def test_the_sharpest_photo_from_each_direction_is_selected():
    cameras, lines = walk(72), []
    away = [look_at((azimuth, 45, 0, 0.5, 50), np.array([0, 0.05, 0.6]), 40, 60) for azimuth in (10, 190)]
    selected = export_capture._select_frames(export_of(cameras + away), np.eye(4), lines.append)
    assert lines == ["72 of 74 photos show the position of the foot"]
    assert sorted(int(frame.name) for frame in selected) == list(range(2, 72, 3)) and len(selected) == MAX_VIEWS
    assert len(export_capture._select_frames(export_of(cameras[::4] + away), np.eye(4), lines.append)) == 18
    with pytest.raises(ValueError, match="none of 2 photos shows the position of the foot"):
        export_capture._select_frames(export_of(away), np.eye(4), lines.append)


@pytest.mark.parametrize("metric", [True, False])
def test_the_floor_is_found_although_a_wall_has_more_points(metric):
    """Without gravity, the cameras together tell that the wall is not below them."""
    cameras, world = walk(10), np.eye(4)
    rotation = Rotation.from_euler("y", 130, degrees=True) if metric else Rotation.random(rng=5)
    world[:3, :3], world[:3, 3] = (1.0 if metric else 2.6) * rotation.as_matrix(), [0.4, -1.1, 0.7]
    points = floor_points(np.random.default_rng(3)) @ world[:3, :3].T + world[:3, 3]
    in_world = [export_capture.transform_camera(camera, world) for camera in cameras]
    to_floor = export_capture.find_floor(export_of(in_world, points, UP if metric else None, metric)) @ world
    up = to_floor[:3, 1] / np.linalg.norm(to_floor[:3, 1])
    assert up @ UP > np.cos(np.deg2rad(0.7)) and abs(to_floor[1, 3]) < 0.003
    assert np.hypot(*to_floor[[0, 2], 3]) < 0.01, "the origin is below the point where the cameras look"
    distance = export_capture._look_at_point([export_capture.transform_camera(one, to_floor) for one in cameras])[1]
    assert distance == pytest.approx(0.5 if metric else export_capture.DISTANCE_WITHOUT_SCALE, rel=0.02)


@pytest.mark.parametrize("points", [NO_POINTS, np.random.default_rng(4).uniform(-0.3, 0.3, (400, 3))])
def test_points_without_a_plane_are_an_error(points):
    with pytest.raises(ValueError, match="no floor found"):
        export_capture.find_floor(export_of(walk(8), points))


def test_photos_of_something_else_do_not_move_the_look_at_point():
    cameras = walk(9) + [look_at((az, 20, 0, 0.5, 50), np.array([0.7, 0.4, 0.2]), 40, 60) for az in (0, 90, 200)]
    point, distance = export_capture._look_at_point(cameras)
    assert np.linalg.norm(point - FOOT_CUBE.centre) < 1e-6 and distance == pytest.approx(0.5)
