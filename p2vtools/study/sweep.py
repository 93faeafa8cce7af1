"""A sweep: one run for each combination of parameter values, several at the same time, compared at the end.

Each run is a study of its own below ``reports/grids/<scale>/<run name>`` and ``.runs/grids/<scale>/...``; the report of
the scale is only read. A run is named after its parameters, so a run of an earlier sweep is not repeated, and a sweep
that was stopped continues.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from p2vlib import progress
from p2vlib.provenance import home
from p2vtools.executor import run_jobs
from p2vtools.study import comparison, report
from p2vtools.study.parameters import notebook_number, parameters_by_notebook
from p2vtools.study.runner import (
    StudyError,
    available_cores,
    expected_minutes,
    is_complete,
    run_notebooks,
    select_notebooks,
)

LONGEST_NAME = 100
"""Characters of a run's name."""


def run_sweep(
    scale: str,
    only: Iterable[str] | None,
    parameters: Mapping[str, Sequence[Any]],
    jobs: int = 1,
    scheduler: str | None = None,
) -> Path:
    """Executes every run that is missing or stale, ``jobs`` at a time, each with its share of the cores.

    Args:
        parameters: name (``views``, or ``05.views`` for one notebook) -> its values.
        scheduler: as of `run_jobs`; each worker then executes one run at a time, with its own ``OMP_NUM_THREADS``.

    Returns:
        The page that compares the runs, a single run with the results of the scale; where nothing can be compared, the
        last run's own page.

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
        progress.log(f"{len(runs)} runs; the last run of these notebooks took {sum(known):.0f} minutes")
    threads = 0 if scheduler else max(1, available_cores() // jobs)
    reasons = dict.fromkeys(runs, "")
    missing = [run for run in runs if not (scheduler and is_complete(scale, numbers, runs[run], run))]
    requests = [(scale, numbers, runs[run], run, threads) for run in missing]
    reasons |= zip(missing, run_jobs(execute_run, requests, "runs", "run", jobs, scheduler, _files_of), strict=True)
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
    """Executes one run, which prints to its log; returns why it failed, or an empty string.

    Args:
        threads: of the notebooks' kernels; 0: as many as ``OMP_NUM_THREADS`` of this process says.
    """
    _log(run).parent.mkdir(parents=True, exist_ok=True)
    if threads:
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


def _files_of(scale: str, only: Sequence[str], parameters: Mapping[str, Any], run: str, threads: int) -> list[Path]:
    """What a run leaves, relative to `home`: its files, as the folders here may hold other notebooks; last its stamps.

    The stamps are one folder: they are valid together.
    """
    reports, work = home() / "reports" / run, home() / ".runs" / run
    files = sorted(path for folder in (reports, work) for path in folder.rglob("*") if path.is_file())
    files = [*(path for path in files if path.parent.name != "stamps"), *work.glob("stamps")]
    return [path.relative_to(home()) for path in files]


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
