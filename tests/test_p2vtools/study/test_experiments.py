"""Trainings side by side: the same networks as one after the other, and none that runs on unseen."""

from __future__ import annotations

import copy
import pathlib
from functools import partial

import pandas as pd
import pytest
import torch

from p2vlib import evaluation, training
from p2vtools.study import experiments, notebook_run
from tests.test_p2vlib.evaluation.test_evaluation import FirstPhoto, captures
from tests.test_p2vlib.training.test_training import RECIPE, data, same_weights, tiny


def test_side_by_side_gives_the_same_weights_as_one_after_the_other(tmp_path):
    threads = torch.get_num_threads()

    def job(name: str, seed: int):
        return partial(training.train, tiny(seed), data(), data(), RECIPE, tmp_path / name, device="cpu")

    histories = experiments.run_in_parallel({"a": job("a", 1), "b": job("b", 2), "c": job("c", 3)})
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
                experiments._log("still here")
        except InterruptedError:
            ended.append(True)
            raise

    def broken():
        raise ValueError("the loss is nan")

    with pytest.raises(ValueError, match="the loss is nan"):
        experiments.run_in_parallel({"endless": endless, "broken": broken})
    assert ended == [True]
    experiments._log("and later ones are not stopped")


def test_of_runs_side_by_side_one_trains_and_the_others_take_what_is_the_same(home, monkeypatch, capsys):
    network = tiny(1)
    monkeypatch.setattr(experiments.models, "build", lambda name, **_: copy.deepcopy(network))
    monkeypatch.setattr(experiments, "training_captures", lambda captures, *_: captures)

    def weights(run: str, seed: int) -> pathlib.Path:
        monkeypatch.setenv("P2VLIB_RUN", run)
        begun = notebook_run.begin("05", seed=seed)
        return experiments.train_network(begun, data(), "tiny", "objects", recipe=RECIPE).weights

    plain, same, other = weights("smoke", 0), weights("grids/smoke/a", 0), weights("grids/smoke/b", 1)
    again = weights("grids/smoke/c", 1)
    assert len({plain, same, other, again}) == 4
    assert plain.samefile(same) and other.samefile(again) and not plain.samefile(other)
    said = capsys.readouterr().out
    assert "tiny_objects_main: the same as in smoke" in said and "tiny_objects_main: the same as in b" in said
    begun = plain.read_bytes()
    weights("smoke", 2)
    assert same.read_bytes() == begun, "what was taken stays when its giver is trained anew"


class Counted(FirstPhoto):
    """Counts how often it is asked."""

    def __init__(self, order_free: bool) -> None:
        super().__init__()
        self.order_free, self.asked = order_free, 0

    def forward(self, views: torch.Tensor, cameras: torch.Tensor | None = None):
        self.asked += 1
        return super().forward(views, cameras)


def test_a_threshold_is_measured_once_and_an_order_free_network_runs_in_one_order(tmp_path):
    orders = ("clockwise", "shuffled", "reversed")
    asked = {}
    for kind, order_free in (("free", True), ("recurrent", False)):
        model = Counted(order_free)
        network = experiments.TrainedNetwork("n", "feet-phone", "main", model, pd.DataFrame(), tmp_path)
        rows = [
            experiments.evaluate_network(network, captures(), captures(), dataset="feet", views=(4,), orders=orders)
            for _ in range(2)
        ]
        assert rows[0].equals(rows[1]) and set(rows[0].order) == set(orders)
        assert rows[0].groupby("order").selected.sum().tolist() == [4, 4, 4]
        asked[kind] = model.asked
    assert asked == {"free": 1 + 2 * 1, "recurrent": 1 + 2 * 12}


def network_of(variant: str = "main") -> experiments.TrainedNetwork:
    return experiments.TrainedNetwork("n", "feet-phone", variant, FirstPhoto(), pd.DataFrame(), pathlib.Path())


def test_panels_are_cut_at_the_threshold_that_the_tables_use():
    """At .2 and at .5 the same probabilities make two different solids."""
    one = captures(2).select(sample="s0")
    probability = evaluation.predict(FirstPhoto(), one, [0])[0].numpy()
    sample = one.table["sample"][0]
    for threshold in (0.2, 0.5):
        facts = dict(model="n", training="feet-phone", variant="main")
        metrics = pd.DataFrame([dict(facts, threshold=t, selected=t == threshold) for t in (0.2, 0.5)])
        (panel,) = experiments.prediction_panels({"n": network_of()}, one, {"best": sample}, 1, metrics)
        assert (panel.predictions["n"] == (probability >= threshold)).all()
    with pytest.raises(ValueError, match="n, feet-phone, other has 0 selected thresholds"):
        experiments.prediction_panels({"n": network_of("other")}, one, {"best": sample}, 1, metrics)


def test_captures_are_ranked_by_a_network_whatever_its_rows_call_it():
    feet, network = captures(4), network_of("main-06")
    rows = feet.table.assign(model="n", training="feet-phone", variant="main", threshold=0.5, selected=True)
    strip = experiments.ranking_figure(network, feet, rows.assign(iou=[0.1, 0.4, 0.3, 0.2]), 1).axes[0]
    assert [line.get_label() for line in strip.lines] == ["best", "median", "worst"]
    assert strip.get_xlabel() == "IoU of each of 4"


def test_surfaces_of_networks_and_of_the_mean_shape():
    objects = captures(4)
    scores = experiments.surface_scores({"n": network_of()}, objects, objects, objects, (1, 4))
    assert scores.model.tolist() == ["n", "n", "mean-shape", "mean-shape"] and scores.views.tolist() == [1, 4, 1, 4]
    assert scores.f_score.between(0, 1).all() and (scores.samples == 4).all()


def test_archives_that_nobody_knows_or_has(tmp_path):
    assert experiments.read_archive("embedded", "", 96) is None
    with pytest.raises(ValueError, match="no data set is called 'imagenet'; there are embedded, shapenet, things3d, p"):
        experiments.read_archive("imagenet", "", 96)
    with pytest.raises(ValueError, match="on_error is 'ignore'; expected stop or skip"):
        experiments.read_archive("shapenet", "", 96, on_error="ignore")
    with pytest.raises(ValueError, match="limit is -1; expected"):
        experiments.read_archive("shapenet", "", 96, limit=-1)
    for name in ("shapenet", "pix3d"):
        with pytest.raises(FileNotFoundError, match=f"p2v fetch {name}"):
            experiments.read_archive(name, str(tmp_path), 96)
