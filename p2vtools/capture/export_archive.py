"""The files of an app's export, in a folder or a zip, with limits that are checked before anything is read."""

from __future__ import annotations

import json
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path, PurePosixPath

from PIL import Image

from p2vlib.data.capture_folder import decode_photo
from p2vtools.fit.photo_set import MAX_PHOTO_PIXELS

MAX_FILES = 100_000
"""An hour of Record3D at 10 frames a second."""

MAX_FILE_SIZE, MAX_JSON_SIZE, MAX_PHOTO_SIZE = 512 * 2**20, 64 * 2**20, 64 * 2**20
"""Bytes."""

MAX_TOTAL_SIZE = 16 * 2**30
"""Bytes of all files in a zip."""

MAX_RATIO, MIN_SIZE = 100, 2**20
"""Largest compression ratio of files with more than so many bytes; numbers as text reach 10."""


class ExportArchive:
    """Read access to a folder or a zip; files are named by their paths in it, with slashes.

    Raises:
        ValueError: neither a folder nor a zip, too many files, or a zip with unsafe paths or sizes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._zip = None
        if path.is_dir():
            files = islice((file for file in path.rglob("*") if file.is_file()), MAX_FILES + 1)
            self.names = sorted(file.relative_to(path).as_posix() for file in files)
        elif path.is_file() and zipfile.is_zipfile(path):
            try:
                self._zip = zipfile.ZipFile(path)
            except (zipfile.BadZipFile, OSError, ValueError) as error:
                raise ValueError(f"{path}: not a readable zip ({error}); export it again") from None
            members = (info.filename for info in self._zip.infolist() if not info.is_dir())
            self.names = sorted(name for name in members if not name.startswith("__MACOSX/"))
        else:
            found = "not a zip" if path.is_file() else "no such file or folder"
            raise ValueError(f"{path}: {found}; expected the export of an app, a folder or a zip")
        if len(self.names) > MAX_FILES:
            raise ValueError(f"{path}: more than {MAX_FILES} files; pass the folder of one capture")
        self._names = frozenset(self.names)
        if self._zip is not None:
            self._check_members(self._zip)

    def _check_members(self, archive: zipfile.ZipFile) -> None:
        for info in archive.infolist():
            name = PurePosixPath(info.filename)
            if name.is_absolute() or ".." in name.parts or "\\" in info.filename or "\0" in info.filename:
                raise ValueError(f"{self.path}: unsafe path {info.filename!r} in the zip; nothing was unpacked")
            suspicious = info.file_size > MIN_SIZE and info.file_size > MAX_RATIO * info.compress_size
            if suspicious or info.file_size > MAX_FILE_SIZE:
                raise ValueError(
                    f"{self.path}: {info.filename} would unpack from {info.compress_size} to {info.file_size} bytes,"
                    " too many for a capture; nothing was unpacked"
                )
        total = sum(info.file_size for info in archive.infolist())
        if total > MAX_TOTAL_SIZE or total > MIN_SIZE + MAX_RATIO * self.path.stat().st_size:
            raise ValueError(
                f"{self.path}: would unpack to {total} bytes, too many for a capture; nothing was unpacked"
            )

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def find_root(self, start: str) -> str:
        """The outermost folder, "" or ending in a slash, that holds a path beginning with ``start``.

        Apps put their export into a folder of any name.

        Raises:
            ValueError: there is none.
        """
        positions = ((name, f"/{name}".find(f"/{start}")) for name in self.names)
        roots = [name[:position] for name, position in positions if position >= 0]
        if not roots:
            raise ValueError(f"{self.path}: has no {start}; is it the export of another app?")
        return min(roots, key=lambda root: root.count("/"))

    def list_files(self, start: str, ending: str) -> list[str]:
        """Names that begin with ``start`` and have this ending, without those in further subfolders."""
        names = (name for name in self.names if name.startswith(start) and name.lower().endswith(ending))
        return [name for name in names if "/" not in name[len(start) :]]

    def read(self, name: str, max_size: int = MAX_FILE_SIZE) -> bytes:
        """The content of a file.

        Raises:
            ValueError: missing, larger than ``max_size`` bytes, or damaged.
        """
        if name not in self:
            raise ValueError(f"{self.path}: has no {name}, which the export refers to; export it again")
        size = (self.path / name).stat().st_size if self._zip is None else self._zip.getinfo(name).file_size
        if size > max_size:
            raise ValueError(f"{self.path}: {name} has {size} bytes, more than the limit of {max_size}")
        if self._zip is None:
            return (self.path / name).read_bytes()
        try:
            return self._zip.read(name)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            raise ValueError(f"{self.path}: {name} cannot be unpacked ({error}); export it again") from None

    def read_json(self, name: str) -> dict:
        """The object in a JSON file.

        Raises:
            ValueError: missing, too large, or not a JSON object.
        """
        try:
            content = json.loads(self.read(name, MAX_JSON_SIZE))
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"{self.path}: {name} is not JSON ({error}); export it again") from None
        if not isinstance(content, dict):
            raise ValueError(f"{self.path}: {name} is not a JSON object; is it the export of another app?")
        return content

    def open_photo(self, name: str, min_side: int = 0) -> Image.Image:
        """A picture as stored; a JPEG may be decoded at a smaller size, not below ``min_side`` pixels a side.

        Raises:
            ValueError: missing, unreadable, or too large.
        """
        return decode_photo(self.path / name, self.read(name, MAX_PHOTO_SIZE), MAX_PHOTO_PIXELS, min_side)

    @contextmanager
    def extracted(self, names: Iterable[str]) -> Iterator[Path]:
        """A temporary folder with copies of files; errors raised in the block name the archive instead of it."""
        with tempfile.TemporaryDirectory() as folder:
            for name in names:
                (Path(folder) / PurePosixPath(name).name).write_bytes(self.read(name))
            try:
                yield Path(folder)
            except ValueError as error:
                raise ValueError(str(error).replace(folder, str(self.path))) from None
