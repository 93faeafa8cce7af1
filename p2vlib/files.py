"""Files and folders that are either whole or not there: write beside, flush to the disk, rename."""

from __future__ import annotations

import contextlib
import os
import shutil
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


def check_new(folder: Path) -> None:
    """Says before the work that nothing is written over.

    Raises:
        ValueError: ``folder`` is there already.
    """
    if folder.exists():
        raise ValueError(f"{folder}: is there already; name a new folder, nothing is written over")


@contextlib.contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A folder to be filled, which becomes ``folder`` when that has gone well, and is removed when it has not.

    Raises:
        ValueError: ``folder`` is there already.
    """
    check_new(folder)
    partial = folder.with_name(f".{os.getpid()}.partial.{folder.name}")
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
