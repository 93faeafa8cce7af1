"""Runs the numbered notebooks in order through papermill: strict parameters, only what is missing or stale, resumable.

A notebook ``NN_name`` that completes leaves ``reports/<scale>/executed/NN_name.ipynb``, its manifest and results, and
last of all a stamp in ``.runs/<scale>/stamps``: a digest of everything it depends on, including the stamps of earlier
notebooks. A study that was killed continues with the first notebook without a valid stamp. A run of a sweep
(`p2vtools.study.sweep`) does the same under a name of its own in place of <scale>.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import nbformat
import papermill
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpec
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from p2vlib import progress
from p2vlib.config import from_params
from p2vlib.files import file_lock, write_text
from p2vlib.provenance import ROOT, code_digest, home, imported_modules
from p2vtools.study import report
from p2vtools.study.cost import estimate_cost
from p2vtools.study.notebook_run import manifests
from p2vtools.study.parameters import PATHS, notebook_number, parameters_by_notebook


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
            build_report(scale, scale)
        raise
    return build_report(scale, scale)


def build_report(scale: str, run: str, parameters: Mapping[str, Any] = MappingProxyType({})) -> Path:
    """Writes ``study.json`` and the pages of ``reports/<run>``; returns the first page.

    Args:
        parameters: what a run of a sweep was given.
    """
    write_text(home() / "reports" / run / "study.json", json.dumps(study_costs(scale, run), indent=2))
    return report.build(scale, run, parameters)


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
    with _exclusive(run):
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


def build_data(scale: str) -> None:
    """Generates the embedded data of a scale, or finds them complete; records the minutes of the longest such call."""
    from p2vtools.synthesis import collection  # heavy, and not needed to run notebooks

    config = from_params(scale)
    started = time.perf_counter()
    collection.ensure_collection(config)
    collection.build_collection(config)
    minutes = round((time.perf_counter() - started) / 60, 2)
    record = _stamps(scale) / "data.json"
    if not record.exists() or json.loads(record.read_text())["minutes"] < minutes:
        write_text(record, json.dumps({"minutes": minutes}))


def study_costs(scale: str, run: str | None = None) -> dict[str, Any]:
    """Minutes of the data and of each notebook, their sum, and the largest peak memory in GiB.

    The minutes of a notebook are those of its manifest, so they belong to the run that its numbers come from. The
    minutes of the data are in git's ``study.json`` where the data were not generated here.
    """
    run = run or scale
    folder, record = home() / "reports" / run, _stamps(run) / "data.json"
    minutes: dict[str, float] = {}
    if record.is_file():
        minutes["data"] = json.loads(record.read_text())["minutes"]
    elif (earlier := folder / "study.json").is_file():
        minutes |= {
            name: value for name, value in json.loads(earlier.read_text())["minutes_of"].items() if name == "data"
        }
    completed = manifests(folder)
    minutes |= {name: round(manifest["seconds"] / 60, 2) for name, manifest in completed.items()}
    return {
        "scale": scale,
        "minutes": round(sum(minutes.values()), 2),
        "minutes_of": minutes,
        "peak_memory_gib": max((manifest["peak_memory_gib"] for manifest in completed.values()), default=0.0),
    }


def expected_minutes(scale: str) -> dict[str, float]:
    """Minutes of each notebook in its most recent run at a scale, in the report of the scale or in a sweep."""
    reports = home() / "reports"
    parts = [*(reports / scale).glob("parts/*.json"), *(reports / "grids" / scale).glob("*/parts/*.json")]
    known: dict[str, float] = {}
    for part in sorted(parts, key=lambda part: part.stat().st_mtime):
        if "seconds" in (manifest := json.loads(part.read_text())):
            known[part.stem] = manifest["seconds"] / 60
    return known


def select_notebooks(only: Iterable[str] | None = None) -> list[Path]:
    """The numbered notebooks of the checkout in order: all, or those whose numbers are in ``only``.

    Raises:
        StudyError: there is no notebook, or two share a number.
        ValueError: no notebook has one of the numbers.
    """
    by_number: dict[str, Path] = {}
    for path in sorted((home() / "notebooks").glob("[0-9][0-9]*_*.ipynb")):
        number = notebook_number(path.stem)
        if number in by_number:
            raise StudyError(f"{by_number[number].name} and {path.name} share a number; give each notebook its own")
        by_number[number] = path
    if not by_number:
        raise StudyError(f"{home() / 'notebooks'}: holds no NN_name.ipynb; set P2VLIB_HOME to a checkout")
    wanted = set(by_number) if only is None else {str(number).zfill(2) for number in only}
    if unknown := sorted(wanted - set(by_number)):
        raise ValueError(f"no notebook has the number {', '.join(unknown)}; there are {', '.join(by_number)}")
    return [path for number, path in by_number.items() if number in wanted]


def _stamps(run: str) -> Path:
    return home() / ".runs" / run / "stamps"


def _outputs(run: str, path: Path) -> list[Path]:
    """All files that a notebook of this number left in the report folder, under its present or an earlier name."""
    return sorted((home() / "reports" / run).glob(f"*/{notebook_number(path.stem)}[-._]*"))


def _digest(path: Path, values: Mapping[str, Any], scale: str, run: str) -> str:
    """SHA-256 of what a notebook depends on: its cells without outputs, parameters, config, code and earlier stamps.

    The code is the meaning of the modules that the notebook reaches (`p2vlib.provenance.code_digest`). Notebook 00 and
    those with a letter, such as 03a, show what exists and leave nothing that others read.
    """
    cells = [[c.cell_type, c.source, c.metadata.get("tags", [])] for c in nbformat.read(path, as_version=4).cells]
    earlier = [other.stem for other in select_notebooks() if re.match(r"(?!00)\d\d_", other.name) and other < path]
    stamps = [_stamps(run) / f"{name}.json" for name in earlier]
    code = "\n".join(source for kind, source, _ in cells if kind == "code")
    modules = imported_modules(re.sub(r"^[%!].*$", "", code, flags=re.MULTILINE))  # lines that only IPython understands
    cards = sorted((ROOT / "data" / "weights").glob("*.json")) if "p2vtools.fit.pretrained" in modules else []
    dependencies = {
        "name": path.stem,
        "cells": cells,
        "parameters": sorted(values.items()),
        "files": [_fingerprint(Path(values[name])) for name in PATHS if values.get(name)],
        "config": from_params(scale).to_json(),
        "python": sys.version_info[:2],
        "code": code_digest(modules),
        "requirements": [f.read_text() for f in ROOT.glob("requirements.txt")],
        "weights": [card.read_text() for card in cards],
        "earlier": [json.loads(stamp.read_text())["digest"] if stamp.exists() else None for stamp in stamps],
    }
    return hashlib.sha256(json.dumps(dependencies, default=repr).encode()).hexdigest()


def _fingerprint(path: Path) -> list[int]:
    """Size and time of a file, or of the entries of a folder; empty if it does not exist."""
    return [path.stat().st_size, path.stat().st_mtime_ns] if path.exists() else []


def _is_current(run: str, path: Path, digest: str) -> bool:
    file = _stamps(run) / f"{path.stem}.json"
    if not file.exists():
        return False
    stamp = json.loads(file.read_text())
    return stamp["digest"] == digest and all((home() / "reports" / run / name).exists() for name in stamp["outputs"])


def _run_notebook(path: Path, values: Mapping[str, Any], run: str, digest: str) -> float:
    """Runs one notebook without its earlier outputs and stamps it; returns its wall minutes."""
    name, reports = path.stem, home() / "reports" / run
    partial = reports / "executed" / f"{name}.partial.ipynb"
    started = time.perf_counter()
    with _replacing_outputs(path, run, partial):
        partial.parent.mkdir(parents=True, exist_ok=True)
        _execute(path, partial, values, run)
        if not (manifest := reports / "parts" / f"{name}.json").exists():
            raise StudyError(
                f"{path.name} ended without {manifest}: it must call begin({name!r}, ...) and end with run.answer(...)"
            )
        partial.replace(reports / "executed" / f"{name}.ipynb")
    minutes = (time.perf_counter() - started) / 60
    outputs = [str(file.relative_to(reports)) for file in _outputs(run, path) if file.parent.name != "html"]
    stamp = {"digest": digest, "minutes": round(minutes, 2), "outputs": outputs}
    write_text(_stamps(run) / f"{name}.json", json.dumps(stamp, indent=2))
    return minutes


@contextlib.contextmanager
def _replacing_outputs(path: Path, run: str, partial: Path) -> Iterator[None]:
    """Moves the earlier outputs and the stamp of a notebook away, and restores them unless the block succeeds.

    Of a failed run only ``partial`` remains, to inspect the error.
    """
    archive = home() / ".runs" / run / "aside" / path.stem
    _restore(archive)  # from a study that was killed
    for file in [*_outputs(run, path), _stamps(run) / f"{path.stem}.json"]:
        if file.is_file():
            archived = archive / file.relative_to(home())
            archived.parent.mkdir(parents=True, exist_ok=True)
            file.replace(archived)
    try:
        yield
    except BaseException:
        for file in _outputs(run, path):
            if file != partial:
                file.unlink()
        _restore(archive)
        raise
    shutil.rmtree(archive, ignore_errors=True)


def _restore(archive: Path) -> None:
    for archived in [file for file in archive.rglob("*") if file.is_file()]:
        target = home() / archived.relative_to(archive)
        target.parent.mkdir(parents=True, exist_ok=True)
        archived.replace(target)
    shutil.rmtree(archive, ignore_errors=True)


@contextlib.contextmanager
def _exclusive(run: str) -> Iterator[None]:
    """Holds the lock of a run; it ends with the process."""
    try:
        with file_lock(home() / ".runs" / run / "lock"):
            yield
    except BlockingIOError:
        raise StudyError(f"another study of scale {run} is running here; wait for it or stop it") from None


def _execute(path: Path, partial: Path, values: Mapping[str, Any], run: str) -> None:
    """Lets papermill fill ``partial`` cell by cell; what the notebook prints also goes to the terminal."""
    try:
        papermill.execute_notebook(
            str(path),
            str(partial),
            parameters=dict(values),
            language="python",
            kernel_name="p2vlib",
            kernel_manager_class=_kernel_manager(run),
            cwd=str(path.parent),
            progress_bar=False,
            stdout_file=sys.stdout,
            stderr_file=sys.stderr,
        )
    except PapermillExecutionError as error:
        place = f"cell [{error.exec_count}], `{_failing_line(error)}`"
        raise StudyError(
            f"{path.name} failed in {place}: {error.ename}: {error.evalue}; the cells so far are in {partial}"
        ) from error
    except DeadKernelError as error:
        raise StudyError(
            f"{path.name} failed: its kernel died, usually because memory ran out; the cells so far are in {partial}"
        ) from error


def _failing_line(error: PapermillExecutionError) -> str:
    """The line of the cell that the traceback points to; without one, the first line of the cell."""
    text = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error.traceback))
    marked = re.search(r"^-+> *\d+ (.+)$", text, re.MULTILINE)
    return (marked[1] if marked else error.source.strip().split("\n")[0]).strip()


def _kernel_manager(run: str) -> type[AsyncKernelManager]:
    """Starts kernels of this interpreter and this copy of the library, whatever kernels the machine has installed.

    The kernel uses `available_cores`, draws into the notebook, and reads no IPython start-up files of the user.
    """
    argv = [sys.executable, "-m", "ipykernel_launcher", "--log-level=ERROR", "-f", "{connection_file}"]
    env = {
        "OMP_NUM_THREADS": str(available_cores()),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "IPYTHONDIR": str(home() / ".runs" / "ipython"),
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "PLOTLY_RENDERER": "plotly_mimetype",
        "P2VLIB_BATCH": "1",
        "P2VLIB_RUN": run,
    }

    class StudyKernelManager(AsyncKernelManager):
        kernel_spec = KernelSpec(argv=argv, env=env, display_name="Python 3", language="python")

    return StudyKernelManager


def available_cores() -> int:
    """How many cores to use: ``OMP_NUM_THREADS`` where it is set, otherwise all that this process may use."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(threads) if threads.isdecimal() else cores
