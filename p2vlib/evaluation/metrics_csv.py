"""Test evaluations: in memory a row for each and each threshold, in a file one row for each with its IoU at all four.

The file (``metrics.csv``) is what people open and what git keeps; in this form it has a quarter of the bytes.
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
"""What one test evaluation is known by."""

METRICS = (*EVALUATION, "threshold", "selected", "iou")
"""The columns in memory; ``selected``: whether it is the threshold that validation chose."""

AT = tuple(f"iou@{threshold}" for threshold in THRESHOLDS)

COLUMNS = (*EVALUATION, "selected", *AT)
"""The columns of a file; ``selected`` is the threshold that validation chose."""


def format_metrics(metrics: pd.DataFrame) -> str:
    """Metrics with the columns `METRICS` as the text of a file.

    Raises:
        ValueError: a missing or unknown column, an empty cell, an unknown threshold, an evaluation that stands twice
            or whose threshold was not selected once.
    """
    if set(metrics) != set(METRICS):
        raise ValueError(f"metrics have the columns {sorted(metrics)}; expected {sorted(METRICS)}")
    if metrics.isna().to_numpy().any() or (metrics.astype(str) == "").to_numpy().any():
        raise ValueError(f"an empty cell in {metrics.columns[metrics.isna().any()].tolist()} of the metrics")
    if odd := sorted(set(metrics.threshold) - set(THRESHOLDS)):
        raise ValueError(f"metrics at a threshold of {odd[0]}; expected {THRESHOLDS}")
    key = list(EVALUATION)
    if (twice := metrics.duplicated([*key, "threshold"])).any():
        raise ValueError(f"the metrics hold a test evaluation twice: {metrics[twice].iloc[0].to_dict()}")
    chosen = metrics[metrics.selected].set_index(key).threshold
    wide = metrics.pivot(index=key, columns="threshold", values="iou").reindex(columns=THRESHOLDS)
    if not chosen.index.is_unique or len(chosen) != len(wide):
        raise ValueError(f"{len(wide)} test evaluations with {len(chosen)} selected thresholds; expected one for each")
    wide = wide.loc[chosen.index].set_axis(AT, axis=1)
    wide.insert(0, "selected", chosen)
    return wide.reset_index().to_csv(index=False, float_format="%.6g")


def read_metrics(path: Path) -> pd.DataFrame:
    """A file's metrics, with the columns `METRICS`: text stays text (``none``, ``02691156``), and older
    names of networks become today's.

    Raises:
        ValueError: as `read_text`, or a value of the wrong type.
    """
    text = parse_metrics(path)
    try:
        wide = text.assign(
            **{name: pd.to_numeric(text[name]) for name in ("selected", *AT)}, views=text.views.astype(int)
        )
    except ValueError as error:
        raise ValueError(f"{path}: not a number where views, selected and IoU need one ({error})") from None
    if odd := sorted(set(wide.selected) - set(THRESHOLDS)):
        raise ValueError(f"{path}: column selected holds {odd[0]}; expected one of {THRESHOLDS}")
    long = wide.loc[wide.index.repeat(len(AT)), list(EVALUATION)].reset_index(drop=True)
    threshold = np.tile(THRESHOLDS, len(wide))
    selected = threshold == wide.selected.to_numpy().repeat(len(AT))
    long = long.assign(threshold=threshold, selected=selected, iou=wide[list(AT)].to_numpy(float).ravel())
    long["model"] = long.model.replace(OLD_NAMES)
    return long.dropna(ignore_index=True)


def parse_metrics(path: Path) -> pd.DataFrame:
    """A file's rows as they stand there, columns and cells checked; only IoU at an unselected threshold may be empty.

    Raises:
        ValueError: other columns than `COLUMNS`, or an empty cell.
    """
    text = pd.read_csv(path, dtype=str, keep_default_na=False)
    if list(text) != list(COLUMNS):
        odd = [name for name in [*COLUMNS, *text] if (name in COLUMNS) != (name in text)]
        raise ValueError(f"{path}: column {', '.join(odd) or 'order'} is not as expected: {', '.join(COLUMNS)}")
    empty = text[[*EVALUATION, "selected"]] == ""
    if empty.to_numpy().any():
        column = empty.columns[empty.any()][0]
        raise ValueError(f"{path}: column {column} is empty in row {int(empty[column].idxmax()) + 1}; expected a value")
    return text
