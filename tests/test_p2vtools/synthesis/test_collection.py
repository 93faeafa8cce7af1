"""The embedded data set: whole or absent, found again, completed, the same every time."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from p2vlib.data.capture_folder import read_capture
from p2vlib.geometry.cameras import Camera
from p2vlib.geometry.frames import FOOT_SYNSET, R2N2_DISTANCE_SCALE, R2N2_FOV
from p2vlib.geometry.grids import read_binvox
from p2vlib.provenance import data_folder
from p2vtools.synthesis import collection

FOOT = collection.CaptureJob("foot", "train", 5, 0, views=2, studio_samples=2, phone_samples=2)
TABLE = collection.CaptureJob("object", "train", 5, 0, views=2, studio_samples=2, synset="04379243")


def test_the_smoke_data_hold_everybody_once(smoke):
    jobs = list(collection.capture_jobs(smoke.config))
    assert len({job.name for job in jobs}) == len(jobs) == 6 + 13 * 4
    assert len(smoke.captures.table.drop_duplicates(["sample", "look", "light"])) == 4 * 3 * 2 + 4 + 13 * 4


def test_a_second_run_renders_nothing(smoke, monkeypatch):
    monkeypatch.setattr(collection, "run_jobs", None)
    made = {path: path.stat().st_mtime_ns for path in smoke.objects.rglob("*") if path.is_file()}
    collection.ensure_collection(smoke.config)
    assert made and all(path.stat().st_mtime_ns == time for path, time in made.items())


def test_an_object_lies_where_the_real_archive_would_lie(smoke):
    (folder, *_) = sorted((smoke.objects / "ShapeNetRendering" / "03001627").iterdir())
    voxels = smoke.objects / "ShapeNetVox32" / "03001627" / folder.name / "model.binvox"
    assert read_binvox(voxels).size == 32
    assert {"00.png", "renderings.txt", "rendering_metadata.txt"} <= {f.name for f in (folder / "rendering").iterdir()}
    taxonomy = json.loads((smoke.objects / "taxonomy.json").read_text())
    (chair,) = [entry for entry in taxonomy if entry["taxonomy_id"] == "03001627"]
    assert chair["taxonomy_name"] == "chair" and folder.name in chair["train"] + chair["val"] + chair["test"]


def test_captures_are_the_same_every_time_and_completed_after_a_kill(tmp_path):
    for root in ("one", "two"):
        collection._capture_object(TABLE, tmp_path / root)
    (one,), (two,) = (TABLE.folders(tmp_path / root).values() for root in ("one", "two"))
    assert read_capture(one).files == read_capture(two).files
    # What a kill leaves behind is a folder of another name; a later run clears it away and fills its own.
    shutil.rmtree(two)
    partial = two.with_name(f".4194305.partial.{two.name}")  # no process can have this id
    (partial / "rendering").mkdir(parents=True)
    (partial / "rendering" / "junk.png").write_bytes(b"half")
    assert not collection._is_current(two, TABLE)
    collection._capture_object(TABLE, tmp_path / "two")
    assert read_capture(two).files == read_capture(one).files and not partial.exists()
    assert not (two / "rendering" / "junk.png").exists()


def test_another_recipe_is_not_taken_for_this_one(tmp_path):
    collection._capture_object(TABLE, tmp_path)
    (folder,) = TABLE.folders(tmp_path).values()
    assert collection._is_current(folder, TABLE)
    assert not collection._is_current(folder, replace(TABLE, studio_samples=3))


@pytest.fixture(scope="module")
def foot(tmp_path_factory):
    root = tmp_path_factory.mktemp("feet")
    collection._capture_person(replace(FOOT, split="test"), root)
    return {key: read_capture(folder) for key, folder in replace(FOOT, split="test").folders(root).items()}


def test_a_person_gives_two_feet_in_every_look(foot):
    assert set(foot) == {(side, look) for side in ("left", "right") for look in ("studio", "phone", "steady")}
    facts = foot["left", "phone"].subject
    assert facts["taxonomy"] == FOOT_SYNSET and facts["metadata"] == "metric" and 0.15 < facts["length"] < 0.31


def test_both_phone_looks_share_shape_and_cameras_and_differ_in_light(foot):
    drift, steady = foot["left", "phone"], foot["left", "steady"]
    assert np.array_equal(drift.truth.volume, steady.truth.volume)
    for one, two in zip(drift.cameras, steady.cameras, strict=True):
        assert np.array_equal(one.extrinsics, two.extrinsics)
    assert drift.files[0] == steady.files[0] and drift.files[1] != steady.files[1]


def test_a_person_on_a_mat_stands_on_black_and_white(tmp_path):
    job = replace(FOOT, kind="mat", index=2)
    collection._capture_person(job, tmp_path)
    captures = {side: read_capture(folder) for (side, _), folder in job.folders(tmp_path).items()}
    assert set(captures) == {"left", "right"}
    for capture in captures.values():
        assert capture.subject["look"] == "mat"
        centre = np.array(capture.subject["cube"]["lower"]) + 0.5 * capture.subject["cube"]["edge"]
        for photo, camera in zip(capture.files, capture.cameras, strict=True):
            assert contrast(photo, camera, centre[[0, 2]]) > 0.4  # .32 at most without the mat


def contrast(photo: bytes, camera: Camera, middle: np.ndarray) -> float:
    """Spread of the brightness of the floor 3 to 10 cm to the right of ``middle`` (x, z), in shares of its mean."""
    x, z = np.meshgrid(np.linspace(-0.12, 0.12, 60), np.linspace(0.03, 0.1, 30))
    points = np.stack([middle[0] + x, 0 * x, middle[1] + z], -1).reshape(-1, 3)
    column, row = np.round(camera.project(points)[:, :2]).astype(int).T
    bright = np.asarray(Image.open(BytesIO(photo)).convert("L"))[row, column]
    return float(bright.std() / bright.mean())


def test_mats_are_collected_where_the_config_wants_them(smoke):
    on_mats = replace(smoke.config, feet=replace(smoke.config.feet, mats=True))
    more = [job for job in collection.capture_jobs(on_mats) if job.kind == "mat"]
    assert [job.name for job in more] == [
        job.name for job in collection.capture_jobs(smoke.config) if job.kind == "foot"
    ]


def test_a_studio_row_is_metric_and_true(foot):
    capture = foot["right", "studio"]
    row = [float(word) for word in (capture.folder / "rendering/rendering_metadata.txt").read_text().split()[:5]]
    assert row[4] == R2N2_FOV and 0.65 * R2N2_DISTANCE_SCALE * 0.2 < row[3] < 0.95 * R2N2_DISTANCE_SCALE * 0.4


def test_no_photo_tells_where_or_by_what_it_was_taken(foot):
    assert all(b"Exif" not in photo for capture in foot.values() for photo in capture.files)


def test_a_capture_that_fails_stops_the_collection(home, smoke):
    """A data set that silently lacked a person would be another data set."""
    broken = replace(smoke.config, feet=replace(smoke.config.feet, train_seed=-1))
    with pytest.raises(ValueError, match="found -1"):
        collection.ensure_collection(broken, workers=1)
    assert not list(data_folder("feet", "smoke").glob("*/[!.]*"))


def test_one_unseen_foot_is_the_one_that_the_whole_data_set_has(home, smoke, monkeypatch):
    made = collection.unseen_capture(smoke.config, 1, "left")
    monkeypatch.undo()
    whole = data_folder("feet", "smoke") / "phone" / "person-test-0001-left"
    assert made.is_relative_to(home) and made.name == whole.name
    assert read_capture(made).photos == read_capture(whole).photos
    assert [folder.name for folder in (home / "data" / "feet" / "smoke").iterdir()] == ["phone"]
    monkeypatch.setattr(collection, "_capture_foot", None)
    assert collection.unseen_capture(smoke.config, 1, "left") == whole, "what is there is not made again"


@pytest.mark.parametrize(("person", "side"), [(2, "left"), (-1, "left"), (0, "middle")])
def test_a_foot_that_nobody_has_is_refused(home, smoke, person, side):
    with pytest.raises(ValueError, match="expected a test person from 0 to 1, left or right"):
        collection.unseen_capture(smoke.config, person, side)
    assert not (home / "data").exists()
