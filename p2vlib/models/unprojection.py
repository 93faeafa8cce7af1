"""Unprojection: image features, sampled at every voxel through the cameras of the photos.

Pix2Vox has to guess the camera from the photo. Here every voxel is projected into every photo and reads the features
there; mean, variance and an attention-weighted mean aggregate the views, whatever their number and order, and a 3-D
U-Net computes the occupancy. Kar et al., Learning a Multi-View Stereo Machine (NeurIPS 2017); Murez et al., Atlas
(ECCV 2020), which the slides name. Older results call this network ``rays``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from p2vlib.geometry.projection import project_points, render_silhouettes, voxel_centres
from p2vlib.models.feature_sampling import (
    RAY_FEATURES,
    convolution,
    sample_features,
    silhouette_consensus,
    uniform_weights,
    weighted_sum,
    weighted_variance,
)
from p2vlib.models.network import Batch, Reconstruction, check_views, initialise_weights
from p2vlib.models.point_head import CoarseState

VOXEL_FEATURES = 6
"""Channels of a voxel besides the aggregated features: mean and minimum of the silhouette logits, its position, and
the share of the views that see it."""


@dataclass(frozen=True)
class UnprojectionConfig:
    """The architecture of one unprojection network; the defaults learn in minutes on two processor cores."""

    image_size: int = 96
    """Height and width of the photos, pixels; a multiple of 16."""
    encoder: tuple[int, int, int, int] = (16, 32, 64, 64)
    """Channels at a half, a quarter, an eighth and a sixteenth of the photo."""
    features: int = 16
    """Channels that a voxel reads from a photo."""
    volume: tuple[int, int, int] = (16, 32, 64)
    """Channels of the 3-D U-Net at the grid, its half and its quarter."""
    aggregation: Literal["attention", "moments", "mean"] = "attention"
    """Aggregation over the views: `mean`; `moments`: mean and variance; `attention`: also a mean with weights that are
    computed for every voxel."""
    grid: int = 32
    """Edge of the volume in voxels, a multiple of 4."""
    height: float = 1.0
    """The lower share of the cube that can be occupied; the rest is empty and not computed."""


@dataclass(frozen=True, eq=False)
class UnprojectionReconstruction(Reconstruction):
    """A reconstruction with the silhouettes of its photos."""

    mask_probability: Float[Tensor, "batch views rows columns"]
    """The silhouette in each photo, in [0, 1]."""

    coarse_state: CoarseState
    """The inputs of a point head."""

    point_logits: Float[Tensor, "batch points"] | None = None
    """Logits of occupancy at the query points; None without points or without a point head."""


class Unprojection(nn.Module):
    """Predicts the occupancy of a cube from photos and their cameras, which are given in the frame of the cube.

    The network also predicts the silhouette in each photo. The minimum of the silhouette logits of a voxel is a visual
    hull, the input that the U-Net refines; without it a network of this size stays at the mean shape for hundreds of
    steps.

    Raises:
        ValueError: sizes in the config that do not fit each other.
    """

    needs_cameras = True
    order_free = True

    def __init__(self, config: UnprojectionConfig) -> None:
        super().__init__()
        self.layers = round(config.height * config.grid)
        if config.image_size % 16 or config.grid % 4 or self.layers % 4 or not 0 < self.layers <= config.grid:
            raise ValueError(
                "unprojection needs photos of a multiple of 16 pixels, a grid of a multiple of 4 and a height of so "
                f"many voxels; found {config.image_size}, {config.grid} and {config.height}"
            )
        self.config = config
        self.height = self.layers / config.grid
        channels = config.features
        self.encoder = UnprojectionEncoder(config.encoder, channels)
        self.mask = nn.Conv2d(channels, 1, 1)
        self.beside = nn.Linear(RAY_FEATURES, channels)  # the name in stored weights
        self.score = nn.Linear(channels, 1) if config.aggregation == "attention" else None
        aggregated = {"mean": 1, "moments": 2, "attention": 3}[config.aggregation] * channels
        # Scales the features to the size of the positions, which encode the mean shape and would dominate otherwise.
        self.level = nn.BatchNorm1d(aggregated)
        self.unet = UNet3d(aggregated + VOXEL_FEATURES, config.volume)
        initialise_weights(self)
        for layer in (self.mask, self.unet.head):
            nn.init.constant_(layer.get_parameter("bias"), -3.0)  # most of a photo and of a cube is empty

    def forward(
        self,
        views: Float[Tensor, "batch views 3 height width"],
        cameras: Float[Tensor, "batch views 3 7"] | None = None,
    ) -> UnprojectionReconstruction:
        """``views`` in [0, 1], any number of them in any order, each with its camera (`Camera.normalised`).

        Raises:
            ValueError: no cameras, or photos of another size than the config's.
        """
        if cameras is None:
            raise ValueError("unprojection needs the camera of every photo; found none; Pix2Vox needs no cameras")
        check_views(views, self.config.image_size)
        centres = voxel_centres(self.config.grid, self.layers, views.device)
        projection = project_points(cameras, centres)
        features = self.encoder(views.flatten(0, 1))  # [batch * views, 16, 48, 48]
        masks = self.mask(features)
        maps = torch.cat([features, masks], 1).float()
        sampled, inside = sample_features(maps, projection, self.beside)
        aggregated, weights = self._aggregate(sampled, projection.visible)
        positions = (2 * centres.T - 1).expand(len(views), 3, -1)
        count = projection.visible.float().mean(1, keepdim=True)
        hull = silhouette_consensus(inside, projection.visible)
        volume = torch.cat([self.level(aggregated), hull, positions, count], 1)  # [batch, 48 + 6, voxels]
        shape = (self.config.grid, self.layers, self.config.grid)
        last = self.unet(volume.unflatten(2, shape))  # [batch, 48 + 6, 32, 32, 32] -> [batch, 16, 32, 32, 32]
        logits = self.unet.head(last)
        # As in Pix2Vox, the sigmoid runs in float32.
        probability = pad_height(torch.sigmoid(logits.float()).squeeze(1))
        weights = pad_height(weights.unflatten(2, shape).detach().float())
        state = CoarseState(
            views.flatten(0, 1) * 2 - 1, maps, cameras, torch.cat([last, logits], 1).float(), self.height
        )
        masks = torch.sigmoid(masks.float())[:, 0].unflatten(0, views.shape[:2])
        return UnprojectionReconstruction(probability, probability, probability[:, None], weights, masks, state)

    def predict_masks(
        self, views: Float[Tensor, "batch views 3 height width"]
    ) -> Float[Tensor, "batch views rows columns"]:
        """Predicts only the silhouettes (`UnprojectionReconstruction.mask_probability`), which need no cameras."""
        check_views(views, self.config.image_size)
        masks = self.mask(self.encoder(views.flatten(0, 1)))
        return torch.sigmoid(masks.float())[:, 0].unflatten(0, views.shape[:2])

    def loss_terms(
        self, result: UnprojectionReconstruction, batch: Batch, shape_loss: Callable[..., Tensor]
    ) -> dict[str, Tensor]:
        """The loss of the silhouettes, against those of the true volume."""
        assert batch.true_cameras is not None, "a batch for a network that needs cameras has cameras"
        size = result.mask_probability.shape[-1]
        silhouettes = render_silhouettes(batch.truth.float(), batch.true_cameras, size) > 0.5
        return {"silhouettes": shape_loss(result.mask_probability, silhouettes, (-2, -1))}

    def _aggregate(
        self, features: Float[Tensor, "batch views channels voxels"], visible: Bool[Tensor, "batch views voxels"]
    ) -> tuple[Float[Tensor, "batch aggregated voxels"], Float[Tensor, "batch views voxels"]]:
        """Mean and variance over the views that see a voxel, the attention-weighted mean, and the weights of views."""
        uniform = uniform_weights(visible)
        mean = weighted_sum(uniform, features)
        if self.config.aggregation == "mean":
            return mean, uniform
        variance = weighted_variance(uniform, features, mean)
        if self.score is None:
            return torch.cat([mean, variance], 1), uniform
        scores = torch.einsum("c,bvcn->bvn", self.score.weight[0], features)
        weights = torch.softmax(scores.masked_fill(~visible, -1e4), 1) * visible.any(1, keepdim=True)
        return torch.cat([mean, variance, weighted_sum(weights, features)], 1), weights


def pad_height(lower: Float[Tensor, "*batch x layers z"]) -> Float[Tensor, "*batch x y z"]:
    """Appends the empty layers above ``lower``, up to the height of a cube."""
    return functional.pad(lower, (0, 0, 0, lower.shape[-1] - lower.shape[-2]))


class UnprojectionEncoder(nn.Module):
    """Computes a map of features at half the size of a photo; the receptive field of each is the whole photo.

    Strided convolutions down to a sixteenth; on the way back the coarse maps are added to the finer ones.
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
    """Two halvings and two doublings with additive skips; `head` computes the logits from the last map."""

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
        """The last map, which is the input of `head`, from the features of every voxel."""
        whole = self.enter(volume)  # [batch, 16, 32, 32, 32]
        half = self.down1(whole)  # -> [batch, 32, 16, 16, 16]
        half = self.join2(half + self.up2(self.down2(half)))  # -> [batch, 64, 8, 8, 8] -> [batch, 32, 16, 16, 16]
        return self.join1(whole + self.up1(half))  # -> [batch, 16, 32, 32, 32]
