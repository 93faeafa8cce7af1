"""Networks of rays that are asked together.

One that learnt with good cameras is the best where cameras are good, and falls behind where they are not; one that
learnt with bad cameras hardly minds them, and never is as sharp. The mean of their logits keeps most of both
(Lakshminarayanan et al., Deep Ensembles, NeurIPS 2017), and so does what is finer than their voxels: one head on top.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from p2vlib.geometry.projection import voxel_centres
from p2vlib.models.network import Batch, to_fast_layout
from p2vlib.models.point_head import CoarseState, PointHead, boundary_voxels, sample_near_surface
from p2vlib.models.unprojection import Unprojection, UnprojectionConfig, UnprojectionReconstruction, pad_height


class Ensemble(nn.Module):
    """Photos and their cameras to the mean answer of its ``members``; at any size (`enlarged`)."""

    needs_cameras = True
    order_free = True
    frozen_parts: ClassVar = {"points": ("members",)}
    query_points = staticmethod(sample_near_surface)

    def __init__(self, config: UnprojectionConfig, members: int, finer: int) -> None:
        """``finer``: channels of the head on top."""
        super().__init__()
        self.config = config
        self.members = nn.ModuleList(Unprojection(config) for _ in range(members))
        self.finer = PointHead(config.features + 1, config.volume[0] + 1, finer)
        self.register_buffer("line", torch.tensor([1.0, 0.0]))
        to_fast_layout(self)

    def forward(
        self,
        views: Float[Tensor, "batch views 3 height width"],
        cameras: Float[Tensor, "batch views 3 7"] | None = None,
        points: Float[Tensor, "batch points 3"] | None = None,
    ) -> UnprojectionReconstruction:
        """As `Unprojection.forward`; silhouettes and the weights of the views are the members' mean.

        ``points`` of the unit cube are those at which the finer head is asked.
        """
        said = [member(views, cameras) for member in self.members]
        slope, offset = self.line
        logits = slope * torch.stack([one.coarse_state.volume[:, -1:] for one in said]).mean(0) + offset
        first = said[0].coarse_state
        known = first._replace(volume=torch.cat([first.volume[:, :-1], logits], 1))
        probability = pad_height(torch.sigmoid(logits.float())[:, 0])
        weights = torch.stack([one.view_weights for one in said]).mean(0)
        masks = torch.stack([one.mask_probability for one in said]).mean(0)
        near = None if points is None else self.finer(self.finer.maps(known), known, points)
        return UnprojectionReconstruction(probability, probability, probability[:, None], weights, masks, known, near)

    def loss(self, result: UnprojectionReconstruction, batch: Batch) -> Float[Tensor, ""]:
        """The cross entropy of the point head at the query points; the members are trained before, each by itself."""
        return functional.binary_cross_entropy_with_logits(result.point_logits, batch.inside.float())

    @torch.no_grad()
    def enlarged(self, known: CoarseState, size: int, threshold: float) -> Float[Tensor, "batch x y z"]:
        """Occupancy at ``size``, the grid doubled as often as it takes, asked anew wherever the surface is near.

        ``threshold``: where the surface is.
        """
        maps, level = self.finer.maps(known), math.log(threshold / (1 - threshold))
        views, logits = known.cameras.shape[1], known.volume[:, -1:]
        for _ in range(round(math.log2(size / self.config.grid))):
            logits = functional.interpolate(logits, scale_factor=2.0, mode="trilinear")
            near = boundary_voxels(logits[:, 0] > level)
            centres = voxel_centres(logits.shape[-1], logits.shape[-2], logits.device).view(*near.shape[1:], 3)
            for row, (one, volume) in enumerate(zip(near, logits[:, 0], strict=True)):
                own = slice(row * views, (row + 1) * views)
                part = known._replace(cameras=known.cameras[[row]], volume=known.volume[[row]])
                volume[one] = self.finer(maps[own], part, centres[one][None])[0]
        return pad_height(torch.sigmoid(logits[:, 0]))

    @torch.no_grad()
    def calibrate(self, slope: float, offset: float) -> None:
        """From now on occupancy is ``sigmoid(slope * logit + offset)`` of the mean (`calibration.fit_calibration`)."""
        self.line.copy_(torch.tensor([slope, offset]))
