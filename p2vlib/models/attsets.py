"""AttSets: attention over the set of views, between the encoder and the decoder of 3D-R2N2.

Yang et al., Robust Attentional Aggregation of Deep Feature Sets for Multi-view 3D Reconstruction (IJCV 2020). Every
feature of every view gets a weight, and the weighted sum does not depend on the order. As in the setting ``base_r2n2``
of the released code, encoder and decoder are those of 3D-R2N2.

The paper trains in two stages (its FASet algorithm): encoder and decoder on single views, for which the attention is
the identity, then the attention alone on sets of views. A recipe with `freeze_after_first_stage` does so:
`AttSets.frozen_parts` names what the second stage leaves unchanged. By default all parts train together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from p2vlib.models.r2n2 import LEAK, R2N2, STATE_EDGE, R2N2Config


@dataclass(frozen=True)
class AttSetsConfig(R2N2Config):
    """The architecture of one AttSets; the defaults are the published sizes."""


class AttentionPooling(nn.Module):
    """Weights each feature of each view by a softmax over the views (equations 1 to 3)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.score = nn.Linear(features, features, bias=False)

    def forward(
        self, features: Float[Tensor, "batch views features"]
    ) -> tuple[Float[Tensor, "batch features"], Float[Tensor, "batch views features"]]:
        """The weighted sum, and the weights."""
        weights = torch.softmax(self.score(features).float(), 1)
        return (weights * features).sum(1), weights


class AttSets(R2N2):
    """3D-R2N2 with attention over the views instead of the recurrence: the order of the views does not matter."""

    order_free = True
    frozen_parts: ClassVar = {"multi-view": ("encoder", "grow", "decoder")}

    def _add_aggregation(self, config: R2N2Config) -> None:
        self.merger = AttentionPooling(config.features)
        self.grow = nn.Linear(config.features, config.decoder[0] * STATE_EDGE**3)

    def _aggregate(self, features: Float[Tensor, "batch views features"]) -> tuple[Tensor, Tensor]:
        pooled, weights = self.merger(features)  # -> [batch, 1024], [batch, views, 1024]
        return functional.leaky_relu(self.grow(pooled), LEAK).unflatten(1, (-1, *(STATE_EDGE,) * 3)), weights.mean(-1)
