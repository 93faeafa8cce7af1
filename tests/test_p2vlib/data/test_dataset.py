"""Captures: read and checked from folders, packed, loaded, put in order."""

from __future__ import annotations

import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from p2vlib.data import capture_folder, dataset, packed
from p2vlib.geometry.cameras import look_at, write_metadata
from p2vlib.geometry.frames import FOOT_SYNSET, foot_cube
from p2vlib.geometry.grids import VoxelGrid, write_binvox
from p2vtools.synthesis.collection import build_collection

CUBE = foot_cube(np.array([[-0.12, 0, -0.05], [0.12, 0.12, 0.05]]))
ROWS = [(90.0 * view, 40.0, 0.0, 0.6, 50.0) for view in range(4)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole capture folder, made by hand."""
    folder = tmp_path / "phone" / "p1-0000-left"
    (folder / "rendering").mkdir(parents=True)
    for view in range(4):
        pixels = np.zeros((40, 40, 3), np.uint8)
        pixels[:, :20] = 60 * view
        Image.fromarray(pixels).save(folder / "rendering" / f"{view:02d}.png")
    (folder / "rendering" / "renderings.txt").write_text("00.png\n01.png\n02.png\n03.png\n")
    write_metadata(folder / "rendering" / "rendering_metadata.txt", ROWS)
    volume = np.zeros((32, 32, 32), bool)
    volume[5:27, :10, 12:20] = True
    write_binvox(folder / "model.binvox", VoxelGrid(volume, CUBE))
    subject = {"subject": "p1-0000", "metadata": "metric", "taxonomy": FOOT_SYNSET, "look": "phone", "split": "train"}
    (folder / "subject.json").write_text(json.dumps({**subject, "side": "left", "cube": asdict(CUBE)}))
    return folder


def test_a_whole_folder_is_read(folder):
    capture = capture_folder.read_capture(folder)
    assert len(capture.photos) == 4 and capture.truth.volume.sum() == 22 * 10 * 8
    expected = look_at(ROWS[1], CUBE.centre, 40, 40)
    assert np.allclose(capture.cameras[1].extrinsics, expected.extrinsics)


def remove(path: str):
    return lambda folder: (folder / path).unlink()


def write(path: str, content: bytes):
    return lambda folder: (folder / path).write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "file", "message"),
    [
        (write("rendering/02.png", b"\x89PNG\r\n\x1a\nnot one"), "02.png", "not a readable image"),
        (remove("rendering/02.png"), "02.png", "missing"),
        (remove("rendering/renderings.txt"), "renderings.txt", "missing"),
        (write("rendering/renderings.txt", b""), "renderings.txt", "at least one photo"),
        (write("rendering/renderings.txt", b"../subject.json\n"), "subject.json", "missing"),
        (write("rendering/rendering_metadata.txt", b"0 40 0 .6 50\n"), "rendering_metadata.txt", "1 rows for 4"),
        (
            write("rendering/rendering_metadata.txt", b"a b c d e\n" * 4),
            "rendering_metadata.txt",
            "without five numbers",
        ),
        (write("subject.json", b"{}"), "subject.json", "the cube of the capture"),
        (write("cameras.json", b"{"), "cameras.json", "not a camera file"),
        (write("cameras.json", b'{"frames": []}'), "cameras.json", "does not match"),
        (write("model.binvox", b"#binvox 1\ndim 0 0 0\n"), "model.binvox", "no line 'data'"),
    ],
)
def test_a_damaged_folder_names_the_file_and_what_was_expected(folder, damage, file, message):
    damage(folder)
    with pytest.raises(ValueError, match=message) as caught:
        capture_folder.read_capture(folder)
    assert file in str(caught.value) and "\n" not in str(caught.value)


def test_a_picture_that_is_cut_short_is_refused(folder):
    path = folder / "rendering" / "01.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match="not a readable image"):
        capture_folder.read_capture(folder)


def test_a_picture_that_claims_to_be_huge_is_not_decoded(folder, monkeypatch):
    path = folder / "rendering" / "01.png"
    with pytest.raises(ValueError, match="the limit is 100"):
        capture_folder.decode_photo(path, path.read_bytes(), max_pixels=100)


def test_the_smoke_data_are_packed_once_and_small(smoke):
    path = packed.packed_path(smoke.config)
    made = path.stat().st_mtime_ns
    assert build_collection(smoke.config) == path and path.stat().st_mtime_ns == made
    assert path.stat().st_size < 50e6


def test_people_never_cross_splits(smoke):
    feet = smoke.captures.table[smoke.captures.table.dataset == "feet"]
    assert (feet.groupby("subject").split.nunique() == 1).all() and feet.groupby("subject").side.nunique().eq(2).all()


def test_every_category_and_the_foot_are_there(smoke):
    assert smoke.captures.table.taxonomy.nunique() == 14


def test_no_foot_touches_the_walls_of_its_cube(smoke):
    feet = smoke.captures.select(dataset="feet", cube="metric").truth
    walls = feet[:, [0, -1]].any() | feet[:, :, -1].any() | feet[:, :, :, [0, -1]].any()
    assert not walls and feet[:, :, 0].any(dim=(1, 2)).all()


def test_an_object_fills_its_cube_from_wall_to_wall(smoke):
    objects = smoke.captures.select(dataset="objects").truth
    reach = [objects.any(dim=tuple(d for d in (1, 2, 3) if d != axis)).sum(1) for axis in (1, 2, 3)]
    # Pointed and rounded ends taper below a voxel, so a bow or a bumper may stop a voxel or two short of the wall.
    assert torch.stack(reach).max(0).values.min() >= 28


def test_right_feet_enter_as_left_ones(smoke):
    """Both feet of a person overlap well once the right one is mirrored, and much less where it is mirrored back."""
    feet = smoke.captures.select(dataset="feet", cube="metric", look="studio")
    left, right = feet.select(side="left"), feet.select(side="right")
    assert left.table.subject.tolist() == right.table.subject.tolist()
    alike = (iou(left.truth, right.truth), iou(left.truth, right.truth.flip(3)))
    assert alike[0] > 0.75 and alike[0] > alike[1] + 0.1


def iou(one: torch.Tensor, two: torch.Tensor) -> float:
    return float((one & two).sum() / (one | two).sum())


def test_the_photo_of_a_capture_shows_its_truth(smoke):
    """The alpha of a studio photo covers the projected voxels: frame, camera, crop and grid fit together."""
    capture = next(
        capture_folder.read_capture(path.parent)
        for path in sorted(smoke.objects.glob("ShapeNetRendering/*/*/subject.json"))
    )
    centres = capture.truth.cube.voxel_centres(32)[capture.truth.volume]
    for photo, camera in zip(capture.files, capture.cameras, strict=True):
        alpha = np.asarray(Image.open(io.BytesIO(photo)))[..., 3] > 127
        u, v = np.clip(camera.project(centres)[:, :2].astype(int), 0, 136).T
        assert alpha[v, u].mean() > 0.95


def test_cropping_reaches_beyond_the_border_and_scales():
    pixels = np.zeros((10, 10, 3), np.uint8)
    pixels[:, 5:] = 200
    cropped = dataset.crop_and_resize(Image.fromarray(pixels), (-10, -10, 10, 10), 20)
    assert cropped.shape == (20, 20, 4) and (cropped[:, :14, :3] == 0).all() and (cropped[:, 15:, :3] == 200).all()


def test_selecting_nothing_says_what_there_is(smoke):
    with pytest.raises(ValueError, match="studio"):
        smoke.captures.select(look="cinema")


@pytest.mark.parametrize(("views", "chosen"), [(1, [0]), (2, [0, 4]), (4, [0, 2, 4, 6]), (3, [0, 2, 5])])
def test_views_are_evenly_spread(views, chosen):
    assert dataset.evenly_spaced(8, views) == chosen


def test_too_many_views_are_refused():
    with pytest.raises(ValueError, match="9 views of 8 photos"):
        dataset.evenly_spaced(8, 9)


def test_mirroring_turns_pictures_volume_and_walk():
    photos = torch.arange(4 * 4 * 3 * 3).reshape(1, 4, 4, 3, 3).to(torch.uint8)
    truth = torch.rand(1, 3, 4, 5) > 0.5
    turned, solid = dataset.mirror_views(photos, truth, torch.tensor([True]))
    # Clockwise around the mirror image means the first photo, then the others backwards.
    assert torch.equal(turned[0], photos[0, [0, 3, 2, 1]].flip(-1)) and torch.equal(solid, truth.flip(3))
    again, solid = dataset.mirror_views(turned, solid, torch.tensor([True]))
    assert torch.equal(again, photos) and torch.equal(solid, truth)
    same, _ = dataset.mirror_views(photos, truth, torch.tensor([False]))
    assert torch.equal(same, photos)


def test_the_fingerprint_follows_the_data_and_nothing_else(smoke):
    from p2vlib.config import from_params

    assert packed.fingerprint(from_params("smoke", seed=5)) == packed.fingerprint(smoke.config)
    assert packed.fingerprint(from_params("smoke", feet__train=3)) != packed.fingerprint(smoke.config)


def test_a_table_has_its_columns(smoke):
    assert list(smoke.captures.table) == list(dataset.COLUMNS)
    assert isinstance(smoke.captures.table, pd.DataFrame) and not smoke.captures.table.isna().to_numpy().any()
