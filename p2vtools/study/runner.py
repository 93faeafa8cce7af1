"""The study: the numbered notebooks in order, through papermill, strictly, doing only what is missing or stale.

A notebook ``NN_name`` that ended well leaves ``reports/<scale>/executed/NN_name.ipynb``, the offline page
``html/NN_name.html``, its part of the metrics and, last of all, a stamp in ``.runs/<scale>/stamps``. The stamp holds a
digest of everything the notebook depends on, the stamps of all earlier notebooks among it. Killed anywhere, a study
goes on where it stopped. A run of a grid (`sweep`) does the same below a name of its own in the place of <scale>.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import nbformat

from p2vlib.config import from_params
from p2vlib.files import file_lock, write_text
from p2vlib.provenance import ROOT, code_digest, home, imported_modules
from p2vtools.study import report
from p2vtools.study.cost import estimate_cost
from p2vtools.study.execution import StudyError, Watch, execute
from p2vtools.study.parameters import PATHS, parameters_by_notebook
from p2vtools.study.report.executed import write_page


def run_study(scale: str, only: Iterable[str] | None = None, parameters: dict[str, Any] | None = None) -> None:
    """Runs the notebooks of a scale, then writes ``study.json`` (minutes, peak memory) and builds the report.

    Raises:
        ValueError: an unknown scale, notebook number or parameter.
        StudyError: a notebook failed, or another study of this scale is running.
    """
    run_notebooks(scale, only, parameters)
    print(f"report: {build_report(scale, scale)}", flush=True)


def build_report(scale: str, run: str, parameters: Mapping[str, Any] = MappingProxyType({})) -> Path:
    """Writes ``study.json`` and the page of ``run``, a folder below ``reports``; returns the page.

    ``parameters``: what it was told, where it is one of a grid.
    """
    write_text(home() / "reports" / run / "study.json", json.dumps(study_costs(scale, run), indent=2))
    return report.build(scale, run, parameters)


def run_notebooks(
    scale: str,
    only: Iterable[str] | None = None,
    parameters: dict[str, Any] | None = None,
    run: str | None = None,
    watch: Watch | None = None,
) -> dict[str, str]:
    """Runs the notebooks whose numbers are in ``only`` (default: all); returns what was done to each, by name.

    Args:
        parameters: name -> value for all notebooks that have it, or ``05.name`` -> value for one.
        run: the folder below ``reports`` and ``.runs`` that it writes to; None: the scale's.

    Raises:
        ValueError, StudyError: as `run_study`.
    """
    config, run = from_params(scale), run or scale
    if scale == "full":
        print(estimate_cost(config), flush=True)
    given, done = parameters_by_notebook(chosen(only), scale, parameters or {}), {}
    with _alone(run):
        for path, values in given.items():
            digest = _digest(path, values, scale, run)
            if _is_current(run, path, digest):
                done[path.stem] = "up to date"
                print(f"{path.stem} · up to date", flush=True)
                continue
            print(f"{path.stem} · start", flush=True)
            minutes = _run(path, values, run, digest, watch)
            done[path.stem] = "done"
            print(f"{path.stem} · done in {minutes:.1f} min", flush=True)
    return done


def build_data(scale: str) -> None:
    """Makes the embedded data of a scale, or finds them whole; the longest such call is kept as what they cost."""
    from p2vtools.synthesis import collection  # heavy, and nothing that a run of notebooks needs

    config = from_params(scale)
    if scale == "full":
        print(estimate_cost(config), flush=True)
    started = time.perf_counter()
    collection.ensure_collection(config)
    collection.build_collection(config)
    minutes = round((time.perf_counter() - started) / 60, 2)
    record = _stamps(scale) / "data.json"
    if not record.exists() or json.loads(record.read_text())["minutes"] < minutes:
        write_text(record, json.dumps({"minutes": minutes}))


def study_costs(scale: str, run: str | None = None) -> dict[str, Any]:
    """Wall minutes of the data and of each notebook as last run, their sum, and the largest peak memory, GiB.

    What was run elsewhere, and came here with git, keeps the minutes that it has in ``study.json``.
    """
    names, run = [path.stem for path in notebooks()], run or scale
    stamps = {name: _stamps(run) / f"{name}.json" for name in ["data", *names]}
    kept = home() / "reports" / run / "study.json"
    before = json.loads(kept.read_text())["minutes_of"] if kept.is_file() else {}
    here = {name: json.loads(stamp.read_text())["minutes"] for name, stamp in stamps.items() if stamp.exists()}
    minutes = {name: told for name in stamps if (told := here.get(name, before.get(name))) is not None}
    manifests = [home() / "reports" / run / "parts" / f"{name}.json" for name in names]
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


def chosen(only: Iterable[str] | None) -> list[Path]:
    """The notebooks whose numbers are in ``only``, or all.

    Raises:
        ValueError: there is none of that number.
    """
    every = {path.name[:2]: path for path in notebooks()}
    wanted = set(every) if only is None else {str(number).zfill(2) for number in only}
    if unknown := sorted(wanted - set(every)):
        raise ValueError(f"no notebook has the number {', '.join(unknown)}; there are {', '.join(every)}")
    return [path for number, path in every.items() if number in wanted]


def _stamps(run: str) -> Path:
    return home() / ".runs" / run / "stamps"


def _outputs(run: str, path: Path) -> list[Path]:
    """All that a notebook of this number left in the report's folder, under this name or an earlier one."""
    return sorted((home() / "reports" / run).glob(f"*/{path.name[:2]}[-._]*"))


def _digest(path: Path, values: dict[str, Any], scale: str, run: str) -> str:
    """SHA-256 over the notebook's cells (not its outputs), its parameters, the config, the code and earlier stamps.

    A notebook that asks for the shipped weights also depends on their card. Notebook 00 shows what comes with the
    project: it leaves nothing that others read.
    """
    from p2vtools.fit import pretrained  # brings all that trains

    cells = [[c.cell_type, c.source, c.metadata.get("tags", [])] for c in nbformat.read(path, as_version=4).cells]
    earlier = [_stamps(run) / f"{other.stem}.json" for other in notebooks() if "01" <= other.name < path.name]
    card = pretrained.pretrained_path().with_suffix(".json")
    asks = card.exists() and any("shipped." in source for _, source, _ in cells)
    told = {
        "name": path.stem,
        "cells": cells,
        "parameters": sorted(values.items()),
        "files": [_mark(Path(values[name])) for name in PATHS if values.get(name)],
        "config": from_params(scale).to_json(),
        "python": sys.version_info[:2],
        "code": code_digest(imported_modules("\n".join(_code_of(cells)))),
        "requirements": [f.read_text() for f in ROOT.glob("requirements.txt")],
        "weights": card.read_text() if asks else "",
        "earlier": [json.loads(stamp.read_text())["digest"] if stamp.exists() else None for stamp in earlier],
    }
    return hashlib.sha256(json.dumps(told, default=repr).encode()).hexdigest()


def _code_of(cells: list) -> list[str]:
    """The code cells, without the lines that only IPython understands."""
    code = [source for kind, source, _ in cells if kind == "code"]
    return ["\n".join(line for line in source.splitlines() if not line.startswith(("%", "!"))) for source in code]


def _mark(path: Path) -> list[int]:
    """What changes with a file or with the entries of a folder; nothing for one that is not there."""
    return [path.stat().st_size, path.stat().st_mtime_ns] if path.exists() else []


def _is_current(run: str, path: Path, digest: str) -> bool:
    stamp = _stamps(run) / f"{path.stem}.json"
    if not stamp.exists():
        return False
    told = json.loads(stamp.read_text())
    return told["digest"] == digest and all((home() / "reports" / run / name).exists() for name in told["outputs"])


def _run(path: Path, values: dict[str, Any], run: str, digest: str, watch: Watch | None) -> float:
    """Runs one notebook from a clean slate and stamps it; returns its wall minutes."""
    name, reports = path.stem, home() / "reports" / run
    partial = reports / "executed" / f"{name}.partial.ipynb"
    started = time.perf_counter()
    with _in_place_of_the_last(path, run, partial):
        partial.parent.mkdir(parents=True, exist_ok=True)
        execute(path, partial, values, run, watch)
        if not (manifest := reports / "parts" / f"{name}.json").exists():
            raise StudyError(
                f"{path.name} ended without {manifest}: it must begin({name!r}, ...) and end with run.answer(...)"
            )
        write_page(reports, partial, name)
        partial.replace(reports / "executed" / f"{name}.ipynb")
    minutes = (time.perf_counter() - started) / 60
    outputs = [str(file.relative_to(reports)) for file in _outputs(run, path)]
    stamp = {"digest": digest, "minutes": round(minutes, 2), "outputs": outputs}
    write_text(_stamps(run) / f"{name}.json", json.dumps(stamp, indent=2))
    return minutes


@contextlib.contextmanager
def _in_place_of_the_last(path: Path, run: str, partial: Path) -> Iterator[None]:
    """Sets aside what a notebook left before, its stamp too, and brings it back unless the block ends well.

    Of a failed run only ``partial`` stays, for a look at its error.
    """
    aside = home() / ".runs" / run / "aside" / path.stem
    _bring_back(aside)  # the study that set it aside was killed
    for file in [*_outputs(run, path), _stamps(run) / f"{path.stem}.json"]:
        if file.is_file():
            kept = aside / file.relative_to(home())
            kept.parent.mkdir(parents=True, exist_ok=True)
            file.replace(kept)
    try:
        yield
    except BaseException:
        for file in _outputs(run, path):
            if file != partial:
                file.unlink()
        _bring_back(aside)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _bring_back(aside: Path) -> None:
    for kept in [file for file in aside.rglob("*") if file.is_file()]:
        target = home() / kept.relative_to(aside)
        target.parent.mkdir(parents=True, exist_ok=True)
        kept.replace(target)
    shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def _alone(run: str) -> Iterator[None]:
    """Keeps a second study of the same name out; the lock ends with the process, however it ends."""
    try:
        with file_lock(home() / ".runs" / run / "lock"):
            yield
    except BlockingIOError:
        raise StudyError(f"another study of scale {run} is running here; wait for it or end it") from None
