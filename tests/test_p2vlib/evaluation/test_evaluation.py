from dataclasses import replace

import pandas as pd
import pytest
import torch
from jaxtyping import TypeCheckError
from torch import nn

from p2vlib import evaluation, models
from p2vlib.data.dataset import Captures
from p2vlib.geometry.frames import THRESHOLDS
from p2vlib.models import Reconstruction


def captures(count: int = 4, views: int = 8) -> Captures:
    """Boxes of growing size, with uniform grey photos."""
    truth = torch.zeros(count, 32, 32, 32, dtype=torch.bool)
    photos = torch.full((count, views, 4, 8, 8), 255, dtype=torch.uint8)
    for row in range(count):
        truth[row, : 8 + 4 * row, :8, :8] = True
        photos[row, :, :3] = 20 * row
    columns = dict(dataset="feet", taxonomy="05563266", look="phone", light="drift", split="test", cube="metric")
    columns |= {"sample": [f"s{row}" for row in range(count)], "subject": [f"p{row // 2}" for row in range(count)]}
    return Captures(pd.DataFrame({**columns, "side": ["left", "right"] * (count // 2)}), photos, truth)


class FirstPhoto(nn.Module):
    """Predicts the brightness of its first photo, so that the prediction tells which photo that was."""

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
    half, nothing = torch.full((1, 1, 1, 1), 0.5), torch.zeros(1, 2, 2, 2)
    assert evaluation.iou_at(half, half > 0, (0.5,)).item() == 1, "a probability equal to the threshold is occupied"
    assert (evaluation.iou_at(nothing, nothing.bool()) == 1).all()
    with pytest.raises((ValueError, TypeCheckError)):  # broadcasting would give wrong numbers
        evaluation.iou_at(nothing, nothing.bool().repeat(2, 1, 1, 1))


def test_networks_get_the_views_in_their_order():
    assert evaluation.view_orders("clockwise", 4) == [[0, 1, 2, 3]]
    assert evaluation.view_orders("reversed", 4) == [[3, 2, 1, 0]]
    shuffled = evaluation.view_orders("shuffled", 4)
    assert len(shuffled) == 10 and all(sorted(order) == [0, 1, 2, 3] for order in shuffled)
    assert shuffled == evaluation.view_orders("shuffled", 4) and len(set(map(tuple, shuffled))) > 4
    with pytest.raises(ValueError, match="unknown order"):
        evaluation.view_orders("counter-clockwise", 4)
    data = captures()
    data.photos[:, 6, :3] = 255
    assert evaluation.predict(FirstPhoto(), data, [6, 0])[:, 0, 0, 0].tolist() == pytest.approx([1] * 4, abs=0.01)
    assert evaluation.predict(FirstPhoto(), data, [0, 6])[0, 0, 0, 0] == 0
    rows = evaluation.evaluate(FirstPhoto(), data, views=(1, 4), orders=("clockwise", "shuffled"))
    assert len(rows) == 4 * 2 * 2 * 4 and not rows.duplicated(["sample", "views", "order", "threshold"]).any()
    assert set(rows.threshold) == set(THRESHOLDS) and rows.iou.between(0, 1).all()


@pytest.mark.parametrize("name", ["pix2vox-a-narrow", "pix2vox-lstm-narrow"])
def test_each_photo_is_encoded_once_with_the_same_result(name):
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)
    data = captures(2, 4)
    photos = torch.randint(0, 256, (2, 4, 4, 96, 96), dtype=torch.uint8, generator=generator)
    data = replace(data, photos=photos)
    model, encoded = models.build(name), []
    model.encoder.register_forward_hook(lambda module, given, answer: encoded.append(len(given[0])))
    found = evaluation.evaluate(model, data, (1, 2, 4), ("clockwise", "reversed"))
    assert sum(encoded) == 8, "two captures of four photos"
    for (number, order), rows in found.groupby(["views", "order"]):
        views = [data.test_views(number)[0, places].tolist() for places in evaluation.view_orders(order, number)]
        volumes = evaluation.predict(model, data, views[0], batch=1)
        expected = evaluation.iou_at(volumes, data.truth).flatten()
        assert rows.iou.tolist() == pytest.approx(expected.tolist(), abs=1e-3)


def test_shuffled_scores_are_the_mean_over_their_orders_and_thresholds_the_best_on_average():
    # Only the first photo is white, so the prediction is a full cube in the orders that begin with it, or nothing.
    data = captures(2, views=4)
    data.photos[:, :, :3] = torch.tensor([255, 0, 0, 0], dtype=torch.uint8)[None, :, None, None, None]
    rows = evaluation.evaluate(FirstPhoto(), data, views=(4,), orders=("shuffled",))
    share = sum(order[0] == 0 for order in evaluation.view_orders("shuffled", 4)) / 10
    assert 0 < share < 1 and rows.iou[0] == pytest.approx(share * 8 * 8 * 8 / 32**3, rel=1e-5)
    scores = pd.DataFrame({"threshold": [0.2, 0.3] * 3, "iou": [0.6, 0.5, 0.6, 0.5, 0.6, 0.95]})
    assert evaluation.best_threshold(scores) == (0.3, pytest.approx(0.65)), "the median is higher at 0.2"
    rows = evaluation.metric_rows(scores, 0.3, model="m", training="objects", dataset="feet")
    assert rows.selected.tolist() == [False, True] * 3 and set(rows.placement) == {"true"}


def test_as_published_the_first_files_are_tested_and_outlines_have_a_dark_seam():
    """The first two files are the photos at their clockwise indices, 2 and 0."""
    boxes = replace(captures(4, views=4), file_order=torch.tensor([[2, 0, 3, 1]] * 4))
    assert boxes.test_views(2).tolist() == [[0, 2]] * 4
    published = replace(boxes, as_published=True)
    assert published.test_views(2).tolist() == [[2, 0]] * 4
    assert published.select(sample="s1").test_views(1).tolist() == [[2]]
    published.photos[:, 2, :3] = 255
    assert (evaluation.predict(FirstPhoto(), published, published.test_views(1)) > 0.99).all()
    boxes.photos[:] = torch.tensor([0, 0, 0, 10], dtype=torch.uint8)[:, None, None]
    soft, sharp = (evaluation.predict(FirstPhoto(), one, [0]).mean() for one in (boxes, published))
    assert soft > 0.85 and sharp == 0
