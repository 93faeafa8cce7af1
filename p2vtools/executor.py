"""Work in other processes: parallel jobs, and readers with limits of time and memory.

Parallel jobs are run by dask.distributed: by processes of this machine, or by the workers of a cluster.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import textwrap
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from p2vlib import progress
from p2vlib.files import FileError, reading, write_bytes, write_text
from p2vlib.provenance import ROOT, home, text_digest
from p2vtools import limits
from p2vtools.files import atomic_directory, file_digest

if TYPE_CHECKING:
    from distributed import Client

WORKER_BYTES = 2 * 2**30
"""Memory that a worker may need; rendering takes up to 0.9 GiB."""


@contextlib.contextmanager
def connect(workers: int, scheduler: str | None = None) -> Iterator[Client]:
    """A client of a running ``scheduler`` or, without its address, of ``workers`` single-threaded processes here.

    On exit, also after Ctrl-C, the processes that were started here are killed, and jobs that wait are withdrawn.

    Raises:
        OSError, ValueError: nothing answers at the address, or it is none.
    """
    import dask
    from distributed import Client, LocalCluster

    if scheduler:
        logging.getLogger("distributed.client").setLevel(logging.CRITICAL)  # a lost connection is an exception
        with Client(scheduler) as client:
            yield client
        return
    options = {"threads_per_worker": 1, "memory_limit": 0, "host": "127.0.0.1", "silence_logs": logging.CRITICAL}
    settings = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}  # a free port instead of 8787
    with (
        tempfile.TemporaryDirectory() as scratch,
        # No job waits at a worker, so that none is blamed for the end of a process by another.
        dask.config.set({"temporary-directory": scratch, "distributed.scheduler.worker-saturation": 1.0}),
        LocalCluster(n_workers=workers, scheduler_kwargs=settings, **options) as cluster,
        Client(cluster) as client,
    ):
        yield client


def run_jobs(
    function: Callable[..., Any],
    jobs: Sequence[tuple[Any, ...]],
    title: str,
    unit: str,
    workers: int | None = None,
    scheduler: str | None = None,
    outputs: Callable[..., Iterable[Path]] = lambda *job: (),
) -> list[Any]:
    """Returns ``function(*job)`` for each of ``jobs``, run by ``workers`` processes or by those of a cluster.

    The first exception stops all jobs. A job whose process dies, or is cut off, runs again in another one. A single
    worker is this process, since starting others takes seconds.

    Args:
        workers: default: one per core, as far as each has `WORKER_BYTES`.
        scheduler: address of a Dask scheduler, whose workers run the jobs instead.
        outputs: ``outputs(*job)`` are the files and folders, relative to `home`, that a job writes. A worker of a
            cluster that has another `home` sends them back, and they are stored here, each complete or not at all.

    Raises:
        RuntimeError: a job ended several processes, or the scheduler has gone.
        ValueError: a worker of the cluster has other code, packages or more than one thread.
    """
    if not jobs or not scheduler and (len(jobs) < 2 or (workers := min(workers or available_workers(), len(jobs))) < 2):
        return [function(*job) for job in progress.bar(jobs, title, unit=unit)]
    from distributed import CancelledError, KilledWorker, as_completed

    results: list[Any] = [None] * len(jobs)
    with connect(workers or 0, scheduler) as client, _marked_home(scheduler) as marker:
        if scheduler:
            progress.log(f"{title}: {len(client.scheduler_info()['workers'])} workers at {scheduler}")
        task = functools.partial(_run_job, function, outputs, marker, _digests(home()) if scheduler else {})
        futures = client.map(task, jobs, pure=False)
        numbers = {future.key: number for number, future in enumerate(futures)}
        completed = as_completed(futures)
        del futures  # a result is freed at its worker once it is stored
        for future in progress.bar(completed, title, len(jobs), unit=unit):
            job = numbers[future.key]
            try:
                results[job], files = future.result()
            except KilledWorker as error:
                name = f"{unit} {job + 1} of {len(jobs)}, {textwrap.shorten(str(jobs[job]), 200)},"
                address, count = error.last_worker.address, error.allowed_failures + 1
                raise RuntimeError(f"{title}: {name} ended {count} workers, the last at {address}") from None
            except CancelledError:
                found = f"the scheduler {scheduler or ''} has gone; run the command again to continue"
                raise RuntimeError(f"{title}: {found}") from None
            for path, content in files.items():
                _store(home() / path, content)
    return results


def available_workers() -> int:
    """One per core, as far as each has `WORKER_BYTES`; limits of a container count."""
    from dask.system import CPU_COUNT
    from distributed.system import MEMORY_LIMIT

    return max(1, min(CPU_COUNT, MEMORY_LIMIT // WORKER_BYTES))


@functools.cache
def _digests(folder: Path) -> dict[str, str]:
    """What results depend on besides a job: digests of code, versions of packages, and what the checkout has of others.

    Args:
        folder: `home`, with the notebooks and the weights.
    """
    files = {
        "code": [*ROOT.glob("p2vlib/**/*.py"), *ROOT.glob("p2vtools/**/*.py")],
        "notebooks": folder.glob("notebooks/*.ipynb"),
        "weights": folder.glob("data/weights/*.json"),
    }
    digests = {key: text_digest(" ".join(map(file_digest, sorted(paths)))) for key, paths in files.items()}
    names = (line.split("==")[0] for line in (ROOT / "requirements.txt").read_text("utf-8").split())
    versions = [f"{name} {version(name).split('+')[0]}" for name in names]  # without +cpu or +cu130
    digests["packages"] = text_digest(" ".join(versions))
    return {key: digest for key, digest in digests.items() if digest != text_digest("")}


@contextlib.contextmanager
def _marked_home(scheduler: str | None) -> Iterator[str]:
    """The name of a file in `home` by which workers of a cluster recognise that they share it; empty without one."""
    if not scheduler:
        yield ""
        return
    path = Path(".runs") / f"{uuid.uuid4().hex}.client"
    write_text(home() / path, "")
    try:
        yield path.as_posix()
    finally:
        (home() / path).unlink()


def _run_job(
    function: Callable[..., Any],
    outputs: Callable[..., Iterable[Path]],
    marker: str,
    digests: dict[str, str],
    job: tuple[Any, ...],
) -> tuple[Any, dict[Path, dict[str, bytes]]]:
    """In a worker: the result of a job and, if `home` has no file ``marker``, the content of its outputs."""
    from distributed import get_worker

    address, threads = get_worker().address, get_worker().state.nthreads
    if threads != 1:
        raise ValueError(f"worker {address} has {threads} threads; start it with --nthreads 1")
    if differing := [key for key, own in _digests(home()).items() if own != digests.get(key, own)]:
        found = f"has other {', '.join(differing)} than this process"
        raise ValueError(f"worker {address} {found}; give both the same commit and the packages of requirements.lock")
    result = function(*job)
    shared = (home() / marker).exists()
    return result, {} if shared else {path: _read(home() / path) for path in outputs(*job)}


def _read(path: Path) -> dict[str, bytes]:
    """Relative path -> content of the files of a folder; of a file, its content with the path ``.``."""
    files = [path] if path.is_file() else filter(Path.is_file, path.rglob("*"))
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}


def _store(path: Path, content: dict[str, bytes]) -> None:
    """Writes what `_read` returned to ``path``, complete or not at all."""
    if "." in content:
        write_bytes(path, content["."])
        return
    with atomic_directory(path, replace=True) as folder:
        for name, data in content.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)


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
