"""Pix3D's layout and axes: a small archive, written by the words of its README, is read back in our frame.

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
from p2vlib.geometry.grids import VoxelGrid
from p2vtools.archives import pix3d
from p2vtools.synthesis.objects import make_object
from p2vtools.synthesis.photos import trajectories
from tests.furniture import (
    CHAIR,
    HEIGHT,
    UNIT,
    WIDTH,
    entries_of,
    in_model_axes,
    silhouette_iou,
    write_index,
    write_solid,
)


def read_single_picture(root: Path, grid: int = 32):
    """The capture of the one entry of the index."""
    (picture,) = pix3d.read_index(root)
    return pix3d.read_picture(root, picture, grid)


def outline(capture, volume: np.ndarray) -> float:
    """IoU of the object in the picture and the outline of ``volume``, in points 1/256 of its edge apart."""
    grid = VoxelGrid(np.ascontiguousarray(volume), capture.truth.cube)
    return silhouette_iou(np.asarray(capture.photos[0]), grid, capture.cameras[0], 256 // len(volume))


def test_the_volume_projects_onto_the_mask(furniture):
    capture = read_single_picture(furniture, grid=128)
    truth = capture.truth.volume
    score = outline(capture, truth)
    assert score >= 0.93
    assert outline(capture, truth.transpose(2, 0, 1)) < 0.4, "the archive's axes as if they were ours"
    assert outline(capture, truth[::-1]) < 0.6, "back to front"
    assert outline(capture, truth[:, :, ::-1]) < 0.75, "left for right"
    aside = [outline(capture, np.roll(truth, step, axis)) for axis in range(3) for step in (-1, 1)]
    assert max(aside) < score - 0.005, "one voxel of 128 to any side is worse: there is no half voxel either"


def test_a_coarser_volume_covers_the_fine_one(furniture):
    capture, fine = read_single_picture(furniture, grid=64), read_single_picture(furniture, grid=128).truth
    coarse = capture.truth
    assert coarse.cube == fine.cube == UNIT and coarse.size == 64
    assert (coarse.volume.repeat(2, 0).repeat(2, 1).repeat(2, 2) >= fine.volume).all()
    assert outline(capture, coarse.volume) >= 0.87
    with pytest.raises(ValueError, match="at least one voxel per edge; found 0"):
        read_single_picture(furniture, grid=0)


def test_the_camera_is_that_of_the_readme(furniture):
    """A 32 mm sensor, x to the left and y up: u = W/2 - f x/z, v = H/2 - f y/z, for points of the model's own axes."""
    (entry,) = entries_of(furniture)
    ours = np.random.default_rng(0).uniform(-0.5, 0.5, (50, 3))
    x, y, z = np.array(entry["rot_mat"]) @ in_model_axes(ours).T + np.array(entry["trans_mat"])[:, None]
    focal = entry["focal_length"] / 32 * WIDTH
    expected = np.column_stack([WIDTH / 2 - focal * x / z, HEIGHT / 2 - focal * y / z, z])
    (camera,) = read_single_picture(furniture).cameras
    assert np.allclose(camera.project(ours), expected)
    assert (camera.width, camera.height) == (WIDTH, HEIGHT)


def test_axes_of_a_volume_with_three_different_edges(own_furniture):
    """A block 3 voxels to the left, 2 outward and 1 up from the least corner: ours is [2, 1, 3], on its right."""
    solid = np.zeros((32, 32, 32))
    solid[13, 9, 5] = 1  # one of 4 x 4 x 4 voxels is enough, as in thin legs
    write_solid(own_furniture, solid)
    assert np.argwhere(read_single_picture(own_furniture, grid=8).truth.volume).tolist() == [[2, 1, 3]]


def test_a_picture_is_read_as_a_capture(furniture):
    (picture,) = pix3d.read_index(furniture)
    assert picture.name == "chair-0001" and picture.img == Path("img/chair/0001.png")
    capture = pix3d.read_picture(furniture, picture)
    assert capture.folder.name == "chair-0001" and capture.truth.size == 32
    labels = {"subject": "model/chair/OWN_ONE", "taxonomy": "chair", "look": "photo", "metadata": "pix3d"}
    assert capture.subject == labels | {"box": [40, 10, 160, 140]}
    pixels = np.asarray(capture.photos[0])
    assert np.array_equal(pixels[..., :3], np.asarray(Image.open(furniture / picture.img)))
    assert np.array_equal(pixels[..., 3:], np.asarray(Image.open(furniture / picture.mask))[..., None])


def test_grey_photos_and_coloured_masks_are_converted(own_furniture):
    (picture,) = pix3d.read_index(own_furniture)
    grey = Image.open(own_furniture / picture.img).convert("L")
    grey.save(own_furniture / picture.img)
    Image.open(own_furniture / picture.mask).convert("RGBA").save(own_furniture / picture.mask)
    alpha = np.asarray(pix3d.read_picture(own_furniture, picture).photos[0])
    assert np.array_equal(alpha[..., 0], np.asarray(grey)) and np.array_equal(alpha[..., 0], alpha[..., 2])
    assert set(np.unique(alpha[..., 3])) >= {0, 255}


def test_ids_are_unique(furniture, tmp_path):
    (entry,) = entries_of(furniture)
    names = ["img/chair/0001.png", "img/chair/0001.jpg", "img/bed/0001.png"]
    write_index(tmp_path, [{**entry, "img": names[0]}, {**entry, "img": names[2]}])
    assert [p.name for p in pix3d.read_index(tmp_path)] == ["chair-0001", "bed-0001"]
    write_index(tmp_path, [{**entry, "img": name} for name in names])
    with pytest.raises(ValueError, match="entry 1 is a second chair-0001"):
        pix3d.read_index(tmp_path)


def test_the_evaluation_subset_has_complete_objects_of_one_category(furniture, tmp_path):
    (entry,) = entries_of(furniture)
    kinds = [{}, {"truncated": True}, {"occluded": True}, {"slightly_occluded": True}, {"category": "sofa"}]
    write_index(tmp_path, [{**entry, "img": f"img/any/{n}.png", **kind} for n, kind in enumerate(kinds)])
    pictures = pix3d.read_index(tmp_path)
    assert [p.occluded for p in pictures] == [False, False, True, True, False]
    assert [p.name for p in pix3d.evaluation_subset(pictures)] == ["any-0"]
    assert [p.name for p in pix3d.evaluation_subset(pictures, "sofa")] == ["any-4"]


def test_chairs_become_captures_with_one_view(own_furniture):
    chair = entries_of(own_furniture)[0]
    (own_furniture / "img/chair/0002.png").write_bytes(b"no picture")
    broken = {**chair, "img": "img/chair/0002.png"}
    hidden = {**chair, "img": "img/chair/0003.png", "occluded": True}
    write_index(own_furniture, [chair, broken, hidden])
    with pytest.raises(ValueError, match="0002.png: not a readable image"):
        pix3d.load(own_furniture, 96)
    captures, skipped = pix3d.load(own_furniture, 96, on_error="skip")
    assert captures.table["sample"].tolist() == ["chair-0001"] and skipped.object.tolist() == ["chair-0002"]
    assert captures.photos.shape == (1, 1, 4, 96, 96) and captures.truth.shape == (1, 32, 32, 32)
    assert pix3d.load(own_furniture, 96, limit=1)[1].empty


def test_a_cropped_chair_has_the_extent_of_those_in_training(furniture, own_furniture):
    seen = np.asarray(Image.open(furniture / "mask/chair/0001.png")) > 127
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


IMG, MASK, SOLID = "img/chair/0001.png", "mask/chair/0001.png", "model/chair/OWN_ONE/voxel.mat"


def blank(root: Path, name: str, width: int, height: int, value: int = 255) -> None:
    Image.new("L", (width, height), value).save(root / name)


def cut_off(root: Path, name: str) -> None:
    (root / name).write_bytes((root / name).read_bytes()[:200])


def change_entry(root: Path, **values: object) -> None:
    (entry,) = entries_of(root)
    write_index(root, [entry | values])


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


REFLECTION = [[1, 0, 0], [0, 1, 0], [0, 0, -1]]
SPOILT = {
    "no picture": (lambda root: (root / IMG).unlink(), IMG, "no such file; pix3d.json lists it"),
    "cut picture": (lambda root: cut_off(root, IMG), IMG, "cannot be read .*; expected PNG"),
    "another size": (lambda root: blank(root, IMG, 150, 200), IMG, "150 x 200 pixels; its img_size"),
    "huge picture": (lambda root: blank(root, IMG, 5000, 5000), IMG, "5000 x 5000 pixels; the limit is 16777216"),
    "no mask": (lambda root: (root / MASK).unlink(), MASK, "no such file; pix3d.json lists it"),
    "broken mask": (lambda root: (root / MASK).write_bytes(b"none"), MASK, "not a readable image"),
    "other mask": (lambda root: blank(root, MASK, 100, 75), MASK, "100 x 75 pixels; expected 200 x 150, as .*0001.png"),
    "empty mask": (lambda root: blank(root, MASK, WIDTH, HEIGHT, 1), MASK, "empty; expected a mask"),
    "no solid": (lambda root: (root / SOLID).unlink(), SOLID, "no such file; pix3d.json lists it"),
    "cut solid": (lambda root: cut_off(root, SOLID), SOLID, "cannot be read .*; expected a MATLAB file"),
    "other key": (lambda root: write_solid(root, bit(32, 32, 32), "grid"), SOLID, "no array voxel"),
    "no cube": (lambda root: write_solid(root, bit(32, 32, 64)), SOLID, "32 x 32 x 64; expected a cube .* of 32"),
    "flat": (lambda root: write_solid(root, bit(32, 32)), SOLID, "32 x 32; expected a cube"),
    "odd edge": (lambda root: write_solid(root, bit(48, 48, 48)), SOLID, "48 x 48 x 48; expected .* a multiple of 32"),
    "too large": (overstate, SOLID, "544 x 544 x 544; .* at most 512"),
    "shares": (lambda root: write_solid(root, bit(32, 32, 32) * 0.5), SOLID, "float64.* other values than 0 and 1"),
    "words": (lambda root: write_solid(root, bit(32, 32, 32).astype(object)), SOLID, "other values than 0 and 1"),
    "reflection": (lambda root: change_entry(root, rot_mat=REFLECTION), pix3d.INDEX, "for chair-0001, with a rotation"),
    "box outside": (lambda root: change_entry(root, bbox=[0, 0, 1e5, 1e5]), pix3d.INDEX, "bbox of chair-0001 is"),
    "nothing": (lambda root: write_solid(root, np.zeros((32, 32, 32))), SOLID, "voxel is empty"),
}


@pytest.mark.parametrize("fault", SPOILT)
def test_an_invalid_file_is_refused_with_its_path(own_furniture, fault):
    spoil, name, message = SPOILT[fault]
    spoil(own_furniture)
    with pytest.raises(ValueError, match=f"^{re.escape(str(own_furniture / name))}: .*{message}"):
        read_single_picture(own_furniture)


WRONG = [
    ({"img": 3}, "img is 3; expected text"),
    ({"truncated": "false"}, "truncated is 'false'; expected true or false"),
    ({"img": "img/chair/00 01.png"}, "img 'img/chair/00 01.png' is not an id"),
    ({"img": "../chair/0001.png"}, "img '../chair/0001.png' is outside"),
    ({"mask": "/etc/passwd"}, "mask '/etc/passwd' is outside"),
    ({"voxel": "model/\0.mat"}, "is outside"),
    ({"voxel": "out/voxel.mat"}, "voxel 'out/voxel.mat' is outside"),
    ({"bbox": [1, 2, 3, "4"]}, "bbox is [1, 2, 3, '4']; expected 4 finite numbers"),
    ({"bbox": [1, 2, 3, [4, 5]]}, "expected 4 finite numbers"),
    ({"bbox": [5, 2, 5, 9]}, "bbox [5.0, 2.0, 5.0, 9.0] is empty"),
    ({"img_size": [200.5, 150]}, "img_size is [200.5, 150]; expected two whole numbers"),
    ({"rot_mat": [1, 0, 0]}, "rot_mat is [1, 0, 0]; expected 3 x 3 finite numbers"),
    ({"trans_mat": None}, "trans_mat is None; expected 3 finite numbers"),
    ({"focal_length": 0}, "focal_length is 0; expected millimetres above zero"),
]


@pytest.mark.parametrize(("change", "message"), WRONG, ids=[f"{next(iter(c))}-{n}" for n, (c, _) in enumerate(WRONG)])
def test_an_invalid_entry_is_refused_with_its_number(furniture, tmp_path, change, message):
    (entry,) = entries_of(furniture)
    (tmp_path / "out").symlink_to(furniture)
    write_index(tmp_path, [{**entry, "img": "img/chair/0002.jpg"}, {**entry, **change}])
    with pytest.raises(ValueError, match=f"pix3d.json: entry 1: .*{re.escape(message)}"):
        pix3d.read_index(tmp_path)


def test_a_missing_key_is_named(furniture, tmp_path):
    (entry,) = entries_of(furniture)
    for key in pix3d.KEYS:
        write_index(tmp_path, [{name: value for name, value in entry.items() if name != key}])
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
    with pytest.raises(FileNotFoundError, match=r"no pix3d.json; get it with `p2v fetch pix3d"):
        pix3d.load(tmp_path, 96)
    (tmp_path / pix3d.INDEX).write_text(content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path / pix3d.INDEX))}: .*{message}"):
        pix3d.read_index(tmp_path)
