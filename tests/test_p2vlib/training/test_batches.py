from dataclasses import replace

import pytest
import torch

from p2vlib.config import RECIPES
from p2vlib.data.dataset import mirror_cameras
from p2vlib.training import batches
from p2vlib.training.recipes import resolve_epochs
from tests.test_p2vlib.training.test_training import RECIPE, data, data_with_cameras


def test_a_batch_is_a_function_of_the_seed_and_the_step():
    one, again, later, other = (
        batches.sample_batch(data(), replace(RECIPE, seed=seed), step).views
        for seed, step in ((0, 3), (0, 3), (0, 4), (1, 3))
    )
    assert torch.equal(one, again) and not torch.equal(one, later) and not torch.equal(one, other)


def test_single_views_come_first_and_the_published_recipe_draws_their_number_once_an_epoch():
    counts = [batches.sample_batch(data(), replace(RECIPE, steps=30), step)[0].shape[1] for step in range(30)]
    assert set(counts[:10]) == {1} and set(counts[11:]) == {1, 2}
    recipe = resolve_epochs(replace(RECIPES["published"], epochs=40, single_view_share=0.25, batch=2), len(data()))
    counts = [batches.sample_batch(data(), recipe, step).views.shape[1] for step in range(recipe.steps)]
    assert counts[::2] == counts[1::2] and recipe.steps_per_epoch == 2
    assert set(counts[:20]) == {1} and set(counts[20:]) == {1, 2, 3, 4}


def test_half_of_a_batch_is_mirrored_photos_volume_and_cameras_together():
    """All photos are dark on the left, and all solids lie at small z; mirrored, it is the other way round."""
    samples, flipped = data_with_cameras(), []
    samples.photos[:, :, :3], samples.photos[:, :, :3, :, :16] = 200, 20
    recipe = replace(RECIPE, views=4, single_view_share=0.0, batch=32, camera_noise=(0.0, 0.0))
    mirrored = mirror_cameras(samples.cameras[:1], torch.tensor([True]))
    for step in range(12):
        batch = batches.sample_batch(samples, recipe, step)
        is_flipped = ~batch.truth[:, 0, 0, 0]
        left, right = (half.mean((1, 2, 3, 4)) for half in batch.views.split(16, -1))
        assert torch.equal(batch.truth[:, 0, 0, -1], is_flipped) and torch.equal(left > right, is_flipped)
        if batch.views.shape[1] == 4:
            expected = torch.where(is_flipped[:, None, None, None], mirrored, samples.cameras[:1])
            assert torch.allclose(batch.cameras, expected, atol=1e-6)
            flipped += is_flipped.tolist()
    assert 0.2 < sum(flipped) / len(flipped) < 0.8


def test_an_epoch_uses_each_capture_once_and_every_process_gets_some():
    truth = torch.arange(4)[:, None, None, None] == torch.arange(32)[None, None, None]
    numbered = replace(data(), truth=truth.expand(4, 32, 32, 32))
    recipe = resolve_epochs(replace(RECIPE, epochs=2, batch=3, mirror=False), len(numbered))
    assert (recipe.steps_per_epoch, recipe.steps) == (2, 4)
    for shares in ([(0, 1)], [(0, 2), (1, 2)]):
        orders = []
        for number in range(2):
            rows = [
                int(truth.float().mean((0, 1)).argmax())
                for step in range(2 * number, 2 * number + 2)
                for share in shares
                for truth in batches.sample_batch(numbered, recipe, step, share).truth
            ]
            assert sorted(rows) == [0, 1, 2, 3]
            orders.append(rows)
        assert orders[0] != orders[1], "each epoch has an order of its own"
    recipe = replace(RECIPE, views=4, single_view_share=0.0, batch=4)
    for step in range(10):
        assert all(len(batches.sample_batch(data(), recipe, step, (process, 4)).truth) for process in range(4))
    with pytest.raises(ValueError, match="2 captures a step for 3 processes; use a larger batch"):
        batches.sample_batch(data(), resolve_epochs(replace(RECIPE, epochs=1, batch=2), 4), 0, (0, 3))


def test_views_are_evenly_spaced_or_random_in_clockwise_or_shuffled_order(monkeypatch):
    numbered = data()
    numbered.photos[:] = torch.arange(4, dtype=torch.uint8)[None, :, None, None, None]
    monkeypatch.setattr(batches, "augment", lambda photos, *_: photos)  # keeps the numbers readable
    recipe = replace(RECIPE, views=2, single_view_share=0.0, mirror=False, batch=2)
    gaps = {}
    for choice, order in (("even", "clockwise"), ("any", "clockwise"), ("any", "shuffled")):
        settings = replace(recipe, view_sampling=choice, view_order=order)
        chosen = [batches.sample_batch(numbered, settings, step)[0][0, :, 0, 0, 0] for step in range(60)]
        gaps[choice, order] = {int(pair[1]) - int(pair[0]) for pair in chosen if len(pair) == 2}
    assert gaps["even", "clockwise"] == {2} and gaps["any", "clockwise"] == {1, 2, 3}
    assert min(gaps["any", "shuffled"]) < 0
