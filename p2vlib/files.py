"""Files and folders that are either whole or not there: write beside, flush to the disk, rename."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Lets ``write`` fill a file beside ``path`` and renames it there; whatever fails, ``path`` is whole or untouched.

    The hidden neighbour keeps the ending of ``path``, since many writers choose a format by it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{os.getpid()}.partial.{path.name}")
    try:
        write(partial)
        with open(partial, "rb") as stream:
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        raise OSError(
            error.errno, f"{path}: could not be written whole ({error.strerror}); nothing was kept"
        ) from error
    finally:
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()


def write_bytes(path: Path, content: bytes) -> None:
    """Writes ``content`` to ``path`` atomically."""
    write_atomically(path, lambda partial: partial.write_bytes(content))


def write_text(path: Path, content: str) -> None:
    """Writes ``content`` to ``path`` atomically, as UTF-8."""
    write_bytes(path, content.encode())


def ensure_absent(folder: Path) -> None:
    """Says before the work that nothing is written over.

    Raises:
        ValueError: ``folder`` is there already.
    """
    if folder.exists():
        raise ValueError(f"{folder}: is there already; name a new folder, nothing is written over")


@contextlib.contextmanager
def atomic_directory(folder: Path) -> Iterator[Path]:
    """A folder to be filled, which becomes ``folder`` when that has gone well, and is removed when it has not.

    Raises:
        ValueError: ``folder`` is there already.
    """
    ensure_absent(folder)
    partial = folder.with_name(f".{os.getpid()}.partial.{folder.name}")
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextlib.contextmanager
def file_lock(lock: Path, waiting: Callable[[], object] | None = None) -> Iterator[None]:
    """Lets one process at a time in; the lock ends with the process, however it ends.

    Args:
        waiting: called now and then while another is inside; without it nobody waits.

    Raises:
        BlockingIOError: another is inside, and ``waiting`` is None.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "w") as stream:
        while True:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if waiting is None:
                    raise
                waiting()
                time.sleep(0.2)
        yield
