import io
from dataclasses import replace

import numpy as np
import pytest
import trimesh
from PIL import Image, ImageDraw
from scipy.spatial import ConvexHull

from p2vlib.geometry.cameras import Camera, look_at
from p2vtools.synthesis.photos.floors import FLOOR_KINDS, PIXELS, Floor, floor_texture
from p2vtools.synthesis.photos.rendering import render_phone_photos, render_studio_photos
from p2vtools.synthesis.photos.surfaces import corner_normals, corner_reflectance
from p2vtools.synthesis.photos.trajectories import PhoneTrajectory, sample_phone_trajectory, sample_studio_cameras

TARGET = np.array([0.01, 0.05, -0.02])
PLAIN = Floor("plain", 5, 33)


def box(extents: tuple[float, float, float], centre: tuple[float, float, float]) -> trimesh.Trimesh:
    return trimesh.creation.box(extents, trimesh.transformations.translation_matrix(centre))


@pytest.fixture(scope="module")
def leg() -> trimesh.Trimesh:
    """A foot and a shank made of two boxes."""
    return trimesh.util.concatenate([box((0.25, 0.06, 0.09), (0, 0.03, 0)), box((0.08, 0.4, 0.08), (-0.08, 0.2, 0))])


def trajectory(views: int = 8, drift: bool = True, seed: int = 3, pixels: int = 40) -> PhoneTrajectory:
    return sample_phone_trajectory(np.random.default_rng(seed), views, TARGET, drift, pixels)


def photograph(mesh: trimesh.Trimesh, scene: PhoneTrajectory, spp: int = 2) -> np.ndarray:
    """The first photo, decoded."""
    return np.asarray(Image.open(io.BytesIO(render_phone_photos(mesh, scene, spp)[0]))).astype(float)


def silhouette(mesh: trimesh.Trimesh, camera: Camera) -> np.ndarray:
    """The exact silhouette of a convex mesh: the hull of its projected vertices, four times supersampled."""
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
def test_the_rendered_silhouette_is_the_projected_one(row, aim):
    mesh = box((0.25, 0.09, 0.14), (0.03, 0.02, -0.01))
    camera = look_at(row, np.array(aim), 137, 137)
    alpha = render_studio_photos(mesh, [camera], 16)[0][..., 3] / 255
    exact = silhouette(mesh, camera)
    assert exact.sum() > 1000 and np.minimum(alpha, exact).sum() / np.maximum(alpha, exact).sum() > 0.98
    rows, columns = np.mgrid[:137, :137]
    shift = [((alpha / alpha.sum() - exact / exact.sum()) * axis).sum() for axis in (columns, rows)]
    np.testing.assert_allclose(shift, 0, atol=0.1)  # pixels


def test_studio_photos_follow_the_protocol_of_r2n2_and_have_the_colours_of_the_mesh():
    rows, cameras = sample_studio_cameras(np.random.default_rng(0), 50, 0.4, TARGET)
    azimuth, elevation, inplane, ratio, _ = np.array(rows).T
    assert np.ptp(azimuth) > 270 and not inplane.any()
    assert elevation.min() >= 25 and elevation.max() <= 30 and ratio.min() >= 0.65 and ratio.max() <= 0.95
    distances = [np.linalg.norm(camera.position - TARGET) for camera in cameras]
    np.testing.assert_allclose(distances, 1.75 * 0.4 * ratio)
    image = render_studio_photos(box((0.1, 0.2, 0.1), tuple(TARGET)), cameras[:1], 4)[0]
    assert image.shape == (137, 137, 4) and image.dtype == np.uint8
    assert set(np.unique(image[0, :, 3])) == {0} and image[68, 68, 3] == 255
    assert len(np.unique(image[..., 3])) > 2, "the border is antialiased"
    mesh = box((0.2, 0.2, 0.2), (0, 0, 0))
    np.testing.assert_allclose(corner_reflectance(mesh, (0.1, 0.2, 0.3))[5, 2], [0.1, 0.2, 0.3])
    mesh.visual = trimesh.visual.ColorVisuals(mesh, face_colors=np.tile([200, 40, 40, 255], (12, 1)))
    camera = look_at((30, 30, 0, 0.8, 45), np.zeros(3), 48, 48)
    first, second = render_studio_photos(mesh, [camera, camera], 2)
    np.testing.assert_array_equal(first, second)
    opaque = first[first[..., 3] == 255][:, :3].astype(float)
    assert (opaque[:, 0] > 2 * opaque[:, 1]).all()
    mesh.visual.face_colors = np.tile([188, 188, 188, 255], (12, 1))
    np.testing.assert_allclose(corner_reflectance(mesh, (0, 0, 0)), 0.503, atol=1e-3)  # sRGB 188 is half the light
    mesh.vertex_attributes["albedo"] = np.full((8, 3), 0.25)
    np.testing.assert_allclose(corner_reflectance(mesh, (0, 0, 0)), 0.25)


def test_normals_are_flat_on_boxes_and_smooth_on_spheres():
    cube, sphere = box((1, 2, 3), (0, 0, 0)), trimesh.creation.icosphere(3)
    np.testing.assert_allclose(corner_normals(cube), cube.face_normals[:, None].repeat(3, axis=1), atol=1e-12)
    np.testing.assert_allclose(corner_normals(sphere), sphere.triangles, atol=0.02)


def test_a_trajectory_is_clockwise_from_the_front_within_arms_length():
    for seed in range(12):
        scene = trajectory(seed=seed)
        azimuth, elevation, roll, distance, fov = np.array(scene.rows).T
        assert (np.diff(azimuth) > 0).all() and azimuth.min() >= 0 and azimuth.max() < 360
        assert np.abs((azimuth + 180) % 360 - 180).argmin() == 0
        np.testing.assert_allclose(azimuth, 45 * np.arange(8), atol=8)
        assert np.ptp(azimuth - 45 * np.arange(8)) > 1, "the steps are jittered"
        assert elevation.min() >= 30 and elevation.max() <= 65 and np.abs(roll).max() <= 8
        assert distance.min() >= 0.4 and distance.max() <= 0.7
        assert len(set(fov)) == 1 and 42 <= fov[0] <= 58
        for row, camera in zip(scene.rows, scene.cameras, strict=True):
            np.testing.assert_allclose(camera.position, look_at(row, TARGET, 40, 40).position, atol=1e-9)
            u, v, depth = camera.project(TARGET[None])[0]
            assert 0 < np.hypot(u - 20, v - 20) * depth / camera.intrinsics[0, 0] < 0.055, "the aim varies"
            rolled = np.rad2deg(np.arcsin(-camera.extrinsics[0, 1]))
            assert rolled == pytest.approx(row[2] * np.cos(np.deg2rad(row[1])), abs=1.0)


def test_drift_changes_only_the_light():
    drifting, steady = trajectory(drift=True), trajectory(drift=False)
    for name in ("exposure", "white_balance", "key_strength", "key_rotation", "photographer", "phone_positions"):
        with_drift, without = getattr(drifting, name), getattr(steady, name)
        assert (without == without[0]).all() and (with_drift != with_drift[0]).any()
        np.testing.assert_array_equal(with_drift[0], without[0])
    for name in ("exposure", "key_strength", "key_rotation"):
        steps = np.diff(getattr(drifting, name))
        assert (steps > 0).all() or (steps < 0).all()
    for name in ("rows", "floor", "lighting", "trousers", "sensor", "seed"):
        assert getattr(drifting, name) == getattr(steady, name)
    for one, other in zip(drifting.cameras, steady.cameras, strict=True):
        np.testing.assert_array_equal(one.extrinsics, other.extrinsics)


def test_phone_photos_are_jpegs_without_exif_that_repeat_and_follow_exposure_and_white_balance(leg):
    scene = trajectory(views=3)
    photos = render_phone_photos(leg, scene, 2)
    assert photos == render_phone_photos(leg, scene, 2) and len(set(photos)) == 3
    for photo in photos:
        image = Image.open(io.BytesIO(photo))
        assert (image.format, image.size) == ("JPEG", (40, 40))
        assert not image.getexif() and b"Exif" not in photo
    steady = trajectory(views=3, drift=False)
    assert render_phone_photos(leg, steady, 2)[0] == photos[0], "the drift starts at zero"
    changes = ({}, {"exposure": 2 * scene.exposure}, {"white_balance": scene.white_balance * [1.2, 1, 0.8]})
    plain, bright, warm = (photograph(leg, replace(scene, **change)).mean(axis=(0, 1)) for change in changes)
    assert (bright > plain).all() and warm[0] > plain[0] and warm[2] < plain[2]


def test_a_block_and_the_sun_cast_shadows(leg):
    # With fill light alone, the floor next to a block is darker than that point mirrored in x, in z and in both.
    block = box((0.08, 0.3, 0.08), (0.12, 0.15, 0.06))
    camera = look_at((180, 45, 0, 0.9, 50), np.zeros(3), 64, 64)
    scene = replace(trajectory(views=1), target=np.zeros(3), cameras=[camera], key_strength=np.zeros(1), floor=PLAIN)
    sensor = replace(scene.sensor, shot_noise=0.0, read_noise=0.0, jpeg_quality=95)
    image = photograph(block, replace(scene, sensor=sensor, exposure=np.ones(1)), 4).mean(axis=2)
    points = camera.project(np.array([[0.07, 0, 0.06], [-0.07, 0, 0.06], [0.07, 0, -0.06], [-0.07, 0, -0.06]]))
    light = [image[int(v), int(u)] for u, v, _ in points]
    assert light[0] < 0.93 * min(light[1:])
    camera = look_at((270, 60, 0, 0.9, 60), np.zeros(3), 64, 64)
    scene = trajectory(views=1)
    key = replace(scene.lighting.key, kind="sun", azimuth=0.0, elevation=45.0, share=0.9)
    sun = replace(scene.lighting, kind="sun", key=key)
    far_away = {"photographer": np.array([[0.0, -9.0]]), "phone_positions": np.array([[0.0, 0.5, -9.0]])}
    scene = replace(scene, cameras=[camera], lighting=sun, key_rotation=np.zeros(1), floor=PLAIN, **far_away)
    image = photograph(leg, scene).mean(axis=2)
    behind, ahead = (image[int(v), int(u)] for u, v, _ in camera.project(np.array([[-0.2, 0, 0], [0.2, 0, 0]])))
    assert behind < 0.7 * ahead


def test_the_seed_determines_the_floor_texture():
    for kind in FLOOR_KINDS:
        texture = floor_texture(Floor(kind, 1, 0))
        assert texture.shape == (PIXELS, PIXELS, 3) and texture.min() >= 0.01 and texture.max() <= 0.9
        np.testing.assert_array_equal(texture, floor_texture(Floor(kind, 1, 0)))
        assert np.abs(texture - floor_texture(Floor(kind, 2, 0))).mean() > 0.01, kind


def test_invalid_arguments_are_refused():
    with pytest.raises(ValueError, match="at least one view; found 0"):
        trajectory(views=0)
    camera = look_at((0, 30, 0, 1, 50), np.zeros(3), 32, 32)
    shifted = replace(camera, intrinsics=camera.intrinsics + np.array([[0, 0, 5], [0, 0, 0], [0, 0, 0]]))
    with pytest.raises(ValueError, match="square pixels and a centred principal point"):
        render_studio_photos(box((1, 1, 1), (0, 0, 0)), [shifted], 1)
