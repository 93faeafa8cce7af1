"""Pix3D's layout and axes: a small archive is written here by the words of its README, and read back in our frame."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image
from scipy.io import savemat

from p2vlib import pix3d
from p2vlib.cameras import Camera, look_at
from p2vlib.capture import looks, photos
from p2vlib.capture.objects import make_object
from p2vlib.conventions import Cube, object_cube
from p2vlib.grids import voxelise

CHAIR, UNIT = "03001627", Cube((-0.5, -0.5, -0.5), 1.0)
WIDTH, HEIGHT, FIELD = 200, 150, 42.0
BOARD = np.array([[-0.14, 0.075, 0.23], [0.22, 0.125, 0.45]])


def in_model_axes(points: np.ndarray) -> np.ndarray:
    """Left (our z), up, inward (against our x)."""
    return np.column_stack([points[:, 2], points[:, 1], -points[:, 0]])


def write_archive(root: Path) -> None:
    """Files one rendered chair, turned and off the middle of its picture, as Pix3D does.

    It is a student's, with a board to write on at its right: a chair alone is its own mirror image.
    """
    board = trimesh.creation.box(bounds=BOARD)
    mesh = trimesh.util.concatenate([make_object(CHAIR, seed=1, index=3), board])
    assert np.abs(mesh.bounds).max() < 0.5, "the solid's cube holds it"
    camera = look_at((35.0, 20.0, 6.0, 1.5, FIELD), np.array([0.02, 0.04, -0.06]), WIDTH, HEIGHT)
    (picture,) = photos.studio_photos(mesh, [camera], 4)
    model = "model/chair/OWN_ONE"
    for folder in ("img/chair", "mask/chair", model):
        (root / folder).mkdir(parents=True)
    Image.fromarray(picture[..., :3]).save(root / "img/chair/0001.png")
    Image.fromarray(picture[..., 3]).save(root / "mask/chair/0001.png")
    solid = voxelise(in_model_axes(mesh.vertices), mesh.faces, UNIT, 128).volume
    # left, up, inward -> left, outward, up
    savemat(root / model / "voxel.mat", {"voxel": solid[:, :, ::-1].transpose(0, 2, 1).astype(np.uint8)})
    write_index(root, [entry_of(camera)])


def entry_of(camera: Camera) -> dict:
    """What the index says of ``camera``: where left, up and inward of the model show in x left, y up, z forward."""
    flip = np.array([-1, -1, 1])
    axes = camera.extrinsics[:3, :3] @ np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]]).T
    return {
        "img": "img/chair/0001.png",
        "mask": "mask/chair/0001.png",
        "category": "chair",
        "img_size": [WIDTH, HEIGHT],
        "voxel": "model/chair/OWN_ONE/voxel.mat",
        "model": "model/chair/OWN_ONE/model.obj",
        "rot_mat": (flip[:, None] * axes).tolist(),
        "trans_mat": (flip * camera.extrinsics[:3, 3]).tolist(),
        "focal_length": 16 / np.tan(np.deg2rad(FIELD / 2)),
        "cam_position": [0, 0, -1.5],
        "inplane_rotation": 0.0,
        "truncated": False,
        "occluded": False,
        "slightly_occluded": False,
        "bbox": [40, 10, 160, 140],
    }


def write_index(root: Path, entries: object) -> None:
    (root / pix3d.INDEX).write_text(json.dumps(entries))


def entries_of(root: Path) -> list[dict]:
    return json.loads((root / pix3d.INDEX).read_text())


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("pix3d")
    write_archive(root)
    return root


@pytest.fixture
def copy(archive, tmp_path) -> Path:
    """The archive, to be spoilt."""
    return Path(shutil.copytree(archive, tmp_path / "pix3d"))


def silhouette_iou(capture, volume: np.ndarray) -> float:
    """IoU of the picture's alpha with the outline of ``volume``: every voxel as a small cube of points, projected."""
    seen = np.asarray(Image.open(io.BytesIO(capture.photos[0])))[..., 3] > 127
    steps = 256 // len(volume)
    fine = np.stack(np.meshgrid(*[(np.arange(steps) + 0.5) / steps] * 3, indexing="ij"), -1).reshape(-1, 3)
    cells = (np.argwhere(volume)[:, None] + fine).reshape(-1, 3) / len(volume)
    points = np.asarray(capture.truth.cube.lower) + capture.truth.cube.edge * cells
    column, row, _ = np.floor(capture.cameras[0].project(points)).astype(int).T
    inside = (column >= 0) & (column < WIDTH) & (row >= 0) & (row < HEIGHT)
    drawn = np.zeros_like(seen)
    drawn[row[inside], column[inside]] = True
    return float((seen & drawn).sum() / (seen | drawn).sum())


def test_the_solid_lies_where_the_picture_shows_it(archive):
    (picture,) = pix3d.read_index(archive)
    capture = pix3d.read_picture(archive, picture, grid=128)
    truth = capture.truth.volume
    score = silhouette_iou(capture, truth)
    assert score >= 0.93
    assert silhouette_iou(capture, truth.transpose(2, 0, 1)) < 0.4, "the archive's axes as if they were ours"
    assert silhouette_iou(capture, truth[::-1]) < 0.6, "back to front"
    assert silhouette_iou(capture, truth[:, :, ::-1]) < 0.75, "left for right"
    aside = [silhouette_iou(capture, np.roll(truth, step, axis)) for axis in range(3) for step in (-1, 1)]
    assert max(aside) < score - 0.005, "one voxel of 128 to any side is worse: there is no half voxel either"


def test_a_coarser_solid_is_fatter_and_stays_in_its_place(archive):
    (picture,) = pix3d.read_index(archive)
    fine, coarse = (pix3d.read_picture(archive, picture, grid=grid).truth for grid in (128, 64))
    assert coarse.cube == fine.cube == UNIT and coarse.size == 64
    assert (coarse.volume.repeat(2, 0).repeat(2, 1).repeat(2, 2) >= fine.volume).all()
    capture = pix3d.read_picture(archive, picture, grid=64)
    assert silhouette_iou(capture, capture.truth.volume) >= 0.87
    assert pix3d.read_picture(archive, picture).truth.size == 32


def test_the_camera_is_the_one_of_the_readme(archive):
    """A 32 mm sensor, x to the left and y up: u = W/2 - f x/z, v = H/2 - f y/z, for points of the model's own axes."""
    (picture,) = pix3d.read_index(archive)
    (entry,) = entries_of(archive)
    ours = np.random.default_rng(0).uniform(-0.5, 0.5, (50, 3))
    x, y, z = np.array(entry["rot_mat"]) @ in_model_axes(ours).T + np.array(entry["trans_mat"])[:, None]
    focal = entry["focal_length"] / 32 * WIDTH
    expected = np.column_stack([WIDTH / 2 - focal * x / z, HEIGHT / 2 - focal * y / z, z])
    (camera,) = pix3d.read_picture(archive, picture).cameras
    assert np.allclose(camera.project(ours), expected)
    assert (camera.width, camera.height) == (WIDTH, HEIGHT)


def test_neither_step_into_our_frame_mirrors():
    """Both of the archive's frames are right-handed, as ours is: left x up = inward, and left x outward = up."""
    outward, up, left = np.eye(3)  # of the object's front: +x, +y, +z in our frame
    assert np.allclose(np.cross(left, up), -outward) and np.allclose(np.cross(left, outward), up)
    assert np.linalg.det(pix3d.FROM_MODEL) == pytest.approx(1)
    assert np.allclose(pix3d.FROM_MODEL, np.column_stack([left, up, -outward]))
    assert np.linalg.det(np.eye(3)[list(pix3d.FROM_SOLID)]) == pytest.approx(1)
    assert np.linalg.det(pix3d.FROM_CAMERA) == pytest.approx(1)


def test_left_outward_and_up_of_a_solid_are_told_apart(copy):
    """A block 3 voxels to the left, 2 outward and 1 up from the least corner: ours is [2, 1, 3], on its right."""
    solid = np.zeros((8, 8, 8))
    solid[3, 2, 1] = 1
    write_solid(copy, solid)
    (picture,) = pix3d.read_index(copy)
    truth = pix3d.read_picture(copy, picture, grid=8).truth
    assert np.argwhere(truth.volume).tolist() == [[2, 1, 3]] and truth.cube == UNIT


def test_a_thin_leg_survives_the_reduction(copy):
    solid = np.zeros((32, 32, 32), bool)
    solid[9, 13, :16] = True
    write_solid(copy, solid)
    (picture,) = pix3d.read_index(copy)
    volume = pix3d.read_picture(copy, picture, grid=8).truth.volume
    assert np.argwhere(volume).tolist() == [[3, up, 2] for up in range(4)]


def test_a_picture_is_read_as_a_capture(archive):
    (picture,) = pix3d.read_index(archive)
    assert picture.name == "chair-0001" and picture.img == Path("img/chair/0001.png")
    capture = pix3d.read_picture(archive, picture)
    assert capture.folder.name == "chair-0001"
    assert capture.subject == {
        "subject": "model/chair/OWN_ONE",
        "taxonomy": "chair",
        "look": "photo",
        "metadata": "pix3d",
        "box": [40, 10, 160, 140],
    }
    (content,) = capture.photos
    pixels = Image.open(io.BytesIO(content))
    assert pixels.format == "PNG" and pixels.mode == "RGBA"
    assert np.array_equal(np.asarray(pixels)[..., :3], np.asarray(Image.open(archive / picture.img)))
    assert np.array_equal(np.asarray(pixels)[..., 3], np.asarray(Image.open(archive / picture.mask)))


def test_grey_pictures_and_coloured_masks_are_read(copy):
    (picture,) = pix3d.read_index(copy)
    grey = Image.open(copy / picture.img).convert("L")
    grey.save(copy / picture.img)
    Image.open(copy / picture.mask).convert("RGBA").save(copy / picture.mask)
    alpha = np.asarray(Image.open(io.BytesIO(pix3d.read_picture(copy, picture).photos[0])))
    assert np.array_equal(alpha[..., 0], np.asarray(grey)) and np.array_equal(alpha[..., 0], alpha[..., 2])
    assert set(np.unique(alpha[..., 3])) >= {0, 255}


def write_solid(root: Path, solid: np.ndarray, key: str = "voxel") -> None:
    savemat(root / "model/chair/OWN_ONE/voxel.mat", {key: solid}, do_compression=True)


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
    "no picture": (lambda root: (root / IMG).unlink(), IMG, "missing; expected a picture"),
    "broken picture": (lambda root: (root / IMG).write_bytes(b"none"), IMG, "not a readable picture"),
    "cut picture": (lambda root: cut_off(root, IMG), IMG, "not a readable picture"),
    "another size": (lambda root: blank(root, IMG, 150, 200), IMG, "150 x 200 pixels; its img_size"),
    "huge picture": (lambda root: blank(root, IMG, 5000, 5000), IMG, "5000 x 5000 pixels; at most 16777216"),
    "bomb": (lambda root: blank(root, IMG, 20000, 10000), IMG, "not a readable picture .*200000000 pixels"),
    "no mask": (lambda root: (root / MASK).unlink(), MASK, "missing; expected a picture"),
    "broken mask": (lambda root: (root / MASK).write_bytes(b""), MASK, "not a readable picture"),
    "other mask": (lambda root: blank(root, MASK, 100, 75), MASK, "100 x 75 pixels; expected 200 x 150, as .*0001.png"),
    "empty mask": (lambda root: blank(root, MASK, WIDTH, HEIGHT, 1), MASK, "marks no pixel"),
    "no solid": (lambda root: (root / SOLID).unlink(), SOLID, "missing; expected a solid"),
    "empty file": (lambda root: (root / SOLID).write_bytes(b""), SOLID, "not a readable MATLAB file"),
    "broken solid": (lambda root: (root / SOLID).write_bytes(b"none" * 99), SOLID, "not a readable MATLAB file"),
    "cut solid": (lambda root: cut_off(root, SOLID), SOLID, "not a readable MATLAB file"),
    "other key": (
        lambda root: write_solid(root, bit(32, 32, 32), "grid"),
        SOLID,
        r"holds \['grid'\] and no array",
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
def test_a_file_that_is_not_as_published_is_named(copy, fault):
    spoil, name, sentence = SPOILT[fault]
    (picture,) = pix3d.read_index(copy)
    spoil(copy)
    with pytest.raises(ValueError, match=f"^{re.escape(str(copy / name))}: .*{sentence}"):
        pix3d.read_picture(copy, picture)


def test_a_grid_without_voxels_is_refused(archive):
    (picture,) = pix3d.read_index(archive)
    with pytest.raises(ValueError, match="at least one voxel a side; found 0"):
        pix3d.read_picture(archive, picture, grid=0)


def test_a_rotation_that_mirrors_is_refused(copy):
    (entry,) = entries_of(copy)
    write_index(copy, [{**entry, "rot_mat": np.diag([1, 1, -1]).tolist()}])
    (picture,) = pix3d.read_index(copy)
    with pytest.raises(ValueError, match="pix3d.json: rot_mat of chair-0001 is no rotation"):
        pix3d.read_picture(copy, picture)


WRONG = [
    ({"img": 3}, "img is 3; expected text"),
    ({"truncated": "false"}, "truncated is 'false'; expected true or false"),
    ({"img": "img/chair/00 01.png"}, "img 'img/chair/00 01.png' makes no id"),
    ({"img": "../chair/0001.png"}, "img '../chair/0001.png' lies outside"),
    ({"mask": "/etc/passwd"}, "mask '/etc/passwd' lies outside"),
    ({"voxel": "model/../../voxel.mat"}, "voxel 'model/../../voxel.mat' lies outside"),
    ({"voxel": "model/\0.mat"}, "lies outside"),
    ({"voxel": "out/voxel.mat"}, "voxel 'out/voxel.mat' lies outside"),
    ({"bbox": [1, 2, 3]}, "bbox is [1, 2, 3]; expected 4 finite numbers"),
    ({"bbox": [1, 2, 3, "4"]}, "bbox is [1, 2, 3, '4']; expected 4 finite numbers"),
    ({"bbox": [1, 2, 3, [4, 5]]}, "expected 4 finite numbers"),
    ({"bbox": [1, 2, 3, float("nan")]}, "bbox is [1, 2, 3, nan]; expected 4 finite numbers"),
    ({"bbox": [5, 2, 5, 9]}, "bbox [5.0, 2.0, 5.0, 9.0] is empty"),
    ({"img_size": [200.5, 150]}, "img_size is [200.5, 150]; expected two whole numbers"),
    ({"rot_mat": [1, 0, 0]}, "rot_mat is [1, 0, 0]; expected 3 x 3 finite numbers"),
    ({"trans_mat": None}, "trans_mat is None; expected 3 finite numbers"),
    ({"focal_length": 0}, "focal_length is 0; expected millimetres above zero"),
    ({"focal_length": [35]}, "focal_length is [35]; expected a finite number"),
]


@pytest.mark.parametrize(("change", "sentence"), WRONG, ids=[f"{next(iter(c))}-{n}" for n, (c, _) in enumerate(WRONG)])
def test_a_wrong_entry_names_itself(archive, tmp_path, change, sentence):
    (entry,) = entries_of(archive)
    (tmp_path / "out").symlink_to(archive)
    write_index(tmp_path, [{**entry, "img": "img/chair/0002.jpg"}, {**entry, **change}])
    with pytest.raises(ValueError, match=f"pix3d.json: entry 1: .*{re.escape(sentence)}"):
        pix3d.read_index(tmp_path)


@pytest.mark.parametrize("key", pix3d.KEYS)
def test_an_entry_without_one_of_its_keys_names_it(archive, tmp_path, key):
    (entry,) = entries_of(archive)
    del entry[key]
    write_index(tmp_path, [entry])
    with pytest.raises(ValueError, match=f"pix3d.json: entry 0 has no {key}; it needs img, mask"):
        pix3d.read_index(tmp_path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("not json", "not JSON"),
        ("{}", "no list of pictures"),
        ("[]", "no list of pictures"),
        ("[3]", "entry 0 has no img"),
    ],
)
def test_a_broken_index_names_itself(tmp_path, content, sentence):
    with pytest.raises(FileNotFoundError, match="pix3d.json: no such file; expected Pix3D's index"):
        pix3d.read_index(tmp_path)
    (tmp_path / pix3d.INDEX).write_text(content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(tmp_path / pix3d.INDEX))}: .*{sentence}"):
        pix3d.read_index(tmp_path)


def test_ids_are_unique(archive, tmp_path):
    (entry,) = entries_of(archive)
    names = ["img/chair/0001.png", "img/chair/0001.jpg", "img/bed/0001.png"]
    write_index(tmp_path, [{**entry, "img": names[0]}, {**entry, "img": names[2]}])
    assert [p.name for p in pix3d.read_index(tmp_path)] == ["chair-0001", "bed-0001"]
    write_index(tmp_path, [{**entry, "img": name} for name in names])
    with pytest.raises(ValueError, match="entry 1 is a second chair-0001"):
        pix3d.read_index(tmp_path)


def test_tables_are_made_from_whole_objects_of_one_category(archive, tmp_path):
    (entry,) = entries_of(archive)
    kinds = [{}, {"truncated": True}, {"occluded": True}, {"slightly_occluded": True}, {"category": "sofa"}]
    write_index(tmp_path, [{**entry, "img": f"img/any/{n}.png", **kind} for n, kind in enumerate(kinds)])
    pictures = pix3d.read_index(tmp_path)
    assert [p.occluded for p in pictures] == [False, False, True, True, False]
    assert [p.name for p in pix3d.tested(pictures)] == ["any-0"]
    assert [p.name for p in pix3d.tested(pictures, "sofa")] == ["any-4"]


@pytest.mark.parametrize("box", [[0, 0, 1e5, 1e5], [500, 500, 600, 600]])
def test_a_box_outside_its_picture_is_refused(copy, box):
    write_index(copy, [{**entries_of(copy)[0], "bbox": box}])
    with pytest.raises(ValueError, match="bbox of chair-0001 is .*; expected one inside its 200 x 150 pixels"):
        pix3d.load(copy, 96)


def test_tested_chairs_become_captures_of_one_view(copy):
    chair = entries_of(copy)[0]
    (copy / "img/chair/0002.png").write_bytes(b"no picture")
    broken = {**chair, "img": "img/chair/0002.png"}
    hidden = {**chair, "img": "img/chair/0003.png", "occluded": True}
    write_index(copy, [chair, broken, hidden])
    with pytest.raises(ValueError, match="0002.png: not a readable picture"):
        pix3d.load(copy, 96)
    captures, skipped = pix3d.load(copy, 96, on_error="skip")
    assert captures.table["sample"].tolist() == ["chair-0001"] and skipped.object.tolist() == ["chair-0002"]
    assert captures.photos.shape == (1, 1, 4, 96, 96) and captures.truth.shape == (1, 32, 32, 32)
    assert pix3d.load(copy, 96, limit=1)[1].empty


def test_a_chair_fills_its_photo_as_those_do_that_were_learnt_from(archive, copy):
    seen = np.asarray(Image.open(archive / "mask/chair/0001.png")) > 127
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    box = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
    write_index(copy, [{**entries_of(copy)[0], "bbox": box}])
    photo = pix3d.load(copy, 96)[0].photos[0, 0, 3].numpy() > 127
    extent = max(np.ptp(np.flatnonzero(photo.any(axis))) + 1 for axis in (0, 1))
    assert extent == pytest.approx(96 * pix3d.FILLED, abs=2)
    assert np.flatnonzero(photo.any(0)).mean() == pytest.approx(48, abs=6)


def test_filled_is_what_embedded_chairs_take_of_their_photos():
    shares = []
    for index in range(40):
        mesh = make_object(CHAIR, seed=21, index=index)
        _, cameras = looks.studio_cameras(np.random.default_rng(index), 8, 1.0, np.zeros(3))
        for camera in cameras:
            left, upper, right, lower = camera.box(object_cube(mesh.bounds))
            across = np.ptp(camera.project(mesh.vertices)[:, :2], axis=0) / [right - left, lower - upper]
            shares.append(across.max())
    assert np.median(shares) == pytest.approx(pix3d.FILLED, abs=0.02)


def test_without_the_archive_it_says_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no pix3d.json; get it with `python -m p2vlib fetch pix3d"):
        pix3d.load(tmp_path / "pix3d", 96)
