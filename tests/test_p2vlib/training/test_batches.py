"""What a step learns from: it follows from seed and step, shows what the recipe asks for, and is shared out."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from p2vlib.training import batches
from p2vlib.training.recipes import resolve_epochs
from tests.test_p2vlib.training.test_training import RECIPE, data


def test_a_batch_follows_from_seed_and_step():
    batch = batches.sample_batch(data(), RECIPE, 3)
    photos, truth = batch.views, batch.truth
    again = batches.sample_batch(data(), RECIPE, 3).views
    other = batches.sample_batch(data(), RECIPE, 4).views
    assert torch.equal(photos, again) and (photos.shape != other.shape or not torch.equal(photos, other))
    assert photos.shape[2] == 3 and truth.dtype == torch.bool


def test_one_photo_first_then_several():
    counts = [batches.sample_batch(data(), replace(RECIPE, steps=30), step)[0].shape[1] for step in range(30)]
    assert set(counts[:10]) == {1} and set(counts[11:]) == {1, 2}


def test_clockwise_batches_stay_clockwise_and_shuffled_ones_do_not():
    numbered = data()
    numbered.photos[:, :, :3] = torch.arange(4, dtype=torch.uint8)[None, :, None, None, None] * 40
    recipe = replace(RECIPE, views=4, single_view_share=0.0, mirror=False, batch=1)
    rising = {"clockwise": 0, "shuffled": 0}
    for order in rising:
        for step in range(30):
            photos = batches.sample_batch(numbered, replace(recipe, view_order=order), step).views
            rising[order] += bool((photos.mean((0, 2, 3, 4)).diff() >= 0).all())
    assert rising["clockwise"] == 30 and rising["shuffled"] < 25


def test_a_pass_shows_every_capture_once():
    numbered = data()
    numbered = replace(numbered, truth=torch.arange(4)[:, None, None, None] == torch.arange(32)[None, None, None])
    numbered = replace(numbered, truth=numbered.truth.expand(4, 32, 32, 32))
    recipe = resolve_epochs(replace(RECIPE, epochs=2, batch=3, mirror=False), len(numbered))
    assert (recipe.steps_per_epoch, recipe.steps) == (2, 4)
    for shares in ([(0, 1)], [(0, 2), (1, 2)]):
        orders = []
        for number in range(2):
            shown = [
                int(truth.float().mean((0, 1)).argmax())
                for step in range(2 * number, 2 * number + 2)
                for share in shares
                for truth in batches.sample_batch(numbered, recipe, step, share).truth
            ]
            assert sorted(shown) == [0, 1, 2, 3]
            orders.append(shown)
    assert orders[0] != orders[1], "the next pass has another order"


def test_photos_are_chosen_evenly_or_at_random(monkeypatch):
    numbered = data()
    numbered.photos[:] = torch.arange(4, dtype=torch.uint8)[None, :, None, None, None]
    monkeypatch.setattr(batches, "augment", lambda photos, *_: photos)  # else the numbers could not be read
    recipe = replace(RECIPE, views=2, single_view_share=0.0, mirror=False, batch=2)
    gaps = {}
    for choice in ("even", "any"):
        shown = [
            batches.sample_batch(numbered, replace(recipe, view_sampling=choice), step)[0][0, :, 0, 0, 0]
            for step in range(60)
        ]
        gaps[choice] = {int(pair[1]) - int(pair[0]) for pair in shown if len(pair) == 2}
    assert gaps == {"even": {2}, "any": {1, 2, 3}}, "and both stay in clockwise order"


def test_no_process_is_left_without_captures():
    recipe = replace(RECIPE, views=4, single_view_share=0.0, batch=4)
    for step in range(10):
        assert all(len(batches.sample_batch(data(), recipe, step, (process, 4)).truth) for process in range(4))
    with pytest.raises(ValueError, match="2 captures a step for 3 processes; use a larger batch"):
        batches.sample_batch(data(), resolve_epochs(replace(RECIPE, epochs=1, batch=2), 4), 0, (0, 3))
