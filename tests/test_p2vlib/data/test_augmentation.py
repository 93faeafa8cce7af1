from dataclasses import replace

import pytest
import torch

from p2vlib.data.augmentation import DEFAULT, PUBLISHED, _draw_parameters, augment, preprocess

STILL = replace(DEFAULT, background=(0.9, 0.9), jitter=0.0)
"""Nothing is drawn but what a test switches on."""


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def photos(batch: int = 64, views: int = 3, size: int = 8) -> torch.Tensor:
    drawn = torch.randint(0, 255, (batch, 1, 4, size, size), dtype=torch.uint8, generator=generator(9))
    return drawn.repeat(1, views, 1, 1, 1)


def test_transparent_pixels_show_the_background_and_a_sharp_outline_keeps_its_dark_seam():
    picture = torch.zeros(1, 1, 4, 2, 2, dtype=torch.uint8)
    picture[..., 0] = 255
    assert torch.equal(preprocess(picture, 0.25)[0, 0, :, 0], torch.tensor([[1, 0.25]] * 3))
    picture = torch.tensor([0, 0, 0, 1], dtype=torch.uint8).reshape(1, 1, 4, 1, 1)
    assert preprocess(picture, 1.0).min() > 0.99 and preprocess(picture, 1.0, sharp=True).max() == 0


@pytest.mark.parametrize(
    "crop", [(), (torch.tensor([1.0, 1.0, 7.0, 7.0]).expand(64, 3, 4), 12)], ids=["whole", "cropped"]
)
@pytest.mark.parametrize("recipe", [DEFAULT, PUBLISHED])
def test_the_result_depends_on_the_generator_only(recipe, crop):
    one, two, other = (augment(photos(), generator(seed), recipe, *crop) for seed in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, other) and one.shape[3] == (12 if crop else 8)
    assert not recipe.clip or (one.min() >= 0 and one.max() <= 1)


def test_views_can_be_flipped_independently_whole_or_cropped():
    recipe, boxes = replace(STILL, flip=True), torch.tensor([0.0, 0.0, 8.0, 8.0]).expand(64, 3, 4)
    pictures, plain = augment(photos(), generator(), recipe), augment(photos(), generator(), STILL)
    turned = (pictures == plain.flip(-1)).flatten(2).all(2)
    assert ((pictures == plain).flatten(2).all(2) | turned).all()
    assert 0.4 < turned.float().mean() < 0.6 and (turned[:, 0] != turned[:, 1]).any()
    assert torch.allclose(augment(photos(), generator(), recipe, boxes, 8), pictures, atol=1e-5)


def test_permutation_and_noise_of_the_colours():
    plain, shuffled = (augment(photos(), generator(), replace(STILL, permutation=on)) for on in (False, True))
    assert torch.allclose(plain.sort(2).values, shuffled.sort(2).values)
    moved = (plain != shuffled).flatten(1).any(1)
    assert 0.7 < moved.float().mean() < 0.95, "five of six permutations move a channel"
    # Three quarters of 0.2175 * 0.1 a channel, along a nearly grey axis: all channels go up and down together.
    grey = torch.full((4000, 1, 4, 1, 1), 128, dtype=torch.uint8)
    grey[:, :, 3] = 255
    change = augment(grey, generator(), replace(STILL, noise=0.1))[:, 0, :, 0, 0] - 128 / 255
    assert change.std(0) == pytest.approx([0.0124, 0.0126, 0.0127], abs=0.0008)
    assert torch.corrcoef(change.T).min() > 0.95


def one_after_the_other(
    views: torch.Tensor, factors: list[float], order: list[int], grey: tuple[float, ...], published: bool
) -> torch.Tensor:
    """Brightness, contrast and saturation of the photos of a sample, written out; ``grey``: weights of the channels."""
    for step in order:
        level = (views * torch.tensor(grey)[:, None, None]).sum(1, keepdim=True)
        mean = level.mean((1, 2, 3), keepdim=True) if published else level.mean()
        if step == 0:
            views = views * factors[0]
        else:
            centre = mean if step == 1 else level
            views = centre + (views - centre) * factors[step]
    return views


@pytest.mark.parametrize(
    ("recipe", "grey", "published", "orders"),
    [
        (replace(PUBLISHED, noise=0.0, permutation=False, flip=False), (0.299, 0.587, 0.114), True, 6),
        (replace(DEFAULT, jitter=0.999), (1 / 3, 1 / 3, 1 / 3), False, 1),
    ],
    ids=["published", "default"],
)
def test_the_affine_map_equals_the_steps_one_by_one(recipe, grey, published, orders):
    """With the draws that were made, in all orders that occur.

    By default contrast is relative to the mean of all views, so that a photo darker than its neighbours stays so.
    """
    views = photos(40)
    views[:, 1] = views[:, 1] // 2  # another mean than its neighbours'
    draw = _draw_parameters(40, 3, generator(3), recipe, None)
    found = augment(views, generator(3), recipe)
    plain = preprocess(views, draw.background, sharp=published)
    assert len({tuple(order) for order in draw.steps.tolist()}) == orders
    for row in range(40):
        order = draw.steps[row].tolist()
        wanted = one_after_the_other(plain[row], draw.factors[row].tolist(), order, grey, published)
        assert torch.allclose(found[row], wanted if published else wanted.clamp(0, 1), atol=1e-5)
    assert (found.min() < 0 or found.max() > 1) == published, "as published, nothing is clipped"


def ramp(size: int = 16) -> torch.Tensor:
    """An opaque photo whose red grows to the right and whose green grows downwards, one view."""
    picture = torch.zeros(1, 1, 4, size, size, dtype=torch.uint8)
    picture[..., 0, :, :] = torch.arange(size, dtype=torch.uint8)
    picture[..., 1, :, :] = torch.arange(size, dtype=torch.uint8)[:, None]
    picture[..., 3, :, :] = 255
    return picture


def test_each_photo_is_cropped_to_its_box_and_transparent_pixels_do_not_bleed():
    pictures = ramp().repeat(1, 2, 1, 1, 1)
    boxes = torch.tensor([[[0.0, 0.0, 16.0, 16.0], [4.0, 8.0, 12.0, 12.0]]])
    shown = 255 * preprocess(pictures, boxes=boxes, size=8)
    # The centre of a pixel that spans two is halfway between the two values.
    assert torch.allclose(shown[0, 0, 0, 0], torch.arange(8) * 2 + 0.5, atol=1e-3)
    assert torch.allclose(shown[0, 1, 0, 0], torch.arange(8) + 4.0, atol=1e-3)
    assert torch.allclose(shown[0, 1, 1, :, 0], torch.arange(8) / 2 + 7.75, atol=1e-3)
    outside = preprocess(ramp(), boxes=torch.tensor([[[-16.0, 0.0, 0.0, 16.0]]]), size=4)
    assert outside[0, 0, 0].abs().max() < 1e-5, "pixels of the border are repeated"
    picture = torch.zeros(1, 1, 4, 8, 8, dtype=torch.uint8)  # black and transparent, with a white solid half
    picture[..., :4] = 255  # an edge that is half as wide as a pixel shows then lies between white and black
    boxes = torch.tensor([[[0.0, 0.0, 8.0, 8.0]]])
    soft, sharp = (preprocess(picture, 1.0, sharp, boxes, 13) for sharp in (False, True))
    assert soft.min() > 0.999 and sharp.min() == 0.5
