"""Summaries of metrics: means with bootstrap intervals over subjects, paired differences, tables by category."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from p2vlib.evaluation.iou import CAPTURE_COLUMNS
from p2vlib.geometry.frames import FOOT_SYNSET


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


def class_and_sample_means(metrics: pd.DataFrame) -> dict[str, float]:
    """Mean IoU at the selected threshold, over samples and over categories: papers report either.

    >>> metrics = pd.DataFrame({"taxonomy": list("aab"), "iou": [0.5, 0.5, 1.0], "selected": True})
    >>> class_and_sample_means(metrics)["class mean"]
    0.75
    """
    rows = metrics[metrics.selected]
    return {"sample mean": float(rows.iou.mean()), "class mean": float(rows.groupby("taxonomy").iou.mean().mean())}


def iou_by_threshold(metrics: pd.DataFrame) -> pd.DataFrame:
    """The table of the slides for one model: number of samples and mean IoU at each threshold, by category.

    The overall rows weight samples equally, as the published protocol does; the class mean weights categories equally
    and leaves out the foot.
    """
    table = metrics.pivot_table(index="taxonomy", columns="threshold", values="iou", sort=False)
    counts = metrics.groupby("taxonomy")["sample"].nunique()
    objects = metrics[metrics.taxonomy != FOOT_SYNSET]
    classes = table[table.index != FOOT_SYNSET].mean()
    table.insert(0, "#sample", counts)
    for name, rows in (("overall", metrics), ("overall, objects", objects)):
        mean = rows.groupby("threshold").iou.mean()
        table.loc[name] = [rows["sample"].nunique(), *mean.reindex(classes.index)]
    table.loc["class mean, objects"] = [objects["sample"].nunique(), *classes]
    if len(objects) in (0, len(metrics)):
        table = table.drop(index="overall, objects")
    table.columns = [column if isinstance(column, str) else f"t={column:.2f}" for column in table.columns]
    return table.astype({"#sample": int}).reset_index()


def rank_samples(metrics: pd.DataFrame, each: int = 3) -> dict[str, list[str]]:
    """The ``each`` best, median and worst samples by IoU at the selected threshold; fewer if there are few samples.

    >>> metrics = pd.DataFrame({"sample": list("abc"), "iou": [0.4, 0.9, 0.6], "selected": True})
    >>> rank_samples(metrics)
    {'best': ['b'], 'median': ['c'], 'worst': ['a']}
    """
    ranked = metrics[metrics.selected].sort_values("iou", ascending=False)["sample"].tolist()
    each = max(1, min(each, len(ranked) // 3))
    middle = (len(ranked) - each) // 2
    return {"best": ranked[:each], "median": ranked[middle : middle + each], "worst": ranked[-each:]}


def best_median_worst(metrics: pd.DataFrame) -> dict[str, str]:
    """The best, the median and the worst sample by IoU at the selected threshold."""
    return {title: samples[0] for title, samples in rank_samples(metrics, each=1).items()}
