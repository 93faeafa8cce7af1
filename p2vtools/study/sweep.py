"""A grid of runs: one for every combination of the values that parameters were given, several at once, then compared.

Each is a study of its own below ``reports/grids/<scale>/<what it was told>`` and ``.runs/grids/<scale>/…``; the plain
run of the scale is read and never written to. A run is known by what it was told, so one that another grid made is not
made again, and a grid that was stopped goes on where it was.
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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from p2vlib import progress
from p2vlib.provenance import ROOT, home
from p2vtools.study import comparison
from p2vtools.study.execution import StudyError, before, cores
from p2vtools.study.parameters import parameters_by_notebook
from p2vtools.study.runner import build_report, chosen, notebooks, run_notebooks

CELL = "\x1e"
"""Begins a line in which a run tells the grid where it is: notebook, cell, cells."""

LONGEST = 100
"""Characters of a run's name."""


def run_sweep(scale: str, only: Iterable[str] | None, parameters: Mapping[str, Sequence[Any]], jobs: int = 1) -> Path:
    """Makes what is missing of every run, ``jobs`` at once on a share of the cores each, and compares them.

    Args:
        parameters: name (``views``, or ``05.views`` for one notebook) -> the values that it takes in turn.

    Returns:
        The page that compares them; of one run alone, or where nothing can be compared, that of the last run.

    Raises:
        ValueError: as `study.run_study`, of any of the runs and before anything runs.
        StudyError: some run failed; the others have run, and were compared.
    """
    only = [path.name[:2] for path in chosen(only)]
    expected = {name[:2]: 60 * minutes for name, minutes in _known_minutes(scale).items()}
    runs = [SweepJob(scale, only, told, expected) for told in combinations(parameters)]
    for run in runs:
        parameters_by_notebook(chosen(only), scale, run.told)
    _run_all(runs, max(1, cores() // jobs), jobs)
    done = [run.folder for run in runs if run.outcome == "done"]
    if len(runs) == 1 and (home() / "reports" / scale / "metrics.csv").is_file():
        done.insert(0, home() / "reports" / scale)
    name = run_name({key: list(values) for key, values in parameters.items()})
    page = _compared(done, home() / "reports" / "grids" / scale / f"{name}.html") if done else None
    if failed := [run for run in runs if run.outcome != "done"]:
        why = "; ".join(f"{run.name}: {run.outcome} (all of it: {run.log})" for run in failed)
        raise StudyError(f"{len(failed)} of {len(runs)} runs failed; {why}")
    return page


def _compared(done: Sequence[Path], page: Path) -> Path:
    """Compares the runs in the folders ``done`` on ``page``, and returns it; else the last run's own, and says why."""
    if len(done) > 1:
        try:
            print(comparison.compare(done, page), flush=True)
            return page
        except ValueError as error:  # as of notebooks that test nothing; the runs have gone well all the same
            print(f"not compared: {error}", flush=True)
    return done[-1] / "index.html"


def combinations(parameters: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Every choice of one value for each parameter; the last changes fastest."""
    return [dict(zip(parameters, values, strict=True)) for values in itertools.product(*parameters.values())]


def run_name(told: Mapping[str, Any]) -> str:
    """What a run was told as the name of a folder: ``05.views=8_seed=1``; ``plain`` if that is nothing.

    What no file's name can hold is left out and, so that two names differ where the values do, a hash stands for it.
    """
    exact = "_".join(
        f"{key}={','.join(map(str, value)) if isinstance(value, list | tuple) else value}"
        for key, value in sorted(told.items())
    )
    name = re.sub(r"[^\w.,=+-]+", "-", exact)[:LONGEST]
    if name != exact:
        name += "-" + hashlib.sha256(exact.encode()).hexdigest()[:6]
    return name or "plain"


@dataclass(eq=False)
class SweepJob:
    """One run of the grid, and how far it is."""

    scale: str
    only: list[str]
    told: dict[str, Any]
    expected: dict[str, float] = field(default_factory=dict)
    """A notebook's number -> the seconds that it took before, where it ever ran."""
    outcome: str = ""
    """``done``, or why it failed; empty until then."""
    process: subprocess.Popen | None = None
    began: float = 0.0
    ended: float = 0.0
    place: tuple[str, int, int] | None = None
    """Notebook, cell and number of cells."""
    since: float = 0.0
    """When that notebook began."""

    @property
    def name(self) -> str:
        return run_name(self.told)

    @property
    def run(self) -> str:
        """Its folder below ``reports`` and ``.runs``."""
        return f"grids/{self.scale}/{self.name}"

    @property
    def folder(self) -> Path:
        return home() / "reports" / self.run

    @property
    def log(self) -> Path:
        """All that it said."""
        return home() / ".runs" / self.run / "log.txt"

    def left(self) -> float | None:
        """About how many seconds it still takes: as long as before, else as its cells so far; None: nobody knows."""
        if self.outcome:
            return 0.0
        later = [number for number in self.only if not self.place or number > self.place[0][:2]]
        if not set(later) <= set(self.expected):
            return None
        rest = sum(self.expected[number] for number in later)
        if not self.place:
            return rest
        name, cell, cells = self.place
        passed = time.monotonic() - self.since
        if self.expected.get(name[:2], 0.0) > passed:
            return rest + self.expected[name[:2]] - passed
        return rest + passed / (cell - 1) * (cells - cell + 1) if cell > 1 else None

    def line(self) -> str:
        """How far it is, on one line."""
        if self.outcome:
            ended = "done" if self.outcome == "done" else "failed"
            return f"{ended} in {progress.clock(self.ended - self.began)}"
        if not self.process:
            return "waits"
        where = "{}, cell {} of {}".format(*self.place) if self.place else "starts"
        left = self.left()
        told = f", about {progress.clock(left)} left" if left else ""
        return f"{where} · {progress.clock(time.monotonic() - self.began)}{told}"

    def enter(self, name: str, cell: str, cells: str) -> None:
        """Notes that a cell begins."""
        if not self.place or self.place[0] != name:
            self.since = time.monotonic()
        self.place = (name, int(cell), int(cells))


def work() -> None:
    """Does one run, told on the first line of stdin, and stops as by ctrl-C when stdin ends: nobody waits for it."""
    # What a shell started in the background ignores ctrl-C, and so would all that it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    told = json.loads(sys.stdin.readline())
    threading.Thread(target=_stop_when_alone, daemon=True).start()
    scale, run = told["scale"], told["run"]
    try:
        run_notebooks(scale, told["only"], told["parameters"], run, lambda *place: print(CELL, *place, flush=True))
        build_report(scale, run, told["parameters"])
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        print(str(error) or repr(error), flush=True)  # its last line is told as the reason
        sys.exit(1)


def _stop_when_alone() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGINT)


def _run_all(runs: Sequence[SweepJob], threads: int, jobs: int) -> None:
    board, began, stopped = progress.Board(), time.monotonic(), threading.Event()
    with ThreadPoolExecutor(jobs) as pool:
        asked = [pool.submit(_run_one, run, threads, stopped) for run in runs]
        try:
            while not all(future.done() for future in asked):
                board.show(_lines(runs, jobs, began))
                time.sleep(0.25)
            board.show(_lines(runs, jobs, began), last=True)
        except BaseException:
            stopped.set()  # for one whose process is only just being started
            for run in runs:
                if run.process:
                    run.process.stdin.close()
            raise
    for future in asked:
        future.result()


def _lines(runs: Sequence[SweepJob], jobs: int, began: float) -> list[str]:
    """A line a run, and one for all."""
    width = max(len(run.name) for run in runs)
    left = [run.left() for run in runs]
    done = sum(bool(run.outcome) for run in runs)
    told = f"{done} of {len(runs)} runs · {progress.clock(time.monotonic() - began)}"
    if None not in left and any(left):
        told += f", about {progress.clock(max(max(left), sum(left) / jobs))} left"
    return [*(f"{run.name.ljust(width)}  {run.line()}" for run in runs), told]


def _run_one(run: SweepJob, threads: int, stopped: threading.Event) -> None:
    """Lets a process of its own do it, in a session of its own: ctrl-C reaches it once, through the grid."""
    if stopped.is_set():
        return
    told = {"scale": run.scale, "run": run.run, "only": run.only, "parameters": run.told}
    run.log.parent.mkdir(parents=True, exist_ok=True)
    run.began, last = time.monotonic(), ""
    run.process = subprocess.Popen(
        [sys.executable, "-c", "from p2vtools.study import sweep; sweep.work()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": before("PYTHONPATH", ROOT)},
        start_new_session=True,
    )
    with run.process as process, open(run.log, "a") as log:
        process.stdin.write(json.dumps(told) + "\n")
        process.stdin.flush()
        if stopped.is_set():
            process.stdin.close()
        for line in process.stdout:
            said, begins, place = line.partition(CELL)  # a notebook may have left its last line open
            if begins:
                run.enter(*place.split())
            log.write(said)
            log.flush()
            last = said.strip() or last
    run.ended = time.monotonic()
    run.outcome = "done" if process.returncode == 0 else last or f"ended with status {process.returncode}"


def _known_minutes(scale: str) -> dict[str, float]:
    """Minutes of each notebook as it last ran at this scale, in any run that is still here or in the committed one."""
    committed = home() / "reports" / scale / "study.json"
    known = json.loads(committed.read_text())["minutes_of"] if committed.is_file() else {}
    for path in notebooks():
        stamp, work = f"stamps/{path.stem}.json", home() / ".runs"
        stamps = [*(work / "grids" / scale).glob(f"*/{stamp}"), work / scale / stamp]
        if there := [stamp for stamp in stamps if stamp.is_file()]:
            newest = max(there, key=lambda stamp: stamp.stat().st_mtime)
            known[path.stem] = json.loads(newest.read_text())["minutes"]
    return known
