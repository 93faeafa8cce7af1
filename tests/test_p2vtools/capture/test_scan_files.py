"""Scans of every kind, read; what is no scan, refused."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from p2vlib.geometry.frames import Cube
from p2vlib.geometry.grids import VoxelGrid, write_binvox
from p2vtools.capture.scan_files import MOST_FACES, decimate, fill_shell, read_scan


def test_a_mesh_is_the_same_whatever_it_is_kept_in(tmp_path):
    box = trimesh.creation.box([0.1, 0.2, 0.3])
    for ending in ("obj", "glb", "ply", "stl", "off"):
        box.export(tmp_path / f"box.{ending}")
        mesh = read_scan(tmp_path / f"box.{ending}")
        assert mesh.is_watertight and mesh.volume == pytest.approx(0.006, rel=1e-5), ending


def test_a_scan_of_many_triangles_gets_larger_ones():
    ball, most = trimesh.creation.icosphere(subdivisions=6, radius=0.2), 20_000
    assert len(ball.faces) > 4 * most and most < MOST_FACES
    thin = decimate(ball, most)
    assert 0.4 * most < len(thin.faces) <= most
    assert thin.volume == pytest.approx(ball.volume, rel=0.01) and thin.area == pytest.approx(ball.area, rel=0.02)


def test_repeated_corners_become_one():
    ball = trimesh.creation.icosphere(subdivisions=2)
    loose = trimesh.Trimesh(ball.triangles.reshape(-1, 3), np.arange(ball.faces.size).reshape(-1, 3), process=False)
    assert not loose.is_watertight and decimate(loose).is_watertight


def test_a_shell_is_filled_also_where_it_is_open_at_both_ends():
    around = np.linalg.norm(np.stack(np.meshgrid(*[np.arange(20) - 9.5] * 2, indexing="ij")), axis=0)
    ring = (around < 8) & (around > 6)
    tube = np.repeat(ring[:, None], 20, axis=1)
    assert (fill_shell(tube) == (around < 8)[:, None]).all()


def test_what_is_no_scan_is_one_sentence(tmp_path):
    trimesh.creation.icosphere().export(tmp_path / "whole.glb")
    content = (tmp_path / "whole.glb").read_bytes()
    (tmp_path / "half.glb").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.glb").write_bytes(b"")
    (tmp_path / "text.obj").write_text("nothing here")
    (tmp_path / "a.fbx").write_text("")
    trimesh.PointCloud(np.random.default_rng(0).normal(size=(50, 3))).export(tmp_path / "points.ply")
    write_binvox(tmp_path / "empty.binvox", VoxelGrid(np.zeros((8, 8, 8), bool), Cube((0.0, 0.0, 0.0), 1.0)))
    trimesh.Trimesh([[0, 0, np.nan], [1, 0, 0], [0, 1, 0]], [[0, 1, 2]], process=False).export(tmp_path / "nan.ply")
    for name, sentence in (
        ("none.ply", "no such file; expected a scan as .obj, .glb"),
        ("a.fbx", "cannot read .fbx"),
        ("empty.glb", "an empty file"),
        ("half.glb", "damaged or cut off"),
        ("text.obj", "holds no triangles"),
        ("points.ply", "holds no triangles; a point cloud has to be meshed"),
        ("empty.binvox", "no voxel of it is occupied"),
        ("nan.ply", "corners that are no numbers"),
    ):
        with pytest.raises(ValueError, match=sentence) as told:
            read_scan(tmp_path / name)
        assert "\n" not in str(told.value) and name in str(told.value), told.value
