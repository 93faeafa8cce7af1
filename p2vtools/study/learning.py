"""Which trained networks did not learn: they are in no ranking and in no sentence of an answer.

A network learned if it exceeds the mean shape of its class on validation people or objects, and if its answers change
with its photos (`check_learning`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
from torch import nn

from p2vlib.data.dataset import Captures
from p2vlib.evaluation import CAPTURE_COLUMNS, best_threshold, evaluate, iou_at, predict

MAX_ANSWERS_IOU, MIN_RANGE = 0.95, 0.01
"""Limits of ``answers`` and ``range`` (`check_learning`). A network that ignores its photos has about 1 and 0.003."""

DID_NOT_LEARN = "did not learn"

NETWORK = ["model", "training", "variant"]
"""The columns that identify a network of a notebook."""

COLUMNS = ["network", *NETWORK, "iou", "mean shape", "answers", "range", "verdict"]
"""The columns of a check."""

TABLE = "learning"
"""Name of the table of a notebook's checks."""

CAPTION = (
    "Did every network learn? On validation, with all photos: its IoU and that of the mean shape; the IoU between its "
    "answers to different captures; and the change of IoU with the number of photos (0: it reads one photo; –: tested "
    "with one number of photos)."
)


def check_learning(
    model: nn.Module, validation: Captures, mean_iou: float, views: Sequence[int]
) -> dict[str, float | bool]:
    """Whether a trained network learned: it exceeds the mean shape, and its answers change with its photos.

    Args:
        mean_iou: IoU of the mean shape with ``validation``.
        views: numbers of photos.

    Returns:
        ``iou`` with most photos; ``answers``, the mean IoU between its answers to captures of the same category;
        ``range``, the change of a capture's IoU over ``views`` (0: it reads one photo; NaN: one number); ``learned``.
    """
    scores = evaluate(model, validation, views)
    threshold, iou = best_threshold(scores[scores.views == max(views)])
    by_views = scores[scores.threshold == threshold].pivot(index=CAPTURE_COLUMNS, columns="views", values="iou")
    spread = float((by_views.max(axis=1) - by_views.min(axis=1)).mean()) if len(views) > 1 else np.nan
    rows = validation.table.reset_index(drop=True)
    next_of = rows.index.to_series().groupby(rows.taxonomy)  # the next one but one: the next foot is of the same person
    following = next_of.transform(lambda index: np.roll(index, -2 if len(index) > 2 else -1)).tolist()
    solids = predict(model, validation, validation.test_views(max(views))) >= threshold
    answers = float(iou_at(solids.float(), solids[following], (0.5,)).mean())
    learned = iou > mean_iou and answers < MAX_ANSWERS_IOU and not 0 < spread < MIN_RANGE
    return {"iou": iou, "answers": answers, "range": spread, "learned": learned}


def unlearned(checks: pd.DataFrame) -> pd.DataFrame:
    """The networks of ``checks`` that did not learn."""
    return checks[checks.verdict == DID_NOT_LEARN]


def drop_unlearned(metrics: pd.DataFrame, checks: pd.DataFrame) -> pd.DataFrame:
    """``metrics`` without the networks that did not learn, also in steady light and fitted to silhouettes."""
    failed = set(unlearned(checks)[["notebook", *NETWORK]].itertuples(index=False, name=None))
    model, variant = metrics.model.replace("rendering", "unprojection"), metrics.variant.str.removesuffix("-steady")
    keys = zip(metrics.notebook, model, metrics.training, variant, strict=True)
    return metrics.loc[[key not in failed for key in keys]]


def mark_unlearned(table: pd.DataFrame, checks: pd.DataFrame) -> pd.DataFrame:
    """``table`` with `DID_NOT_LEARN` behind every name of a network that did not.

    A row with the columns model, training or variant names one network; other text names it by its title.
    """
    failed, table = unlearned(checks), table.copy()
    if failed.empty or "verdict" in table:
        return table
    columns = [column for column in NETWORK if column in table]
    if "model" in columns and len(columns) > 1:
        known = set(failed[columns].itertuples(index=False, name=None))
        is_failed = [key in known for key in table[columns].itertuples(index=False, name=None)]
        table["model"] = table.model.where([not one for one in is_failed], table.model + f" ({DID_NOT_LEARN})")
        return table
    titles = {*failed.network, *failed[NETWORK].agg(", ".join, axis=1)}
    names = "|".join(map(re.escape, sorted(titles, key=len, reverse=True)))
    pattern = re.compile(rf"(?<![\w-])({names})(?![\w-]|, [a-z]| \({DID_NOT_LEARN})")

    def mark(cell: object) -> object:
        return pattern.sub(rf"\1 ({DID_NOT_LEARN})", cell) if isinstance(cell, str) else cell

    return table.map(mark).rename(columns=mark)
