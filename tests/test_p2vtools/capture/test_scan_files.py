"""Reading scans: formats, USD stages, voxel shells, decimation and errors."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import trimesh
from pxr import Gf, Usd, UsdGeom, UsdUtils

from p2vlib.geometry.frames import Cube
from p2vlib.geometry.grids import VoxelGrid
from p2vtools.archives.binvox import write_binvox
from p2vtools.capture import usd_meshes
from p2vtools.capture.scan_files import MAX_FACES, decimate, fill_shell, read_scan


@pytest.mark.parametrize("suffix", ["obj", "glb", "ply", "stl", "off"])
def test_a_box_is_the_same_in_every_format(tmp_path, suffix):
    trimesh.creation.box([0.1, 0.2, 0.3]).export(tmp_path / f"box.{suffix}")
    mesh = read_scan(tmp_path / f"box.{suffix}")
    assert mesh.is_watertight and mesh.volume == pytest.approx(0.006, rel=1e-5)


def test_decimation_keeps_volume_and_area():
    ball, max_faces = trimesh.creation.icosphere(subdivisions=6, radius=0.2), 20_000
    assert len(ball.faces) > 4 * max_faces and max_faces < MAX_FACES
    coarse = decimate(ball, max_faces)
    assert 0.4 * max_faces < len(coarse.faces) <= max_faces
    assert coarse.volume == pytest.approx(ball.volume, rel=0.01) and coarse.area == pytest.approx(ball.area, rel=0.02)
    with_stray_vertex = trimesh.Trimesh([*ball.vertices, [1e9] * 3], ball.faces, process=False)
    assert (decimate(with_stray_vertex, max_faces).vertices == coarse.vertices).all()


def test_duplicate_vertices_are_merged():
    ball = trimesh.creation.icosphere(subdivisions=2)
    loose = trimesh.Trimesh(ball.triangles.reshape(-1, 3), np.arange(ball.faces.size).reshape(-1, 3), process=False)
    assert not loose.is_watertight and decimate(loose).is_watertight


def test_a_shell_that_is_open_at_both_ends_is_filled():
    radius = np.linalg.norm(np.stack(np.meshgrid(*[np.arange(20) - 9.5] * 2, indexing="ij")), axis=0)
    tube = np.repeat(((radius < 8) & (radius > 6))[:, None], 20, axis=1)
    assert (fill_shell(tube) == (radius < 8)[:, None]).all()


def test_errors_name_the_file_and_the_reason(tmp_path):
    trimesh.creation.icosphere().export(tmp_path / "whole.glb")
    content = (tmp_path / "whole.glb").read_bytes()
    (tmp_path / "half.glb").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.obj").write_text("nothing here")
    (tmp_path / "a.fbx").write_text("")
    trimesh.PointCloud(np.random.default_rng(0).normal(size=(50, 3))).export(tmp_path / "points.ply")
    write_binvox(tmp_path / "empty.binvox", VoxelGrid(np.zeros((8, 8, 8), bool), Cube((0.0, 0.0, 0.0), 1.0)))
    trimesh.Trimesh([[0, 0, np.nan], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]], process=False).export(tmp_path / "nan.ply")
    check_error(tmp_path / "none.ply", "no such file; expected a scan as .obj, .glb")
    check_error(tmp_path / "a.fbx", "unsupported format .fbx")
    check_error(tmp_path / "half.glb", "damaged or cut off")
    check_error(tmp_path / "text.obj", "no triangles")
    check_error(tmp_path / "points.ply", "no triangles; mesh the point cloud")
    check_error(tmp_path / "empty.binvox", "no voxel is occupied")
    check_error(tmp_path / "nan.ply", "vertices that are not three finite numbers")


def check_error(path: Path, reason: str) -> None:
    """The error is one line with the path and the reason."""
    with pytest.raises(ValueError, match=reason) as caught:
        read_scan(path)
    assert "\n" not in str(caught.value) and path.name in str(caught.value), caught.value


BOX = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1)]
QUADS = [0, 2, 3, 1, 4, 5, 7, 6, 0, 1, 5, 4, 2, 6, 7, 3, 0, 4, 6, 2, 1, 3, 7, 5]


def new_stage(path: Path, unit: float = 1.0, up: str = "Y") -> Usd.Stage:
    stage = Usd.Stage.CreateNew(str(path))
    UsdGeom.SetStageMetersPerUnit(stage, unit)
    UsdGeom.SetStageUpAxis(stage, up)
    return stage


def add_mesh(stage: Usd.Stage, path: str, points: list, counts: list[int], indices: list[int]) -> UsdGeom.Mesh:
    mesh = UsdGeom.Mesh.Define(stage, path)
    mesh.CreatePointsAttr(points)
    mesh.CreateFaceVertexCountsAttr(counts)
    mesh.CreateFaceVertexIndicesAttr(indices)
    return mesh


@pytest.mark.parametrize("suffix", ["usda", "usdc", "usd", "usdz"])
def test_usd_transforms_unit_and_up_axis(tmp_path, suffix):
    """In centimetres, z up: scaled to 2 x 3 x 4, turned to 3 x 2 x 4 on the left of the y axis, moved, and lifted."""
    path = tmp_path / f"box.{suffix}"
    stage = new_stage(tmp_path / "stage.usdc" if suffix == "usdz" else path, unit=0.01, up="Z")
    UsdGeom.Xform.Define(stage, "/Root").AddTransformOp().Set(Gf.Matrix4d().SetTranslate((0, 0, 100)))
    box = add_mesh(stage, "/Root/Box", BOX, [4] * 6, QUADS)
    box.AddTranslateOp().Set((10, 0, 0))
    box.AddRotateZOp().Set(90)
    box.AddScaleOp().Set((2, 3, 4))
    stage.Save()
    if suffix == "usdz":
        assert UsdUtils.CreateNewUsdzPackage(str(tmp_path / "stage.usdc"), str(path))
    mesh = read_scan(path)
    np.testing.assert_allclose(mesh.bounds, np.array([[7, 100, -2], [10, 104, 0]]) / 100, atol=1e-6)
    assert mesh.is_watertight and mesh.volume == pytest.approx(24e-6)


def test_several_usd_meshes_are_joined_and_face_outwards(tmp_path):
    """A reflected box, and one with left-handed faces listed in reverse, are both closed surfaces of volume +1."""
    stage = new_stage(tmp_path / "boxes.usdc")
    add_mesh(stage, "/Reflected", BOX, [4] * 6, QUADS).AddScaleOp().Set((-1, 1, 1))
    left_handed = add_mesh(stage, "/LeftHanded", BOX, [4] * 6, QUADS[::-1])
    left_handed.CreateOrientationAttr(UsdGeom.Tokens.leftHanded)
    left_handed.AddTranslateOp().Set((5, 0, 0))
    stage.Save()
    mesh = read_scan(tmp_path / "boxes.usdc")
    assert mesh.bounds.tolist() == [[-1, 0, 0], [6, 1, 1]] and mesh.is_watertight and mesh.volume == pytest.approx(2)


def test_usd_polygons_are_split_into_fans(tmp_path):
    """The stage has no unit, so the numbers are kept."""
    stage = new_stage(tmp_path / "a.usda")
    stage.ClearMetadata("metersPerUnit")
    pentagon = [(0, 0, 0), (1, 0, 0), (2, 1, 0), (1, 2, 0), (0, 1, 0)]
    add_mesh(stage, "/Pentagon", pentagon, [5, 3], [0, 1, 2, 3, 4, 0, 1, 2])
    stage.Save()
    vertices, faces = usd_meshes.read_usd(tmp_path / "a.usda")
    assert vertices.tolist() == [list(point) for point in pentagon]
    assert faces.tolist() == [[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 1, 2]]


@pytest.mark.parametrize(
    ("counts", "indices", "reason"),
    [
        ([3, 3], [0, 1, 2], "/Mesh: faceVertexCounts add up to 6, not to 3 indices"),
        ([3], [0, 1, 9], "/Mesh: faceVertexIndices up to 9, but 8 points"),
        ([2, 4], [0, 1, 2, 3, 4, 5], "/Mesh: a face has 2 vertices"),
        ([], [], "no triangles"),
    ],
)
def test_inconsistent_usd_meshes_are_errors(tmp_path, counts, indices, reason):
    stage = new_stage(tmp_path / "a.usdc")
    add_mesh(stage, "/Mesh", BOX, counts, indices)
    stage.Save()
    check_error(tmp_path / "a.usdc", reason)


def test_damaged_and_hostile_usd_files_are_errors(tmp_path):
    stage = new_stage(tmp_path / "whole.usdc")
    stage.Save()
    content = (tmp_path / "whole.usdc").read_bytes()
    UsdUtils.CreateNewUsdzPackage(str(tmp_path / "whole.usdc"), str(tmp_path / "whole.usdz"))
    package = (tmp_path / "whole.usdz").read_bytes()
    with zipfile.ZipFile(tmp_path / "bomb.usdz", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("stage.usda", b"#usda 1.0\n" + bytes(64 * 2**20))
    for name, damaged in (
        ("noise.usdc", content[:80] + np.random.default_rng(0).bytes(len(content) - 80)),
        ("half.usdz", package[: len(package) // 2]),
        ("long_word.usda", b"#usda 1.0\n" + b"x" * 300_000),
        ("nested.usda", b"#usda 1.0\n" + b'def Xform "a" {\n' * 20_000 + b"}" * 20_000),
    ):
        (tmp_path / name).write_bytes(damaged)
        check_error(tmp_path / name, "cannot be opened as a USD stage")
    check_error(tmp_path / "bomb.usdz", "cannot be opened as a USD stage: .* compressed package")
    check_error(tmp_path / "whole.usdc", "no mesh")
