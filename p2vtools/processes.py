"""Independent work in processes of one thread each: the same work takes as long in all of them, and none waits."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any

from p2vlib import progress


def each(
    work: Callable[..., Any], jobs: Sequence[tuple[Any, ...]], title: str, unit: str, workers: int | None = None
) -> list[Any]:
    """What ``work(*job)`` returns for each of ``jobs``, with a progress bar; the first that fails stops the others.

    Args:
        work: a function of a module, which a fresh process imports.
        workers: processes; None: one a core.
    """
    workers = min(workers or os.cpu_count() or 1, len(jobs))
    with ProcessPoolExecutor(workers, get_context("spawn"), _alone) as pool:
        futures = [pool.submit(work, *job) for job in jobs]
        try:
            for future in progress.bar(as_completed(futures), title, len(futures), unit=unit):
                future.result()
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _alone() -> None:
    """Before torch and BLAS are imported: they look at it once."""
    os.environ["OMP_NUM_THREADS"] = "1"
