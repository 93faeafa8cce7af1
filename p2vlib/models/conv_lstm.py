"""Convolutional LSTMs over the views of a sample: the one part of the study in which the order of photos matters.

The slides place a CONV3DLSTM behind the encoder and give neither kernel nor hidden size nor the input of the decoder.
The choices made here, and their reasons:

- **Position and grid.** Between encoder and decoder. The decoder of Pix2Vox-A reads the 256x8x8 features of a view as
  2048x2^3; a 3-D LSTM over that grid with as many hidden channels needs 906 million parameters, eight times the whole
  network, for eight cells. The same 16,384 numbers read as 256x4^3 leave room for a kernel and need 14.2 million. The
  2-D option keeps the encoder's own 256x8x8 and needs 4.7 million.
- **Kernel 3**, the smallest that connects neighbouring cells, and **as many hidden channels as features**, so that the
  states replace the features without a projection.
- **Every state is decoded.** View t is decoded from the views up to t, then fused with the others as in Pix2Vox.
  Decoding only the last state would remove the fusion and change two things at once.
- **The state is added to the features** (a residual connection). The state lies in (-1, 1) and forgets; the addition
  keeps the features of Pix2Vox and lets the LSTM add to them. Replaced by the identity, the network *is* Pix2Vox, so
  the difference between the two is the recurrence and nothing else.
- **The forget gate starts at bias 1** (Jozefowicz et al. 2015), so that early views are remembered from the start;
  the cell state is kept in float32.

Shi et al., Convolutional LSTM Network (NeurIPS 2015), equations 3, without the peephole terms.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

LSTM_EDGE = 4
"""The 3-D LSTM reads the features of a view as a grid of 4^3 cells."""


class ConvLSTM(nn.Module):
    """A convolutional LSTM over ``[batch, views, channels, *cells]`` with two or three axes of cells.

    Args:
        channels: channels of the features.
        hidden: channels of the state.
        kernel: edge of the kernel in cells, odd.
        axes: 2 or 3.
    """

    def __init__(self, channels: int, hidden: int, kernel: int, axes: int) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"the kernel of a convolutional LSTM has to be odd to keep the grid; found {kernel}")
        convolution = {2: nn.Conv2d, 3: nn.Conv3d}[axes]
        self.hidden = hidden
        self.from_input = convolution(channels, 4 * hidden, kernel, padding=kernel // 2)
        self.from_state = convolution(hidden, 4 * hidden, kernel, padding=kernel // 2, bias=False)
        self.initialise()

    def initialise(self) -> None:
        """Gates of unit variance, the forget gate at bias 1."""
        for layer in (self.from_input, self.from_state):
            nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
        bias = self.from_input.get_parameter("bias")
        nn.init.zeros_(bias)
        nn.init.ones_(bias[self.hidden : 2 * self.hidden])

    def forward(self, features: Float[Tensor, "batch views c *cells"]) -> Float[Tensor, "batch views hidden *cells"]:
        """The hidden state after each view, in the order of the views."""
        batch, views, channels, *cells = features.shape
        # Only the state depends on the view before; the features of all views go through one convolution.
        inputs = self.from_input(features.reshape(-1, channels, *cells))  # [batch * views, 4 * hidden, *cells]
        inputs = inputs.unflatten(0, (batch, views))  # -> [batch, views, 4 * hidden, *cells]
        state = cell = features.new_zeros(batch, self.hidden, *cells, dtype=torch.float32)
        states = []
        for view in range(views):
            gates = inputs[:, view] + self.from_state(state)
            input_gate, forget_gate, output_gate, candidate = gates.float().chunk(
                4, dim=1
            )  # each [batch, hidden, *cells]
            cell = torch.sigmoid(forget_gate) * cell + torch.sigmoid(input_gate) * torch.tanh(candidate)
            state = torch.sigmoid(output_gate) * torch.tanh(cell)
            states.append(state)
        return torch.stack(states, dim=1)  # -> [batch, views, hidden, *cells]


class RecurrentViews(nn.Module):
    """Adds to the features of each view the LSTM's state, a summary of the views so far.

    Args:
        shape: channels, height and width of the encoder's features.
        hidden: channels of the state, or None for as many as the features have; other numbers are projected back.
        kernel: edge of the kernel in cells.
        axes: 3 reads a view's features as 4^3 cells, 2 leaves them as they are.
        residual: whether the state is added to the features or replaces them.
    """

    def __init__(self, shape: tuple[int, int, int], hidden: int | None, kernel: int, axes: int, residual: bool) -> None:
        super().__init__()
        size = shape[0] * shape[1] * shape[2]
        if axes == 3 and size % LSTM_EDGE**3:
            raise ValueError(f"features {shape} do not fill a grid of {LSTM_EDGE}^3 cells: {size} is no multiple of 64")
        self.cells = (size // LSTM_EDGE**3, *[LSTM_EDGE] * 3) if axes == 3 else shape
        self.residual = residual
        channels = self.cells[0]
        hidden = hidden or channels
        self.lstm = ConvLSTM(channels, hidden, kernel, axes)
        convolution = {2: nn.Conv2d, 3: nn.Conv3d}[axes]
        self.project = nn.Identity() if hidden == channels else convolution(hidden, channels, 1)

    def forward(self, features: Float[Tensor, "batch views c h w"]) -> Float[Tensor, "batch views c h w"]:
        grid = features.reshape(*features.shape[:2], *self.cells)  # A: [batch, views, 256, 8, 8] -> 256x4x4x4
        states = self.project(self.lstm(grid).flatten(0, 1))  # -> [batch * views, 256, 4, 4, 4]
        states = states.reshape(features.shape)  # -> [batch, views, 256, 8, 8]
        return features + states if self.residual else states
