"""A comparison as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import pandas as pd

from p2vtools.study.comparison.changes import FEWEST
from p2vtools.study.comparison.results import Result
from p2vtools.study.comparison.text import SHOWN, ordered, readable, verdicts
from p2vtools.study.report.markup import Navigation, banner, page, smoke_banner, table

ROW, PLOT, LABEL = 22, 340, 560
"""Pixels of the picture: height of a row, width of what is drawn, and of what is written beside it."""


def side_by_side(
    first: Result,
    others: Sequence[Result],
    differing: pd.DataFrame,
    found: dict[str, pd.DataFrame],
    reasons: dict[str, list[str]],
) -> str:
    """The page: how many tests changed, what the runs differ in, then every run against the first."""
    kinds = ("better", "worse", "open", "same")
    counts = [
        {"run": name, **{word: str((rows.verdict == word).sum()) for word in kinds}, "tests": str(len(rows))}
        for name, rows in found.items()
    ]
    note = (
        f"The first run, {first.name}, is what the others are compared with: IoU on the same samples, each run at the "
        "thresholds that its validation chose; 95 % intervals over people, or objects. Better and worse are those "
        f"whose interval holds no zero; the others are open, as are all with fewer than {FEWEST} people (few). Of a "
        "hundred tests between equals about five look better or worse by chance. A row is the mean over the numbers of "
        "photos and orders that both runs have; 4\u00a0→\u00a08 compares one number of photos with the other."
    )
    caption = "Tests in both runs, and how many got better or worse, are open or the same"
    warning = smoke_banner("smoke" if any(run.is_smoke for run in (first, *others)) else "")
    names = ", ".join(found) if len(found) < 4 else f"{len(found)} runs"
    title = f"Runs side by side: {first.name} and {names}"
    parts = [f"<h1>{escape(title)}</h1>", warning, f"<p>{escape(note)}</p>", table(pd.DataFrame(counts), caption)]
    caption = "What differs between the runs; a setting that is not here is the same in all"
    parts.append(f"<section><h2>What differs</h2>\n{table(differing, caption)}</section>")
    parts += [_section(first.name, name, rows, reasons[name]) for name, rows in found.items()]
    return page(title, Navigation(None, None, None).bar(), "\n".join(filter(None, parts)))


def _section(first: str, name: str, rows: pd.DataFrame, reasons: Sequence[str]) -> str:
    warned = "".join(banner(f"Not compared: {reason}.") for reason in reasons)
    body = ""
    if len(rows):
        drawn = rows[rows.verdict != "same"]
        body = f"<p>{verdicts(rows)}.</p>\n{_forest(drawn) if len(drawn) else ''}\n"
        caption = f"IoU in {first} → in {name}; those that stand out first"
        body += table(readable(ordered(rows)), caption)
    return f"<section><h2>{escape(name)} against {escape(first)}</h2>{warned}\n{body}</section>"


def _forest(rows: pd.DataFrame) -> str:
    """Differences with their intervals as a picture in the page's own colours; the table has the same in numbers."""
    rows = ordered(rows).head(SHOWN).sort_values("difference", ascending=False, kind="stable")
    reach = 1.1 * float(rows[["low", "high", "difference"]].abs().to_numpy().max()) or 1.0
    bottom = ROW * (len(rows) + 1)
    cells = readable(rows).rename(columns={"notebook, network": "network"})
    marks = zip(rows.itertuples(), cells.itertuples(), strict=True)
    parts = [_mark(number, row, cells, reach) for number, (row, cells) in enumerate(marks)]
    worst, zero, best = (f"{_x(value, reach):.0f}" for value in (-reach, 0, reach))
    axis = [
        f'<line x1="{zero}" x2="{zero}" y1="6" y2="{bottom - 8}" stroke="var(--line, currentColor)"/>',
        f'<text x="{worst}" y="{bottom + 8}">worse, −{reach:.3f}</text>',
        f'<text x="{zero}" y="{bottom + 8}" text-anchor="middle">0</text>',
        f'<text x="{best}" y="{bottom + 8}" text-anchor="end">+{reach:.3f} IoU, better</text>',
    ]
    label = f"Differences in IoU with 95 % intervals; the {len(rows)} that stand out most"
    return (
        f'<div class="scroll" role="region" aria-label="{label}" tabindex="0"><svg role="img" aria-label="{label}" '
        f'viewBox="0 0 {PLOT + LABEL} {bottom + 16}" width="{PLOT + LABEL}" height="{bottom + 16}" '
        f'font-size="13" fill="currentColor">{"".join(axis + parts)}</svg></div>'
    )


def _mark(number: int, row: Any, cells: Any, reach: float) -> str:
    colour = {"better": "--accent", "worse": "--warn"}.get(row.verdict, "--soft")
    y, (low, high, middle) = ROW * (number + 0.8), (_x(value, reach) for value in (row.low, row.high, row.difference))
    label = f"{cells.network} on {row.look} {row.dataset}, {cells.photos} photos"
    return (
        f'<text x="{PLOT + 16}" y="{y + 4:.0f}">{escape(label)}</text>'
        f'<g style="color: var({colour}, currentColor)" stroke="currentColor" fill="currentColor">'
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{y:.0f}" y2="{y:.0f}" stroke-width="2.5"/>'
        f'<circle cx="{middle:.1f}" cy="{y:.0f}" r="4.5"/></g>'
    )


def _x(difference: float, reach: float) -> float:
    return PLOT * (difference / reach + 1) / 2
