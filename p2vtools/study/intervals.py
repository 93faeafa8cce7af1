"""Summaries of metrics: means with bootstrap intervals over subjects, and differences of two networks.

Metrics with a column ``seed`` (`split_seeds`) hold several trainings of the same networks on the same subjects. Their
intervals are over subjects and seeds: a hierarchical bootstrap (`seeded_means`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from p2vlib.evaluation import CAPTURE_COLUMNS

SEED = re.compile(r"-seed(\d+)")


def split_seeds(metrics: pd.DataFrame) -> pd.DataFrame:
    """``metrics`` with the seed of each training in a column ``seed``, and variants without it (``main-seed1``).

    The rows of a network without seeds, such as a mean shape, are repeated for all seeds of the others.

    >>> rows = pd.DataFrame({"model": ["net", "net", "mean-shape"], "variant": ["main", "main-seed1", "main"]})
    >>> split_seeds(rows).to_numpy().tolist()
    [['net', 'main', 0], ['net', 'main', 1], ['mean-shape', 'main', 0], ['mean-shape', 'main', 1]]
    """
    seed = metrics.variant.str.extract(SEED, expand=False).fillna("0").astype(int)
    metrics = metrics.assign(variant=metrics.variant.str.replace(SEED, "", regex=True), seed=seed)
    alone = metrics.model == "mean-shape"
    repeated = [metrics[alone].assign(seed=number) for number in sorted(seed.unique())]
    return pd.concat([metrics[~alone], *repeated], ignore_index=True)


def bootstrap_interval(
    values: np.ndarray, subjects: np.ndarray, draws: int = 2000, seed: int = 0, seeds: np.ndarray | None = None
) -> tuple[float, float, float]:
    """Mean of ``values`` with its 95 % bootstrap interval: (mean, low, high).

    Whole subjects are resampled (cluster bootstrap), since both feet of a person are alike; with the ``seeds`` of the
    trainings that the values come from, these as well (`seeded_means`).

    >>> bootstrap_interval(np.array([0.5, 0.5, 0.5]), np.array(["a", "a", "b"]))
    (0.5, 0.5, 0.5)
    """
    means = _bootstrap_means(values, subjects, draws, seed)
    if seeds is not None and len(set(seeds)) > 1:
        means = seeded_means(values, subjects, seeds, draws, seed)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(np.mean(values)), float(low), float(high)


def _bootstrap_means(values: np.ndarray, subjects: np.ndarray, draws: int, seed: int) -> np.ndarray:
    frame = pd.DataFrame({"value": values, "subject": subjects})
    sums = frame.groupby("subject").value.agg(["sum", "count"]).to_numpy()
    picks = np.random.default_rng(seed).integers(len(sums), size=(draws, len(sums)))
    total, count = sums[picks].sum(1).T
    return total / count


def seeded_means(
    values: np.ndarray, subjects: np.ndarray, seeds: np.ndarray, draws: int = 2000, seed: int = 0
) -> np.ndarray:
    """Means of ``draws`` bootstrap samples of the trainings' seeds and, in each, of the subjects.

    All seeds are tested on the same subjects, so both are resampled once per sample, independently (Owen, The
    pigeonhole bootstrap, 2007). Of n seeds n - 1 are drawn: n of n would give the variance of few seeds as (n - 1) / n
    of itself (Rao and Wu, Resampling inference with complex survey data, 1988).

    Raises:
        ValueError: the seeds do not hold the same values of each subject.
    """
    frame = pd.DataFrame({"value": values, "subject": subjects, "seed": seeds})
    table = frame.groupby(["subject", "seed"]).value.agg(["sum", "count"]).unstack()
    counts = table["count"].to_numpy()
    if (counts != counts[:, :1]).any():
        raise ValueError(f"the {counts.shape[1]} seeds hold other subjects, or other numbers of values of a subject")
    (people, trainings), random = counts.shape, np.random.default_rng(seed)
    drawn = random.multinomial(people, np.full(people, 1 / people), size=draws)
    trained = random.multinomial(trainings - 1, np.full(trainings, 1 / trainings), size=draws)
    totals = ((drawn @ table["sum"].to_numpy()) * trained).sum(1)
    return totals / ((drawn @ counts) * trained).sum(1)


def summarise(metrics: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean IoU at the selected threshold with its interval over subjects, for each group of the columns ``by``.

    Columns: those of ``by``, then iou, low, high, samples.
    """
    rows = []
    for key, group in metrics[metrics.selected].groupby(list(by), sort=False):
        seeds = group.seed.to_numpy() if "seed" in group else None
        iou, low, high = bootstrap_interval(group.iou.to_numpy(), group.subject.to_numpy(), seeds=seeds)
        rows.append((*key, iou, low, high, group["sample"].nunique()))
    return pd.DataFrame(rows, columns=[*by, "iou", "low", "high", "samples"])


def format_interval(value: float, low: float, high: float, form: str = ".3f") -> str:
    """A value with its interval.

    >>> format_interval(0.7031, 0.69, 0.7158)
    '0.703 [0.690, 0.716]'
    """
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def interval_cells(metrics: pd.DataFrame, by: Sequence[str]) -> dict[tuple, str]:
    """Values of the columns ``by`` -> mean IoU at the selected threshold with its interval, as text."""
    rows = summarise(metrics, by)[[*by, "iou", "low", "high"]].itertuples(index=False, name=None)
    return {row[:-3]: format_interval(*row[-3:]) for row in rows}


def pairing_columns(metrics: pd.DataFrame) -> list[str]:
    """The columns in which the rows of two networks agree that are compared: capture and, where there is one, seed."""
    return [*CAPTURE_COLUMNS, *(["seed"] if "seed" in metrics else [])]


def paired_difference(metrics: pd.DataFrame, reference: pd.DataFrame) -> tuple[float, float, float]:
    """Mean difference in IoU to ``reference`` on the same samples, at the selected thresholds, with its interval.

    With a column ``seed`` the trainings of the same seed are compared, and the interval is over seeds as well.

    Raises:
        ValueError: the two do not hold the same samples, once each or once for each seed.
    """
    keys = pairing_columns(metrics)
    one, two = (rows[rows.selected].set_index(keys) for rows in (metrics, reference))
    if len(one) != len(two) or not one.index.is_unique or set(one.index) != set(two.index):
        raise ValueError(f"{len(one)} and {len(two)} test evaluations do not pair up sample by sample")
    difference = one.iou - two.iou.reindex(one.index)
    seeds = one.index.get_level_values("seed").to_numpy() if "seed" in keys else None
    return bootstrap_interval(difference.to_numpy(), one.index.get_level_values("subject").to_numpy(), seeds=seeds)


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
