"""Files that are either complete or absent, also when several processes write them or one is killed.

Each process writes under a temporary name of its own, flushes to disk and renames. What a killed process left is
removed by the next write to the same folder.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path


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


def partial_path(path: Path) -> Path:
    """The temporary name of this process for ``path``; removes what processes that have ended left beside it."""
    for leftover in path.parent.glob(".*.partial.*") if path.parent.is_dir() else ():
        match = re.fullmatch(r"\.(\d+)\.partial\..+", leftover.name)
        if match and _is_abandoned(leftover, int(match[1])):
            shutil.rmtree(leftover, ignore_errors=True) if leftover.is_dir() else leftover.unlink(missing_ok=True)
    return path.with_name(f".{os.getpid()}.partial.{path.name}")


def _is_abandoned(leftover: Path, pid: int) -> bool:
    """Whether the process that made ``leftover`` has ended; another process may have its id now."""
    import psutil  # a dependency of accelerate

    try:
        return psutil.Process(pid).create_time() > leftover.stat().st_ctime + 2  # seconds that clocks may differ
    except psutil.NoSuchProcess:
        return True
    except FileNotFoundError:  # its process has just finished
        return False


def flush_to_disk(path: Path) -> None:
    """Returns when the content of a file is on the disk."""
    with open(path, "rb+") as stream:  # Windows flushes only files that are open for writing
        os.fsync(stream.fileno())
