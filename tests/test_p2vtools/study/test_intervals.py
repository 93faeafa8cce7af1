"""Bootstrap intervals and differences."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from p2vtools.study import intervals


def metrics(values: list[float], model: str = "net", subjects: list[str] | None = None) -> pd.DataFrame:
    subjects = subjects or [f"p{row // 2}" for row in range(len(values))]
    samples = [f"s{row}" for row in range(len(values))]
    frame = pd.DataFrame({"iou": values, "subject": subjects, "sample": samples})
    return frame.assign(selected=True, model=model, taxonomy="foot", look="phone", views=4, threshold=0.4)


def test_intervals_cover_the_mean_about_19_times_in_20():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(30), 2)
    covered = 0
    for trial in range(200):
        values = 0.6 + np.repeat(rng.normal(0, 0.05, 30), 2) + rng.normal(0, 0.01, 60)
        _, low, high = intervals.bootstrap_interval(values, people, draws=400, seed=trial)
        covered += low <= 0.6 <= high
    assert 180 <= covered <= 198


def test_the_feet_of_a_person_are_resampled_together():
    """Everybody has a foot of 0.4 and one of 0.6, so every sample of people has the mean 0.5."""
    feet = metrics([0.4, 0.6] * 4)
    found = [
        intervals.bootstrap_interval(feet.iou.to_numpy(), feet.subject.to_numpy()),
        intervals.summarise(feet, ["model"])[["iou", "low", "high"]].iloc[0].tolist(),
        intervals.paired_difference(feet, metrics([0.0] * 8)),
        intervals.unpaired_difference(feet, metrics([0.0] * 8)),
    ]
    assert np.array(found) == pytest.approx(0.5)


def test_every_foot_counts_once_whoever_has_more():
    means = intervals._bootstrap_means(np.array([1.0, 1.0, 1.0, 0.0]), np.array(list("aaab")), 100, 0)
    assert set(means) == {1.0, 0.75, 0.0}, "a twice, both, b twice"


def test_paired_differences_ignore_the_variation_between_people():
    rng = np.random.default_rng(1)
    base = rng.uniform(0.3, 0.9, 40)
    difference, low, high = intervals.paired_difference(metrics(list(base + 0.02)), metrics(list(base)))
    assert difference == pytest.approx(0.02) and low == pytest.approx(0.02) and high == pytest.approx(0.02)


def test_unpaired_differences_vary_with_the_people_of_both_sides():
    rng = np.random.default_rng(2)
    one, two = rng.normal(0.7, 0.1, 50), rng.normal(0.6, 0.1, 50)
    difference, low, high = intervals.unpaired_difference(metrics(list(one)), metrics(list(two)))
    assert difference == pytest.approx(one.mean() - two.mean()) and low < difference < high
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(one.var() / 50 + two.var() / 50), rel=0.06), (
        "Welch's interval"
    )


def test_unpaired_samples_are_refused():
    with pytest.raises(ValueError, match="do not pair up"):
        intervals.paired_difference(metrics([0.5, 0.6]), metrics([0.5, 0.6, 0.7]))
