"""The verdict: its rules with numbers worked out by hand, and the command."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from p2vtools.archives.camera_files import read_cameras, write_cameras
from p2vtools.cli import main
from p2vtools.fit import verdict
from p2vtools.fit.cube_crops import FootNotSeenError
from p2vtools.fit.measure import Measures
from p2vtools.fit.photo_set import read_photo_set
from p2vtools.fit.placement import FootPlacement, pose_matrix
from p2vtools.fit.reconstruct import reconstruct
from p2vtools.study.verdict_limits import fit_verdict

CLASSES = {
    "4 to 7 photos": {"good from": 0.8, "lower": {"members": 0.5}, "usual": {"members": 0.9}},
    "1 photo": {"good from": None, "lower": {}, "usual": {}},
}
FORMULA = {"constant": 0.1, "members": 0.5, "certainty": 0.4}
CARD = {verdict.VERDICT_KEY: {"formula": FORMULA, "classes": CLASSES}}
USUAL = Measures(250.0, 95.0, 97.0, 240.0, 62.0, 65.0, 235.0)


@pytest.mark.parametrize(
    ("members", "certainty", "level", "reasons"),
    [
        (0.9, 0.7, "good", 0),  # expected 0.1 + 0.45 + 0.28 = 0.83
        (0.8, 0.6, "doubtful", 2),  # expected 0.74, and the members are below their usual 0.9
        (0.49, 1.0, "not usable", 2),  # the members are below 0.5; expected 0.745
        (0.6, 0.2, "not usable", 2),  # expected 0.48
    ],
)
def test_verdict_by_expected_iou_and_limits(members, certainty, level, reasons):
    result = verdict.judge(CARD, {"members": members, "certainty": certainty}, 4, "4 to 7 photos")
    assert result.level == level and len(result.reasons) == reasons, result
    assert result.expected_iou == pytest.approx(0.1 + 0.5 * members + 0.4 * certainty)
    assert bool(result.advice) == (level != "good")


def test_class_without_a_limit_is_doubtful_at_best():
    result = verdict.judge(CARD, {"members": 1.0, "certainty": 1.0}, 1, "1 photo")
    assert result.level == "doubtful" and "1 photo" in result.reasons[0]
    assert result.expected_iou == 0.88, "0.1 + 0.5 + 0.4 is more than any reconstruction has"


def test_photo_that_disagrees():
    """With two photos it is unknown which one is wrong; a small difference is no disagreement."""
    assert verdict.disagreeing_photo({"a": 0.9, "b": 0.4, "c": 0.91, "d": 0.92}) == "b"
    assert verdict.disagreeing_photo({"a": 0.9, "b": 0.8, "c": 0.91, "d": 0.78}) is None
    assert verdict.disagreeing_photo({"a": 0.4, "b": 0.9}) is None


def test_photos_whose_cameras_do_not_see_the_foot_are_left_out(weights, right_foot, monkeypatch):
    photo_set = read_photo_set(right_foot)
    inside, sideways = (camera.extrinsics.copy() for camera in photo_set.cameras[1:3])
    inside[:3, 3] = -inside[:3, :3] @ [0.0, 0.05, 0.0]
    sideways[0, 3] += 2.0
    first, *others, last = photo_set.cameras
    wrong = [replace(camera, extrinsics=pose) for camera, pose in zip(others, (inside, sideways), strict=True)]
    photo_set = replace(photo_set, cameras=[first, *wrong, last])

    def refuse(*_):
        raise ValueError("not measured in this test")

    monkeypatch.setattr(verdict, "measure_with_intervals", refuse)
    lines = []
    judged = verdict.reconstruct_and_judge(weights, photo_set, 32, "given", report=lines.append)
    assert judged.left_out == dict.fromkeys(photo_set.names[1:3], 0.0)
    assert judged.photo_set.names == [photo_set.names[0], photo_set.names[3]]
    assert f"{photo_set.names[1]}: left out, the camera is inside the cube or looks away" in lines[0]
    with pytest.raises(ValueError, match="does not see the position of the foot"):
        verdict.reconstruct_and_judge(weights, photo_set.subset([2]), 32, "given")


def test_a_camera_that_nearly_touches_the_cube_is_named(weights, right_foot):
    photo_set = read_photo_set(right_foot).subset([1])
    (camera,) = photo_set.cameras
    pose = camera.extrinsics.copy()
    pose[:3, 3] = -pose[:3, :3] @ (np.array([0.0, 0.05, 0.0]) - 0.18 * pose[2, :3])  # 18 cm in front of the foot
    near = replace(photo_set, cameras=[replace(camera, extrinsics=pose)])
    with pytest.raises(FootNotSeenError, match=rf"^{re.escape(photo_set.names[0])}: a crop box of"):
        reconstruct(weights, near, 32, "given")


def test_other_concerns(weights, right_foot):
    photo_set = read_photo_set(right_foot)
    found = reconstruct(weights, photo_set, 32, "given")
    place = FootPlacement(found.pose, "volume", 0.9, True, 0.9, found.probability)

    def levels(measures=USUAL, foot=found, photos=photo_set, left_out=()):
        concerns = verdict.other_concerns(photos, foot, measures, dict.fromkeys(left_out, 0.3))
        return [concern.level for concern in concerns]

    assert levels() == []
    assert levels(replace(USUAL, length=140.0, ball_breadth=55.0)) == ["doubtful"]
    assert levels(replace(USUAL, length=380.0, ball_breadth=140.0)) == ["not usable"]
    assert levels(replace(USUAL, ball_breadth=70.0)) == ["doubtful"], "28 % of the length"
    assert levels(foot=replace(found, placement=place)) == ["doubtful"]
    assert levels(foot=replace(found, placement=replace(place, at_limit=False))) == []
    assert levels(photos=photo_set.subset([0, 0])) == ["doubtful"], "twice the same direction"
    assert levels(left_out=["a"]) == ["good"] and levels(left_out=["a", "b", "c"]) == ["doubtful"] * 3


def test_fitted_limits_separate_good_feet():
    """The IoU is 0.2 + 0.7 * certainty, exactly; the other features are noise."""
    rng = np.random.default_rng(0)
    noise = "silhouettes members halves typical connected".split()
    rows = pd.DataFrame(rng.uniform(0.5, 1, (400, 5)), columns=noise)
    rows = rows.assign(certainty=rng.uniform(0, 1, 400), photos=4, **{"class": "4 to 7 photos"})
    rows["iou"] = 0.2 + 0.7 * rows.certainty
    fitted = fit_verdict(rows)
    limits = fitted["classes"]["4 to 7 photos"]
    assert fitted["formula"]["certainty"] == pytest.approx(0.7, abs=0.05)
    assert limits["good from"] == pytest.approx(0.8, abs=0.03)
    assert limits["lower"]["certainty"] == pytest.approx(0.9 * (0.5 - 0.2) / 0.7, abs=0.02)
    assert limits["agreement"] == pytest.approx(0.5 + 0.02 * 0.5, abs=0.02)
    without_good = fit_verdict(rows[rows.iou < 0.8])["classes"]["4 to 7 photos"]
    assert without_good["good from"] is None and without_good["agreement"] is None


def test_command_writes_nothing_that_is_not_usable(capture_copy, tmp_path, command_error):
    cameras = read_cameras(capture_copy / "cameras.json")
    for number, camera in enumerate(cameras):  # each photo shows the foot somewhere else
        moved = pose_matrix(60.0 * number, 0.04 * np.array([(-1) ** number, 0, number % 3 - 1]))
        cameras[number] = replace(camera, extrinsics=camera.extrinsics @ moved)
    write_cameras(capture_copy / "cameras.json", cameras)
    out = tmp_path / "foot.obj"
    command = ["reconstruct", str(capture_copy), "--out", str(out), "--placement", "given", "--size", "32"]
    error = command_error(*command)
    assert "not usable" in error and "expected" in error and "--force" in error
    assert not out.exists() and not out.with_suffix(".json").exists()
    assert main([*command, "--force"]) == 0 and out.is_file()
    assert json.loads(out.with_suffix(".json").read_text())["verdict"] == "not usable"
