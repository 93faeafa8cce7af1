"""Features of photos at points in space: sampled per view, then aggregated over the views.

Used by the unprojection network at the centres of its voxels, and by the point head between them.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from p2vlib.geometry.projection import Projection

RAY_FEATURES = 5
"""Channels of `Projection.ray_features`: visibility, depth and direction."""


def convolution(channels: int, width: int, stride: int = 1) -> nn.Sequential:
    """A 3x3 convolution, batch norm and ReLU."""
    layer = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(width), nn.ReLU(inplace=True))


def sample_features(
    maps: Float[Tensor, "photos channels_1 rows columns"], projection: Projection, ray_layer: nn.Linear
) -> tuple[Float[Tensor, "batch views channels points"], Float[Tensor, "batch views points"]]:
    """Features of each view at each point, and the last channel of ``maps``, the logit of the silhouette.

    The features are one hidden layer of image and ray features. Its image half is the last layer of the maps, since a
    linear layer commutes with interpolation; ``ray_layer`` is the other half.
    """
    sampled = functional.grid_sample(maps, projection.uv.flatten(0, 1)[:, None], align_corners=False)
    sampled = sampled[:, :, 0].unflatten(0, projection.visible.shape[:2])  # [batch, views, 16 + 1, points]
    rays = torch.einsum("cf,bvfn->bvcn", ray_layer.weight, projection.ray_features) + ray_layer.bias[:, None]
    return functional.relu(sampled[:, :, :-1] + rays), sampled[:, :, -1]


def silhouette_consensus(
    inside: Float[Tensor, "batch views points"], visible: Bool[Tensor, "batch views points"]
) -> Float[Tensor, "batch 2 points"]:
    """Mean and minimum of the silhouette logits over the views that see a point, squashed to (-1, 1)."""
    inside = torch.tanh(inside / 4)
    mean = (inside * visible).sum(1) / visible.sum(1).clamp(min=1)
    return torch.stack([mean, inside.masked_fill(~visible, 1.0).amin(1)], 1)


def uniform_weights(visible: Bool[Tensor, "batch views points"]) -> Float[Tensor, "batch views points"]:
    """Weights of the mean over the views that see a point."""
    return visible.float() / visible.sum(1, keepdim=True).clamp(min=1)


def weighted_sum(
    weights: Float[Tensor, "batch views points"], features: Float[Tensor, "batch views channels points"]
) -> Float[Tensor, "batch channels points"]:
    """Weighted sum over views, accumulated view by view to save memory."""
    total = torch.zeros_like(features[:, 0])
    for weight, view in zip(weights.unbind(1), features.unbind(1), strict=True):
        total = torch.addcmul(total, weight[:, None], view)
    return total


def weighted_variance(
    weights: Float[Tensor, "batch views points"],
    features: Float[Tensor, "batch views channels points"],
    mean: Float[Tensor, "batch channels points"],
) -> Float[Tensor, "batch channels points"]:
    """The variance about ``mean``: E[x^2] - E[x]^2, since torch.var over views costs more than the convolutions."""
    return (weighted_sum(weights, features.square()) - mean.square()).clamp(min=0)
