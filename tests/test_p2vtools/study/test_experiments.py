import copy
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from p2vlib import evaluation
from p2vtools.archives.loading import read_archive
from p2vtools.study import experiments, notebook_run
from tests.test_p2vlib.evaluation.test_evaluation import FirstPhoto, captures
from tests.test_p2vlib.training.test_training import RECIPE, data, tiny


def trained(variant: str = "main", model: nn.Module | None = None, name: str = "n") -> experiments.TrainedNetwork:
    """``model``, or `FirstPhoto`, as if trained on feet of the phone domain."""
    return experiments.TrainedNetwork(name, "feet-phone", variant, model or FirstPhoto(), pd.DataFrame(), Path())


def test_parallel_jobs_are_in_their_order_and_leave_the_number_of_threads():
    """`test_processes` compares networks that were trained in threads with those trained alone."""
    threads, names = torch.get_num_threads(), ["c", "a", "b"]
    found = experiments.run_in_parallel({name: partial(pd.Series, name=name) for name in names})
    assert list(found) == names == [series.name for series in found.values()] and torch.get_num_threads() == threads


def test_failed_training_stops_the_parallel_ones():
    stopped = []

    def endless():
        try:
            while True:
                experiments._log("epoch")
        except InterruptedError:
            stopped.append(True)
            raise

    def broken():
        raise ValueError("the loss is nan")

    with pytest.raises(ValueError, match="the loss is nan"):
        experiments.run_in_parallel({"endless": endless, "broken": broken})
    assert stopped == [True]
    experiments._log("later trainings are not stopped")


def test_equal_trainings_of_a_sweep_share_their_weights(home, monkeypatch, capsys):
    network = tiny(1)
    monkeypatch.setattr(experiments.models, "build", lambda name, **_: copy.deepcopy(network))
    monkeypatch.setattr(experiments, "training_captures", lambda captures, *_: captures)

    def weights(run: str, seed: int) -> Path:
        monkeypatch.setenv("P2VLIB_RUN", run)
        started = notebook_run.begin("05", seed=seed)
        return experiments.train_network(started, data(), "tiny", "objects", recipe=RECIPE).weights

    scale, same, other = weights("smoke", 0), weights("grids/smoke/a", 0), weights("grids/smoke/b", 1)
    again = weights("grids/smoke/c", 1)
    assert len({scale, same, other, again}) == 4
    assert scale.samefile(same) and other.samefile(again) and not scale.samefile(other)
    output = capsys.readouterr().out
    assert all(f"tiny_objects_main: weights taken from run {run}" in output for run in ("smoke", "b"))
    before = scale.read_bytes()
    weights("smoke", 2)
    assert same.read_bytes() == before, "a new training of the source leaves the shared weights as they are"


def test_networks_train_on_the_training_people_and_are_validated_on_others(home, monkeypatch):
    feet, used = captures(6), []
    feet = replace(feet, table=feet.table.assign(split=np.repeat(["train", "validation", "test"], 2)))
    monkeypatch.setattr(experiments.models, "build", lambda *_, **__: FirstPhoto())
    monkeypatch.setattr(experiments, "train", lambda _, *data, **__: used.extend(data[:2]) or pd.DataFrame())
    experiments.train_network(notebook_run.begin("05"), feet, "n", "feet-phone", recipe=RECIPE)
    assert [list(data.table.split) for data in used] == [["train"] * 2, ["validation"] * 2]


def test_thresholds_are_chosen_on_validation():
    """Means of eight boxes of 8 to 32 slices; on the test, boxes of 32 slices, the best threshold would be 0.2."""
    train, validation, test = captures(8), captures(2), captures(4)
    test.truth[:, :, :8, :8], test.photos[:, :, :3] = True, 64
    # A dark capture of nothing and a bright box of 12 slices: the network, whose prediction is the brightness, errs
    # least from 0.3 on. The mean of the right boxes has 20 slices at 0.75 and 28 at 0.5; of all boxes, 24 at 0.5.
    validation.truth[0] = False
    validation.photos[:, :, :3] = torch.tensor([64, 230], dtype=torch.uint8)[:, None, None, None, None]
    labels = dict(dataset="feet", views=(1,))
    for rows in (
        experiments.evaluate_network(trained(), test, validation, **labels),
        experiments.evaluate_mean_shape(train, test, validation, by="side", training="feet-phone", **labels),
    ):
        assert set(rows[rows.selected].threshold) == {0.3}
    scores = experiments.surface_scores({"n": trained()}, train, test, validation, (1,)).set_index("model").f_score
    assert scores["n"] == 0, "no test photo has a brightness of 0.3"
    # At 0.4 the mean box ends at 24 of 32 slices: 832 of 896 units of its surface lie on the true one, which has 1152.
    assert scores["mean-shape"] == pytest.approx(2 / (896 / 832 + 1152 / 832), abs=0.09)


class CountedCalls(FirstPhoto):
    """Counts its forward passes."""

    def __init__(self, order_free: bool) -> None:
        super().__init__()
        self.order_free, self.calls = order_free, 0

    def forward(self, views: torch.Tensor, cameras: torch.Tensor | None = None):
        self.calls += 1
        return super().forward(views, cameras)


@pytest.mark.parametrize(("order_free", "calls"), [(True, 1 + 2 * 1), (False, 1 + 2 * 12)])
def test_threshold_is_computed_once_and_order_free_networks_run_in_one_order(order_free, calls):
    orders = ("clockwise", "shuffled", "reversed")
    model = CountedCalls(order_free)
    network, labels = trained(model=model), dict(dataset="feet", views=(4,), orders=orders)
    first, second = (experiments.evaluate_network(network, captures(), captures(), **labels) for _ in range(2))
    assert first.equals(second) and set(first.order) == set(orders)
    assert first.groupby("order").selected.sum().tolist() == [4, 4, 4]
    assert model.calls == calls


def test_panels_and_ranking_figures_of_the_metrics():
    capture = captures(2).select(sample="s0")
    probability = evaluation.predict(FirstPhoto(), capture, [0])[0].numpy()
    arguments = (capture, {"best": capture.table["sample"][0]}, 1)
    for threshold in (0.2, 0.5):
        labels = dict(model="n", training="feet-phone", variant="main")
        metrics = pd.DataFrame([dict(labels, threshold=t, selected=t == threshold) for t in (0.2, 0.5)])
        (panel,) = experiments.prediction_panels({"n": trained()}, *arguments, metrics)
        assert (panel.predictions["n"] == (probability >= threshold)).all()
    with pytest.raises(ValueError, match="size 1"):
        experiments.prediction_panels({"n": trained("other")}, *arguments, metrics)
    feet = captures(4)
    rows = feet.table.assign(model="n", training="feet-phone", variant="main", threshold=0.5, selected=True)
    strip = experiments.ranking_figure(trained("main-06"), feet, rows.assign(iou=[0.1, 0.4, 0.3, 0.2]), 1).axes[0]
    assert [line.get_label() for line in strip.lines] == ["best", "median", "worst"]
    assert strip.get_xlabel() == "IoU of each of 4"


def test_surface_scores_of_networks_and_of_the_mean_shape():
    objects = captures(4)
    objects.truth[2:], objects.photos[2:] = objects.truth[:2], objects.photos[:2]
    scores = experiments.surface_scores({"n": trained()}, objects, objects, objects, (1, 4))
    assert scores.model.tolist() == ["n", "n", "mean-shape", "mean-shape"] and scores.views.tolist() == [1, 4, 1, 4]
    assert scores.f_score.between(0, 1).all() and (scores.samples == 4).all()
    assert scores.low.tolist() == pytest.approx(scores.high.tolist()), "two subjects, who are alike"


def test_read_archive_refuses_unknown_options_and_missing_archives(tmp_path):
    assert read_archive("embedded", "", 96) is None
    for dataset, options, message in (
        ("imagenet", {}, "unknown data set 'imagenet'; expected embedded, shapenet, things3d or pix3d"),
        ("shapenet", {"on_error": "ignore"}, "on_error is 'ignore'; expected stop or skip"),
        ("shapenet", {"limit": -1}, "limit is -1; expected"),
    ):
        with pytest.raises(ValueError, match=message):
            read_archive(dataset, "", 96, **options)
    for dataset in ("shapenet", "pix3d"):
        with pytest.raises(FileNotFoundError, match=f"p2v fetch {dataset}"):
            read_archive(dataset, str(tmp_path), 96)


def test_networks_get_the_image_size_if_they_take_it():
    given = {"image_size": 96}
    sizes = {"psgn-narrow": given, "p2vlib.models.psgn:PSGNConfig": given, "torch.nn:ReLU": {}}
    assert {name: experiments._size_setting(name, 96) for name in sizes} == sizes
