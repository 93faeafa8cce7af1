"""The trunks of Pix2Vox and Pix2Vox++: VGG16-bn and ResNets up to a stride of 8, and their ImageNet weights.

The ResNets follow He et al., Deep Residual Learning for Image Recognition (CVPR 2016), table 1, up to the second stage,
with the standard names inside the blocks; the stride of a bottleneck is in its 3x3 convolution, as in the weights of
torchvision.
"""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file
from torch import Tensor, nn

Trunk = tuple[int, int, int, int] | str
"""Widths of the four blocks of a VGG16-bn, or `resnet18` or `resnet50`."""

STRIDE = 8
"""Pixels of the photo per cell of the feature map, along each axis."""

VGG_BLOCKS = (2, 2, 3, 1)
"""Convolutions between the poolings of VGG16, up to layer 27 of its `features`."""

VGG_LAST = 25
"""Index of the last layer with weights in this part of VGG16-bn; the rest of a standard weights file is ignored."""

RESNETS = {"resnet18": ((3, 3), 1, (2, 2)), "resnet50": ((1, 3, 1), 4, (3, 4))}
"""Kernels of a block, factor of its last width, and the number of blocks in the first two stages."""

RESNET_NAMES = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5"}
"""Standard name of a part -> its number in the trunk, which is its name in the published checkpoints."""


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


def load_trunk(module: nn.Module, trunk: Trunk, path: Path) -> None:
    """Loads the trunk ``module`` from a file with the standard names of its ImageNet weights.

    These are ``features.0.weight`` … of a VGG16-bn, ``layer1.0.conv1.weight`` … of a ResNet.

    Raises:
        ValueError: not a weights file, or not the weights of this trunk.
    """
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        module.load_state_dict(_trunk_state(state, isinstance(trunk, str)))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; expected the ImageNet weights of the trunk") from None
    except Exception as error:  # the readers raise many types of errors for malformed files
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: not the weights of this trunk ({reason})") from error


def _trunk_state(state: dict[str, Tensor], resnet: bool) -> dict[str, Tensor]:
    """The entries of a standard state dict that belong to the trunk, under the trunk's own names."""
    if not resnet:
        names = {name: name.removeprefix("features.") for name in state if name.startswith("features.")}
        return {number: state[name] for name, number in names.items() if int(number.split(".")[0]) <= VGG_LAST}
    parts = {name: name.partition(".") for name in state}
    return {
        f"{RESNET_NAMES[part]}.{rest}": state[name] for name, (part, _, rest) in parts.items() if part in RESNET_NAMES
    }
