"""An ensemble of unprojection networks with one common point head.

A network trained with exact cameras is the best where cameras are exact and degrades where they are not; one trained
with noisy cameras hardly degrades but is never as sharp. The mean of their logits keeps most of both (Lakshminarayanan
et al., Deep Ensembles, NeurIPS 2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from p2vlib.geometry.projection import voxel_centres
from p2vlib.models.network import Batch, to_fast_layout
from p2vlib.models.point_head import CoarseState, PointHead, boundary_voxels, sample_near_surface
from p2vlib.models.unprojection import Unprojection, UnprojectionConfig, UnprojectionReconstruction, pad_height


@dataclass(frozen=True, eq=False, kw_only=True)
class EnsembleReconstruction(UnprojectionReconstruction):
    """The mean reconstruction, with the occupancy by each member."""

    member_probability: Float[Tensor, "batch members x y z"]
    """Occupancy by each member, in [0, 1]. The differences between members measure the uncertainty of the ensemble."""


class Ensemble(nn.Module):
    """Predicts the mean of its ``members`` from photos and their cameras, at the grid's size or finer (`enlarged`)."""

    needs_cameras = True
    order_free = True
    frozen_parts: ClassVar = {"points": ("members",)}
    query_points = staticmethod(sample_near_surface)

    def __init__(self, config: UnprojectionConfig, members: int, point_channels: int) -> None:
        super().__init__()
        self.config = config
        self.members = nn.ModuleList(Unprojection(config) for _ in range(members))
        self.point_head = PointHead(config.features + 1, config.volume[0] + 1, point_channels)
        self.register_buffer("calibration", torch.tensor([1.0, 0.0]))
        """Slope and offset of the logits."""
        self.register_load_state_dict_pre_hook(_rename_old_tensors)
        to_fast_layout(self)

    def forward(
        self,
        views: Float[Tensor, "batch views 3 height width"],
        cameras: Float[Tensor, "batch views 3 7"] | None = None,
        points: Float[Tensor, "batch points 3"] | None = None,
    ) -> EnsembleReconstruction:
        """As `Unprojection.forward`; masks and view weights are means over the members.

        ``points`` of the unit cube are evaluated by the point head.
        """
        predictions = [member(views, cameras) for member in self.members]
        slope, offset = self.calibration
        member_logits = slope * torch.cat([one.coarse_state.volume[:, -1:] for one in predictions], 1) + offset
        logits = member_logits.mean(1, keepdim=True)
        first = predictions[0].coarse_state
        state = first._replace(volume=torch.cat([first.volume[:, :-1], logits], 1))
        probability = pad_height(torch.sigmoid(logits.float())[:, 0])
        weights = torch.stack([one.view_weights for one in predictions]).mean(0)
        masks = torch.stack([one.mask_probability for one in predictions]).mean(0)
        point_logits = None if points is None else self.point_head(self.point_head.maps(state), state, points)
        volumes = (probability, probability, probability[:, None])
        members = pad_height(torch.sigmoid(member_logits.float()))
        return EnsembleReconstruction(*volumes, weights, masks, state, point_logits, member_probability=members)

    def predict_masks(
        self, views: Float[Tensor, "batch views 3 height width"]
    ) -> Float[Tensor, "batch views rows columns"]:
        """Predicts only the silhouettes, the mean over the members."""
        return torch.stack([member.predict_masks(views) for member in self.members]).mean(0)

    def loss(self, result: UnprojectionReconstruction, batch: Batch) -> Float[Tensor, ""]:
        """Cross entropy of the point head at the query points; the members are trained before, independently."""
        return functional.binary_cross_entropy_with_logits(result.point_logits, batch.inside.float())

    @torch.no_grad()
    def enlarged(self, state: CoarseState, size: int, threshold: float) -> Float[Tensor, "batch x y z"]:
        """Occupancy at ``size`` voxels a side: the grid is doubled repeatedly and evaluated again near the surface.

        ``threshold``: occupancy of the surface.
        """
        maps, level = self.point_head.maps(state), math.log(threshold / (1 - threshold))
        views, logits = state.cameras.shape[1], state.volume[:, -1:]
        for _ in range(round(math.log2(size / self.config.grid))):
            logits = functional.interpolate(logits, scale_factor=2.0, mode="trilinear")
            is_near = boundary_voxels(logits[:, 0] > level)
            centres = voxel_centres(logits.shape[-1], logits.shape[-2], logits.device).view(*is_near.shape[1:], 3)
            for row, (near, volume) in enumerate(zip(is_near, logits[:, 0], strict=True)):
                row_maps = maps[row * views : (row + 1) * views]
                row_state = state._replace(cameras=state.cameras[[row]], volume=state.volume[[row]])
                volume[near] = self.point_head(row_maps, row_state, centres[near][None])[0]
        return pad_height(torch.sigmoid(logits[:, 0]))

    @torch.no_grad()
    def calibrate(self, slope: float, offset: float) -> None:
        """Sets the occupancy to ``sigmoid(slope * logit + offset)`` of the mean logit (`calibration`)."""
        self.calibration.copy_(torch.tensor([slope, offset]))


def _rename_old_tensors(module: nn.Module, tensors: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Accepts state dicts from before the point head and the calibration had these names."""
    for name in [name for name in tensors if name.startswith((f"{prefix}finer.", f"{prefix}line"))]:
        new = name.removeprefix(prefix).replace("finer.", "point_head.", 1).replace("line", "calibration", 1)
        tensors[prefix + new] = tensors.pop(name)
