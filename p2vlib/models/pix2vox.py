"""Pix2Vox: photos -> encoder -> (recurrence) -> decoder -> context-aware fusion -> refiner -> occupancy.

Xie et al., Pix2Vox: Context-aware 3D Reconstruction from Single and Multi-view Images (ICCV 2019). The names in the
state dict are those of the published checkpoints. Shapes in comments are those of Pix2Vox-A at 224 pixels.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn
from torch.nn import functional

from p2vlib.models.conv_lstm import RecurrentViews
from p2vlib.models.network import Reconstruction, check_views, initialise_weights
from p2vlib.models.trunks import STRIDE, Trunk, make_trunk

Fused = tuple[Float32[Tensor, "batch x y z"], Float32[Tensor, "batch views x y z"]]
"""The fused volume, in [0, 1], and the weight of each view in each voxel."""

SEED_EDGE = 2
"""The decoder starts from a grid of 2^3 cells; every block doubles it."""

MAX_VIEWS = 24


@dataclass(frozen=True)
class Pix2VoxConfig:
    """The architecture of one network of the family; the defaults are the published Pix2Vox-A."""

    image_size: int = 224
    """Height and width of the photos, pixels."""
    trunk: Trunk = (64, 128, 256, 512)
    """Channels of the four blocks of the VGG16-bn trunk; Pix2Vox++: `resnet18` or `resnet50`."""
    freeze_trunk: bool = True
    """Published: the trunk gets no gradients."""
    trunk_statistics: Literal["fixed", "drift"] = "fixed"
    """A frozen trunk's batch-norm statistics: fixed, or, as published, following the training photos."""
    head: tuple[tuple[int, int, int], ...] = ((512, 3, 1), (512, 3, 3), (256, 1, 1))
    """(channels, kernel, pooling) of each block after the trunk."""
    padded_head: bool = False
    """The head's convolutions keep the size of the map and end in ReLU instead of ELU, as in Pix2Vox++."""
    mixing: bool = False
    """A fully connected layer over the features (see `Mixing`)."""
    recurrent: Literal["identity", "convlstm2d", "convlstm3d"] = "identity"
    """The part between encoder and decoder: the identity, which is Pix2Vox, or an LSTM over the views, on the map of
    the encoder or on the cells of the decoder."""
    recurrent_width: int = 256
    """Channels of the LSTM."""
    decoder: tuple[int, ...] = (512, 128, 32, 8)
    """Channels after each doubling of the grid, which starts at 2^3."""
    fusion: str = "context"
    """How the views are fused: a key of the network's `fusions`."""
    merger: tuple[int, ...] = (16, 8, 4, 2, 1)
    """Channels of the context-aware fusion; the last is the score."""
    merger_stride: int = 1
    """Stride of the fusion's first convolution; 2 computes the scores on a grid of half the resolution."""
    refiner: tuple[int, int, int, int] | None = (32, 64, 128, 2048)
    """Channels of the three halvings and width of the bottleneck; None: no refiner."""
    refiner_strided: bool = False
    """The refiner halves its grid by strides, without pooling."""

    @property
    def grid(self) -> int:
        """Edge of the volume in voxels."""
        return SEED_EDGE * 2 ** len(self.decoder)

    @property
    def seed_shape(self) -> tuple[int, int, int, int]:
        """Channels and edges of the grid as which the decoder reads the features of a view: 2^3 cells.

        Raises:
            ValueError: the features do not fill the cells.
        """
        size = math.prod(self.feature_shape)
        if size % SEED_EDGE**3:
            raise ValueError(
                f"features {self.feature_shape} do not fill the decoder's 2^3 cells: {size} is no multiple of 8"
            )
        return size // SEED_EDGE**3, SEED_EDGE, SEED_EDGE, SEED_EDGE

    @property
    def feature_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the encoder's features.

        Raises:
            ValueError: the map is smaller than the kernels and poolings of the head.
        """
        size = self.image_size // STRIDE
        for _, kernel, pool in self.head:
            size = (size if self.padded_head else size - kernel + 1) // pool
        if size < 1:
            raise ValueError(f"photos of {self.image_size} pixels are too small for the head {self.head}: an empty map")
        return self.head[-1][0], size, size


class Mixing(nn.Module):
    """A fully connected layer over the whole feature map, which keeps its shape.

    The decoder reads the *position* of a feature in the map as a position in the cube. Without this layer a corner of
    the cube depends on one part of the photo only; wide receptive fields make up for that at 224 pixels, those of the
    narrow networks do not.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        size = math.prod(shape)
        self.linear = nn.Linear(size, size)
        self.activation = nn.ELU()

    def forward(self, features: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        mixed = self.activation(self.linear(features.flatten(1)))  # [n, c, h, w] -> [n, c * h * w]
        return mixed.view(features.shape)  # -> [n, c, h, w]


class Encoder(nn.Sequential):
    """A trunk and a head from one photo to one map of features (section 3.2); all views share the weights."""

    def __init__(self, config: Pix2VoxConfig) -> None:
        name, trunk, channels = make_trunk(config.trunk)
        parts: OrderedDict[str, nn.Module] = OrderedDict([(name, trunk)])
        for number, (width, kernel, pool) in enumerate(config.head, start=1):
            convolution = nn.Conv2d(channels, width, kernel, padding=kernel // 2 if config.padded_head else 0)
            activation = nn.ReLU(inplace=True) if config.padded_head else nn.ELU(inplace=True)
            pooling = [nn.MaxPool2d(pool)] if pool > 1 else []
            parts[f"layer{number}"] = nn.Sequential(convolution, nn.BatchNorm2d(width), activation, *pooling)
            channels = width
        if config.mixing:
            parts["mixing"] = Mixing(config.feature_shape)
        super().__init__(parts)
        self.fixed_trunk = config.freeze_trunk and config.trunk_statistics == "fixed"
        trunk.requires_grad_(not config.freeze_trunk)

    @property
    def trunk(self) -> nn.Module:
        """`vgg` or `resnet` in the state dict; with torchvision's names, for its ImageNet weights.

        Its state is that of ``vgg16_bn(weights=...).features[:28]``, or of the first six children of a ResNet. It is
        randomly initialised, as in effect in the published code, which initialises after loading ImageNet weights.
        """
        return self[0]

    def train(self, mode: bool = True) -> Encoder:
        """As ``nn.Module.train``, except that a trunk with fixed statistics stays in evaluation mode."""
        super().train(mode)
        if self.fixed_trunk:
            self.trunk.eval()
        return self

    def forward(self, photos: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n c height width"]:
        """``photos`` in [0, 1], scaled to [-1, 1] as published."""
        return super().forward(photos * 2 - 1)  # [n, 3, 224, 224] -> A: [n, 256, 8, 8], F: [n, 128, 4, 4]


class Decoder(nn.Module):
    """Transposed 3-D convolutions from the features to one volume per view (section 3.3).

    Doubles a 2^3 grid once per entry of ``widths``, then predicts the occupancy from the last map.

    Args:
        channels: channels of the 2^3 grid.
        widths: channels after each doubling.
    """

    def __init__(self, channels: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.seed_channels = channels
        for number, width in enumerate(widths, start=1):
            self.add_module(f"layer{number}", up_block(channels, width))
            channels = width
        head = nn.Sequential(nn.ConvTranspose3d(channels, 1, 1, bias=False))
        self.add_module(f"layer{len(widths) + 1}", head)

    def initialise(self) -> None:
        """Starts the occupancy near .03, as rare as it is in the data (the prior of Lin et al. 2017, section 3.3).

        The published head has no bias, so only the growth of its weights could teach it that most of a volume is
        empty: hundreds of steps at the published rate. Half its channels start active with negative weights, the other
        half start almost inactive with positive weights.
        """
        *_, last, head = self.children()
        weight, bias = head.get_parameter("0.weight"), last.get_parameter("1.bias")
        against = torch.arange(len(weight)) % 2 == 0
        size = 8 / len(weight)
        weight.data = torch.where(against, -size, size).reshape(-1, 1, 1, 1, 1)
        bias.data = torch.where(against, 1.0, -0.5)

    def forward(
        self, features: Float[Tensor, "n c height width"]
    ) -> tuple[Float[Tensor, "n raw x y z"], Float32[Tensor, "n 1 x y z"]]:
        """The raw features for the fusion (last map and volume concatenated) and the volume itself, in [0, 1]."""
        *blocks, head = self.children()
        grid = features.reshape(-1, self.seed_channels, SEED_EDGE, SEED_EDGE, SEED_EDGE)  # A: 256x8x8 -> 2048x2x2x2
        for block in blocks:
            grid = block(grid)  # 2^3 -> 4^3 -> 8^3 -> 16^3 -> 32^3
        # The sigmoid runs in float32: in bfloat16 it is 1 from a logit of 6 on, and the loss would have no gradient.
        volume = torch.sigmoid(head(grid).float())  # [n, 8, 32, 32, 32] -> [n, 1, 32, 32, 32]
        return torch.cat([grid, volume.to(grid.dtype)], dim=1), volume  # raw: [n, 9, 32, 32, 32]


def up_block(channels: int, width: int) -> nn.Sequential:
    """A transposed convolution that doubles the grid, batch norm and ReLU."""
    convolution = nn.ConvTranspose3d(channels, width, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(width), nn.ReLU(inplace=True))


def fusion_block(channels: int, width: int, stride: int = 1) -> nn.Sequential:
    """A 3x3x3 convolution, batch norm and leaky ReLU."""
    convolution = nn.Conv3d(channels, width, 3, stride=stride, padding=1)
    return nn.Sequential(convolution, nn.BatchNorm3d(width), nn.LeakyReLU(0.2, inplace=True))


def fuse_by_scores(scores: Float[Tensor, "n 1 sx sy sz"], volumes: Float32[Tensor, "batch views x y z"]) -> Fused:
    """The sum of the volumes, weighted by the softmax of the scores over the views; equations 1 and 2 of the paper.

    Scores on a coarser grid are first repeated for all voxels of their cells.
    """
    if scores.shape[2:] != volumes.shape[2:]:
        scores = functional.interpolate(scores.float(), size=volumes.shape[2:])  # 16^3 -> 32^3
    weights = torch.softmax(scores.float().reshape(volumes.shape), dim=1)  # -> [batch, views, 32, 32, 32]
    fused = (weights * volumes).sum(dim=1).clamp(0, 1)  # -> [batch, 32, 32, 32]
    return fused, weights


class ContextAwareFusion(nn.Module):
    """Weights every voxel of every view by a score computed from its neighbourhood (section 3.4).

    Args:
        channels: channels of the decoder's raw features.
        widths: channels after each 3x3x3 convolution; the last has to be 1, the score.
        stride: of the first convolution. With 2 the scores are computed on a grid of half the resolution, one for 8
            voxels, in a fifth of the time; their receptive field is twice as wide. Published: 1.
    """

    def __init__(self, channels: int, widths: tuple[int, ...], stride: int = 1) -> None:
        if widths[-1] != 1:
            raise ValueError(f"the last width of the merger is the score and has to be 1; found {widths}")
        super().__init__()
        for number, width in enumerate(widths, start=1):
            self.add_module(f"layer{number}", fusion_block(channels, width, stride if number == 1 else 1))
            channels = width

    def forward(self, raw: Float[Tensor, "n raw x y z"], volumes: Float32[Tensor, "batch views x y z"]) -> Fused:
        """The fused volume, in [0, 1], and the weight of each view in each voxel."""
        for block in self.children():
            raw = block(raw)  # [batch * views, 9, 32, 32, 32] -> [batch * views, 1, 32, 32, 32]
        return fuse_by_scores(raw, volumes)


class MeanFusion(nn.Module):
    """The mean over the views: the baseline for context-aware fusion."""

    def forward(self, raw: Float[Tensor, "n raw x y z"], volumes: Float32[Tensor, "batch views x y z"]) -> Fused:
        """The mean volume and the constant weights."""
        return volumes.mean(dim=1), torch.full_like(volumes, 1 / volumes.shape[1])


class Refiner(nn.Module):
    """A residual 3-D U-Net that corrects the fused volume (section 3.5).

    Three halvings, a fully connected bottleneck over the whole volume, three doublings, with additive skips.

    Args:
        grid: edge of the volume in voxels, a multiple of 8.
        widths: channels after each of the three halvings, then the width of the bottleneck.
        strided: halve by the stride of the convolution, in an eighth of the time of the published pooling.
    """

    def __init__(self, grid: int, widths: tuple[int, int, int, int], strided: bool = False) -> None:
        super().__init__()
        first, second, third, bottleneck = widths
        size = third * (grid // 8) ** 3
        self.layer1 = self._down(1, first, strided)
        self.layer2 = self._down(first, second, strided)
        self.layer3 = self._down(second, third, strided)
        self.layer4 = nn.Sequential(nn.Linear(size, bottleneck), nn.ReLU(inplace=True))
        self.layer5 = nn.Sequential(nn.Linear(bottleneck, size), nn.ReLU(inplace=True))
        self.layer6 = up_block(third, second)
        self.layer7 = up_block(second, first)
        self.layer8 = nn.Sequential(nn.ConvTranspose3d(first, 1, 4, stride=2, padding=1, bias=False))

    @staticmethod
    def _down(channels: int, width: int, strided: bool) -> nn.Sequential:
        """Halves the grid: kernel 4 with padding 2 gives n + 1 of n cells, pooling n / 2 of these."""
        if strided:
            convolution, pooling = nn.Conv3d(channels, width, 4, stride=2, padding=1), []
        else:
            convolution, pooling = nn.Conv3d(channels, width, 4, padding=2), [nn.MaxPool3d(2)]
        return nn.Sequential(convolution, nn.BatchNorm3d(width), nn.LeakyReLU(0.2, inplace=True), *pooling)

    def initialise(self) -> None:
        """Starts the correction near a logit of -3: its inputs are about .6 on eight taps a channel."""
        weight = self.layer8.get_parameter("0.weight")
        weight.data -= 3 / (8 * 0.6 * len(weight))

    def forward(self, coarse: Float[Tensor, "batch x y z"]) -> Float[Tensor, "batch x y z"]:
        """The mean of the coarse volume and the correction: stays in [0, 1]."""
        half = self.layer1(coarse.unsqueeze(1))  # [batch, 1, 32, 32, 32] -> [batch, 32, 16, 16, 16]
        quarter = self.layer2(half)  # -> [batch, 64, 8, 8, 8]
        eighth = self.layer3(quarter)  # -> [batch, 128, 4, 4, 4]
        whole = self.layer5(self.layer4(eighth.flatten(1)))  # -> [batch, 8192] -> [batch, 2048] -> [batch, 8192]
        eighth = eighth + whole.view(eighth.shape)  # -> [batch, 128, 4, 4, 4]
        quarter = quarter + self.layer6(eighth)  # -> [batch, 64, 8, 8, 8]
        half = half + self.layer7(quarter)  # -> [batch, 32, 16, 16, 16]
        correction = torch.sigmoid(self.layer8(half).float()).squeeze(1)  # -> [batch, 32, 32, 32]
        return (coarse + correction) / 2


class Pix2Vox(nn.Module):
    """Predicts the occupancy of an object from its photos, without cameras.

    Raises:
        ValueError: sizes in the config that do not fit each other.
    """

    needs_cameras = False
    frozen_parts: ClassVar = {"multi-view": ("encoder", "recurrent", "decoder")}
    """The published second stage trains fusion and refiner alone."""

    fusions: ClassVar[dict[str, Callable[[Pix2VoxConfig], nn.Module]]] = {
        "context": lambda config: ContextAwareFusion(config.decoder[-1] + 1, config.merger, config.merger_stride),
        "mean": lambda config: MeanFusion(),
    }
    """The fusions that a config may name."""

    def __init__(self, config: Pix2VoxConfig) -> None:
        super().__init__()
        self.config = config
        grids = {"convlstm2d": config.feature_shape, "convlstm3d": config.seed_shape}
        if config.fusion not in self.fusions:
            raise ValueError(f"no fusion is called {config.fusion!r}; available: {', '.join(self.fusions)}")
        self.encoder = Encoder(config)
        grid = grids.get(config.recurrent)
        self.recurrent = RecurrentViews(grid, config.recurrent_width) if grid else nn.Identity()
        self.decoder = Decoder(config.seed_shape[0], config.decoder)
        self.merger = self.fusions[config.fusion](config)
        self.refiner = Refiner(config.grid, config.refiner, config.refiner_strided) if config.refiner else None
        initialise_weights(self)

    @property
    def order_free(self) -> bool:
        """Whether the result does not depend on the order of the views."""
        return isinstance(self.recurrent, nn.Identity)

    def forward(
        self,
        views: Float[Tensor, "batch views 3 height width"],
        cameras: Float[Tensor, "batch views rows columns"] | None = None,
    ) -> Reconstruction:
        """``views`` in [0, 1], 1 to 24 of them, in the order in which they were taken; ``cameras`` are ignored."""
        return self.fuse(self.encode(views))

    def encode(self, views: Float[Tensor, "batch views 3 height width"]) -> tuple[Tensor, ...]:
        """The per-view part of the network: tensors ``[batch, views, ...]`` for `fuse`.

        Raises:
            ValueError: photos of another size than the config's, or too many.
        """
        check_views(views, self.config.image_size)
        batch, number = views.shape[:2]
        if not 1 <= number <= MAX_VIEWS:
            raise ValueError(f"this network takes 1 to {MAX_VIEWS} views; found {number}")
        features = self.encoder(views.flatten(0, 1))  # [batch, views, 3, 224, 224] -> A: [batch * views, 256, 8, 8]
        features = features.unflatten(0, (batch, number))
        return self._decode(features) if self.order_free else (features,)

    def fuse(self, encoded: tuple[Tensor, ...]) -> Reconstruction:
        """Fuses the per-view features of `encode`, of any of the views in any order, into one reconstruction."""
        raw, volumes = encoded if self.order_free else self._decode(self.recurrent(encoded[0]))
        if volumes.shape[1] == 1:  # the weight is 1, so no score is computed and the fusion gets no gradient
            coarse, weights = volumes[:, 0], torch.ones_like(volumes)
        else:  # -> [batch, 32, 32, 32], [batch, views, 32, 32, 32]
            coarse, weights = self.merger(raw.flatten(0, 1), volumes)
        probability = self.refiner(coarse) if self.refiner else coarse  # [batch, 32, 32, 32]
        return Reconstruction(probability, coarse, volumes, weights)

    def _decode(self, features: Float[Tensor, "batch views channels height width"]) -> tuple[Tensor, Tensor]:
        raw, volume = self.decoder(features.flatten(0, 1))  # -> [batch * views, 9 and 1, 32, 32, 32]
        shape = features.shape[:2]
        return raw.unflatten(0, shape), volume.squeeze(1).unflatten(0, shape)  # the latter [batch, views, 32, 32, 32]
