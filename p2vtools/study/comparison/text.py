"""A comparison as tables in characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from p2vtools.study.comparison.changes import FEWEST

SHOWN, WIDEST = 20, 48
"""Most rows of a table in the terminal, and most characters of its cells."""


def verdicts(rows: pd.DataFrame) -> str:
    """How many of each."""
    counts = rows.verdict.value_counts()
    words = {"better": "better", "worse": "worse", "open": "open", "same": "the same"}
    return ", ".join(f"{counts.get(verdict, 0)} {word}" for verdict, word in words.items())


def ordered(rows: pd.DataFrame) -> pd.DataFrame:
    """Those that stand out first, each kind from the largest difference to the smallest."""
    weight = rows.verdict.map({"better": 0, "worse": 0, "open": 1, "same": 2})
    keyed = rows.assign(weight=weight, size=-rows.difference.abs())
    return keyed.sort_values(["weight", "size"], kind="stable").drop(columns=["weight", "size"])


def readable(rows: pd.DataFrame) -> pd.DataFrame:
    """`changes` as cells, in the same order."""
    few = (rows.verdict == "open") & (rows.subjects < FEWEST)
    return pd.DataFrame(
        {
            "notebook, network": rows.notebook.str[:2] + " " + rows.model + rows.variant.map(_unless_main),
            "verdict": rows.verdict.where(~few, "open, few"),
            "difference": [_change(row) for row in rows.itertuples()],
            "mean IoU": rows.one.map("{:.3f}".format) + rows.other.map(" → {:.3f}".format),
            "trained → tested on": rows.training + " → " + rows.look + " " + rows.dataset,
            "photos": rows.photos,
            "subjects": rows.subjects.astype(str),
        }
    )


def _unless_main(variant: str) -> str:
    return "" if variant == "main" else f", {variant}"


def _change(row: Any) -> str:
    """A difference with its interval, to three decimals, or as many more, up to five, as keep it from reading zero."""
    told = [value for value in (row.difference, row.low, row.high) if value]
    places = next((places for places in (3, 4) if all(round(value, places) for value in told)), 5)
    change, low, high = (f"{value:+.{places}f}" for value in (row.difference, row.low, row.high))
    return f"{change} [{low}, {high}]" if told else "0"


def aligned(cells: pd.DataFrame) -> str:
    """A table in characters, its columns of words and of numbers on the left."""
    shown = cells.map(lambda cell: cell if len(cell) <= WIDEST else cell[: WIDEST - 1] + "…")
    rows = [list(map(str, shown.columns)), *shown.itertuples(index=False, name=None)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def text(first: str, name: str, rows: pd.DataFrame, reasons: Sequence[str]) -> str:
    """One run against the first: how many of each verdict, what is not compared and why, and what stands out."""
    lines = [f"{name} against {first}: {verdicts(rows)}", *(f"  not compared: {reason}" for reason in reasons)]
    if (rows.verdict == "open").any():
        lines.append(f"  open: the interval holds zero, or is of fewer than {FEWEST} people or objects (few)")
    if len(rows):
        lines.append(aligned(readable(ordered(rows).head(SHOWN))))
    if len(rows) > SHOWN:
        lines.append(f"and {len(rows) - SHOWN} more; --out FILE writes all of them")
    return "\n".join(lines)
