"""Download of the public archives: resumed after a break, checked, and unpacked inside their own folder.

All sizes are checked against limits: a server may not send more than `SOURCES` allows, an archive may not unpack
to more, and no member may leave the folder or be anything but a plain file.
"""

from __future__ import annotations

import gzip
import json
import logging
import shutil
import tarfile
import time
import zipfile
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import pooch
import requests

from p2vlib import progress
from p2vlib.files import FileError, read_json, write_text
from p2vlib.provenance import home
from p2vtools.files import file_lock

GIB = 2**30
ATTEMPTS = 5
"""Consecutive attempts without a new byte after which a download fails."""

PAUSE = 2.0
"""Seconds before the next attempt, times the number of failures."""

TIMEOUT = 30
"""Seconds without a byte."""

CHUNK = 2**16
HASHES = "hashes.json"
"""The file with the sha256 of everything downloaded, beside the downloads."""


@dataclass(frozen=True)
class Source:
    """One file of a data set."""

    address: str
    size: int
    """Approximate size, bytes; the server may send up to a tenth more."""
    unpacked: int = 0
    """Approximate size after unpacking, bytes; up to half as much again is accepted. 0: not an archive."""
    folder: str = ""
    """The folder that unpacking creates; an archive without a single top folder is unpacked into it."""
    sha256: str | None = None
    """None: not known; recorded at the first download, if that is trusted, and checked from then on."""

    @property
    def name(self) -> str:
        """The file name."""
        return self.address.rpartition("/")[2]


SOURCES: dict[str, tuple[Source, ...]] = {
    "shapenet": (
        Source("https://raw.githubusercontent.com/hzxie/Pix2Vox/master/datasets/ShapeNet.json", 2 * 2**20),
        Source("https://cvgl.stanford.edu/data2/ShapeNetVox32.tgz", GIB // 16, 2 * GIB, "ShapeNetVox32"),
        Source("https://cvgl.stanford.edu/data2/ShapeNetRendering.tgz", 13 * GIB, 24 * GIB, "ShapeNetRendering"),
    ),
    "pix3d": (Source("https://pix3d.csail.mit.edu/data/pix3d.zip", 4 * GIB, 8 * GIB, "pix3d"),),
}
"""Sizes are rounded up. The terms of use of ShapeNet and Pix3D apply to the downloads."""


def fetch(name: str, root: Path | None = None, trust_first_download: bool = False) -> Path:
    """Downloads and unpacks ``name`` of `SOURCES` below ``root`` (default ``data/<name>``), unless it exists.

    Args:
        trust_first_download: take files whose sha256 is not known; it is recorded and checked from then on.

    Raises:
        ValueError: an unknown or wrong hash, an archive that is broken or would leave its folder.
        OSError: no network, a download that keeps breaking off, a disk that is too small.
    """
    root = root or home() / "data" / name
    root.mkdir(parents=True, exist_ok=True)
    for source in SOURCES[name]:
        archive, folder = root / source.name, root / source.folder
        with file_lock(root / ".lock"):
            if not (source.folder and folder.is_dir()):
                _fetch_file(source, archive, folder, trust_first_download)
        print(f"{folder if source.folder else archive}: done", flush=True)
    return root


def _fetch_file(source: Source, archive: Path, folder: Path, trust_first_download: bool) -> None:
    hashes = archive.with_name(HASHES)
    recorded = read_json(hashes, "expected the sha256 of each file; delete it") if hashes.is_file() else {}
    expected = source.sha256 or recorded.get(source.name)
    if not expected and not trust_first_download:
        advice = f"write the one you know to {hashes}, or pass --trust-first-download, which records it"
        raise FileError(archive, "its sha256 is not known", advice)
    needed = source.unpacked + (0 if archive.is_file() else source.size - _size(_partial(archive)))
    if (free := shutil.disk_usage(archive.parent).free) < needed:
        raise OSError(
            f"{archive.parent}: {free / GIB:.1f} GiB are free, and {source.name} needs {needed / GIB:.1f}, unpacked;"
            " make room, or pass another folder with --root"
        )
    if not archive.is_file():
        download(source, archive, expected)
    found = pooch.file_hash(str(archive), "sha256")
    if expected and found != expected:
        advice = f"if it is the right file, put there by hand, remove its line from {hashes}"
        advice = f"expected {expected}. Delete it and run the command again; {advice}"
        raise FileError(archive, f"its sha256 is {found}", advice)
    if archive.suffix == ".json":
        read_json(archive, "expected a list of categories; delete it and run the command again", list)
    if source.folder:
        print(f"{archive}: unpacking", flush=True)
        _unpack(archive, folder, round(1.5 * source.unpacked))
    # Recorded last: the hash of a file that cannot be unpacked must not become the reference.
    write_text(hashes, json.dumps({**recorded, source.name: found}, indent=1) + "\n")


# ----------------------------------------------------------------------------------------------------------- download


def _partial(path: Path) -> Path:
    return path.with_name(f".partial.{path.name}")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def download(source: Source, path: Path, sha256: str | None) -> None:
    """Downloads to ``path``, resuming what an earlier attempt left, as long as every few attempts bring new bytes.

    Raises:
        ValueError: another hash than ``sha256``, or more bytes than expected.
        OSError: no network, or a download that keeps breaking off.
    """
    pooch.get_logger().setLevel(logging.WARNING)
    failures, part = 0, _partial(path)
    while True:
        before = _size(part)
        try:
            downloader = partial(_resume, source, part)
            pooch.retrieve(source.address, sha256, path.name, path.parent, downloader=downloader)
            return
        except requests.RequestException as error:
            failures = 0 if _size(part) > before else failures + 1
            status = 0 if error.response is None else error.response.status_code
            if 400 <= status < 500 or failures == ATTEMPTS or not (_size(part) or status):
                reason = f"the server answers {status}" if status else "no connection, or it keeps breaking"
                raise OSError(
                    f"{source.name}: download from {source.address} failed ({reason}; {_size(part):,} bytes are kept);"
                    f" run the same command again, or download the file by hand and put it at {path}"
                ) from error
            print(f"{source.name}: interrupted at {_size(part):,} bytes; resuming", flush=True)
            time.sleep(PAUSE * failures)


def _resume(source: Source, part: Path, url: str, output_file: str, _: pooch.Pooch | None) -> None:
    """A downloader for pooch that continues ``part``, if the server still has the same version of the file."""
    version = part.with_name(f"{part.name}.version")
    begun = _size(part) if version.is_file() else 0
    headers = {"Range": f"bytes={begun}-", "If-Range": version.read_text("utf-8")} if begun else {}
    with requests.get(url, headers={**headers, "Accept-Encoding": "identity"}, stream=True, timeout=TIMEOUT) as answer:
        if answer.status_code != requests.codes.requested_range_not_satisfiable:  # else the file is complete
            answer.raise_for_status()
            begun = begun if answer.status_code == requests.codes.partial_content else 0
            total, limit = begun + int(answer.headers.get("Content-Length", 0)), round(1.1 * source.size)
            # Without a strong validator, the halves of two versions could be joined: then there is no resuming.
            mark = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "W/"
            version.unlink(missing_ok=True) if mark.startswith("W/") else version.write_text(mark, "utf-8")
            bar = progress.bar(title=source.name, total=total or None, initial=begun, unit="B", unit_scale=True)
            with bar, open(part, "ab" if begun else "wb") as stream:
                for chunk in [b""] if total > limit else answer.iter_content(CHUNK):
                    total = max(total, begun := begun + stream.write(chunk))
                    if total > limit:
                        raise FileError(source.name, f"the server sends {total:,} bytes", f"expected at most {limit:,}")
                    bar.update(len(chunk))
    part.replace(output_file)
    version.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------------------- unpack


def _unpack(archive: Path, folder: Path, limit: int) -> None:
    """Unpacks ``archive`` to ``folder``, completely or not at all."""
    scratch = _partial(folder)
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        unpack = _unpack_zip if archive.suffix == ".zip" else _unpack_tar
        if not unpack(archive, scratch, limit):
            raise FileError(archive, "an empty archive", "delete it and run the command again")
        inside = scratch / folder.name
        (inside if inside.is_dir() else scratch).rename(folder)
    except (EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, RuntimeError, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # an error of the disk, not of the archive
            raise
        raise FileError(archive, f"not a complete archive ({error})", "delete it and run the command again") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _unpack_tar(archive: Path, target: Path, limit: int) -> int:
    """The number of unpacked bytes."""
    total = 0
    with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r|") as members:
        for member in progress.bar(members, f"unpacking {archive.name}", unit="file"):
            total += _check_member(archive, member.name, member.isfile() or member.isdir(), member.size, limit - total)
            members.extract(member, target, set_attrs=False, filter="data")
        while stream.read(CHUNK) and (limit := limit - CHUNK) > 0:  # the padding, up to the checksum of gzip
            pass
    return total


def _unpack_zip(archive: Path, target: Path, limit: int) -> int:
    """The number of unpacked bytes."""
    total = 0
    with zipfile.ZipFile(archive) as members:
        for member in progress.bar(members.infolist(), f"unpacking {archive.name}", unit="file"):
            is_plain = (member.external_attr >> 16) & 0o170000 in (0, 0o100000, 0o040000)
            total += _check_member(archive, member.filename, is_plain, member.file_size, limit - total)
            members.extract(member, target)
    return total


def _check_member(archive: Path, name: str, is_plain: bool, size: int, limit: int) -> int:
    """The size of a member that may be unpacked."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise FileError(archive, f"contains {name!r}, which is outside the folder", "nothing was unpacked")
    if not is_plain:
        raise FileError(archive, f"contains {name!r}, a link or a device", "expected plain files")
    if size > limit:
        raise FileError(archive, f"unpacks to more than expected, at {name!r}", "it is not the expected archive")
    return size
