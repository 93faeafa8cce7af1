"""Trainings side by side: the same networks as one after the other, and none that runs on unseen."""

from __future__ import annotations

from functools import partial

import pandas as pd
import pytest
import torch
from test_evaluation import FirstPhoto, captures
from test_training import RECIPE, data, same_weights, tiny
from torch import nn

from p2vlib import experiments, training


def test_side_by_side_gives_the_same_weights_as_one_after_the_other(tmp_path):
    threads = torch.get_num_threads()

    def job(name: str, seed: int):
        return partial(training.train, tiny(seed), data(), data(), RECIPE, tmp_path / name, device="cpu")

    histories = experiments.side_by_side({"a": job("a", 1), "b": job("b", 2), "c": job("c", 3)})
    assert list(histories) == ["a", "b", "c"] and torch.get_num_threads() == threads
    torch.set_num_threads(max(1, threads // 3))
    try:
        for name, seed in (("a", 1), ("b", 2), ("c", 3)):
            job(f"{name}-alone", seed)()
            pair = (tmp_path / folder / "weights.safetensors" for folder in (name, f"{name}-alone"))
            assert same_weights(*pair)
    finally:
        torch.set_num_threads(threads)


def test_an_error_stops_the_others_and_is_the_one_that_is_told():
    ended = []

    def endless():
        try:
            while True:
                experiments._tell("still here")
        except InterruptedError:
            ended.append(True)
            raise

    def broken():
        raise ValueError("the loss is nan")

    with pytest.raises(ValueError, match="the loss is nan"):
        experiments.side_by_side({"endless": endless, "broken": broken})
    assert ended == [True]
    experiments._tell("and later ones are not stopped")


class Counted(FirstPhoto):
    """Counts how often it is asked; its `recurrent` says whether it sees an order."""

    def __init__(self, recurrent: nn.Module) -> None:
        super().__init__()
        self.recurrent, self.asked = recurrent, 0

    def forward(self, views: torch.Tensor):
        self.asked += 1
        return super().forward(views)


def test_a_threshold_is_measured_once_and_an_order_free_network_runs_in_one_order(tmp_path):
    orders = ("clockwise", "shuffled", "reversed")
    asked = {}
    for kind, recurrent in (("free", nn.Identity()), ("recurrent", nn.Linear(1, 1))):
        model = Counted(recurrent)
        network = experiments.Network("n", "feet-phone", "main", model, pd.DataFrame(), tmp_path)
        rows = [
            experiments.test_network(network, captures(), captures(), dataset="feet", views=(4,), orders=orders)
            for _ in range(2)
        ]
        assert rows[0].equals(rows[1]) and set(rows[0].order) == set(orders)
        assert rows[0].groupby("order").selected.sum().tolist() == [4, 4, 4]
        asked[kind] = model.asked
    assert asked == {"free": 1 + 2 * 1, "recurrent": 1 + 2 * 12}
