"""Runs the benchmark: the command `p2v evaluate`.

Finished cases are kept in ``.runs/evaluate`` under a digest of the code and the weights, so an interrupted benchmark
continues, and one with changed code starts again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from p2vlib.files import read_json, write_text
from p2vlib.provenance import commit, home
from p2vtools.executor import run_jobs
from p2vtools.files import read_cached_json
from p2vtools.study.benchmark import captures, scans, summary
from p2vtools.study.seeds import design_digest
from p2vtools.synthesis.feet.legs import cache_legs

CASES = {"captures": 40, "scans": 200, "meshes": 40}
"""Number of people on mats, of scans, and of people whose clean meshes are measured."""

EVALUATORS: dict[str, Callable[[int], dict[str, pd.DataFrame]]] = {
    "captures": captures.evaluate_capture,
    "scans": scans.evaluate_scan,
    "meshes": scans.evaluate_meshes,
}


def run_benchmark(
    share: float, out: Path | None = None, workers: int | None = None, scheduler: str | None = None
) -> Path:
    """Runs a ``share`` of `CASES` and writes rows (CSV) and tables (``README.md``) to ``out``; returns ``out``.

    Args:
        workers, scheduler: as of `run_jobs`.

    Raises:
        ValueError: a share that is not above 0 and at most 1.
    """
    out, began, revision = out or summary.benchmark_folder(), time.perf_counter(), commit()
    results = _run_cases(share, tuple(CASES), workers, scheduler)
    for part in summary.PARTS:
        write_text(out / f"{part}.csv", _rows(results, part).to_csv(index=False, float_format="%.5g"))
    tables = summary.summary_tables(summary.read_rows(out))
    write_text(out / "README.md", _page(tables, revision, share, results, time.perf_counter() - began))
    return out


def evaluate_scans(share: float, scheduler: str | None) -> str:
    """The errors of a ``share`` of the scans of the benchmark, as Markdown."""
    results = _run_cases(share, ("scans",), None, scheduler)
    fits = _rows(results, "fits")
    lengths = summary.error_table(fits[fits.measure == "length"], ("measure",))
    tables = (lengths, scans.scan_table(_rows(results, "scans")).set_index("of"))
    return "\n\n".join(map(to_markdown, tables))


def _run_cases(share: float, parts: tuple[str, ...], workers: int | None, scheduler: str | None) -> list[dict]:
    """The results of a ``share`` of the cases of ``parts``, those of earlier runs included."""
    if not 0 < share <= 1:
        raise ValueError(
            f"share is {share}; expected above 0 and at most 1, of " + ", ".join(f"{n} {c}" for c, n in CASES.items())
        )
    cache = Path(".runs") / "evaluate" / design_digest([__name__])
    counts = {part: max(1, round(share * CASES[part])) for part in parts}
    jobs = [(cache / part / f"{case:03d}.json", part, case) for part, count in counts.items() for case in range(count)]
    if missing := [job for job in jobs if "rows" not in read_cached_json(home() / job[0])]:
        if not scheduler:
            cache_legs()
        run_jobs(_evaluate_case, missing, "cases", "case", workers, scheduler, lambda path, *_: [path])
    return [read_json(home() / path, "delete it, and run the command again") for path, _, _ in jobs]


def _rows(results: list[dict], part: str) -> pd.DataFrame:
    return pd.DataFrame([row for result in results for row in result["rows"].get(part, [])])


def _evaluate_case(path: Path, part: str, case: int) -> None:
    """Writes the rows of a case to ``path``, relative to `home`."""
    began = time.perf_counter()
    rows = {name: json.loads(table.to_json(orient="records")) for name, table in EVALUATORS[part](case).items()}
    seconds = round(time.perf_counter() - began, 2)
    write_text(home() / path, json.dumps({"part": part, "seconds": seconds, "rows": rows}))


def _page(
    tables: dict[str, pd.DataFrame | pd.Series], revision: str, share: float, results: list[dict], seconds: float
) -> str:
    """The tables as Markdown, below the commit at which the benchmark began, and its cost."""
    costs = pd.DataFrame(results).groupby("part").seconds.agg(["count", "sum"])
    costs = ", ".join(f"{row['count']:.0f} {part} {row['sum'] / 60:.1f} min" for part, row in costs.iterrows())
    lines = [
        "# From a phone to a shoe size, evaluated",
        "",
        f"`p2v evaluate` at {revision}, design {design_digest([__name__])}, {share:.0%} of its cases; minutes of one "
        f"core: {costs}.",
        f"This run took {seconds / 60:.1f} minutes without the cases that an earlier run had finished.",
    ]
    for title, table in tables.items():
        lines += ["", f"## {title}", "", to_markdown(table)]
    return "\n".join(lines) + "\n"


def to_markdown(table: pd.DataFrame | pd.Series) -> str:
    """A table with its index as Markdown."""
    flat = table.reset_index()
    cells = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in flat.to_numpy()]
    lines = [list(map(str, flat.columns)), ["---"] * flat.shape[1], *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
