"""Folders that are either complete or absent, as files are in `p2vlib.files`, and lock files."""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from p2vlib.files import flush_to_disk


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
            flush_to_disk(path)
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
