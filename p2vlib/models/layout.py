"""Memory layout and precision: where most of the time of a 3-D network on a CPU is won or lost.

A convolution whose weights lie channels-last returns channels-last activations, so it is enough to lay out the
weights; every module in between keeps what it is given. In PyTorch's default layout the same 3-D convolutions take
4 to 35 times as long on a CPU, which one it is depends on the processor.
"""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def to_fast_layout(model: Network) -> Network:
    """Lays out, in place, 2-D weights as channels_last and 3-D weights as channels_last_3d; returns ``model``."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in model.parameters():
        _lay_out(parameter, formats.get(parameter.dim(), torch.contiguous_format))
    return model


def to_plain_layout(model: Network) -> Network:
    """Puts every weight, in place, back into PyTorch's default layout; returns ``model``."""
    for parameter in model.parameters():
        _lay_out(parameter, torch.contiguous_format)
    return model


def _lay_out(parameter: nn.Parameter, memory_format: torch.memory_format) -> None:
    # Not `contiguous`: with one channel both layouts are the same memory, so it would keep the strides it finds, and
    # they decide in which layout the convolution runs.
    parameter.data = torch.empty_like(parameter.data, memory_format=memory_format).copy_(parameter.data)


def fast_bf16(device: torch.device | str) -> bool:
    """Whether ``device`` multiplies bfloat16 in hardware, so that autocast to it gains time instead of losing it."""
    device = torch.device(device)
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False
