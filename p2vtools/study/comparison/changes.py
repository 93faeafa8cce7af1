"""The difference in IoU between two runs, test by test, where their test data are the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from p2vlib.evaluation import bootstrap_interval
from p2vtools.study.comparison.results import Result

TESTS = ["notebook", "model", "variant", "training", "dataset", "look", "cameras", "placement"]
"""What is one row: a network as it was trained, and what it was tested on."""

SAMPLE = ["taxonomy", "subject", "sample"]

PHOTOGRAPHED = {
    "feet": ("test_seed", "views", "studio_samples", "phone_samples"),
    "objects": ("test_seed", "views", "samples"),
}
"""The settings that make a data set's test photos; with others, the same name is not the same picture."""

FEWEST = 5
"""People or objects of which an interval can tell something."""


def incomparable_reasons(one: Result, other: Result) -> list[str]:
    """Why some of two runs' tests cannot be compared, in sentences; empty where all that are in both can."""
    reasons = [
        f"other test data, {dataset}: {key} is {mine} in {one.name} and {theirs} in {other.name}"
        for notebook in sorted(set(one.configs) & set(other.configs))
        for dataset in PHOTOGRAPHED
        for key, mine, theirs in _differing(one.configs[notebook], other.configs[notebook], dataset)
    ]
    if reasons and one.scale != other.scale:
        return [f"different scales: {one.scale} and {other.scale} have other test photos"]
    if missing := sorted(set(one.configs) ^ set(other.configs)):
        reasons.append(f"in one of {one.name} and {other.name} only: {', '.join(missing)}")
    return list(dict.fromkeys(reasons))


def _differing(one: dict[str, Any], other: dict[str, Any], dataset: str) -> list[tuple[str, Any, Any]]:
    """What two configs say otherwise of the test photos of a data set: setting, one, other."""
    told = [(key, one[dataset].get(key), other[dataset].get(key)) for key in PHOTOGRAPHED[dataset]]
    return [(key, mine, theirs) for key, mine, theirs in told if mine != theirs]


def iou_changes(one: Result, other: Result) -> pd.DataFrame:
    """The difference in IoU from ``one`` to ``other`` for every network and test that both have.

    A row is the mean over numbers of photos, orders and samples that are in both. Where each run has one number of
    photos that the other has not, as when that is what they were told, those two are compared: ``4 → 8``.

    Columns: `TESTS`, photos, orders, one, other (mean IoU), difference, low, high, subjects (people, or objects),
    samples, and verdict: ``better``, ``worse``, ``open`` (the interval holds zero, or is of fewer than `FEWEST`) or
    ``same`` (every number is the same).
    """
    rows = []
    theirs = dict(iter(_comparable(other, one).groupby(TESTS, sort=False)))
    for key, mine in _comparable(one, other).groupby(TESTS, sort=False):
        if key in theirs:
            rows += [(*key, *row) for row in _paired(mine, theirs[key])]
    columns = ["photos", "orders", "one", "other", "difference", "low", "high", "subjects", "samples", "verdict"]
    return pd.DataFrame(rows, columns=[*TESTS, *columns])


def _comparable(run: Result, other: Result) -> pd.DataFrame:
    """The metrics of ``run`` on data that are in ``other`` the same."""
    keep = pd.Series(True, run.metrics.index)
    for notebook, config in run.configs.items():
        theirs = other.configs.get(notebook)
        for dataset in PHOTOGRAPHED:
            if theirs is None or _differing(config, theirs, dataset):
                keep &= ~((run.metrics.notebook == notebook) & (run.metrics.dataset == dataset))
    return run.metrics[keep]


def _paired(one: pd.DataFrame, other: pd.DataFrame) -> list[tuple]:
    """The rows of `changes` of one network and test."""
    found = []
    for order in dict.fromkeys(one.order):
        mine, theirs = (rows[rows.order == order] for rows in (one, other))
        alone = [sorted(set(rows.views) - set(against.views)) for rows, against in ((mine, theirs), (theirs, mine))]
        found.append(mine.merge(theirs, on=[*SAMPLE, "views"], suffixes=("", "_other")).assign(told=""))
        if len(alone[0]) == len(alone[1]) == 1:
            (before,), (after,) = alone
            pairs = mine[mine.views == before].merge(theirs[theirs.views == after], on=SAMPLE, suffixes=("", "_other"))
            found.append(pairs.assign(told=f"{before} → {after}"))
    rows = []
    for told, pairs in pd.concat(found).groupby("told", sort=True):
        difference = pairs.iou_other - pairs.iou
        mean, low, high = bootstrap_interval(difference.to_numpy(), pairs.subject.to_numpy())
        subjects = pairs.subject.nunique()
        verdict = "open" if (difference != 0).any() else "same"
        if subjects >= FEWEST and low * high > 0:
            verdict = "better" if low > 0 else "worse"
        photos = told or _listed(sorted(set(pairs.views)))
        orders = ", ".join(dict.fromkeys(pairs.order))
        samples = len(pairs[SAMPLE].drop_duplicates())
        means = (pairs.iou.mean(), pairs.iou_other.mean())
        rows.append((photos, orders, *means, mean, low, high, subjects, samples, verdict))
    return rows


def _listed(numbers: Sequence[int]) -> str:
    """``1-8`` for numbers without a gap, else all of them."""
    if len(numbers) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]}-{numbers[-1]}"
    return ", ".join(map(str, numbers))
