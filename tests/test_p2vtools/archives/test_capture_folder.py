"""Capture folders: what is written is read back, and a damaged file is named."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from p2vlib.geometry.cameras import look_at
from p2vlib.geometry.frames import FOOT_SYNSET, foot_cube
from p2vlib.geometry.grids import VoxelGrid
from p2vtools.archives.binvox import write_binvox
from p2vtools.archives.camera_files import write_metadata
from p2vtools.archives.capture_folder import read_capture, write_capture

CUBE = foot_cube(np.array([[-0.12, 0, -0.05], [0.12, 0.12, 0.05]]))
ROWS = [(90.25 * view, 40.5, -1.5, 0.625, 50.0) for view in range(3)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A capture folder without ``cameras.json``."""
    folder = tmp_path / "p1-0000-left"
    (folder / "rendering").mkdir(parents=True)
    for view in range(3):
        Image.new("RGB", (40, 30), (60 * view, 0, 0)).save(folder / "rendering" / f"{view:02d}.png")
    (folder / "rendering" / "renderings.txt").write_text("00.png\n01.png\n02.png\n")
    write_metadata(folder / "rendering" / "rendering_metadata.txt", ROWS)
    volume = np.zeros((32, 32, 32), bool)
    volume[5:27, :10, 12:20] = True
    write_binvox(folder / "model.binvox", VoxelGrid(volume, CUBE))
    subject = {"subject": "p1-0000", "metadata": "metric", "taxonomy": FOOT_SYNSET, "look": "phone", "split": "train"}
    (folder / "subject.json").write_text(json.dumps({**subject, "side": "left", "cube": asdict(CUBE)}))
    return folder


def test_a_folder_is_read_and_written_and_read_again(folder, tmp_path):
    capture = read_capture(folder)
    assert [photo.size for photo in capture.photos] == [(40, 30)] * 3 and capture.truth.volume.sum() == 22 * 10 * 8
    photos = {f"Photo {view}.png": content for view, content in enumerate(capture.files)}
    write_capture(tmp_path / "copy", photos, ROWS, capture.cameras, capture.subject, capture.truth)
    again = read_capture(tmp_path / "copy")
    assert again.files == capture.files and again.subject == capture.subject
    assert np.array_equal(again.truth.volume, capture.truth.volume) and again.truth.cube == capture.truth.cube
    for row, one, other in zip(ROWS, capture.cameras, again.cameras, strict=True):
        assert np.array_equal(one.extrinsics, look_at(row, CUBE.centre, 40, 30).extrinsics)
        assert np.array_equal(one.extrinsics, other.extrinsics) and np.array_equal(one.intrinsics, other.intrinsics)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("rendering/02.png", b"\x89PNG\r\n\x1a\nnot one", "not a readable image"),
        ("rendering/renderings.txt", None, "no such file"),
        ("rendering/rendering_metadata.txt", b"0 40 0 .6 50\n", "1 rows for 3"),
        ("rendering/rendering_metadata.txt", b"0 60 zero .5 40\n" * 3, "'zero'.*; expected azimuth"),
        ("rendering/rendering_metadata.txt", b"0 60 0 .5 40\n" * 2 + b"0 60 0 nan 40\n", "line 3"),
        ("rendering/rendering_metadata.txt", b"0 60 0 .5 40\n" * 2 + b"0 60 0 .5\n", "line 3"),
        ("subject.json", b"{}", "the cube of the capture"),
        ("cameras.json", b'{"frames": []}', "does not match"),
        ("cameras.json", b'{"frames": [{}]}', "expected frames with intrinsics"),
        ("cameras.json", b"[]", "expected frames with intrinsics"),
        ("model.binvox", b"#binvox 1\ndim 0 0 0\n", "no line 'data'"),
    ],
)
def test_a_damaged_folder_is_refused_with_the_name_of_the_file(folder, file, content, message):
    """`test_dataset_validation` tries more faults of the single files."""
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_capture(folder)
    assert str(folder / file) in str(caught.value) and "\n" not in str(caught.value)
