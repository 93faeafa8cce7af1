"""Photos and videos of a foot on the mat: cameras, lens, the written capture folder, and errors."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from p2vlib.geometry.cameras import Camera, look_at
from p2vlib.geometry.frames import FOOT_CUBE
from p2vtools.archives.camera_files import read_cameras, read_metadata
from p2vtools.capture import mat_capture
from p2vtools.capture.capture_writer import WrittenCapture, metadata_row
from p2vtools.capture.charuco import BoardDetection, detect_board, solve_cameras, undistort
from p2vtools.capture.mat_capture import MAX_VIEWS, capture_on_mat, choose_views
from p2vtools.cli import main
from p2vtools.fit.photo_set import read_photo_set
from p2vtools.synthesis.mat import BORDER_MATS, MATS, GluedMat, Mat, get_mat
from tests.mats import mat_image, mat_image_from, write_phone_photos, write_photos, write_video

WIDTH, HEIGHT = 640, 480
MAT = get_mat("a3")
PHOTOS = 6
Walk = tuple[list[np.ndarray], list[Camera]]


@pytest.fixture(scope="session")
def walk() -> Walk:
    """Drawings of the mat from all sides, clockwise, and their true cameras; the benchmark has rendered photos."""
    rows = [(60 * number + 7, (35, 45, 55)[number % 3], 4 * number - 10, 0.55, 50) for number in range(PHOTOS)]
    cameras = [look_at(row, FOOT_CUBE.centre, WIDTH, HEIGHT) for row in rows]
    return [mat_image_from(camera, MAT) for camera in cameras], cameras


@pytest.fixture(scope="session")
def photos(walk, tmp_path_factory) -> Path:
    return write_phone_photos(tmp_path_factory.mktemp("phone"), walk[0])


@pytest.fixture(scope="session")
def written(photos, tmp_path_factory) -> WrittenCapture:
    return capture_on_mat(photos, MAT, "left", tmp_path_factory.mktemp("captures") / "person")


def pose_error(found: Camera, true: Camera) -> tuple[float, float]:
    """Distance of the positions, mm, and angle between the orientations, degrees."""
    rotation = found.extrinsics[:3, :3] @ true.extrinsics[:3, :3].T
    angle = np.rad2deg(np.arccos(np.clip((np.trace(rotation) - 1) / 2, -1, 1)))
    return 1000 * float(np.linalg.norm(found.position - true.position)), float(angle)


@pytest.mark.parametrize("row", [(0, 40, 0, 0.5, 50), (123, 55, 7, 0.62, 44), (300, 21, -5, 0.4, 60)])
def test_metadata_row_is_the_inverse_of_look_at(row):
    camera = look_at(row, FOOT_CUBE.centre, 800, 600)
    assert metadata_row(camera, FOOT_CUBE.centre) == pytest.approx(row, abs=1e-6)


def test_cameras_and_focal_length_are_found(walk, written):
    assert written.quality == "good" and len(written.rows) == PHOTOS
    errors = np.array([pose_error(*pair) for pair in zip(written.cameras, walk[1], strict=True)])
    assert errors[:, 0].max() < 1 and errors[:, 1].max() < 0.1, errors
    assert written.cameras[0].intrinsics[0, 0] == pytest.approx(walk[1][0].intrinsics[0, 0], rel=0.005)


def test_lens_distortion_is_removed():
    """Radial distortion moves corners by 2 pixels on average, and by up to 10."""
    camera, k1 = look_at((30, 50, 0, 0.6, 50), np.zeros(3), WIDTH, HEIGHT), np.array([-0.4, 0, 0, 0, 0])
    grid = np.stack(np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT)), -1).reshape(-1, 1, 2).astype(np.float32)
    source = cv2.undistortPoints(grid, camera.intrinsics, k1, P=camera.intrinsics).reshape(HEIGHT, WIDTH, 2)
    distorted = cv2.remap(mat_image_from(camera, MAT), source, None, cv2.INTER_LINEAR)
    found = detect_board("0", undistort(distorted, camera, k1), MAT)
    expected = camera.project(MAT.corners()[found.ids])[:, :2] - 0.5
    assert len(found.ids) > 50 and np.linalg.norm(found.corners - expected, axis=1).mean() < 0.5


def test_photos_that_are_mirrored_or_with_a_moved_mat_are_rejected(walk):
    detections = [detect_board(str(number), picture, MAT) for number, picture in enumerate(walk[0])]
    corners = detections[2].corners.copy()
    corners[: len(corners) // 2] += [14, -9]
    moved = replace(detections[2], corners=corners)
    mirrored = detect_board("4", np.ascontiguousarray(walk[0][4][:, ::-1]), MAT)
    for wrong, reason in ((moved, "did the mat or the foot move"), (mirrored, "is a mirror image")):
        solved, rejected, _ = solve_cameras([wrong if one.name == wrong.name else one for one in detections], MAT)
        assert list(rejected) == [wrong.name] and reason in rejected[wrong.name] and len(solved) == PHOTOS - 1


def corners_in_photo(
    azimuth: float, size=(1600, 1200), fov: float = 65, scale: float = 1, crop=(0, 0), elevation=45, mat: Mat = MAT
) -> tuple[BoardDetection, np.ndarray]:
    """The corners of the mat as a lens with k1 = -0.05 shows them, with noise, and the position of the camera.

    The photo is cropped at the left and at the top by ``crop`` pixels, and then resized by ``scale``.
    """
    camera = look_at((azimuth, elevation, 3, 0.5, 50), np.array([0, 0.03, 0]), *size)
    focal = max(size) / 2 / np.tan(np.deg2rad(fov / 2))
    at_lens = mat.corners() @ camera.extrinsics[:3, :3].T + camera.extrinsics[:3, 3]
    plane = at_lens[:, :2] / at_lens[:, 2:]
    pixels = focal * plane * (1 - 0.05 * (plane**2).sum(1, keepdims=True)) + np.array(size) / 2
    pixels, shown = scale * (pixels - crop), tuple(round(scale * side) for side in np.subtract(size, crop))
    ids = np.flatnonzero(((pixels > 0) & (pixels < shown)).all(1))
    noise = np.random.default_rng(int(azimuth)).normal(0, 0.2, (len(ids), 2))
    return BoardDetection(f"{azimuth}", shown, ids, pixels[ids] - 0.5 + noise, 1.0), camera.position


@pytest.mark.parametrize("changes", [
    {"size": (1200, 1600)},  # upright among sideways
    {"scale": 0.6},  # by a messenger
    {"fov": 100},  # the other lens of the phone
    {"size": (1600, 900)},  # cropped evenly
    {"elevation": 88},  # from above, where one photo alone tells no focal length
], ids=str)  # fmt: skip
@pytest.mark.parametrize("changed", [1, 4])
def test_photos_of_several_lenses_sizes_and_orientations(changes, changed):
    views = [corners_in_photo(45 * number, **(changes if number < changed else {})) for number in range(8)]
    solved, rejected, _ = solve_cameras([detection for detection, _ in views], MAT)
    assert not rejected
    for one, (detection, position) in zip(solved, views, strict=True):
        assert one.detection is detection and 1000 * np.linalg.norm(one.camera(MAT).position - position) < 2
        assert one.lens.distortion == pytest.approx([-0.05, 0, 0, 0, 0], abs=0.01)


def test_photo_cropped_at_one_side_is_rejected():
    views = [corners_in_photo(45 * number, crop=(300, 100) if number == 2 else (0, 0))[0] for number in range(8)]
    _, rejected, _ = solve_cameras(views, MAT)
    assert list(rejected) == ["90"] and "was the photo cropped" in rejected["90"]
    cropped = [corners_in_photo(45 * number, crop=(60 * number, 0))[0] for number in range(4)]
    with pytest.raises(ValueError, match="no 3 of 4 photos have one shape and one lens; use whole photos"):
        solve_cameras(cropped, MAT)


@pytest.mark.parametrize(("rows", "corners"), [(2, 0), (3, 24)])
def test_corners_on_one_line_are_not_used(rows, corners):
    """They determine no pose, and gave a negative focal length or an error of 10^17 pixels."""
    strip = np.pad(MAT.image(3)[: 90 * rows], 100, constant_values=128)
    assert len(detect_board("strip", np.dstack([strip] * 3), MAT).ids) == corners


def test_two_sheets_have_the_board_of_one_large_sheet_though_not_glued_exactly():
    """By hand: a corner 15 mm to the right of the middle and 105 mm above it, turned by 90 degrees, is 105 mm to the
    right and 15 mm below."""
    quarter = GluedMat(**vars(get_mat("a4x2")), offset=(1.0, 2.0, 90.0))
    corner = int(np.argmin(np.linalg.norm(1000 * MAT.board_corners()[:, :2] - [210, 30], axis=1)))
    assert 1000 * quarter.board_corners()[corner] == pytest.approx([301, 152, 0])
    glued = GluedMat(**vars(get_mat("a4x2")), offset=(1.5, -1.0, 0.4))
    views = [corners_in_photo(45 * number, mat=glued) for number in range(8)]
    solved, rejected, mat = solve_cameras([detection for detection, _ in views], get_mat("a4x2"))
    assert mat.offset == pytest.approx(glued.offset, abs=0.05) and not rejected
    assert all(
        np.linalg.norm(one.camera(mat).position - view[1]) < 0.002 for one, view in zip(solved, views, strict=True)
    )
    one_sheet, _, mat = solve_cameras([detection for detection, _ in views], MAT)
    assert mat is MAT and sum(one.error for one in one_sheet) > 3 * sum(one.error for one in solved)
    exact = detect_board("a", mat_image(MAT, 10), get_mat("a4x2"))
    assert len(exact.ids) > 0.9 * len(MAT.corners()) and not exact.problem


def test_at_most_24_photos_from_all_sides_are_kept():
    """40 from one side and 4 from the others."""
    azimuths = [*np.linspace(-20, 20, 40), 90, 135, 180, 270]
    cameras = [look_at((azimuth, 45, 0, 0.5, 50), np.zeros(3), WIDTH, HEIGHT) for azimuth in azimuths]
    chosen = choose_views(cameras)
    assert {40, 41, 42, 43} < set(chosen) and len(set(chosen)) == len(chosen) == MAX_VIEWS


@pytest.mark.parametrize("mat", [MATS["a4"], BORDER_MATS["a4"]])
def test_both_designs_of_one_sheet_are_read_and_scaled_by_the_ruler(mat, tmp_path):
    photos = write_photos(tmp_path / "photos", [mat_image(mat, azimuth) for azimuth in range(0, 360, 60)])
    assumed = capture_on_mat(photos, get_mat("a4"), "left", tmp_path / "assumed")
    measured = capture_on_mat(photos, get_mat("a4"), "left", tmp_path / "measured", ruler=97)
    true = look_at((0, 50, 0, 0.6, 50), np.zeros(3), WIDTH, HEIGHT)
    assert pose_error(assumed.cameras[0], true)[0] < 3
    for camera, other in zip(measured.cameras, assumed.cameras, strict=True):
        assert camera.position == pytest.approx(0.97 * other.position, abs=1e-6)
    with pytest.raises(ValueError, match=r"the ruler is 3.8 mm long; expected 80 to 120 mm"):
        capture_on_mat(photos, get_mat("a4"), "left", tmp_path / "inches", ruler=3.8)


def test_written_folder_is_a_capture_without_exif(written, photos):
    photo_set = read_photo_set(written.folder)
    assert photo_set.side == "left" and len(photo_set.photos) == PHOTOS
    rows = read_metadata(written.folder / "rendering" / "rendering_metadata.txt", PHOTOS)
    assert rows == [pytest.approx(row, rel=1e-4, abs=1e-3) for row in written.rows]
    assert (np.diff([row[0] for row in rows]) > 0).all(), "clockwise, the front first"
    cameras = read_cameras(written.folder / "cameras.json")
    assert [(one.width, one.height) for one in cameras] == [(WIDTH, HEIGHT)] * PHOTOS
    assert (written.folder / "coverage.png").stat().st_size > 10_000
    assert json.loads((written.folder / "subject.json").read_text())["cameras"] == "mat a3"
    original = b"".join(path.read_bytes() for path in photos.iterdir())
    assert b"SERIAL-123" in original and b"Phone 7" in original
    for path in written.folder.rglob("*.jpg"):
        assert b"SERIAL" not in path.read_bytes() and not Image.open(path).getexif()


def test_advice_names_the_missing_side(walk, tmp_path, capsys):
    few = write_photos(tmp_path / "few", walk[0][:3])
    (few / "notes.jpg").write_text("not a photo")
    assert main(["capture", str(few), "--mat", "A3", "--side", "Left", "--out", str(tmp_path / "out")]) == 0
    output = capsys.readouterr().out
    assert "notes.jpg: left out, not a readable image" in output
    assert "the printed mat; its ruler is assumed to be 100 mm long" in output
    assert "% of the mat is visible (3 of 3)" in output
    assert "poor; 3 photos" in output and "3 photos are few; take 8 to 16" in output
    assert "photograph the heel from the left" in output or "photograph the left side" in output


def test_sharpest_frames_of_a_video_are_chosen(walk, tmp_path):
    blurred = [cv2.GaussianBlur(sharp, (0, 0), 1.2) for sharp in walk[0]]
    frames = [frame for sharp, blur in zip(walk[0], blurred, strict=True) for frame in (blur, sharp, blur)]
    written = capture_on_mat(write_video(tmp_path / "walk.mp4", frames), MAT, "left", tmp_path / "capture")
    assert [int(name.split()[1]) % 3 for name in written.names] == [1] * PHOTOS


def test_unusable_sources(photos, tmp_path, command_error, monkeypatch):
    """Videos are read in this process to save time."""
    monkeypatch.setattr(mat_capture, "read_in_process", lambda read, path, *arguments, **_: read(path, *arguments))
    for name in ("empty", "text", "exists"):
        (tmp_path / name).mkdir()
    (tmp_path / "text" / "IMG_0001.HEIC").write_text("not an image")
    (tmp_path / "text.mp4").write_text("not a video")
    grey = write_photos(tmp_path / "grey", [np.full((240, 320, 3), 128, np.uint8)] * 3)
    mirrored = [np.ascontiguousarray(mat_image(MAT, azimuth)[:, ::-1]) for azimuth in (0, 120, 240)]
    one_place = write_video(tmp_path / "place.mp4", [mat_image(MAT, azimuth) for azimuth in (40, 41, 43, 44, 42, 41)])
    for source, mat, out, message in (
        (tmp_path / "none", "a3", "out", "no such folder; expected a folder of photos"),
        (tmp_path / "text.mp4", "a3", "out", "not a readable video"),
        (tmp_path / "empty", "a3", "out", "no photos; expected images"),
        (tmp_path / "text", "a3", "out", "IMG_0001.HEIC: not a readable image"),
        (grey, "a3", "out", "0 of 3 photos show the mat 'a3' well enough; expected at least 3: is it this mat, flat"),
        (photos, "a4", "out", "IMG_0000.jpg shows the mat 'a3' or 'a4x2', not 'a4': pass --mat a3 (and 5 more)"),
        (write_photos(tmp_path / "mirrored", mirrored), "a3", "out", "IMG_0.jpg is a mirror image, as from a selfie"),
        (write_video(tmp_path / "mirrored.mp4", mirrored), "a3", "out", "none of 3 frames shows the mat 'a3' well"),
        (one_place, "a3", "out", "filmed from one place only, according to the 6 frames that show the mat; start"),
        (photos, "a7", "out", "no mat for paper 'a7'"),
        (photos, "a3", "exists", "exists: "),
    ):
        error = command_error("capture", source, "--mat", mat, "--side", "left", "--out", tmp_path / out)
        assert message in error
        assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*partial*"))
