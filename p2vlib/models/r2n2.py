"""3D-R2N2: a 3-D convolutional GRU over the views, between encoder and decoder.

Choy et al., 3D-R2N2: A Unified Approach for Single and Multi-view 3D Object Reconstruction (ECCV 2016), the residual
network: one state of 4^3 cells reads photo after photo, so the order matters, and early photos are partly forgotten.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from p2vlib.models.network import Reconstruction, check_views, initialise_weights

STATE_EDGE = 4
"""The state is a grid of 4^3 cells; the decoder doubles it three times."""

LEAK = 0.01


@dataclass(frozen=True)
class R2N2Config:
    """The architecture of one 3D-R2N2; the defaults are the published one (ResidualGRUNet)."""

    image_size: int = 127
    """Height and width of the photos, pixels."""

    encoder: tuple[int, int, int, int, int, int] = (96, 128, 256, 256, 256, 256)
    """Channels of the six blocks, each of which halves the map."""

    features: int = 1024
    """Features of a photo."""

    decoder: tuple[int, int, int, int] = (128, 128, 64, 32)
    """Channels of the state and of the first doubling, of the second, of the third, and of the last block at 32^3."""

    norm: bool = False
    """Batch norms in encoder and decoder; published: none. Features of different photos start almost equal without."""


class R2N2(nn.Module):
    """Predicts the occupancy of an object from its photos, without cameras."""

    needs_cameras = False
    order_free = False

    def __init__(self, config: R2N2Config) -> None:
        super().__init__()
        self.config = config
        self.encoder = R2N2Encoder(config.image_size, config.encoder, config.features, config.norm)
        self._add_aggregation(config)
        self.decoder = R2N2Decoder(config.decoder, config.norm)
        initialise_weights(self)
        self.decoder.head.get_parameter("bias").data = torch.tensor([1.5, -1.5])  # most of a volume is empty

    def _add_aggregation(self, config: R2N2Config) -> None:
        self.recurrent = ConvGRU(config.features, config.decoder[0])

    def _aggregate(self, features: Float[Tensor, "batch views features"]) -> tuple[Tensor, Tensor]:
        """The state of each sample, and the weight of each of its views: the same for all, since a GRU has none."""
        return self.recurrent(features), features.new_full(
            features.shape[:2], 1 / features.shape[1], dtype=torch.float32
        )

    def forward(
        self,
        views: Float[Tensor, "batch views 3 height width"],
        cameras: Float[Tensor, "batch views rows columns"] | None = None,
    ) -> Reconstruction:
        """``views`` in [0, 1], in the order in which they were taken; ``cameras`` are ignored.

        Raises:
            ValueError: photos of another size than the config's.
        """
        check_views(views, self.config.image_size)
        features = self.encoder(views.flatten(0, 1)).unflatten(0, views.shape[:2])  # [batch, views, 1024]
        state, weights = self._aggregate(features)  # -> [batch, 128, 4, 4, 4], [batch, views]
        probability = torch.softmax(self.decoder(state).float(), 1)[:, 1]  # -> [batch, 2, 32, 32, 32]
        weights = weights[:, :, None, None, None].expand(-1, -1, *probability.shape[1:])
        return Reconstruction(probability, probability, probability[:, None], weights)


class R2N2Encoder(nn.Module):
    """Computes ``features`` features of a photo: six blocks of two convolutions, a skip past most of them, and pooling.

    The fourth block has no skip, as published; the sixth adds its own input, which has as many channels.
    """

    def __init__(self, image_size: int, widths: tuple[int, ...], features: int, norm: bool = False) -> None:
        super().__init__()
        self.blocks, self.skips, self.norms = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        channels, size = 3, image_size
        for number, width in enumerate(widths, start=1):
            first = nn.Conv2d(channels, width, 7 if number == 1 else 3, padding=3 if number == 1 else 1)
            self.blocks.append(nn.ModuleList([first, nn.Conv2d(width, width, 3, padding=1)]))
            self.skips.append(nn.Conv2d(channels, width, 1) if number in (2, 3, 5) else nn.Identity())
            self.norms.append(nn.BatchNorm2d(width) if norm else nn.Identity())
            channels, size = width, (size + 2) // 2
        self.out = nn.Linear(channels * size**2, features)
        self.norms.append(nn.BatchNorm1d(features) if norm else nn.Identity())

    def forward(self, photos: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n features"]:
        """``photos`` in [0, 1]."""
        x = photos * 2 - 1
        for number, (block, skip) in enumerate(zip(self.blocks, self.skips, strict=True), start=1):
            y = x
            for convolution in block.children():
                y = functional.leaky_relu(convolution(y), LEAK)
            y = self.norms[number - 1](y if number in (1, 4) else y + skip(x))
            x = functional.max_pool2d(y, 2, padding=1)
        return functional.leaky_relu(self.norms[-1](self.out(x.flatten(1))), LEAK)


class ConvGRU(nn.Module):
    """A gated recurrent unit whose state is a grid: fully connected in the features, convolutional in the state."""

    def __init__(self, features: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        # Update, reset and candidate have weights of their own; the bias is one number a channel, as published.
        self.from_input = nn.Linear(features, 3 * channels * STATE_EDGE**3, bias=False)
        self.gates = nn.Conv3d(channels, 2 * channels, 3, padding=1)
        self.candidate = nn.Conv3d(channels, channels, 3, padding=1)

    def forward(self, features: Float[Tensor, "batch views features"]) -> Float[Tensor, "batch c x y z"]:
        """The state after the last view; it starts at zero."""
        inputs = self.from_input(features).unflatten(2, (3 * self.channels, *(STATE_EDGE,) * 3))
        state = torch.zeros_like(inputs[:, 0, : self.channels])
        for one in inputs.unbind(1):
            to_gates, to_candidate = one.split([2 * self.channels, self.channels], 1)
            update, reset = torch.sigmoid(self.gates(state) + to_gates).chunk(2, 1)
            candidate = torch.tanh(self.candidate(reset * state) + to_candidate)
            state = (1 - update) * state + update * candidate
        return state


def _unpool(x: Float[Tensor, "batch c x y z"]) -> Float[Tensor, "batch c x2 y2 z2"]:
    """Doubles a grid: each value goes to one corner of its eight cells; the others are zero."""
    for axis in (2, 3, 4):
        x = torch.stack([x, torch.zeros_like(x)], axis + 1).flatten(axis, axis + 1)
    return x


def _apply_to_unpooled(layer: nn.Module, x: Float[Tensor, "batch c x y z"]) -> Float[Tensor, "batch width x2 y2 z2"]:
    """``layer(_unpool(x))``; for a convolution as a transposed convolution, which skips the zeros: 7 of 8 values."""
    if not isinstance(layer, nn.Conv3d):
        return layer(_unpool(x))
    weight, padding = layer.weight.flip(2, 3, 4).transpose(0, 1), layer.kernel_size[0] // 2
    return functional.conv_transpose3d(x, weight, layer.bias, stride=2, padding=padding, output_padding=1)


class R2N2Decoder(nn.Module):
    """Three doublings of the state, each a residual block, and a block at 32^3; logits of empty and of occupied."""

    def __init__(self, widths: tuple[int, int, int, int], norm: bool = False) -> None:
        super().__init__()
        state, second, third, last = widths

        def pair(channels: int, width: int) -> nn.ModuleList:
            return nn.ModuleList([nn.Conv3d(channels, width, 3, padding=1), nn.Conv3d(width, width, 3, padding=1)])

        self.blocks = nn.ModuleList([pair(state, state), pair(state, second), pair(second, third), pair(third, last)])
        self.skips = nn.ModuleList(
            [
                nn.Identity(),
                nn.Identity() if second == state else nn.Conv3d(state, second, 1),
                nn.Conv3d(second, third, 1),
                nn.Conv3d(last, last, 3, padding=1),
            ]
        )
        self.norms = nn.ModuleList([nn.BatchNorm3d(width) if norm else nn.Identity() for width in widths])
        self.head = nn.Conv3d(last, 2, 3, padding=1)

    def forward(self, state: Float[Tensor, "batch c x y z"]) -> Float[Tensor, "batch 2 x8 y8 z8"]:
        """Logits of empty and of occupied."""
        x = state
        for number, (block, skip) in enumerate(zip(self.blocks, self.skips, strict=True)):
            doubles = number < 3  # 4^3 -> 8^3 -> 16^3 -> 32^3
            one, two = block.children()
            first = functional.leaky_relu(_apply_to_unpooled(one, x) if doubles else one(x), LEAK)
            # The last block's skip starts after its first convolution, as published.
            shortcut = _apply_to_unpooled(skip, x) if doubles else skip(first)
            x = self.norms[number](functional.leaky_relu(two(first), LEAK) + shortcut)
        return self.head(x)
