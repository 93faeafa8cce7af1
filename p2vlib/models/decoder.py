"""Features to one volume per view: the transposed 3-D convolutions of Pix2Vox (section 3.3 of the paper)."""

from __future__ import annotations

from collections import OrderedDict

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

SEED_EDGE = 2
"""The decoder starts from a grid of 2^3 cells; every block doubles it."""


class Decoder(nn.Sequential):
    """Doubles a 2^3 grid once per entry of ``widths``, then reads an occupancy off the last map.

    Args:
        channels: channels of the 2^3 grid.
        widths: channels after each doubling.
    """

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        for number, width in enumerate(widths, start=1):
            grow = nn.ConvTranspose3d(channels, width, 4, stride=2, padding=1, bias=False)
            parts[f"layer{number}"] = nn.Sequential(grow, nn.BatchNorm3d(width), nn.ReLU(inplace=True))
            channels = width
        parts[f"layer{len(widths) + 1}"] = nn.Sequential(nn.ConvTranspose3d(channels, 1, 1, bias=False))
        super().__init__(parts)
        self.seed_channels = self.layer1[0].in_channels

    def forward(
        self, features: Float[Tensor, "n c height width"]
    ) -> tuple[Float[Tensor, "n raw x y z"], Float32[Tensor, "n 1 x y z"]]:
        """The raw features for the fusion (last map and volume together) and the volume itself, in [0, 1]."""
        *blocks, head = self.children()
        grid = features.reshape(-1, self.seed_channels, SEED_EDGE, SEED_EDGE, SEED_EDGE)  # A: 256x8x8 -> 2048x2x2x2
        for block in blocks:
            grid = block(grid)  # 2^3 -> 4^3 -> 8^3 -> 16^3 -> 32^3
        # The sigmoid runs in float32: in bfloat16 it is 1 from a logit of 6 on, and the loss would have no gradient.
        volume = torch.sigmoid(head(grid).float())  # [n, 8, 32, 32, 32] -> [n, 1, 32, 32, 32]
        return torch.cat([grid, volume.to(grid.dtype)], dim=1), volume  # raw: [n, 9, 32, 32, 32]
