"""The real archives: fetched when somebody asks for them, resumed, checked, and unpacked inside their own folder.

Nothing here runs by itself. What is downloaded is bounded before it is believed: the address may not send more than the
registry allows, an archive may not unpack to more, and no member of it leaves the folder or is anything but a plain
file. A set is unpacked under another name and renamed when it is whole.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import shutil
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

import pooch
import requests

from p2vlib import progress
from p2vlib.files import write_text
from p2vlib.provenance import home

GIB = 2**30
ATTEMPTS = 5
"""How often in a row a download may break off without a new byte before it is given up."""

PAUSE = 2.0
"""Seconds before the second of such attempts; each further one waits as much longer."""

MEMBERS = 4_000_000
"""No archive has more files; R2N2's has a million."""

CHUNK = 2**16
TIMEOUT = 30
"""Seconds without a byte."""

HASHES = "hashes.json"
"""Where the sha256 of what was fetched is kept, beside it."""


@dataclass(frozen=True)
class Source:
    """One file of a data set."""

    address: str
    size: int
    """About how large it is, bytes; the address may send up to a tenth more."""

    unpacked: int = 0
    """About what it unpacks to, bytes, at most half as much again; 0: it is no archive."""

    makes: str = ""
    """The folder that unpacking makes; an archive without one folder at its top is unpacked into a new one."""

    sha256: str | None = None
    """Where nobody publishes it, it is recorded at the first download and checked ever after."""

    @property
    def name(self) -> str:
        """Its file name."""
        return self.address.rpartition("/")[2]


SOURCES: dict[str, tuple[Source, ...]] = {
    "shapenet": (
        Source("https://raw.githubusercontent.com/hzxie/Pix2Vox/master/datasets/ShapeNet.json", 2 * 2**20),
        Source("http://cvgl.stanford.edu/data2/ShapeNetVox32.tgz", GIB // 16, 2 * GIB, "ShapeNetVox32"),
        Source("http://cvgl.stanford.edu/data2/ShapeNetRendering.tgz", 13 * GIB, 24 * GIB, "ShapeNetRendering"),
    ),
    "pix3d": (Source("http://pix3d.csail.mit.edu/data/pix3d.zip", 4 * GIB, 8 * GIB, "pix3d"),),
}
"""Sizes are rounded up. ShapeNet's and Pix3D's own terms of use apply to what is fetched."""


def fetch(name: str, root: Path | None = None) -> Path:
    """Brings the data set ``name`` below ``root`` (default ``data/<name>``); what is there already is left alone.

    Raises:
        ValueError: an unknown name, a wrong hash, an archive that is broken or does not stay inside its folder.
        OSError: no network, a download that keeps breaking off, a disk that is too small.
    """
    if name not in SOURCES:
        raise ValueError(f"nothing called {name!r} can be fetched; there are {', '.join(SOURCES)}")
    root = root or home() / "data" / name
    root.mkdir(parents=True, exist_ok=True)
    pooch.get_logger().setLevel(logging.WARNING)
    for source in SOURCES[name]:
        _bring(source, root)
    return root


def _bring(source: Source, root: Path) -> None:
    archive, folder = root / source.name, root / source.makes
    if source.makes and folder.is_dir():
        print(f"{folder}: there already", flush=True)
        return
    hashes = root / HASHES
    recorded = json.loads(hashes.read_text()) if hashes.is_file() else {}
    known = source.sha256 or recorded.get(source.name)
    if not archive.is_file():
        part = _part(archive)
        _check_disk(source, root, source.size + source.unpacked - (part.stat().st_size if part.is_file() else 0))
        _download(source, archive, known)
    found = pooch.file_hash(str(archive), "sha256")
    if known and found != known:
        raise ValueError(
            f"{archive}: its sha256 is {found}; expected {known}. Delete it and fetch again; if it was put there by "
            f"hand and is the right one, remove its line from {hashes}"
        )
    if archive.suffix == ".json":
        try:
            json.loads(archive.read_text())
        except ValueError:
            raise ValueError(f"{archive}: not JSON; delete it and fetch again, or put the right one there") from None
    if source.makes:
        _check_disk(source, root, source.unpacked)
        print(f"{archive}: unpacking", flush=True)
        _unpack(archive, folder, round(1.5 * source.unpacked))
    # Recorded last: a file that does not unpack is nothing to compare others with.
    write_text(hashes, json.dumps({**recorded, source.name: found}, indent=1) + "\n")
    print(f"{folder if source.makes else archive}: done", flush=True)


def _check_disk(source: Source, root: Path, needed: int) -> None:
    free = shutil.disk_usage(root).free
    if free < needed:
        raise OSError(
            f"{root}: {free / GIB:.1f} GiB are free, and {source.name} needs about {needed / GIB:.1f} with what it "
            "unpacks to; make room, or name another place with --root"
        )


# ----------------------------------------------------------------------------------------------------------- download


def _part(path: Path) -> Path:
    """Where a download waits until it is whole."""
    return path.with_name(f".partial.{path.name}")


def _download(source: Source, path: Path, known: str | None) -> None:
    """Downloads to ``path``, or goes on with what an earlier attempt left beside it."""
    by_hand = f"or get it by hand, put it at {path} and run the same command"
    before, failed = 0, 0
    while True:
        try:
            pooch.retrieve(source.address, known, path.name, path.parent, downloader=_Resuming(source, _part(path)))
            return
        except requests.RequestException as error:
            code = error.response.status_code if isinstance(error, requests.HTTPError) else 0
            if 400 <= code < 500:
                told = f"the address answers {code}; look for a newer one"
                raise OSError(f"{source.name}: not fetched from {source.address} ({told}), {by_hand}") from error
            there = _part(path).stat().st_size if _part(path).is_file() else 0
            failed = 0 if there > before else failed + 1  # as long as something comes, it goes on
            before = there
            if failed < ATTEMPTS and (there or code):
                print(f"{source.name}: broke off at {there:,} bytes; going on", flush=True)
                time.sleep(PAUSE * failed)
                continue
            reason = "no connection" if not there else f"the connection keeps breaking, {there:,} bytes are kept"
            raise OSError(
                f"{source.name}: not fetched from {source.address} ({reason}); run the same command again with a "
                f"network, {by_hand}"
            ) from error
        except ValueError as error:
            if known is None or "hash" not in str(error).lower():
                raise
            raise ValueError(
                f"{source.name}: what {source.address} sends is not the file it was (its sha256 is not {known}); "
                "nothing was kept"
            ) from error


class _Resuming:
    """A downloader for pooch that continues a partial file, if the address still has the same one."""

    def __init__(self, source: Source, part: Path) -> None:
        self.source, self.part = source, part
        self.version = part.with_name(part.name + ".version")

    def __call__(self, url: str, output_file: str, _: pooch.Pooch | None) -> None:
        """Fills ``output_file`` from ``url``."""
        begun = self.part.stat().st_size if self.part.is_file() and self.version.is_file() else 0
        headers = {"Range": f"bytes={begun}-", "If-Range": self.version.read_text()} if begun else {}
        headers["Accept-Encoding"] = "identity"
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if answer.status_code != requests.codes.requested_range_not_satisfiable:  # else it is all there
                answer.raise_for_status()
                begun = begun if answer.status_code == requests.codes.partial_content else 0
                self._receive(answer, begun)
        self.part.replace(output_file)
        self.version.unlink(missing_ok=True)

    def _receive(self, answer: requests.Response, begun: int) -> None:
        total = begun + int(answer.headers.get("Content-Length", 0))
        limit = round(1.1 * self.source.size)
        if total > limit:
            raise ValueError(f"{self.source.name}: {total:,} bytes are offered; at most {limit:,} are taken")
        # Without a strong mark of its version, a file that changed meanwhile could be glued to the half of another.
        mark = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
        if mark and not mark.startswith("W/"):
            self.version.write_text(mark)
        else:
            self.version.unlink(missing_ok=True)
        bar = progress.bar(title=self.source.name, total=total or None, initial=begun, unit="B", unit_scale=True)
        with bar, open(self.part, "ab" if begun else "wb") as file:
            for chunk in answer.iter_content(CHUNK):
                begun += file.write(chunk)
                if begun > limit:
                    raise ValueError(f"{self.source.name}: more than {limit:,} bytes were sent; that is not it")
                bar.update(len(chunk))


# ------------------------------------------------------------------------------------------------------------- unpack


def _unpack(archive: Path, folder: Path, limit: int) -> None:
    """Unpacks ``archive`` to ``folder``, whole or not at all."""
    scratch = folder.with_name(f".partial.{folder.name}")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    written = 0
    try:
        with contextlib.closing(_members(archive)) as members:
            for number, (name, content) in enumerate(
                progress.bar(members, f"unpacking {archive.name}", unit="file"), 1
            ):
                if number > MEMBERS:
                    raise ValueError(f"{archive}: holds more than {MEMBERS:,} files; it is not what it should be")
                target = scratch / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with open(target, "wb") as file:
                    while chunk := content.read(CHUNK):
                        written += file.write(chunk)
                        if written > limit:
                            raise ValueError(
                                f"{archive}: unpacks to more than {limit:,} bytes, which {folder.name} cannot hold; "
                                "it is not the archive it should be"
                            )
        if not written:
            raise ValueError(f"{archive}: an empty archive; delete it and fetch again")
        inside = scratch / folder.name
        (inside if inside.is_dir() else scratch).rename(folder)
    except (EOFError, tarfile.TarError, zipfile.BadZipFile, zlib.error, RuntimeError, OSError) as error:
        if isinstance(error, OSError) and error.errno:  # the disk's fault, not the archive's
            raise
        raise ValueError(f"{archive}: not a whole archive ({error}); delete it and fetch again") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _members(archive: Path) -> Iterator[tuple[PurePosixPath, IO[bytes]]]:
    """Path and content of every file in a .tgz or .zip, one after the other.

    Raises:
        ValueError: a member that would leave the folder, or that is a link or a device.
    """
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as stored:
            for info in stored.infolist():
                is_link = (info.external_attr >> 16) & 0o170000 == 0o120000
                path = _inside(archive, info.filename, is_link)
                if not info.is_dir():
                    with stored.open(info) as content:
                        yield path, content
        return
    with gzip.open(archive) as content, tarfile.open(fileobj=content, mode="r|") as stream:
        for member in stream:
            path = _inside(archive, member.name, not (member.isfile() or member.isdir()))
            if member.isfile():
                if hasattr(tarfile, "data_filter"):  # on top, from Python 3.11.4 on: it knows of more ways out
                    tarfile.data_filter(member, str(archive.parent))
                yield path, stream.extractfile(member)
        for _ in range(2 * tarfile.RECORDSIZE // CHUNK + 2):  # to its end, where gzip keeps the checksum
            if not content.read(CHUNK):
                return
        raise ValueError(f"{archive}: goes on behind its last file; expected nothing there")


def _inside(archive: Path, name: str, is_odd: bool) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name:
        raise ValueError(f"{archive}: holds {name!r}, which leads out of the folder; nothing was unpacked")
    if is_odd:
        raise ValueError(f"{archive}: holds {name!r}, a link or a device; expected plain files; nothing was unpacked")
    return path
