"""Runs the numbered notebooks in order through papermill: strict parameters, only what is missing or stale, resumable.

A notebook ``NN_name`` that completes leaves ``reports/<scale>/executed/NN_name.ipynb``, its manifest and results, and
last of all a stamp in ``.runs/<scale>/stamps``: a digest of everything it depends on, including the stamps of earlier
notebooks. A study that was killed continues with the first notebook without a valid stamp. A run of a sweep
(`p2vtools.study.sweep`) does the same under a name of its own in place of <scale>.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import pkgutil
import re
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import papermill
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from p2vlib import progress
from p2vlib.config import from_params
from p2vlib.files import write_text
from p2vlib.provenance import ROOT, code_digest, home, syntax_digest
from p2vtools.files import file_digest, file_lock, is_whole, read_cached_json
from p2vtools.study import report
from p2vtools.study.cost import estimate_cost
from p2vtools.study.notebook_run import manifests, part_of_metrics
from p2vtools.study.parameters import NETWORKS, PATHS, notebook_code, notebook_number, parameters_by_notebook

PAGES = {"08_your_foot"}
"""Notebooks that `p2v app` serves; they have no results."""


class StudyError(RuntimeError):
    """A study that cannot continue; the message is one sentence for the user."""


def confirm_cost(scale: str, numbers: Iterable[str] | None, confirmed: bool) -> bool:
    """Prints what notebooks cost at scale full; returns whether to start, which needs ``confirmed`` at that scale.

    Args:
        numbers: of the notebooks; None: all of them; empty: the data alone.
    """
    if scale != "full":
        return True
    selected = [] if numbers is not None and not list(numbers) else select_notebooks(numbers)
    print(estimate_cost(from_params(scale), [notebook_number(path.stem) for path in selected]), flush=True)
    if not confirmed:
        print("nothing was started; add --yes to start", flush=True)
    return confirmed


def run_study(scale: str, only: Iterable[str] | None = None, parameters: Mapping[str, Any] | None = None) -> Path:
    """Runs the notebooks of a scale and builds the report; returns its first page.

    A failed notebook stops the study, but the notebooks that completed get their pages.

    Raises:
        ValueError: an unknown scale, notebook number or parameter.
        StudyError: a notebook failed, or another study of this scale is running.
    """
    try:
        run_notebooks(scale, only, parameters)
    except StudyError:
        if manifests(home() / "reports" / scale):
            report.build(scale)
        raise
    return report.build(scale)


def run_notebooks(
    scale: str, only: Iterable[str] | None = None, parameters: Mapping[str, Any] | None = None, run: str | None = None
) -> dict[str, str]:
    """Runs the notebooks with the numbers ``only`` (default: all) where they are missing or stale.

    Args:
        parameters: name -> value for all notebooks that declare it, or ``05.name`` -> value for one.
        run: the folder below ``reports`` and ``.runs`` to write to (default: the scale).

    Returns:
        Notebook name -> ``done`` or ``up to date``.

    Raises:
        ValueError, StudyError: as `run_study`.
    """
    from_params(scale)
    run = run or scale
    values = parameters_by_notebook(select_notebooks(only), scale, parameters or {})
    expected = expected_minutes(scale)
    outcomes: dict[str, str] = {}

    def refuse() -> None:
        raise StudyError(f"another study of scale {run} is running here; wait for it or stop it")

    with file_lock(home() / ".runs" / run / "lock", waiting=refuse):
        for path in values:
            digest = _digest(path, values[path], scale, run)
            if _is_current(run, path, digest):
                outcomes[path.stem] = "up to date"
                print(f"{path.stem} · up to date", flush=True)
                continue
            remaining = [expected.get(later.stem) for later in list(values)[len(outcomes) :]]
            left = f" · about {progress.clock(60 * sum(remaining))} left" if None not in remaining else ""
            print(f"{path.stem} · start{left}", flush=True)
            minutes = _run_notebook(path, values[path], run, digest)
            outcomes[path.stem] = "done"
            print(f"{path.stem} · done in {minutes:.1f} min", flush=True)
    return outcomes


def is_complete(scale: str, only: Iterable[str] | None, parameters: Mapping[str, Any], run: str) -> bool:
    """Whether `run_notebooks` with these arguments would find all notebooks up to date."""
    values = parameters_by_notebook(select_notebooks(only), scale, parameters)
    return all(_is_current(run, path, _digest(path, values[path], scale, run)) for path in values)


def build_data(scale: str, scheduler: str | None = None) -> None:
    """Generates the embedded data of a scale, or finds them complete; records the minutes of the longest such call.

    Args:
        scheduler: as of `p2vtools.executor.run_jobs`.
    """
    from p2vtools.synthesis import collection  # heavy, and not needed to run notebooks

    config = from_params(scale)
    started = time.perf_counter()
    collection.ensure_collection(config, scheduler=scheduler)
    collection.build_collection(config)
    record, minutes = _stamps(scale) / "data.json", round((time.perf_counter() - started) / 60, 2)
    minutes = max(minutes, read_cached_json(record).get("minutes", 0))
    write_text(record, json.dumps({"minutes": minutes}))
    write_text(home() / "reports" / scale / "study.json", json.dumps({"minutes_of": {"data": minutes}}))


def expected_minutes(scale: str) -> dict[str, float]:
    """Minutes of each notebook in its most recent run at a scale, in the report of the scale or in a sweep."""
    reports = home() / "reports"
    parts = [*(reports / scale).glob("parts/*.json"), *(reports / "grids" / scale).glob("*/parts/*.json")]
    known: dict[str, float] = {}
    for part in sorted(parts, key=lambda part: part.stat().st_mtime):
        if "seconds" in (manifest := read_cached_json(part)):
            known[part.stem] = manifest["seconds"] / 60
    return known


def select_notebooks(only: Iterable[str] | None = None) -> list[Path]:
    """The numbered notebooks of the study in order: all, or those whose numbers are in ``only``.

    Raises:
        StudyError: there is no notebook, or two share a number.
        ValueError: no notebook has one of the numbers.
    """
    by_number: dict[str, Path] = {}
    for path in sorted((home() / "notebooks").glob("[0-9][0-9]*_*.ipynb")):
        if path.stem in PAGES:
            continue
        number = notebook_number(path.stem)
        if number in by_number:
            raise StudyError(f"{by_number[number].name} and {path.name} share a number; give each notebook its own")
        by_number[number] = path
    if not by_number:
        raise StudyError(f"{home() / 'notebooks'}: holds no NN_name.ipynb; set P2VLIB_HOME to a checkout")
    wanted = set(by_number) if only is None else {str(number).zfill(2) for number in only}
    if unknown := sorted(wanted - set(by_number)):
        page = "; 08 is the page that `make app` serves" if "08" in unknown else ""
        raise ValueError(f"no notebook has the number {', '.join(unknown)}; there are {', '.join(by_number)}{page}")
    return [path for number, path in by_number.items() if number in wanted]


def _stamps(run: str) -> Path:
    return home() / ".runs" / run / "stamps"


def _digest(path: Path, values: Mapping[str, Any], scale: str, run: str) -> str:
    """SHA-256 of what a notebook depends on: its cells without outputs, parameters, config, code and earlier stamps.

    The code is the meaning of the modules that the notebook reaches (`p2vlib.provenance.code_digest`). Notebook 00 and
    those with a letter, such as 03a, show what exists and leave nothing that others read.
    """
    cells, modules = notebook_code(path)
    earlier = [other.stem for other in select_notebooks() if re.match(r"(?!00)\d\d_", other.name) and other < path]
    stamps = [_stamps(run) / f"{name}.json" for name in earlier]
    cards = sorted((ROOT / "data" / "weights").glob("*.json")) if "p2vtools.fit.pretrained" in modules else []
    dependencies = {
        "name": path.stem,
        "cells": cells,
        "parameters": sorted(values.items()),
        "networks": [_class_digest(name) for key in NETWORKS for name in values.get(key, ()) if ":" in name],
        "files": [_fingerprint(Path(values[name])) for name in PATHS if values.get(name)],
        "config": from_params(scale).to_json(),
        "python": sys.version_info[:2],
        "code": code_digest(modules),
        "requirements": [f.read_text("utf-8") for f in ROOT.glob("requirements.txt")],
        "weights": [card.read_text("utf-8") for card in cards],
        "earlier": [read_cached_json(stamp).get("digest") for stamp in stamps],
    }
    return hashlib.sha256(json.dumps(dependencies, default=repr).encode()).hexdigest()


def _class_digest(name: str) -> str:
    """The digest of the module of a network ``package.module:ClassName``."""
    return syntax_digest(inspect.getsource(inspect.getmodule(pkgutil.resolve_name(name))))


def _fingerprint(path: Path) -> list[int]:
    """Size and time of a file, or of a folder and its entries; empty if it does not exist."""
    found = [path, *(sorted(path.iterdir()) if path.is_dir() else [])] if path.exists() else []
    return [number for file in found for number in (file.lstat().st_size, file.lstat().st_mtime_ns)]


def _is_current(run: str, path: Path, digest: str) -> bool:
    stamp = read_cached_json(_stamps(run) / f"{path.stem}.json")
    if stamp.get("digest") != digest:
        return False
    if not is_whole(home(), stamp["outputs"]):
        print(f"{path.stem} · its results are damaged, missing or from elsewhere; they are made again", flush=True)
        return False
    return True


def _run_notebook(path: Path, values: Mapping[str, Any], run: str, digest: str) -> float:
    """Runs one notebook and stamps it; returns its wall minutes.

    It writes to a staging folder. Its outputs replace those of the run before only when it has completed.
    """
    name, reports, staging = path.stem, home() / "reports" / run, home() / ".runs" / run / "staging"
    started = time.perf_counter()
    shutil.rmtree(staging, ignore_errors=True)
    executed = staging / "executed" / f"{name}.ipynb"
    executed.parent.mkdir(parents=True)
    _execute(path, executed, values, _kernel_manager(run, staging))
    if not (manifest := staging / "parts" / f"{name}.json").is_file():
        raise StudyError(
            f"{path.name} ended without {manifest}: it must call begin({name!r}, ...) and end with run.answer(...)"
        )
    stamp = _stamps(run) / f"{name}.json"
    stamp.unlink(missing_ok=True)
    outputs = [str(file.relative_to(staging)) for file in sorted(staging.rglob("*")) if file.is_file()]
    for output in outputs:
        (reports / output).parent.mkdir(parents=True, exist_ok=True)
        (staging / output).replace(reports / output)
    # Outputs of the run before, under this or an earlier name of the notebook.
    for earlier in reports.glob(f"*/{notebook_number(name)}[-._]*"):
        if str(earlier.relative_to(reports)) not in outputs:
            earlier.unlink()
    minutes = (time.perf_counter() - started) / 60
    files = [*(reports / output for output in outputs), part_of_metrics(home() / ".runs" / run, name)]
    digests = {file.relative_to(home()).as_posix(): file_digest(file) for file in files if file.is_file()}
    write_text(stamp, json.dumps({"digest": digest, "minutes": round(minutes, 2), "outputs": digests}, indent=2))
    return minutes


def _execute(path: Path, executed: Path, values: Mapping[str, Any], kernel_manager: type[AsyncKernelManager]) -> None:
    """Lets papermill fill ``executed`` cell by cell; what the notebook prints also goes to the terminal."""
    try:
        papermill.execute_notebook(
            str(path),
            str(executed),
            parameters=dict(values),
            language="python",
            kernel_name="p2vlib",
            kernel_manager_class=kernel_manager,
            cwd=str(path.parent),
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
        )
    except (PapermillExecutionError, DeadKernelError) as error:
        reason = ": its kernel died, usually because memory ran out"
        if isinstance(error, PapermillExecutionError):
            reason = f" in cell [{error.exec_count}], `{_failing_line(error)}`: {error.ename}: {error.evalue}"
        raise StudyError(f"{path.name} failed{reason}; the cells so far are in {executed}") from error


def _failing_line(error: PapermillExecutionError) -> str:
    """The line of the cell that the traceback points to; without one, the first line of the cell."""
    text = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error.traceback))
    marked = re.search(r"^-+> *\d+ (.+)$", text, re.MULTILINE)
    return (marked[1] if marked else error.source.strip().split("\n")[0]).strip()


def _kernel_manager(run: str, report: Path) -> type[AsyncKernelManager]:
    """Starts kernels of this interpreter and this copy of the library, not those installed on the machine.

    The kernel writes its results to ``report``, uses `available_cores`, draws into the notebook, and reads no IPython
    start-up files of the user.
    """
    argv = [sys.executable, "-m", "ipykernel_launcher", "--log-level=CRITICAL", "-f", "{connection_file}"]
    env = {
        "OMP_NUM_THREADS": str(available_cores()),
        "PYTHONPATH": os.pathsep.join([str(ROOT), *(str(Path(folder).absolute()) for folder in sys.path)]),
        "IPYTHONDIR": str(home() / ".runs" / "ipython"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PLOTLY_RENDERER": "plotly_mimetype",
        "P2VLIB_BATCH": "1",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # else the debugger warns of Python's own modules
        "P2VLIB_RUN": run,
        "P2VLIB_REPORT": str(report),
    }

    sockets = str(Path(tempfile.gettempdir()) / f"p2v-{uuid.uuid4().hex}")  # short: such paths have at most 104 bytes

    class StudyKernelManager(AsyncKernelManager):
        if os.name != "nt":  # kernels that start at the same time could take the same TCP port
            transport = "ipc"
            ip = sockets
        kernel_spec = KernelSpec(argv=argv, env=env, display_name="Python 3", language="python")

    return StudyKernelManager


def available_cores() -> int:
    """How many cores to use: ``OMP_NUM_THREADS`` where it is set, otherwise all that this process may use."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(threads) if threads.isdecimal() else cores
