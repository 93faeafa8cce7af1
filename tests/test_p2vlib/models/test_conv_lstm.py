"""Convolutional LSTMs over views: what a state knows, and torch's own LSTM as the reference."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from p2vlib.models.conv_lstm import ConvLSTM, RecurrentViews


@torch.no_grad()
@pytest.mark.parametrize("axes", [2, 3])
def test_a_state_knows_the_views_before_it_and_none_after(axes: int) -> None:
    torch.manual_seed(1)
    part = RecurrentViews((16, 4, 4), hidden=None, kernel=3, axes=axes, residual=True)
    features = torch.randn(1, 3, 16, 4, 4)
    other = features.clone()
    other[:, 1] += 1
    change = (part(features) - part(other)).abs().amax(dim=(0, 2, 3, 4))
    assert change[0] == 0 and change[1] > 0.1 and change[2] > 1e-3
    bare = RecurrentViews((16, 4, 4), hidden=None, kernel=3, axes=axes, residual=False)
    bare.load_state_dict(part.state_dict())
    assert torch.allclose(part(features) - bare(features), features, atol=1e-6)


@torch.no_grad()
def test_conv_lstm_against_the_equations() -> None:
    """With kernel 1 and one cell it is the plain LSTM that torch has; torch's gates are ordered i, f, g, o."""
    torch.manual_seed(2)
    ours, torchs = ConvLSTM(5, 4, 1, axes=2), nn.LSTM(5, 4, batch_first=True)
    order = torch.cat([torch.arange(0, 8), torch.arange(12, 16), torch.arange(8, 12)])
    assert ours.from_input.bias.tolist() == [0] * 4 + [1] * 4 + [0] * 8
    torchs.weight_ih_l0.copy_(ours.from_input.weight.flatten(1)[order])
    torchs.weight_hh_l0.copy_(ours.from_state.weight.flatten(1)[order])
    torchs.bias_ih_l0.copy_(ours.from_input.bias[order])
    torchs.bias_hh_l0.zero_()
    sequence = torch.randn(2, 6, 5)
    assert torch.allclose(ours(sequence[..., None, None])[..., 0, 0], torchs(sequence)[0], atol=1e-6)
