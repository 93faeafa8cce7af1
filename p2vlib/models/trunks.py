"""The trunks of Pix2Vox and Pix2Vox++: VGG16-bn and ResNets up to a stride of 8.

The ResNets follow He et al., Deep Residual Learning for Image Recognition (CVPR 2016), table 1, up to the second stage,
with the standard names inside the blocks; the stride of a bottleneck is in its 3x3 convolution, as in the weights of
torchvision.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

Trunk = tuple[int, int, int, int] | str
"""Widths of the four blocks of a VGG16-bn, or `resnet18` or `resnet50`."""

STRIDE = 8
"""Pixels of the photo per cell of the feature map, along each axis."""

VGG_BLOCKS = (2, 2, 3, 1)
"""Convolutions between the poolings of VGG16, up to layer 27 of its `features`."""

RESNETS = {"resnet18": ((3, 3), 1, (2, 2)), "resnet50": ((1, 3, 1), 4, (3, 4))}
"""Kernels of a block, factor of its last width, and the number of blocks in the first two stages."""


def make_trunk(trunk: Trunk) -> tuple[str, nn.Sequential, int]:
    """A trunk ``[n, 3, h, w]`` -> ``[n, channels, h / 8, w / 8]``.

    Returns:
        Its name in the published state dicts, the module, and the channels of its map.

    Raises:
        ValueError: an unknown name.
    """
    if not isinstance(trunk, str):
        return "vgg", vgg_trunk(trunk), trunk[-1]
    if trunk not in RESNETS:
        raise ValueError(f"no trunk is called {trunk!r}; expected {', '.join(RESNETS)} or four widths of a VGG16")
    kernels, factor, (first, second) = RESNETS[trunk]
    layers = nn.Sequential(
        nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(64),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1),
        _stage(kernels, 64, 64, 64 * factor, first, stride=1),
        _stage(kernels, 64 * factor, 128, 128 * factor, second, stride=2),
    )
    return "resnet", layers, 128 * factor


def vgg_trunk(widths: tuple[int, ...]) -> nn.Sequential:
    """VGG16-bn up to layer 27, with standard layer numbers: ``[n, 3, h, w]`` -> ``[n, widths[-1], h / 8, w / 8]``."""
    layers: list[nn.Module] = []
    channels = 3
    for block, (convolutions, width) in enumerate(zip(VGG_BLOCKS, widths, strict=True)):
        if block:
            layers.append(nn.MaxPool2d(2))
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
    return nn.Sequential(*layers)


class ResidualBlock(nn.Module):
    """Convolutions with batch norm beside a shortcut: two in ResNet-18, the bottleneck of three in ResNet-50.

    Args:
        kernels: kernel of each convolution; the first 3x3 after a 1x1, or else the first, has the stride.
        channels: channels of the input.
        width: channels of the inner convolutions.
        out: channels of the output.
        stride: of the block.
    """

    def __init__(self, kernels: tuple[int, ...], channels: int, width: int, out: int, stride: int) -> None:
        super().__init__()
        self.depth, strided, inputs = len(kernels), kernels.index(3), channels
        for number, kernel in enumerate(kernels):
            outputs = out if number == len(kernels) - 1 else width
            steps = stride if number == strided else 1
            convolution = nn.Conv2d(inputs, outputs, kernel, steps, padding=kernel // 2, bias=False)
            self.add_module(f"conv{number + 1}", convolution)
            self.add_module(f"bn{number + 1}", nn.BatchNorm2d(outputs))
            inputs = outputs
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c2 h2 w2"]:
        change = features
        for number in range(1, self.depth + 1):
            change = self.get_submodule(f"bn{number}")(self.get_submodule(f"conv{number}")(change))
            if number < self.depth:
                change = self.relu(change)
        return self.relu(change + self.downsample(features))


def _stage(kernels: tuple[int, ...], channels: int, width: int, out: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [ResidualBlock(kernels, out, width, out, 1) for _ in range(blocks - 1)]
    return nn.Sequential(ResidualBlock(kernels, channels, width, out, stride), *rest)
