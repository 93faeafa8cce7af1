"""Folders that are either complete or absent, as files are in `p2vlib.files`, their digests, and lock files.

What two processes must not do at once is done under a `file_lock`.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from p2vlib import progress
from p2vlib.files import FileError, flush_to_disk, partial_path, read_json


def ensure_absent(folder: Path) -> None:
    """Raises ValueError if ``folder`` exists."""
    if folder.exists():
        raise ValueError(f"{folder}: already exists; name a new folder, nothing is overwritten")


@contextlib.contextmanager
def atomic_directory(folder: Path, replace: bool = False) -> Iterator[Path]:
    """Yields a new folder to fill; it is renamed to ``folder`` on success and removed on failure.

    Args:
        replace: whether an existing ``folder`` is replaced.

    Raises:
        ValueError: ``folder`` exists, without ``replace``.
        OSError: the folder cannot be created, or a file in it cannot be written.
    """
    if not replace:
        ensure_absent(folder)
    partial = partial_path(folder)
    try:
        partial.mkdir(parents=True)
        yield partial
        for path in filter(Path.is_file, partial.rglob("*")):
            flush_to_disk(path)
        if replace:
            shutil.rmtree(folder, ignore_errors=True)
        else:  # another process may have made it meanwhile
            ensure_absent(folder)
        partial.rename(folder)
    except OSError as error:
        if error.filename not in (None, str(partial)) or not error.strerror:  # the message names the file
            raise
        raise OSError(error.errno, f"{folder}: could not be written ({error.strerror}); nothing was kept") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def file_lock(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Holds the lock file ``path``; the operating system releases it when the process ends, however it ends.

    Args:
        waiting: called a few times per second while another process holds the lock; it may raise, to give up.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path).acquire(poll_interval=0.2, cancel_check=waiting):
        yield


def read_cached_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file that can be made again; empty without it or, with a line that says so, if damaged."""
    try:
        return read_json(path, "it is made again") if path.is_file() else {}
    except FileError as error:
        progress.log(str(error))
        return {}


def file_digests(folder: Path) -> dict[str, str]:
    """Relative path of every file below ``folder`` -> its digest, for `is_whole`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): file_digest(path) for path in files}


def file_digest(path: Path) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a file."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


def is_whole(folder: Path, digests: Mapping[str, str]) -> bool:
    """Whether ``folder`` has all files of ``digests``, unchanged."""
    return all((folder / name).is_file() and file_digest(folder / name) == digests[name] for name in digests)
