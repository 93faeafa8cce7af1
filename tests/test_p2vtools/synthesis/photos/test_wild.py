import io
from dataclasses import replace

import cv2
import numpy as np
import pytest
import trimesh
from PIL import Image

from p2vtools.archives.capture_folder import read_capture
from p2vtools.synthesis import collection
from p2vtools.synthesis.feet.foot import make_feet
from p2vtools.synthesis.feet.population import sample_population
from p2vtools.synthesis.photos import props
from p2vtools.synthesis.photos.wild_cameras import FARTHEST, HIGHEST, LOWEST, NEAREST, sample_wild_cameras
from p2vtools.synthesis.photos.wild_floors import FLOORS, wild_floor_texture
from p2vtools.synthesis.photos.wild_light import floor_light, sample_wild_light
from p2vtools.synthesis.photos.wild_rendering import render_wild_photos
from p2vtools.synthesis.photos.wild_scenes import sample_wild_scene


@pytest.fixture(scope="module")
def foot():
    (person,) = sample_population(5, 1, variety="wide")
    return make_feet(person)["left"]


def test_cameras_are_clockwise_and_as_different_as_those_of_phones(foot):
    points = foot.leg_mesh.vertices[foot.leg_mesh.vertices[:, 1] < 0.09][::20]
    shank = trimesh.creation.cylinder(0.05, segment=[[-0.06, 0.13, 0], [-0.1, 0.5, 0]])
    captures = [sample_wild_cameras(np.random.default_rng(seed), 4, points, shank) for seed in range(60)]
    rows = np.array([row for rows, _ in captures for row in rows])
    azimuth, elevation, _, distance, _ = rows.T
    assert np.histogram(azimuth, 8, (0, 360))[0].min() > 10
    assert LOWEST <= elevation.min() < 20 and 82 < elevation.max() <= HIGHEST
    assert ((elevation > 35) & (elevation < 80)).mean() > 0.5
    assert NEAREST <= distance.min() < 0.3 and 0.7 < distance.max() <= FARTHEST
    cameras = [camera for _, cameras in captures for camera in cameras]
    fov = [np.rad2deg(2 * np.arctan(96 / camera.intrinsics[0, 0])) for camera in cameras]
    assert 42 <= min(fov) < 46 and 70 < max(fov) <= 75
    assert {(144, 192), (192, 144), (108, 192), (192, 192)} <= {(camera.width, camera.height) for camera in cameras}
    pixels = [camera.project(points)[:, :2] / [camera.width, camera.height] for camera in cameras]
    cut_off = np.array([((p < 0) | (p > 1)).any() for p in pixels])
    assert 0.03 < cut_off.mean() < 0.2
    for camera in cameras:
        rays = np.broadcast_to(camera.position, points.shape), points - camera.position
        assert shank.ray.intersects_any(*rays).mean() < 0.3, "the leg hides at most a quarter of the foot"
    assert not shank.contains([camera.position for camera in cameras]).any()
    gaps = [np.diff((turn - turn[0]) % 360, append=360).max() for turn in azimuth.reshape(-1, 4)]
    assert min(gaps) < 110 and max(gaps) > 200, "all around the foot, and from one side"
    for turn in azimuth.reshape(-1, 4):
        from_front = np.abs((turn + 180) % 360 - 180)
        assert from_front[0] == from_front.min() and (np.diff((turn - turn[0]) % 360) >= 0).all()


def test_scenes_contain_what_surrounds_feet(foot):
    scenes = [sample_wild_scene(np.random.default_rng(seed), 1, foot.leg_mesh, "left") for seed in range(20)]
    assert 6 <= sum("paper" in [flat.name for flat in scene.flats] for scene in scenes) <= 18
    assert 3 <= sum(scene.cloth is None for scene in scenes) <= 14
    assert len({scene.floor for scene in scenes}) > 6 and any(scene.gloss for scene in scenes)
    assert len({name for scene in scenes for name, _ in scene.objects}) > 4
    others = [scene.other_foot for scene in scenes if scene.other_foot is not None]
    assert 3 <= len(others) <= 14
    for matrix in others:  # a right foot, to the right of the left one, on the same floor
        assert np.linalg.det(matrix[:3, :3]) == pytest.approx(-1) and matrix[2, 3] >= 0.1 and matrix[1, 3] == 0
        mirrored = props.transform_mesh(foot.leg_mesh, matrix)
        assert mirrored.volume == pytest.approx(foot.leg_mesh.volume)


def test_all_lights_together_give_a_white_floor_a_radiance_of_one_and_floors_are_reflectances():
    for seed in range(12):
        light = sample_wild_light(np.random.default_rng(seed), outdoors=seed % 2 == 0)
        shares = light.flash + sum(lamp.share for lamp in light.lamps)
        assert floor_light(light.environment).mean() + shares == pytest.approx(1)
        assert light.environment.min() >= 0 and all(lamp.elevation > 10 for lamp in light.lamps)
    for kind in FLOORS:
        texture = wild_floor_texture(kind, 3)
        assert texture.shape == (1024, 1024, 3) and texture.min() >= 0.01 and texture.max() <= 0.92
        assert texture.std() > 0, kind


def test_photos_show_the_foot_where_the_camera_projects_it(foot):
    scene = sample_wild_scene(np.random.default_rng(2), 2, foot.leg_mesh, "left")
    processing = tuple(replace(p, motion=(0.0, 0.0), defocus=0.0, messenger_scale=1.0) for p in scene.processing)
    empty = {"cloth": None, "thighs": (), "objects": (), "other_foot": None, "flats": (), "photographer": False}
    scene = replace(scene, processing=processing, floor="granular", gloss=None, **empty)
    green = foot.leg_mesh.copy()
    green.vertex_attributes["albedo"] = np.tile([0.02, 0.6, 0.02], (len(green.vertices), 1))
    photos = render_wild_photos(foot.leg_mesh, green, scene, 2)
    assert photos == render_wild_photos(foot.leg_mesh, green, scene, 2)
    for photo, camera in zip(photos, scene.cameras, strict=True):
        image = np.asarray(Image.open(io.BytesIO(photo))).astype(float)
        assert image.shape == (camera.height, camera.width, 3)
        seen = image[..., 1] > 1.4 * np.maximum(image[..., 0], image[..., 2])
        mask = np.zeros(image.shape[:2], np.uint8)
        corners = camera.project(green.vertices)[green.faces]
        in_front = corners[..., 2].min(axis=1) > 0.05
        for triangle in np.round(corners[in_front, :, :2] - 0.5).astype(np.int32):
            cv2.fillConvexPoly(mask, triangle, 1)
        assert (seen & (mask > 0)).sum() / (seen | (mask > 0)).sum() > 0.85


def test_a_capture_in_the_wild_is_complete(home):
    job = collection.CaptureJob("wild", "train", 5, 0, views=1, studio_samples=0, phone_samples=1)
    collection._capture(job, "smoke")
    folders = job.folders("smoke")
    assert [folder.parent.name for folder in folders.values()] == ["wild", "wild"]
    for (side, _), folder in folders.items():
        capture = read_capture(folder)  # raises where photos and cameras differ in size
        assert (capture.subject["look"], capture.subject["side"]) == ("wild", side)
        assert max(capture.photos[0].size) == 192
        assert capture.truth.volume.any() and job.is_current(folder)
        (camera,) = capture.cameras
        assert camera.intrinsics[:2, 2] == pytest.approx([camera.width / 2, camera.height / 2])
