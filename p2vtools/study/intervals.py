"""Summaries of metrics: means with bootstrap intervals over subjects, and differences of two networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from p2vlib.evaluation import CAPTURE_COLUMNS


def bootstrap_interval(
    values: np.ndarray, subjects: np.ndarray, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of ``values`` with its 95 % bootstrap interval: (mean, low, high).

    Whole subjects are resampled (cluster bootstrap), since both feet of a person are alike.

    >>> bootstrap_interval(np.array([0.5, 0.5, 0.5]), np.array(["a", "a", "b"]))
    (0.5, 0.5, 0.5)
    """
    low, high = np.quantile(_bootstrap_means(values, subjects, draws, seed), [0.025, 0.975])
    return float(np.mean(values)), float(low), float(high)


def _bootstrap_means(values: np.ndarray, subjects: np.ndarray, draws: int, seed: int) -> np.ndarray:
    frame = pd.DataFrame({"value": values, "subject": subjects})
    sums = frame.groupby("subject").value.agg(["sum", "count"]).to_numpy()
    picks = np.random.default_rng(seed).integers(len(sums), size=(draws, len(sums)))
    total, count = sums[picks].sum(1).T
    return total / count


def summarise(metrics: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean IoU at the selected threshold with its interval over subjects, for each group of the columns ``by``.

    Columns: those of ``by``, then iou, low, high, samples.
    """
    rows = []
    for key, group in metrics[metrics.selected].groupby(list(by), sort=False):
        iou, low, high = bootstrap_interval(group.iou.to_numpy(), group.subject.to_numpy())
        rows.append((*key, iou, low, high, group["sample"].nunique()))
    return pd.DataFrame(rows, columns=[*by, "iou", "low", "high", "samples"])


def paired_difference(metrics: pd.DataFrame, reference: pd.DataFrame) -> tuple[float, float, float]:
    """Mean difference in IoU to ``reference`` on the same samples, at the selected thresholds, with its interval.

    Raises:
        ValueError: the two do not hold the same samples, once each.
    """
    one, two = (rows[rows.selected].set_index(CAPTURE_COLUMNS) for rows in (metrics, reference))
    if len(one) != len(two) or not one.index.is_unique or set(one.index) != set(two.index):
        raise ValueError(f"{len(one)} and {len(two)} test evaluations do not pair up sample by sample")
    difference = one.iou - two.iou.reindex(one.index)
    return bootstrap_interval(difference.to_numpy(), one.index.get_level_values("subject").to_numpy())


def unpaired_difference(metrics: pd.DataFrame, reference: pd.DataFrame) -> tuple[float, float, float]:
    """Mean IoU of ``metrics`` minus that of ``reference``, which may have other subjects, with its 95 % interval.

    Both are taken at their selected thresholds. The subjects of the two are resampled independently.

    >>> one, two = (pd.DataFrame({"iou": [iou, iou], "subject": ["a", "b"], "selected": True}) for iou in (0.75, 0.5))
    >>> unpaired_difference(one, two)
    (0.25, 0.25, 0.25)
    """
    one, two = (rows[rows.selected] for rows in (metrics, reference))
    means = [
        _bootstrap_means(rows.iou.to_numpy(), rows.subject.to_numpy(), 2000, seed)
        for seed, rows in enumerate((one, two))
    ]
    low, high = np.quantile(means[0] - means[1], [0.025, 0.975])
    return float(one.iou.mean() - two.iou.mean()), float(low), float(high)
