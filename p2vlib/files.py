"""Files that are either complete or absent: written under a temporary name, flushed to disk, renamed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
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
        flush_to_disk(partial)
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


def flush_to_disk(path: Path) -> None:
    """Returns when the content of a file is on the disk."""
    with open(path, "rb+") as stream:  # Windows flushes only files that are open for writing
        os.fsync(stream.fileno())
