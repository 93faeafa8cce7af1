"""The evaluation of all that leads from a phone to a shoe size: `python -m p2vtools evaluate`, or `make evaluate`.

A case that is done is kept in ``.runs/evaluate`` under a digest of the library and the weights, so an evaluation that
was stopped goes on, and one of changed code begins anew.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from p2vlib.files import write_text
from p2vlib.provenance import code_digest, commit, home
from p2vtools.executor import run_jobs
from p2vtools.fit import pretrained
from p2vtools.study.benchmark import captures, meshes, scans, summary
from p2vtools.synthesis.feet.legs import cache_legs

CASES = {"captures": 40, "scans": 200, "meshes": 40}
"""People on mats, scans cleaned, and clean meshes measured, by a whole evaluation."""

EVALUATORS: dict[str, Callable[[int], dict[str, pd.DataFrame]]] = {
    "captures": captures.evaluate_capture,
    "scans": scans.evaluate_scan,
    "meshes": meshes.evaluate_meshes,
}


def run_benchmark(share: float = 1.0, out: Path | None = None, workers: int | None = None) -> Path:
    """Runs every case of a ``share`` of `CASES`, and writes rows (CSV), tables and what they cost to ``out``.

    Raises:
        ValueError: a share that is not above 0 and at most 1.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share is {share}; expected above 0 and at most 1, of {CASES}")
    out, began = out or summary.benchmark_folder(), time.perf_counter()
    wanted = [(part, case) for part, cases in CASES.items() for case in range(max(1, round(share * cases)))]
    kept = home() / ".runs" / "evaluate" / _digest()
    missing = [job for job in wanted if not _place(kept, *job).is_file()]
    if missing:
        cache_legs()
        run_jobs(_keep, [(kept, *job) for job in missing], "cases", "case", workers)
    found = [json.loads(_place(kept, *job).read_text()) for job in wanted]
    for part in summary.PARTS:
        table = pd.DataFrame([row for one in found for row in one["rows"].get(part, [])])
        write_text(out / f"{part}.csv", table.to_csv(index=False, float_format="%.5g"))
    told = summary.summary_tables(summary.read_rows(out))
    write_text(out / "README.md", _page(told, share, found, time.perf_counter() - began))
    return out


def _digest() -> str:
    told = [code_digest([__name__]), pretrained.pretrained_path().with_suffix(".json").read_text()]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


def _place(kept: Path, part: str, case: int) -> Path:
    return kept / part / f"{case:03d}.json"


def _keep(kept: Path, part: str, case: int) -> None:
    began = time.perf_counter()
    rows = {name: json.loads(table.to_json(orient="records")) for name, table in EVALUATORS[part](case).items()}
    seconds = round(time.perf_counter() - began, 2)
    write_text(_place(kept, part, case), json.dumps({"part": part, "seconds": seconds, "rows": rows}))


def _page(told: dict[str, pd.DataFrame], share: float, found: list[dict], seconds: float) -> str:
    """The tables as Markdown, with what they were made from."""
    costs = pd.DataFrame(found).groupby("part").seconds.agg(["count", "sum"])
    spent = ", ".join(f"{row['count']:.0f} {part} {row['sum'] / 60:.1f} min" for part, row in costs.iterrows())
    lines = [
        "# From a phone to a shoe size, evaluated",
        "",
        f"`python -m p2vtools evaluate` at {commit()}, {share:.0%} of its cases; of one core each: {spent}.",
        f"This run itself took {seconds / 60:.1f} minutes; cases that an earlier one had done were not done again.",
    ]
    for title, table in told.items():
        lines += ["", f"## {title}", "", _markdown(table)]
    return "\n".join(lines) + "\n"


def _markdown(table: pd.DataFrame) -> str:
    flat = table.reset_index()
    cells = [[f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in row] for row in flat.to_numpy()]
    lines = [list(map(str, flat.columns)), ["---"] * flat.shape[1], *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
