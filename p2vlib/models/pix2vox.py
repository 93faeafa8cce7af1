"""Pix2Vox and Pix2Vox-LSTM: encoder -> (recurrence) -> decoder -> fusion -> refiner, put together from a config."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from p2vlib.models.conv_lstm import RecurrentViews
from p2vlib.models.decoder import SEED_EDGE, Decoder
from p2vlib.models.encoder import Encoder, Trunk, feature_shape
from p2vlib.models.fusion import ContextAwareFusion, MeanFusion, MultiScaleFusion
from p2vlib.models.initialisation import initialise_weights, load_trunk
from p2vlib.models.reconstruction import Reconstruction, check_views
from p2vlib.models.refiner import Refiner

HeadBlock = tuple[int, int, int]
MAX_VIEWS = 24


@dataclass(frozen=True)
class Pix2VoxConfig:
    """Everything that makes one network of the family; the defaults are the published Pix2Vox-A."""

    image_size: int = 224
    """Height and width of the photos, pixels."""

    trunk: Trunk = (64, 128, 256, 512)
    """Channels of the four blocks of the VGG16-bn trunk; Pix2Vox++: `resnet18` or `resnet50`."""

    freeze_trunk: bool = True
    """Published: the trunk gets no gradients."""

    trunk_weights: str | None = None
    """A file with the ImageNet weights of the trunk (.safetensors or .pth). None leaves the trunk randomly initialised,
    which is what the published code in effect does, since it initialises after loading."""

    trunk_statistics: Literal["fixed", "drift"] = "fixed"
    """A frozen trunk's batch-norm statistics: left alone, or, as published, following the training photos."""

    head: tuple[HeadBlock, ...] = ((512, 3, 1), (512, 3, 3), (256, 1, 1))
    """(channels, kernel, pooling) of each block after the trunk."""

    padded_head: bool = False
    """Pix2Vox++: the head's convolutions keep the size of the map and end in ReLU instead of ELU."""

    mixing: bool = False
    """A fully connected layer over the features, so that every cell of the decoder hears from the whole photo."""

    recurrent: Literal["identity", "convlstm3d", "convlstm2d"] = "identity"
    """What stands between encoder and decoder; the identity is Pix2Vox."""

    hidden: int | None = None
    """Channels of the LSTM's state; None: as many as its input has."""

    kernel: int = 3
    """Edge of the LSTM's kernel."""

    residual: bool = True
    """The LSTM's state is added to the features instead of taking their place."""

    decoder: tuple[int, ...] = (512, 128, 32, 8)
    """Channels after each doubling of the grid, which starts at 2^3."""

    fusion: Literal["context", "multi-scale", "mean"] = "context"
    """How the views are put together; multi-scale is Pix2Vox++'s."""

    merger: tuple[int, ...] = (16, 8, 4, 2, 1)
    """Channels of the context-aware fusion; the last is the score. The multi-scale one keeps those of its input."""

    merger_stride: int = 1
    """Stride of the fusion's first convolution; 2 finds the scores on a grid half as fine."""

    refiner: tuple[int, int, int, int] | None = (32, 64, 128, 2048)
    """Channels of the three halvings and width of the bottleneck; None: no refiner."""

    refiner_strided: bool = False
    """The refiner halves its grid by strides, without pooling."""

    @property
    def grid(self) -> int:
        """Edge of the volume in voxels."""
        return SEED_EDGE * 2 ** len(self.decoder)


class Pix2Vox(nn.Module):
    """Photos of one thing to its occupancy, blind to cameras.

    Raises:
        ValueError: sizes in the config that do not fit each other.
    """

    needs_cameras = False
    """Whether it has to be told where the photos were taken from."""

    def __init__(self, config: Pix2VoxConfig) -> None:
        super().__init__()
        self.config = config
        shape = feature_shape(config.image_size, config.head, config.padded_head)
        size = shape[0] * shape[1] * shape[2]
        if size % SEED_EDGE**3:
            raise ValueError(
                f"features {shape} do not fill the decoder's grid of 2^3 cells: {size} is no multiple of 8"
            )
        self.encoder = Encoder(
            config.trunk,
            config.head,
            config.padded_head,
            config.image_size,
            config.mixing,
            config.freeze_trunk,
            config.trunk_statistics == "fixed",
        )
        self.recurrent = nn.Identity()
        if config.recurrent != "identity":
            axes = 3 if config.recurrent == "convlstm3d" else 2
            self.recurrent = RecurrentViews(shape, config.hidden, config.kernel, axes, config.residual)
        self.decoder = Decoder(size // SEED_EDGE**3, config.decoder)
        self.merger = MeanFusion()
        if config.fusion == "context":
            self.merger = ContextAwareFusion(config.decoder[-1] + 1, config.merger, config.merger_stride)
        elif config.fusion == "multi-scale":
            self.merger = MultiScaleFusion(config.decoder[-1] + 1, config.merger_stride)
        self.refiner = Refiner(config.grid, config.refiner, config.refiner_strided) if config.refiner else None
        initialise_weights(self)
        if config.trunk_weights:
            load_trunk(self.encoder, config.trunk_weights)

    @property
    def order_free(self) -> bool:
        """Whether the order of the photos means nothing to it."""
        return isinstance(self.recurrent, nn.Identity)

    def forward(
        self,
        views: Float[Tensor, "batch views 3 height width"],
        cameras: Float[Tensor, "batch views rows columns"] | None = None,
    ) -> Reconstruction:
        """``views`` in [0, 1], 1 to 24 of them, in the order in which they were taken; ``cameras`` are not looked at.

        Raises:
            ValueError: photos of another size than the config's, or too many.
        """
        return self.joined(self.seen(views))

    def seen(self, views: Float[Tensor, "batch views 3 height width"]) -> tuple[Tensor, ...]:
        """What the network makes of each photo by itself: tensors ``[batch, views, ...]``.

        The half of the work that a photo needs but once, in however many tests it is shown (`joined`).

        Raises:
            ValueError: as `forward`.
        """
        check_views(views, self.config.image_size)
        batch, number = views.shape[:2]
        if not 1 <= number <= MAX_VIEWS:
            raise ValueError(f"this network takes 1 to {MAX_VIEWS} views; found {number}")
        features = self.encoder(views.flatten(0, 1))  # [batch, views, 3, 224, 224] -> A: [batch * views, 256, 8, 8]
        features = features.unflatten(0, (batch, number))
        return self._decoded(features) if self.order_free else (features,)

    def joined(self, seen: tuple[Tensor, ...]) -> Reconstruction:
        """The object of which photos were ``seen``, any of them in any order."""
        raw, volumes = seen if self.order_free else self._decoded(self.recurrent(seen[0]))
        coarse, scores = self.merger(raw.flatten(0, 1), volumes)  # -> [batch, 32, 32, 32], [batch, views, 32, 32, 32]
        probability = self.refiner(coarse) if self.refiner else coarse  # [batch, 32, 32, 32]
        return Reconstruction(probability, coarse, volumes, scores)

    def _decoded(self, features: Float[Tensor, "batch views channels height width"]) -> tuple[Tensor, Tensor]:
        raw, volume = self.decoder(features.flatten(0, 1))  # -> [batch * views, 9 and 1, 32, 32, 32]
        shape = features.shape[:2]
        return raw.unflatten(0, shape), volume.squeeze(1).unflatten(0, shape)  # the latter [batch, views, 32, 32, 32]
