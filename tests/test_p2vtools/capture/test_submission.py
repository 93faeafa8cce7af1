"""Captures in a shared data set: files in the tree, what is removed, and cameras of cropped photos."""

from __future__ import annotations

import json
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from p2vlib.geometry.cameras import look_at
from p2vlib.geometry.frames import FOOT_CUBE, FOOT_SYNSET
from p2vtools.archives.binvox import read_binvox
from p2vtools.archives.camera_files import read_cameras, write_cameras
from p2vtools.archives.capture_folder import read_capture
from p2vtools.archives.shapenet import read_taxonomy
from p2vtools.capture.charuco import detect_board
from p2vtools.capture.submission import KNEE_HEIGHT, LEG_RADIUS, Submission, below_knee_box, crop_camera, submit_capture
from p2vtools.cli import main
from p2vtools.fit.photo_set import read_photo_set
from p2vtools.synthesis.mat import get_mat
from tests.mats import mat_image_from, write_phone_photos

MAT = get_mat("a3")
AZIMUTHS = (0, 90, 180, 270)
SECRETS = (b"SERIAL-123", b"MAKERNOTE-9", b"Phone 7", b"Maker", b"2026:11:02", b"IMG_", b"GPSLat", b"ANNA", b"Exif")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """From far enough away to show the knee."""
    cameras = [look_at((azimuth, 30, 0, 1.0, 60), np.array([0, 0.2, 0]), 1280, 1280) for azimuth in AZIMUTHS]
    return write_phone_photos(tmp_path_factory.mktemp("phone"), [mat_image_from(camera, MAT) for camera in cameras])


def arguments(source: Path, tree: Path, subject: str = "p-7", side: str = "left", *more: str) -> list[str]:
    options = ["--mat", "a3", "--side", side, "--subject", subject, "--consent", "yes", "--into", str(tree)]
    return ["capture", str(source), *options, *more]


@pytest.fixture(scope="module")
def tree(photos, tmp_path_factory) -> Path:
    tree = tmp_path_factory.mktemp("data") / "feet"
    assert main(arguments(photos, tree)) == 0
    return tree


def write_source(folder: Path, model: trimesh.Trimesh | None = None, side: str = "left", views: int = 4) -> Path:
    """A capture folder from another tool: PNG files with comments, metadata rows, optionally a model."""
    (folder / "rendering").mkdir(parents=True)
    rows = ""
    for number, azimuth in enumerate(AZIMUTHS[:views]):
        row = (azimuth, 40, 0, 0.5, 50)
        image = Image.fromarray(mat_image_from(look_at(row, FOOT_CUBE.centre, 320, 320), MAT))
        image.info["comment"] = "ANNA"
        image.save(folder / "rendering" / f"ANNA-{number}.png")
        rows += " ".join(map(str, row)) + "\n"
    (folder / "rendering" / "rendering_metadata.txt").write_text(rows)
    subject = {"side": side, "name": "ANNA", "cameras": "noted by hand", "scale": "noted"}
    (folder / "subject.json").write_text(json.dumps(subject))
    if model:
        model.export(folder / "model.obj")
    return folder


def test_tree_has_the_layout_of_shapenet(tree):
    names = {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()}
    folder = "ShapeNetRendering/05563266/p-7-left"
    photos = {f"{folder}/rendering/{number:02d}.jpg" for number in range(4)}
    lists = {f"{folder}/rendering/{name}" for name in ("renderings.txt", "rendering_metadata.txt")}
    assert names - {".lock"} == {"taxonomy.json", f"{folder}/cameras.json", f"{folder}/subject.json"} | photos | lists
    photo_set = read_photo_set(tree / folder)
    assert photo_set.side == "left" and photo_set.names == ["00.jpg", "01.jpg", "02.jpg", "03.jpg"]


def test_model_is_submitted_with_its_grid_and_read_as_a_capture(tmp_path):
    block = trimesh.creation.box([0.25, 0.1, 0.09]).apply_translation([0.01, 0.05, -0.02])
    tree = tmp_path / "tree"
    source = write_source(tmp_path / "capture", block, "right")
    assert main(arguments(source, tree, "p9", "right", "--licence", "CC0-1.0")) == 0
    taxonomy = read_taxonomy(tree / "taxonomy.json")
    assert (taxonomy.synset.tolist(), taxonomy.object.tolist()) == ([FOOT_SYNSET], ["p9-right"])
    found = read_capture(tree / "ShapeNetRendering" / FOOT_SYNSET / "p9-right")
    assert len(found.photos) == 4 and found.subject["licence"] == "CC0-1.0"
    for camera, azimuth in zip(found.cameras, AZIMUTHS, strict=True):
        assert camera.position == pytest.approx(look_at((azimuth, 40, 0, 0.5, 50), FOOT_CUBE.centre, 9, 9).position)
    grid = read_binvox(tree / "ShapeNetVox32" / FOOT_SYNSET / "p9-right" / "model.binvox")
    assert (grid.volume == found.truth.volume).all() and grid.size == 32
    assert grid.cube.voxel_centres(32)[grid.volume].mean(0) == pytest.approx([0.01, 0.05, -0.02], abs=0.002)


def test_both_feet_of_a_person_are_in_one_split_and_other_categories_are_kept(tmp_path):
    chair = {"taxonomy_id": "03001627", "taxonomy_name": "chair", "train": ["a"], "val": [], "test": []}
    (tmp_path / "taxonomy.json").write_text(json.dumps([chair]))
    capture = write_source(tmp_path / "capture", views=1)
    (capture / "subject.json").write_text('{"scale": "noted"}')
    feet = [Submission(tmp_path, f"p{number}", side, "yes") for number in range(12) for side in ("left", "right")]
    with ThreadPoolExecutor(3) as pool:  # as from several processes
        list(pool.map(lambda foot: submit_capture(capture, foot), feet))
    taxonomy = read_taxonomy(tmp_path / "taxonomy.json")
    other, listed = taxonomy[:1], taxonomy[1:]
    assert other.to_numpy().tolist() == [["03001627", "train", "a"]]
    assert sorted(listed.object) == sorted(foot.name for foot in feet)
    splits = listed.split.groupby(listed.object.str.rsplit("-", n=1).str[0])
    assert len(splits) == 12 and (splits.nunique() == 1).all() and (listed.split == "train").sum() >= 12


def test_a_submission_that_was_killed_is_finished_by_the_same_command(tmp_path, capsys):
    tree = tmp_path / "tree"
    block = trimesh.creation.box([0.25, 0.1, 0.09]).apply_translation([0, 0.05, 0])
    command = arguments(write_source(tmp_path / "capture", block, views=1), tree, "p9")
    assert main(command) == 0
    before = {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()}
    (tree / "taxonomy.json").unlink()  # killed between the capture folder and its grid
    shutil.rmtree(tree / "ShapeNetVox32")
    capsys.readouterr()
    assert main([*command, "--licence", "CC0-1.0"]) == 0
    assert re.search("finishes a submission that was interrupted(.|\n)*under CC-BY-4.0", capsys.readouterr().out)
    assert {path: path.read_bytes() for path in tree.rglob("*") if path.is_file()} == before
    assert main(command) == 1 and "already exists" in capsys.readouterr().err


def test_no_personal_metadata_remains(tree, photos):
    original = b"".join(path.read_bytes() for path in photos.iterdir())
    assert all(word in original for word in SECRETS if word != b"IMG_")
    for path in tree.rglob("*"):
        if path.is_file():
            assert not [word for word in SECRETS if word in path.read_bytes()], path
    photo = Image.open(next(tree.rglob("*.jpg")))
    assert not photo.getexif() and not {"comment", "xmp", "exif"} & set(photo.info)
    assert [name for name, _ in photo.applist] == ["APP0"]


def test_subject_json_is_written_anew(tmp_path):
    folder = submit_capture(write_source(tmp_path / "capture"), Submission(tmp_path / "tree", "p9", "left", "yes"))
    subject = json.loads((folder / "subject.json").read_text())
    assert subject.pop("consent").keys() == {"given", "filed"} and len(subject.pop("cube")) == 2
    made = {"made": "photos, cameras: noted by hand", "licence": "CC-BY-4.0", "look": "phone", "metadata": "metric"}
    known = {"subject": "p9", "side": "left", "split": "train", "taxonomy": FOOT_SYNSET, "scale": "noted"}
    assert subject == known | made
    assert all(b"ANNA" not in path.read_bytes() for path in (tmp_path / "tree").rglob("*") if path.is_file())


def test_photos_are_cropped_above_the_knee_and_cameras_stay_correct(tree):
    folder = next((tree / "ShapeNetRendering" / FOOT_SYNSET).iterdir())
    for number, camera in enumerate(read_cameras(folder / "cameras.json")):
        photo = np.asarray(Image.open(folder / "rendering" / f"{number:02d}.jpg"))
        assert photo.shape == (camera.height, camera.width, 3) and camera.width == 1280
        assert 880 < camera.height < 1120
        angle = np.linspace(0, 2 * np.pi, 60)
        x, z = LEG_RADIUS * np.cos(angle), LEG_RADIUS * np.sin(angle)
        assert 0 <= camera.project(np.column_stack([x, np.full(60, KNEE_HEIGHT), z]))[:, 1].min() < 2.5
        found = detect_board("cropped", photo, MAT)
        expected = camera.project(MAT.corners()[found.ids])[:, :2] - 0.5
        assert len(found.ids) > 40 and np.linalg.norm(found.corners - expected, axis=1).mean() < 0.7


@pytest.mark.parametrize(("roll", "edge"), [(0, 1), (90, 0), (180, 3), (270, 2)])
def test_photos_of_any_orientation_are_cropped_at_their_upper_edge(roll, edge):
    camera = look_at((20, 25, roll, 1.1, 60), np.array([0, 0.2, 0]), 400, 400)
    box = below_knee_box(camera, np.zeros(3))
    assert [index for index in range(4) if box[index] != (0, 0, 400, 400)[index]] == [edge]
    leg = np.array([[x, y, z] for x in (-0.11, 0.11) for y in (0, KNEE_HEIGHT) for z in (-0.11, 0.11)])
    cropped = crop_camera(camera, box)
    pixels = cropped.project(leg)
    assert (pixels[:, :2] >= 0).all() and (pixels[:, :2] <= [cropped.width, cropped.height]).all()
    assert pixels[:, 2] == pytest.approx(camera.project(leg)[:, 2])
    thigh = cropped.project(np.array([[0.0, 0.75, 0]]))[0]
    assert not (0 <= thigh[0] <= cropped.width and 0 <= thigh[1] <= cropped.height)


@pytest.mark.parametrize(("elevation", "distance"), [(45, 0.5), (20, 0.3), (60, 0.7)])
def test_photos_that_do_not_show_the_knee_are_not_cropped(elevation, distance):
    camera = look_at((200, elevation, 0, distance, 50), FOOT_CUBE.centre, 400, 300)
    assert below_knee_box(camera, np.zeros(3)) == (0, 0, 400, 300)


def test_errors_name_the_reason_and_write_nothing(photos, tree, tmp_path, command_error):
    capture = write_source(tmp_path / "capture")
    five = write_source(tmp_path / "five")
    (five / "rendering" / "rendering_metadata.txt").write_text("0 40 0 0.5 50\n" * 3 + "90 40 150 0.5 50 1\n")
    chair = write_source(tmp_path / "chair", trimesh.creation.box([0.5, 0.5, 0.5]))
    broken, new = tmp_path / "broken", tmp_path / "new"
    broken.mkdir()
    (broken / "taxonomy.json").write_text("{}")
    for command, message in (
        ([*arguments(photos, new), "--consent", "no"], "the person in the photos, or who is responsible for a child"),
        (arguments(photos, new, "anna@example.org"), "neither name nor e-mail"),
        (arguments(photos, new, "../p9"), "expected an id of 1 to 40"),
        (["capture", photos, "--side", "left", "--into", new, "--consent", "yes"], "subject is None"),
        ([*arguments(photos, new), "--licence", "mine"], "licence is 'mine'; expected one of CC-BY-4.0"),
        (arguments(photos, tree), "p-7-left: "),
        (arguments(capture, new, "p9", "right"), "it is a left foot; it cannot be submitted as a right one"),
        (arguments(five, new), "expected azimuth elevation in-plane distance fov"),
        (arguments(chair, new), "does not fit into its cube of 0.32 m; expected a foot, in metres, on the floor"),
        (arguments(capture, broken), "taxonomy.json"),
    ):
        assert message in command_error(*command)
        assert not new.exists() or not [path for path in new.rglob("*") if path.is_file()]
    assert [path.name for path in broken.iterdir()] == ["taxonomy.json"]


def test_camera_that_does_not_show_the_leg_is_named(tmp_path):
    capture = write_source(tmp_path / "capture")
    away = look_at((0, 10, 0, 3.0, 20), np.array([0, 2.0, 0]), 320, 320)
    (capture / "rendering" / "renderings.txt").write_text("ANNA-0.png\n")
    write_cameras(capture / "cameras.json", [away])
    cube = {"lower": [-0.16, 0, -0.16], "edge": 0.32}
    (capture / "subject.json").write_text(json.dumps({"scale": "noted", "cube": cube}))
    with pytest.raises(ValueError, match="ANNA-0.png: its camera does not show the leg below the knee"):
        submit_capture(capture, Submission(tmp_path / "tree", "p9", "left", "yes"))
    assert not list((tmp_path / "tree").rglob("*.*"))
