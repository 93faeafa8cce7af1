"""Pix3D's layout and axes: a small archive, written by the words of its README, is read back in our axes.

What is not as Pix3D publishes it is an error that names the file or the entry.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from p2vlib.geometry.frames import object_cube
from p2vtools.archives import pix3d
from p2vtools.synthesis.objects import make_object
from p2vtools.synthesis.photos import trajectories
from tests.furniture import CHAIR, HEIGHT, IMG, MASK, SOLID, WIDTH, entries_of, write_index, write_solid


def read_single_picture(root: Path) -> tuple[Image.Image, np.ndarray]:
    """The photo and the volume of the one entry of the index."""
    ((name, entry),) = pix3d.read_index(root).items()
    return pix3d.read_picture(root, name, entry)


def test_axes_and_reduction_of_a_volume(own_furniture):
    """A voxel 13 to the left, 9 outward and 5 up from the least corner: ours is [9, 5, 13] of 64, on its right."""
    solid = np.zeros((64, 64, 64))
    solid[13, 9, 5] = 1  # one of 2 x 2 x 2 voxels is enough, as in thin legs
    write_solid(own_furniture, solid)
    assert np.argwhere(read_single_picture(own_furniture)[1]).tolist() == [[4, 2, 6]]


@pytest.mark.parametrize(("photo_mode", "mask_mode"), [("RGB", "L"), ("L", "RGBA")])
def test_a_picture_is_its_photo_with_the_mask_as_alpha(own_furniture, photo_mode, mask_mode):
    photo, mask = (Image.open(own_furniture / name) for name in (IMG, MASK))
    photo.convert(photo_mode).save(own_furniture / IMG)
    mask.convert(mask_mode).save(own_furniture / MASK)
    pixels = np.asarray(read_single_picture(own_furniture)[0])
    assert np.array_equal(pixels[..., :3], np.asarray(photo.convert(photo_mode).convert("RGB")))
    assert np.array_equal(pixels[..., 3], np.asarray(mask))


def test_ids_are_unique(furniture, tmp_path):
    (entry,) = entries_of(furniture)
    names = ["img/chair/0001.png", "img/chair/0001.jpg", "img/bed/0001.png"]
    write_index(tmp_path, [{**entry, "img": names[0]}, {**entry, "img": names[2]}])
    assert [*pix3d.read_index(tmp_path)] == ["chair-0001", "bed-0001"]
    write_index(tmp_path, [{**entry, "img": name} for name in names])
    with pytest.raises(ValueError, match="entry 1 is a second chair-0001"):
        pix3d.read_index(tmp_path)


def test_whole_chairs_become_captures_with_one_view(own_furniture):
    (chair,) = entries_of(own_furniture)
    kinds = [{"truncated": True}, {"occluded": True}, {"slightly_occluded": True}, {"category": "sofa"}, {}]
    others = [{**chair, "img": f"img/chair/1{number}.png", **kind} for number, kind in enumerate(kinds)]
    (own_furniture / "img/chair/14.png").write_bytes(b"no picture")
    write_index(own_furniture, [chair, *others])
    with pytest.raises(ValueError, match="14.png: not a readable image"):
        pix3d.load(own_furniture, 96)
    captures, skipped = pix3d.load(own_furniture, 96, on_error="skip")
    assert captures.table["sample"].tolist() == ["chair-0001"] and skipped.object.tolist() == ["chair-14"]
    assert captures.table.subject.tolist() == ["model/chair/OWN_ONE"]
    assert captures.photos.shape == (1, 1, 4, 96, 96) and captures.truth.shape == (1, 32, 32, 32)
    assert pix3d.load(own_furniture, 96, limit=1)[1].empty


def test_a_cropped_chair_has_the_extent_of_those_in_training(own_furniture):
    seen = np.asarray(Image.open(own_furniture / MASK)) > 127
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    box = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
    write_index(own_furniture, [{**entries_of(own_furniture)[0], "bbox": box}])
    photo = pix3d.load(own_furniture, 96)[0].photos[0, 0, 3].numpy() > 127
    extent = max(np.ptp(np.flatnonzero(photo.any(axis))) + 1 for axis in (0, 1))
    assert extent == pytest.approx(96 * pix3d.CHAIR_EXTENT, abs=2)
    assert np.flatnonzero(photo.any(0)).mean() == pytest.approx(48, abs=6)


def test_the_extent_is_the_median_of_synthetic_chairs():
    shares = []
    for index in range(40):
        mesh = make_object(CHAIR, seed=21, index=index)
        _, cameras = trajectories.sample_studio_cameras(np.random.default_rng(index), 8, 1.0, np.zeros(3))
        for camera in cameras:
            left, upper, right, lower = camera.crop_box(object_cube(mesh.bounds))
            across = np.ptp(camera.project(mesh.vertices)[:, :2], axis=0) / [right - left, lower - upper]
            shares.append(across.max())
    assert np.median(shares) == pytest.approx(pix3d.CHAIR_EXTENT, abs=0.02)


def blank(root: Path, name: str, width: int, height: int, value: int = 255) -> None:
    Image.new("L", (width, height), value).save(root / name)


def cut_off(root: Path, name: str) -> None:
    (root / name).write_bytes((root / name).read_bytes()[:200])


def overstate(root: Path) -> None:
    """A header that promises 544^3 voxels before the data of 32^3: it has to be refused before they are read."""
    savemat(root / SOLID, {"voxel": bit(32, 32, 32)})
    sizes = [np.array([edge] * 3, np.int32).tobytes() for edge in (32, 544)]
    (root / SOLID).write_bytes((root / SOLID).read_bytes().replace(*sizes, 1))


def bit(*shape: int) -> np.ndarray:
    """A solid of one voxel."""
    solid = np.zeros(shape, np.uint8)
    solid.flat[0] = 1
    return solid


SPOILT = {
    "no picture": (lambda root: (root / IMG).unlink(), IMG, "no such file; pix3d.json lists it"),
    "cut picture": (lambda root: cut_off(root, IMG), IMG, "cannot be read .*; expected PNG"),
    "huge picture": (lambda root: blank(root, IMG, 5000, 5000), IMG, "5000 x 5000 pixels; the limit is 16777216"),
    "box outside": (lambda root: blank(root, IMG, 150, 100) or blank(root, MASK, 150, 100), "pix3d.json", "bbox of"),
    "other mask": (lambda root: blank(root, MASK, 100, 75), MASK, "100 x 75 pixels; expected 200 x 150, as .*0001.png"),
    "empty mask": (lambda root: blank(root, MASK, WIDTH, HEIGHT, 1), MASK, "empty; expected a mask"),
    "no solid": (lambda root: (root / SOLID).unlink(), SOLID, "no such file; pix3d.json lists it"),
    "cut solid": (lambda root: cut_off(root, SOLID), SOLID, "cannot be read .*; expected a MATLAB file"),
    "other key": (lambda root: write_solid(root, bit(32, 32, 32), "grid"), SOLID, "no 'voxel'.*; expected a MATLAB"),
    "no cube": (lambda root: write_solid(root, bit(32, 32, 64)), SOLID, "32 x 32 x 64; expected a cube .* of 32"),
    "flat": (lambda root: write_solid(root, bit(32, 32)), SOLID, "32 x 32; expected a cube"),
    "odd edge": (lambda root: write_solid(root, bit(48, 48, 48)), SOLID, "48 x 48 x 48; expected .* a multiple of 32"),
    "too large": (overstate, SOLID, "544 x 544 x 544; .* at most 512"),
    "shares": (lambda root: write_solid(root, bit(32, 32, 32) * 0.5), SOLID, "float64.* other values than 0 and 1"),
    "words": (lambda root: write_solid(root, bit(32, 32, 32).astype(object)), SOLID, "other values than 0 and 1"),
    "nothing": (lambda root: write_solid(root, np.zeros((32, 32, 32))), SOLID, "voxel is empty"),
}


@pytest.mark.parametrize("fault", SPOILT)
def test_an_invalid_file_is_refused_with_its_path(own_furniture, fault):
    spoil, name, message = SPOILT[fault]
    spoil(own_furniture)
    with pytest.raises(ValueError, match=f"^{re.escape(str(own_furniture / name))}: .*{message}"):
        read_single_picture(own_furniture)


WRONG = [
    *(({key: None}, f"{key} is None; expected ") for key in pix3d.FIELDS),
    ({"truncated": "false"}, "truncated is 'false'; expected bool; an entry needs img, mask, voxel"),
    ({"img": "img/chair/00 01.png"}, "img 'img/chair/00 01.png' is not an id"),
    ({"img": "../chair/0001.png"}, "img '../chair/0001.png' is outside"),
    ({"mask": "/etc/passwd"}, "mask '/etc/passwd' is outside"),
    ({"voxel": "model/\0.mat"}, "is outside"),
    ({"voxel": "out/voxel.mat"}, "voxel 'out/voxel.mat' is outside"),
    ({"bbox": [1, 2, 3, "4"]}, "bbox is [1, 2, 3, '4']; expected left < right"),
    ({"bbox": [5, 2, 5, 9]}, "bbox is [5, 2, 5, 9]; expected left < right"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[f"{next(iter(c))}-{n}" for n, (c, _) in enumerate(WRONG)])
def test_an_invalid_entry_is_refused_with_its_number(furniture, tmp_path, change, message):
    (entry,) = entries_of(furniture)
    (tmp_path / "out").symlink_to(furniture)
    write_index(tmp_path, [{**entry, "img": "img/chair/0002.jpg"}, {**entry, **change}])
    with pytest.raises(ValueError, match=f"pix3d.json: entry 1: .*{re.escape(message)}"):
        pix3d.read_index(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "JSON with a dict instead of a list; expected a list of pictures"),
        ("[]", "none of 0 chairs can be read"),
        ('[{"bbox": NaN}]', "NaN is not a number"),
        ("[3]", "entry 0: img is None"),
    ],
)
def test_a_missing_or_invalid_index_is_refused_with_its_path(tmp_path, content, message):
    with pytest.raises(FileNotFoundError, match=r"no pix3d.json; get it with `p2v fetch pix3d"):
        pix3d.load(tmp_path, 96)
    (tmp_path / pix3d.INDEX).write_text(content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path))}.*: .*{message}"):
        pix3d.load(tmp_path, 96)
