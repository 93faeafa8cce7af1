"""The files of an app's export, in a folder or a zip, with limits that are checked before anything is read."""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path, PurePosixPath

from PIL import Image

from p2vlib.files import JSON_BYTES, FileError, parse_json, reading
from p2vtools import limits
from p2vtools.archives.photo_files import decode_photo

MAX_FILES = 100_000
"""An hour of Record3D at 10 frames a second."""

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
            names = [file.relative_to(path).as_posix() for file in files]
        elif path.is_file() and zipfile.is_zipfile(path):
            with reading(path, "expected a zip: export it again"):
                self._zip = zipfile.ZipFile(path)
            names = [info.filename for info in self._zip.infolist() if not info.is_dir()]
        else:
            found = "not a zip" if path.is_file() else "no such file or folder"
            raise FileError(path, found, "expected the export of an app, a folder or a zip")
        if len(names) > MAX_FILES:
            raise FileError(path, f"more than {MAX_FILES} files", "pass the folder of one capture")
        self.names = sorted(name for name in names if "/._" not in f"/{name}")  # macOS adds such files
        self._names = frozenset(self.names)
        if self._zip is not None:
            self._check_members(self._zip)

    def _check_members(self, archive: zipfile.ZipFile) -> None:
        for info in archive.infolist():
            name = PurePosixPath(info.filename)
            if name.is_absolute() or ".." in name.parts or "\\" in info.filename or not info.filename.isprintable():
                raise FileError(self.path, f"unsafe path {info.filename!r} in the zip", "nothing was unpacked")
            suspicious = info.file_size > MIN_SIZE and info.file_size > MAX_RATIO * info.compress_size
            if suspicious or info.file_size > limits.SCAN_BYTES:
                found = f"{info.filename} would unpack from {info.compress_size} to {info.file_size} bytes"
                raise FileError(self.path, f"{found}, too many for a capture", "nothing was unpacked")
        total = sum(info.file_size for info in archive.infolist())
        if total > MAX_TOTAL_SIZE or total > MIN_SIZE + MAX_RATIO * self.path.stat().st_size:
            raise FileError(self.path, f"would unpack to {total} bytes, too many for a capture", "nothing was unpacked")

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
            raise FileError(self.path, f"has no {start}", "is it the export of another app?")
        return min(roots, key=lambda root: root.count("/"))

    def list_files(self, start: str, ending: str) -> list[str]:
        """Names that begin with ``start`` and have this ending, without those in further subfolders."""
        names = (name for name in self.names if name.startswith(start) and name.lower().endswith(ending))
        return [name for name in names if "/" not in name[len(start) :]]

    def read(self, name: str, max_size: int = limits.SCAN_BYTES) -> bytes:
        """The content of a file.

        Raises:
            ValueError: missing, larger than ``max_size`` bytes, or damaged.
        """
        if name not in self:
            raise FileError(self.path, f"has no {name}, which the export refers to", "export it again")
        size = (self.path / name).stat().st_size if self._zip is None else self._zip.getinfo(name).file_size
        if size > max_size:
            raise FileError(self.path / name, f"{size} bytes", f"the limit is {max_size}")
        if self._zip is None:
            return (self.path / name).read_bytes()
        with reading(self.path / name, "export it again"):
            return self._zip.read(name)

    def read_json(self, name: str) -> dict:
        """The object in a JSON file.

        Raises:
            ValueError: missing, too large, or not a JSON object.
        """
        return parse_json(self.path / name, self.read(name, JSON_BYTES), "expected the JSON of the app's export")

    def open_photo(self, name: str, min_side: int = 0, as_stored: bool = False) -> Image.Image:
        """A picture, not turned upright; for the options see `decode_photo`.

        Raises:
            ValueError: missing, unreadable, or too large.
        """
        content = self.read(name, limits.PHOTO_BYTES)
        return decode_photo(self.path / name, content, limits.PHOTO_PIXELS, min_side, as_stored)

    @contextmanager
    def extracted(self, names: Iterable[str]) -> Iterator[Path]:
        """A temporary folder with copies of files; errors raised in the block name the archive instead of it."""
        with tempfile.TemporaryDirectory() as folder:
            for name in names:
                (Path(folder) / PurePosixPath(name).name).write_bytes(self.read(name))
            try:
                yield Path(folder)
            except ValueError as error:
                raise type(error)(*(str(part).replace(folder, str(self.path)) for part in error.args)) from None
