"""Facts about the two looks: cameras, silhouettes, light, drift and files."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import trimesh
from PIL import Image, ImageDraw
from scipy.spatial import ConvexHull

from p2vlib.geometry.cameras import Camera, look_at
from p2vtools.synthesis.photos import floors, phone_camera, rendering, trajectories
from p2vtools.synthesis.photos.surfaces import corner_normals, corner_reflectance

TARGET = np.array([0.01, 0.05, -0.02])


def box(extents: tuple[float, float, float], middle: tuple[float, float, float]) -> trimesh.Trimesh:
    return trimesh.creation.box(extents, trimesh.transformations.translation_matrix(middle))


@pytest.fixture(scope="module")
def leg() -> trimesh.Trimesh:
    """A sole and a shin, as coarse as can be."""
    return trimesh.util.concatenate([box((0.25, 0.06, 0.09), (0, 0.03, 0)), box((0.08, 0.4, 0.08), (-0.08, 0.2, 0))])


def walk(views: int = 8, drift: bool = True, seed: int = 3, pixels: int = 40) -> trajectories.PhoneTrajectory:
    return trajectories.sample_phone_trajectory(np.random.default_rng(seed), views, TARGET, drift, pixels)


def decoded(photo: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(photo)))


def silhouette(mesh: trimesh.Trimesh, camera: Camera) -> np.ndarray:
    """The exact picture of a convex mesh: the hull of its projected corners, four times supersampled."""
    pixels = camera.project(np.asarray(mesh.vertices))[:, :2] * 4
    canvas = Image.new("L", (camera.width * 4, camera.height * 4))
    ImageDraw.Draw(canvas).polygon([tuple(p) for p in pixels[ConvexHull(pixels).vertices].tolist()], fill=255)
    return np.asarray(canvas.resize((camera.width, camera.height), Image.Resampling.BOX)) / 255


@pytest.mark.parametrize(
    ("row", "aim"),
    [
        ((30.0, 25.0, 0.0, 0.8, 49.13), (0.0, 0.0, 0.0)),
        ((200.0, 40.0, 25.0, 0.6, 55.0), (0.0, 0.0, 0.0)),
        ((300.0, 60.0, -40.0, 0.7, 42.0), (0.06, 0.02, -0.07)),
    ],
)
def test_mitsuba_sees_what_the_camera_projects(row: tuple, aim: tuple) -> None:
    mesh = box((0.25, 0.09, 0.14), (0.03, 0.02, -0.01))
    camera = look_at(row, np.array(aim), 137, 137)
    alpha = rendering.render_studio_photos(mesh, [camera], 16)[0][..., 3] / 255
    exact = silhouette(mesh, camera)
    iou = np.minimum(alpha, exact).sum() / np.maximum(alpha, exact).sum()
    assert exact.sum() > 1000
    assert iou > 0.98
    rows, columns = np.mgrid[:137, :137]
    shift = [((alpha / alpha.sum() - exact / exact.sum()) * axis).sum() for axis in (columns, rows)]
    np.testing.assert_allclose(shift, 0, atol=0.1)  # not even a fifth of a pixel apart


def test_studio_photos_are_r2n2s() -> None:
    rows, cameras = trajectories.sample_studio_cameras(np.random.default_rng(0), 50, 0.4, TARGET)
    azimuth, elevation, inplane, ratio, _ = np.array(rows).T
    assert np.ptp(azimuth) > 270
    assert elevation.min() >= 25
    assert elevation.max() <= 30
    assert not inplane.any()
    assert ratio.min() >= 0.65
    assert ratio.max() <= 0.95
    distances = [np.linalg.norm(camera.position - TARGET) for camera in cameras]
    np.testing.assert_allclose(distances, 1.75 * 0.4 * ratio)
    picture = rendering.render_studio_photos(box((0.1, 0.2, 0.1), tuple(TARGET)), cameras[:1], 4)[0]
    assert picture.shape == (137, 137, 4)
    assert picture.dtype == np.uint8
    assert set(np.unique(picture[0, :, 3])) == {0}
    assert picture[68, 68, 3] == 255
    assert len(np.unique(picture[..., 3])) > 2, "the rim must be antialiased"


def test_studio_photos_repeat_and_show_the_parts_colours() -> None:
    mesh = box((0.2, 0.2, 0.2), (0, 0, 0))
    mesh.visual = trimesh.visual.ColorVisuals(mesh, face_colors=np.tile([200, 40, 40, 255], (12, 1)))
    camera = look_at((30, 30, 0, 0.8, 45), np.zeros(3), 48, 48)
    first, second = rendering.render_studio_photos(mesh, [camera, camera], 2)
    np.testing.assert_array_equal(first, second)
    seen = first[first[..., 3] == 255][:, :3].astype(float)
    assert (seen[:, 0] > 2 * seen[:, 1]).all()


def test_reflectance_is_linear_and_albedo_goes_first() -> None:
    mesh = box((1, 1, 1), (0, 0, 0))
    np.testing.assert_allclose(corner_reflectance(mesh, (0.1, 0.2, 0.3))[5, 2], [0.1, 0.2, 0.3])
    mesh.visual.vertex_colors = np.tile([188, 188, 188, 255], (8, 1))
    np.testing.assert_allclose(corner_reflectance(mesh, (0, 0, 0)), 0.503, atol=1e-3)  # sRGB 188 is half the light
    mesh.vertex_attributes["albedo"] = np.full((8, 3), 0.25)
    np.testing.assert_allclose(corner_reflectance(mesh, (0, 0, 0)), 0.25)


def test_boxes_keep_their_edges_and_balls_are_smooth() -> None:
    cube, ball = box((1, 2, 3), (0, 0, 0)), trimesh.creation.icosphere(3)
    np.testing.assert_allclose(corner_normals(cube), cube.face_normals[:, None].repeat(3, axis=1), atol=1e-12)
    np.testing.assert_allclose(corner_normals(ball), ball.triangles, atol=0.02)


@pytest.mark.parametrize("seed", range(12))
def test_walk_goes_clockwise_from_the_front_within_a_hands_reach(seed: int) -> None:
    scene = walk(seed=seed)
    azimuth, elevation, roll, distance, fov = np.array(scene.rows).T
    assert (np.diff(azimuth) > 0).all()
    assert azimuth.min() >= 0
    assert azimuth.max() < 360
    assert np.abs((azimuth + 180) % 360 - 180).argmin() == 0
    np.testing.assert_allclose(azimuth, 45 * np.arange(8), atol=8)
    assert np.ptp(azimuth - 45 * np.arange(8)) > 1, "a hand is not even"
    assert elevation.min() >= 30
    assert elevation.max() <= 65
    assert distance.min() >= 0.4
    assert distance.max() <= 0.7
    assert np.abs(roll).max() <= 8
    assert len(set(fov)) == 1
    assert 42 <= fov[0] <= 58


def test_rows_tell_where_the_cameras_stand_and_the_aim_is_off() -> None:
    scene = walk()
    for row, camera in zip(scene.rows, scene.cameras, strict=True):
        np.testing.assert_allclose(camera.position, look_at(row, TARGET, 40, 40).position, atol=1e-9)
        u, v, depth = camera.project(TARGET[None])[0]
        assert 0 < np.hypot(u - 20, v - 20) * depth / camera.intrinsics[0, 0] < 0.055
        right = camera.extrinsics[0, :3]
        assert np.rad2deg(np.arcsin(-right[1])) == pytest.approx(row[2] * np.cos(np.deg2rad(row[1])), abs=1.0)


def test_drift_changes_light_and_nothing_else() -> None:
    moving, still = walk(drift=True), walk(drift=False)
    for name in ("exposure", "white_balance", "key_strength", "key_rotation", "photographer", "phone_positions"):
        with_drift, without = getattr(moving, name), getattr(still, name)
        assert (without == without[0]).all()
        np.testing.assert_array_equal(with_drift[0], without[0])
        assert (with_drift != with_drift[0]).any()
    for name in ("exposure", "key_strength", "key_rotation"):
        steps = np.diff(getattr(moving, name))
        assert (steps > 0).all() or (steps < 0).all()
    for name in ("rows", "floor", "lighting", "skin", "trousers", "sensor", "seed"):
        assert getattr(moving, name) == getattr(still, name)
    for one, other in zip(moving.cameras, still.cameras, strict=True):
        np.testing.assert_array_equal(one.extrinsics, other.extrinsics)


def test_phone_photos_are_plain_jpegs_that_repeat(leg: trimesh.Trimesh) -> None:
    scene = walk(views=3)
    first, again = rendering.render_phone_photos(leg, scene, 2), rendering.render_phone_photos(leg, scene, 2)
    assert first == again
    assert len(set(first)) == 3
    for photo in first:
        picture = Image.open(io.BytesIO(photo))
        assert picture.format == "JPEG"
        assert picture.size == (40, 40)
        assert not picture.getexif()
        assert b"Exif" not in photo
    assert rendering.render_phone_photos(leg, walk(views=3, drift=False), 2)[0] == first[0], (
        "the drift starts from nothing"
    )


def test_brighter_exposure_and_warmer_white_show(leg: trimesh.Trimesh) -> None:
    scene = walk(views=1)
    plain = decoded(rendering.render_phone_photos(leg, scene, 2)[0]).astype(float).mean(axis=(0, 1))
    bright = decoded(rendering.render_phone_photos(leg, replace(scene, exposure=2 * scene.exposure), 2)[0]).mean(
        axis=(0, 1)
    )
    warm = decoded(
        rendering.render_phone_photos(leg, replace(scene, white_balance=scene.white_balance * [1.2, 1, 0.8]), 2)[0]
    ).mean(axis=(0, 1))
    assert (bright > plain).all()
    assert warm[0] > plain[0]
    assert warm[2] < plain[2]


def test_the_contact_shadow_lies_at_the_foot() -> None:
    """Fill light alone: the floor beside a block is darker than the same spot mirrored in x, in z and in both."""
    block = box((0.08, 0.3, 0.08), (0.12, 0.15, 0.06))
    camera = look_at((180, 45, 0, 0.9, 50), np.zeros(3), 64, 64)
    scene = replace(
        walk(views=1),
        target=np.zeros(3),
        cameras=[camera],
        key_strength=np.zeros(1),
        floor=floors.Floor("plain", 5, 33),
    )
    scene = replace(
        scene, sensor=replace(scene.sensor, shot_noise=0.0, read_noise=0.0, jpeg_quality=95), exposure=np.ones(1)
    )
    picture = decoded(rendering.render_phone_photos(block, scene, 4)[0]).astype(float).mean(axis=2)
    spots = camera.project(np.array([[0.07, 0, 0.06], [-0.07, 0, 0.06], [0.07, 0, -0.06], [-0.07, 0, -0.06]]))
    light = [picture[int(v), int(u)] for u, v, _ in spots]
    assert light[0] < 0.93 * min(light[1:])


def test_sun_casts_a_shadow_away_from_itself(leg: trimesh.Trimesh) -> None:
    camera = look_at((270, 60, 0, 0.9, 60), np.zeros(3), 64, 64)
    scene = walk(views=1)
    lighting = replace(scene.lighting, kind="sun", azimuth=0.0, elevation=45.0, key_share=0.9)
    scene = replace(
        scene, cameras=[camera], lighting=lighting, key_rotation=np.zeros(1), photographer=np.array([[0.0, -9.0]])
    )
    scene = replace(scene, phone_positions=np.array([[0.0, 0.5, -9.0]]), floor=floors.Floor("plain", 5, 33))
    picture = decoded(rendering.render_phone_photos(leg, scene, 2)[0]).astype(float).mean(axis=2)
    (behind, ahead) = (picture[int(v), int(u)] for u, v, _ in camera.project(np.array([[-0.2, 0, 0], [0.2, 0, 0]])))
    assert behind < 0.7 * ahead


@pytest.mark.parametrize("kind", floors.FLOOR_KINDS)
def test_floors_repeat_without_a_seam_and_differ(kind: str) -> None:
    one = floors.floor_texture(floors.Floor(kind, 1, 0))
    assert one.shape == (floors.PIXELS, floors.PIXELS, 3)
    assert one.min() >= 0.01
    assert one.max() <= 0.9
    assert np.abs(one - floors.floor_texture(floors.Floor(kind, 2, 0))).mean() > 0.01
    np.testing.assert_array_equal(one, floors.floor_texture(floors.Floor(kind, 1, 0)))


def test_bad_values_are_named() -> None:
    with pytest.raises(ValueError, match="unknown floor kind 'lava'; expected one of wood"):
        floors.Floor("lava", 0, 0)
    with pytest.raises(ValueError, match="at least one view; found 0"):
        walk(views=0)
    camera = look_at((0, 30, 0, 1, 50), np.zeros(3), 32, 32)
    shifted = replace(camera, intrinsics=camera.intrinsics + np.array([[0, 0, 5], [0, 0, 0], [0, 0, 0]]))
    with pytest.raises(ValueError, match="square pixels and a centred principal point"):
        rendering.render_studio_photos(box((1, 1, 1), (0, 0, 0)), [shifted], 1)


def test_srgb_by_hand() -> None:
    np.testing.assert_allclose(
        phone_camera.linear_to_srgb(np.array([0.0, 0.002, 0.18, 1.0, 7.0])), [0, 0.02584, 0.4613, 1, 1], atol=1e-4
    )
