"""A convolutional LSTM over the views of a sample: the one part of the study in which the order of photos matters.

The slides place a CONV3DLSTM behind the encoder and give neither kernel nor hidden size nor the input of the decoder.
The choices made here, and their reasons:

- **Grid.** The 3-D LSTM reads a view as the decoder does: 2^3 cells, in Pix2Vox-A of 2048 channels. The 2-D LSTM, for
  comparison, reads the map of the encoder, 256x8x8.
- **Bottleneck.** On 2048 channels an LSTM with kernel 3 would have 906 million parameters, eight times the whole
  network. A linear layer on each cell reduces them to 256, another expands the state again: 15.2 million.
- **Kernel 3**, the smallest that connects neighbouring cells; on 2^3 cells it connects all of them.
- **Every state is decoded** and then fused with the others as in Pix2Vox. Decoding only the last state would remove the
  fusion and change two things at once.
- **The expanded state is added to the features**, and the expansion starts at zero. So the network starts as the
  Pix2Vox with the same other weights, trained or not, and the difference of the two is the recurrence alone.
- **A batch norm before the LSTM**, since the features of photos have a large mean in common. Without it the LSTM did
  not learn from data in which the order decides the truth (notebook 05), in the steps in which it does with it.
- **The forget gate starts at bias 1** (Jozefowicz et al. 2015).

Shi et al., Convolutional LSTM Network (NeurIPS 2015), equations 3, without the peephole terms.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Float32
from torch import Tensor, nn

CONVOLUTIONS: dict[int, type[nn.Conv2d] | type[nn.Conv3d]] = {2: nn.Conv2d, 3: nn.Conv3d}
"""Number of axes of a grid -> its convolution."""


class ConvLSTM(nn.Module):
    """A convolutional LSTM over ``[batch, views, channels, *grid]`` whose state has as many channels as its input.

    Args:
        channels: channels of the features and of the state.
        kernel: edge of the kernel in cells, odd.
        axes: number of axes of the grid, 2 or 3.
    """

    def __init__(self, channels: int, kernel: int = 3, axes: int = 3) -> None:
        super().__init__()
        convolution = CONVOLUTIONS[axes]
        self.from_input = convolution(channels, 4 * channels, kernel, padding=kernel // 2)
        self.from_state = convolution(channels, 4 * channels, kernel, padding=kernel // 2, bias=False)
        self.initialise()

    def initialise(self) -> None:
        """Gates of unit variance, the forget gate at bias 1."""
        for layer in (self.from_input, self.from_state):
            nn.init.normal_(layer.weight, std=layer.weight[0].numel() ** -0.5)
        bias = self.from_input.get_parameter("bias")
        nn.init.zeros_(bias)
        nn.init.ones_(bias.chunk(4)[1])

    def forward(self, features: Float[Tensor, "batch views c *grid"]) -> Float32[Tensor, "batch views c *grid"]:
        """The hidden state after each view, in the order of the views; computed in float32.

        In bfloat16 oneDNN reads uninitialised memory in the gradient of 3-D convolutions on 2^3 cells.
        """
        with torch.autocast(features.device.type, enabled=False):
            # Only the state depends on the view before; the features of all views go through one convolution.
            inputs = self.from_input(features.float().flatten(0, 1)).unflatten(0, features.shape[:2])
            state = cell = torch.zeros_like(features[:, 0], dtype=torch.float32)
            states = []
            for one in inputs.unbind(1):  # [batch, 4 * c, *grid]
                input_gate, forget_gate, output_gate, candidate = (one + self.from_state(state)).chunk(4, dim=1)
                cell = torch.sigmoid(forget_gate) * cell + torch.sigmoid(input_gate) * torch.tanh(candidate)
                state = torch.sigmoid(output_gate) * torch.tanh(cell)
                states.append(state)
            return torch.stack(states, dim=1)


class RecurrentViews(nn.Module):
    """Adds to the features of each view a projection of the LSTM's state, a summary of the views so far.

    Args:
        cells: channels and edges of the grid as which the features of a view are read.
        width: channels of the LSTM.
    """

    def __init__(self, cells: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.cells = cells
        self.reduction = nn.Linear(cells[0], width)
        self.norm = nn.BatchNorm1d(width)
        self.lstm = ConvLSTM(width, axes=len(cells) - 1)
        self.expansion = nn.Linear(width, cells[0], bias=False)

    def initialise(self) -> None:
        """The network starts as the one without recurrence."""
        nn.init.zeros_(self.expansion.weight)

    def forward(self, features: Float[Tensor, "batch views c h w"]) -> Float[Tensor, "batch views c h w"]:
        grid = features.reshape(*features.shape[:2], *self.cells)  # A: [batch, views, 256, 8, 8] -> 2048x2x2x2
        reduced = self.reduction(grid.movedim(2, -1))  # -> [batch, views, 2, 2, 2, 256]
        reduced = self.norm(reduced.flatten(0, -2)).reshape(reduced.shape)
        states = self.lstm(reduced.movedim(-1, 2))  # -> 256x2x2x2
        update = self.expansion(states.movedim(2, -1)).movedim(-1, 2)  # -> 2048x2x2x2
        return features + update.reshape(features.shape)
