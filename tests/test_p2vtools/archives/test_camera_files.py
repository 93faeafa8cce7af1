"""Round trips of the files of cameras; invalid files."""

from __future__ import annotations

import numpy as np
import pytest

from p2vlib.geometry.cameras import look_at
from p2vtools.archives.camera_files import read_cameras, read_metadata, write_cameras, write_metadata


def test_metadata_round_trip(tmp_path):
    rows = [(0.0, 60.0, 0.0, 0.5, 40.0), (90.25, 45.5, -1.5, 0.625, 40.0)]
    write_metadata(tmp_path / "m.txt", rows)
    assert read_metadata(tmp_path / "m.txt", 2) == rows


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("0 60 0 .5 40\n", "1 rows for 2 photos"),
        ("0 60 0 .5 40\n0 60 zero .5 40\n", "to float: 'zero'.*; expected azimuth"),
        ("0 60 0 .5 40\n0 60 0 nan 40\n", "line 2"),
        ("0 60 0 .5 40\n0 60 0 .5\n", "line 2"),
    ],
)
def test_invalid_metadata_are_refused_with_their_path(tmp_path, content, message):
    path = tmp_path / "rendering_metadata.txt"
    path.write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_metadata(path, 2)
    assert str(path) in str(caught.value)


def test_cameras_round_trip(tmp_path):
    camera = look_at((33, 41, 12, 0.6, 50), np.array([0.1, 0.05, -0.2]), 160, 120)
    write_cameras(tmp_path / "cameras.json", [camera])
    (again,) = read_cameras(tmp_path / "cameras.json")
    assert np.array_equal(again.extrinsics, camera.extrinsics) and (again.width, again.height) == (160, 120)


@pytest.mark.parametrize("content", ["", "[]", '{"frames": [{}]}'])
def test_an_invalid_camera_file_is_refused_with_its_path(tmp_path, content):
    path = tmp_path / "cameras.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="expected frames with intrinsics") as caught:
        read_cameras(path)
    assert str(path) in str(caught.value)
