"""From coarse to fine: points near the surface are looked at once more, in the photos themselves.

At 32^3 a voxel of a foot is a centimetre, three times as large as a pixel of its photo. Where the coarse answer turns
from solid to empty, a small network decides again at every finer voxel, and nowhere else. Kirillov et al., PointRend
(CVPR 2020), did so for pictures; Saito et al., PIFu (ICCV 2019), with features of photos at points in space.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from p2vlib.geometry.projection import project_points
from p2vlib.models.feature_sampling import (
    BESIDE_FEATURES,
    convolution,
    sample_features,
    silhouette_consensus,
    uniform_weights,
    weighted_sum,
    weighted_variance,
)


class CoarseState(NamedTuple):
    """What the finer answer starts from."""

    photos: Float[Tensor, "photos 3 rows columns"]
    maps: Float[Tensor, "photos channels fewer_rows fewer_columns"]
    """What the coarse network reads from each: features, and the logit of the silhouette."""
    cameras: Float[Tensor, "batch views 3 7"]
    volume: Float[Tensor, "batch whole x layers z"]
    """The coarse network's last map over the lower part of the cube; its last channel is the logit of occupancy."""
    height: float
    """Which share of the cube that part is."""


class PointHead(nn.Module):
    """The logit of occupancy at any point of the cube, as a correction of the interpolated coarse one."""

    def __init__(self, channels: int, whole: int, features: int, hidden: int = 64) -> None:
        """``channels`` of the coarse network's maps, ``whole`` of its volume (`Known`)."""
        super().__init__()
        self.photo = nn.Sequential(convolution(3 + channels, features), convolution(features, features))
        self.inside = nn.Conv2d(features, 1, 1)
        self.beside = nn.Linear(BESIDE_FEATURES, features)
        self.decide = nn.Sequential(
            nn.Linear(whole + 2 * features + 2 + 3, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, 1),
        )
        for value in self.decide[-1].parameters():
            nn.init.zeros_(value)  # it begins as the interpolated coarse answer

    def maps(self, known: CoarseState) -> Float[Tensor, "photos read rows columns"]:
        """What is read at a point, at the photos' own pixels: features, and a logit of being inside the silhouette."""
        larger = functional.interpolate(known.maps, known.photos.shape[-2:], mode="bilinear")
        features = self.photo(torch.cat([known.photos, larger], 1))
        return torch.cat([features, self.inside(features)], 1).float()

    def forward(
        self,
        maps: Float[Tensor, "photos read rows columns"],
        known: CoarseState,
        points: Float[Tensor, "batch points 3"],
    ) -> Float[Tensor, "batch points"]:
        """``maps`` of the photos of ``known``, and points in the unit cube."""
        sight = project_points(known.cameras, points)
        read, inside = sample_features(maps, sight, self.beside)
        alike = uniform_weights(sight.seen)
        mean = weighted_sum(alike, read)
        coarse = sample_coarse(known, points)
        variance, silhouettes = weighted_variance(alike, read, mean), silhouette_consensus(inside, sight.seen)
        joined = torch.cat([coarse, mean, variance, silhouettes, (2 * points - 1).transpose(1, 2)], 1)
        return coarse[:, -1] + self.decide(joined.transpose(1, 2)).float()[..., 0]


def sample_coarse(known: CoarseState, points: Float[Tensor, "batch points 3"]) -> Float[Tensor, "batch whole points"]:
    """The coarse map between the centres of its voxels; beyond the outer ones it goes on as it is there."""
    places = 2 * points / points.new_tensor([1.0, known.height, 1.0]) - 1
    there = functional.grid_sample(
        known.volume, places.flip(-1)[:, None, None], padding_mode="border", align_corners=False
    )
    return there[:, :, 0, 0]


def near_surface(solid: Bool[Tensor, "batch x y z"]) -> Bool[Tensor, "batch x y z"]:
    """Voxels of which a neighbour is of the other kind."""
    value = solid.float()[:, None]
    outer = functional.max_pool3d(value, 3, 1, 1)
    inner = -functional.max_pool3d(-value, 3, 1, 1)
    return (outer > inner)[:, 0]
