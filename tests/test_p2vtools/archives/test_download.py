"""Downloads, from a server on this machine that breaks off, lies and sends what nobody should unpack."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import shutil
import tarfile
import threading
import zipfile
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import requests

from p2vtools.archives import download
from p2vtools.archives.download import SOURCES, Source


class Server(http.server.ThreadingHTTPServer):
    """Sends ``content`` in one file, with ranges; hangs up after ``breaks`` bytes as often as told."""

    content = b""
    breaks: list[int]
    status = 200
    mark = '"1"'
    says_length = True

    def address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        server.asked.append(self.headers.get("Range"))
        if server.status != 200:
            self.send_error(server.status)
            return
        first = 0
        if self.headers.get("Range") and self.headers.get("If-Range") == server.mark:
            first = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        body = server.content[first:]
        self.send_response(206 if first else 200)
        self.send_header("ETag", server.mark)
        if server.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        cut = server.breaks.pop(0) if server.breaks else len(body)
        self.wfile.write(body[:cut])

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server(("127.0.0.1", 0), Handler) as running:
        running.breaks, running.asked = [], []
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


def tgz(members: dict[str, bytes], kind: bytes = tarfile.REGTYPE, linkname: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname, info.size = kind, linkname, len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


NOISE = hashlib.shake_256(b"noise").digest(500_000)
OBJECT = {"ShapeNetVox32/02691156/abc/model.binvox": NOISE, "ShapeNetVox32/02691156/def/model.binvox": b"voxels"}


@pytest.fixture
def source(server, monkeypatch):
    """The registry with one archive of R2N2's layout, on the loopback."""
    monkeypatch.setattr(download, "PAUSE", 0.0)
    server.content = tgz(OBJECT)
    made = Source(server.address("ShapeNetVox32.tgz"), 600_000, 600_000, "ShapeNetVox32")
    monkeypatch.setattr(download, "SOURCES", {"shapenet": (made,)})
    return made


fetch = partial(download.fetch, trust_first_download=True)


def test_an_archive_with_an_unknown_hash_is_not_downloaded_unless_trusted(source, server, tmp_path):
    with pytest.raises(ValueError, match=r"ShapeNetVox32.tgz: its sha256 is not known; .* --trust-first-download"):
        download.fetch("shapenet", tmp_path)
    (tmp_path / "hashes.json").write_text(json.dumps({source.name: hashlib.sha256(server.content).hexdigest()}))
    assert server.asked == [] and download.fetch("shapenet", tmp_path) == tmp_path and len(server.asked) == 1
    assert all(one.address.startswith("https://") for sources in SOURCES.values() for one in sources)


def names(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return sorted(str(path.relative_to(folder)) for path in files)


def test_an_archive_is_downloaded_unpacked_and_its_hash_recorded(source, server, tmp_path):
    fetch("shapenet", tmp_path)
    assert (tmp_path / "ShapeNetVox32/02691156/abc/model.binvox").read_bytes() == NOISE
    assert hashlib.sha256(server.content).hexdigest() in (tmp_path / "hashes.json").read_text()
    assert names(tmp_path) == sorted([*OBJECT, "ShapeNetVox32.tgz", "hashes.json"])
    fetch("shapenet", tmp_path)
    assert len(server.asked) == 1, "the second time nothing is asked for"


def test_a_broken_download_is_resumed_as_long_as_bytes_arrive(source, server, tmp_path, capsys):
    server.breaks = [70_000] * (download.ATTEMPTS + 1)
    fetch("shapenet", tmp_path)
    assert server.asked[:3] == [None, "bytes=65536-", "bytes=131072-"]
    assert len(server.asked) == download.ATTEMPTS + 2
    assert (tmp_path / "ShapeNetVox32/02691156/abc/model.binvox").read_bytes() == NOISE
    assert "interrupted at 65,536 bytes" in capsys.readouterr().out


@pytest.mark.parametrize("changed", [False, True])
def test_a_partial_download_is_kept_for_the_next_command_unless_the_file_changed(source, server, tmp_path, changed):
    server.breaks = [70_000] + [30_000] * download.ATTEMPTS
    with pytest.raises(OSError, match=r"keeps breaking; 65,536 bytes are kept"):
        fetch("shapenet", tmp_path)
    if changed:
        server.content, server.mark = tgz({"ShapeNetVox32/x": b"new"}), '"2"'
    fetch("shapenet", tmp_path)
    assert server.asked[-1] == "bytes=65536-"
    expected = ["ShapeNetVox32/x"] if changed else [*OBJECT]
    assert names(tmp_path) == sorted([*expected, "ShapeNetVox32.tgz", "hashes.json"])


def test_a_changed_file_is_refused(source, server, tmp_path):
    fetch("shapenet", tmp_path)
    (tmp_path / "ShapeNetVox32.tgz").unlink()
    shutil.rmtree(tmp_path / "ShapeNetVox32")
    server.content = tgz({"ShapeNetVox32/x": b"another"})
    with pytest.raises(ValueError, match=r"does not match the known hash"):
        fetch("shapenet", tmp_path)
    assert names(tmp_path) == ["hashes.json"]


def test_a_file_put_there_by_hand_is_checked(source, server, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "SOURCES", {"shapenet": (replace(source, sha256="0" * 64),)})
    (tmp_path / source.name).write_bytes(server.content)
    with pytest.raises(ValueError, match=r"its sha256 is .*; expected 0000"):
        fetch("shapenet", tmp_path)
    assert (tmp_path / source.name).is_file(), "somebody's own file is not deleted"
    monkeypatch.setattr(download, "SOURCES", {"shapenet": (source,)})
    fetch("shapenet", tmp_path)
    assert not server.asked


def zipped(name: str, content: bytes = b"x", mode: int = 0o100644) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr = mode << 16
        archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


HOSTILE = {
    "climbs": ("a.tgz", tgz({"../outside": b"x"}), "is outside the folder"),
    "absolute": ("a.tgz", tgz({"/outside": b"x"}), "is outside the folder"),
    "symlink": ("a.tgz", tgz({"ShapeNetVox32/link": b""}, tarfile.SYMTYPE, "/etc/passwd"), "a link or a device"),
    "hardlink": ("a.tgz", tgz({"ShapeNetVox32/link": b""}, tarfile.LNKTYPE, "../../secret"), "a link or a device"),
    "fifo": ("a.tgz", tgz({"ShapeNetVox32/pipe": b""}, tarfile.FIFOTYPE), "a link or a device"),
    "bomb": ("a.tgz", tgz({"ShapeNetVox32/bomb": bytes(10**7)}), "unpacks to more than expected"),
    "truncated": ("a.tgz", tgz(OBJECT)[:-5000], "not a complete archive"),
    "html": ("a.tgz", b"<html>moved</html>", "not a complete archive"),
    "empty": ("a.tgz", tgz({}), "an empty archive"),
    "garbled": ("a.tgz", tgz(OBJECT)[:90_000] + b"\xff" * 2000 + tgz(OBJECT)[92_000:], "not a complete archive"),
    "zip-climbs": ("a.zip", zipped("../outside"), "is outside the folder"),
    "zip-symlink": ("a.zip", zipped("link", b"/etc/passwd", 0o120777), "a link or a device"),
    "zip-bomb": ("a.zip", zipped("bomb", bytes(10**7)), "unpacks to more than expected"),
    "zip-truncated": ("a.zip", zipped("pix3d.json")[:-30], "not a complete archive"),
}


@pytest.mark.parametrize("fault", HOSTILE)
def test_a_hostile_or_broken_archive_leaves_no_file(server, tmp_path, monkeypatch, fault):
    name, server.content, message = HOSTILE[fault]
    made = Source(server.address(name), 600_000, 600_000, "ShapeNetVox32")
    monkeypatch.setattr(download, "SOURCES", {"shapenet": (made,)})
    with pytest.raises(ValueError, match=rf"{name}: .*{message}"):
        fetch("shapenet", tmp_path / "root")
    assert names(tmp_path) == [f"root/{name}"], "neither unpacked files nor a recorded hash"


def test_a_zip_without_a_top_folder_gets_one(server, tmp_path, monkeypatch):
    server.content = zipped("img/chair/0001.png", b"picture")
    monkeypatch.setattr(download, "SOURCES", {"pix3d": (Source(server.address("pix3d.zip"), 600_000, 9, "pix3d"),)})
    fetch("pix3d", tmp_path)
    assert (tmp_path / "pix3d/img/chair/0001.png").read_bytes() == b"picture"


@pytest.mark.parametrize("says_length", [True, False])
def test_a_download_larger_than_allowed_is_refused(source, server, tmp_path, says_length):
    server.content, server.says_length = bytes(10**6), says_length
    with pytest.raises(ValueError, match=r"ShapeNetVox32.tgz: .*660,000"):
        fetch("shapenet", tmp_path)
    assert not (tmp_path / "ShapeNetVox32.tgz").exists()


def test_without_a_network_the_error_names_the_file_to_put_there(source, tmp_path, monkeypatch, command_error):
    gone = replace(source, address="http://127.0.0.1:9/ShapeNetVox32.tgz")
    monkeypatch.setattr(download, "SOURCES", {"shapenet": (gone,)})
    error = command_error("fetch", "shapenet", "--trust-first-download", "--root", tmp_path)
    assert "no connection" in error and f"put it at {tmp_path / 'ShapeNetVox32.tgz'}" in error


@pytest.mark.parametrize(("status", "attempts"), [(503, download.ATTEMPTS), (404, 1)])
def test_a_busy_server_is_asked_again_and_one_without_the_file_is_not(source, server, tmp_path, status, attempts):
    server.status = status
    with pytest.raises(OSError, match=rf"answers {status}.*put it at") as told:
        fetch("shapenet", tmp_path)
    assert isinstance(told.value.__cause__, requests.HTTPError) and len(server.asked) == attempts


def test_a_page_instead_of_the_taxonomy_is_refused(server, tmp_path, monkeypatch):
    server.content = b"<html>log in</html>"
    monkeypatch.setattr(download, "SOURCES", {"shapenet": (Source(server.address("ShapeNet.json"), 1000),)})
    with pytest.raises(ValueError, match="ShapeNet.json: not JSON .*; delete it"):
        fetch("shapenet", tmp_path)
    assert names(tmp_path) == ["ShapeNet.json"]


def test_a_full_disk_is_an_error_before_the_download(source, server, tmp_path, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: SimpleNamespace(free=900_000))
    with pytest.raises(OSError, match=r"are free, and ShapeNetVox32.tgz needs"):
        fetch("shapenet", tmp_path)
    assert not server.asked
