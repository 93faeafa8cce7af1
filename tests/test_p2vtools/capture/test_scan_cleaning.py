"""Scans made worse as phones make them, and made clean feet again."""

from __future__ import annotations

import json

import numpy as np
import pytest
import trimesh
from scipy.spatial import KDTree

from p2vlib.geometry.frames import Cube, foot_cube
from p2vlib.geometry.grids import VoxelGrid, iou, read_binvox, voxelise, write_binvox
from p2vtools.__main__ import main
from p2vtools.capture import scan_cleaning as cleaning
from p2vtools.capture.scan_files import decimate, read_scan
from p2vtools.fit.pretrained import load_pretrained
from p2vtools.study.benchmark.scans import turned
from p2vtools.synthesis.feet.foot import SyntheticFoot, make_feet
from p2vtools.synthesis.feet.population import sample_population
from p2vtools.synthesis.objects import make_object
from p2vtools.synthesis.scan_degradation import ScanTruth, degrade_scan

CHAIR = "03001627"


@pytest.fixture(scope="module")
def typical() -> np.ndarray:
    return load_pretrained().typical_foot.solid.numpy()


@pytest.fixture(scope="module")
def feet() -> list[SyntheticFoot]:
    return [foot for person in sample_population(4713, 2) for foot in make_feet(person).values()]


@pytest.fixture(scope="module")
def degraded(feet) -> list[tuple[SyntheticFoot, trimesh.Trimesh, ScanTruth]]:
    """Scans with a level floor, with a turned one and without."""
    made = [
        (foot, *degrade_scan(foot, np.random.default_rng(seed))) for foot, seed in zip(feet, (1, 6, 11), strict=False)
    ]
    assert [(truth.floor != "none", truth.tilt > 3) for *_, truth in made] == [
        (True, False),
        (True, True),
        (False, False),
    ]
    return made


def off(cleaned: cleaning.CleanedScan, to_scan: np.ndarray, foot: SyntheticFoot) -> tuple[float, float, float]:
    """IoU at 64^3 of the solid in its own cube with the true one in its own, degrees of yaw and of tilt."""
    truth = voxelise(foot.solid.vertices, foot.solid.faces, foot_cube(foot.solid.bounds), 64).volume
    return iou(cleaned.grid(64).volume, truth), *turned(cleaned.to_foot @ to_scan)


def test_a_foot_is_found_in_what_an_app_made_of_it(degraded, typical):
    for foot, scan, truth in degraded:
        cleaned = cleaning.clean_scan(scan, typical)
        same, yaw, tilt = off(cleaned, truth.to_scan, foot)
        assert same > 0.7 and abs(yaw) < 5 and tilt < 5, truth
        assert (cleaned.side, cleaned.unit) == (foot.side, truth.unit)
        assert cleaned.mesh.is_watertight and cleaned.mesh.bounds[0, 1] == pytest.approx(0, abs=1e-6)
        assert cleaned.mesh.bounds[1, 1] == pytest.approx(0.12, abs=0.001), "the leg is cut"


def test_where_the_foot_is_said_to_be_is_where_its_mesh_is(degraded, typical):
    foot, scan, _ = degraded[0]
    cleaned = cleaning.clean_scan(scan, typical)
    there = trimesh.transform_points(scan.vertices, cleaned.to_foot)
    inside = there[(there[:, 1] > 0.03) & (there[:, 1] < 0.11) & (np.abs(there[:, 2]) < 0.06)]
    away, _ = KDTree(trimesh.sample.sample_surface(cleaned.mesh, 40_000, seed=0)[0]).query(inside)
    assert np.median(away) < 0.003


def test_a_clean_foot_with_its_whole_leg_stays_what_it_is(feet, typical):
    foot = feet[0]
    cleaned = cleaning.clean_scan(foot.leg_mesh, typical)
    same, yaw, tilt = off(cleaned, np.eye(4), foot)
    assert same > 0.88 and abs(yaw) < 3 and tilt < 1.5 and cleaned.side == foot.side


def test_a_unit_that_is_told_is_believed(feet, typical):
    with pytest.raises(ValueError, match="stands like a foot on a floor in mm"):
        cleaning.clean_scan(feet[0].leg_mesh, typical, unit="mm")
    assert cleaning.clean_scan(feet[0].leg_mesh, typical, unit="m").unit == "m"


def test_the_command_files_a_scan(degraded, tmp_path, capsys):
    foot, scan, truth = degraded[1]
    scan.export(tmp_path / "scan.ply")
    assert main(["clean", str(tmp_path / "scan.ply"), "--out", str(tmp_path / "person")]) == 0
    told = capsys.readouterr().out
    assert f"unit {truth.unit}, guessed from its size" in told and f"{foot.side} foot" in told
    folder = tmp_path / "person"
    assert (folder / "cleaned.png").stat().st_size > 20_000
    assert json.loads((folder / "subject.json").read_text())["side"] == foot.side
    for name, size in (("model.binvox", 32), ("model-64.binvox", 64), ("model-128.binvox", 128)):
        assert read_binvox(folder / name).size == size
    assert main(["measure", str(folder / "model.obj"), "--side", foot.side]) == 0
    length = float(capsys.readouterr().out.split("length ")[1].split()[0])
    assert length == pytest.approx(1000 * foot.length, abs=8)


def shell(foot: SyntheticFoot, size: int = 150, edge: float = 0.42) -> tuple[VoxelGrid, np.ndarray]:
    """As a voxeliser makes it of a scan: the surface of leg and floor, no inside, its cube's edge called 1.

    Returns:
        The grid, and the matrix from the foot's frame (metres) to that of the grid.
    """
    cube = Cube((-edge / 2, -0.02, -edge / 2), edge)
    solid = voxelise(foot.leg_mesh.vertices, foot.leg_mesh.faces, cube, size).volume
    solid[:, round(0.3 / edge * size) :] = False
    solid[2:-2, : round(0.02 / edge * size), 10:-10] = True
    inner = np.all([np.roll(solid, shift, axis) for axis in range(3) for shift in (-1, 1)], axis=0)
    to_grid = np.diag([1 / edge] * 3 + [1.0])
    to_grid[:3, 3] = -np.array(cube.lower) / edge
    return VoxelGrid(solid & ~inner, Cube((0.0, 0.0, 0.0), 1.0)), to_grid


def test_a_shell_of_voxels_with_floor_and_leg_and_without_a_unit(feet, typical, tmp_path):
    foot = feet[1]
    grid, to_grid = shell(foot)
    write_binvox(tmp_path / "shell.binvox", grid)
    cleaned = cleaning.clean_scan(read_scan(tmp_path / "shell.binvox"), typical)
    assert cleaned.side == foot.side and cleaned.unit == cleaning.UNKNOWN and "about 250 mm" in cleaned.notes[0]
    _, yaw, tilt = off(cleaned, to_grid, foot)
    assert abs(yaw) < 3 and tilt < 2
    # Its shape is right at whatever size it has.
    cleaned.mesh.apply_scale(np.ptp(foot.solid.vertices[:, 0]) / np.ptp(cleaned.mesh.vertices[:, 0]))
    assert off(cleaned, to_grid, foot)[0] > 0.75


def test_a_scan_of_very_many_triangles_is_a_foot_with_fewer(degraded, typical):
    foot, scan, truth = degraded[0]
    many = decimate(scan).subdivide().subdivide()
    fewer = decimate(many, 60_000)
    assert len(many.faces) > 5 * len(fewer.faces)
    assert off(cleaning.clean_scan(fewer, typical), truth.to_scan, foot)[0] > 0.7


def test_what_is_no_foot_is_one_clear_sentence(tmp_path, capsys):
    make_object(CHAIR, 21, 0).export(tmp_path / "chair.obj")
    (tmp_path / "there").mkdir()
    for file, out, sentence in (
        ("none.ply", "out", "no such file; expected a scan"),
        ("chair.obj", "out", "stands like a foot"),
        ("chair.obj", "there", "is there already"),
    ):
        assert main(["clean", str(tmp_path / file), "--out", str(tmp_path / out)]) == 1
        told = capsys.readouterr().err
        assert sentence in told and told.startswith("p2vlib: ") and told.count("\n") == 1, told
        assert not (tmp_path / "out").exists()
