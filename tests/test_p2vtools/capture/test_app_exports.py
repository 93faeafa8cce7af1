"""Exports of apps, written here as the apps document them, read and filed: the known foot shows where it is seen."""

from __future__ import annotations

import json
import struct
import zipfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from p2vlib.data.photo_set import FOOT_CUBE, read_photo_set
from p2vlib.geometry.cameras import Camera, look_at, read_cameras
from p2vlib.geometry.grids import iou, read_binvox, voxelise
from p2vtools.__main__ import main
from p2vtools.capture.app_exports import Export, read_export
from p2vtools.capture.export_capture import capture_from_export
from p2vtools.synthesis.feet.foot import SyntheticFoot, make_feet
from p2vtools.synthesis.feet.population import sample_population
from tests.exported import (
    BENDS,
    LONG,
    SHORT,
    VIEWS,
    colmap,
    nerfstudio,
    polycam,
    record3d,
    scannerapp,
    somewhere,
)

SKIN, FLOOR = (205, 150, 120), (34, 40, 48)


@pytest.fixture(scope="session")
def person() -> SyntheticFoot:
    """An unseen person's left foot."""
    return make_feet(sample_population(4714, 1)[0])["left"]


@pytest.fixture(scope="session")
def foot(person) -> trimesh.Trimesh:
    """With its lower leg, in its own frame."""
    return person.leg_mesh


@pytest.fixture(scope="session")
def cameras() -> list[Camera]:
    """A phone held upright, walked once around the foot: its sensor lies on its side. In the foot's frame."""
    rng, walk = np.random.default_rng(2), []
    for azimuth in np.arange(VIEWS) * 360 / VIEWS + rng.uniform(-8, 8, VIEWS):
        row = (azimuth, rng.uniform(35, 50), rng.uniform(-6, 6), rng.uniform(0.45, 0.55), 46)
        upright = look_at(row, np.array([0.0, 0.05, 0]) + rng.uniform(-0.015, 0.015, 3), SHORT, LONG)
        focal = upright.intrinsics[0, 0]
        lens = np.array([[focal, 0, LONG / 2 + 3.2], [0, focal, SHORT / 2 - 2.1], [0, 0, 1]])
        turned = np.array([[0.0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
        walk.append(Camera(lens, turned @ upright.extrinsics, LONG, SHORT))
    return walk


def cast(mesh: trimesh.Trimesh, camera: Camera, bends: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Which face of ``mesh`` each pixel shows, -1 none, and its depth, 0 none."""
    across, down = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
    pixels = np.stack([across, down], -1).reshape(-1, 1, 2)
    rays = cv2.undistortPoints(pixels, camera.intrinsics, np.zeros(4) if bends is None else bends).reshape(-1, 2)
    rays = np.column_stack([rays, np.ones(len(rays))]) @ camera.extrinsics[:3, :3]
    starts = np.broadcast_to(camera.position, rays.shape)
    places, ray, face = mesh.ray.intersects_location(starts, rays, multiple_hits=False)
    shown, depth = np.full(len(rays), -1), np.zeros(len(rays))
    shown[ray] = face
    depth[ray] = places @ camera.extrinsics[2, :3] + camera.extrinsics[2, 3]
    return shown.reshape(camera.height, camera.width), depth.reshape(camera.height, camera.width)


def drawn(foot: trimesh.Trimesh, camera: Camera, bends: np.ndarray | None = None) -> np.ndarray:
    """The foot in the light of a window, on a plain floor."""
    shown, _ = cast(foot, camera, bends)
    light = np.clip(foot.face_normals @ np.array([0.35, 0.85, 0.4]), -0.4, 1) * 0.3 + 0.7
    picture = np.full((*shown.shape, 3), FLOOR, np.uint8)
    picture[shown >= 0] = (light[shown[shown >= 0]][:, None] * SKIN).astype(np.uint8)
    return picture


@pytest.fixture(scope="session")
def pictures(foot, cameras) -> list[np.ndarray]:
    return [drawn(foot, camera) for camera in cameras]


@pytest.fixture(scope="session")
def bent(foot, cameras) -> list[np.ndarray]:
    """The same through a lens that bends."""
    return [drawn(foot, camera, BENDS) for camera in cameras]


@pytest.fixture(scope="session")
def scan(foot) -> trimesh.Trimesh:
    """What a phone's LiDAR makes of it: with a slab of floor."""
    floor = trimesh.creation.box([0.9, 0.01, 0.8]).subdivide_to_size(0.03).apply_translation([0.05, -0.005, 0.02])
    return trimesh.util.concatenate([trimesh.Trimesh(foot.vertices, foot.faces), floor])


def overlap(foot: trimesh.Trimesh, folder: Path, to_foot: np.ndarray, every: int = 3) -> float:
    """IoU of silhouettes in the filed photos with those of the known foot, which ``to_foot`` brings to their frame."""
    placed, hit, union = foot.copy().apply_transform(to_foot), 0, 0
    filed = read_cameras(folder / "cameras.json")
    for number in range(0, len(filed), every):
        picture = np.asarray(Image.open(folder / f"rendering/{number:02d}.jpg")).astype(int)
        assert picture.shape[:2] == (LONG, SHORT), "upright"
        seen = picture.mean(-1) > 66
        shown = cast(placed, filed[number])[0] >= 0
        assert shown.mean() > 0.05
        hit, union = hit + (seen & shown).sum(), union + (seen | shown).sum()
    return hit / union


def off(to_foot: np.ndarray) -> tuple[float, float, float, float]:
    """Degrees of yaw, mm sideways, mm that the floor under the foot is off, and scale, of what should be nothing."""
    scale = np.cbrt(np.linalg.det(to_foot[:3, :3]))
    corners = np.array([[x, 0.0, z] for x in (-0.13, 0.13) for z in (-0.05, 0.05)])
    floor = np.abs(trimesh.transform_points(corners, to_foot)[:, 1]).max()
    yaw = np.rad2deg(np.arctan2(to_foot[0, 2], to_foot[0, 0]))
    return float(yaw), 1000 * float(np.hypot(*to_foot[[0, 2], 3])), 1000 * float(floor), float(scale)


def filed(export: Export, folder: Path, weights, world: np.ndarray, **more) -> np.ndarray:
    """From the known foot's frame to that of the capture folder that ``export`` became."""
    taken = capture_from_export(export, "left", folder, weights, **more)
    assert len(taken.rows) == VIEWS and taken.quality == "good", taken.advice
    shots = read_photo_set(folder)
    assert shots.side == "left" and shots.metric == export.metric
    return np.array(json.loads((folder / "subject.json").read_text())["from the export"]) @ world


@pytest.fixture(scope="session")
def depths(scan, cameras) -> list[np.ndarray]:
    return [cast(scan, camera)[1] for camera in cameras]


@pytest.fixture(scope="session")
def points(scan) -> np.ndarray:
    """Where features are: on the floor, few on the skin, some nowhere."""
    rng = np.random.default_rng(5)
    floor = np.column_stack([rng.uniform(-0.4, 0.4, 500), rng.normal(0, 0.001, 500), rng.uniform(-0.3, 0.3, 500)])
    skin = scan.vertices[rng.integers(len(scan.vertices), size=80)]
    return np.concatenate([floor, skin, rng.uniform(-0.4, 0.6, (40, 3))])


def test_polycam(person, foot, cameras, pictures, scan, weights, tmp_path):
    world = somewhere(1)
    path = polycam(tmp_path, world, cameras, pictures, scan)
    export = read_export("polycam", path)
    assert [frame.sharpness for frame in export.frames] == [100.0 + number for number in range(VIEWS)]
    to_foot = filed(export, tmp_path / "out", weights, world)
    yaw, aside, floor, scale = off(to_foot)
    assert overlap(foot, tmp_path / "out", to_foot) > 0.985
    assert abs(yaw) < 4 and aside < 15 and floor < 2 and scale == pytest.approx(1), (yaw, aside, floor)
    again = trimesh.load_mesh(tmp_path / "out" / "scan.obj", process=False)
    low = trimesh.transform_points(foot.vertices[foot.vertices[:, 1] < 0.2], to_foot)
    assert cKDTree(again.vertices).query(low)[0].max() < 1e-4, "the scan lies where the cameras see the foot"
    solid = person.solid.copy().apply_transform(to_foot)
    truth = voxelise(solid.vertices, solid.faces, FOOT_CUBE, 64).volume
    model = trimesh.load_mesh(tmp_path / "out" / "model.obj", process=False)
    assert model.is_watertight and iou(voxelise(model.vertices, model.faces, FOOT_CUBE, 64).volume, truth) > 0.85
    assert read_binvox(tmp_path / "out" / "model.binvox").size == 32
    subject = json.loads((tmp_path / "out" / "subject.json").read_text())
    assert subject["cameras"] == "polycam" and subject["metadata"] == "metric" and "scale" not in subject


def test_polycam_without_its_mesh(foot, cameras, pictures, depths, weights, tmp_path):
    world = somewhere(2)
    export = read_export("polycam", polycam(tmp_path, world, cameras, pictures, depths=depths))
    assert export.mesh is None and "depth maps tell the floor" in export.notes[0]
    to_foot = filed(export, tmp_path / "out", weights, world)
    yaw, aside, floor, scale = off(to_foot)
    assert overlap(foot, tmp_path / "out", to_foot) > 0.985
    assert abs(yaw) < 15 and aside < 30 and floor < 4 and scale == pytest.approx(1), (yaw, aside, floor)


def test_3d_scanner_app(foot, cameras, pictures, scan, weights, tmp_path):
    world = somewhere(3)
    export = read_export("scannerapp", scannerapp(tmp_path / "data", world, cameras, pictures, scan))
    assert len(export.frames) == VIEWS, "of frames without a photo none"
    there = trimesh.transform_points(scan.vertices, world)
    assert cKDTree(export.mesh.vertices).query(there)[0].max() < 1e-5, "in the cameras' world as it is"
    to_foot = filed(replace(export, mesh=None, points=export.mesh.vertices), tmp_path / "out", weights, world)
    yaw, aside, floor, scale = off(to_foot)
    assert overlap(foot, tmp_path / "out", to_foot) > 0.985
    assert abs(yaw) < 15 and aside < 30 and floor < 2 and scale == pytest.approx(1), (yaw, aside, floor)


def test_record3d(foot, cameras, pictures, depths, weights, tmp_path):
    world = somewhere(4)
    export = read_export("record3d", record3d(tmp_path, world, cameras, pictures, depths))
    to_foot = filed(export, tmp_path / "out", weights, world)
    yaw, aside, floor, scale = off(to_foot)
    assert overlap(foot, tmp_path / "out", to_foot) > 0.985
    assert abs(yaw) < 15 and aside < 30 and floor < 4 and scale == pytest.approx(1), (yaw, aside, floor)


def test_nerfstudio(foot, cameras, bent, points, weights, tmp_path):
    world = somewhere(5, "z")
    export = read_export("nerfstudio", nerfstudio(tmp_path / "data", world, cameras, bent, points))
    assert export.metric
    to_foot = filed(export, tmp_path / "out", weights, world)
    yaw, aside, floor, scale = off(to_foot)
    assert overlap(foot, tmp_path / "out", to_foot) > 0.985
    assert abs(yaw) < 15 and aside < 30 and floor < 4 and scale == pytest.approx(1), (yaw, aside, floor)


def test_colmap_knows_no_scale(person, foot, cameras, bent, points, weights, tmp_path):
    """Neither which way is up nor how long a metre is; a ruler then tells the length."""
    world = somewhere(6)
    world = np.diag([3.7, 3.7, 3.7, 1]) @ np.pad(Rotation.random(rng=1).as_matrix(), (0, 1)) @ world
    world[3, 3] = 1
    path = colmap(tmp_path / "project", world, cameras, bent, points)
    export = read_export("colmap", path)
    assert not export.metric
    told = read_export("colmap", colmap(tmp_path / "text", world, cameras, bent, points, text=True))
    for one, other in zip(export.frames, told.frames, strict=True):
        assert np.allclose(one.camera.extrinsics, other.camera.extrinsics) and one.name == other.name
    to_foot = filed(export, tmp_path / "out", weights, world, length=1000 * person.length)
    yaw, aside, floor, scale = off(to_foot)
    assert overlap(foot, tmp_path / "out", to_foot) > 0.985
    assert abs(yaw) < 15 and aside < 30 and floor < 4 and 0.9 < scale < 1.1, (yaw, aside, floor, scale)
    assert read_photo_set(tmp_path / "out").length == pytest.approx(person.length)


# --------------------------------------------------------------------------------------------------------- what it asks


def refused(capsys, app: str, path: Path, out: Path, *more: str) -> str:
    assert main(["capture", str(path), "--from", app, "--side", "left", "--out", str(out), *more]) == 1
    told = capsys.readouterr().err
    assert told.startswith("p2vlib: ") and told.count("\n") == 1, told
    assert not out.exists() and not list(out.parent.glob(".*partial*"))
    return told


def test_what_is_no_export_is_one_clear_sentence(cameras, pictures, depths, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    out, world = tmp_path / "out", somewhere(1)
    assert "no such file or folder" in refused(capsys, "polycam", tmp_path / "none", out)
    assert "has no keyframes/; is it the export of another app?" in refused(capsys, "polycam", tmp_path / "empty", out)
    path = record3d(tmp_path, world, cameras, pictures, depths)
    assert "leave the foot's length away" in refused(capsys, "record3d", path, out, "--foot-length", "250")
    assert "foot.r3d: has no transforms.json" in refused(capsys, "nerfstudio", path, out)
    half = tmp_path / "half.r3d"
    half.write_bytes(path.read_bytes()[:-3000])
    assert "half.r3d: not a zip" in refused(capsys, "record3d", half, out)
    bomb = tmp_path / "bomb.r3d"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("metadata", b" " * 30_000_000)
    assert "no capture does, nothing was unpacked" in refused(capsys, "record3d", bomb, out)


def test_numbers_that_are_missing(cameras, pictures, depths, tmp_path, capsys):
    world, out = somewhere(1), tmp_path / "out"
    path = record3d(tmp_path, world, cameras, pictures, depths)
    told = json.loads(zipfile.ZipFile(path).read("metadata"))
    for change, sentence in (
        ({"poses": [[1, 2, 3]]}, "metadata: poses should be any number of x 7 numbers and is not"),
        ({"K": None}, "metadata: K should be 3 x 3 numbers"),
        ({"w": float("nan")}, "metadata: w h should be 2 numbers"),
        ({"poses": [[0, 0, 0, 0, 1, 1, 1]]}, "rgbd/0.jpg: its pose is no quaternion"),
        ({"dw": 7}, "rgbd/0.depth: 19200 bytes are no rows of 7 depths"),
    ):
        with zipfile.ZipFile(path) as before, zipfile.ZipFile(tmp_path / "changed.r3d", "w") as after:
            for name in before.namelist():
                after.writestr(name, json.dumps(told | change) if name == "metadata" else before.read(name))
        assert sentence in refused(capsys, "record3d", tmp_path / "changed.r3d", out)


def test_depth_that_needs_a_package_is_left_out(cameras, pictures, depths, tmp_path, capsys):
    path = record3d(tmp_path, somewhere(1), cameras, pictures, depths)
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(tmp_path / "packed.r3d", "w") as after:
        for name in before.namelist():
            after.writestr(name, b"bvx2" + bytes(40) if name.endswith(".depth") else before.read(name))
    told = refused(capsys, "record3d", tmp_path / "packed.r3d", tmp_path / "out")
    if find_spec("liblzfse"):
        assert "rgbd/0.depth: not packed as Record3D does" in told
    else:
        assert "nothing tells where the floor is" in told and "LZFSE, which needs the package pyliblzfse" in told


def test_a_model_that_is_cut_off(cameras, bent, points, tmp_path, capsys):
    """pycolmap reads on beyond the end."""
    path = colmap(tmp_path / "project", somewhere(1), cameras, bent, points[:50])
    for name in ("images.bin", "points3D.bin"):
        file = path / "sparse/0" / name
        whole = file.read_bytes()
        file.write_bytes(whole[:-10])
        assert f"{name}: ends before all that it counts" in refused(capsys, "colmap", path, tmp_path / "out")
        file.write_bytes(struct.pack("<Q", 2**60) + whole[8:])
        assert f"{name}: ends before all that it counts" in refused(capsys, "colmap", path, tmp_path / "out")
        file.write_bytes(whole)
    (path / "images/IMG_3.jpg").unlink()
    assert "has no picture IMG_3.jpg" in refused(capsys, "colmap", path, tmp_path / "out")


def test_a_lens_that_is_not_read(cameras, pictures, points, tmp_path, capsys):
    path = nerfstudio(tmp_path / "data", somewhere(5, "z"), cameras, pictures, points)
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"camera_model": "OPENCV_FISHEYE"}))
    assert "a lens OPENCV_FISHEYE" in refused(capsys, "nerfstudio", path, tmp_path / "out")
    path.write_text(json.dumps(told | {"frames": [{"file_path": "../../secret.jpg", "transform_matrix": [[1]]}]}))
    assert "transform_matrix should be 4 x 4 numbers" in refused(capsys, "nerfstudio", path, tmp_path / "out")
    outside = [{**one, "file_path": "../secret.jpg"} for one in told["frames"]]
    path.write_text(json.dumps(told | {"frames": outside}))
    assert "has no ../secret.jpg, which it names itself" in refused(capsys, "nerfstudio", path, tmp_path / "out")


def test_frames_that_structure_from_motion_placed_have_no_scale(cameras, pictures, points, tmp_path):
    path = nerfstudio(tmp_path / "data", somewhere(5, "z"), cameras, pictures, points)
    told = json.loads(path.read_text())
    told["frames"] = [{**one, "colmap_im_id": number} for number, one in enumerate(told["frames"])]
    path.write_text(json.dumps(told))
    export = read_export("nerfstudio", path)
    assert not export.metric and export.up is None
