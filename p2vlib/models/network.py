"""What all networks share: the protocol that training and evaluation rely on, inputs and outputs, initialisation and
memory layout.

Views are float, ``[batch, views, 3, height, width]``, RGB in [0, 1]; volumes are ``[x, y, z]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn

AnyModule = TypeVar("AnyModule", bound=nn.Module)

OLD_NAMES = {"rays": "unprojection"}
"""Names of networks in older weights, cards and result rows -> today's."""

REFERENCE_INPUTS = 8192
"""Number of inputs of the linear layer for which the published standard deviation of .01 was chosen."""


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """The output of a network: occupancies of one batch, always float32, whatever the precision of the network.

    A network with further outputs returns a subclass. The training loss sums over `probability`, `coarse` and
    `per_view_occupancy`.
    """

    probability: Float32[Tensor, "batch x y z"]
    """The result: occupancy in [0, 1]; the same tensor as ``coarse`` in a network without a refiner."""

    coarse: Float32[Tensor, "batch x y z"]
    """The fused volume before the refiner, in [0, 1]."""

    per_view_occupancy: Float32[Tensor, "batch volumes x y z"]
    """The volume of each view before the fusion, in [0, 1]; ``probability`` itself in a network without any."""

    view_weights: Float32[Tensor, "batch views x y z"]
    """The weight of each view in each voxel; sums to one over the views."""


class Batch(NamedTuple):
    """The data of one training step."""

    views: Float[Tensor, "batch views 3 size size"]
    cameras: Float[Tensor, "batch views 3 7"] | None
    """Cameras as the network gets them: with the recipe's noise."""
    truth: Bool[Tensor, "batch x y z"]
    true_cameras: Float[Tensor, "batch views 3 7"] | None = None
    points: Float[Tensor, "batch points 3"] | None = None
    """Query points in the unit cube, a third argument of `forward`; see `Network`."""
    inside: Bool[Tensor, "batch points"] | None = None
    """Whether each query point is inside the solid."""
    generator: torch.Generator | None = None
    """The random generator of the step, for a loss that samples."""


@runtime_checkable
class Network(Protocol):
    """What training and evaluation need of a network; any ``nn.Module`` with these members will do.

    Further members are optional and looked up by name:

    - ``encode(views) -> tuple of tensors [batch, views, ...]`` and ``fuse(features) -> Reconstruction``, together the
      same as `forward`: evaluation then encodes each photo once for all its view counts and orders.
    - ``loss_terms(result, batch, shape_loss) -> dict of tensors``: terms added to the loss of the volumes;
      ``shape_loss`` is `p2vlib.training.losses.shape_loss`.
    - ``loss(result, batch) -> tensor``: replaces the loss of the volumes.
    - ``frozen_parts``: names of children that do not train, by stage: ``multi-view`` for the second stage of a recipe
      with `freeze_after_first_stage`, ``points`` for a recipe with `point_samples`.
    - ``query_points(truth, number, height, generator) -> [batch, number, 3]``: where a recipe with `point_samples`
      samples the truth; such a network's `forward` takes the points as its third argument.
    """

    needs_cameras: bool
    """Whether `forward` needs the cameras; a network that does not is trained with None, and ignores them in a test."""

    order_free: bool
    """Whether the result does not depend on the order of the views."""

    def __call__(
        self,
        views: Float[Tensor, "batch views 3 height width"],
        cameras: Float[Tensor, "batch views 3 7"] | None = None,
    ) -> Reconstruction:
        """The reconstruction of each sample from all its views."""


def check_views(views: Tensor, size: int) -> None:
    """Checks the shape of a batch of views.

    Raises:
        ValueError: not ``[batch, views, 3, size, size]``.
    """
    if views.dim() != 5 or views.shape[2:] != (3, size, size):
        raise ValueError(f"expected views [batch, views, 3, {size}, {size}]; found {list(views.shape)}")


def initialise_weights(model: nn.Module) -> None:
    """He initialisation of convolutions, batch norms 1 and 0, as published; two scales are corrected for any width.

    A linear layer's standard deviation is the published .01 at 8,192 inputs and keeps the size of its outputs at other
    widths. A transposed convolution counts the inputs that one output really has, kernel / stride along each axis:
    PyTorch's own count would start the occupancy head with logits of several units. A submodule with a method
    ``initialise`` sets its own weights afterwards. Tensors of the meta device have no values and are left as they are.
    """
    if any(parameter.is_meta for parameter in model.parameters()):
        return
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Conv3d)):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.ConvTranspose3d):
            inputs = module.in_channels * (module.kernel_size[0] / module.stride[0]) ** 3
            nn.init.normal_(module.weight, std=(2 / inputs) ** 0.5)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01 * (REFERENCE_INPUTS / module.in_features) ** 0.5)
        if isinstance(module, (nn.Conv2d, nn.Conv3d, nn.Linear)) and module.bias is not None:
            nn.init.zeros_(module.bias)
    for module in model.modules():
        if initialise := getattr(module, "initialise", None):
            initialise()


def to_fast_layout(model: AnyModule, compiled: bool = False) -> AnyModule:
    """Puts, in place, 2-D weights into channels_last and 3-D weights into channels_last_3d; returns ``model``.

    With ``compiled``, into PyTorch's default layout: `torch.compile` chooses layouts itself, and expects others of the
    gradients of channels-last weights than convolutions return (PyTorch 2.11 on CUDA).

    A convolution whose weights lie channels-last returns channels-last activations, so the weights are enough: every
    module in between keeps the layout of its input. In PyTorch's default layout the same 3-D convolutions take 4 to 35
    times as long on a CPU, depending on the processor.
    """
    formats = {} if compiled else {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in model.parameters():
        memory_format = formats.get(parameter.dim(), torch.contiguous_format)
        # Not `contiguous`: with one channel both layouts are the same memory, so it would keep the strides that are
        # there, and these decide in which layout the convolution runs.
        parameter.data = torch.empty_like(parameter.data, memory_format=memory_format).copy_(parameter.data)
    return model


def fast_bf16(device: torch.device | str) -> bool:
    """Whether ``device`` multiplies bfloat16 in hardware, so that autocast saves time instead of costing it."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False
