"""Evaluation: IoU by hand, baselines, intervals, and the rows that the report is made of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from jaxtyping import TypeCheckError
from torch import nn

from p2vlib import evaluation, models
from p2vlib.data.dataset import Captures
from p2vlib.geometry.frames import FOOT_SYNSET, THRESHOLDS
from p2vlib.models import Reconstruction


def captures(count: int = 4, views: int = 8) -> Captures:
    """Boxes that grow from one to the next, photographed as plain grey of the same size."""
    truth = torch.zeros(count, 32, 32, 32, dtype=torch.bool)
    photos = torch.full((count, views, 4, 8, 8), 255, dtype=torch.uint8)
    for row in range(count):
        truth[row, : 8 + 4 * row, :8, :8] = True
        photos[row, :, :3] = 20 * row
    table = pd.DataFrame(
        {
            "sample": [f"s{row}" for row in range(count)],
            "subject": [f"p{row // 2}" for row in range(count)],
            **dict(dataset="feet", taxonomy="05563266", look="phone", light="drift", split="test", cube="metric"),
            "side": ["left", "right"] * (count // 2),
        }
    )
    return Captures(table, photos, truth)


class FirstPhoto(nn.Module):
    """Answers with the brightness of the photo it is shown first: what it is given can be read from its answer."""

    needs_cameras, order_free = False, False

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, views: torch.Tensor, cameras: torch.Tensor | None = None) -> Reconstruction:
        volume = views[:, 0].float().mean((1, 2, 3))[:, None, None, None].expand(-1, 32, 32, 32).contiguous()
        each = volume[:, None].expand(-1, views.shape[1], -1, -1, -1).contiguous()
        return Reconstruction(volume, volume, each, each)


def test_iou_by_hand():
    probability, truth = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, 2, dtype=torch.bool)
    probability[0, 0, 0] = torch.tensor([0.25, 0.45])
    truth[0, 0, 0, 1] = truth[0, 1, 1, 1] = True
    # t=.2: two predicted, one right of three; .3 and .4: one predicted and right, of two; .5: none of two.
    assert evaluation.iou_at(probability, truth)[0].tolist() == pytest.approx([1 / 3, 1 / 2, 1 / 2, 0])


def test_the_threshold_itself_is_occupied():
    half = torch.full((1, 1, 1, 1), 0.5)
    assert evaluation.iou_at(half, torch.ones(1, 1, 1, 1, dtype=torch.bool), (0.5,)).item() == 1


def test_empty_against_empty_is_one():
    nothing = torch.zeros(1, 2, 2, 2)
    assert (evaluation.iou_at(nothing, nothing.bool()) == 1).all()


def ball(radius: float, shift: float = 0.0) -> np.ndarray:
    axis = (np.arange(32) + 0.5) / 32 - 0.5
    x, y, z = np.meshgrid(axis - shift, axis, axis, indexing="ij")
    return x**2 + y**2 + z**2 < radius**2


def test_f_score_falls_with_the_distance_of_the_surfaces():
    """The same ball, drawn twice, is limited by its samples alone; a voxel of shift is three times the distance."""
    scores = [evaluation.f_score(ball(0.3, shift / 32), ball(0.3)) for shift in (0, 1, 2)]
    assert scores[0] > 0.85 and scores[0] > scores[1] + 0.2 and scores[1] > scores[2]
    assert evaluation.f_score(ball(0.3), ball(0.3), distance=2.0) == 1
    assert evaluation.f_score(ball(0.1, -0.3), ball(0.1, 0.3)) == 0
    assert evaluation.f_score(ball(0.3), ball(0.3)) == evaluation.f_score(ball(0.3), ball(0.3))


def test_f_score_of_nothing():
    nothing = np.zeros((32, 32, 32), bool)
    assert evaluation.f_score(nothing, nothing) == 1
    assert evaluation.f_score(nothing, ball(0.2)) == evaluation.f_score(ball(0.2), nothing) == 0


def test_f_score_measures_in_cubes_of_one_more_voxel():
    """Two plates a voxel apart: their broad faces lie 1/33 from each other, only rims nearer than 1/34."""
    plate, other = np.zeros((2, 32, 32, 32), bool)
    plate[10], other[11] = True, True
    near = [evaluation.f_score(plate, other, distance=distance) for distance in (1 / 34, 1 / 25)]
    assert near[0] < 0.2 and near[1] > 0.95


def test_shapes_that_differ_are_refused():
    """Nothing broadcasts: a volume against a batch of two would give a number, and a wrong one."""
    with pytest.raises((ValueError, TypeCheckError)):
        evaluation.iou_at(torch.zeros(1, 2, 2, 2), torch.zeros(2, 2, 2, 2, dtype=torch.bool))


def test_orders():
    assert evaluation.view_orders("clockwise", 4) == [[0, 1, 2, 3]]
    assert evaluation.view_orders("reversed", 4) == [[3, 2, 1, 0]]
    shuffled = evaluation.view_orders("shuffled", 4)
    assert len(shuffled) == 10 and all(sorted(order) == [0, 1, 2, 3] for order in shuffled)
    assert shuffled == evaluation.view_orders("shuffled", 4) and len(set(map(tuple, shuffled))) > 4
    with pytest.raises(ValueError, match="unknown order"):
        evaluation.view_orders("counter-clockwise", 4)


def test_views_arrive_in_the_order_asked_for():
    data = captures()
    data.photos[:, 6, :3] = 255
    assert evaluation.predict(FirstPhoto(), data, [6, 0])[:, 0, 0, 0].tolist() == pytest.approx([1] * 4, abs=0.01)
    assert evaluation.predict(FirstPhoto(), data, [0, 6])[0, 0, 0, 0] == 0


@pytest.mark.parametrize("name", ["pix2vox-a-narrow", "pix2vox-lstm-narrow"])
def test_a_photo_is_looked_at_once_and_the_answers_stay_the_same(name):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    known = captures(2, 4)
    photos = torch.randint(0, 256, (2, 4, 4, 96, 96), dtype=torch.uint8, generator=generator)
    known = replace(known, photos=photos)
    model, looked = models.build(name), []
    model.encoder.register_forward_hook(lambda module, given, answer: looked.append(len(given[0])))
    found = evaluation.evaluate(model, known, (1, 2, 4), ("clockwise", "reversed"))
    assert sum(looked) == 8, "two captures of four photos"
    for (number, order), rows in found.groupby(["views", "order"]):
        shown = [known.test_views(number)[0, places].tolist() for places in evaluation.view_orders(order, number)]
        volumes = evaluation.predict(model, known, shown[0], batch=1)
        expected = evaluation.iou_at(volumes, known.truth).flatten()
        assert rows.iou.tolist() == pytest.approx(expected.tolist(), abs=1e-3)


def test_one_row_a_test_evaluation():
    rows = evaluation.evaluate(FirstPhoto(), captures(), views=(1, 4), orders=("clockwise", "shuffled"))
    assert len(rows) == 4 * 2 * 2 * 4 and not rows.duplicated(["sample", "views", "order", "threshold"]).any()
    assert set(rows.threshold) == set(THRESHOLDS) and rows.iou.between(0, 1).all()


def test_the_mean_shape_by_hand():
    train, test = captures(4), captures(2)
    rows = evaluation.score_mean_shape(train, test, by="side", views=(1, 8))
    # Left feet: boxes of 8 and 16 slices; voxels in one of two have probability .5, which is >= every threshold.
    left = rows[(rows["sample"] == "s0") & (rows.views == 8)]
    assert left.iou.tolist() == pytest.approx([8 / 16] * 4) and len(rows) == 2 * 2 * 4


def test_a_mean_shape_needs_its_side_among_the_training_captures():
    with pytest.raises(ValueError, match="right"):
        evaluation.score_mean_shape(captures(4).select(side="left"), captures(2), by="side")


def metrics(values: list[float], model: str = "net", subjects: list[str] | None = None) -> pd.DataFrame:
    subjects = subjects or [f"p{row // 2}" for row in range(len(values))]
    samples = [f"s{row}" for row in range(len(values))]
    frame = pd.DataFrame({"iou": values, "subject": subjects, "sample": samples})
    return frame.assign(selected=True, model=model, taxonomy="foot", look="phone", views=4, threshold=0.4)


def test_an_interval_covers_the_mean_about_19_times_in_20():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(30), 2)
    covered = 0
    for trial in range(200):
        values = 0.6 + np.repeat(rng.normal(0, 0.05, 30), 2) + rng.normal(0, 0.01, 60)
        _, low, high = evaluation.bootstrap_interval(values, people, draws=400, seed=trial)
        covered += low <= 0.6 <= high
    assert 180 <= covered <= 198


def test_feet_of_one_person_are_drawn_together():
    values = np.repeat([0.4, 0.6, 0.5, 0.7], 2)
    whole = evaluation.bootstrap_interval(values, np.repeat(np.arange(4), 2))
    alone = evaluation.bootstrap_interval(values, np.arange(8))
    assert whole[2] - whole[1] > 1.2 * (alone[2] - alone[1])


def test_paired_differences_see_through_the_spread_of_people():
    rng = np.random.default_rng(1)
    base = rng.uniform(0.3, 0.9, 40)
    difference, low, high = evaluation.paired_difference(metrics(list(base + 0.02)), metrics(list(base)))
    assert difference == pytest.approx(0.02) and low == pytest.approx(0.02) and high == pytest.approx(0.02)


def test_pairs_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="do not pair up"):
        evaluation.paired_difference(metrics([0.5, 0.6]), metrics([0.5, 0.6, 0.7]))


def test_headline_and_tidy():
    scores = pd.DataFrame({"threshold": [0.2, 0.3, 0.2, 0.3], "iou": [0.5, 0.6, 0.5, 0.7]})
    assert evaluation.best_threshold(scores) == (0.3, pytest.approx(0.65))
    rows = evaluation.metric_rows(scores, 0.3, model="m", training="objects", dataset="feet")
    assert rows.selected.tolist() == [False, True, False, True] and set(rows.placement) == {"true"}


def test_both_averages():
    rows = pd.DataFrame({"selected": True, "taxonomy": ["a", "a", "a", "b"], "iou": [0.3, 0.3, 0.3, 0.7]})
    assert evaluation.class_and_sample_means(rows) == {
        "sample mean": pytest.approx(0.4),
        "class mean": pytest.approx(0.5),
    }


def test_the_slides_table_weighs_samples():
    rows = pd.concat([metrics([0.3, 0.3, 0.3]).assign(taxonomy="a"), metrics([0.7]).assign(taxonomy="b", sample="t")])
    table = evaluation.iou_by_threshold(rows).set_index("taxonomy")
    assert table.loc["overall", "t=0.40"] == pytest.approx(0.4) and table.loc["overall", "#sample"] == 4
    assert table.loc["class mean, objects", "t=0.40"] == pytest.approx(0.5)


def test_feet_are_no_class_of_objects():
    foot = metrics([0.1]).assign(taxonomy=FOOT_SYNSET, sample="f")
    rows = pd.concat([metrics([0.3, 0.3]).assign(taxonomy="a"), metrics([0.7]).assign(taxonomy="b", sample="t"), foot])
    table = evaluation.iou_by_threshold(rows).set_index("taxonomy")
    assert table["t=0.40"].drop(["a", "b", FOOT_SYNSET]).to_dict() == {
        "overall": pytest.approx(0.35),
        "overall, objects": pytest.approx(1.3 / 3),
        "class mean, objects": pytest.approx(0.5),
    }


def test_the_published_test_shows_the_first_files():
    """Files 2, 0, 3, 1 in clockwise places: the first two files are the photos at the places where they stand."""
    boxes = replace(captures(4, views=4), file_order=torch.tensor([[2, 0, 3, 1]] * 4))
    assert boxes.test_views(2).tolist() == [[0, 2]] * 4
    published = replace(boxes, as_published=True)
    assert published.test_views(2).tolist() == [[2, 0]] * 4 and published.select(sample="s1").test_views(
        1
    ).tolist() == [[2]]
    published.photos[:, 2, :3] = 255
    assert (evaluation.predict(FirstPhoto(), published, published.test_views(1)) > 0.99).all()


def test_the_published_test_keeps_the_dark_seam():
    half = captures(2)
    half.photos[:, :, 3] = 10
    half.photos[:, :, :3] = 0
    soft, sharp = (
        evaluation.predict(FirstPhoto(), replace(half, as_published=on), [0]).mean().item() for on in (False, True)
    )
    assert soft > 0.85 and sharp == 0


def test_f_scores_stand_one_a_capture():
    boxes = captures(4)
    found = evaluation.f_score_rows(boxes.truth.roll(1, 0), boxes)
    one = evaluation.f_score(boxes.truth[0].numpy(), boxes.truth[1].numpy())
    assert found["sample"].tolist() == ["s0", "s1", "s2", "s3"] and found.f_score[1] == one


def test_best_median_and_worst():
    picks = evaluation.best_median_worst(metrics([0.5, 0.9, 0.1]))
    assert picks == {"best": "s1", "median": "s0", "worst": "s2"}


def test_several_of_the_best_the_middle_and_the_worst_and_never_one_twice():
    ranks = evaluation.rank_samples(metrics([0.1 * place for place in range(10)]))
    assert ranks == {"best": ["s9", "s8", "s7"], "median": ["s6", "s5", "s4"], "worst": ["s2", "s1", "s0"]}
    few = evaluation.rank_samples(metrics([0.5, 0.9, 0.1, 0.2]))
    assert few == {"best": ["s1"], "median": ["s0"], "worst": ["s2"]}
