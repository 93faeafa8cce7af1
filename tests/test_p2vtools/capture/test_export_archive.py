"""Exports in a folder or a zip: the same files either way, and limits on what a zip may hold."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from p2vtools.capture import export_archive
from p2vtools.capture.export_archive import ExportArchive


@pytest.fixture
def folder(tmp_path) -> Path:
    inside = tmp_path / "data" / "Foot 1" / "keyframes"
    inside.mkdir(parents=True)
    (inside / "a.json").write_text('{"x": 1}')
    (inside / "._a.json").write_bytes(b"added by macOS on a disk of another system")
    (inside / "b.json").write_text("[" * 100_000)
    Image.new("RGB", (8, 6), "red").save(inside / "c.jpg")
    return tmp_path / "data"


@pytest.fixture
def zip_path(folder) -> Path:
    path = folder.parent / "data.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder))
        archive.writestr("__MACOSX/keyframes/._a.json", b"added by macOS")
    return path


@pytest.mark.parametrize("kind", ["folder", "zip_path"])
def test_a_folder_and_its_zip_are_read_alike(kind, request):
    archive = ExportArchive(request.getfixturevalue(kind))
    assert archive.names == [f"Foot 1/keyframes/{name}" for name in ("a.json", "b.json", "c.jpg")]
    assert archive.find_root("keyframes/") == "Foot 1/" and archive.find_root("Foot 1/") == ""
    assert archive.list_files("Foot 1/keyframes/", ".json") == archive.names[:2]
    assert archive.list_files("Foot 1/", ".json") == []
    assert archive.read_json("Foot 1/keyframes/a.json") == {"x": 1}
    assert archive.open_photo("Foot 1/keyframes/c.jpg").size == (8, 6)
    with archive.extracted(["Foot 1/keyframes/a.json"]) as copy:
        assert json.loads((copy / "a.json").read_text()) == {"x": 1}
    with pytest.raises(ValueError, match=r"b.json: not JSON"):
        archive.read_json("Foot 1/keyframes/b.json")
    with pytest.raises(ValueError, match=r"has no Foot 1/d.jpg"):
        archive.read("Foot 1/d.jpg")
    with pytest.raises(ValueError, match=r"a.json: 8 bytes; the limit is 5"):
        archive.read("Foot 1/keyframes/a.json", 5)
    with pytest.raises(ValueError, match=r"has no rgbd/; is it the export of another app"):
        archive.find_root("rgbd/")
    with pytest.raises(ValueError, match=f"{archive.path}/a.json: wrong"), archive.extracted([]) as copy:
        raise ValueError(f"{copy / 'a.json'}: wrong")


@pytest.mark.parametrize("name", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "a\\..\\out.txt"])
def test_paths_that_leave_the_folder_are_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"")
    with pytest.raises(ValueError, match="unsafe path"):
        ExportArchive(tmp_path / "a.zip")


def test_zip_bombs_are_refused(tmp_path, monkeypatch):
    bomb, many = tmp_path / "bomb.zip", tmp_path / "many.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", bytes(3_000_000))
    with pytest.raises(ValueError, match=r"a.json would unpack from \d+ to 3000000 bytes, too many for a capture"):
        ExportArchive(bomb)
    with zipfile.ZipFile(many, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(40):
            archive.writestr(f"{number}.json", bytes(900_000))
    with pytest.raises(ValueError, match=r"would unpack to 36000000 bytes, too many for a capture"):
        ExportArchive(many)
    monkeypatch.setattr(export_archive, "MAX_FILES", 39)
    with pytest.raises(ValueError, match="more than 39 files"):
        ExportArchive(many)


def test_damaged_and_missing_archives(zip_path, tmp_path):
    content = bytearray(zip_path.read_bytes())
    start = content.index(b"Foot 1/keyframes/c.jpg") + 40
    content[start : start + 30] = os.urandom(30)
    zip_path.write_bytes(content)
    with pytest.raises(ValueError, match=r"c.jpg: cannot be read \(.*\); export it again"):
        ExportArchive(zip_path).read("Foot 1/keyframes/c.jpg")
    (tmp_path / "text.zip").write_text("not a zip")
    with pytest.raises(ValueError, match=r"text.zip: not a zip; expected the export of an app"):
        ExportArchive(tmp_path / "text.zip")
    with pytest.raises(ValueError, match=r"none: no such file or folder"):
        ExportArchive(tmp_path / "none")
