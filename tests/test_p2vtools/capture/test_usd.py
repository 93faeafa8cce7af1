"""Packages of USD as apps write them, read without its library."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from p2vtools.capture.scan_files import read_scan
from p2vtools.capture.usd import read_usdz

STAGE = """#usda 1.0
(
    defaultPrim = "Root"  # a remark with a brace {
    metersPerUnit = 0.01
    upAxis = "Z"
    customLayerData = { string maker = "an } app" }
)
def Xform "Root" (
    kind = "component"
    customData = { int number = 3 }
)
{
    matrix4d xformOp:transform = ( (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 100, 1) )
    uniform token[] xformOpOrder = ["xformOp:transform"]
    def Mesh "box" {
        int[] faceVertexCounts = [4, 4, 4, 4, 4, 4]
        int[] faceVertexIndices = [0, 2, 3, 1, 4, 5, 7, 6, 0, 1, 5, 4, 2, 6, 7, 3, 0, 4, 6, 2, 1, 3, 7, 5]
        normal3f[] normals = [(0, 0, 1)] ( interpolation = "uniform" )
        point3f[] points = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1), (1, 1, 1)]
        uniform token orientation = "rightHanded"
        double3 xformOp:translate = (10, 0, 0)
        float xformOp:rotateZ = 90
        float3 xformOp:scale = (2, 3, 4)
        uniform token[] xformOpOrder = ["xformOp:translate", "xformOp:rotateZ", "xformOp:scale"]
    }
}
"""


def packed(path: Path, content: str | bytes, how: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", how) as package:
        package.writestr("stage.usda", content)
    return path


def test_a_mesh_stands_where_its_transforms_put_it(tmp_path):
    mesh = read_scan(packed(tmp_path / "box.usdz", STAGE))
    # Scaled to 2 x 3 x 4, turned to 3 x 2 x 4 left of the y axis, moved, lifted; then z up becomes y up, cm metres.
    np.testing.assert_allclose(mesh.bounds, np.array([[7, 100, -2], [10, 104, 0]]) / 100, atol=1e-9)
    assert mesh.is_watertight and mesh.volume == pytest.approx(24e-6)


def test_polygons_of_any_size_and_hand(tmp_path):
    pentagon = """#usda 1.0
    def Mesh "five" {
        uniform token orientation = "leftHanded"
        int[] faceVertexCounts = [5, 3]
        int[] faceVertexIndices = [0, 1, 2, 3, 4, 0, 1, 2]
        point3f[] points = [(0, 0, 0), (1, 0, 0), (2, 1, 0), (1, 2, 0), (0, 1, 0)]
    }"""
    mesh = read_usdz(packed(tmp_path / "a.usdz", pentagon), 2**20)
    assert mesh.faces.tolist() == [[2, 1, 0], [3, 2, 0], [4, 3, 0], [2, 1, 0]]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"PXR-USDC" + bytes(80), "its stage is binary"),
        ("not a stage", "no USD stage"),
        (STAGE[: STAGE.index("point3f")], "do not close"),
        (STAGE.replace("[4, 4, 4, 4, 4, 4]", "[4, 4]"), "8 corners, and 24 are listed"),
        (STAGE.replace("0, 2, 3, 1", "0, 2, 3, 9", 1), "up to 9 of 8"),
        (STAGE.replace("rotateZ", "rotateZYX"), "rotateZYX is not known"),
        ("#usda 1.0\ndef Xform \"empty\" {\n}\n", "no mesh of its own"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_sentence_that_says_what_to_do(tmp_path, content, sentence):
    with pytest.raises(ValueError, match=sentence) as told:
        read_scan(packed(tmp_path / "a.usdz", content))
    assert "a.usdz" in str(told.value) and "export" in str(told.value) and "\n" not in str(told.value)


def test_a_bomb_is_not_unpacked(tmp_path):
    bomb = packed(tmp_path / "bomb.usdz", bytes(64 * 2**20), zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="unpacks to 64 MiB from 0.06; at most"):
        read_scan(bomb)
    with pytest.raises(ValueError, match="unpacks to"):
        read_usdz(packed(tmp_path / "large.usdz", bytes(2**21)), 2**20)


def test_a_package_that_is_cut_off(tmp_path):
    whole = packed(tmp_path / "whole.usdz", STAGE).read_bytes()
    (tmp_path / "half.usdz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a whole .usdz package"):
        read_scan(tmp_path / "half.usdz")
