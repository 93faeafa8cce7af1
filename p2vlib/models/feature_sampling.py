"""Reading photos at points in space: what every view has to say of a point, and all views together.

Shared by the network of rays, which reads at the centres of its voxels, and by the head that answers between them.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from p2vlib.geometry.projection import Projection

BESIDE_FEATURES = 5
"""What a point knows of a view beside its features: whether it is seen, how far off, and from where."""


def convolution(channels: int, width: int, stride: int = 1) -> nn.Sequential:
    """Three by three, normalised, rectified."""
    layer = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(width), nn.ReLU(inplace=True))


def sample_features(
    maps: Float[Tensor, "photos read rows columns"], sight: Projection, beside: nn.Linear
) -> tuple[Float[Tensor, "batch views channels points"], Float[Tensor, "batch views points"]]:
    """Features of each view at each point, and the last of ``maps``, the logit of being inside the silhouette.

    One hidden layer a view and point: its half on the photo is the maps' last, which commutes with reading.
    """
    read = functional.grid_sample(maps, sight.place.flatten(0, 1)[:, None], align_corners=False)
    read = read[:, :, 0].unflatten(0, sight.seen.shape[:2])  # [batch, views, 16 + 1, points]
    told = torch.einsum("cf,bvfn->bvcn", beside.weight, sight.beside) + beside.bias[:, None]
    return functional.relu(read[:, :, :-1] + told), read[:, :, -1]


def silhouette_consensus(
    inside: Float[Tensor, "batch views points"], seen: Bool[Tensor, "batch views points"]
) -> Float[Tensor, "batch 2 points"]:
    """Mean and least logit of the silhouettes of the views that see a point, about -1 to 1."""
    inside = torch.tanh(inside / 4)
    mean = (inside * seen).sum(1) / seen.sum(1).clamp(min=1)
    return torch.stack([mean, inside.masked_fill(~seen, 1.0).amin(1)], 1)


def uniform_weights(seen: Bool[Tensor, "batch views points"]) -> Float[Tensor, "batch views points"]:
    """Weights of the mean over the views that see a point."""
    return seen.float() / seen.sum(1, keepdim=True).clamp(min=1)


def weighted_sum(
    weights: Float[Tensor, "batch views points"], read: Float[Tensor, "batch views channels points"]
) -> Float[Tensor, "batch channels points"]:
    """The weighed sum over views, one after the other: no product is ever held for all of them."""
    total = torch.zeros_like(read[:, 0])
    for weight, view in zip(weights.unbind(1), read.unbind(1), strict=True):
        total = torch.addcmul(total, weight[:, None], view)
    return total


def weighted_variance(
    weights: Float[Tensor, "batch views points"],
    read: Float[Tensor, "batch views channels points"],
    mean: Float[Tensor, "batch channels points"],
) -> Float[Tensor, "batch channels points"]:
    """The variance about ``mean``: E[x^2] - E[x]^2, since torch.var over views costs more than the convolutions."""
    return (weighted_sum(weights, read.square()) - mean.square()).clamp(min=0)
