"""Pix2Vox++: what it changes in Pix2Vox, a ResNet trunk that trains, a padded head and the multi-scale fusion.

Xie et al., Pix2Vox++: Multi-scale Context-aware 3D Object Reconstruction from Single and Multiple Images (IJCV 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from p2vlib.models.pix2vox import (
    Fused,
    Pix2Vox,
    Pix2VoxConfig,
    fuse_by_scores,
    fusion_block,
)
from p2vlib.models.trunks import Trunk


@dataclass(frozen=True)
class Pix2VoxPPConfig(Pix2VoxConfig):
    """The architecture of a Pix2Vox++; the defaults are the published Pix2Vox++-A."""

    trunk: Trunk = "resnet50"
    freeze_trunk: bool = False
    head: tuple[tuple[int, int, int], ...] = ((512, 3, 1), (256, 3, 2), (256, 3, 2))
    padded_head: bool = True
    fusion: str = "multi-scale"


class MultiScaleFusion(nn.Module):
    """The fusion of Pix2Vox++ (section 3.4): four blocks in series, a fifth reads all four, a sixth gives the score.

    Each block has a wider receptive field than the one before.

    Args:
        channels: channels of the decoder's raw features; the blocks keep them.
        stride: of the first block, as in `ContextAwareFusion`. Published: 1.
    """

    def __init__(self, channels: int, stride: int = 1) -> None:
        super().__init__()
        self.layer1 = fusion_block(channels, channels, stride)
        self.layer2, self.layer3, self.layer4 = (fusion_block(channels, channels) for _ in range(3))
        self.layer5 = fusion_block(4 * channels, channels)
        self.layer6 = fusion_block(channels, 1)

    def forward(self, raw: Float[Tensor, "n raw x y z"], volumes: Float32[Tensor, "batch views x y z"]) -> Fused:
        """The fused volume, in [0, 1], and the weight of each view in each voxel."""
        scales = []
        for block in (self.layer1, self.layer2, self.layer3, self.layer4):
            raw = block(raw)  # [batch * views, 9, 32, 32, 32]
            scales.append(raw)
        scores = self.layer6(self.layer5(torch.cat(scales, dim=1)))  # 36 -> 9 -> [batch * views, 1, 32, 32, 32]
        return fuse_by_scores(scores, volumes)


class Pix2VoxPP(Pix2Vox):
    """Pix2Vox with the trunk, the head and the fusion of Pix2Vox++."""

    fusions: ClassVar = {
        **Pix2Vox.fusions,
        "multi-scale": lambda config: MultiScaleFusion(config.decoder[-1] + 1, config.merger_stride),
    }
