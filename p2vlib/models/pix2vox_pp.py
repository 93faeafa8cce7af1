"""Pix2Vox++: what it changes in Pix2Vox, a ResNet trunk that trains, a padded head and the multi-scale fusion.

Xie et al., Pix2Vox++: Multi-scale Context-aware 3D Object Reconstruction from Single and Multiple Images (IJCV 2020).
The trunks follow He et al., Deep Residual Learning for Image Recognition (CVPR 2016), table 1, with the standard names
of torchvision's weights; the stride of a bottleneck is in its 3x3 convolution, as in these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

from p2vlib.models.pix2vox import (
    Encoder,
    Fused,
    HeadBlock,
    Pix2Vox,
    Pix2VoxConfig,
    fuse_by_scores,
    fusion_block,
    single_view_share,
    vgg_trunk,
)

STAGES = {"resnet18": (2, 2), "resnet50": (3, 4)}
"""Blocks of the first two stages."""

TRUNK_CHANNELS = {"resnet18": 128, "resnet50": 512}
"""Channels of the map after the second stage."""

STANDARD_NAMES = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5"}
"""Standard name of a part -> its number in the trunk, which is its name in the published checkpoints."""


@dataclass(frozen=True)
class Pix2VoxPPConfig(Pix2VoxConfig):
    """The architecture of a Pix2Vox++; the defaults are the published Pix2Vox++-A."""

    trunk: tuple[int, int, int, int] | str = "resnet50"
    """`resnet18`, `resnet50`, or the channels of the four blocks of a VGG16-bn."""

    freeze_trunk: bool = False

    head: tuple[HeadBlock, ...] = ((512, 3, 1), (256, 3, 2), (256, 3, 2))

    padded_head: bool = True

    fusion: str = "multi-scale"


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (ResNet-18)."""

    expansion = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels, width, stride)

    def forward(self, features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        change = self.relu(self.bn1(self.conv1(features)))
        return self.relu(self.bn2(self.conv2(change)) + self.downsample(features))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut (ResNet-50)."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(channels, 4 * width, stride)

    def forward(self, features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        change = self.relu(self.bn1(self.conv1(features)))
        change = self.relu(self.bn2(self.conv2(change)))
        return self.relu(self.bn3(self.conv3(change)) + self.downsample(features))


def _shortcut(channels: int, width: int, stride: int) -> nn.Module:
    """The identity where the shape stays, else a 1x1 convolution."""
    if stride == 1 and channels == width:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))


def resnet_trunk(name: str) -> nn.Sequential:
    """`resnet18` or `resnet50` up to its second stage: ``[n, 3, h, w]`` -> ``[n, 128 or 512, h / 8, w / 8]``.

    Raises:
        ValueError: another name.
    """
    if name not in STAGES:
        raise ValueError(f"no trunk is called {name!r}; expected {', '.join(STAGES)} or four widths of a VGG16")
    block = BasicBlock if name == "resnet18" else Bottleneck
    first, second = STAGES[name]
    return nn.Sequential(
        nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1),
        _stage(block, 64, 64, first, stride=1),
        _stage(block, 64 * block.expansion, 128, second, stride=2),
    )


def _stage(block: type[BasicBlock | Bottleneck], channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    wide = width * block.expansion
    return nn.Sequential(block(channels, width, stride), *[block(wide, width, 1) for _ in range(blocks - 1)])


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
        if volumes.shape[1] == 1:
            return single_view_share(volumes)
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

    def _encoder(self, config: Pix2VoxPPConfig) -> Encoder:
        if isinstance(config.trunk, str):
            trunk, channels = resnet_trunk(config.trunk), TRUNK_CHANNELS[config.trunk]
            return Encoder(config, "resnet", trunk, channels)
        return Encoder(config, "vgg", vgg_trunk(config.trunk), config.trunk[-1])

    def _trunk_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The entries of a ResNet's state dict (``layer1.0.conv1.weight`` …) that belong to the trunk."""
        if not isinstance(self.config.trunk, str):
            return super()._trunk_state(state)
        parts = {name: name.partition(".") for name in state}
        return {
            f"{STANDARD_NAMES[part]}.{rest}": state[name]
            for name, (part, _, rest) in parts.items()
            if part in STANDARD_NAMES
        }
