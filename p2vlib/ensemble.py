"""Networks of rays that are asked together.

One that learnt with good cameras is the best where cameras are good, and falls behind where they are not; one that
learnt with bad cameras hardly minds them, and never is as sharp. The mean of their logits keeps most of both
(Lakshminarayanan et al., Deep Ensembles, NeurIPS 2017), and so does what is finer than their voxels: one head on top.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from .models import Reconstruction, to_fast_layout
from .models.finer import Finer
from .models.rays import BESIDE_FEATURES, Rays, RaysConfig


class Ensemble(nn.Module):
    """Photos and their cameras to the mean answer of its ``members``; at any size (`enlarged`)."""

    needs_cameras = True
    order_free = True

    def __init__(self, config: RaysConfig, members: int) -> None:
        super().__init__()
        self.config = config
        alone = replace(config, finer=0)
        self.members = nn.ModuleList(Rays(alone) for _ in range(members))
        self.finer = Finer(config.features + 1, config.volume[0] + 1, BESIDE_FEATURES, config.finer or 16)
        nn.init.zeros_(self.finer.decide[-1].weight)  # it begins as the interpolated mean
        nn.init.zeros_(self.finer.decide[-1].bias)
        self.register_buffer("line", torch.tensor([1.0, 0.0]))
        to_fast_layout(self)

    def forward(
        self,
        views: Float[Tensor, "batch views 3 height width"],
        cameras: Float[Tensor, "batch views 3 7"] | None = None,
        points: Float[Tensor, "batch asked 3"] | None = None,
    ) -> Reconstruction:
        """As `Rays.forward`; silhouettes and the weights of the views are the members' mean."""
        said = [member(views, cameras) for member in self.members]
        slope, offset = self.line
        logits = slope * torch.stack([one.known.volume[:, -1:] for one in said]).mean(0) + offset
        first = said[0].known
        known = first._replace(volume=torch.cat([first.volume[:, :-1], logits], 1))
        lower = torch.sigmoid(logits.float())[:, 0]
        probability = functional.pad(lower, (0, 0, 0, self.config.grid - lower.shape[2]))
        scores, masks = (torch.stack(parts).mean(0) for parts in zip(*((o.scores, o.masks) for o in said), strict=True))
        near = None if points is None else self.finer(self.finer.maps(known), known, points)
        return Reconstruction(probability, probability, probability[:, None], scores, masks, near=near, known=known)

    enlarged = Rays.enlarged

    @torch.no_grad()
    def calibrate(self, slope: float, offset: float) -> None:
        """From now on occupancy is ``sigmoid(slope * logit + offset)`` of the mean (`calibration.fitted`)."""
        self.line.copy_(torch.tensor([slope, offset]))
