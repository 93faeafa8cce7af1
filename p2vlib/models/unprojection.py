"""Rays: features of the photos, brought into the cube along the cameras that took them.

Pix2Vox has to guess from a photo where it was taken. Here every voxel is projected into every photo and reads the
features there; what the views say of it is put together whatever their number and order, and a 3-D U-Net decides with
its neighbours. Kar et al., Learning a Multi-View Stereo Machine (NeurIPS 2017); Murez et al., Atlas (ECCV 2020), which
the slides name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from p2vlib.geometry.projection import project_points, voxel_centres
from p2vlib.models.feature_sampling import (
    BESIDE_FEATURES,
    convolution,
    sample_features,
    silhouette_consensus,
    uniform_weights,
    weighted_sum,
    weighted_variance,
)
from p2vlib.models.initialisation import initialise_weights
from p2vlib.models.point_head import CoarseState
from p2vlib.models.reconstruction import Reconstruction, check_views

BESIDE_VIEWS = 6
"""What a voxel knows beside what it reads: how far inside the silhouettes it is, in the mean and in the view that has
it least; its own place; by how many views it is seen."""


@dataclass(frozen=True)
class UnprojectionConfig:
    """Everything that makes one network of rays; the defaults learn in minutes on two processor cores."""

    image_size: int = 96
    """Height and width of the photos, pixels; a multiple of 16."""

    encoder: tuple[int, int, int, int] = (16, 32, 64, 64)
    """Channels at a half, a quarter, an eighth and a sixteenth of the photo."""

    features: int = 16
    """Channels that a voxel reads from a photo."""

    volume: tuple[int, int, int] = (16, 32, 64)
    """Channels of the 3-D U-Net at the grid, its half and its quarter."""

    aggregation: Literal["attention", "moments", "mean"] = "attention"
    """How views are put together: by their mean alone, also by their variance, and with attention also by a mean that
    is weighed voxel by voxel."""

    grid: int = 32
    """Edge of the volume in voxels, a multiple of 4."""

    height: float = 1.0
    """The lower share of the cube that can be occupied; above it nothing is computed and all is empty."""


class Unprojection(nn.Module):
    """Photos and their cameras to the occupancy of the cube that the cameras are given in.

    Each photo is also asked for its silhouette. The least of what the silhouettes say of a voxel is a visual hull, from
    which the U-Net starts; without it a network of this size stays at the mean shape for hundreds of steps.

    Raises:
        ValueError: sizes in the config that do not fit.
    """

    needs_cameras = True
    order_free = True

    def __init__(self, config: UnprojectionConfig) -> None:
        super().__init__()
        self.layers = round(config.height * config.grid)
        if config.image_size % 16 or config.grid % 4 or self.layers % 4 or not 0 < self.layers <= config.grid:
            raise ValueError(
                "rays need photos of a multiple of 16 pixels, a grid of a multiple of 4 and a height of so many voxels;"
                f" found {config.image_size}, {config.grid} and {config.height}"
            )
        self.config = config
        self.height = self.layers / config.grid
        channels = config.features
        self.encoder = UnprojectionEncoder(config.encoder, channels)
        self.mask = nn.Conv2d(channels, 1, 1)
        self.beside = nn.Linear(BESIDE_FEATURES, channels)
        self.score = nn.Linear(channels, 1) if config.aggregation == "attention" else None
        joined = {"mean": 1, "moments": 2, "attention": 3}[config.aggregation] * channels
        # On a par with the voxels' places: else these, which know the mean shape, are all that is listened to.
        self.level = nn.BatchNorm1d(joined)
        self.unet = UNet3d(joined + BESIDE_VIEWS, config.volume)
        initialise_weights(self)
        for layer in (self.mask, self.unet.head):
            nn.init.constant_(layer.bias, -3.0)  # most of a photo and of a cube is empty

    def forward(
        self,
        views: Float[Tensor, "batch views 3 height width"],
        cameras: Float[Tensor, "batch views 3 7"] | None = None,
    ) -> Reconstruction:
        """``views`` in [0, 1], any number of them in any order, each with its camera (`Camera.seen_from`).

        Raises:
            ValueError: no cameras, or photos of another size than the config's.
        """
        if cameras is None:
            raise ValueError("rays need the camera of every photo; found none: Pix2Vox does without")
        check_views(views, self.config.image_size)
        centres = voxel_centres(self.config.grid, self.layers, views.device)
        sight = project_points(cameras, centres)
        features = self.encoder(views.flatten(0, 1))  # [batch * views, 16, 48, 48]
        masks = self.mask(features)
        maps = torch.cat([features, masks], 1).float()
        read, inside = sample_features(maps, sight, self.beside)
        joined, weights = self._together(read, sight.seen)
        places = (2 * centres.T - 1).expand(len(views), 3, -1)
        count = sight.seen.float().mean(1, keepdim=True)
        shape = (self.config.grid, self.layers, self.config.grid)
        volume = torch.cat(
            [self.level(joined), silhouette_consensus(inside, sight.seen), places, count], 1
        )  # [batch, 48 + 6, voxels]
        volume = volume.unflatten(2, shape)  # -> [batch, 48 + 6, 32, 32, 32]
        last = self.unet(volume)
        logits = self.unet.head(last)
        # As in Pix2Vox, the sigmoid runs in float32.
        probability = self._whole(torch.sigmoid(logits.float()).squeeze(1))
        scores = self._whole(weights.unflatten(2, shape).detach().float())
        known = CoarseState(
            views.flatten(0, 1) * 2 - 1, maps, cameras, torch.cat([last, logits], 1).float(), self.height
        )
        masks = torch.sigmoid(masks.float())[:, 0].unflatten(0, views.shape[:2])
        return Reconstruction(probability, probability, probability[:, None], scores, masks, known=known)

    def _whole(self, lower: Float[Tensor, "*batch x layers z"]) -> Float[Tensor, "*batch x y z"]:
        """With the empty layers above."""
        return functional.pad(lower, (0, 0, 0, self.config.grid - self.layers))

    def _together(
        self, read: Float[Tensor, "batch views channels voxels"], seen: Bool[Tensor, "batch views voxels"]
    ) -> tuple[Float[Tensor, "batch joined voxels"], Float[Tensor, "batch views voxels"]]:
        """Mean and variance over the views that see a voxel, the attended mean, and each view's weight in it."""
        alike = uniform_weights(seen)
        mean = weighted_sum(alike, read)
        if self.config.aggregation == "mean":
            return mean, alike
        variance = weighted_variance(alike, read, mean)
        if self.score is None:
            return torch.cat([mean, variance], 1), alike
        scores = torch.einsum("c,bvcn->bvn", self.score.weight[0], read)
        weights = torch.softmax(scores.masked_fill(~seen, -1e4), 1) * seen.any(1, keepdim=True)
        return torch.cat([mean, variance, weighted_sum(weights, read)], 1), weights


class UnprojectionEncoder(nn.Module):
    """A photo to a map of features at half its size, which have seen all of it.

    Strided convolutions down to a sixteenth, and the coarse maps added to the finer ones on the way back.
    """

    def __init__(self, widths: tuple[int, int, int, int], features: int) -> None:
        super().__init__()
        self.down, self.back, self.join = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for channels, width in zip((3, *widths), widths, strict=False):
            self.down.append(nn.Sequential(convolution(channels, width, 2), convolution(width, width)))
        for finer, coarser in zip(widths, widths[1:], strict=False):
            self.back.append(nn.Conv2d(coarser, finer, 1))
            self.join.append(convolution(finer, finer))
        self.out = nn.Conv2d(widths[0], features, 1)

    def forward(self, photos: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n features height width"]:
        """``photos`` in [0, 1]."""
        x = photos * 2 - 1
        maps = [x := down(x) for down in self.down]  # [n, 3, 96, 96] -> [n, 16, 48, 48] … [n, 64, 6, 6]
        x = maps.pop()
        for back, join in zip(reversed(self.back), reversed(self.join), strict=True):
            x = join(maps.pop() + functional.interpolate(back(x), scale_factor=2.0))
        return self.out(x)  # -> [n, 16, 48, 48]


def _conv3d(channels: int, width: int) -> nn.Sequential:
    convolution = nn.Conv3d(channels, width, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(width), nn.ReLU(inplace=True))


class UNet3d(nn.Module):
    """Two halvings and two doublings with skips by addition; the last map becomes one logit a voxel."""

    def __init__(self, channels: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        whole, half, quarter = widths
        self.enter = nn.Sequential(nn.Conv3d(channels, whole, 1), nn.ReLU(inplace=True), _conv3d(whole, whole))
        self.down1 = nn.Sequential(nn.Conv3d(whole, half, 2, stride=2), _conv3d(half, half))
        self.down2 = nn.Sequential(
            nn.Conv3d(half, quarter, 2, stride=2), _conv3d(quarter, quarter), _conv3d(quarter, quarter)
        )
        self.up2 = nn.ConvTranspose3d(quarter, half, 2, stride=2)
        self.join2 = _conv3d(half, half)
        self.up1 = nn.ConvTranspose3d(half, whole, 2, stride=2)
        self.join1 = _conv3d(whole, whole)
        self.head = nn.Conv3d(whole, 1, 1)

    def forward(self, volume: Float[Tensor, "batch c x y z"]) -> Float[Tensor, "batch whole x y z"]:
        """Features of every voxel to the last map, of which `head` makes its logit."""
        whole = self.enter(volume)  # [batch, 16, 32, 32, 32]
        half = self.down1(whole)  # -> [batch, 32, 16, 16, 16]
        half = self.join2(half + self.up2(self.down2(half)))  # -> [batch, 64, 8, 8, 8] -> [batch, 32, 16, 16, 16]
        return self.join1(whole + self.up1(half))  # -> [batch, 16, 32, 32, 32]
