"""Photos of a foot on a plain sheet of paper: the sheet, the cameras, the direction of the toes, and errors."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from p2vlib.geometry.cameras import Camera, look_at
from p2vtools.capture import sheet_capture, sheet_detection
from p2vtools.capture.sheet_capture import solve_sheet, towards_toes
from p2vtools.capture.sheet_detection import PAPERS, find_lines
from p2vtools.capture.sheet_fitting import FOCAL_SPREAD, SheetFit, SheetPhoto, pose_of
from p2vtools.cli import main
from p2vtools.fit.photo_set import read_photo_set
from p2vtools.fit.placement import pose_matrix
from p2vtools.synthesis.feet.foot import make_feet
from p2vtools.synthesis.feet.population import sample_population
from p2vtools.synthesis.mat import random_plain_sheet
from p2vtools.synthesis.photos import trajectories
from p2vtools.synthesis.photos.rendering import render_phone_photos
from tests.mats import sheet_outline, sheet_photo

WIDTH, HEIGHT, A4 = 800, 600, PAPERS["a4"]
ROWS = [(20, 50, 0, 0.55, 60), (110, 40, 5, 0.6, 60), (200, 55, 0, 0.5, 60), (310, 45, -8, 0.65, 60)]


def camera_at(row: tuple[float, ...]) -> Camera:
    return look_at(row, np.zeros(3), WIDTH, HEIGHT)


def on_sheet(focal: float, noise: float = 0.0, heights: tuple[float, ...] = (0, 0, 0, 0)) -> list[SheetPhoto]:
    """Drawings seen from `ROWS`, with poses from corners with ``noise``, thousandths, at a ``focal`` length."""
    photos, rng = [], np.random.default_rng(1)
    for number, camera in enumerate(map(camera_at, ROWS)):
        corners = sheet_outline(camera) + noise * rng.standard_normal((4, 2))
        lines = find_lines(sheet_photo(camera, heights=heights))
        photos.append(SheetPhoto(str(number), lines, pose_of(corners, focal, A4)))
    return photos


def best_candidate(photo: np.ndarray, focal: float) -> tuple[np.ndarray, float]:
    lines = find_lines(photo)
    candidates = sheet_detection.score(sheet_detection.from_four_lines(lines), lines)
    return sheet_capture._best_candidate(lines, *candidates, focal, A4)


@pytest.mark.parametrize(("row", "hidden", "planks"), [
    *((row, hidden, 0) for row in ROWS[:2] for hidden in (None, 0, 1, 2, 3)), (ROWS[1], None, 60)
])  # fmt: skip
def test_sheet_is_found_although_a_side_is_hidden_or_edges_of_the_floor_are_longer(row, hidden, planks):
    camera = camera_at(row)
    photo = sheet_photo(camera, hidden, planks=planks)
    corners, value = best_candidate(photo, camera.intrinsics[0, 0] * 1000 / WIDTH)
    assert planks or value > sheet_capture.MIN_SCORE
    assert min(abs(np.roll(corners, turn, 0) - sheet_outline(camera)).max() for turn in range(4)) < 8


def test_a_sheet_in_the_light_of_a_warm_lamp_is_paper():
    """The sheet has a chroma of 35 in the warm photo; the floor is as little paper as in the other."""
    photo = sheet_photo(camera_at(ROWS[0]))
    warm = (photo * [1.0, 0.92, 0.67]).astype(np.uint8)
    focal = camera_at(ROWS[0]).intrinsics[0, 0] * 1000 / WIDTH
    assert best_candidate(warm, focal)[1] == pytest.approx(best_candidate(photo, focal)[1], abs=0.1)
    assert find_lines(warm).paper.mean() == pytest.approx(find_lines(photo).paper.mean(), abs=0.01)


def test_there_is_no_sheet_on_an_empty_floor():
    floor = sheet_photo(camera_at((0, 20, 0, 5.0, 60)))  # so far away that it is a few pixels large
    assert best_candidate(floor, 866.0)[1] < sheet_capture.MIN_SCORE
    assert not len(find_lines(np.zeros((90, 120, 3), np.uint8)).lines), "black, without a warning"


def test_proportions_tell_paper_and_focal_length():
    corners = np.stack([sheet_outline(camera_at(row)) for row in ROWS])
    focals = np.array([600.0, 866.0, 1300.0])
    true = camera_at(ROWS[0]).intrinsics[0, 0] * 1000 / WIDTH
    assert true == pytest.approx(866, abs=1)
    a4, letter = (sheet_detection.proportion_errors(corners, focals, PAPERS[name]).min(1) for name in PAPERS)
    assert a4[:, 1].max() < 1e-3 and letter[:, 1].min() > 0.05
    assert (a4.mean(0).argmin(), (a4[:, [0, 2]] > 0.02).any()) == (1, True)


def test_lens_and_poses_are_fitted_to_the_edges_in_all_photos():
    fit, rejected = SheetFit(A4, 950.0, FOCAL_SPREAD), {}
    photos = fit.fit(on_sheet(950.0, noise=3), rejected)
    assert not rejected and max(photo.residual for photo in photos) < 0.3
    assert fit.focal == pytest.approx(866, rel=0.01) and abs(fit.distortion[0]) < 0.02
    for photo, camera in zip(photos, map(camera_at, ROWS), strict=True):
        found = fit.camera(photo, (HEIGHT, WIDTH, 3)).position
        assert min(np.linalg.norm(found - turn * camera.position) for turn in ([1, 1, 1], [-1, 1, -1])) < 0.006


def test_a_bent_sheet_is_fitted():
    heights, fit = (0.005, 0.001, 0.004, 0.0), SheetFit(A4, 866.0, 0.04)
    kept = fit.fit(on_sheet(866.0, heights=heights), {})
    assert fit.heights[:4] == pytest.approx(heights, abs=0.0015)
    for photo, row in zip(kept, ROWS, strict=True):
        assert np.linalg.norm(fit.camera(photo, (HEIGHT, WIDTH)).position - camera_at(row).position) < 0.003


def test_a_photo_without_edges_where_the_sheet_should_be_is_rejected():
    photos, rejected = on_sheet(866.0), {}
    wrong = sheet_outline(camera_at(ROWS[0])) + [150, 0]  # where there is no edge
    photos[0] = replace(photos[0], pose=pose_of(wrong, 866.0, A4))
    kept = SheetFit(A4, 866.0, 0.3).fit(photos, rejected)
    assert [photo.name for photo in kept] == ["1", "2", "3"] and "edges" in rejected["0"]


# --------------------------------------------------------------------------------------------------- photos of a foot


@pytest.fixture(scope="module")
def walk() -> tuple[dict[str, np.ndarray], list[Camera], float]:
    """Photos of a right foot, not exactly in the middle of a sheet, cameras, and length, mm."""
    foot = make_feet(sample_population(4713, 1)[0])["right"]
    rng = np.random.default_rng(3)
    walk = trajectories.sample_phone_trajectory(rng, 4, np.array([0, 0.05, 0]), pixels=640)
    photos = render_phone_photos(foot.leg_mesh, walk, 4, random_plain_sheet("a4", rng))
    pictures = [np.asarray(Image.open(io.BytesIO(photo)).convert("RGB")) for photo in photos]
    return {f"{number}.jpg": one for number, one in enumerate(pictures)}, walk.cameras, 1000 * foot.length


@pytest.fixture(scope="module")
def photos(walk, tmp_path_factory) -> Path:
    """The photos as files, with one of another thing."""
    folder = tmp_path_factory.mktemp("photos")
    for name, picture in walk[0].items():
        Image.fromarray(picture).save(folder / name, quality=92)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (300, 400, 3), dtype=np.uint8)).save(folder / "x.png")
    return folder


@pytest.fixture(scope="module")
def capture(photos, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("sheet") / "capture"
    assert main(["capture", str(photos), "--sheet", "A4", "--side", "right", "--out", str(out)]) == 0
    return out


def test_capture_on_a_sheet_has_the_size_of_the_foot(capture, walk, tmp_path, capsys):
    subject = json.loads((capture / "subject.json").read_text("utf-8"))
    assert (subject["scale"], subject["cameras"], subject["side"]) == ("sheet", "sheet a4", "right")
    photo_set = read_photo_set(capture)
    assert len(photo_set.photos) == 4 and photo_set.metric
    distances = sorted(np.linalg.norm(camera.position) for camera in photo_set.cameras)
    true = sorted(np.linalg.norm(camera.position) for camera in walk[1])
    assert distances == pytest.approx(true, abs=0.02)  # the middle of the sheet is up to 17 mm from that of the foot
    assert main(["reconstruct", str(capture), "--out", str(tmp_path / "foot.obj"), "--size", "64"]) == 0
    told = capsys.readouterr().out
    record = json.loads((tmp_path / "foot.json").read_text("utf-8"))
    assert "scale: the sheet of paper" in told and record["scale"] == "sheet"
    length = float(told.split("  length ")[1].split(" mm")[0])
    assert abs(length - walk[2]) < 8


def test_toes_point_along_x_whichever_way_the_photos_were_taken(walk, weights):
    pictures, cameras, _ = walk
    upright = {name: np.ascontiguousarray(np.rot90(picture)) for name, picture in pictures.items()}
    solved, _, rejected = solve_sheet(upright, "a4", dict.fromkeys(upright), "right", weights)
    assert [*solved] == [*pictures] and not rejected
    for (_, camera), true in zip(solved.values(), cameras, strict=True):
        assert np.linalg.norm(camera.position - true.position) < 0.08  # half a turn: .6 m and more


def test_photos_of_another_sheet_or_of_none_are_refused(photos, tmp_path, command_error):
    for number in range(3):
        Image.fromarray(np.full((300, 400, 3), 150, np.uint8)).save(tmp_path / f"{number}.png")
    for source, sheet, told in (
        (photos, "letter", "proportions of a4 paper, not of letter"),
        (tmp_path, "a4", "0 of 3 photos can be used, expected at least 3 (0.png: no a4 sheet was found"),
    ):
        command = ["capture", source, "--sheet", sheet, "--side", "right", "--out", tmp_path / "out"]
        assert told in command_error(*command) and not (tmp_path / "out").exists()


def test_the_photo_with_the_lowest_agreement_is_the_one_that_does_not_agree(walk, weights):
    """Of a right foot, whose photos are mirrored and reversed."""
    pictures, cameras, _ = walk
    moved = cameras[1].extrinsics.copy()
    moved[:3, 3] += cameras[1].extrinsics[:3, :3] @ [0.0, 0.0, 0.05]
    cameras = [cameras[0], replace(cameras[1], extrinsics=moved), *cameras[2:]]
    _, agreement = towards_toes(weights, [*pictures.values()], cameras, [*pictures], "right")
    assert np.argmin(agreement) == 1, agreement


def test_a_photo_turned_the_wrong_way_does_not_agree_with_the_others(walk, weights, monkeypatch):
    pictures, cameras, _ = walk
    agreement, names = sheet_capture._agreement, ["first", "second", *[*pictures][2:]]

    def misled(weights, photo_set, pose):
        """Of the second photo alone, with heel and toes exchanged."""
        is_second = photo_set.names == ["second"]
        return agreement(weights, photo_set, pose @ pose_matrix(180.0, np.zeros(3)) if is_second else pose)

    monkeypatch.setattr(sheet_capture, "_agreement", misled)
    _, overlaps = towards_toes(weights, [*pictures.values()], cameras, names, "right")
    assert overlaps.pop(1) < sheet_capture.MIN_AGREEMENT < min(overlaps)


def test_photos_of_other_lenses_are_named():
    whole, cropped = np.zeros((600, 800, 3), np.uint8), np.zeros((600, 600, 3), np.uint8)
    pictures, focals = {"a": whole, "b": whole, "c": whole, "d": cropped}, {"a": 0.8, "b": 0.5, "c": 0.82, "d": 0.8}
    found = sheet_capture._other_lenses(pictures, focals)
    assert list(found) == ["d", "b"] and "cropped" in found["d"] and "another lens" in found["b"]
    equally_many = sheet_capture._other_lenses(pictures, {"a": 0.75, "b": 0.38, "c": None, "d": None})
    assert list(equally_many) == ["d", "b"], "of two lenses the longer one"
