"""Reading and writing ``metrics.csv``: the IoU of every test evaluation.

A file has one row per evaluation with a column of IoU per threshold, which takes a quarter of the bytes of the table in
memory, where each evaluation has one row per threshold.
"""

from __future__ import annotations

import csv
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
        ValueError: a missing or unknown column, an empty cell, text with line breaks or surrounding blanks, an
            unknown threshold, an IoU outside 0 to 1, a duplicate evaluation, or an evaluation without exactly one
            selected threshold.
    """
    if set(metrics) != set(METRICS):
        raise ValueError(f"metrics have the columns {sorted(metrics)}; expected {sorted(METRICS)}")
    if metrics.isna().to_numpy().any() or (metrics.astype(str) == "").to_numpy().any():
        raise ValueError(f"an empty cell in {metrics.columns[metrics.isna().any()].tolist()} of the metrics")
    if unknown := sorted(set(metrics.threshold) - set(THRESHOLDS)):
        raise ValueError(f"metrics at a threshold of {unknown[0]}; expected {THRESHOLDS}")
    values = {str(value) for name in EVALUATION for value in metrics[name].unique()}
    unusual = [value for value in values if not value.isprintable() or value != value.strip()]
    if unusual := unusual + metrics.iou[~metrics.iou.between(0, 1)].tolist():
        raise ValueError(f"the metrics hold {unusual[0]!r}; expected an IoU of 0 to 1, and text without line breaks")
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
    return wide.reset_index().to_csv(index=False, float_format="%.6g", lineterminator="\n")


def read_metrics(path: Path) -> pd.DataFrame:
    """The metrics of a file, with the columns `METRICS`.

    Text is not converted (``none``, ``02691156``); former names of networks are replaced by the present ones.

    Raises:
        ValueError: as `parse_metrics`.
    """
    text = parse_metrics(path)
    wide = text.assign(
        **{name: pd.to_numeric(text[name]) for name in ("selected", *IOU_COLUMNS)}, views=text.views.astype(int)
    )
    long = wide.loc[wide.index.repeat(len(IOU_COLUMNS)), list(EVALUATION)].reset_index(drop=True)
    threshold = np.tile(THRESHOLDS, len(wide))
    selected = threshold == wide.selected.to_numpy().repeat(len(IOU_COLUMNS))
    long = long.assign(threshold=threshold, selected=selected, iou=wide[list(IOU_COLUMNS)].to_numpy(float).ravel())
    long["model"] = long.model.replace(OLD_NAMES)
    return long.dropna(ignore_index=True)


def parse_metrics(path: Path) -> pd.DataFrame:
    """The rows of a file as text, each checked; only cells of IoU may be empty.

    Raises:
        ValueError: other columns than `COLUMNS`, or a line that is not a row, with an empty cell, a surrounding blank
            or a control character, a value out of range, no IoU at its selected threshold, or an evaluation that an
            earlier line has; the message names the line.
    """
    try:
        header, *lines = path.read_text("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not text ({error}); expected the columns {', '.join(COLUMNS)}") from None
    if (names := header.split(",")) != list(COLUMNS):
        wrong = [name for name in [*COLUMNS, *names] if (name in COLUMNS) != (name in names)]
        raise ValueError(f"{path}: column {', '.join(wrong) or 'order'} is not as expected: {', '.join(COLUMNS)}")
    rows = [_parse_line(path, number, line) for number, line in enumerate(lines, 2)]
    text = pd.DataFrame(rows, columns=list(COLUMNS), dtype=str)
    if not rows:
        return text
    iou = text[list(IOU_COLUMNS)]
    in_range = iou.apply(pd.to_numeric, errors="coerce").apply(lambda column: column.between(0, 1))
    chosen = pd.DataFrame({f"iou@{threshold}": text.selected == str(threshold) for threshold in THRESHOLDS})
    checks = {
        "an empty cell": (text[[*EVALUATION, "selected"]] == "").any(axis=1),
        "a number of views that is no positive integer": ~text.views.str.fullmatch(r"[1-9]\d*"),
        f"another selected threshold than one of {THRESHOLDS}": ~chosen.any(axis=1),
        "no IoU at its selected threshold": ((iou == "") & chosen).any(axis=1),
        "an IoU outside 0 to 1": ((iou != "") & ~in_range).any(axis=1),
        "a test evaluation that an earlier line has": text.duplicated(list(EVALUATION)),
    }
    for reason, wrong in checks.items():
        if wrong.any():
            raise ValueError(f"{path}: line {int(wrong.idxmax()) + 2} has {reason}")
    return text


def _parse_line(path: Path, number: int, line: str) -> list[str]:
    """The cells of a line; no cell goes on in the next line."""
    try:
        (row,) = csv.reader([line], strict=True)
    except csv.Error as error:
        raise ValueError(f"{path}: line {number} is not a row ({error}); expected {len(COLUMNS)} cells") from None
    if len(row) != len(COLUMNS):
        raise ValueError(f"{path}: line {number} has {len(row)} cells; expected {len(COLUMNS)}")
    if strange := [cell for cell in row if not cell.isprintable() or cell != cell.strip()]:
        raise ValueError(f"{path}: line {number} has the cell {strange[0]!r}; expected no blanks around it")
    return row
