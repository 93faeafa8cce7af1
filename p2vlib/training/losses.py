"""Training losses. Which terms apply follows from the outputs of the network and from its own terms (`Network`)."""

from __future__ import annotations

from functools import reduce

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from p2vlib.models.network import Batch, Reconstruction

CROSS_ENTROPY_WEIGHT = 10.0
"""Published: ten times the mean voxel-wise binary cross entropy, of the fused and of the refined volume."""

DICE_WEIGHT = 6.0
"""Chosen on validation objects: 1 was no better than 0, 3 was better; 6, tried with a sixth more steps, was best."""


def training_loss(network: nn.Module, result: Reconstruction, batch: Batch, name: str = "default") -> Float[Tensor, ""]:
    """The loss of one batch: that of the volumes plus the network's ``loss_terms``, or the network's own ``loss``.

    Args:
        network: the network; see `Network` for its optional members.
        result: its output for ``batch``.
        batch: the data.
        name: `default`: `shape_loss` of the refined volume, of the fused one and of the volume of each view. Without
            the last term the gradient of a view, through the fusion alone, is very small: most steps then had to use
            single views, and neither the refiner nor the recurrence learned. `published`: the cross entropy of the
            refined and the fused volume.

    Raises:
        ValueError: an unknown ``name``.
    """
    if name not in ("default", "published"):
        raise ValueError(f"no loss is called {name!r}; expected default or published")
    if loss := getattr(network, "loss", None):
        return loss(result, batch)
    volumes = [result.probability, *([result.coarse] if result.coarse is not result.probability else [])]
    if name == "published":
        return CROSS_ENTROPY_WEIGHT * reduce(torch.add, [cross_entropy(volume, batch.truth) for volume in volumes])
    terms = [shape_loss(volume, batch.truth) for volume in volumes]
    if result.per_view_occupancy.shape[1] > 1:
        terms.append(shape_loss(result.per_view_occupancy, batch.truth[:, None].expand_as(result.per_view_occupancy)))
    if loss_terms := getattr(network, "loss_terms", None):
        terms += loss_terms(result, batch, shape_loss).values()
    return reduce(torch.add, terms)


def shape_loss(
    probability: Float[Tensor, "*shape"], truth: Bool[Tensor, "*shape"], space: tuple[int, ...] = (-3, -2, -1)
) -> Float[Tensor, ""]:
    """10 BCE + 6 (1 - Dice), averaged over the batch.

    A mean over voxels gives thin structures hardly any weight; Dice (Milletari et al., V-Net, 2016) is relative to the
    size of the object. ``space`` are the axes of one volume or image.
    """
    intersection = (probability * truth).sum(space)
    dice = (2 * intersection + 1) / (probability.sum(space) + truth.sum(space) + 1)
    return CROSS_ENTROPY_WEIGHT * cross_entropy(probability, truth) + DICE_WEIGHT * (1 - dice).mean()


def cross_entropy(probability: Float[Tensor, "*shape"], truth: Bool[Tensor, "*shape"]) -> Float[Tensor, ""]:
    """Mean binary cross entropy. PyTorch's own fails with a device-side assertion on NaN; this one returns it."""
    return -torch.where(truth, probability, 1 - probability).clamp(min=1e-6).log().mean()
