import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from p2vlib.files import partial_path
from p2vlib.geometry.cameras import Camera, look_at
from p2vlib.geometry.frames import FOOT_SYNSET, R2N2_DISTANCE_SCALE, R2N2_FOV, SIDES
from p2vlib.provenance import data_folder
from p2vtools.archives.binvox import read_binvox
from p2vtools.archives.capture_folder import read_capture
from p2vtools.synthesis import collection
from p2vtools.synthesis.collection import CaptureJob

FOOT = CaptureJob("foot", "test", 5, 0, views=2, studio_samples=2, phone_samples=2)
CAMERA = look_at((0, 30, 0, 1.0, 49), np.zeros(3), 8, 8)
TABLE = CaptureJob("object", "train", 5, 0, views=2, studio_samples=2, synset="04379243")


def test_the_smoke_data_and_their_taxonomy_contain_every_subject_once(smoke):
    jobs = list(collection.capture_jobs(smoke.config))
    assert len({job.name for job in jobs}) == len(jobs) == 2 * 6 + 13 * 4
    assert len(smoke.captures.table.drop_duplicates(["sample", "look", "light"])) == 4 * 3 * 3 + 4 + 13 * 4
    with_mats = list(collection.capture_jobs(replace(smoke.config, feet=replace(smoke.config.feet, mats=True))))
    mats, feet = ([job.name for job in with_mats if job.kind == kind] for kind in ("mat", "foot"))
    assert mats == feet and len(with_mats) == len(jobs) + 6
    more = collection.capture_jobs(replace(smoke.config, feet=replace(smoke.config.feet, wild_train=5)))
    counts = Counter((job.kind, job.split) for job in more)
    assert (counts["wild", "train"], counts["wild", "test"], counts["foot", "train"]) == (5, 2, 2)
    *objects, foot = json.loads((smoke.objects / "taxonomy.json").read_text())
    assert len(objects) == 13 and (foot["taxonomy_id"], foot["taxonomy_name"]) == ("05563266", "foot")
    for category in objects:
        folder = smoke.objects / "ShapeNetRendering" / category["taxonomy_id"]
        names = {*category["train"], *category["val"], *category["test"]}
        assert names == {path.name for path in folder.iterdir()}
        rendering = folder / category["train"][0] / "rendering"
        assert {"00.png", "renderings.txt", "rendering_metadata.txt"} <= {path.name for path in rendering.iterdir()}
        grid = smoke.objects / "ShapeNetVox32" / folder.name / category["train"][0] / "model.binvox"
        assert read_binvox(grid).size == 32
    for split, key in (("train", "train"), ("validation", "val"), ("test", "test")):
        people = getattr(smoke.config.feet, split)
        expected = [f"person-{split}-{index:04d}-{side}" for index in range(people) for side in SIDES]
        assert foot[key] == expected
        assert all((data_folder("feet", "smoke") / "phone" / name).is_dir() for name in expected)


def test_a_complete_collection_renders_nothing(smoke, monkeypatch):
    collection.ensure_collection(smoke.config)
    monkeypatch.setattr(collection, "run_jobs", None)
    before = {path: path.stat().st_mtime_ns for path in smoke.objects.rglob("*") if path.is_file()}
    collection.ensure_collection(smoke.config)
    assert before and all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_captures_are_rendered_once_reproducible_and_completed_after_a_kill(home, monkeypatch):
    (folder,) = TABLE.folders("smoke").values()
    make, made = collection._capture_object, []
    monkeypatch.setattr(collection, "_capture_object", lambda *args: made.append(args) or make(*args))
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: collection._capture(TABLE, "smoke"), range(2)))
    assert len(made) == 1
    files = read_capture(folder).files
    # A process that is killed leaves a hidden folder; a later run removes it and renders the capture again.
    shutil.rmtree(folder)
    with subprocess.Popen([sys.executable, "-c", ""]) as killed:
        killed.wait()
    partial = partial_path(folder)
    partial = partial.with_name(partial.name.replace(str(os.getpid()), str(killed.pid), 1))
    (partial / "rendering").mkdir(parents=True)
    assert not TABLE.is_current(folder)
    collection._capture(TABLE, "smoke")
    assert read_capture(folder).files == files and not partial.exists()
    assert TABLE.is_current(folder) and not replace(TABLE, studio_samples=3).is_current(folder)


@pytest.mark.parametrize("damaged", ["rendering/00.png", "model.obj", "subject.json", "grid"])
def test_a_damaged_capture_is_made_again(home, monkeypatch, capsys, damaged):
    (folder,) = TABLE.folders("smoke").values()
    monkeypatch.setattr(collection, "_render_studio", lambda *args: ([(0, 30, 0, 1, 49)], [CAMERA], [b"png"]))
    collection._capture(TABLE, "smoke")
    path = home / "data/objects/smoke/ShapeNetVox32/04379243" / TABLE.name / "model.binvox"
    path = path if damaged == "grid" else folder / damaged
    content = path.read_bytes()
    path.write_bytes(content[:-2])
    collection._capture(TABLE, "smoke")
    assert path.read_bytes() == content and TABLE.is_current(folder)
    assert capsys.readouterr().out.count("it is made again") == 1


def test_a_damaged_taxonomy_is_written_again(home):
    path = data_folder("objects", "smoke") / "taxonomy.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\xff")
    collection._write_taxonomy([TABLE], "smoke")
    assert [TABLE.name] in [category["train"] for category in json.loads(path.read_text())]


@pytest.fixture(scope="module")
def captures(tmp_path_factory):
    """Captures of one person, by side and domain."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("P2VLIB_HOME", str(tmp_path_factory.mktemp("feet")))
        collection._capture(FOOT, "smoke")
        return {key: read_capture(folder) for key, folder in FOOT.folders("smoke").items()}


def test_a_person_has_two_feet_in_every_domain(captures):
    assert set(captures) == {(side, domain) for side in SIDES for domain in ("studio", "phone", "steady")}
    drift, steady = captures["left", "phone"], captures["left", "steady"]
    subject = drift.subject
    assert subject["taxonomy"] == FOOT_SYNSET and subject["metadata"] == "metric" and 0.15 < subject["length"] < 0.31
    assert all(b"Exif" not in file for capture in captures.values() for file in capture.files)
    studio = captures["right", "studio"].folder / "rendering/rendering_metadata.txt"
    row = [float(word) for word in studio.read_text().split()[:5]]
    assert row[4] == R2N2_FOV and 0.65 * R2N2_DISTANCE_SCALE * 0.2 < row[3] < 0.95 * R2N2_DISTANCE_SCALE * 0.4
    assert np.array_equal(drift.truth.volume, steady.truth.volume), "only the light is another"
    for one, two in zip(drift.cameras, steady.cameras, strict=True):
        assert np.array_equal(one.extrinsics, two.extrinsics)
    assert drift.files[0] == steady.files[0] and drift.files[1] != steady.files[1]


def floor_contrast(photo: Image.Image, camera: Camera, centre: np.ndarray) -> float:
    """Standard deviation over mean of the brightness of the floor 3 to 10 cm to the right of ``centre`` (x, z)."""
    x, z = np.meshgrid(np.linspace(-0.12, 0.12, 60), np.linspace(0.03, 0.1, 30))
    points = np.stack([centre[0] + x, 0 * x, centre[1] + z], -1).reshape(-1, 3)
    column, row = np.round(camera.project(points)[:, :2]).astype(int).T
    brightness = np.asarray(photo.convert("L"))[row, column]
    return float(brightness.std() / brightness.mean())


def test_feet_of_the_mat_domain_stand_on_a_printed_mat(home):
    job = replace(FOOT, kind="mat", split="train", index=2)
    collection._capture(job, "smoke")
    assert list(job.folders("smoke")) == [("left", "mat"), ("right", "mat")]
    for folder in job.folders("smoke").values():
        capture = read_capture(folder)
        assert capture.subject["look"] == "mat"
        centre = np.array(capture.subject["cube"]["lower"]) + 0.5 * capture.subject["cube"]["edge"]
        for photo, camera in zip(capture.photos, capture.cameras, strict=True):
            assert floor_contrast(photo, camera, centre[[0, 2]]) > 0.4  # at most 0.32 without the mat


def test_an_unseen_capture_is_that_of_the_collection_and_rendered_once(home, smoke, monkeypatch):
    render, rendered = collection._capture_foot, []
    monkeypatch.setattr(collection, "_capture_foot", lambda *args: rendered.append(args) or render(*args))
    with ThreadPoolExecutor(2) as pool:
        folder, same = pool.map(lambda _: collection.unseen_capture(smoke.config, 1, "left"), range(2))
    assert folder == same and folder.is_relative_to(home) and len(rendered) == 1
    assert [path.name for path in (home / "data" / "feet" / "smoke").iterdir()] == ["phone"]
    monkeypatch.delenv("P2VLIB_HOME")
    collected = collection.unseen_capture(smoke.config, 1, "left")
    assert len(rendered) == 1 and collected == data_folder("feet", "smoke") / "phone" / "person-test-0001-left"
    assert read_capture(folder).files == read_capture(collected).files


def test_unknown_feet_and_negative_seeds_are_refused(home, smoke):
    for person, side in ((2, "left"), (-1, "left"), (0, "middle")):
        with pytest.raises(ValueError, match="expected a test person from 0 to 1, left or right"):
            collection.unseen_capture(smoke.config, person, side)
    assert not (home / "data").exists()
    invalid = replace(smoke.config, feet=replace(smoke.config.feet, train_seed=-1))
    with pytest.raises(ValueError, match="found -1"):
        collection.ensure_collection(invalid, workers=1)
    assert not list(data_folder("feet", "smoke").glob("*/[!.]*")), "an exception stops the collection"
    same = replace(smoke.config, feet=replace(smoke.config.feet, train_seed=smoke.config.feet.test_seed))
    with pytest.raises(ValueError, match="seeds of FeetData .* expected another for each split"):
        collection.ensure_collection(same, workers=1)
