"""3D-R2N2 and AttSets: two ways of putting views together before the volume is made.

Choy et al., 3D-R2N2 (ECCV 2016), the residual network with a 3-D convolutional GRU: one state of 4^3 cells reads photo
after photo, so the order counts, and the first photos are half forgotten. Yang et al., Robust Attentional Aggregation
of Deep Feature Sets (AttSets, IJCV 2020): every feature of every view gets a weight, and the weighed sum knows no
order. Here both stand between the same encoder and decoder, those of 3D-R2N2; AttSets' own were others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from p2vlib.models.initialisation import initialise_weights
from p2vlib.models.reconstruction import Reconstruction, check_views

STATE_EDGE = 4
"""The state is a grid of 4^3 cells; the decoder doubles it three times."""

LEAK = 0.01


@dataclass(frozen=True)
class R2N2Config:
    """Everything that makes one of the two; the defaults are the published 3D-R2N2 (ResidualGRUNet)."""

    image_size: int = 127
    """Height and width of the photos, pixels."""

    encoder: tuple[int, int, int, int, int, int] = (96, 128, 256, 256, 256, 256)
    """Channels of the six blocks, each of which halves the map."""

    features: int = 1024
    """Numbers that a photo becomes."""

    aggregation: Literal["gru", "attsets"] = "gru"
    """What stands between encoder and decoder."""

    decoder: tuple[int, int, int, int] = (128, 128, 64, 32)
    """Channels of the state and of the first doubling, of the second, of the third, and of the last block at 32^3."""


class R2N2(nn.Module):
    """Photos of one thing to its occupancy, blind to cameras."""

    needs_cameras = False

    def __init__(self, config: R2N2Config) -> None:
        super().__init__()
        self.config = config
        self.encoder = R2N2Encoder(config.image_size, config.encoder, config.features)
        channels = config.decoder[0]
        if config.aggregation == "gru":
            self.recurrent = ConvGRU(config.features, channels)
        else:
            self.merger = AttSets(config.features)
            self.grow = nn.Linear(config.features, channels * STATE_EDGE**3)
        self.decoder = R2N2Decoder(config.decoder)
        initialise_weights(self)
        self.decoder.head.bias.data = torch.tensor([1.5, -1.5])  # most of a volume is empty

    @property
    def order_free(self) -> bool:
        """Whether the order of the photos means nothing to it."""
        return self.config.aggregation == "attsets"

    def forward(
        self,
        views: Float[Tensor, "batch views 3 height width"],
        cameras: Float[Tensor, "batch views rows columns"] | None = None,
    ) -> Reconstruction:
        """``views`` in [0, 1], in the order in which they were taken; ``cameras`` are not looked at.

        Raises:
            ValueError: photos of another size than the config's.
        """
        check_views(views, self.config.image_size)
        features = self.encoder(views.flatten(0, 1)).unflatten(0, views.shape[:2])  # [batch, views, 1024]
        if self.config.aggregation == "gru":
            state = self.recurrent(features)  # -> [batch, 128, 4, 4, 4]
            weights = torch.full(views.shape[:2], 1 / views.shape[1], device=views.device)
        else:
            together, shares = self.merger(features)  # -> [batch, 1024], [batch, views, 1024]
            state = functional.leaky_relu(self.grow(together), LEAK).unflatten(1, (-1, *(STATE_EDGE,) * 3))
            weights = shares.mean(-1)
        probability = torch.softmax(self.decoder(state).float(), 1)[:, 1]  # -> [batch, 2, 32, 32, 32]
        scores = weights[:, :, None, None, None].expand(-1, -1, *probability.shape[1:])
        return Reconstruction(probability, probability, probability[:, None], scores)


class R2N2Encoder(nn.Module):
    """A photo to ``features`` numbers: six blocks of two convolutions, a skip past most of them, and pooling.

    The fourth block has no skip, as published; the sixth adds its own input, which has as many channels.
    """

    def __init__(self, image_size: int, widths: tuple[int, ...], features: int) -> None:
        super().__init__()
        self.blocks, self.skips = nn.ModuleList(), nn.ModuleList()
        channels, size = 3, image_size
        for number, width in enumerate(widths, start=1):
            first = nn.Conv2d(channels, width, 7 if number == 1 else 3, padding=3 if number == 1 else 1)
            self.blocks.append(nn.ModuleList([first, nn.Conv2d(width, width, 3, padding=1)]))
            self.skips.append(nn.Conv2d(channels, width, 1) if number in (2, 3, 5) else nn.Identity())
            channels, size = width, (size + 2) // 2
        self.out = nn.Linear(channels * size**2, features)

    def forward(self, photos: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n features"]:
        """``photos`` in [0, 1]."""
        x = photos * 2 - 1
        for number, (block, skip) in enumerate(zip(self.blocks, self.skips, strict=True), start=1):
            y = x
            for convolution in block:
                y = functional.leaky_relu(convolution(y), LEAK)
            x = functional.max_pool2d(y if number in (1, 4) else y + skip(x), 2, padding=1)
        return functional.leaky_relu(self.out(x.flatten(1)), LEAK)


class ConvGRU(nn.Module):
    """A gated recurrent unit whose state is a grid: photos come in fully connected, cells talk to their neighbours."""

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        # Update, reset and candidate, each with its own; the bias is one number a channel, as published.
        self.from_input = nn.Linear(features, 3 * channels * STATE_EDGE**3, bias=False)
        self.gates = nn.Conv3d(channels, 2 * channels, 3, padding=1)
        self.candidate = nn.Conv3d(channels, channels, 3, padding=1)

    def forward(self, features: Float[Tensor, "batch views features"]) -> Float[Tensor, "batch c x y z"]:
        """The state after the last photo; it begins at zero."""
        told = self.from_input(features).unflatten(2, (3 * self.channels, *(STATE_EDGE,) * 3))
        state = torch.zeros_like(told[:, 0, : self.channels])
        for now in told.unbind(1):
            to_gates, to_candidate = now.split([2 * self.channels, self.channels], 1)
            update, reset = torch.sigmoid(self.gates(state) + to_gates).chunk(2, 1)
            candidate = torch.tanh(self.candidate(reset * state) + to_candidate)
            state = (1 - update) * state + update * candidate
        return state


class AttSets(nn.Module):
    """Weighs each feature of each view by a softmax over the views (equations 1 to 3 of AttSets)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.score = nn.Linear(features, features, bias=False)

    def forward(
        self, features: Float[Tensor, "batch views features"]
    ) -> tuple[Float[Tensor, "batch features"], Float[Tensor, "batch views features"]]:
        """The weighed sum, and the weights."""
        weights = torch.softmax(self.score(features).float(), 1)
        return (weights * features).sum(1), weights


def _unpool(x: Float[Tensor, "batch c x y z"]) -> Float[Tensor, "batch c x2 y2 z2"]:
    """Doubles a grid: each value goes to one corner of its eight cells, the others are zero."""
    for axis in (2, 3, 4):
        x = torch.stack([x, torch.zeros_like(x)], axis + 1).flatten(axis, axis + 1)
    return x


def _doubled(layer: nn.Module, x: Float[Tensor, "batch c x y z"]) -> Float[Tensor, "batch width x2 y2 z2"]:
    """``layer(_unpool(x))``; a convolution as the transposed one that it then is, without the zeros: 7 of 8."""
    if not isinstance(layer, nn.Conv3d):
        return layer(_unpool(x))
    weight = layer.weight.flip(2, 3, 4).transpose(0, 1)
    return functional.conv_transpose3d(x, weight, layer.bias, stride=2, padding=layer.padding, output_padding=1)


class R2N2Decoder(nn.Module):
    """Three doublings of the state, each a residual block, and a block at 32^3; logits of empty and of occupied."""

    def __init__(self, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        state, second, third, last = widths

        def two(channels: int, width: int) -> nn.ModuleList:
            return nn.ModuleList([nn.Conv3d(channels, width, 3, padding=1), nn.Conv3d(width, width, 3, padding=1)])

        self.blocks = nn.ModuleList([two(state, state), two(state, second), two(second, third), two(third, last)])
        self.skips = nn.ModuleList(
            [
                nn.Identity(),
                nn.Identity() if second == state else nn.Conv3d(state, second, 1),
                nn.Conv3d(second, third, 1),
                nn.Conv3d(last, last, 3, padding=1),
            ]
        )
        self.head = nn.Conv3d(last, 2, 3, padding=1)

    def forward(self, state: Float[Tensor, "batch c x y z"]) -> Float[Tensor, "batch 2 x8 y8 z8"]:
        """Logits of empty and of occupied."""
        x = state
        for number, (block, skip) in enumerate(zip(self.blocks, self.skips, strict=True)):
            doubles = number < 3  # 4^3 -> 8^3 -> 16^3 -> 32^3
            first = functional.leaky_relu(_doubled(block[0], x) if doubles else block[0](x), LEAK)
            # The last block's skip starts after its first convolution, as published.
            x = functional.leaky_relu(block[1](first), LEAK) + (_doubled(skip, x) if doubles else skip(first))
        return self.head(x)
