"""A comparison as tables in characters."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

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
    changed = [f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]" for row in rows.itertuples()]
    return pd.DataFrame(
        {
            "notebook": rows.notebook.str[:2],
            "network": rows.model + rows.variant.map(lambda variant: "" if variant == "main" else f", {variant}"),
            "trained on": rows.training,
            "tested on": rows.dataset.where(rows.dataset == rows.look, rows.dataset + ", " + rows.look),
            "photos": rows.photos,
            "verdict": rows.verdict,
            "difference": pd.Series(changed, rows.index).where(rows.verdict != "same", "0"),
            "before": rows.one.map("{:.3f}".format),
            "after": rows.other.map("{:.3f}".format),
            "subjects": rows.subjects.astype(str),
        }
    )


def aligned(cells: pd.DataFrame) -> str:
    """A table in characters, its columns of words and of numbers on the left."""
    shown = cells.map(lambda cell: cell if len(cell) <= WIDEST else cell[: WIDEST - 1] + "…")
    rows = [list(map(str, shown.columns)), *shown.itertuples(index=False, name=None)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def text(first: str, name: str, rows: pd.DataFrame, reasons: Sequence[str]) -> str:
    """One run against the first: how many of each verdict, what is not compared and why, and what stands out."""
    lines = [f"{name} against {first}: {verdicts(rows)}", *(f"  not compared: {reason}" for reason in reasons)]
    if len(rows):
        lines.append(aligned(readable(ordered(rows).head(SHOWN))))
    if len(rows) > SHOWN:
        lines.append(f"and {len(rows) - SHOWN} more; --out FILE writes all of them")
    return "\n".join(lines)
