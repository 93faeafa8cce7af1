"""What an app exports, a folder or a zip: bounded before anything in it is believed, and read as far as needed."""

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

from p2vlib.data.capture_folder import open_picture
from p2vlib.data.photo_set import LARGEST_PHOTO

MOST_FILES = 100_000
"""An hour of Record3D at 10 frames a second."""

LARGEST, LARGEST_JSON, LARGEST_PICTURE = 512 * 2**20, 64 * 2**20, 64 * 2**20
"""Bytes of a file, of one that tells cameras, and of a photo."""

LARGEST_WHOLE = 16 * 2**30
"""Bytes of all that a zip holds."""

MOST_PACKED, UNSUSPECTED = 100, 2**20
"""How many times as large as in the zip a file may be, from so many bytes on: text of numbers gives ten."""


class ExportArchive:
    """The files of a folder or a zip by their names, which are paths with slashes."""

    def __init__(self, path: Path) -> None:
        """Lists the files.

        Raises:
            ValueError: neither folder nor zip, too many files, or a zip that would unpack to more than is sensible.
        """
        self.path = path
        self._zip = None
        if path.is_dir():
            files = islice((file for file in path.rglob("*") if file.is_file()), MOST_FILES + 1)
            self.names = sorted(file.relative_to(path).as_posix() for file in files)
        elif path.is_file() and zipfile.is_zipfile(path):
            try:
                self._zip = zipfile.ZipFile(path)
            except (zipfile.BadZipFile, OSError, ValueError) as error:
                raise ValueError(f"{path}: a zip that cannot be read ({error}); export it once more") from None
            listed = (info.filename for info in self._zip.infolist() if not info.is_dir())
            self.names = sorted(name for name in listed if not name.startswith("__MACOSX/"))
        else:
            found = "not a zip" if path.is_file() else "no such file or folder"
            raise ValueError(f"{path}: {found}; expected what the app exported, a folder or a zip")
        if len(self.names) > MOST_FILES:
            raise ValueError(f"{path}: more than {MOST_FILES} files; name the folder of one capture")
        self._all = frozenset(self.names)
        if self._zip is not None:
            self._check(self._zip)

    def _check(self, archive: zipfile.ZipFile) -> None:
        whole = 0
        for info in archive.infolist():
            name = PurePosixPath(info.filename)
            if name.is_absolute() or ".." in name.parts or "\\" in info.filename or "\0" in info.filename:
                raise ValueError(f"{self.path}: has a file {info.filename!r} outside itself; no app writes such a zip")
            whole += info.file_size
            packed = info.file_size > UNSUSPECTED and info.file_size > MOST_PACKED * info.compress_size
            if packed or info.file_size > LARGEST:
                raise ValueError(
                    f"{self.path}: {info.filename} would unpack from {info.compress_size} to {info.file_size} bytes;"
                    " no capture does, nothing was unpacked"
                )
        if whole > LARGEST_WHOLE or whole > UNSUSPECTED + MOST_PACKED * self.path.stat().st_size:
            raise ValueError(f"{self.path}: would unpack to {whole} bytes; no capture does, nothing was unpacked")

    def __contains__(self, name: str) -> bool:
        return name in self._all

    def base_of(self, start: str) -> str:
        """The outermost folder, "" or with a slash at its end, with a file whose path in it begins with ``start``.

        Apps put a folder of their own naming around what they export.

        Raises:
            ValueError: there is none.
        """
        places = ((name, f"/{name}".find(f"/{start}")) for name in self.names)
        bases = [name[:place] for name, place in places if place >= 0]
        if not bases:
            raise ValueError(f"{self.path}: has no {start}; is it the export of another app?")
        return min(bases, key=lambda base: base.count("/"))

    def under(self, folder: str, ending: str) -> list[str]:
        """Names of the files in ``folder``, not deeper, with this ending."""
        inside = (name for name in self.names if name.startswith(folder) and name.lower().endswith(ending))
        return [name for name in inside if "/" not in name[len(folder) :]]

    def read(self, name: str, largest: int = LARGEST) -> bytes:
        """The content of a file.

        Raises:
            ValueError: missing, larger than ``largest`` bytes, or damaged.
        """
        if name not in self:
            raise ValueError(f"{self.path}: has no {name}, which it names itself; export it once more")
        size = (self.path / name).stat().st_size if self._zip is None else self._zip.getinfo(name).file_size
        if size > largest:
            raise ValueError(f"{self.path}: {name} has {size} bytes; at most {largest} are read")
        if self._zip is None:
            return (self.path / name).read_bytes()
        try:
            return self._zip.read(name)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            raise ValueError(f"{self.path}: {name} cannot be unpacked ({error}); export it once more") from None

    def json(self, name: str) -> dict:
        """A JSON object.

        Raises:
            ValueError: missing, too large, or something else.
        """
        try:
            told = json.loads(self.read(name, LARGEST_JSON))
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"{self.path}: {name} is not JSON ({error}); export it once more") from None
        if not isinstance(told, dict):
            raise ValueError(f"{self.path}: {name} is no JSON object; is it the export of another app?")
        return told

    def picture(self, name: str, side: int = 0) -> Image.Image:
        """A picture as it lies in its file; a JPEG may come smaller, not below ``side`` pixels a side.

        Raises:
            ValueError: missing, unreadable, or too large.
        """
        return open_picture(self.path / name, self.read(name, LARGEST_PICTURE), LARGEST_PHOTO, side)

    @contextmanager
    def copied(self, names: Iterable[str]) -> Iterator[Path]:
        """A folder with copies of these files, for readers that want files; errors name the bundle instead of it."""
        with tempfile.TemporaryDirectory() as folder:
            for name in names:
                (Path(folder) / PurePosixPath(name).name).write_bytes(self.read(name))
            try:
                yield Path(folder)
            except ValueError as error:
                raise ValueError(str(error).replace(folder, str(self.path))) from None
