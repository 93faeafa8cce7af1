"""Reference numbers: the published ones, and those of the committed quick run."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from p2vlib.provenance import ROOT, home
from p2vtools.study import metrics_csv
from p2vtools.study.intervals import split_seeds, summarise
from p2vtools.study.notebook_run import NotebookRun

PUBLISHED = ROOT / "data" / "published.csv"
"""Numbers of the slides and papers; they belong to the code, not to a run."""

TAXONOMY = PUBLISHED.with_name("taxonomy.json")


def published_results(**selection: str) -> pd.DataFrame:
    """The published numbers: tables of the slides and of the papers behind them, or those with values of columns.

    Columns: source, model, training, dataset, taxonomy (a name, or ``overall``), taxonomy_id (its synset), views and
    threshold (empty where the source does not state them), metric (``iou``, ``f-score@1%``, ``samples``,
    ``forward ms``), value, mark (``R`` read in the source; ``U`` from memory, not verified).
    """
    table = pd.read_csv(PUBLISHED, dtype={"views": "Int64"})
    synsets = {entry["taxonomy_name"]: entry["taxonomy_id"] for entry in json.loads(TAXONOMY.read_text("utf-8"))}
    table.insert(5, "taxonomy_id", table["taxonomy"].map(synsets).fillna(table["taxonomy"]))
    for column, value in selection.items():
        table = table[table[column] == value]
    return table


def committed_metrics(scale: str = "quick") -> pd.DataFrame | None:
    """The metrics of a finished run as committed to git, or None."""
    path = home() / "reports" / scale / "metrics.csv"
    return metrics_csv.read_metrics(path) if path.is_file() else None


def with_committed(summary: pd.DataFrame, run: NotebookRun, **selection: Any) -> pd.DataFrame:
    """Adds the committed quick numbers to the ``summary`` of a smoke run; returns that of any other run unchanged.

    Args:
        summary: as `intervals.summarise` returns it: columns of the metrics, then ``iou``, ``low``, ``high``.
        run: the committed rows are those of its notebook.
        selection: values, or lists of values, of columns of the metrics that ``summary`` was restricted to.

    Returns:
        ``summary`` with the columns ``quick iou``, ``quick low`` and ``quick high``, empty where quick has no row.
    """
    rows = committed_metrics() if run.is_smoke else None
    if rows is None:
        return summary
    for column, values in {"notebook": run.notebook, **selection}.items():
        rows = rows[rows[column].isin(values if isinstance(values, list | tuple) else [values])]
    by = [column for column in summary if column in metrics_csv.METRICS and column != "iou"]
    quick = summarise(split_seeds(rows), by)[[*by, "iou", "low", "high"]]
    return summary.merge(quick.rename(columns={name: f"quick {name}" for name in ("iou", "low", "high")}), "left", by)


def published_tables() -> dict[str, pd.DataFrame]:
    """The published numbers as wide tables, by caption."""
    numbers = published_results()
    numbers["value"] = numbers["value"].map(lambda value: f"{value:.4g}")
    slides = numbers[numbers["source"] == "slides 2021"]
    thresholds = _wide(slides[slides["threshold"].notna()], ["taxonomy", "model"], "threshold")
    thresholds.columns = [name if isinstance(name, str) else f"t={name:.2f}" for name in thresholds]
    counts = slides[slides["metric"] == "samples"].set_index("taxonomy")["value"]
    baseline = slides[slides["model"] == "3D-R2N2"].set_index("taxonomy")["value"]
    thresholds.insert(2, "samples", thresholds["taxonomy"].map(counts).fillna(""))
    thresholds.insert(3, "baseline (3D-R2N2)", thresholds["taxonomy"].map(baseline).fillna(""))
    views = numbers[(numbers["source"] == "papers, by views") & (numbers["metric"] == "iou")]
    pix3d = slides[slides["dataset"] == "pix3d"].assign(training=lambda rows: "trained on " + rows["training"])
    single = numbers[numbers["source"] == "papers, single view"]
    return {
        "The slides: Pix2Vox-A on ShapeNet and on 20 feet, and Pix2Vox-LSTM; IoU at four thresholds": thresholds,
        "Published IoU on ShapeNet at 32³ by number of views": _wide(views, ["model"], "views"),
        "Published IoU from a single view, by category (PSGN: not verified)": _wide(single, ["taxonomy"], "model"),
        "The slides' test on real photographs of chairs (Pix3D): IoU": _wide(pix3d, ["model"], "training"),
    }


def _wide(rows: pd.DataFrame, index: list[str], column: str) -> pd.DataFrame:
    """``value`` with one column per value of ``column``; rows keep their order."""
    keys = rows[index].drop_duplicates()
    wide = rows.pivot(index=index, columns=column, values="value").fillna("").reset_index()
    wide.columns.name = None
    return keys.merge(wide, "left", index)
