"""A sweep: one run for each combination of parameter values, several at the same time, compared at the end.

Each run is a study of its own below ``reports/grids/<scale>/<run name>`` and ``.runs/grids/<scale>/...``; the report of
the scale is only read. A run is named after its parameters, so a run of an earlier sweep is not repeated, and a sweep
that was stopped continues.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from p2vlib import progress
from p2vlib.provenance import ROOT, home
from p2vtools.study import comparison, report
from p2vtools.study.parameters import notebook_number, parameters_by_notebook
from p2vtools.study.runner import (
    StudyError,
    available_cores,
    expected_minutes,
    run_notebooks,
    select_notebooks,
)

LONGEST_NAME = 100
"""Characters of a run's name."""


def run_sweep(scale: str, only: Iterable[str] | None, parameters: Mapping[str, Sequence[Any]], jobs: int = 1) -> Path:
    """Executes every run that is missing or stale, ``jobs`` at a time, each with its share of the cores.

    Args:
        parameters: name (``views``, or ``05.views`` for one notebook) -> its values.

    Returns:
        The page that compares the runs; for a single run, or where nothing can be compared, the last run's own page.

    Raises:
        ValueError: as `run_study`, for any of the runs and before anything starts.
        StudyError: a run failed; the other runs completed and were compared.
    """
    paths = select_notebooks(only)
    numbers = [notebook_number(path.stem) for path in paths]
    runs = {f"grids/{scale}/{run_name(values)}": values for values in combinations(parameters)}
    for values in runs.values():
        parameters_by_notebook(paths, scale, values)
    known = [minutes for name, minutes in expected_minutes(scale).items() if name in {path.stem for path in paths}]
    if len(known) == len(paths):
        progress.log(f"{len(runs)} runs, at most about {progress.clock(60 * sum(known) * -(-len(runs) // jobs))}")
    threads = max(1, available_cores() // jobs)
    requests = [(scale, numbers, values, run, threads) for run, values in runs.items()]
    reasons = dict(zip(runs, _execute_all(requests, jobs), strict=True))
    reports = home() / "reports"
    completed = [reports / run for run, reason in reasons.items() if not reason]
    if len(runs) == 1 and (reports / scale / "metrics.csv").is_file():
        completed.insert(0, reports / scale)
    name = run_name({key: list(values) for key, values in parameters.items()})
    page = _compare(completed, reports / "grids" / scale / f"{name}.html") if completed else None
    if failures := [f"{Path(run).name}: {reason} (log: {_log(run)})" for run, reason in reasons.items() if reason]:
        raise StudyError(f"{len(failures)} of {len(runs)} runs failed; {'; '.join(failures)}")
    return page


def combinations(parameters: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every combination of one value per parameter; the last parameter changes fastest."""
    return [dict(zip(parameters, values, strict=True)) for values in itertools.product(*parameters.values())]


def run_name(parameters: Mapping[str, Any]) -> str:
    """The parameters of a run as a folder name: ``05.views=8_seed=1``; ``plain`` without parameters.

    Characters that a file name cannot hold are replaced, and a hash keeps such names distinct.
    """
    exact = "_".join(
        f"{key}={','.join(map(str, value)) if isinstance(value, list | tuple) else value}"
        for key, value in sorted(parameters.items())
    )
    name = re.sub(r"[^\w.,=+-]+", "-", exact)[:LONGEST_NAME]
    if name != exact:
        name += "-" + hashlib.sha256(exact.encode()).hexdigest()[:6]
    return name or "plain"


def execute_run(scale: str, only: Sequence[str], parameters: Mapping[str, Any], run: str, threads: int) -> str:
    """Executes one run, which prints to its log; returns why it failed, or an empty string."""
    _log(run).parent.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    with (
        open(_log(run), "a", encoding="utf-8") as log,
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        try:
            run_notebooks(scale, only, parameters, run)
            report.build(scale, run, parameters)
        except Exception as error:  # one failed run does not stop the others
            return str(error) or repr(error)
    return ""


def execute_from_arguments() -> None:
    """`execute_run` in a process of its own, which ends when its stdin is closed, so also when its parent has ended."""

    def end_with_parent() -> None:
        sys.stdin.read()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    sys.exit(execute_run(*json.loads(sys.argv[1])) or None)


def _execute_all(requests: Sequence[tuple], jobs: int) -> list[str]:
    """Executes runs, ``jobs`` at a time, each in a process of its own; returns why each failed, or empty strings.

    An interrupt ends all of them. Their kernels end with them.
    """
    program = "from p2vtools.study import sweep; sweep.execute_from_arguments()"
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    processes: list[subprocess.Popen] = []

    def execute(request: tuple) -> str:
        command = [sys.executable, "-c", program, json.dumps(request)]
        streams = {"stdin": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
        with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, **streams) as process:
            processes.append(process)
            lines = process.stderr.read().strip().splitlines()
        return "" if process.returncode == 0 else (lines or [f"ended with status {process.returncode}"])[-1]

    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(execute, request) for request in requests]
        try:
            for _ in progress.bar(as_completed(futures), "runs", len(futures), unit="run"):
                pass
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            while not all(future.done() for future in futures):  # also those that were being started
                for process in processes:
                    process.terminate()
                time.sleep(0.1)
            raise
    return [future.result() for future in futures]


def _log(run: str) -> Path:
    return home() / ".runs" / run / "log.txt"


def _compare(folders: Sequence[Path], page: Path) -> Path:
    """Compares the runs in ``folders`` on ``page`` and returns it; prints why where that is impossible."""
    if len(folders) > 1:
        try:
            print(comparison.compare(folders, page), flush=True)
            return page
        except ValueError as error:
            print(f"not compared: {error}", flush=True)
    return folders[-1] / "index.html"
