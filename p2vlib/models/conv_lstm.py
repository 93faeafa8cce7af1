"""A convolutional LSTM over the views of a sample: the one part of the study in which the order of photos matters.

The slides place a CONV3DLSTM behind the encoder and give neither kernel nor hidden size nor the input of the decoder.
The choices made here, and their reasons:

- **Grid.** The decoder of Pix2Vox-A reads the 256x8x8 features of a view as 2048x2^3; an LSTM over that grid would need
  906 million parameters, eight times the whole network. Read as 256x4^3 the same numbers leave room for a kernel, and
  the LSTM has 14.2 million.
- **Kernel 3**, the smallest that connects neighbouring cells, and **as many hidden channels as features**.
- **Every state is decoded** and then fused with the others as in Pix2Vox. Decoding only the last state would remove the
  fusion and change two things at once.
- **The state is added to the features** (a residual connection), since it lies in (-1, 1) and forgets. Replaced by the
  identity, the network *is* Pix2Vox, so the difference between the two is the recurrence and nothing else.
- **The forget gate starts at bias 1** (Jozefowicz et al. 2015); the cell state is kept in float32.

Shi et al., Convolutional LSTM Network (NeurIPS 2015), equations 3, without the peephole terms.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

LSTM_EDGE = 4
"""The LSTM reads the features of a view as a grid of 4^3 cells."""


class ConvLSTM(nn.Module):
    """A convolutional LSTM over ``[batch, views, channels, x, y, z]`` whose state has as many channels as its input.

    Args:
        channels: channels of the features and of the state.
        kernel: edge of the kernel in cells, odd.
    """

    def __init__(self, channels: int, kernel: int = 3) -> None:
        super().__init__()
        self.from_input = nn.Conv3d(channels, 4 * channels, kernel, padding=kernel // 2)
        self.from_state = nn.Conv3d(channels, 4 * channels, kernel, padding=kernel // 2, bias=False)
        self.initialise()

    def initialise(self) -> None:
        """Gates of unit variance, the forget gate at bias 1."""
        for layer in (self.from_input, self.from_state):
            nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
        bias = self.from_input.get_parameter("bias")
        nn.init.zeros_(bias)
        nn.init.ones_(bias.chunk(4)[1])

    def forward(self, features: Float[Tensor, "batch views c x y z"]) -> Float[Tensor, "batch views c x y z"]:
        """The hidden state after each view, in the order of the views."""
        # Only the state depends on the view before; the features of all views go through one convolution.
        inputs = self.from_input(features.flatten(0, 1)).unflatten(0, features.shape[:2])  # [batch, views, 4 * c, ...]
        state = cell = torch.zeros_like(features[:, 0], dtype=torch.float32)
        states = []
        for one in inputs.unbind(1):
            gates = one + self.from_state(state)
            input_gate, forget_gate, output_gate, candidate = gates.float().chunk(4, dim=1)  # each [batch, c, x, y, z]
            cell = torch.sigmoid(forget_gate) * cell + torch.sigmoid(input_gate) * torch.tanh(candidate)
            state = torch.sigmoid(output_gate) * torch.tanh(cell)
            states.append(state)
        return torch.stack(states, dim=1)


class RecurrentViews(nn.Module):
    """Adds to the features of each view the LSTM's state, a summary of the views so far.

    Args:
        shape: channels, height and width of the encoder's features.
    """

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__()
        size = shape[0] * shape[1] * shape[2]
        if size % LSTM_EDGE**3:
            raise ValueError(f"features {shape} do not fill a grid of {LSTM_EDGE}^3 cells: {size} is no multiple of 64")
        self.cells = (size // LSTM_EDGE**3, LSTM_EDGE, LSTM_EDGE, LSTM_EDGE)
        self.lstm = ConvLSTM(self.cells[0])

    def forward(self, features: Float[Tensor, "batch views c h w"]) -> Float[Tensor, "batch views c h w"]:
        grid = features.reshape(*features.shape[:2], *self.cells)  # A: [batch, views, 256, 8, 8] -> 256x4x4x4
        return features + self.lstm(grid).reshape(features.shape)
