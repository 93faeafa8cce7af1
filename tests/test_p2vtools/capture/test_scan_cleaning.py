"""Scans that are degraded in the way of phones; their cleaning, compared with the foot before; the shape model."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import trimesh
from scipy.spatial import KDTree

from p2vlib.geometry.frames import SIDES, Cube, foot_cube
from p2vlib.geometry.grids import VoxelGrid, iou, voxelise
from p2vtools.archives.binvox import read_binvox, write_binvox
from p2vtools.capture.ground_plane import GroundPlane
from p2vtools.capture.scan_cleaning import (
    UNKNOWN_UNIT,
    CleanedScan,
    _extend_to_floor,
    _is_inside_out,
    _lengthen_toes,
    _stand_like_shape,
    clean_scan,
)
from p2vtools.capture.scan_files import read_scan
from p2vtools.capture.shape_model import FittedShape, ShapeModel
from p2vtools.capture.template_registration import Registration
from p2vtools.cli import main
from p2vtools.fit.measure import measure_foot
from p2vtools.fit.placement import pose_matrix
from p2vtools.fit.pretrained import load_pretrained
from p2vtools.study.benchmark.scans import yaw_and_tilt
from p2vtools.synthesis.feet.foot import SyntheticFoot, make_feet
from p2vtools.synthesis.feet.landmarks import true_measures
from p2vtools.synthesis.feet.population import sample_population
from p2vtools.synthesis.feet.shape_modes import principal_modes
from p2vtools.synthesis.objects import make_object
from p2vtools.synthesis.scan_degradation import NOISE, UNITS, ScanTruth, degrade_scan

CHAIR = "03001627"


@pytest.fixture(scope="module")
def template() -> np.ndarray:
    return load_pretrained().typical_foot.solid.numpy()


@pytest.fixture(scope="module")
def feet() -> list[SyntheticFoot]:
    return [foot for person in sample_population(4713, 2) for foot in make_feet(person).values()]


@pytest.fixture(scope="module")
def degraded(feet) -> list[tuple[SyntheticFoot, trimesh.Trimesh, ScanTruth]]:
    """Scans with a level floor, with a tilted floor and without a floor."""
    pairs = zip(feet[:3], (1, 6, 11), strict=True)
    scans = [(foot, *degrade_scan(foot, np.random.default_rng(seed))) for foot, seed in pairs]
    floors = [(truth.floor != "none", truth.tilt > 3) for *_, truth in scans]
    assert floors == [(True, False), (True, True), (False, False)]
    return scans


@pytest.fixture(scope="module")
def cleaned(degraded, template) -> list[CleanedScan]:
    return [clean_scan(scan, template) for _, scan, _ in degraded]


def test_a_foot_that_stands_on_its_sole_is_not_turned_by_the_shape_model(feet):
    """A real scan was: its shape, which the model does not reach, seemed to be tilted by seven degrees."""

    def stand(degrees: float, with_sole: bool) -> bool:
        """Whether a foot on a floor that is ``degrees`` off is turned, when its fitted shape says so."""
        tilt, error = (trimesh.transformations.rotation_matrix(np.deg2rad(angle), [0, 0, 1]) for angle in (7, degrees))
        mesh = feet[0].solid.copy().apply_transform(error)
        if not with_sole:
            mesh.update_faces(mesh.face_normals[:, 1] > -0.5)
        floor = [np.array([0.0, 1.0, 0.0, 0.0])]
        ground = GroundPlane(np.eye(4), mesh, floor, Registration("left", np.eye(4), 0.004), [])
        turned, _ = _stand_like_shape(ground, FittedShape("left", mesh, tilt, 0.002))
        return turned is not ground

    assert not stand(0, with_sole=True)
    assert stand(7, with_sole=True) and stand(0, with_sole=False)


def errors(cleaned: CleanedScan, to_scan: np.ndarray, foot: SyntheticFoot) -> tuple[float, float, float]:
    """IoU at 64^3, each solid in its own cube, and the errors of yaw and tilt in degrees."""
    truth = voxelise(foot.solid.vertices, foot.solid.faces, foot_cube(foot.solid.bounds), 64).volume
    return iou(cleaned.grid(64).volume, truth), *yaw_and_tilt(cleaned.to_foot @ to_scan)


def test_the_degraded_scan_is_the_described_one(degraded):
    again, truth = degrade_scan(degraded[0][0], np.random.default_rng(1))
    assert np.array_equal(again.vertices, degraded[0][1].vertices) and truth.unit == degraded[0][2].unit
    for foot, scan, truth in degraded:
        surface = KDTree(trimesh.sample.sample_surface(foot.leg_mesh, 40_000, seed=0)[0])
        points = trimesh.transform_points(scan.vertices, np.linalg.inv(truth.to_scan))
        on_foot = points[(points[:, 1] > 0.03) & (points[:, 1] < 0.12) & (np.abs(points[:, 2]) < 0.05)]
        # Smoothing over millimetres removes most of the noise, but not all.
        assert 0.0007 < np.median(surface.query(on_foot)[0]) < NOISE[1] / 2 and truth.side == foot.side
        scale = np.cbrt(np.linalg.det(truth.to_scan[:3, :3]))
        assert scale * UNITS[truth.unit] == pytest.approx(1)
        outside = np.abs(points[:, 2]) > np.abs(foot.solid.bounds[:, 2]).max() + 0.01
        assert (np.mean(outside & (points[:, 1] < 0.03)) > 0.1) == (truth.floor != "none"), truth
        assert points[:, 1].max() == pytest.approx(truth.leg, abs=0.02) or truth.strays


def test_a_scan_that_is_inside_out_is_recognised_with_and_without_a_floor(degraded):
    for _, scan, _ in degraded:
        reversed_scan = trimesh.Trimesh(scan.vertices, scan.faces[:, ::-1], process=False)
        assert _is_inside_out(reversed_scan) and not _is_inside_out(scan)


def test_degraded_scans_become_feet(degraded, cleaned):
    for (foot, _, truth), one in zip(degraded, cleaned, strict=True):
        overlap, yaw, tilt = errors(one, truth.to_scan, foot)
        assert overlap > 0.7 and abs(yaw) < 5 and tilt < 5, truth
        assert (one.side, one.unit) == (foot.side, truth.unit)
        assert one.mesh.is_watertight and one.mesh.bounds[0, 1] == pytest.approx(0, abs=1e-6)
        assert one.mesh.bounds[1, 1] == pytest.approx(0.12, abs=0.001), "the leg is cut"


def test_the_transform_leads_from_the_scan_to_the_mesh(degraded, cleaned):
    points = trimesh.transform_points(degraded[0][1].vertices, cleaned[0].to_foot)
    on_foot = points[(points[:, 1] > 0.03) & (points[:, 1] < 0.11) & (np.abs(points[:, 2]) < 0.06)]
    distance, _ = KDTree(trimesh.sample.sample_surface(cleaned[0].mesh, 40_000, seed=0)[0]).query(on_foot)
    assert np.median(distance) < 0.003


def test_toes_get_back_what_smoothing_takes():
    """Another blur takes 4 mm from 250, and the fitted shape is 4 mm longer: 4 + 4 / 2 = 6 mm at the tip.

    Half of it 37.5 mm behind the tip, nothing behind the last 30 %; at most 8 + 2 mm, and never less than nothing.
    """
    points = np.array([[0.0, 0.01, 0], [0.1, 0.01, 0], [0.175, 0.01, 0], [0.2125, 0.01, 0], [0.25, 0.01, 0]])
    shorter, noisy, fitted = (points * [length / 0.25, 1, 1] for length in (0.246, 0.22, 0.254))
    moved = _lengthen_toes(points, shorter, fitted) - points
    assert moved == pytest.approx(np.outer([0, 0, 0, 0.003, 0.006], [1, 0, 0]))
    assert _lengthen_toes(points, noisy, fitted)[-1, 0] == pytest.approx(0.26)
    assert np.array_equal(_lengthen_toes(points, points, shorter), points)


def test_the_hidden_edge_of_a_sole_is_bevelled():
    """A block 12 voxels wide, hidden below 7.5 mm above the floor (layer 8), gets narrower by a voxel per layer."""
    inside, hidden = np.zeros((20, 14, 20)), np.zeros((20, 14, 20), bool)
    inside[4:16, 11:, 4:16], hidden[:, :11] = 1.0, True
    solid = _extend_to_floor(inside, hidden) > 0.5
    widths = [int(solid[:, layer, 10].sum()) for layer in (13, 11, 10, 9, 8, 0)]
    assert widths == [12, 12, 12, 10, 8, 8]
    assert np.array_equal(solid, solid[::-1]) and np.array_equal(solid, solid[:, :, ::-1])


def between(mesh: trimesh.Trimesh, lower: float, upper: float) -> trimesh.Trimesh:
    """The part of a surface between two heights, open there."""
    surface = np.asarray(mesh.vertices), np.asarray(mesh.faces)
    for normal, height in (([0, 1, 0], lower), ([0, -1, 0], upper)):
        surface = trimesh.intersections.slice_faces_plane(*surface[:2], normal, [0, height, 0])
    return trimesh.Trimesh(*surface[:2])


def test_a_scan_in_inches_that_ends_below_the_ankle_is_not_continued(feet, template):
    foot = feet[0]
    scan = between(foot.leg_mesh, -1, 0.1).apply_scale(1 / 0.0254)
    cleaned = clean_scan(scan, template)
    assert (cleaned.unit, cleaned.scale) == ("inch", "file") and "inch" in cleaned.notes[0]
    assert 0.085 < cleaned.mesh.bounds[1, 1] < 0.102 and any("the scan ends at" in note for note in cleaned.notes)
    measures = measure_foot(cleaned.mesh, cleaned.side)[0]
    assert measures.length == pytest.approx(1000 * foot.length, abs=4)
    assert measures.instep_height == pytest.approx(true_measures(foot)["instep_height"], abs=6)


def test_an_unloaded_foot_in_two_pieces_is_scaled_to_the_given_length(template):
    """Arched, toes up, sole scanned, a gap between foot and leg, inside out, and a size that is a foot's in no unit."""
    (person,) = sample_population(4713, 1)
    shape = replace(person.left, compression=0.0002, arch=0.014, toe_flexion=(-18.0,) * 5)
    foot = make_feet(replace(person, left=shape))["left"]
    pieces = [between(foot.leg_mesh, *heights) for heights in ((-1, 0.085), (0.095, 0.3))]
    scan = trimesh.util.concatenate(pieces).apply_scale(3.7)
    scan.invert()
    cleaned = clean_scan(scan, template, foot_length=foot.length)
    assert "its triangles faced inwards and were reversed" in cleaned.notes
    assert cleaned.scale == "foot length" and cleaned.side == "left"
    assert measure_foot(cleaned.mesh, "left")[0].length == pytest.approx(1000 * foot.length, abs=0.5)
    assert errors(cleaned, np.diag([3.7, 3.7, 3.7, 1]), foot)[0] > 0.85, "neither heel nor ball is cut off"


def test_a_unit_in_doubt_is_asked_for(feet, template):
    """11.8 inches are a large foot, and 11.8 cm are a small one."""
    scan = between(feet[0].leg_mesh, -1, 0.3).apply_scale(11.8 / feet[0].length)
    cleaned = clean_scan(scan, template)
    assert (cleaned.unit, cleaned.scale) == (UNKNOWN_UNIT, "unknown")
    assert "mm long in cm or" in cleaned.notes[0] and "pass --unit or --foot-length" in cleaned.notes[0]
    with pytest.raises(ValueError, match="stands like a foot on a floor in mm"):
        clean_scan(scan, template, unit="mm")
    with pytest.raises(ValueError, match="pass one of the two"):
        clean_scan(scan, template, unit="mm", foot_length=0.25)


def voxel_shell(foot: SyntheticFoot, size: int = 150, edge: float = 0.42) -> tuple[VoxelGrid, np.ndarray]:
    """Leg and floor as a voxeliser writes them, hollow, in a cube with edge 1, and the matrix from metres to there."""
    cube = Cube((-edge / 2, -0.02, -edge / 2), edge)
    solid = voxelise(foot.leg_mesh.vertices, foot.leg_mesh.faces, cube, size).volume
    solid[:, round(0.3 / edge * size) :] = False
    solid[2:-2, : round(0.02 / edge * size), 10:-10] = True
    inner = np.all([np.roll(solid, shift, axis) for axis in range(3) for shift in (-1, 1)], axis=0)
    to_grid = np.diag([1 / edge] * 3 + [1.0])
    to_grid[:3, 3] = -np.array(cube.lower) / edge
    return VoxelGrid(solid & ~inner, Cube((0.0, 0.0, 0.0), 1.0)), to_grid


def test_a_voxel_shell_of_unknown_unit(feet, template, tmp_path):
    foot = feet[1]
    grid, to_grid = voxel_shell(foot)
    write_binvox(tmp_path / "shell.binvox", grid)
    cleaned = clean_scan(read_scan(tmp_path / "shell.binvox"), template)
    assert (cleaned.side, cleaned.unit) == (foot.side, UNKNOWN_UNIT)
    assert cleaned.notes[0] == "the unit is unknown, so the size is unknown: pass --unit or --foot-length"
    _, yaw, tilt = errors(cleaned, to_grid, foot)
    assert abs(yaw) < 3 and tilt < 2
    cleaned.mesh.apply_scale(np.ptp(foot.solid.vertices[:, 0]) / np.ptp(cleaned.mesh.vertices[:, 0]))
    assert errors(cleaned, to_grid, foot)[0] > 0.75, "its shape is right"


def test_the_command_writes_a_capture_folder(degraded, tmp_path, capsys):
    foot, scan, truth = degraded[1]
    scan.export(tmp_path / "scan.ply")
    folder = tmp_path / "person"
    assert main(["clean", str(tmp_path / "scan.ply"), "--out", str(folder)]) == 0
    output = capsys.readouterr().out
    assert f"unit {truth.unit}, inferred from the size" in output and f"{foot.side} foot" in output
    assert (folder / "cleaned.png").stat().st_size > 20_000
    assert json.loads((folder / "subject.json").read_text())["side"] == foot.side
    for name, size in (("model.binvox", 32), ("model-64.binvox", 64), ("model-128.binvox", 128)):
        assert read_binvox(folder / name).size == size
    assert main(["measure", str(folder / "model.obj"), "--side", foot.side]) == 0
    length = float(capsys.readouterr().out.split("length ")[1].split()[0])
    assert length == pytest.approx(1000 * foot.length, abs=8)


def test_errors_of_the_command_are_one_line(tmp_path, command_error):
    chair, out = tmp_path / "chair.obj", tmp_path / "out"
    make_object(CHAIR, 21, 0).export(chair)
    assert "no such file; expected a scan" in command_error("clean", tmp_path / "none.ply", "--out", out)
    assert "stands like a foot" in command_error("clean", chair, "--out", out)
    assert "already exists" in command_error("clean", chair, "--out", tmp_path) and not out.exists()


@pytest.mark.parametrize("side", SIDES)
def test_a_drawn_foot_is_found_though_its_sole_and_its_leg_are_hidden(side):
    model, mirror = ShapeModel(), [1, 1, 1 if side == "left" else -1]
    weights = np.random.default_rng(0).normal(scale=0.7, size=len(model.modes))
    vertices = 0.25 * (model.mean + np.tensordot(weights, model.modes, 1)) * mirror
    foot = trimesh.Trimesh(vertices, model.faces if side == "left" else model.faces[:, ::-1], process=False)
    pose = pose_matrix(4.0, np.array([0.003, 0.0, -0.004]))
    foot.apply_transform(pose)

    def is_visible(points: np.ndarray) -> np.ndarray:
        return (points[:, 1] > 0.01) & (points[:, 1] < 0.12)

    points, faces = trimesh.sample.sample_surface(foot, 3000, seed=0)
    seen = is_visible(points)
    start = np.diag([0.26, 0.26, 0.26, 1.0])
    found = model.fit(points[seen], foot.face_normals[faces[seen]], is_visible, start)
    low = foot.vertices[:, 1] < 0.12
    assert found.side == side
    assert np.linalg.norm(found.surface.vertices - foot.vertices, axis=1)[low].mean() < 0.002
    axis = found.to_scan[:3, 0] / np.linalg.norm(found.to_scan[:3, 0])
    assert np.rad2deg(np.arccos(axis @ pose[:3, 0])) < 1.0


def test_principal_modes_of_two_shapes():
    """Their difference is the only mode; its standard deviation is the difference over the square root of two."""
    shapes = np.zeros((2, 4, 3))
    shapes[0, 1, 2], shapes[1, 1, 2] = 1.0, 3.0
    tensors = principal_modes(shapes)
    assert tensors["mean"][1].tolist() == [0, 0, 2] and np.abs(tensors["mean"]).sum() == 2
    assert abs(tensors["modes"][0, 1, 2]) == pytest.approx(np.sqrt(2), abs=1e-3)
