"""What a training makes small: one loss for every network, by what it says of its photos."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from p2vlib.geometry.projection import render_silhouettes
from p2vlib.models import Reconstruction
from p2vlib.models.psgn import chamfer, surface_points

CROSS_ENTROPY_WEIGHT = 10.0
"""Published: ten times the mean voxel-wise binary cross entropy, of the fused and of the refined volume."""

DICE_WEIGHT = 6.0
"""Chosen on validation objects: 1 was no better than 0, 3 was, and 6, tried with a sixth more steps, did best."""


def training_loss(
    result: Reconstruction,
    truth: Bool[Tensor, "batch x y z"],
    name: str = "own",
    cameras: Float[Tensor, "batch views 3 7"] | None = None,
    inside: Bool[Tensor, "batch points"] | None = None,
) -> Tensor:
    """10 BCE + 6 (1 - Dice), of the refined volume, of the fused one, and of what each view says for itself.

    `published` is the cross entropy of the first two. *Each view for itself*: through the fusion alone the loss hardly
    tells a view what it did wrong, so that most steps had to show one photo only, and the refiner and the recurrence
    idled. *Dice* (Milletari et al., V-Net, 2016): a mean over voxels hardly counts a thin thing. A finer head, which
    learns alone, has the cross entropy of what is ``inside``.
    """
    if result.points is not None:
        # As unit: a hundredth of the cube's edge squared, or the optimiser's weight decay would outweigh it.
        return chamfer(result.points, surface_points(truth, result.points.shape[1])).mean() * 1e4
    if inside is not None:
        return functional.binary_cross_entropy_with_logits(result.near, inside.float())
    if name == "published":
        volumes = [result.probability, *([result.coarse] if result.coarse is not result.probability else [])]
        return CROSS_ENTROPY_WEIGHT * sum(_cross_entropy(volume, truth) for volume in volumes)
    if name != "own":
        raise ValueError(f"no loss is called {name!r}; there are own, published")
    loss = _shape_loss(result.probability, truth)
    if result.coarse is not result.probability:
        loss = loss + _shape_loss(result.coarse, truth)
    if result.volumes.shape[1] > 1:
        loss = loss + _shape_loss(result.volumes, truth[:, None].expand_as(result.volumes))
    if result.masks is not None:
        shown = render_silhouettes(truth.float(), cameras, result.masks.shape[-1]) > 0.5
        loss = loss + _shape_loss(result.masks, shown, (-2, -1))
    return loss


def _shape_loss(probability: Tensor, truth: Tensor, space: tuple[int, ...] = (-3, -2, -1)) -> Tensor:
    hit = (probability * truth).sum(space)
    dice = (2 * hit + 1) / (probability.sum(space) + truth.sum(space) + 1)
    return CROSS_ENTROPY_WEIGHT * _cross_entropy(probability, truth) + DICE_WEIGHT * (1 - dice).mean()


def _cross_entropy(probability: Tensor, truth: Tensor) -> Tensor:
    """Written out, since torch's own stops with an assertion on the device where this lets a NaN be seen and named."""
    return -torch.where(truth, probability, 1 - probability).clamp(min=1e-6).log().mean()
