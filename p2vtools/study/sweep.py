"""A sweep: one run for each combination of parameter values, several at the same time, compared at the end.

Each run is a study of its own below ``reports/grids/<scale>/<run name>`` and ``.runs/grids/<scale>/...``; the report of
the scale is only read. A run is named after its parameters, so a run of an earlier sweep is not repeated, and a sweep
that was stopped continues.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2vlib import progress
from p2vlib.provenance import ROOT, home
from p2vtools.study import comparison
from p2vtools.study.parameters import notebook_number, parameters_by_notebook
from p2vtools.study.runner import (
    StudyError,
    available_cores,
    build_report,
    expected_minutes,
    run_notebooks,
    select_notebooks,
)

LONGEST_NAME = 100
"""Characters of a run's name."""


@dataclass(frozen=True)
class SweepRun:
    """One run of a sweep."""

    scale: str
    only: tuple[str, ...]
    parameters: Mapping[str, Any]

    @property
    def name(self) -> str:
        return run_name(self.parameters)

    @property
    def run(self) -> str:
        """Its folder below ``reports`` and ``.runs``."""
        return f"grids/{self.scale}/{self.name}"

    @property
    def folder(self) -> Path:
        return home() / "reports" / self.run

    @property
    def log(self) -> Path:
        """Everything that the run printed."""
        return home() / ".runs" / self.run / "log.txt"


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
    numbers = tuple(notebook_number(path.stem) for path in paths)
    runs = [SweepRun(scale, numbers, values) for values in combinations(parameters)]
    for run in runs:
        parameters_by_notebook(paths, scale, run.parameters)
    minutes = expected_minutes(scale)
    if len(known := [minutes[path.stem] for path in paths if path.stem in minutes]) == len(paths):
        progress.log(f"{len(runs)} runs, at most about {progress.clock(60 * sum(known) * -(-len(runs) // jobs))}")
    failures = _execute_all(runs, max(1, available_cores() // jobs), jobs)
    completed = [run.folder for run in runs if run.name not in failures]
    if len(runs) == 1 and (home() / "reports" / scale / "metrics.csv").is_file():
        completed.insert(0, home() / "reports" / scale)
    name = run_name({key: list(values) for key, values in parameters.items()})
    page = _compare(completed, home() / "reports" / "grids" / scale / f"{name}.html") if completed else None
    if failures:
        reasons = "; ".join(
            f"{run.name}: {failures[run.name]} (log: {run.log})" for run in runs if run.name in failures
        )
        raise StudyError(f"{len(failures)} of {len(runs)} runs failed; {reasons}")
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


def _compare(folders: Sequence[Path], page: Path) -> Path:
    """Compares the runs in ``folders`` on ``page`` and returns it; prints why where that is impossible."""
    if len(folders) > 1:
        try:
            print(comparison.compare(folders, page), flush=True)
            return page
        except ValueError as error:
            print(f"not compared: {error}", flush=True)
    return folders[-1] / "index.html"


def _execute_all(runs: Sequence[SweepRun], threads: int, jobs: int) -> dict[str, str]:
    """Executes the runs; returns name -> reason for those that failed. An interrupt stops all of them."""
    processes: dict[str, subprocess.Popen] = {}
    failures: dict[str, str] = {}
    started, stopped = time.monotonic(), threading.Event()
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(_execute, run, threads, processes, stopped): run for run in runs}
        try:
            for done, future in enumerate(as_completed(futures), 1):
                run, reason = futures[future], future.result()
                if reason:
                    failures[run.name] = reason
                elapsed = time.monotonic() - started
                left = f", about {progress.clock(elapsed / done * (len(runs) - done))} left" if done < len(runs) else ""
                progress.log(
                    f"{run.name} · {'failed' if reason else 'done'} · {done} of {len(runs)} runs · "
                    f"{progress.clock(elapsed)}{left}"
                )
        except BaseException:
            stopped.set()
            pool.shutdown(wait=False, cancel_futures=True)
            for process in list(processes.values()):
                process.stdin.close()
            raise
    return failures


def _execute(run: SweepRun, threads: int, processes: dict[str, subprocess.Popen], stopped: threading.Event) -> str:
    """Executes a run in a process of its own; returns why it failed, or an empty string.

    The process has its own session, so that Ctrl-C reaches it once, through the closed stdin.
    """
    run.log.parent.mkdir(parents=True, exist_ok=True)
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with open(run.log, "a", encoding="utf-8") as log:
        begin = log.tell()
        process = processes[run.name] = subprocess.Popen(
            [sys.executable, "-c", "from p2vtools.study import sweep; sweep.execute_from_stdin()"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": path},
            start_new_session=True,
        )
        request = {"scale": run.scale, "only": run.only, "parameters": dict(run.parameters), "run": run.run}
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        if stopped.is_set():  # set while the process was being started
            process.stdin.close()
        status = process.wait()
    if status == 0:
        return ""
    lines = run.log.read_bytes()[begin:].decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"ended with status {status}"


def execute_from_stdin() -> None:
    """Executes the run that the first line of stdin describes; stops as after Ctrl-C when stdin is closed."""
    # A process that a shell starts in the background ignores SIGINT, and so would its kernels.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_stop_with_parent, daemon=True).start()
    try:
        run_notebooks(request["scale"], request["only"], request["parameters"], request["run"])
        build_report(request["scale"], request["run"], request["parameters"])
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        print(str(error) or repr(error), flush=True)  # the last line of the log is the reason
        sys.exit(1)


def _stop_with_parent() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGINT)
