"""A residual 3-D U-Net that corrects the fused volume (section 3.5 of the Pix2Vox paper)."""

from __future__ import annotations

import torch
from jaxtyping import Float32
from torch import Tensor, nn


def _down(channels: int, width: int, strided: bool) -> nn.Sequential:
    """Halves the grid: kernel 4 with padding 2 makes n + 1 of n cells, pooling n / 2 of those; or a stride does."""
    if strided:
        convolution, pooling = nn.Conv3d(channels, width, 4, stride=2, padding=1), []
    else:
        convolution, pooling = nn.Conv3d(channels, width, 4, padding=2), [nn.MaxPool3d(2)]
    return nn.Sequential(convolution, nn.BatchNorm3d(width), nn.LeakyReLU(0.2, inplace=True), *pooling)


def _up(channels: int, width: int) -> nn.Sequential:
    """Doubles the grid."""
    grow = nn.ConvTranspose3d(channels, width, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(grow, nn.BatchNorm3d(width), nn.ReLU(inplace=True))


class Refiner(nn.Module):
    """Three halvings, a fully connected bottleneck over the whole volume, three doublings, with skips by addition.

    Args:
        grid: edge of the volume in voxels, a multiple of 8.
        widths: channels after each of the three halvings, then the width of the bottleneck.
        strided: halve by the stride of the convolution, for an eighth of the time of one and a pooling. Published: not.
    """

    def __init__(self, grid: int, widths: tuple[int, int, int, int], strided: bool = False) -> None:
        super().__init__()
        first, second, third, bottleneck = widths
        size = third * (grid // 8) ** 3
        self.layer1 = _down(1, first, strided)
        self.layer2 = _down(first, second, strided)
        self.layer3 = _down(second, third, strided)
        self.layer4 = nn.Sequential(nn.Linear(size, bottleneck), nn.ReLU(inplace=True))
        self.layer5 = nn.Sequential(nn.Linear(bottleneck, size), nn.ReLU(inplace=True))
        self.layer6 = _up(third, second)
        self.layer7 = _up(second, first)
        self.layer8 = nn.Sequential(nn.ConvTranspose3d(first, 1, 4, stride=2, padding=1, bias=False))

    def forward(self, coarse: Float32[Tensor, "batch x y z"]) -> Float32[Tensor, "batch x y z"]:
        """Half the coarse volume and half the correction: stays in [0, 1]."""
        half = self.layer1(coarse.unsqueeze(1))  # [batch, 1, 32, 32, 32] -> [batch, 32, 16, 16, 16]
        quarter = self.layer2(half)  # -> [batch, 64, 8, 8, 8]
        eighth = self.layer3(quarter)  # -> [batch, 128, 4, 4, 4]
        whole = self.layer5(self.layer4(eighth.flatten(1)))  # -> [batch, 8192] -> [batch, 2048] -> [batch, 8192]
        eighth = eighth + whole.view(eighth.shape)  # -> [batch, 128, 4, 4, 4]
        quarter = quarter + self.layer6(eighth)  # -> [batch, 64, 8, 8, 8]
        half = half + self.layer7(quarter)  # -> [batch, 32, 16, 16, 16]
        correction = torch.sigmoid(self.layer8(half).float()).squeeze(1)  # -> [batch, 32, 32, 32]
        return (coarse + correction) / 2
