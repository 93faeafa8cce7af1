"""What is not as Pix3D publishes it: the file or the entry is named, and what was expected of it."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from p2vtools.archives import pix3d
from tests.furniture import HEIGHT, WIDTH, entries_of, write_index, write_solid

IMG, MASK, SOLID = "img/chair/0001.png", "mask/chair/0001.png", "model/chair/OWN_ONE/voxel.mat"


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
    "broken picture": (lambda root: (root / IMG).write_bytes(b"none"), IMG, "not a readable image"),
    "cut picture": (lambda root: cut_off(root, IMG), IMG, "cannot be read .*; expected PNG"),
    "another size": (lambda root: blank(root, IMG, 150, 200), IMG, "150 x 200 pixels; its img_size"),
    "huge picture": (lambda root: blank(root, IMG, 5000, 5000), IMG, "5000 x 5000 pixels; the limit is 16777216"),
    "bomb": (lambda root: blank(root, IMG, 20000, 10000), IMG, "cannot be read .*200000000 pixels"),
    "no mask": (lambda root: (root / MASK).unlink(), MASK, "no such file; pix3d.json lists it"),
    "broken mask": (lambda root: (root / MASK).write_bytes(b""), MASK, "not a readable image"),
    "other mask": (lambda root: blank(root, MASK, 100, 75), MASK, "100 x 75 pixels; expected 200 x 150, as .*0001.png"),
    "empty mask": (lambda root: blank(root, MASK, WIDTH, HEIGHT, 1), MASK, "empty; expected a mask"),
    "no solid": (lambda root: (root / SOLID).unlink(), SOLID, "no such file; pix3d.json lists it"),
    "empty file": (lambda root: (root / SOLID).write_bytes(b""), SOLID, "cannot be read .*; expected a MATLAB file"),
    "broken solid": (
        lambda root: (root / SOLID).write_bytes(b"none" * 99),
        SOLID,
        "cannot be read .*; expected a MATLAB file",
    ),
    "cut solid": (lambda root: cut_off(root, SOLID), SOLID, "cannot be read .*; expected a MATLAB file"),
    "other key": (
        lambda root: write_solid(root, bit(32, 32, 32), "grid"),
        SOLID,
        r"no array voxel",
    ),
    "no cube": (lambda root: write_solid(root, bit(32, 32, 64)), SOLID, "32 x 32 x 64; expected a cube .* of 32"),
    "flat": (lambda root: write_solid(root, bit(32, 32)), SOLID, "32 x 32; expected a cube"),
    "odd edge": (lambda root: write_solid(root, bit(48, 48, 48)), SOLID, "48 x 48 x 48; expected .* a multiple of 32"),
    "too large": (overstate, SOLID, "544 x 544 x 544; .* at most 512"),
    "shares": (lambda root: write_solid(root, bit(32, 32, 32) * 0.5), SOLID, "float64.* other values than 0 and 1"),
    "no number": (lambda root: write_solid(root, bit(32, 32, 32) * np.nan), SOLID, "other values than 0 and 1"),
    "words": (lambda root: write_solid(root, bit(32, 32, 32).astype(object)), SOLID, "other values than 0 and 1"),
    "nothing": (lambda root: write_solid(root, np.zeros((32, 32, 32))), SOLID, "voxel is empty"),
}


@pytest.mark.parametrize("fault", SPOILT)
def test_an_invalid_file_is_refused_with_its_path(own_furniture, fault):
    spoil, name, message = SPOILT[fault]
    (picture,) = pix3d.read_index(own_furniture)
    spoil(own_furniture)
    with pytest.raises(ValueError, match=f"^{re.escape(str(own_furniture / name))}: .*{message}"):
        pix3d.read_picture(own_furniture, picture)


def test_a_grid_without_voxels_is_refused(furniture):
    (picture,) = pix3d.read_index(furniture)
    with pytest.raises(ValueError, match="at least one voxel per edge; found 0"):
        pix3d.read_picture(furniture, picture, grid=0)


def test_a_reflection_is_not_a_rotation(own_furniture):
    (entry,) = entries_of(own_furniture)
    write_index(own_furniture, [{**entry, "rot_mat": np.diag([1, 1, -1]).tolist()}])
    (picture,) = pix3d.read_index(own_furniture)
    with pytest.raises(ValueError, match="pix3d.json: .*expected a camera for chair-0001, with a rotation"):
        pix3d.read_picture(own_furniture, picture)


WRONG = [
    ({"img": 3}, "img is 3; expected text"),
    ({"truncated": "false"}, "truncated is 'false'; expected true or false"),
    ({"img": "img/chair/00 01.png"}, "img 'img/chair/00 01.png' is not an id"),
    ({"img": "../chair/0001.png"}, "img '../chair/0001.png' is outside"),
    ({"mask": "/etc/passwd"}, "mask '/etc/passwd' is outside"),
    ({"voxel": "model/../../voxel.mat"}, "voxel 'model/../../voxel.mat' is outside"),
    ({"voxel": "model/\0.mat"}, "is outside"),
    ({"voxel": "out/voxel.mat"}, "voxel 'out/voxel.mat' is outside"),
    ({"bbox": [1, 2, 3]}, "bbox is [1, 2, 3]; expected 4 finite numbers"),
    ({"bbox": [1, 2, 3, "4"]}, "bbox is [1, 2, 3, '4']; expected 4 finite numbers"),
    ({"bbox": [1, 2, 3, [4, 5]]}, "expected 4 finite numbers"),
    ({"bbox": [5, 2, 5, 9]}, "bbox [5.0, 2.0, 5.0, 9.0] is empty"),
    ({"img_size": [200.5, 150]}, "img_size is [200.5, 150]; expected two whole numbers"),
    ({"rot_mat": [1, 0, 0]}, "rot_mat is [1, 0, 0]; expected 3 x 3 finite numbers"),
    ({"trans_mat": None}, "trans_mat is None; expected 3 finite numbers"),
    ({"focal_length": 0}, "focal_length is 0; expected millimetres above zero"),
    ({"focal_length": [35]}, "focal_length is [35]; expected a finite number"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[f"{next(iter(c))}-{n}" for n, (c, _) in enumerate(WRONG)])
def test_an_invalid_entry_is_refused_with_its_number(furniture, tmp_path, change, message):
    (entry,) = entries_of(furniture)
    (tmp_path / "out").symlink_to(furniture)
    write_index(tmp_path, [{**entry, "img": "img/chair/0002.jpg"}, {**entry, **change}])
    with pytest.raises(ValueError, match=f"pix3d.json: entry 1: .*{re.escape(message)}"):
        pix3d.read_index(tmp_path)


@pytest.mark.parametrize("key", pix3d.KEYS)
def test_a_missing_key_is_named(furniture, tmp_path, key):
    (entry,) = entries_of(furniture)
    del entry[key]
    write_index(tmp_path, [entry])
    with pytest.raises(ValueError, match=f"pix3d.json: entry 0 has no {key}; it needs img, mask"):
        pix3d.read_index(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "not JSON"),
        ("{}", "JSON with a dict instead of a list; expected a list of pictures"),
        ("[]", "no pictures"),
        ('[{"bbox": NaN}]', "NaN is not a number"),
        ("[3]", "entry 0 has no img"),
    ],
)
def test_an_invalid_index_is_refused_with_its_path(tmp_path, content, message):
    with pytest.raises(FileNotFoundError, match="pix3d.json: no such file; expected the index of Pix3D"):
        pix3d.read_index(tmp_path)
    (tmp_path / pix3d.INDEX).write_text(content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path / pix3d.INDEX))}: .*{message}"):
        pix3d.read_index(tmp_path)


@pytest.mark.parametrize("box", [[0, 0, 1e5, 1e5], [500, 500, 600, 600]])
def test_a_box_outside_the_photo_is_refused(own_furniture, box):
    write_index(own_furniture, [{**entries_of(own_furniture)[0], "bbox": box}])
    with pytest.raises(ValueError, match="bbox of chair-0001 is .*; expected one inside its 200 x 150 pixels"):
        pix3d.load(own_furniture, 96)
