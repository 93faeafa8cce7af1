"""Parallel jobs on the cores of this machine, run by dask.distributed."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from typing import Any

from p2vlib import progress


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
