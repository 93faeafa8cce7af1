"""Scans made worse as phones make them, and made clean feet again."""

from __future__ import annotations

import json

import numpy as np
import pytest
import trimesh

from p2vlib.__main__ import main
from p2vlib.capture.feet import Foot, make_feet
from p2vlib.capture.people import population
from p2vlib.conventions import foot_cube
from p2vlib.grids import VoxelGrid, iou, read_binvox, voxelise, write_binvox
from p2vlib.phone import clean as cleaning
from p2vlib.shipped import load, path


@pytest.fixture(scope="module")
def typical() -> np.ndarray:
    return load(path()).typical.solid.numpy()


@pytest.fixture(scope="module")
def feet() -> list[Foot]:
    return [foot for person in population(4713, 2) for foot in make_feet(person).values()]


def worse(
    foot: Foot, rng: np.random.Generator, *, leg: float, sole: bool, holes: float, noise: float, slab: bool
) -> trimesh.Trimesh:
    """The foot as LiDAR gives it, still in its own frame: a leg up to ``leg`` metres, ``noise`` metres of bumps."""
    mesh = trimesh.Trimesh(foot.photographed.vertices.copy(), foot.photographed.faces.copy(), process=False)
    centres = mesh.triangles_center
    kept = (centres[:, 1] < leg) & (sole | (centres[:, 1] > 0.004))
    if holes:
        away = np.linalg.norm(centres[:, None] - centres[rng.choice(len(centres), 10)], axis=2).min(1)
        kept &= away > np.quantile(away, holes)
    mesh.update_faces(kept)
    mesh.remove_unreferenced_vertices()
    bumps = rng.normal(size=mesh.vertices.shape)
    links = trimesh.graph.edges_to_coo(np.vstack([mesh.edges_unique, mesh.edges_unique[:, ::-1]]))
    count = np.asarray(links.sum(1)).ravel()[:, None] + 1
    for _ in range(2):  # bumps as wide as a few triangles
        bumps = (bumps + links @ bumps) / count
    mesh.vertices += 0.6 * noise * bumps / bumps.std()
    if slab:
        floor = trimesh.creation.box([0.5, 0.008, 0.4]).subdivide_to_size(0.02)
        mesh = trimesh.util.concatenate([mesh, floor.apply_translation([0.02, -0.004, 0])])
    return mesh


def elsewhere(rng: np.random.Generator, unit: str, tilt: float = 10) -> np.ndarray:
    """A scan's own frame: any direction, tilted, anywhere, in another unit."""
    angles = np.deg2rad([rng.uniform(-tilt, tilt), rng.uniform(0, 360), rng.uniform(-tilt, tilt)])
    moved = trimesh.transformations.euler_matrix(*angles)
    moved[:3, 3] = rng.uniform(-0.5, 0.5, 3)
    moved[:3] /= cleaning.UNITS[unit]
    return moved


def off(cleaned: cleaning.Cleaned, moved: np.ndarray, foot: Foot) -> tuple[float, float]:
    """IoU with the true foot at 64^3, and degrees of yaw."""
    whole = cleaned.to_foot @ moved
    cube = foot_cube(foot.solid.bounds)
    truth = voxelise(foot.solid.vertices, foot.solid.faces, cube, 64).volume
    return iou(cleaned.grid(64).volume, truth), float(np.rad2deg(np.arctan2(whole[0, 2], whole[0, 0])))


@pytest.mark.parametrize("unit", ["m", "cm", "mm"])
def test_a_foot_on_a_slab_of_floor(feet, typical, unit):
    rng = np.random.default_rng(len(unit))
    foot = feet[len(unit)]
    moved = elsewhere(rng, unit)
    scan = worse(foot, rng, leg=0.3, sole=True, holes=0.0, noise=0.002, slab=True).apply_transform(moved)
    cleaned = cleaning.clean(scan, typical)
    same, yaw = off(cleaned, moved, foot)
    assert same > 0.75 and abs(yaw) < 4 and cleaned.side == foot.side and cleaned.unit == unit
    assert cleaned.mesh.is_watertight and cleaned.mesh.bounds[0, 1] == pytest.approx(0, abs=1e-6)
    assert cleaned.mesh.bounds[1, 1] <= 0.122, "the leg is cut"


def test_no_floor_no_sole_holes_and_a_leg_up_to_the_knee(feet, typical):
    found = []
    for number, foot in enumerate(feet):
        rng = np.random.default_rng(number)
        moved = elsewhere(rng, "m")
        scan = worse(foot, rng, leg=0.4, sole=False, holes=0.1, noise=0.004, slab=False).apply_transform(moved)
        cleaned = cleaning.clean(scan, typical)
        found.append((*off(cleaned, moved, foot), cleaned.side == foot.side))
    same, yaw, side = np.array(found).T
    assert np.median(same) > 0.7 and np.median(np.abs(yaw)) < 3 and side.all(), found


def test_a_unit_that_is_told_is_believed(feet, typical):
    scan = worse(feet[0], np.random.default_rng(0), leg=0.2, sole=True, holes=0, noise=0, slab=False)
    with pytest.raises(ValueError, match="stands like a foot"):
        cleaning.clean(scan, typical, unit="mm")
    assert cleaning.clean(scan, typical, unit="m").unit == "m"


def test_the_command_files_a_scan(feet, typical, tmp_path, capsys):
    rng = np.random.default_rng(3)
    scan = worse(feet[1], rng, leg=0.3, sole=True, holes=0, noise=0.002, slab=True)
    scan.apply_transform(elsewhere(rng, "mm")).export(tmp_path / "scan.ply")
    assert main(["clean", str(tmp_path / "scan.ply"), "--out", str(tmp_path / "person")]) == 0
    told = capsys.readouterr().out
    assert "unit mm, guessed from its size" in told and "right foot" in told
    folder = tmp_path / "person"
    assert (folder / "cleaned.png").stat().st_size > 20_000
    assert json.loads((folder / "subject.json").read_text())["side"] == "right"
    for name, size in (("model.binvox", 32), ("model-64.binvox", 64), ("model-128.binvox", 128)):
        assert read_binvox(folder / name).size == size
    assert main(["measure", str(folder / "model.obj"), "--side", "right"]) == 0
    length = float(capsys.readouterr().out.split("length ")[1].split()[0])
    assert length == pytest.approx(1000 * feet[1].length, abs=8)


def test_a_shell_of_voxels_is_filled(feet, typical, tmp_path):
    foot = feet[0]
    cube = foot_cube(foot.solid.bounds)
    solid = voxelise(foot.solid.vertices, foot.solid.faces, cube, 64).volume
    inner = np.zeros_like(solid)
    inner[1:-1, 1:-1, 1:-1] = np.all(
        [np.roll(solid, shift, axis)[1:-1, 1:-1, 1:-1] for axis in range(3) for shift in (-1, 1)], axis=0
    )
    write_binvox(tmp_path / "shell.binvox", VoxelGrid(solid & ~inner, cube))
    cleaned = cleaning.clean(cleaning.read_scan(tmp_path / "shell.binvox"), typical)
    assert off(cleaned, np.eye(4), foot)[0] > 0.7 and cleaned.side == foot.side


def test_what_is_no_scan_is_one_clear_sentence(tmp_path, capsys):
    (tmp_path / "text.obj").write_text("nothing here")
    (tmp_path / "a.usdz").write_text("")
    trimesh.creation.icosphere(radius=0.15).export(tmp_path / "ball.ply")
    (tmp_path / "there").mkdir()
    for file, out, sentence in (
        ("none.ply", "out", "no such file; expected a scan"),
        ("a.usdz", "out", "cannot read .usdz"),
        ("text.obj", "out", "text.obj: holds no triangles"),
        ("ball.ply", "out", "stands like a foot"),
        ("ball.ply", "there", "is there already"),
    ):
        assert main(["clean", str(tmp_path / file), "--out", str(tmp_path / out)]) == 1
        told = capsys.readouterr().err
        assert sentence in told and told.startswith("p2vlib: ") and told.count("\n") == 1, told
        assert not (tmp_path / "out").exists()
