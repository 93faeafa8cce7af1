from functools import partial

import numpy as np
import pandas as pd
import pytest

from p2vtools.study import intervals
from tests.pages import on_feet

metrics = partial(on_feet, "05", "net", each=2)


def test_intervals_cover_the_mean_about_19_times_in_20():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(30), 2)
    covered = 0
    for trial in range(100):
        values = 0.6 + np.repeat(rng.normal(0, 0.05, 30), 2) + rng.normal(0, 0.01, 60)
        _, low, high = intervals.bootstrap_interval(values, people, draws=400, seed=trial)
        covered += low <= 0.6 <= high
    assert 90 <= covered <= 99


def test_the_feet_of_a_person_are_resampled_together_and_count_equally():
    # Everybody has a foot of 0.4 and one of 0.6, so every sample of people has the mean 0.5.
    feet = metrics([0.4, 0.6] * 4)
    found = [
        intervals.bootstrap_interval(feet.iou.to_numpy(), feet.subject.to_numpy()),
        intervals.summarise(feet, ["model"])[["iou", "low", "high"]].iloc[0].tolist(),
        intervals.paired_difference(feet, metrics([0.0] * 8)),
        intervals.unpaired_difference(feet, metrics([0.0] * 8)),
    ]
    assert np.array(found) == pytest.approx(0.5)
    means = intervals._bootstrap_means(np.array([1.0, 1.0, 1.0, 0.0]), np.array(list("aaab")), 100, 0)
    assert set(means) == {1.0, 0.75, 0.0}, "a twice, both, b twice"
    with pytest.raises(ValueError, match="do not pair up"):
        intervals.paired_difference(metrics([0.5, 0.6]), metrics([0.5, 0.6, 0.7]))


def test_unpaired_differences_vary_with_the_people_of_both_sides():
    rng = np.random.default_rng(2)
    one, two = rng.normal(0.7, 0.1, 50), rng.normal(0.6, 0.1, 50)
    difference, low, high = intervals.unpaired_difference(metrics(list(one)), metrics(list(two)))
    assert difference == pytest.approx(one.mean() - two.mean()) and low < difference < high
    welch = np.sqrt(one.var() / 50 + two.var() / 50)
    assert high - low == pytest.approx(2 * 1.96 * welch, rel=0.06)


def crossed(trainings: int, people: int, over_seeds: float, over_people: float, seed: int) -> tuple[np.ndarray, ...]:
    """Two values of each person for each training, without interaction: values, people, seeds."""
    rng = np.random.default_rng(seed)
    of_seeds, of_people = rng.normal(0, over_seeds, trainings), rng.normal(0.6, over_people, people)
    values = (of_seeds[:, None, None] + of_people[:, None] + np.array([-0.1, 0.1])).ravel()
    return values, np.tile(np.repeat(np.arange(people), 2), trainings), np.repeat(np.arange(trainings), 2 * people)


@pytest.mark.parametrize(("over_seeds", "over_people"), [(0.05, 0.0), (0.0, 0.2), (0.02, 0.1)])
def test_intervals_over_seeds_and_people_have_the_variance_of_both(over_seeds, over_people):
    """The mean of s seeds and p people has the variance a^2 / s + b^2 / p; with a and b of the sample, as here."""
    values, people, seeds = crossed(15, 40, over_seeds, over_people, seed=5)
    table = values.reshape(15, 40, 2).mean(2)
    expected = table.mean(1).var(ddof=1) / 15 + table.mean(0).var() / 40
    means = intervals.seeded_means(values, people, seeds, draws=4000)
    assert means.mean() == pytest.approx(values.mean(), abs=0.002) and means.var() == pytest.approx(expected, rel=0.06)
    found, low, high = intervals.bootstrap_interval(values, people, seeds=seeds)
    assert found == pytest.approx(values.mean()) and high - low == pytest.approx(2 * 1.96 * expected**0.5, rel=0.08)


def test_paired_differences_over_seeds_compare_trainings_of_the_same_seed():
    """The seeds differ by 0.1 in both networks, which differ by 0.02, so only the difference is left."""
    rng = np.random.default_rng(3)
    base = rng.uniform(0.4, 0.6, 12)
    variants = ["main", "main-seed1", "main-seed2"]
    one, two = (
        pd.concat(metrics(list(base + gain + seed / 10)).assign(variant=name) for seed, name in enumerate(variants))
        for gain in (0.02, 0)
    )
    assert intervals.paired_difference(one[:12], two[:12]) == pytest.approx((0.02, 0.02, 0.02)), "of one seed"
    one, two = intervals.split_seeds(one), intervals.split_seeds(two)
    assert one.seed.unique().tolist() == [0, 1, 2] and set(one.variant) == {"main"}
    assert intervals.paired_difference(one, two) == pytest.approx((0.02, 0.02, 0.02))
    iou, low, high = intervals.summarise(one, ["variant"])[["iou", "low", "high"]].iloc[0]
    assert iou == pytest.approx(base.mean() + 0.12) and high - low > 0.1, "from one seed to another"
    with pytest.raises(ValueError, match="hold other subjects"):
        intervals.summarise(one[(one.seed > 0) | (one.subject != "p0")], ["variant"])
