"""Photos without a mat: placed by what they show, in proportion only, and what is said where nothing connects them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from p2vlib.geometry.grids import read_binvox
from p2vtools.capture.export_capture import capture_from_export, transform_camera
from p2vtools.capture.sfm_capture import read_photos_without_mat
from p2vtools.cli import main


def saved(photos: list[bytes], folder: Path) -> Path:
    folder.mkdir()
    for number, photo in enumerate(photos):
        (folder / f"IMG_{number:02d}.jpg").write_bytes(photo)
    return folder


@pytest.fixture(scope="module")
def folder(on_wood, tmp_path_factory) -> Path:
    return saved(on_wood[0], tmp_path_factory.mktemp("plain") / "photos")


@pytest.fixture(scope="module")
def taken(folder, weights, tmp_path_factory):
    return capture_from_export(
        read_photos_without_mat(folder), "left", tmp_path_factory.mktemp("filed") / "foot", weights
    )


def test_photos_on_a_patterned_floor_are_placed_in_proportion(on_wood, taken):
    true = on_wood[1].cameras
    assert len(taken.rows) >= 12 and taken.notes[-1] == "no scale"
    numbers = [int(name[4:6]) for name in taken.names]
    found = np.stack([camera.position for camera in taken.cameras])
    known = np.stack([true[number].position for number in numbers])
    to_true, there, _ = trimesh.registration.procrustes(found, known, reflection=False)
    away = np.linalg.norm(there - known, axis=1)
    assert np.median(away) < 0.03 and away.max() < 0.1, "none is taken for its mirror image"
    scale = np.cbrt(np.linalg.det(to_true[:3, :3]))
    up = to_true[:3, 1] / scale
    assert up[1] > np.cos(np.deg2rad(3)) and abs(to_true[1, 3]) < 0.02, "the floor is level and at 0"
    assert np.hypot(*to_true[[0, 2], 3]) < 0.05, "the foot is at the origin"
    yaw = np.rad2deg(np.arctan2(to_true[0, 2], to_true[0, 0]))
    assert abs(yaw) < 25 and 0.75 < scale < 1.3, "its toes along +x, about as long as feet are"
    ratio = taken.cameras[0].intrinsics[0, 0] / true[0].intrinsics[0, 0]
    assert ratio == pytest.approx(1, abs=0.1), "the lens is found"
    again = transform_camera(taken.cameras[0], to_true)
    turn = again.extrinsics[:3, :3] @ true[numbers[0]].extrinsics[:3, :3].T
    assert np.trace(turn) > 1 + 2 * np.cos(np.deg2rad(6))


def test_no_sizes_without_a_scale_and_those_of_a_ruler_with_one(taken, tmp_path, capsys):
    subject = json.loads((taken.folder / "subject.json").read_text())
    assert subject["scale"] == "unknown" and subject["cameras"] == "structure from motion"
    command = ["reconstruct", str(taken.folder), "--size", "32", "--out"]
    assert main([*command, str(tmp_path / "foot.obj")]) == 0
    told = capsys.readouterr().out
    assert "in proportion only" in told and "Mondopoint" not in told and "mm long" not in told
    assert "these photos have no scale" in told and "ball breadth" in told
    before = np.ptp(trimesh.load_mesh(tmp_path / "foot.obj").vertices[:, 0])
    assert 0.2 < before < 0.3
    (taken.folder / "subject.json").write_text(json.dumps(subject | {"foot length, mm": 301.0}))
    assert main([*command, str(tmp_path / "foot.binvox")]) == 0
    told = capsys.readouterr().out
    assert "301 mm long" in told and "Mondopoint 300" in told
    grid = read_binvox(tmp_path / "foot.binvox")
    long = np.ptp(np.flatnonzero(grid.volume.any((1, 2)))) + 1
    assert long * grid.cube.edge / grid.size == pytest.approx(0.301, abs=0.02)
    (taken.folder / "subject.json").write_text(json.dumps(subject))


def test_what_cannot_be_is_one_clear_sentence(folder, on_plain, tmp_path, capsys):
    saved(on_plain[0], tmp_path / "smooth")
    two = tmp_path / "two"
    two.mkdir()
    Image.new("RGB", (64, 48)).save(two / "a.jpg")
    Image.new("RGB", (48, 64)).save(two / "b.jpg")
    for source, more, sentence in (
        (tmp_path / "none", [], "no such folder of photos; without a mat"),
        (two, [], "photos of different sizes (48 x 64, 64 x 48)"),
        (tmp_path / "smooth", [], "none of 6 photos fits the others: smooth skin and a plain floor have nothing to"),
        (folder, ["--mat", "a3", "--foot-length", "260"], "leave --foot-length away"),
        (two, ["--foot-length", "26"], "foot length is 26 mm; expected 90 to 350"),
    ):
        command = ["capture", str(source), "--mat", "none", "--side", "left", "--out", str(tmp_path / "out"), *more]
        assert main(command) == 1, sentence
        told = capsys.readouterr().err
        assert sentence in told and told.startswith("p2v: ") and told.count("\n") == 1, told
        assert not (tmp_path / "out").exists()
