"""Reading and writing ``metrics.csv``: the IoU of every test evaluation.

A file has one row per evaluation with a column of IoU per threshold, which takes a quarter of the bytes of the table in
memory, where each evaluation has one row per threshold.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd

from p2vlib.files import reading
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

EXPECTED = f"expected one test evaluation a row, with the columns {', '.join(COLUMNS)}"


def format_metrics(metrics: pd.DataFrame) -> str:
    """The text of a file with ``metrics``, a table with the columns `METRICS`.

    Raises:
        ValueError: a missing or unknown column, a missing value, an unknown threshold, an evaluation without exactly
            one selected threshold, or a value that `parse_metrics` refuses.
    """
    if set(metrics) != set(METRICS):
        raise ValueError(f"metrics have the columns {sorted(metrics)}; expected {sorted(METRICS)}")
    if metrics.isna().to_numpy().any():
        raise ValueError(f"an empty cell in {metrics.columns[metrics.isna().any()].tolist()} of the metrics")
    if unknown := sorted(set(metrics.threshold) - set(THRESHOLDS)):
        raise ValueError(f"metrics at a threshold of {unknown[0]}; expected {THRESHOLDS}")
    key = list(EVALUATION)
    selected, evaluations = metrics[metrics.selected].set_index(key).threshold, len(metrics.drop_duplicates(key))
    if not selected.index.is_unique or len(selected) != evaluations:
        raise ValueError(
            f"{evaluations} test evaluations with {len(selected)} selected thresholds; expected one for each"
        )
    wide = metrics.pivot(index=key, columns="threshold", values="iou").reindex(columns=THRESHOLDS)
    wide = wide.loc[selected.index].set_axis(IOU_COLUMNS, axis=1)
    wide.insert(0, "selected", selected)
    text = wide.reset_index().to_csv(index=False, float_format="%.6g", lineterminator="\n")
    with reading("the metrics", EXPECTED):
        _parse(text)
    return text


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
        FileError: other columns than `COLUMNS`, or a line that is not a row, with an empty cell, a surrounding blank or
            a line break, a value out of range, or an evaluation that an earlier line has; the message names the line.
    """
    with reading(path, EXPECTED):
        return _parse(path.read_text("utf-8"))


def _parse(content: str) -> pd.DataFrame:
    text = pd.read_csv(io.StringIO(content), dtype=str, keep_default_na=False, skip_blank_lines=False)
    if (names := list(text)) != list(COLUMNS):
        wrong = [name for name in [*COLUMNS, *names] if (name in COLUMNS) != (name in names)]
        raise ValueError(f"column {', '.join(wrong) or 'order'} is not as expected")
    if text.empty:
        return text
    words, iou = text[[*EVALUATION, "selected"]], text[list(IOU_COLUMNS)]
    in_range = iou.apply(pd.to_numeric, errors="coerce").apply(lambda column: column.between(0, 1))
    checks = {
        "a cell that is empty, or has a blank at an end or a line break": ~words.apply(
            lambda column: column.str.fullmatch(r"\S(.*\S)?", na=False)
        ).all(axis=1),
        "a number of views that is no positive integer": ~text.views.str.fullmatch(r"[1-9]\d*", na=False),
        f"another selected threshold than one of {THRESHOLDS}": ~text.selected.isin(map(str, THRESHOLDS)),
        "an IoU outside 0 to 1": ((iou != "") & ~in_range).any(axis=1),
        "a test evaluation that an earlier line has": text.duplicated(list(EVALUATION)),
    }
    for reason, wrong in checks.items():
        if wrong.any():
            raise ValueError(f"line {int(wrong.idxmax()) + 2} has {reason}")
    return text
