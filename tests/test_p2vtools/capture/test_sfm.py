"""Structure from motion: a textured floor registers the photos, smooth skin does not, and points enclose a solid."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import trimesh
from PIL import Image

from p2vlib.geometry.frames import Cube
from p2vlib.geometry.grids import iou
from p2vtools.archives.binvox import read_binvox
from p2vtools.capture.app_exports import Export
from p2vtools.capture.export_capture import capture_from_export, find_floor, transform_camera
from p2vtools.capture.sfm import alpha_shape, check_model, read_photos_without_mat, run_sfm
from p2vtools.cli import main

CUBE = Cube((-0.16, 0.0, -0.16), 0.32)


def write_files(photos: list[bytes], folder: Path) -> Path:
    folder.mkdir()
    for number, photo in enumerate(photos):
        (folder / f"IMG_{number:02d}.jpg").write_bytes(photo)
    return folder


@pytest.fixture(scope="module")
def export(on_wood, tmp_path_factory) -> Export:
    """Of photos some of which are of another size, as if a messenger had resized them."""
    folder = write_files(on_wood[0], tmp_path_factory.mktemp("wood") / "photos")
    for path in sorted(folder.iterdir())[::3]:
        Image.open(path).resize((280, 280), Image.Resampling.BICUBIC).save(path, quality=95)
    return read_photos_without_mat(folder)


@pytest.fixture(scope="module")
def written(export, weights, tmp_path_factory):
    return capture_from_export(export, "left", tmp_path_factory.mktemp("captures") / "foot", weights)


def test_textured_floor_registers_the_photos(on_wood):
    photos, walk = on_wood
    model = run_sfm(photos, walk.cameras)
    assert len(model.registered) >= 0.95 * len(photos)
    assert model.error < 0.02, "camera positions to centimetres, from photos of 4 mm a pixel"
    on_floor = np.abs(model.points[:, 1]) < 0.02
    assert on_floor.mean() > 0.5 and len(model.points) > 100, "most points are on the floor, at its height"


def test_plain_floor_and_smooth_skin_give_no_model(on_plain):
    photos, walk = on_plain
    model = run_sfm(photos, walk.cameras)
    assert model.registered == () and len(model.points) == 0 and np.isnan(model.error)
    assert not alpha_shape(model.points, CUBE).any()


def test_alpha_shape_of_a_ball():
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(1500, 3))
    centre, radius = np.array([0.0, 0.06, 0.0]), 0.05
    points = centre + radius * normals / np.linalg.norm(normals, axis=1, keepdims=True)
    points = np.concatenate([points, centre + rng.uniform(-0.03, 0.03, (1500, 3))])
    solid = alpha_shape(points, CUBE)
    assert iou(solid, np.linalg.norm(CUBE.voxel_centres(32) - centre, axis=-1) < radius) > 0.85
    assert not alpha_shape(points, CUBE, height=0.1)[:, 3:].any()
    with_outlier = np.concatenate([points, [[0.15, 0.01, 0.15]]])
    assert (alpha_shape(with_outlier, CUBE) ^ solid).sum() < 5, "no bridge to an outlier"
    assert not alpha_shape(points * [1, 0, 1] + [0, 0.05, 0], CUBE).any(), "a plane encloses nothing"
    assert not alpha_shape(points[:3], CUBE).any()


def test_photos_without_a_mat_get_cameras_up_to_scale(on_wood, written):
    true = on_wood[1].cameras
    assert len(written.rows) >= 12 and written.scale == "unknown"
    numbers = [int(name[4:6]) for name in written.names]
    found = np.stack([camera.position for camera in written.cameras])
    expected = np.stack([true[number].position for number in numbers])
    to_true, aligned, _ = trimesh.registration.procrustes(found, expected, reflection=False)
    distances = np.linalg.norm(aligned - expected, axis=1)
    assert np.median(distances) < 0.03 and distances.max() < 0.1, "no mirrored pose"
    scale = np.cbrt(np.linalg.det(to_true[:3, :3]))
    up = to_true[:3, 1] / scale
    assert up[1] > np.cos(np.deg2rad(3)) and abs(to_true[1, 3]) < 0.02, "the floor is level and at 0"
    assert np.hypot(*to_true[[0, 2], 3]) < 0.05, "the foot is at the origin"
    yaw = np.rad2deg(np.arctan2(to_true[0, 2], to_true[0, 0]))
    assert abs(yaw) < 25 and 0.75 < scale < 1.3, "toes along +x, about as long as a foot"
    focals = {camera.width: camera.intrinsics[0, 0] / camera.width for camera in written.cameras}
    expected = pytest.approx(true[0].intrinsics[0, 0] / true[0].width, rel=0.1)
    assert focals == {224: expected, 280: expected}, "the focal lengths are found"
    rotation = transform_camera(written.cameras[0], to_true).extrinsics[:3, :3] @ true[numbers[0]].extrinsics[:3, :3].T
    assert np.trace(rotation) > 1 + 2 * np.cos(np.deg2rad(6))


def test_cameras_that_do_not_agree_with_the_foot_are_refused(export, weights, tmp_path):
    """As between tiles: every second camera is turned by 60 degrees about the foot."""
    up = find_floor(export)
    turn = np.linalg.inv(up) @ trimesh.transformations.rotation_matrix(np.pi / 3, [0, 1, 0]) @ up
    turned = [replace(frame, camera=transform_camera(frame.camera, turn)) for frame in export.frames[1::2]]
    frames = [*export.frames[::2], *turned]
    with pytest.raises(ValueError, match=r"structure from motion: its cameras are wrong .* tiles .* a sheet of paper"):
        capture_from_export(replace(export, frames=frames), "left", tmp_path / "out", weights, length=260)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("registered", "baseline", "message"),
    [(8, 1.0, None), (8, 0.05, r"under 2\.9 degrees"), (5, 1.0, "only 5 of 8 photos"), (7, 1.0, "only 7 of 16 photos")],
)
def test_a_model_needs_enough_photos_and_angles(registered, baseline, message):
    """Cameras on a line, ``baseline`` long, one unit above a point: the angle is 2 atan(baseline / 2)."""
    places = np.linspace(-baseline / 2, baseline / 2, registered)
    centres = [lambda x=x: np.array([x, 0.0, 1.0]) for x in places]
    images = {number: SimpleNamespace(has_pose=True, projection_center=one) for number, one in enumerate(centres)}
    track = SimpleNamespace(elements=[SimpleNamespace(image_id=number) for number in images])
    points = {0: SimpleNamespace(xyz=np.zeros(3), track=track)}
    model = SimpleNamespace(images=images, points3D=points, num_reg_images=lambda: registered)
    with pytest.raises(ValueError, match=message) if message else nullcontext():
        check_model(model, 16 if registered == 7 else 8, Path("photos"))


def test_sizes_need_a_scale_or_a_measured_length(written, tmp_path, capsys):
    file = written.folder / "subject.json"
    subject = json.loads(file.read_text())
    assert subject["scale"] == "unknown" and subject["cameras"] == "structure from motion"
    command = ["reconstruct", str(written.folder), "--size", "32", "--out"]
    assert main([*command, str(tmp_path / "foot.obj")]) == 0
    output = capsys.readouterr().out
    assert "Mondopoint" not in output and " mm (" not in output
    assert "scale: unknown; photograph the foot on a sheet of paper" in output and "ball breadth" in output
    assert 0.2 < np.ptp(trimesh.load_mesh(tmp_path / "foot.obj").vertices[:, 0]) < 0.3
    assert main(["measure", str(tmp_path / "foot.obj"), "--side", "left", "--out", str(tmp_path / "foot.png")]) == 0
    measured = capsys.readouterr().out
    assert "\n".join(measured.splitlines()[-2:]) in output and " mm" not in measured
    assert main(["measure", str(tmp_path / "foot.obj"), "--side", "left", "--fit", str(tmp_path / "fit.png")]) == 1
    assert "its size is unknown" in capsys.readouterr().err
    record = json.loads((tmp_path / "foot.json").read_text())
    assert record["scale"] == "unknown" and not [key for key in record if "mm" in key]
    (tmp_path / "foot.obj").write_text((tmp_path / "foot.obj").read_text() + "# changed")
    assert main(["measure", str(tmp_path / "foot.obj"), "--side", "left"]) == 0
    assert " mm" not in capsys.readouterr().out, "a changed mesh does not become metric"
    file.write_text(json.dumps(subject | {"foot length, mm": 301.0}))
    assert main([*command, str(tmp_path / "foot.binvox")]) == 0
    file.write_text(json.dumps(subject))
    output = capsys.readouterr().out
    assert "length 301 mm (± 2)" in output and "Mondopoint 300" in output
    grid = read_binvox(tmp_path / "foot.binvox")
    length = np.ptp(np.flatnonzero(grid.volume.any((1, 2)))) + 1
    assert length * grid.cube.edge / grid.size == pytest.approx(0.301, abs=0.02)


def test_unusable_photos_are_errors(on_plain, tmp_path, command_error):
    smooth, two = write_files(on_plain[0], tmp_path / "smooth"), tmp_path / "two"
    two.mkdir()
    Image.new("RGB", (64, 48)).save(two / "a.jpg")
    Image.new("RGB", (48, 64)).save(two / "b.jpg")
    for source, options, message in (
        (tmp_path / "none", [], "no such folder; expected a folder of photos"),
        (two, [], "too few photos (2), expected at least 6"),
        (smooth, [], "none of 6 photos could be matched with the others: smooth skin and a plain floor have no"),
        (two, ["--foot-length", "26"], "expected the length of a foot, 90 to 350 mm"),
    ):
        command = ["capture", source, "--mat", "none", "--side", "left", "--out", tmp_path / "out"]
        assert message in command_error(*command, *options)
        assert not (tmp_path / "out").exists()
