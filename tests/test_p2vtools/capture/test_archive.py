"""Folders and zips of apps: read alike, and bounded before anything in them is believed."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from p2vtools.capture import archive as bundle
from p2vtools.capture.archive import ExportArchive


@pytest.fixture
def folder(tmp_path) -> Path:
    inside = tmp_path / "data" / "Foot 1" / "keyframes"
    inside.mkdir(parents=True)
    (inside / "a.json").write_text('{"x": 1}')
    (inside / "b.json").write_text("[" * 100_000)
    Image.new("RGB", (8, 6), "red").save(inside / "c.jpg")
    return tmp_path / "data"


@pytest.fixture
def packed(folder) -> Path:
    path = folder.parent / "data.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*.*")):
            archive.write(file, file.relative_to(folder))
        archive.writestr("__MACOSX/keyframes/._a.json", b"what a Mac adds")
    return path


def test_a_folder_and_a_zip_of_it_are_the_same(folder, packed):
    one, other = ExportArchive(folder), ExportArchive(packed)
    assert one.names == other.names and len(one.names) == 3
    for files in (one, other):
        assert files.base_of("keyframes/") == "Foot 1/" and files.base_of("Foot 1/") == ""
        assert files.under("Foot 1/keyframes/", ".json") == ["Foot 1/keyframes/a.json", "Foot 1/keyframes/b.json"]
        assert files.under("Foot 1/", ".json") == []
        assert files.json("Foot 1/keyframes/a.json") == {"x": 1}
        assert files.picture("Foot 1/keyframes/c.jpg").size == (8, 6)
        with files.copied(["Foot 1/keyframes/a.json"]) as copy:
            assert json.loads((copy / "a.json").read_text()) == {"x": 1}
        with pytest.raises(ValueError, match=r"b.json is not JSON"):
            files.json("Foot 1/keyframes/b.json")
        with pytest.raises(ValueError, match=r"has no Foot 1/d.jpg"):
            files.read("Foot 1/d.jpg")
        with pytest.raises(ValueError, match=r"a.json has 8 bytes; at most 5 are read"):
            files.read("Foot 1/keyframes/a.json", 5)
        with pytest.raises(ValueError, match=r"has no rgbd/; is it the export of another app"):
            files.base_of("rgbd/")


def test_errors_of_a_copy_name_the_bundle(packed):
    with pytest.raises(ValueError, match=f"{packed}/a.json: wrong"), ExportArchive(packed).copied([]) as copy:
        raise ValueError(f"{copy / 'a.json'}: wrong")


@pytest.mark.parametrize("name", ["../out.txt", "/etc/out.txt", "a/../../out.txt", "a\\..\\out.txt"])
def test_a_path_that_leads_out(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, b"")
    with pytest.raises(ValueError, match="outside itself; no app writes such a zip"):
        ExportArchive(tmp_path / "a.zip")


def test_what_would_unpack_to_far_more(tmp_path, monkeypatch):
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", bytes(3_000_000))
    with pytest.raises(ValueError, match=r"a.json would unpack from \d+ to 3000000 bytes; no capture does"):
        ExportArchive(bomb)
    many = tmp_path / "many.zip"
    with zipfile.ZipFile(many, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(40):
            archive.writestr(f"{number}.json", bytes(900_000))
    with pytest.raises(ValueError, match=r"would unpack to 36000000 bytes; no capture does"):
        ExportArchive(many)
    monkeypatch.setattr(bundle, "MOST_FILES", 39)
    with pytest.raises(ValueError, match="more than 39 files"):
        ExportArchive(many)


def test_what_is_damaged(packed, tmp_path):
    content = bytearray(packed.read_bytes())
    at = content.index(b"Foot 1/keyframes/c.jpg") + 40
    content[at : at + 30] = os.urandom(30)
    packed.write_bytes(content)
    with pytest.raises(ValueError, match=r"c.jpg cannot be unpacked \(.*\); export it once more"):
        ExportArchive(packed).read("Foot 1/keyframes/c.jpg")
    (tmp_path / "text.zip").write_text("not a zip")
    with pytest.raises(ValueError, match=r"text.zip: not a zip; expected what the app exported"):
        ExportArchive(tmp_path / "text.zip")
    with pytest.raises(ValueError, match=r"none: no such file or folder"):
        ExportArchive(tmp_path / "none")
