"""Errors that name a file, and files that are either complete or absent, also when several processes write them.

Each process writes under a temporary name of its own, flushes to disk and renames. What a killed process left is
removed by the next write to the same folder from the same machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

JSON_BYTES = 64 * 2**20
"""Largest JSON file; an hour of poses from a phone has about 20 MiB."""


class FileError(ValueError):
    """A file that cannot be used. The message is one line: path, what was found, what was expected or to be done.

    >>> str(FileError("foot.obj", "no triangles", "expected a surface"))
    'foot.obj: no triangles; expected a surface'
    """

    def __init__(self, path: Path | str, found: str, expected: str) -> None:
        super().__init__(path, found, expected)
        self.path, self.found, self.expected = path, found, expected

    def __str__(self) -> str:
        return f"{self.path}: {self.found}; {self.expected}"


@contextlib.contextmanager
def reading(path: Path | str, expected: str) -> Iterator[None]:
    """Turns every exception that a parser raises into a `FileError` for ``path``.

    Errors of the operating system that name the file themselves pass unchanged.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, FileError) or (isinstance(error, OSError) and error.filename):
            raise
        reason = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:300]
        reason = reason or type(error).__name__
        raise FileError(path, f"cannot be read ({reason})", expected) from error


def check_size(path: Path, limit: int, expected: str) -> None:
    """Raises FileError if there is no file at ``path``, or if it has more than ``limit`` bytes."""
    if not os.path.isfile(path):  # also for names that are too long for a file system
        raise FileError(path, "no such file", expected)
    if (size := path.stat().st_size) > limit:
        raise FileError(path, f"{size / 2**20:.0f} MiB", f"{expected}, of at most {limit / 2**20:.0f} MiB")


def read_json(path: Path, expected: str, kind: type = dict) -> Any:
    """The content of the JSON file at ``path``.

    Raises:
        FileError: no such file, larger than `JSON_BYTES`, not JSON, or not of the ``kind`` dict or list.
    """
    check_size(path, JSON_BYTES, expected)
    return parse_json(path, path.read_bytes(), expected, kind)


def parse_json(path: Path | str, content: bytes, expected: str, kind: type = dict) -> Any:
    """As `read_json`, for ``content`` that was read from ``path``."""
    try:  # integers of 300 digits become floats, so that no later conversion overflows
        value = json.loads(content, parse_constant=_refuse, parse_int=lambda x: int(x) if len(x) < 300 else float(x))
    except (ValueError, RecursionError) as error:
        raise FileError(path, f"not JSON ({error})", expected) from None
    if not isinstance(value, kind):
        raise FileError(path, f"JSON with a {type(value).__name__} instead of a {kind.__name__}", expected)
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a number")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls ``write`` with a temporary path in the same folder and renames that file to ``path``.

    The temporary file keeps the suffix of ``path``, from which many writers choose the format.

    Raises:
        OSError: the file could not be written; ``path`` is unchanged.
    """
    partial = partial_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        flush_to_disk(partial)
        partial.replace(path)
    except (OSError, SafetensorError) as error:
        number, reason = getattr(error, "errno", 0), getattr(error, "strerror", None) or error
        raise OSError(number, f"{path}: could not be written ({reason}); nothing was kept") from error
    finally:
        with contextlib.suppress(OSError):  # also where its folder is no folder
            partial.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Writes ``content`` to ``path`` atomically."""
    write_atomically(path, lambda partial: partial.write_bytes(content))


def write_text(path: Path, content: str) -> None:
    """Writes ``content`` to ``path`` atomically, as UTF-8."""
    write_bytes(path, content.encode())


def partial_path(path: Path) -> Path:
    """The temporary name of this process for ``path``; removes what ended processes of this machine left beside it."""
    host = f"{zlib.crc32(platform.node().encode()):08x}"  # ids of processes of other machines mean nothing here
    for leftover in path.parent.glob(f".*-{host}.partial.*") if path.parent.is_dir() else ():
        match = re.fullmatch(rf"\.(\d+)-{host}\.partial\..+", leftover.name)
        with contextlib.suppress(OSError):  # its process has just finished, or it belongs to another user
            if match and _is_abandoned(leftover, int(match[1])):
                shutil.rmtree(leftover, ignore_errors=True) if leftover.is_dir() else leftover.unlink()
    return path.with_name(f".{os.getpid()}-{host}.partial.{path.name}")


def _is_abandoned(leftover: Path, pid: int) -> bool:
    """Whether the process that made ``leftover`` has ended; another process may have its id now."""
    import psutil  # a dependency of accelerate

    try:
        return psutil.Process(pid).create_time() > leftover.stat().st_ctime + 2  # seconds that clocks may differ
    except psutil.NoSuchProcess:
        return True


def flush_to_disk(path: Path) -> None:
    """Returns when the content of a file is on the disk."""
    with open(path, "rb+") as stream:  # Windows flushes only files that are open for writing
        os.fsync(stream.fileno())
