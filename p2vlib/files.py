"""Files and folders that are either complete or absent: written under a temporary name, flushed to disk, renamed."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Calls ``write`` with a temporary path in the same folder and renames that file to ``path``.

    The temporary file keeps the suffix of ``path``, from which many writers choose the format.

    Raises:
        OSError: the file could not be written; ``path`` is unchanged.
    """
    partial = path.with_name(f".{os.getpid()}.partial.{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        _flush_to_disk(partial)
        partial.replace(path)
    except OSError as error:
        raise OSError(error.errno, f"{path}: could not be written ({error.strerror}); nothing was kept") from error
    finally:
        with contextlib.suppress(OSError):  # also where its folder is no folder
            partial.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Writes ``content`` to ``path`` atomically."""
    write_atomically(path, lambda partial: partial.write_bytes(content))


def write_text(path: Path, content: str) -> None:
    """Writes ``content`` to ``path`` atomically, as UTF-8."""
    write_bytes(path, content.encode())


def ensure_absent(folder: Path) -> None:
    """Raises ValueError if ``folder`` exists."""
    if folder.exists():
        raise ValueError(f"{folder}: already exists; name a new folder, nothing is overwritten")


@contextlib.contextmanager
def atomic_directory(folder: Path, replace: bool = False) -> Iterator[Path]:
    """Yields a new folder to fill; it is renamed to ``folder`` on success and removed on failure.

    What a killed process left behind on its way to the same ``folder`` is removed first.

    Args:
        replace: whether an existing ``folder`` is replaced.

    Raises:
        ValueError: ``folder`` exists, without ``replace``.
        OSError: the folder cannot be created.
    """
    import psutil

    if not replace:
        ensure_absent(folder)
    for leftover in folder.parent.glob(f".*.partial.{glob.escape(folder.name)}"):
        if not psutil.pid_exists(int(leftover.name.split(".")[1])):
            shutil.rmtree(leftover)
    partial = folder.with_name(f".{os.getpid()}.partial.{folder.name}")
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise OSError(error.errno, f"{folder}: could not be created ({error.strerror})") from error
    try:
        yield partial
        for path in filter(Path.is_file, partial.rglob("*")):
            _flush_to_disk(path)
        if replace:
            shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def file_lock(path: Path, waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """Holds the lock file ``path``; the operating system releases it when the process ends, however it ends.

    Args:
        waiting: called a few times per second while another process holds the lock; None: do not wait.

    Raises:
        BlockingIOError: another process holds the lock, and ``waiting`` is None.
    """
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    while not lock.is_locked:
        try:
            lock.acquire(timeout=0.2 if waiting else 0)
        except Timeout:
            if waiting is None:
                raise BlockingIOError(f"{path}: another process holds this lock") from None
            waiting()
    try:
        yield
    finally:
        lock.release()


def _flush_to_disk(path: Path) -> None:
    with open(path, "rb+") as stream:  # Windows flushes only files that are open for writing
        os.fsync(stream.fileno())
