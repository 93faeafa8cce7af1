"""Reading and writing ``metrics.csv``: the IoU of every test evaluation.

A file has one row per evaluation with a column of IoU per threshold, which takes a quarter of the bytes of the table in
memory, where each evaluation has one row per threshold.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from p2vlib.geometry.frames import THRESHOLDS
from p2vlib.models.network import OLD_NAMES

EVALUATION = (
    *("notebook", "model", "variant", "training", "dataset", "look", "cameras", "placement"),
    *("taxonomy", "subject", "sample", "views", "order"),
)
"""The columns that identify a test evaluation."""

METRICS = (*EVALUATION, "threshold", "selected", "iou")
"""The columns in memory; ``selected``: whether the threshold is the one chosen on validation data."""

IOU_COLUMNS = tuple(f"iou@{threshold}" for threshold in THRESHOLDS)

COLUMNS = (*EVALUATION, "selected", *IOU_COLUMNS)
"""The columns of a file; ``selected`` is the threshold chosen on validation data."""


def format_metrics(metrics: pd.DataFrame) -> str:
    """The text of a file with ``metrics``, a table with the columns `METRICS`.

    Raises:
        ValueError: a missing or unknown column, an empty cell, an unknown threshold, a duplicate evaluation, or an
            evaluation without exactly one selected threshold.
    """
    if set(metrics) != set(METRICS):
        raise ValueError(f"metrics have the columns {sorted(metrics)}; expected {sorted(METRICS)}")
    if metrics.isna().to_numpy().any() or (metrics.astype(str) == "").to_numpy().any():
        raise ValueError(f"an empty cell in {metrics.columns[metrics.isna().any()].tolist()} of the metrics")
    if unknown := sorted(set(metrics.threshold) - set(THRESHOLDS)):
        raise ValueError(f"metrics at a threshold of {unknown[0]}; expected {THRESHOLDS}")
    key = list(EVALUATION)
    if (duplicate := metrics.duplicated([*key, "threshold"])).any():
        raise ValueError(f"the metrics hold a test evaluation twice: {metrics[duplicate].iloc[0].to_dict()}")
    selected = metrics[metrics.selected].set_index(key).threshold
    wide = metrics.pivot(index=key, columns="threshold", values="iou").reindex(columns=THRESHOLDS)
    if not selected.index.is_unique or len(selected) != len(wide):
        raise ValueError(
            f"{len(wide)} test evaluations with {len(selected)} selected thresholds; expected one for each"
        )
    wide = wide.loc[selected.index].set_axis(IOU_COLUMNS, axis=1)
    wide.insert(0, "selected", selected)
    return wide.reset_index().to_csv(index=False, float_format="%.6g")


def read_metrics(path: Path) -> pd.DataFrame:
    """The metrics of a file, with the columns `METRICS`.

    Text is not converted (``none``, ``02691156``); former names of networks are replaced by the present ones.

    Raises:
        ValueError: as `parse_metrics`, or a value of the wrong type.
    """
    text = parse_metrics(path)
    try:
        wide = text.assign(
            **{name: pd.to_numeric(text[name]) for name in ("selected", *IOU_COLUMNS)}, views=text.views.astype(int)
        )
    except ValueError as error:
        raise ValueError(f"{path}: not a number where views, selected and IoU need one ({error})") from None
    if unknown := sorted(set(wide.selected) - set(THRESHOLDS)):
        raise ValueError(f"{path}: column selected holds {unknown[0]}; expected one of {THRESHOLDS}")
    long = wide.loc[wide.index.repeat(len(IOU_COLUMNS)), list(EVALUATION)].reset_index(drop=True)
    threshold = np.tile(THRESHOLDS, len(wide))
    selected = threshold == wide.selected.to_numpy().repeat(len(IOU_COLUMNS))
    long = long.assign(threshold=threshold, selected=selected, iou=wide[list(IOU_COLUMNS)].to_numpy(float).ravel())
    long["model"] = long.model.replace(OLD_NAMES)
    return long.dropna(ignore_index=True)


def parse_metrics(path: Path) -> pd.DataFrame:
    """The rows of a file as text, after checking columns and cells; only cells of IoU may be empty.

    Raises:
        ValueError: other columns than `COLUMNS`, or an empty cell.
    """
    text = pd.read_csv(path, dtype=str, keep_default_na=False)
    if list(text) != list(COLUMNS):
        wrong = [name for name in [*COLUMNS, *text] if (name in COLUMNS) != (name in text)]
        raise ValueError(f"{path}: column {', '.join(wrong) or 'order'} is not as expected: {', '.join(COLUMNS)}")
    empty = text[[*EVALUATION, "selected"]] == ""
    if empty.to_numpy().any():
        column = empty.columns[empty.any()][0]
        raise ValueError(f"{path}: column {column} is empty in row {int(empty[column].idxmax()) + 1}; expected a value")
    return text
