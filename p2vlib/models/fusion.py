"""Many volumes to one: how the views of a sample are put together."""

from __future__ import annotations

from collections import OrderedDict

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn import functional

Fused = tuple[Float32[Tensor, "batch x y z"], Float32[Tensor, "batch views x y z"]]


def _block(channels: int, width: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv3d(channels, width, 3, stride=stride, padding=1)
    return nn.Sequential(convolution, nn.BatchNorm3d(width), nn.LeakyReLU(0.2, inplace=True))


def _weighed(scores: Float[Tensor, "n 1 x y z"], volumes: Float32[Tensor, "batch views x y z"]) -> Fused:
    """A softmax over the views makes weights of the scores."""
    weights = torch.softmax(scores.float().reshape(volumes.shape), dim=1)  # -> [batch, views, 32, 32, 32]
    fused = (weights * volumes).sum(dim=1).clamp(0, 1)  # -> [batch, 32, 32, 32]
    return fused, weights


def _spread(scores: Float[Tensor, "n 1 some_x some_y some_z"], volumes: Float32[Tensor, "batch views x y z"]) -> Tensor:
    """Scores that were found on a coarser grid, on that of the volumes."""
    if scores.shape[2:] == volumes.shape[2:]:
        return scores
    return functional.interpolate(scores.float(), size=volumes.shape[2:])  # 16^3 -> 32^3


def _alone(volumes: Float32[Tensor, "batch 1 x y z"]) -> Fused:
    """With one view its weight is 1 whatever the score: none is computed, and steps with one view teach no fusion."""
    return volumes[:, 0], torch.ones_like(volumes)


class ContextAwareFusion(nn.Sequential):
    """Weighs every voxel of every view by a score read off its surroundings (section 3.4 of the Pix2Vox paper).

    Args:
        channels: channels of the decoder's raw features.
        widths: channels after each 3x3x3 convolution; the last has to be 1, the score.
        stride: of the first convolution. With 2 the scores are found on a grid half as fine, one for 8 voxels, for a
            fifth of the time; the surroundings they are read off reach twice as far. Published: 1.
    """

    def __init__(self, channels: int, widths: tuple[int, ...], stride: int = 1) -> None:
        if widths[-1] != 1:
            raise ValueError(f"the last width of the merger is the score and has to be 1; found {widths}")
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        for number, width in enumerate(widths, start=1):
            parts[f"layer{number}"] = _block(channels, width, stride if number == 1 else 1)
            channels = width
        super().__init__(parts)

    def forward(self, raw: Float[Tensor, "n raw x y z"], volumes: Float32[Tensor, "batch views x y z"]) -> Fused:
        """The fused volume, in [0, 1], and the weight of each view in each voxel."""
        if volumes.shape[1] == 1:
            return _alone(volumes)
        scores = super().forward(raw)  # [batch * views, 9, 32, 32, 32] -> [batch * views, 1, 32, 32, 32]
        return _weighed(_spread(scores, volumes), volumes)


class MultiScaleFusion(nn.Module):
    """The fusion of Pix2Vox++ (section 3.4): four blocks in series, a fifth hears them all, a sixth gives the score.

    A later block has seen wider surroundings than an earlier one.

    Args:
        channels: channels of the decoder's raw features; the blocks keep them.
        stride: of the first block, as in `ContextAwareFusion`. Published: 1.
    """

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.layer1 = _block(channels, channels, stride)
        self.layer2, self.layer3, self.layer4 = (_block(channels, channels) for _ in range(3))
        self.layer5 = _block(4 * channels, channels)
        self.layer6 = _block(channels, 1)

    def forward(self, raw: Float[Tensor, "n raw x y z"], volumes: Float32[Tensor, "batch views x y z"]) -> Fused:
        """The fused volume, in [0, 1], and the weight of each view in each voxel."""
        if volumes.shape[1] == 1:
            return _alone(volumes)
        heard = []
        for block in (self.layer1, self.layer2, self.layer3, self.layer4):
            raw = block(raw)  # [batch * views, 9, 32, 32, 32]
            heard.append(raw)
        scores = self.layer6(self.layer5(torch.cat(heard, dim=1)))  # 36 -> 9 -> [batch * views, 1, 32, 32, 32]
        return _weighed(_spread(scores, volumes), volumes)


class MeanFusion(nn.Module):
    """Every view counts the same everywhere: what context-aware fusion has to beat."""

    def forward(self, raw: Float[Tensor, "n raw x y z"], volumes: Float32[Tensor, "batch views x y z"]) -> Fused:
        """The mean volume and the constant weights."""
        return volumes.mean(dim=1), torch.full_like(volumes, 1 / volumes.shape[1])
