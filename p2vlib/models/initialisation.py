"""Where weights come from: initialisation and the ImageNet trunk."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from p2vlib.models.conv_lstm import ConvLSTM
from p2vlib.models.decoder import Decoder
from p2vlib.models.encoder import Encoder
from p2vlib.models.refiner import Refiner
from p2vlib.models.resnet import PLACES

VGG_LAST = 25
"""Number of the last layer with weights in the trunk of VGG16-bn; what follows in the standard file is left out."""

REFERENCE_INPUTS = 8192
"""Inputs of the layer for which the published deviation of .01 was chosen."""


def initialise_weights(model: nn.Module) -> None:
    """He initialisation of convolutions, batch norms 1 and 0, as published; two scales are put right for any width.

    A linear layer's deviation is the published .01 at 8,192 inputs and keeps the size of its outputs elsewhere. A
    transposed convolution counts the inputs that one output really has, kernel / stride along each axis: PyTorch's
    own count would start the occupancy head with logits of several units.
    """
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
        if isinstance(module, ConvLSTM):
            module.initialise()
        elif isinstance(module, Decoder):
            _begin_empty(module)
        elif isinstance(module, Refiner):
            # Half-open features of about .6 on eight taps a channel: the correction, too, begins near a logit of -3.
            module.layer8[0].weight.data -= 3 / (8 * 0.6 * module.layer8[0].in_channels)


def _begin_empty(decoder: Decoder) -> None:
    """Lets the occupancy begin near .03, as rare as it is in truth (the prior of Lin et al. 2017, section 3.3).

    The published head has no bias, so nothing but the growth of its weights could teach it that most of a volume is
    empty: hundreds of steps at the published rate. Half its channels begin open and speak against occupancy, the
    other half begin almost closed and speak for it.
    """
    *_, last, head = decoder.children()
    channels = head[0].in_channels
    against = torch.arange(channels) % 2 == 0
    size = 8 / channels
    head[0].weight.data = torch.where(against, -size, size).reshape(channels, 1, 1, 1, 1)
    last[1].bias.data = torch.where(against, 1.0, -0.5)


def load_trunk(encoder: Encoder, path: str | Path) -> None:
    """Fills the trunk from a file with the standard names of VGG16-bn (``features.0.weight`` …) or a ResNet.

    Raises:
        ValueError: not a weights file, or not those of this trunk.
    """
    path = Path(path)
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
        encoder.trunk.load_state_dict(_trunk_names(state, "resnet" in dict(encoder.named_children())))
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file; expected the ImageNet weights of the trunk") from None
    except Exception as error:  # readers of foreign files raise whatever they like
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: not the weights of this trunk ({reason})") from error


def _trunk_names(state: dict[str, Tensor], resnet: bool) -> dict[str, Tensor]:
    """The entries of a standard state dict that belong to the trunk, under the trunk's own names."""
    if not resnet:
        numbers = {name: name.removeprefix("features.") for name in state if name.startswith("features.")}
        return {number: state[name] for name, number in numbers.items() if int(number.split(".")[0]) <= VGG_LAST}
    parts = {name: name.partition(".") for name in state}
    return {f"{PLACES[part]}.{rest}": state[name] for name, (part, _, rest) in parts.items() if part in PLACES}
