"""The study: the numbered notebooks in order, through papermill, strictly, doing only what is missing or stale.

A notebook ``NN_name`` that ended well leaves ``reports/<scale>/executed/NN_name.ipynb``, the offline page
``html/NN_name.html``, its part of the metrics and, last of all, a stamp in ``.runs/<scale>/stamps``. The stamp holds a
digest of everything the notebook depends on, the stamps of all earlier notebooks among it. Killed anywhere, a study
goes on where it stopped.
"""

from __future__ import annotations

import ast
import contextlib
import fcntl
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import papermill
from nbclient.exceptions import DeadKernelError
from papermill.exceptions import PapermillExecutionError

from . import packing, report, shipped
from .capture import collection
from .config import estimate, from_params
from .files import write_text
from .report.executed import write_page
from .runs import home, sources

LIBRARY = Path(__file__).parent

PATHS = ("root", "checkpoint")
"""Parameters of notebooks that name a file or folder. Notebooks run in a folder of their own; who types a path means it
from where they stand."""


class StudyError(RuntimeError):
    """A study that cannot go on; the message is the one sentence to show."""


def run_study(scale: str, only: Iterable[str] | None = None, parameters: dict[str, Any] | None = None) -> None:
    """Runs the notebooks of a scale, then writes ``study.json`` (minutes, peak memory) and builds the report.

    Raises:
        ValueError: an unknown scale, notebook number or parameter.
        StudyError: a notebook failed, or another study of this scale is running.
    """
    run_notebooks(scale, only, parameters)
    write_text(home() / "reports" / scale / "study.json", json.dumps(study_costs(scale), indent=2))
    report.build(scale)
    print(f"report: {home() / 'reports' / scale / 'index.html'}", flush=True)


def run_notebooks(
    scale: str, only: Iterable[str] | None = None, parameters: dict[str, Any] | None = None
) -> dict[str, str]:
    """Runs the notebooks whose numbers are in ``only`` (default: all); returns what was done to each, by name.

    Raises:
        ValueError, StudyError: as `run_study`.
    """
    config = from_params(scale)
    if scale == "full":
        print(estimate(config), flush=True)
    chosen = _chosen(only)
    given = {path: check_parameters(path, {"scale": scale, **(parameters or {})}) for path in chosen}
    done = {}
    with _alone(scale):
        for path, values in given.items():
            digest = _digest(path, values, scale)
            if _is_current(scale, path, digest):
                done[path.stem] = "up to date"
                print(f"{path.stem} · up to date", flush=True)
                continue
            print(f"{path.stem} · start", flush=True)
            minutes = _run(path, values, scale, digest)
            done[path.stem] = "done"
            print(f"{path.stem} · done in {minutes:.1f} min", flush=True)
    return done


def build_data(scale: str) -> None:
    """Makes the embedded data of a scale, or finds them whole; the longest such call is kept as what they cost."""
    config = from_params(scale)
    if scale == "full":
        print(estimate(config), flush=True)
    started = time.perf_counter()
    collection.ensure(config)
    packing.pack(config)
    minutes = round((time.perf_counter() - started) / 60, 2)
    record = _stamps(scale) / "data.json"
    if not record.exists() or json.loads(record.read_text())["minutes"] < minutes:
        write_text(record, json.dumps({"minutes": minutes}))


def study_costs(scale: str) -> dict[str, Any]:
    """Wall minutes of the data and of each notebook as last run, their sum, and the largest peak memory, GiB."""
    names = [path.stem for path in notebooks()]
    stamps = {name: _stamps(scale) / f"{name}.json" for name in ["data", *names]}
    minutes = {name: json.loads(stamp.read_text())["minutes"] for name, stamp in stamps.items() if stamp.exists()}
    manifests = [home() / "reports" / scale / "parts" / f"{name}.json" for name in names]
    peaks = [json.loads(file.read_text()).get("peak_memory_gib", 0.0) for file in manifests if file.exists()]
    return {
        "scale": scale,
        "minutes": round(sum(minutes.values()), 2),
        "minutes_of": minutes,
        "peak_memory_gib": max(peaks, default=0.0),
    }


def notebooks() -> list[Path]:
    """The numbered notebooks, in order.

    Raises:
        StudyError: there is none, or two have one number.
    """
    found = sorted((home() / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise StudyError(f"{home() / 'notebooks'}: holds no NN_name.ipynb; set P2VLIB_HOME to a checkout")
    for one, other in zip(found, found[1:], strict=False):
        if one.name[:2] == other.name[:2]:
            raise StudyError(f"{one.name} and {other.name} have one number; give each notebook its own")
    return found


def _chosen(only: Iterable[str] | None) -> list[Path]:
    every = {path.name[:2]: path for path in notebooks()}
    wanted = set(every) if only is None else {str(number).zfill(2) for number in only}
    if unknown := sorted(wanted - set(every)):
        raise ValueError(f"no notebook has the number {', '.join(unknown)}; there are {', '.join(every)}")
    return [path for number, path in every.items() if number in wanted]


def check_parameters(path: Path, values: dict[str, Any]) -> dict[str, Any]:
    """Returns ``values``, paths made absolute, if the notebook declares each with a default of that type.

    Papermill only warns where it does not.

    Raises:
        ValueError: a parameter that the notebook's parameters cell does not hold, or one of another type.
    """
    try:
        declared = papermill.inspect_notebook(str(path))
    except (ValueError, nbformat.reader.NotJSONError) as error:
        raise ValueError(f"{path}: not a readable Python notebook ({error})") from None
    values = {name: str(Path(value).absolute()) if name in PATHS and value else value for name, value in values.items()}
    for name, value in values.items():
        if name not in declared:
            names = ", ".join(declared) or "none"
            raise ValueError(f"{path.name} has no parameter {name!r}; its cell tagged `parameters` declares: {names}")
        default = _literal(declared[name]["default"])
        if default is not None and type(value) is not type(default) and (type(default), type(value)) != (float, int):
            wanted = f"{type(default).__name__}, as its default {default!r}"
            raise ValueError(f"{path.name}: parameter {name!r} is {value!r}; expected {wanted}")
    return values


def _literal(source: str) -> Any:
    """The value that ``source`` writes down, or None where it is no plain literal."""
    try:
        return ast.literal_eval(source)
    except (ValueError, SyntaxError):
        return None


def _stamps(scale: str) -> Path:
    return home() / ".runs" / scale / "stamps"


def _outputs(scale: str, path: Path) -> list[Path]:
    """All that a notebook of this number left in the report's folder, under this name or an earlier one."""
    return sorted((home() / "reports" / scale).glob(f"*/{path.name[:2]}[-._]*"))


def _digest(path: Path, values: dict[str, Any], scale: str) -> str:
    """SHA-256 over the notebook's cells (not its outputs), its parameters, the config, the code and earlier stamps.

    A notebook that asks for the shipped weights also depends on their card.
    """
    cells = [[c.cell_type, c.source, c.metadata.get("tags", [])] for c in nbformat.read(path, as_version=4).cells]
    earlier = [_stamps(scale) / f"{other.stem}.json" for other in notebooks() if other.name < path.name]
    card = shipped.path().with_suffix(".json")
    asks = card.exists() and any("shipped." in source for _, source, _ in cells)
    told = {
        "name": path.stem,
        "cells": cells,
        "parameters": sorted(values.items()),
        "files": [_mark(Path(values[name])) for name in PATHS if values.get(name)],
        "config": from_params(scale).to_json(),
        "python": sys.version_info[:2],
        "code": sources(),
        "requirements": [f.read_text() for f in LIBRARY.parent.glob("requirements.txt")],
        "weights": card.read_text() if asks else "",
        "earlier": [json.loads(stamp.read_text())["digest"] if stamp.exists() else None for stamp in earlier],
    }
    return hashlib.sha256(json.dumps(told, default=repr).encode()).hexdigest()


def _mark(path: Path) -> list[int]:
    """What changes with a file or with the entries of a folder; nothing for one that is not there."""
    return [path.stat().st_size, path.stat().st_mtime_ns] if path.exists() else []


def _is_current(scale: str, path: Path, digest: str) -> bool:
    stamp = _stamps(scale) / f"{path.stem}.json"
    if not stamp.exists():
        return False
    told = json.loads(stamp.read_text())
    return told["digest"] == digest and all((home() / "reports" / scale / name).exists() for name in told["outputs"])


def _run(path: Path, values: dict[str, Any], scale: str, digest: str) -> float:
    """Runs one notebook from a clean slate and stamps it; returns its wall minutes."""
    name, reports = path.stem, home() / "reports" / scale
    stamp = _stamps(scale) / f"{name}.json"
    stamp.unlink(missing_ok=True)
    for left in _outputs(scale, path):
        left.unlink()
    partial = reports / "executed" / f"{name}.partial.ipynb"
    partial.parent.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    _execute(path, partial, values)
    if not (manifest := reports / "parts" / f"{name}.json").exists():
        raise StudyError(
            f"{path.name} ended without {manifest}: it must begin({name!r}, ...) and end with run.answer(...)"
        )
    write_page(reports, partial, name)
    partial.replace(reports / "executed" / f"{name}.ipynb")
    minutes = (time.perf_counter() - started) / 60
    outputs = [str(file.relative_to(reports)) for file in _outputs(scale, path)]
    write_text(stamp, json.dumps({"digest": digest, "minutes": round(minutes, 2), "outputs": outputs}, indent=2))
    return minutes


def _execute(path: Path, partial: Path, values: dict[str, Any]) -> None:
    """Lets papermill fill ``partial`` cell by cell; what the notebook prints goes on to the terminal."""
    look = f"what ran so far is in {partial}"
    try:
        with _own_kernel() as kernel:
            papermill.execute_notebook(
                str(path),
                str(partial),
                parameters=values,
                kernel_name=kernel,
                language="python",
                cwd=str(path.parent),
                progress_bar=False,
                stdout_file=sys.stdout,
                stderr_file=sys.stderr,
            )
    except PapermillExecutionError as error:
        first = error.source.strip().split("\n")[0]
        raise StudyError(
            f"{path.name} failed in cell [{error.exec_count}], `{first}`: {error.ename}: {error.evalue}; {look}"
        ) from error
    except DeadKernelError as error:
        raise StudyError(f"{path.name} failed: its kernel died, most often for want of memory; {look}") from error


@contextlib.contextmanager
def _own_kernel() -> Iterator[str]:
    """Offers Jupyter a private kernel of this very interpreter, whatever is installed, and yields its name.

    It imports this copy of the library, uses every core unless OMP_NUM_THREADS says otherwise, draws for the page,
    and reads nobody's IPython start-up files.
    """
    with tempfile.TemporaryDirectory(prefix="p2vlib-kernel-") as folder:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        spec = {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "--log-level=ERROR", "-f", "{connection_file}"],
            "display_name": "Python 3",
            "language": "python",
            "env": {
                "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(cores),
                "PYTHONPATH": _joined(str(LIBRARY.parent), os.environ.get("PYTHONPATH")),
                "IPYTHONDIR": folder,
                "MPLBACKEND": "module://matplotlib_inline.backend_inline",
                "PLOTLY_RENDERER": "plotly_mimetype",
                "P2VLIB_BATCH": "1",
            },
        }
        write_text(Path(folder) / "kernels" / "p2vlib-study" / "kernel.json", json.dumps(spec))
        before = os.environ.get("JUPYTER_PATH")
        os.environ["JUPYTER_PATH"] = _joined(folder, before)
        try:
            yield "p2vlib-study"
        finally:
            if before is None:
                del os.environ["JUPYTER_PATH"]
            else:
                os.environ["JUPYTER_PATH"] = before


def _joined(first: str, rest: str | None) -> str:
    return os.pathsep.join(filter(None, [first, rest]))


@contextlib.contextmanager
def _alone(scale: str) -> Iterator[None]:
    """Keeps a second study of the same scale out; the lock ends with the process, however it ends."""
    lock = home() / ".runs" / scale / "lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with open(lock, "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StudyError(f"another study of scale {scale} is running here; wait for it or end it") from None
        yield
