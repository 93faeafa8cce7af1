"""Photos brought into the foot's frame: which of them, which way up, and on which floor."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import Rotation

from p2vlib.data.photo_set import FOOT_CUBE, MOST_VIEWS
from p2vlib.geometry.cameras import Camera, look_at
from p2vtools.capture import export_capture
from p2vtools.capture.app_exports import Export, Frame

UP = np.array([0.0, 1, 0])


def walk(count: int, elevation: float = 45, pixels: tuple[int, int] = (40, 60)) -> list[Camera]:
    return [look_at((360 * n / count, elevation, 0, 0.5, 50), FOOT_CUBE.centre, *pixels) for n in range(count)]


def export_of(cameras: list[Camera], points: np.ndarray | None = None, **more) -> Export:
    frames = [Frame(str(number), camera, sharpness=more.get("sharp", {}).get(number, 1.0)) for number, camera in
              enumerate(cameras)]  # fmt: skip

    def picture(name: str, side: int) -> Image.Image:
        return Image.fromarray(np.full((60, 40, 3), 10 * int(name), np.uint8))

    points = np.zeros((0, 3)) if points is None else points
    return Export("test", frames, picture, more.get("up", UP), more.get("metric", True), points=points)


def floor(rng: np.random.Generator, noise: float = 0.002) -> np.ndarray:
    """Points of a floor, of what stands on it, and of nothing."""
    flat = np.column_stack([rng.uniform(-0.5, 0.5, 300), rng.normal(0, noise, 300), rng.uniform(-0.5, 0.5, 300)])
    box = rng.uniform([-0.1, 0, -0.05], [0.1, 0.1, 0.05], (150, 3))
    wall = np.column_stack([np.full(350, 0.6), rng.uniform(0, 0.5, 350), rng.uniform(-0.5, 0.5, 350)])
    return np.concatenate([flat, box, wall, rng.uniform(-0.5, 0.5, (60, 3))])


def test_a_camera_in_another_world_sees_the_same():
    rng = np.random.default_rng(0)
    camera, points = walk(1)[0], rng.uniform(-0.1, 0.1, (20, 3))
    other = np.eye(4)
    other[:3, :3], other[:3, 3] = 2.5 * Rotation.random(rng=1).as_matrix(), [1, 2, 3]
    there = export_capture.moved(camera, other).project(points @ other[:3, :3].T + other[:3, 3])
    assert np.allclose(there, camera.project(points) * [1, 1, 2.5])


@pytest.mark.parametrize("quarters", range(4))
def test_photos_are_turned_upright_and_their_cameras_with_them(quarters):
    camera = look_at((30, 40, 5, 0.5, 50), FOOT_CUBE.centre + [0.02, 0, 0.01], 60, 44)
    mark = np.array([0.05, 0.02, -0.03])
    for _ in range(quarters):
        camera = export_capture._turned(camera)
    shown = camera.project(mark[None])[0]
    picture = np.zeros((camera.height, camera.width, 3), np.uint8)
    picture[int(shown[1]), int(shown[0])] = 255
    export = Export("test", [], lambda name, side: Image.fromarray(picture), UP, True)
    upright, turned = export_capture._upright(export, Frame("0", camera), camera)
    assert upright.shape[:2] == (44, 60) == (turned.height, turned.width)
    assert turned.extrinsics[1, 1] < -0.5, "the world's up is up"
    across, down, depth = turned.project(mark[None])[0]
    assert upright[int(down), int(across)].min() == 255 and depth == pytest.approx(shown[2])


def test_a_photo_of_another_shape_than_its_camera():
    camera = walk(1, pixels=(60, 40))[0]
    with pytest.raises(ValueError, match=r"0: 40 x 60 pixels; its camera was told 60 x 40: another shape"):
        export_capture._upright(export_of([camera]), Frame("0", camera), camera)


def test_the_sharpest_photo_of_every_direction():
    cameras = walk(72)
    away = [look_at((azimuth, 45, 0, 0.5, 50), np.array([0, 0.05, 0.6]), 40, 60) for azimuth in (10, 190)]
    export = export_of(cameras + away, sharp={number: 1 + number % 3 for number in range(72)})
    told: list[str] = []
    chosen = export_capture._chosen(export, np.eye(4), told.append)
    assert told == ["72 of 74 photos show where the foot stands"]
    assert sorted(int(frame.name) for frame in chosen) == list(range(2, 72, 3)) and len(chosen) == MOST_VIEWS
    assert len(export_capture._chosen(export_of(cameras[::4] + away), np.eye(4), told.append)) == 18
    with pytest.raises(ValueError, match="none of 2 photos shows where the foot stands"):
        export_capture._chosen(export_of(away), np.eye(4), told.append)


@pytest.mark.parametrize("known", [True, False])
def test_the_floor_is_found_and_a_wall_is_none(known):
    """A wall has more points; without gravity the cameras together say that it does not lie under them."""
    rng = np.random.default_rng(3)
    cameras = walk(10)
    world, scale = np.eye(4), 1.0 if known else 2.6
    turn = Rotation.from_euler("y", 130, degrees=True) if known else Rotation.random(rng=5)
    world[:3, :3], world[:3, 3] = scale * turn.as_matrix(), [0.4, -1.1, 0.7]
    points = floor(rng) @ world[:3, :3].T + world[:3, 3]
    moved = [export_capture.moved(camera, world) for camera in cameras]
    export = export_of(moved, points, up=UP if known else None, metric=known)
    there = export_capture.on_floor(export) @ world
    up = there[:3, 1] / np.linalg.norm(there[:3, 1])
    assert up @ UP > np.cos(np.deg2rad(0.7)) and abs(there[1, 3]) < 0.003
    assert np.hypot(*there[[0, 2], 3]) < 0.01, "the origin is under where the cameras look"
    stands = [export_capture.moved(camera, there).position for camera in cameras]
    middle = export_capture._middle([export_capture.moved(camera, there) for camera in cameras])[0]
    distance = np.median(np.linalg.norm(np.array(stands) - middle, axis=1))
    assert distance == pytest.approx(0.5 if known else export_capture.USUAL, rel=0.02)


def test_nothing_tells_the_floor():
    rng = np.random.default_rng(4)
    for points in (np.zeros((0, 3)), rng.uniform(-0.3, 0.3, (400, 3))):
        with pytest.raises(ValueError, match="nothing tells where the floor is"):
            export_capture.on_floor(export_of(walk(8), points))


def test_photos_that_look_elsewhere_do_not_move_where_the_foot_is():
    cameras = walk(9) + [look_at((az, 20, 0, 0.5, 50), np.array([0.7, 0.4, 0.2]), 40, 60) for az in (0, 90, 200)]
    point, distance = export_capture._middle(cameras)
    assert np.linalg.norm(point - FOOT_CUBE.centre) < 1e-6 and distance == pytest.approx(0.5)
