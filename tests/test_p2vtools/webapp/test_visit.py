"""What a visitor of the page brings: photos are checked, limited, kept from other visitors and deleted."""

import gc
import re
import signal
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from p2vlib.geometry.cameras import look_at
from p2vlib.geometry.frames import FOOT_CUBE
from p2vtools.archives.photo_files import encode_photo
from p2vtools.capture.capture_writer import metadata_row
from p2vtools.synthesis.mat import get_mat
from p2vtools.webapp import server, text, visit
from p2vtools.webapp.file_exchange import FileExchange
from p2vtools.webapp.page import EXPORT, SHEET, Page
from p2vtools.webapp.visit import FOLDER_VARIABLE, Visit
from tests.mats import mat_image, sheet_photo


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the server."""
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    return tmp_path


def add(visitor: Visit, *contents: bytes, name: str = "IMG_1.jpg") -> Visit:
    path = visitor.folder.parent / "arriving"
    for content in contents:
        path.write_bytes(content)
        visitor.add_photo(name, path)
    return visitor


@pytest.fixture(scope="module")
def on_mat() -> list[bytes]:
    """Photos of the mat from the toes, the right side and the heel."""
    return [encode_photo(mat_image(get_mat("a3"), azimuth)) for azimuth in (0, 90, 180)]


def test_photos_are_checked_one_by_one_and_the_missing_side_is_named(on_mat):
    visitor = add(Visit(), on_mat[0], on_mat[1])
    azimuths = [photo.row[0] for photo in visitor.photos]
    assert np.allclose([(azimuth + 90) % 360 for azimuth in azimuths], [90, 180], atol=2)
    assert not visitor.has_enough_photos
    add(visitor, on_mat[2], encode_photo(np.full((480, 640, 3), 128, np.uint8)))
    add(visitor, encode_photo(mat_image(get_mat("a4"), 270)))
    visitor.photos[1] = replace(visitor.photos[1], sharpness=0.0)
    reasons = ["", "is blurred", "", "shows no mat", "shows another mat"]
    for problem, reason in zip(visitor.problems(), reasons, strict=True):
        assert problem.startswith(reason) and bool(problem) == bool(reason)
    assert not visitor.has_enough_photos
    visitor.photos[1] = replace(visitor.photos[1], sharpness=visitor.photos[0].sharpness)
    assert visitor.has_enough_photos
    assert "photograph the left side: 180 degrees without a photo" in visitor.advice()


@pytest.mark.parametrize("content", [b"no photo", b"\xff\xd8\xff\xe0 cut"])
def test_a_wrong_file_gets_one_sentence_and_changes_nothing(on_mat, content):
    visitor = add(Visit(), on_mat[0])
    before = sorted(visitor.folder.iterdir())
    with pytest.raises(ValueError) as raised:
        add(visitor, content)
    assert re.fullmatch("(not a readable image|cannot be read.*); expected PNG, JPEG, WebP or HEIC", str(raised.value))
    with pytest.raises(ValueError, match="already there"):
        add(visitor, on_mat[0])
    with pytest.raises(ValueError, match="not a zip"):
        visitor.add_export("scan.zip", visitor.folder.parent / "arriving")
    assert sorted(visitor.folder.iterdir()) == before and len(visitor.photos) == 1


def test_the_number_of_photos_is_limited(on_mat, monkeypatch):
    monkeypatch.setattr(visit, "MAX_PHOTOS", 2)
    with pytest.raises(ValueError, match="2 photos are enough"):
        add(Visit(), *on_mat)


def test_visitors_do_not_share_files_which_are_deleted_by_themselves_or_with_the_visit(on_mat):
    first, second = add(Visit(), on_mat[0]), add(Visit(), on_mat[0])
    first.clear()
    assert first.photos == [] and list(first.folder.iterdir()) == []
    assert [photo.path.parent for photo in second.photos] == [second.folder] and second.photos[0].path.is_file()
    folder = second.folder
    with pytest.warns(ResourceWarning, match="Implicitly cleaning up"):  # as at the end of the process
        del second
        gc.collect()
    assert not folder.exists()


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no such signal")
def test_photos_are_deleted_if_the_terminal_is_closed(folder, monkeypatch):
    def close_terminal(self: server._Server) -> None:
        (photo,) = [path / "photo" for path in folder.glob("p2v-app-*")]
        photo.touch()
        assert signal.getsignal(signal.SIGHUP) != signal.SIG_DFL, "the process ends without deleting anything"
        signal.raise_signal(signal.SIGHUP)

    monkeypatch.setenv("JUPYTER_PATH", "")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setattr(server._Server, "initialize", lambda self, arguments: None)
    monkeypatch.setattr(server._Server, "start", close_terminal)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt):
            server.serve(lan=False, port=8866, browser=False)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert list(folder.iterdir()) == []


def test_files_arrive_in_pieces_within_limits(tmp_path):
    received, refused = [], []
    exchange = FileExchange(
        tmp_path, 8, lambda name, path: received.append((name, path.read_bytes())), lambda *why: refused.append(why)
    )
    for message in (
        *({"kind": "begin", "name": "../a.jpg", "size": 5}, b"abc", b"de", {"kind": "end"}),
        *({"kind": "begin", "name": "large", "size": 9}, b"abc"),
        *({"kind": "begin", "name": "cut", "size": 5}, b"abc", {"kind": "end"}),
        *({"kind": "begin", "name": "longer", "size": 2}, b"abc"),
    ):
        is_piece = isinstance(message, bytes)
        exchange._answer({"kind": "piece"} if is_piece else message, [memoryview(message)] if is_piece else [])
    assert received == [("a.jpg", b"abcde")]
    assert [name for name, _ in refused] == ["large", "large", "cut", "longer"]
    assert list(tmp_path.iterdir()) == []


def test_the_ring_is_green_where_there_are_photos():
    html = text.ring_html([(90.0, 50.0, 0.0, 0.6, 50.0)], "right", ["photograph the <heel>"])
    # 75 degrees about the right side: 66 (sin 52.5, -cos 52.5) and 66 (sin 127.5, -cos 127.5) from the middle.
    assert 'd="M 152.4 59.8 A 66 66 0 0 1 152.4 140.2"' in html and "&lt;heel&gt;" in html


def test_photos_on_a_sheet_are_checked_and_checked_again_for_another_surface(on_mat):
    camera = look_at((90, 50, 0, 0.6, 60), np.zeros(3), 800, 600)
    visitor = Visit()
    visitor.choose_surface("a4", "right")
    add(visitor, encode_photo(sheet_photo(camera)), encode_photo(np.full((480, 640, 3), 128, np.uint8)))
    row = visitor.photos[0].row
    assert min(abs(row[0] - azimuth) for azimuth in (90, 270)) < 5  # nobody stands on it, so both ends are alike
    _, elevation, _, distance, _ = metadata_row(camera, FOOT_CUBE.centre)
    assert abs(row[1] - elevation) < 4 and abs(row[3] - distance) < 0.05
    assert [bool(problem) for problem in visitor.problems()] == [False, True]
    assert "shows no white sheet" in visitor.problems()[1]
    visitor.choose_surface(None, "right")
    assert all("shows no mat" in problem for problem in visitor.problems())


def test_a_full_disk_is_one_sentence(folder, monkeypatch):
    def write(photos, mat, side, out, ruler):
        raise OSError(28, f"{out}: could not be written (No space left on device); nothing was kept")

    monkeypatch.setattr(visit, "capture_on_mat", write)
    with pytest.raises(
        ValueError, match=r"could not be written \(No space left on device\); nothing was kept$"
    ) as raised:
        Visit().reconstruct("left", 100.0, None, print)
    assert str(folder) not in str(raised.value) and "Errno" not in str(raised.value)
    page = Page()
    monkeypatch.setattr(tempfile, "mkdtemp", lambda dir: write(None, None, None, dir, None))
    with pytest.raises(ValueError, match="nothing was kept$"):
        page.visit.reconstruct("left", 100.0, None, print)
    monkeypatch.setattr(visit.shutil, "copy", lambda path, kept: write(None, None, None, "", None))
    arrive(page.export_files, "scan.zip", b"PK\x03\x04")
    assert page.refused.value.startswith('<div role="alert">scan.zip: : could not be written (No space')


def arrive(exchange: FileExchange, name: str, content: bytes, end: bool = True) -> None:
    exchange._answer({"kind": "begin", "name": name, "size": len(content)}, [])
    exchange._answer({"kind": "piece"}, [memoryview(content)])
    if end:
        exchange._answer({"kind": "end"}, [])


def test_photos_and_an_export_may_arrive_together_until_all_is_deleted(on_mat):
    page = Page()
    arrive(page.photo_files, "IMG_1.jpg", on_mat[0], end=False)
    arrive(page.export_files, "scan.zip", b"PK\x03\x04", end=False)
    page.photo_files._answer({"kind": "end"}, [])
    assert len(page.visit.photos) == 1 and page.refused.value == ""
    page._restart()
    page.export_files._answer({"kind": "end"}, [])
    assert page.refused.value == '<div role="alert">scan.zip: did not arrive; choose it again</div>'
    assert list(page.visit.folder.iterdir()) == []


def test_photos_that_do_not_agree_are_rejected(on_mat):
    moved = mat_image(get_mat("a3"), 270)
    moved[:, 320:] = np.roll(moved[:, 320:], 14, 0)
    visitor = add(Visit(), *on_mat, encode_photo(mat_image(get_mat("a3"), 45)), encode_photo(moved))
    assert visitor.problems() == [""] * 5
    written = visitor._capture_photos("left", 100.0, visitor.folder / "capture/foot-left")
    assert sorted(written.names) == [f"photo {number}.jpg" for number in (1, 2, 3, 4)]
    assert list(written.rejected) == ["photo 5.jpg"]
    assert "did the mat or the foot move" in written.rejected["photo 5.jpg"]


def test_the_name_of_an_export_is_text():
    page = Page()
    page.visit.export_name, page.source.value = "<b>.zip", EXPORT
    assert page.hint.value == "&lt;b&gt;.zip"


def test_controls_wait_while_photos_are_checked_again(on_mat, monkeypatch):
    page, states = Page(), []
    add(page.visit, on_mat[0])
    check = Visit._check

    def slow_check(self, *photo):
        states.append((page.hint.value, page.start.disabled, page.source.disabled, page.photo_files.disabled))
        return check(self, *photo)

    monkeypatch.setattr(Visit, "_check", slow_check)
    page.source.value = SHEET
    assert states == [("The photos are checked again …", True, True, True)]
    assert "shows no white sheet" in page.pictures.value and page.start.disabled
    assert not page.source.disabled and not page.photo_files.disabled
