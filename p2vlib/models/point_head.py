"""The point head: occupancy at any point near the surface, beyond the resolution of the coarse volume.

At 32^3 a voxel of a foot is a centimetre, three times the size of a pixel of its photo. Near the coarse surface a small
network predicts the occupancy again at every finer voxel, from the photos. Kirillov et al., PointRend (CVPR 2020), did
so for images; Saito et al., PIFu (ICCV 2019), with image features at points in space.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from p2vlib.geometry.projection import project_points
from p2vlib.models.feature_sampling import (
    RAY_FEATURES,
    convolution,
    sample_features,
    silhouette_consensus,
    uniform_weights,
    weighted_sum,
    weighted_variance,
)


class CoarseState(NamedTuple):
    """The outputs of the coarse network that the point head reads."""

    photos: Float[Tensor, "photos 3 rows columns"]
    maps: Float[Tensor, "photos channels map_rows map_columns"]
    """The feature maps of the photos; the last channel is the logit of the silhouette."""
    cameras: Float[Tensor, "batch views 3 7"]
    volume: Float[Tensor, "batch channels x layers z"]
    """The coarse network's last map over the lower part of the cube; its last channel is the logit of occupancy."""
    height: float
    """The height of that part as a share of the cube's edge."""


class PointHead(nn.Module):
    """The logit of occupancy at any point of the cube, as a correction of the interpolated coarse logit.

    Args:
        map_channels: channels of `CoarseState.maps`.
        volume_channels: channels of `CoarseState.volume`.
        features: channels of the features that a point reads from a photo.
        hidden: width of the two hidden layers.
    """

    def __init__(self, map_channels: int, volume_channels: int, features: int, hidden: int = 64) -> None:
        super().__init__()
        self.photo = nn.Sequential(convolution(3 + map_channels, features), convolution(features, features))
        self.inside = nn.Conv2d(features, 1, 1)
        self.beside = nn.Linear(RAY_FEATURES, features)  # the name in stored weights
        self.decide = nn.Sequential(
            nn.Linear(volume_channels + 2 * features + 2 + 3, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, 1),
        )
        for value in self.decide[-1].parameters():
            nn.init.zeros_(value)  # it starts as the interpolated coarse logit

    def maps(self, state: CoarseState) -> Float[Tensor, "photos channels rows columns"]:
        """Feature maps at the resolution of the photos; the last channel is the logit of the silhouette."""
        larger = functional.interpolate(state.maps, state.photos.shape[-2:], mode="bilinear")
        features = self.photo(torch.cat([state.photos, larger], 1))
        return torch.cat([features, self.inside(features)], 1).float()

    def forward(
        self,
        maps: Float[Tensor, "photos channels rows columns"],
        state: CoarseState,
        points: Float[Tensor, "batch points 3"],
    ) -> Float[Tensor, "batch points"]:
        """Logits at ``points`` of the unit cube; ``maps`` are `maps` of ``state``."""
        projection = project_points(state.cameras, points)
        features, inside = sample_features(maps, projection, self.beside)
        weights = uniform_weights(projection.visible)
        mean = weighted_sum(weights, features)
        coarse = sample_coarse(state, points)
        variance, hull = weighted_variance(weights, features, mean), silhouette_consensus(inside, projection.visible)
        inputs = torch.cat([coarse, mean, variance, hull, (2 * points - 1).transpose(1, 2)], 1)
        return coarse[:, -1] + self.decide(inputs.transpose(1, 2)).float()[..., 0]


def sample_coarse(
    state: CoarseState, points: Float[Tensor, "batch points 3"]
) -> Float[Tensor, "batch channels points"]:
    """The coarse map, interpolated between the centres of its voxels and constant beyond the outer ones."""
    positions = 2 * points / points.new_tensor([1.0, state.height, 1.0]) - 1
    sampled = functional.grid_sample(
        state.volume, positions.flip(-1)[:, None, None], padding_mode="border", align_corners=False
    )
    return sampled[:, :, 0, 0]


def boundary_voxels(solid: Bool[Tensor, "batch x y z"]) -> Bool[Tensor, "batch x y z"]:
    """Voxels of which at least one of the 26 neighbours has the other value."""
    value = solid.float()[:, None]
    outer = functional.max_pool3d(value, 3, 1, 1)
    inner = -functional.max_pool3d(-value, 3, 1, 1)
    return (outer > inner)[:, 0]


def sample_near_surface(
    truth: Bool[Tensor, "batch x y z"], number: int, height: float, generator: torch.Generator
) -> Float[Tensor, "batch number 3"]:
    """Points within two voxels of the surface of ``truth``, in the lower ``height`` of the unit cube."""
    edge = truth.shape[-1]
    near = boundary_voxels(truth)
    near[:, :, round(height * edge) :] = False
    weights = near.flatten(1).float().cpu()
    chosen = torch.multinomial(weights, number, replacement=True, generator=generator)
    voxels = torch.stack(torch.unravel_index(chosen, truth.shape[1:]), -1)
    points = (voxels + torch.rand(voxels.shape, generator=generator)) / edge
    return points.to(truth.device)
