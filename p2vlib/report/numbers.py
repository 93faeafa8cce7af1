"""Numbers to set beside a run's own: published ones, and those of the committed quick run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd

from ..evaluation import summarise
from ..runs import METRICS, Run, home

PUBLISHED = Path(__file__).resolve().parents[2] / "data" / "published.csv"
"""The slides' and papers' numbers; they belong to the code, not to a run."""

TAXONOMY = PUBLISHED.with_name("taxonomy.json")

_TYPES = {"views": int, "threshold": float, "iou": float}


def published() -> pd.DataFrame:
    """The published numbers: the slides' tables and those of the papers they stand on.

    Columns: source, model, training, dataset, taxonomy (a name, or ``overall``), taxonomy_id (its synset), views and
    threshold (empty where the source does not say), metric (``iou``, ``f-score@1%``, ``samples``, ``forward ms``),
    value, mark (``R`` read in the source; ``U`` recalled, not read again).
    """
    table = pd.read_csv(PUBLISHED, dtype={"views": "Int64"})
    synsets = {entry["taxonomy_name"]: entry["taxonomy_id"] for entry in json.loads(TAXONOMY.read_text())}
    table.insert(5, "taxonomy_id", table["taxonomy"].map(synsets).fillna(table["taxonomy"]))
    return table


def read_metrics(path: Path) -> pd.DataFrame:
    """A file of metrics with its types: integers, floats, booleans, and text that stays text (``none``, ``02691156``).

    Raises:
        ValueError: other columns than `p2vlib.runs.METRICS`, an empty cell, or a value of the wrong type.
    """
    text = read_text(path)
    try:
        typed = text.astype(_TYPES)
    except ValueError as error:
        raise ValueError(f"{path}: not a number where {', '.join(_TYPES)} need one ({error})") from None
    if wrong := sorted(set(text["selected"]) - {"True", "False"}):
        raise ValueError(f"{path}: column selected holds {wrong[0]!r}; expected True or False")
    return typed.assign(selected=text["selected"] == "True")


def read_text(path: Path) -> pd.DataFrame:
    """Metrics as the text that stands in the file, columns and cells checked."""
    text = pd.read_csv(path, dtype=str, keep_default_na=False)
    if list(text) != list(METRICS):
        odd = [name for name in [*METRICS, *text] if (name in METRICS) != (name in text)]
        raise ValueError(f"{path}: column {', '.join(odd) or 'order'} is not as expected: {', '.join(METRICS)}")
    empty = text == ""
    if empty.to_numpy().any():
        column = empty.columns[empty.any()][0]
        raise ValueError(f"{path}: column {column} is empty in row {int(empty[column].idxmax()) + 1}; expected a value")
    return text


def committed(scale: str = "quick") -> pd.DataFrame | None:
    """The metrics of a finished run as they are kept in git, or None where there are none."""
    path = home() / "reports" / scale / "metrics.csv"
    return read_metrics(path) if path.is_file() else None


def beside_committed(summary: pd.DataFrame, run: Run, **chosen: Any) -> pd.DataFrame:
    """A smoke run's ``summary`` with the committed quick numbers beside its own; of any other run unchanged.

    Args:
        summary: as `p2vlib.evaluation.summarise` makes it: columns of the metrics, then ``iou``, ``low``, ``high``.
        run: whose notebook the committed rows have to come from.
        chosen: values (or lists of values) of columns of the metrics to which ``summary`` was narrowed down before.

    Returns:
        ``summary`` with the columns ``quick iou``, ``quick low`` and ``quick high`` added, empty where quick has none.
    """
    metrics = committed() if run.is_smoke else None
    if metrics is None:
        return summary
    for column, values in {"notebook": run.notebook, **chosen}.items():
        metrics = metrics[metrics[column].isin(values if isinstance(values, list | tuple) else [values])]
    by = [column for column in summary if column in METRICS and column != "iou"]
    quick = summarise(metrics, by)[[*by, "iou", "low", "high"]]
    return summary.merge(quick.rename(columns={name: f"quick {name}" for name in ("iou", "low", "high")}), "left", by)
