"""Numbers to set beside a run's own: published ones, and those of the committed quick run."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from p2vlib.evaluation import metrics_csv, summarise
from p2vlib.provenance import ROOT, home
from p2vtools.study.notebook_run import NotebookRun

PUBLISHED = ROOT / "data" / "published.csv"
"""The slides' and papers' numbers; they belong to the code, not to a run."""

TAXONOMY = PUBLISHED.with_name("taxonomy.json")


def published_results() -> pd.DataFrame:
    """The published numbers: the slides' tables and those of the papers they stand on.

    Columns: source, model, training, dataset, taxonomy (a name, or ``overall``), taxonomy_id (its synset), views and
    threshold (empty where the source does not say), metric (``iou``, ``f-score@1%``, ``samples``, ``forward ms``),
    value, mark (``R`` read in the source; ``U`` recalled, not read again).
    """
    table = pd.read_csv(PUBLISHED, dtype={"views": "Int64"})
    synsets = {entry["taxonomy_name"]: entry["taxonomy_id"] for entry in json.loads(TAXONOMY.read_text())}
    table.insert(5, "taxonomy_id", table["taxonomy"].map(synsets).fillna(table["taxonomy"]))
    return table


def committed_metrics(scale: str = "quick") -> pd.DataFrame | None:
    """The metrics of a finished run as they are kept in git, or None where there are none."""
    path = home() / "reports" / scale / "metrics.csv"
    return metrics_csv.read_metrics(path) if path.is_file() else None


def with_committed(summary: pd.DataFrame, run: NotebookRun, **chosen: Any) -> pd.DataFrame:
    """A smoke run's ``summary`` with the committed quick numbers beside its own; of any other run unchanged.

    Args:
        summary: as `p2vlib.evaluation.summarise` makes it: columns of the metrics, then ``iou``, ``low``, ``high``.
        run: whose notebook the committed rows have to come from.
        chosen: values (or lists of values) of columns of the metrics to which ``summary`` was narrowed down before.

    Returns:
        ``summary`` with the columns ``quick iou``, ``quick low`` and ``quick high`` added, empty where quick has none.
    """
    rows = committed_metrics() if run.is_smoke else None
    if rows is None:
        return summary
    for column, values in {"notebook": run.notebook, **chosen}.items():
        rows = rows[rows[column].isin(values if isinstance(values, list | tuple) else [values])]
    by = [column for column in summary if column in metrics_csv.METRICS and column != "iou"]
    quick = summarise(rows, by)[[*by, "iou", "low", "high"]]
    return summary.merge(quick.rename(columns={name: f"quick {name}" for name in ("iou", "low", "high")}), "left", by)
