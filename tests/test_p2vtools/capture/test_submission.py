"""Captures filed in a data set: what is in the tree, what is not, and cameras of pictures that were cut."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from p2vlib.data import shapenet
from p2vlib.data.capture_folder import read_photo_set
from p2vlib.geometry.cameras import Camera, look_at, read_cameras
from p2vlib.geometry.frames import FOOT_CUBE, FOOT_SYNSET
from p2vlib.geometry.grids import read_binvox
from p2vtools.__main__ import main
from p2vtools.capture import charuco
from p2vtools.capture.submission import KNEE_HEIGHT, LEG_RADIUS, Submission, below_knee_box, submit_capture
from p2vtools.synthesis.mat import get_mat
from tests.mats import seen_by

MAT = get_mat("a3")
AZIMUTHS = (0, 90, 180, 270)
SECRETS = (b"SERIAL-123", b"MAKERNOTE-9", b"Phone 7", b"Maker", b"2026:11:02", b"IMG_", b"GPSLat", b"ANNA", b"Exif")


def camera_at(azimuth: float, elevation: float = 30, distance: float = 1.0) -> Camera:
    """From far enough away that the knee is in the picture."""
    return look_at((azimuth, elevation, 0, distance, 60), np.array([0, 0.2, 0]), 1280, 1280)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """As they come from a phone: place, time, serial number, maker's note, comment and XMP in each."""
    folder = tmp_path_factory.mktemp("phone")
    for number, azimuth in enumerate(AZIMUTHS):
        picture = Image.fromarray(seen_by(camera_at(azimuth), MAT))
        exif = Image.Exif()
        exif[0x010F], exif[0x0110], exif[0x0132] = "Maker", "Phone 7", "2026:11:02 10:00:00"
        exif.get_ifd(0x8769)[0xA431], exif.get_ifd(0x8769)[0x927C] = "SERIAL-123", b"MAKERNOTE-9"
        exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
        told = {"exif": exif, "comment": b"ANNA", "xmp": b"<exif:GPSLatitude>52,31N</exif:GPSLatitude>"}
        picture.save(folder / f"IMG_{number:04d}.jpg", quality=97, **told)
    return folder


def arguments(source: Path, tree: Path, subject: str = "p-7", side: str = "left", *more: str) -> list[str]:
    told = ["--mat", "a3", "--side", side, "--subject", subject, "--consent", "yes", "--into", str(tree)]
    return ["capture", str(source), *told, *more]


@pytest.fixture(scope="module")
def tree(photos, tmp_path_factory) -> Path:
    tree = tmp_path_factory.mktemp("data") / "feet"
    assert main(arguments(photos, tree)) == 0
    return tree


def capture_of(folder: Path, model: trimesh.Trimesh | None = None, side: str = "left", views: int = 4) -> Path:
    """A capture folder as other tools leave it: PNGs with words in them, cameras as rows, a model at will."""
    (folder / "rendering").mkdir(parents=True)
    rows = ""
    for number, azimuth in enumerate(AZIMUTHS[:views]):
        row = (azimuth, 40, 0, 0.5, 50)
        picture = Image.fromarray(seen_by(look_at(row, FOOT_CUBE.centre, 320, 320), MAT))
        picture.info["comment"] = "ANNA"
        picture.save(folder / "rendering" / f"ANNA-{number}.png")
        rows += " ".join(map(str, row)) + "\n"
    (folder / "rendering" / "rendering_metadata.txt").write_text(rows)
    (folder / "subject.json").write_text(json.dumps({"side": side, "name": "ANNA", "cameras": "noted by hand"}))
    if model:
        model.export(folder / "model.obj")
    return folder


def block() -> trimesh.Trimesh:
    """250 x 100 x 90 mm, off the middle."""
    return trimesh.creation.box([0.25, 0.1, 0.09]).apply_translation([0.01, 0.05, -0.02])


# ------------------------------------------------------------------------------------------------- what is in the tree


def test_the_tree_is_that_of_the_slides(tree):
    names = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
    folder = "ShapeNetRendering/05563266/p-7-left"
    pictures = {f"{folder}/rendering/{number:02d}.jpg" for number in range(4)}
    lists = {f"{folder}/rendering/{name}" for name in ("renderings.txt", "rendering_metadata.txt")}
    assert names == {"taxonomy.json", f"{folder}/cameras.json", f"{folder}/subject.json"} | pictures | lists
    shots = read_photo_set(tree / folder)
    assert shots.side == "left" and shots.names == ["00.jpg", "01.jpg", "02.jpg", "03.jpg"]


def test_a_model_is_filed_with_its_grid_and_the_reader_of_the_archive_takes_it(tmp_path):
    capture = capture_of(tmp_path / "capture", block(), "right")
    tree = tmp_path / "tree"
    assert main(arguments(capture, tree, "p9", "right", "--licence", "CC0-1.0")) == 0
    (category,) = shapenet.read_taxonomy(tree / "taxonomy.json")
    listed = [*category.train, *category.validation, *category.test]
    assert category.synset == FOOT_SYNSET and listed == ["p9-right"]
    found = shapenet.read_object(tree, FOOT_SYNSET, "p9-right")
    assert len(found.photos) == 4 and found.subject["licence"] == "CC0-1.0"
    for camera, azimuth in zip(found.cameras, AZIMUTHS, strict=True):
        assert camera.position == pytest.approx(look_at((azimuth, 40, 0, 0.5, 50), FOOT_CUBE.centre, 9, 9).position)
    beside = read_binvox(tree / "ShapeNetVox32" / FOOT_SYNSET / "p9-right" / "model.binvox")
    assert (beside.volume == found.truth.volume).all() and beside.size == 32
    inside = beside.cube.voxel_centres(32)[beside.volume]
    assert inside.mean(0) == pytest.approx([0.01, 0.05, -0.02], abs=0.002), "where the mesh is"


def test_both_feet_of_a_person_are_in_one_split_and_other_categories_stay(photos, tmp_path):
    chair = {"taxonomy_id": "03001627", "taxonomy_name": "chair", "train": ["a"], "val": [], "test": []}
    (tmp_path / "taxonomy.json").write_text(json.dumps([chair]))
    capture = capture_of(tmp_path / "capture", views=1)
    (capture / "subject.json").unlink()
    for number in range(12):
        for side in ("left", "right"):
            submit_capture(capture, Submission(tmp_path, f"p{number}", side, "yes"))
    other, feet = shapenet.read_taxonomy(tmp_path / "taxonomy.json")
    assert other.train == ("a",)
    places = [{name.rsplit("-", 1)[0] for name in split} for split in (feet.train, feet.validation, feet.test)]
    assert sum(map(len, places)) == 12 == len(set.union(*places)) and len(feet.train) >= 12


# ----------------------------------------------------------------------------------------------------- what is left out


def test_nothing_tells_who_where_or_when(tree, photos):
    before = b"".join(path.read_bytes() for path in photos.iterdir())
    assert all(word in before for word in SECRETS if word != b"IMG_")
    for path in tree.rglob("*"):
        if path.is_file():
            assert not [word for word in SECRETS if word in path.read_bytes()], path
    picture = Image.open(next(tree.rglob("*.jpg")))
    assert not picture.getexif() and not {"comment", "xmp", "exif"} & set(picture.info)
    assert [name for name, _ in picture.applist] == ["APP0"]


def test_of_a_capture_only_how_it_was_made_is_kept(tmp_path):
    folder = submit_capture(capture_of(tmp_path / "capture"), Submission(tmp_path / "tree", "p9", "left", "yes"))
    subject = json.loads((folder / "subject.json").read_text())
    assert subject.pop("consent").keys() == {"given", "filed"} and len(subject.pop("cube")) == 2
    made = {"made": "photos, cameras: noted by hand", "licence": "CC-BY-4.0", "look": "phone", "metadata": "metric"}
    assert subject == {"subject": "p9", "side": "left", "split": "train", "taxonomy": FOOT_SYNSET, **made}
    assert all(b"ANNA" not in path.read_bytes() for path in (tmp_path / "tree").rglob("*") if path.is_file())


# ------------------------------------------------------------------------------------------------------- above the knee


def test_a_picture_is_cut_above_the_knee_and_its_camera_stays_right(tree):
    folder = next((tree / "ShapeNetRendering" / FOOT_SYNSET).iterdir())
    cameras = read_cameras(folder / "cameras.json")
    for number, camera in enumerate(cameras):
        picture = np.asarray(Image.open(folder / "rendering" / f"{number:02d}.jpg"))
        assert picture.shape == (camera.height, camera.width, 3) and camera.width == 1280
        assert 880 < camera.height < 1120, "the rim of the knee's cylinder is the upper border"
        angle = np.linspace(0, 2 * np.pi, 60)
        rim = camera.project(
            np.column_stack([LEG_RADIUS * np.cos(angle), np.full(60, KNEE_HEIGHT), LEG_RADIUS * np.sin(angle)])
        )
        assert 0 <= rim[:, 1].min() < 2.5
        seen = charuco.detect_board("cut", picture, MAT)
        expected = camera.project(MAT.corners()[seen.ids])[:, :2] - 0.5
        assert len(seen.ids) > 40 and np.linalg.norm(seen.corners - expected, axis=1).mean() < 0.7


@pytest.mark.parametrize(("roll", "edge"), [(0, 1), (90, 0), (180, 3), (270, 2)])
def test_up_is_where_the_leg_goes_however_the_phone_was_held(roll, edge):
    camera = look_at((20, 25, roll, 1.1, 60), np.array([0, 0.2, 0]), 400, 400)
    box = below_knee_box(camera, np.zeros(3))
    whole = (0, 0, 400, 400)
    assert [number for number in range(4) if box[number] != whole[number]] == [edge]
    leg = np.array([[x, y, z] for x in (-0.11, 0.11) for y in (0, KNEE_HEIGHT) for z in (-0.11, 0.11)])
    shown = camera.cropped(box).project(leg)
    cut = camera.cropped(box)
    assert (shown[:, :2] >= 0).all() and (shown[:, :2] <= [cut.width, cut.height]).all()
    assert shown[:, 2] == pytest.approx(camera.project(leg)[:, 2])
    thigh = cut.project(np.array([[0.0, 0.75, 0]]))[0]
    assert not (0 <= thigh[0] <= cut.width and 0 <= thigh[1] <= cut.height)


@pytest.mark.parametrize(("elevation", "distance"), [(45, 0.5), (20, 0.3), (60, 0.7)])
def test_where_the_knee_is_not_in_the_picture_all_of_it_stays(elevation, distance):
    camera = look_at((200, elevation, 0, distance, 50), FOOT_CUBE.centre, 400, 300)
    assert below_knee_box(camera, np.zeros(3)) == (0, 0, 400, 300)


# --------------------------------------------------------------------------------------------------------- what it asks


def test_what_is_not_filed_is_one_clear_sentence(photos, tree, tmp_path, capsys):
    capture = capture_of(tmp_path / "capture")
    blind = capture_of(tmp_path / "blind")
    (blind / "rendering" / "rendering_metadata.txt").write_text("0 40 0 0.5 50\n" * 3 + "90 40 150 0.5 50 1\n")
    chair = capture_of(tmp_path / "chair", trimesh.creation.box([0.5, 0.5, 0.5]))
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "taxonomy.json").write_text("{}")
    new = tmp_path / "new"
    for told, sentence in (
        (["capture", str(photos), "--side", "left", "--into", str(new), "--subject", "p9"], "say --consent yes once"),
        ([*arguments(photos, new), "--consent", "no"], "the person in the photos, or who answers for a child, has to"),
        (arguments(photos, new, "anna@example.org"), "expected an id of 1 to 40 letters, digits and dashes"),
        (arguments(photos, new, "Anna B"), "neither name nor e-mail"),
        (arguments(photos, new, "../p9"), "expected an id of 1 to 40"),
        (["capture", str(photos), "--side", "left", "--into", str(new), "--consent", "yes"], "subject is None"),
        ([*arguments(photos, new), "--licence", "mine"], "licence is 'mine'; expected one of CC-BY-4.0"),
        (arguments(photos, tree), "p-7-left: already exists"),
        (arguments(capture, new, "p9", "right"), "is told to be a left foot; it cannot be filed as a right one"),
        (arguments(blind, new), "expected azimuth elevation in-plane distance fov"),
        (arguments(chair, new), "leaves its cube of 0.32 m; expected a foot, in metres, on the floor"),
        (arguments(capture, broken), "holds no list of categories"),
        (["capture", str(photos), "--side", "left"], "say --out CAPTURE_FOLDER, or --into TREE"),
        (["capture", str(photos), "--side", "left", "--out", str(new), "--subject", "p9"], "or --into TREE to file it"),
    ):
        assert main(told) == 1, sentence
        said = capsys.readouterr().err
        assert sentence in said and said.startswith("p2vlib: ") and said.count("\n") == 1, said
        assert not new.exists() or not [path for path in new.rglob("*") if path.is_file()], "nothing half-written"
    assert [path.name for path in broken.iterdir()] == ["taxonomy.json"]


def test_a_camera_that_looks_away_is_named(tmp_path):
    capture = capture_of(tmp_path / "capture")
    away = look_at((0, 10, 0, 3.0, 20), np.array([0, 2.0, 0]), 320, 320)
    (capture / "rendering" / "renderings.txt").write_text("ANNA-0.png\n")
    from p2vlib.geometry.cameras import write_cameras

    write_cameras(capture / "cameras.json", [away])
    (capture / "subject.json").write_text(json.dumps({"cube": {"lower": [-0.16, 0, -0.16], "edge": 0.32}}))
    with pytest.raises(ValueError, match="ANNA-0.png: its camera sees nothing of the leg below the knee"):
        submit_capture(capture, Submission(tmp_path / "tree", "p9", "left", "yes"))
    assert not list((tmp_path / "tree").rglob("*.*"))
