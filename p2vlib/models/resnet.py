"""The ResNet trunks of Pix2Vox++, without torchvision: everything up to the second stage, with the standard names.

He et al., Deep Residual Learning for Image Recognition (CVPR 2016), table 1; the stride of a bottleneck sits on its 3x3
convolution, as in the ImageNet weights that everybody uses.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

STAGES = {"resnet18": (2, 2), "resnet50": (3, 4)}
"""Blocks of the first two stages."""

PLACES = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5"}
"""Standard name of a part -> its number in the trunk, which is its name in the published checkpoints."""


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


def resnet_trunk(name: str) -> nn.Sequential:
    """`resnet18` or `resnet50` up to its second stage: ``[n, 3, h, w]`` -> ``[n, 128 or 512, h / 8, w / 8]``.

    Raises:
        ValueError: another name.
    """
    if name not in STAGES:
        raise ValueError(f"no trunk is called {name!r}; there are {', '.join(STAGES)} and four widths of a VGG16")
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


def trunk_channels(name: str) -> int:
    """Channels of the map that `resnet_trunk` gives."""
    return {"resnet18": 128, "resnet50": 512}[name]


def _stage(block: type[BasicBlock | Bottleneck], channels: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    wide = width * block.expansion
    return nn.Sequential(block(channels, width, stride), *[block(wide, width, 1) for _ in range(blocks - 1)])


def _shortcut(channels: int, width: int, stride: int) -> nn.Module:
    """The identity where the shape stays, else a 1x1 convolution."""
    if stride == 1 and channels == width:
        return nn.Identity()
    return nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))
