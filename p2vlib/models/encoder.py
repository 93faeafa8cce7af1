"""Photographs to features: the trunk and the three head blocks of Pix2Vox and Pix2Vox++.

Xie et al., Pix2Vox: Context-aware 3D Reconstruction from Single and Multi-view Images (ICCV 2019), section 3.2, and
Pix2Vox++: Multi-scale Context-aware 3D Object Reconstruction from Single and Multiple Images (IJCV 2020), section 3.2.
"""

from __future__ import annotations

from collections import OrderedDict

from jaxtyping import Float
from torch import Tensor, nn

from p2vlib.models.resnet import resnet_trunk, trunk_channels

Trunk = tuple[int, int, int, int] | str
"""Widths of the four blocks of a VGG16-bn, or `resnet18` or `resnet50`."""

VGG_BLOCKS = (2, 2, 3, 1)
"""Convolutions between the poolings of VGG16, up to layer 27 of its `features`; the map is then an eighth as wide."""

TRUNK_STRIDE = 8


def vgg_trunk(widths: tuple[int, ...]) -> nn.Sequential:
    """VGG16-bn up to layer 27, numbered as everywhere: ``[n, 3, h, w]`` -> ``[n, widths[-1], h / 8, w / 8]``."""
    layers: list[nn.Module] = []
    channels = 3
    for block, (convolutions, width) in enumerate(zip(VGG_BLOCKS, widths, strict=True)):
        if block:
            layers.append(nn.MaxPool2d(2))
        for _ in range(convolutions):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            channels = width
    return nn.Sequential(*layers)


def head_block(channels: int, width: int, kernel: int, pool: int, padded: bool = False) -> nn.Sequential:
    """Convolution, batch norm, ELU (``padded``: size kept, ReLU) and, where ``pool`` > 1, max pooling."""
    convolution = nn.Conv2d(channels, width, kernel, padding=kernel // 2 if padded else 0)
    layers = [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True) if padded else nn.ELU(inplace=True)]
    return nn.Sequential(*layers, *([nn.MaxPool2d(pool)] if pool > 1 else []))


def feature_shape(
    image_size: int, head: tuple[tuple[int, int, int], ...], padded: bool = False
) -> tuple[int, int, int]:
    """Channels, height and width of the features of a square photo of ``image_size`` pixels.

    Raises:
        ValueError: the head's kernels and poolings leave nothing of the map.
    """
    size = image_size // TRUNK_STRIDE
    for _, kernel, pool in head:
        size = (size if padded else size - kernel + 1) // pool
    if size < 1:
        raise ValueError(f"photos of {image_size} pixels are too small for the head {head}: nothing of the map is left")
    return head[-1][0], size, size


class Mixing(nn.Module):
    """A fully connected layer over the whole map that keeps its shape.

    The decoder reads a feature's *place* in the map as a place in the cube. Without this layer a corner of the cube
    hears only from one part of the photo, which wide receptive fields make up for at 224 pixels and narrow
    networks do not.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        size = shape[0] * shape[1] * shape[2]
        self.linear = nn.Linear(size, size)
        self.activation = nn.ELU()

    def forward(self, features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        mixed = self.activation(self.linear(features.flatten(1)))  # [n, c, h, w] -> [n, c * h * w]
        return mixed.view(features.shape)  # -> [n, c, h, w]


class Encoder(nn.Sequential):
    """One photo to one map of features; the views of a sample are folded into the batch and share all weights.

    Args:
        trunk: widths of the four VGG blocks, or the name of a ResNet.
        head: (channels out, kernel, pooling) of each head block.
        padded_head: whether the head keeps the size of the map and ends in ReLU, as Pix2Vox++ has it.
        image_size: height and width of the photos, pixels.
        mixing: whether a fully connected layer follows the head (see `Mixing`).
        frozen: the trunk gets no gradients.
        fixed_statistics: a frozen trunk's batch norms stay in evaluation mode; the published code lets them drift.
    """

    def __init__(
        self,
        trunk: Trunk,
        head: tuple[tuple[int, int, int], ...],
        padded_head: bool,
        image_size: int,
        mixing: bool,
        frozen: bool,
        fixed_statistics: bool,
    ) -> None:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        if isinstance(trunk, str):
            parts["resnet"], channels = resnet_trunk(trunk), trunk_channels(trunk)
        else:
            parts["vgg"], channels = vgg_trunk(trunk), trunk[-1]
        for number, (width, kernel, pool) in enumerate(head, start=1):
            parts[f"layer{number}"] = head_block(channels, width, kernel, pool, padded_head)
            channels = width
        if mixing:
            parts["mixing"] = Mixing(feature_shape(image_size, head, padded_head))
        super().__init__(parts)
        self.hold_trunk = frozen and fixed_statistics
        self.trunk.requires_grad_(not frozen)

    @property
    def trunk(self) -> nn.Sequential:
        """The part that ImageNet weights are for: `vgg` or `resnet` in the state dict."""
        return self[0]

    def train(self, mode: bool = True) -> Encoder:
        """As always, except that a held trunk stays in evaluation mode."""
        super().train(mode)
        if self.hold_trunk:
            self.trunk.eval()
        return self

    def forward(self, photos: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c height width"]:
        """``photos`` in [0, 1], turned into [-1, 1] as published."""
        return super().forward(photos * 2 - 1)  # [n, 3, 224, 224] -> A: [n, 256, 8, 8], F: [n, 128, 4, 4]
