"""Photos and films of a foot on the mat: where they were taken from, what is kept of them, and what is refused."""

from __future__ import annotations

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from p2vlib.data.capture_folder import read_photo_set
from p2vlib.geometry.cameras import Camera, look_at, read_cameras, read_metadata
from p2vlib.geometry.frames import FOOT_CUBE
from p2vtools.__main__ import main
from p2vtools.capture import charuco, mat_capture
from p2vtools.capture.capture_writer import WrittenCapture, metadata_row
from p2vtools.synthesis.feet.foot import make_feet
from p2vtools.synthesis.feet.population import sample_population
from p2vtools.synthesis.mat import get_mat
from p2vtools.synthesis.photos import trajectories
from p2vtools.synthesis.photos.rendering import render_phone_photos
from tests.mats import bare, film_of, folder_of

WIDTH, HEIGHT = 640, 480
MAT = get_mat("a3")
PHOTOS = 6


@pytest.fixture(scope="session")
def walk() -> tuple[list[bytes], list[Camera]]:
    """Photos of an unseen person's left foot on the mat, and where they were really taken from."""
    mesh = make_feet(sample_population(4712, 1)[0])["left"].leg_mesh
    walk = trajectories.sample_phone_trajectory(np.random.default_rng(1), PHOTOS, np.array([0, 0.05, 0]), pixels=WIDTH)
    cameras = [
        Camera(
            np.array([[one.intrinsics[0, 0], 0, WIDTH / 2], [0, one.intrinsics[0, 0], HEIGHT / 2], [0, 0, 1]]),
            one.extrinsics,
            WIDTH,
            HEIGHT,
        )
        for one in walk.cameras
    ]
    return render_phone_photos(mesh, replace(walk, cameras=cameras), 5, MAT.to_sheet(4)), cameras


@pytest.fixture(scope="session")
def photos(walk, tmp_path_factory) -> Path:
    """As they come from a phone: with the phone's serial number and the place in their EXIF."""
    folder = tmp_path_factory.mktemp("phone")
    for number, content in enumerate(walk[0]):
        picture = Image.open(io.BytesIO(content))
        exif = Image.Exif()
        exif[0x010F], exif[0x0110] = "Maker", "Phone 7"
        exif.get_ifd(0x8769)[0xA431] = "SERIAL-123"
        exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
        picture.save(folder / f"IMG_{number:04d}.jpg", quality=95, exif=exif)
    return folder


@pytest.fixture(scope="session")
def taken(photos, tmp_path_factory) -> WrittenCapture:
    return mat_capture.capture_on_mat(photos, MAT, "left", tmp_path_factory.mktemp("filed") / "person")


def picture_of(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def off(found: Camera, true: Camera) -> tuple[float, float]:
    """Millimetres between the centres, degrees between the axes."""
    turn = found.extrinsics[:3, :3] @ true.extrinsics[:3, :3].T
    angle = np.rad2deg(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))
    return 1000 * float(np.linalg.norm(found.position - true.position)), float(angle)


# -------------------------------------------------------------------------------------------------------------- cameras


@pytest.mark.parametrize("row", [(0, 40, 0, 0.5, 50), (123, 55, 7, 0.62, 44), (300, 21, -5, 0.4, 60)])
def test_a_row_is_the_camera_that_it_makes(row):
    camera = look_at(row, FOOT_CUBE.centre, 800, 600)
    assert metadata_row(camera, FOOT_CUBE.centre) == pytest.approx(row, abs=1e-6)


def test_cameras_and_lens_are_found(walk, taken):
    assert taken.quality == "good" and len(taken.rows) == PHOTOS
    by_azimuth = sorted(walk[1], key=lambda one: (metadata_row(one, FOOT_CUBE.centre)[0] + 15) % 360)
    errors = np.array([off(*pair) for pair in zip(taken.cameras, by_azimuth, strict=True)])
    assert np.median(errors[:, 0]) < 1.5 and errors[:, 0].max() < 4, errors
    assert errors[:, 1].max() < 0.3
    focal = taken.cameras[0].intrinsics[0, 0]
    assert focal == pytest.approx(walk[1][0].intrinsics[0, 0], rel=0.005)


def test_a_lens_that_bends_is_straightened(walk):
    """Radial distortion of k1 = -.1 is put into every photo, found, and taken out again."""
    contents, cameras = walk
    bend = np.array([-0.1, 0, 0, 0, 0])
    seen, bent = [], {}
    for number, (content, camera) in enumerate(zip(contents, cameras, strict=True)):
        lens = charuco._as_opencv(camera.intrinsics)
        grid = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), -1).reshape(-1, 1, 2).astype(np.float32)
        source = cv2.undistortPoints(grid, lens, bend, P=lens).reshape(HEIGHT, WIDTH, 2)
        bent[str(number)] = cv2.remap(picture_of(content), source, None, cv2.INTER_LINEAR)
        seen.append(charuco.detect_board(str(number), bent[str(number)], MAT))
    found = charuco.solve_cameras(seen, MAT)
    assert found.distortion[0] == pytest.approx(-0.1, abs=0.02) and not found.distortion[1:].any()
    errors = np.array([off(a, cameras[int(name)]) for name, a in zip(found.names, found.cameras, strict=True)])
    assert np.median(errors[:, 0]) < 2 and found.cameras[0].intrinsics[0, 0] == pytest.approx(
        cameras[0].intrinsics[0, 0], rel=0.01
    )
    again = charuco.detect_board("0", charuco.undistort(bent["0"], found.cameras[0], found.distortion), MAT)
    expected = found.cameras[0].project(MAT.corners()[again.ids])[:, :2] - 0.5
    assert np.linalg.norm(again.corners - expected, axis=1).mean() < 0.6, "a pinhole camera now"


def test_a_photo_in_which_the_mat_was_moved_is_left_out(walk):
    seen = [charuco.detect_board(str(n), picture_of(content), MAT) for n, content in enumerate(walk[0])]
    bad = seen[2]
    moved = bad.corners.copy()
    moved[: len(moved) // 2] += [14, -9]
    seen[2] = replace(bad, corners=moved)
    found = charuco.solve_cameras(seen, MAT)
    assert list(found.rejected) == ["2"] and "did mat or foot move" in found.rejected["2"]
    assert len(found.cameras) == PHOTOS - 1


# ----------------------------------------------------------------------------------------------------------- the folder


def test_the_folder_is_a_capture(taken, walk):
    shots = read_photo_set(taken.folder)
    assert shots.side == "left" and len(shots.photos) == PHOTOS
    rows = read_metadata(taken.folder / "rendering" / "rendering_metadata.txt", PHOTOS)
    assert rows == [pytest.approx(row, rel=1e-4, abs=1e-3) for row in taken.rows]
    azimuths = [row[0] for row in rows]
    assert (np.diff(azimuths) > 0).all(), "clockwise, the front first"
    cameras = read_cameras(taken.folder / "cameras.json")
    assert [(one.width, one.height) for one in cameras] == [(WIDTH, HEIGHT)] * PHOTOS
    assert (taken.folder / "coverage.png").stat().st_size > 10_000
    assert json.loads((taken.folder / "subject.json").read_text())["cameras"] == "mat a3"


def test_neither_place_nor_serial_number_is_kept(taken, photos):
    before = b"".join(path.read_bytes() for path in photos.iterdir())
    assert b"SERIAL-123" in before and b"Phone 7" in before
    for path in taken.folder.rglob("*.jpg"):
        assert b"SERIAL" not in path.read_bytes() and not Image.open(path).getexif()


def test_sides_that_nobody_photographed_are_named(photos, tmp_path, capsys):
    few = tmp_path / "few"
    few.mkdir()
    for number in range(3):
        shutil.copy(photos / f"IMG_{number:04d}.jpg", few)
    assert main(["capture", str(few), "--mat", "a3", "--side", "left", "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "poor; 3 photos" in told and "3 photos are few; take 8 to 16" in told
    assert "photograph the heel from the left" in told or "photograph the left side" in told


def test_a_film_gives_the_sharpest_frames_of_the_walk(walk, tmp_path):
    file = tmp_path / "walk.mp4"
    frames = []
    for content in walk[0]:
        sharp = picture_of(content)
        soft = cv2.GaussianBlur(sharp, (0, 0), 1.2)
        frames += [soft, sharp, soft]
    film_of(file, frames)
    taken = mat_capture.capture_on_mat(file, MAT, "left", tmp_path / "filed")
    assert len(taken.rows) == PHOTOS
    assert [int(name.split()[1]) % 3 for name in taken.names] == [1] * PHOTOS, "the sharp one of three"


# --------------------------------------------------------------------------------------------------------- what it asks


def refusal(source: Path, mat: str, out: Path, capsys) -> str:
    assert main(["capture", str(source), "--mat", mat, "--side", "left", "--out", str(out)]) == 1
    told = capsys.readouterr().err
    assert told.startswith("p2vlib: ") and told.count("\n") == 1, told
    assert not out.exists() and not list(out.parent.glob(".*partial*")), "nothing half-written"
    return told


@pytest.mark.parametrize("paper", ["a3", "tabloid", "a4", "letter"])
def test_a_mat_of_another_paper_is_named(paper, tmp_path, capsys):
    photos = folder_of(tmp_path / "photos", [bare(get_mat(paper), azimuth) for azimuth in (0, 120, 240)])
    asked = "letter" if paper != "letter" else "a3"
    told = refusal(photos, asked, tmp_path / "out", capsys)
    assert f"0 of 3 photos show the mat '{asked}'" in told and f"say --mat {paper} (and 2 more)" in told
    assert f"IMG_0.jpg shows the mat '{paper}'" in told


def test_two_sheets_are_the_same_mat_as_one_large_one():
    sighting = charuco.detect_board("a", bare(get_mat("a3"), 10), get_mat("a4x2"))
    assert len(sighting.ids) == len(MAT.corners()) and not sighting.problem


def test_mirrored_photos_are_told(tmp_path, capsys):
    mirrored = [np.ascontiguousarray(bare(MAT, azimuth)[:, ::-1]) for azimuth in (0, 120, 240)]
    told = refusal(folder_of(tmp_path / "photos", mirrored), "a3", tmp_path / "out", capsys)
    assert "IMG_0.jpg is a mirror image, as selfie cameras make them: take it with the camera at the back" in told
    told = refusal(film_of(tmp_path / "film.mp4", mirrored), "a3", tmp_path / "out", capsys)
    assert "none of 3 frames shows the mat 'a3'" in told and "is a mirror image" in told


def test_one_mirrored_photo_is_left_out(walk):
    seen = [charuco.detect_board(str(n), picture_of(content), MAT) for n, content in enumerate(walk[0])]
    seen[4] = charuco.detect_board("4", np.ascontiguousarray(picture_of(walk[0][4])[:, ::-1]), MAT)
    found = charuco.solve_cameras(seen, MAT)
    assert len(found.names) == PHOTOS - 1 and "is a mirror image" in found.rejected["4"]


def test_a_film_from_one_place(tmp_path, capsys):
    held = [bare(MAT, azimuth) for azimuth in (40, 41, 43, 44, 42, 41)]
    told = refusal(film_of(tmp_path / "film.mp4", held), "a3", tmp_path / "out", capsys)
    assert "filmed from one place alone, as the 6 frames say" in told and "walk once around the foot" in told


def test_one_photo_of_another_size_is_named(tmp_path, capsys):
    photos = [*(bare(MAT, azimuth) for azimuth in (0, 90, 180)), bare(MAT, 270, HEIGHT, WIDTH)]
    told = refusal(folder_of(tmp_path / "photos", photos), "a3", tmp_path / "out", capsys)
    assert "photos of different sizes (480 x 640, 640 x 480)" in told and "leave out IMG_3.jpg" in told


def test_heic_is_read_or_says_what_it_needs(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "IMG_0001.HEIC").write_bytes(b"not one")
    told = refusal(tmp_path / "photos", "a3", tmp_path / "out", capsys)
    assert "IMG_0001.HEIC: reading HEIC needs the package pillow-heif" in told or "not a readable image" in told


def test_what_cannot_be_is_one_clear_sentence(photos, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    text = tmp_path / "text"
    text.mkdir()
    (text / "a.jpg").write_text("not a picture")
    plain = tmp_path / "plain"
    plain.mkdir()
    for number in range(3):
        Image.new("RGB", (320, 240), "grey").save(plain / f"{number}.jpg")
    (tmp_path / "film.mp4").write_text("not a film")
    there = tmp_path / "there"
    there.mkdir()
    for source, more, sentence in (
        (tmp_path / "none", [], "no such folder of photos or film"),
        (tmp_path / "empty", [], "no photos; expected pictures"),
        (text, [], "a.jpg: not a readable image"),
        (plain, [], "0 of 3 photos show the mat 'a3' well enough; expected at least 3: is it this mat, flat"),
        (photos, ["--mat", "a4"], "IMG_0000.jpg shows the mat 'a3' or 'a4x2', not 'a4': say --mat a3 (and 5 more)"),
        (photos, ["--mat", "a7"], "no mat is made for paper 'a7'"),
        (tmp_path / "film.mp4", [], "not a film that can be read"),
        (photos, ["--out", str(there)], "already exists; name a new folder"),
    ):
        out = [] if "--out" in more else ["--out", str(tmp_path / "out")]
        assert main(["capture", str(source), "--side", "left", *more, *out]) == 1, sentence
        told = capsys.readouterr().err
        assert sentence in told and told.startswith("p2vlib: ") and told.count("\n") == 1, told
        assert not (tmp_path / "out").exists() and not list(tmp_path.glob("*.partial.*"))
