"""Exports of every app, written as documented, read, and stored: the known foot appears where the photos show it."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from p2vlib.geometry.cameras import Camera, look_at
from p2vlib.geometry.frames import FOOT_CUBE
from p2vlib.geometry.grids import iou, voxelise
from p2vtools.archives.binvox import read_binvox
from p2vtools.archives.camera_files import read_cameras
from p2vtools.capture.app_exports import Export, read_export
from p2vtools.capture.app_formats import colmap
from p2vtools.capture.export_capture import capture_from_export, find_floor
from p2vtools.fit.photo_set import read_photo_set
from p2vtools.synthesis.feet.foot import SyntheticFoot, make_feet
from p2vtools.synthesis.feet.population import sample_population
from tests import export_writers
from tests.export_writers import DISTORTION, LONG, SHORT, VIEWS, app_world, replace_members
from tests.test_p2vtools.test_hostile_files import read_in_fork

SKIN, FLOOR = (205, 150, 120), (34, 40, 48)


def walk_around() -> list[Camera]:
    """A walk around the foot with an upright phone, whose sensor lies on its side; in the frame of the foot."""
    rng, walk = np.random.default_rng(2), []
    for azimuth in np.arange(VIEWS) * 360 / VIEWS + rng.uniform(-8, 8, VIEWS):
        row = (azimuth, rng.uniform(35, 50), rng.uniform(-6, 6), rng.uniform(0.45, 0.55), 46)
        upright = look_at(row, np.array([0.0, 0.05, 0]) + rng.uniform(-0.015, 0.015, 3), SHORT, LONG)
        focal = upright.intrinsics[0, 0]
        intrinsics = np.array([[focal, 0, LONG / 2 + 3.2], [0, focal, SHORT / 2 - 2.1], [0, 0, 1]])
        quarter_turn = np.array([[0.0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        walk.append(Camera(intrinsics, quarter_turn @ upright.extrinsics, LONG, SHORT))
    return walk


def cast_rays(mesh: trimesh.Trimesh, camera: Camera, distortion=None) -> tuple[np.ndarray, np.ndarray]:
    """The face of ``mesh`` in each pixel, -1 for none, and its depth, 0 for none."""
    across, down = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    pixels = np.stack([across, down], -1).reshape(-1, 1, 2)
    distortion = np.zeros(4) if distortion is None else distortion
    rays = cv2.undistortPoints(pixels, camera.intrinsics, distortion).reshape(-1, 2)
    rays = np.column_stack([rays, np.ones(len(rays))]) @ camera.extrinsics[:3, :3]
    origins = np.broadcast_to(camera.position, rays.shape)
    hits, ray, face = mesh.ray.intersects_location(origins, rays, multiple_hits=False)
    faces, depth = np.full(len(rays), -1), np.zeros(len(rays))
    faces[ray] = face
    depth[ray] = hits @ camera.extrinsics[2, :3] + camera.extrinsics[2, 3]
    return faces.reshape(camera.height, camera.width), depth.reshape(camera.height, camera.width)


def render(foot: trimesh.Trimesh, camera: Camera, distortion: np.ndarray) -> np.ndarray:
    """The foot, lit from one side, on a plain floor."""
    faces, _ = cast_rays(foot, camera, distortion)
    light = np.clip(foot.face_normals @ np.array([0.35, 0.85, 0.4]), -0.4, 1) * 0.3 + 0.7
    picture = np.full((*faces.shape, 3), FLOOR, np.uint8)
    picture[faces >= 0] = (light[faces[faces >= 0]][:, None] * SKIN).astype(np.uint8)
    return picture


@dataclass(frozen=True)
class Scene:
    """A known foot and what an app records of it, in the frame of the foot."""

    person: SyntheticFoot
    foot: trimesh.Trimesh
    """With its lower leg."""
    scan: trimesh.Trimesh
    """As from LiDAR: with a slab of floor."""
    photos: tuple[list[Camera], list[np.ndarray]]
    distorted: tuple[list[Camera], list[np.ndarray]]
    """Cameras and pictures, without and with the distortion of a lens."""
    depths: list[np.ndarray]
    points: np.ndarray
    """As from feature matching: most on the floor, few on the skin, some outliers."""


@pytest.fixture(scope="module")
def scene() -> Scene:
    """The left foot of a person outside the training data."""
    rng, cameras, person = np.random.default_rng(5), walk_around(), make_feet(sample_population(4714, 1)[0])["left"]
    foot = person.leg_mesh
    slab = trimesh.creation.box([0.9, 0.01, 0.8]).subdivide_to_size(0.03).apply_translation([0.05, -0.005, 0.02])
    scan = trimesh.util.concatenate([trimesh.Trimesh(foot.vertices, foot.faces), slab])
    floor = np.column_stack([rng.uniform(-0.4, 0.4, 500), rng.normal(0, 0.001, 500), rng.uniform(-0.3, 0.3, 500)])
    skin = scan.vertices[rng.integers(len(scan.vertices), size=80)]
    photos, distorted = ([render(foot, camera, lens) for camera in cameras] for lens in (np.zeros(4), DISTORTION))
    depths = [cast_rays(scan, camera)[1] for camera in cameras]
    points = np.concatenate([floor, skin, rng.uniform(-0.4, 0.6, (40, 3))])
    return Scene(person, foot, scan, (cameras, photos), (cameras, distorted), depths, points)


def assert_foot_found(
    scene: Scene, export: Export, folder: Path, weights, world: np.ndarray, yaw=15, shift=30, floor=4, length=None
) -> np.ndarray:
    """The silhouettes of the stored photos are those of the known foot, whose frame is nearly that of the folder.

    Args:
        yaw: largest error, degrees.
        shift: largest error of the position, mm.
        floor: largest error of the height of the floor, mm.
        length: that a ruler gave, mm, of an export whose scale is unknown.

    Returns:
        The transform from the frame of the known foot to that of the folder.
    """
    capture = capture_from_export(export, "left", folder, weights, length)
    assert len(capture.rows) == VIEWS and capture.quality == "good", capture.advice
    photo_set = read_photo_set(folder)
    assert photo_set.side == "left" and photo_set.metric == export.metric
    to_folder = np.array(json.loads((folder / "subject.json").read_text())["from the export"]) @ world
    placed, intersection, union = scene.foot.copy().apply_transform(to_folder), 0, 0
    stored = read_cameras(folder / "cameras.json")
    for number in range(0, len(stored), 3):
        picture = np.asarray(Image.open(folder / f"rendering/{number:02d}.jpg")).astype(int)
        assert picture.shape[:2] == (LONG, SHORT), "upright"
        in_photo, expected = picture.mean(-1) > 66, cast_rays(placed, stored[number])[0] >= 0
        assert expected.mean() > 0.05
        intersection, union = intersection + (in_photo & expected).sum(), union + (in_photo | expected).sum()
    assert intersection / union > 0.985
    corners = np.array([[x, 0.0, z] for x in (-0.13, 0.13) for z in (-0.05, 0.05)])
    assert abs(np.rad2deg(np.arctan2(to_folder[0, 2], to_folder[0, 0]))) < yaw
    assert 1000 * np.hypot(*to_folder[[0, 2], 3]) < shift
    assert 1000 * np.abs(trimesh.transform_points(corners, to_folder)[:, 1]).max() < floor
    assert np.cbrt(np.linalg.det(to_folder[:3, :3])) == pytest.approx(1, abs=0.1 if length else 1e-6)
    return to_folder


def test_polycam(scene, weights, tmp_path):
    world, folder = app_world(1), tmp_path / "out"
    export = read_export("polycam", export_writers.polycam(tmp_path, world, *scene.photos, scene.scan))
    assert [frame.sharpness for frame in export.frames] == [100.0 + number for number in range(VIEWS)]
    to_folder = assert_foot_found(scene, export, folder, weights, world, yaw=4, shift=15, floor=2)
    stored_scan = trimesh.load_mesh(folder / "scan.obj", process=False)
    low = trimesh.transform_points(scene.foot.vertices[scene.foot.vertices[:, 1] < 0.2], to_folder)
    assert cKDTree(stored_scan.vertices).query(low)[0].max() < 1e-4, "the scan is where the photos show the foot"
    solid = scene.person.solid.copy().apply_transform(to_folder)
    truth = voxelise(solid.vertices, solid.faces, FOOT_CUBE, 64).volume
    model = trimesh.load_mesh(folder / "model.obj", process=False)
    assert model.is_watertight and iou(voxelise(model.vertices, model.faces, FOOT_CUBE, 64).volume, truth) > 0.85
    assert read_binvox(folder / "model.binvox").size == 32
    subject = json.loads((folder / "subject.json").read_text())
    assert subject["cameras"] == "polycam" and subject["metadata"] == "metric" and subject["scale"] == "tracking"


def test_polycam_without_a_mesh(scene, weights, tmp_path):
    world = app_world(2)
    export = read_export("polycam", export_writers.polycam(tmp_path, world, *scene.photos, depths=scene.depths))
    assert export.mesh is None and "the floor is found in the depth maps" in export.notes[0]
    assert_foot_found(scene, export, tmp_path / "out", weights, world)


def test_3d_scanner_app(scene, weights, tmp_path):
    world = app_world(3)
    export = read_export("scannerapp", export_writers.scannerapp(tmp_path / "data", world, *scene.photos, scene.scan))
    assert len(export.frames) == VIEWS, "frames without a photo are skipped"
    in_world = trimesh.transform_points(scene.scan.vertices, world)
    assert cKDTree(export.mesh.vertices).query(in_world)[0].max() < 1e-5, "the mesh is in the world of the cameras"
    export = replace(export, mesh=None, points=export.mesh.vertices)
    assert_foot_found(scene, export, tmp_path / "out", weights, world, floor=2)


def test_record3d(scene, weights, tmp_path):
    world = app_world(4)
    export = read_export("record3d", export_writers.record3d(tmp_path, world, *scene.photos, scene.depths))
    assert_foot_found(scene, export, tmp_path / "out", weights, world)
    of_first_camera = np.linalg.inv(export_writers.opengl_poses(scene.photos[0], world)[0]) @ world
    path = export_writers.record3d(tmp_path, of_first_camera, *scene.photos, scene.depths)
    to_floor = find_floor(read_export("record3d", path)) @ of_first_camera
    assert to_floor[1, 1] > np.cos(np.deg2rad(0.5)) and abs(to_floor[1, 3]) < 0.003, "the vertical was not recorded"


def test_nerfstudio(scene, weights, tmp_path):
    world = app_world(5, "z")
    path = export_writers.nerfstudio(tmp_path / "data", world, *scene.distorted, scene.points)
    export = read_export("nerfstudio", path)
    assert export.metric
    assert_foot_found(scene, export, tmp_path / "out", weights, world)
    transforms = json.loads(path.read_text())
    from_sfm = [frame | {"colmap_im_id": 1} for frame in transforms["frames"]]
    from_metashape = [{key: frame[key] for key in ("file_path", "transform_matrix")} for frame in transforms["frames"]]
    for frames in (from_sfm, from_metashape):
        path.write_text(json.dumps(transforms | {"frames": frames}))
        export = read_export("nerfstudio", path)
        assert not export.metric and export.up is None, "structure from motion has no scale"


def test_colmap(scene, weights, tmp_path):
    """Without a vertical direction and a scale; a ruler gives the length."""
    world = np.pad(3.7 * Rotation.random(rng=1).as_matrix(), (0, 1)) @ app_world(6)
    world[3, 3] = 1
    export = read_export("colmap", export_writers.colmap(tmp_path / "binary", world, *scene.distorted, scene.points))
    assert not export.metric
    text = export_writers.colmap(tmp_path / "text", world, *scene.distorted, scene.points, text=True)
    for one, other in zip(export.frames, read_export("colmap", text).frames, strict=True):
        assert np.allclose(one.camera.extrinsics, other.camera.extrinsics) and one.name == other.name
    assert_foot_found(scene, export, tmp_path / "out", weights, world, length=1000 * scene.person.length)
    assert read_photo_set(tmp_path / "out").length == pytest.approx(scene.person.length)


@pytest.fixture
def error(command_error) -> Callable[..., str]:
    """The error of the command; nothing is written."""

    def run(app: str, path: Path, *options: str) -> str:
        out = path.parent / "out"
        line = command_error("capture", path, "--from", app, "--side", "left", "--out", out, *options)
        assert not out.exists() and not list(out.parent.glob(".*partial*"))
        return line

    return run


def test_invalid_exports_of_record3d(scene, tmp_path, error):
    """`test_export_archive` tries damaged and hostile archives."""
    path = export_writers.record3d(tmp_path, app_world(1), *scene.photos, scene.depths)
    changed = tmp_path / "changed.r3d"
    assert "omit the foot length" in error("record3d", path, "--foot-length", "250")
    assert "--mat is not needed with --from" in error("record3d", path, "--mat", "a3")
    assert "foot.r3d: has no transforms.json" in error("nerfstudio", path)
    metadata = json.loads(zipfile.ZipFile(path).read("metadata"))
    for values, reason in (
        ({"poses": [[1, 2, 3]]}, "metadata: poses is not an array of any number of x 7 numbers"),
        ({"K": None}, "metadata: K is not an array of 3 x 3 numbers"),
        ({"w": float("nan")}, "metadata: not JSON (NaN is not a number)"),
        ({"w": "wide"}, "metadata: w h is not an array of 2 numbers"),
        ({"poses": [[0, 0, 0, 0, 1, 1, 1]]}, "rgbd/0.jpg: its pose is not a quaternion"),
        ({"poses": [[0, 0, 0, 1, 0, 0, 0]] * VIEWS}, "metadata: all poses are equal, as those of the selfie camera"),
        ({"dw": 7}, "rgbd/0.depth: 19200 bytes are no rows of 7 depths"),
    ):
        content = json.dumps(metadata | values)
        replace_members(path, changed, lambda name, old, new=content: new if name == "metadata" else old)
        assert reason in error("record3d", changed)
    replace_members(path, changed, lambda name, old: b"bvx2" + bytes(40) if name.endswith(".depth") else old)
    line = error("record3d", changed)
    if find_spec("liblzfse"):
        assert "rgbd/0.depth: not compressed with LZFSE" in line
    else:
        assert "no floor found" in line and "LZFSE, which needs the package pyliblzfse" in line


def test_truncated_colmap_models(scene, tmp_path, error, monkeypatch):
    """pycolmap would read beyond the end of the file, take a lens from there, or fill the memory."""
    monkeypatch.setattr(colmap, "read_in_process", read_in_fork)
    path = export_writers.colmap(tmp_path / "project", app_world(1), *scene.distorted, scene.points[:50])
    for name in ("images", "frames", "cameras"):
        file = path / f"sparse/0/{name}.bin"
        content = file.read_bytes()
        file.write_bytes(content[:-10])
        assert "project" in error("colmap", path)
        file.write_bytes(content)
    file.write_bytes(content + b"x")
    assert "cameras.bin: 97 bytes; its content needs 96: export it again" in error("colmap", path)
    file.write_bytes(content)
    (path / "images/IMG_3.jpg").unlink()
    assert "has no photo IMG_3.jpg" in error("colmap", path)


def test_invalid_transforms_of_nerfstudio(scene, tmp_path, error):
    path = export_writers.nerfstudio(tmp_path / "data", app_world(5, "z"), *scene.photos, scene.points)
    transforms = json.loads(path.read_text())
    outside = [{**frame, "file_path": "../secret.jpg"} for frame in transforms["frames"]]
    for values, reason in (
        ({"camera_model": "OPENCV_FISHEYE"}, "the lens model OPENCV_FISHEYE"),
        ({"frames": [{"file_path": "a.jpg", "transform_matrix": [[1]]}]}, "transform_matrix is not an array of 4 x 4"),
        ({"frames": outside}, "has no ../secret.jpg, which the export refers to"),
        ({"ply_file_path": "none.ply"}, "no plane in them; there is no point cloud (ply_file_path), and depth maps"),
    ):
        path.write_text(json.dumps(transforms | values))
        assert reason in error("nerfstudio", path)
