"""Work in other processes: parallel jobs, run by dask.distributed, and readers with limits of time and memory."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from pathlib import Path
from typing import Any

from p2vlib import progress
from p2vlib.files import FileError, reading
from p2vtools import limits


@contextlib.contextmanager
def executor(workers: int) -> Iterator[Executor]:
    """An executor with ``workers`` single-threaded processes; on exit, also after Ctrl-C, running jobs are killed."""
    import dask
    from distributed import Client, LocalCluster

    options = {"threads_per_worker": 1, "memory_limit": 0, "host": "127.0.0.1", "silence_logs": logging.CRITICAL}
    scheduler = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}  # a free port instead of 8787
    with (
        tempfile.TemporaryDirectory() as scratch,
        dask.config.set({"temporary-directory": scratch}),
        LocalCluster(n_workers=workers, scheduler_kwargs=scheduler, **options) as cluster,
        Client(cluster) as client,
    ):
        yield client.get_executor(pure=False)


def run_jobs(
    function: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], title: str, unit: str, workers: int | None = None
) -> list[Any]:
    """Returns ``function(*job)`` for each of ``jobs``, run by ``workers`` processes (default: one per core).

    The first exception stops all jobs. A single worker is this process, since starting others takes seconds.
    """
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    if workers <= 1:
        return [function(*job) for job in progress.bar(jobs, title, unit=unit)]
    with executor(workers) as pool:
        futures = [pool.submit(function, *job) for job in jobs]
        for future in progress.bar(as_completed(futures), title, len(jobs), unit=unit):
            future.result()
        return [future.result() for future in futures]


# ------------------------------------------------------------------------------------------------------ limited readers


def read_in_process(
    read: Callable[..., Any], path: Path, *arguments: Any, expected: str, seconds: float = limits.READER_SECONDS
) -> Any:
    """Returns ``read(path, *arguments)``, run by a process of its own with limits of time and memory.

    For parsers in C or C++, and for formats in which a small file can ask for much work. What they print is discarded.

    Args:
        read: a function of a module.
        path: a file, or a folder of files.
        expected: completes the message of the error.
        seconds: limit of processor time, to which a second per MiB is added; the limit of the clock is ten times that.

    Raises:
        FileError: ``read`` raises an exception, crashes or exceeds a limit. Where the system has no module ``resource``
            (Windows), only the time of the clock is limited.
    """
    size = sum(file.stat().st_size for file in (path.iterdir() if path.is_dir() else [path]))
    seconds += size / limits.MIB
    code = "import sys; sys.path[:] = sys.argv[1:]; from p2vtools import executor; executor._answer()"
    request = pickle.dumps((round(seconds), limits.READER_BYTES + 16 * size, expected, read, path, arguments))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # threads take address space
    command, status = [sys.executable, "-c", code, *sys.path], None
    with contextlib.suppress(subprocess.TimeoutExpired):
        process = subprocess.run(command, input=request, capture_output=True, timeout=10 * seconds, env=environment)
        status = process.returncode
    if status is None or status == -getattr(signal, "SIGXCPU", 0) != 0:
        raise FileError(path, f"not read within {seconds:.0f} seconds", expected)
    if status:
        raise FileError(path, "the library that reads it crashed or needed too much memory", expected)
    answer = pickle.loads(process.stdout)
    if isinstance(answer, FileError):
        raise answer
    return answer


def _answer() -> None:
    """Runs the request on standard input, in the process that `read_in_process` starts."""
    with os.fdopen(os.dup(1), "wb") as stream:
        os.dup2(2, 1)  # what libraries print must not be in the answer
        seconds, memory, expected, read, path, arguments = pickle.load(sys.stdin.buffer)
        with contextlib.suppress(ImportError):
            import resource

            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        try:
            with reading(path, expected):
                answer = read(path, *arguments)
        except (FileError, OSError) as error:
            answer = error if isinstance(error, FileError) else FileError(path, str(error), expected)
            if isinstance(error.__cause__, MemoryError):
                answer = FileError(path, "needs too much memory", expected)
        pickle.dump(answer, stream)
