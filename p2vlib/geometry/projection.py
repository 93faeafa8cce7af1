"""How cameras see the unit cube: where its voxels show in the photos, and the silhouettes of a volume.

Cameras are as `Camera.normalised` gives them: the cube has edge 1, a photo runs from -1 to 1 in both directions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

RAY_SAMPLES = 32
"""Places that a ray looks at on its way through the cube: at 32^3, never more than two voxels apart."""


class Projection(NamedTuple):
    """How a view sees every point."""

    uv: Float[Tensor, "batch views points 2"]
    """Where in the photo, -1 to 1 from border to border."""
    visible: Bool[Tensor, "batch views points"]
    """Whether that is inside the photo and before the camera."""
    ray_features: Float[Tensor, "batch views 5 points"]
    """Seen, depth from the cube's middle in its edges, direction from camera to point."""


def voxel_centres(
    size: int, layers: int | None = None, device: torch.device | str = "cpu"
) -> Float[Tensor, "voxels 3"]:
    """Centres of the voxels of a cube of edge 1, x slowest as in a flattened volume; in its lowest ``layers``."""
    line = (torch.arange(size, device=device) + 0.5) / size
    return torch.stack(torch.meshgrid(line, line[:layers], line, indexing="ij"), -1).reshape(-1, 3)


def project_points(cameras: Float[Tensor, "batch views 3 7"], points: Float[Tensor, "*batch points 3"]) -> Projection:
    """How ``cameras`` see ``points`` of their cube, the same ones in every cube or each cube's own."""
    intrinsics, rotation, translation = cameras.float().split([3, 3, 1], dim=-1)
    columns = points.transpose(-1, -2).unsqueeze(-3)  # [batch, 1, 3, points]
    before = rotation @ columns + translation  # [batch, views, 3, points]
    depth = before[:, :, 2]
    shown = intrinsics @ before
    uv = (shown[:, :, :2] / shown[:, :, 2:].clamp(min=1e-3)).transpose(2, 3)
    visible = (depth > 0.01) & (uv.abs() <= 1).all(-1)
    stand = -rotation.transpose(2, 3) @ translation
    towards = functional.normalize(columns - stand, dim=2)
    middle = rotation @ points.new_full((3, 1), 0.5) + translation
    ray_features = torch.cat([visible[:, :, None].float(), (depth - middle[:, :, 2])[:, :, None], towards], 2)
    return Projection(uv.clamp(-2, 2), visible, ray_features)


def render_silhouettes(
    volume: Float[Tensor, "batch x y z"], cameras: Float[Tensor, "batch views 3 7"], size: int
) -> Float[Tensor, "batch views size size"]:
    """How much the fullest place on each pixel's ray is occupied: the silhouette of ``volume`` in every view.

    Differentiable in volume and cameras. Between the centres of voxels occupancy is interpolated; outside it is zero.
    """
    intrinsics, rotation, translation = cameras.float().split([3, 3, 1], dim=-1)
    line = (torch.arange(size, device=volume.device) + 0.5) * 2 / size - 1
    down, across = torch.meshgrid(line, line, indexing="ij")
    pixels = torch.stack([across, down, torch.ones_like(down)]).flatten(1)  # [3, size * size]
    back = rotation.transpose(2, 3)
    direction = back @ torch.linalg.solve(intrinsics, pixels.expand(*cameras.shape[:2], -1, -1))
    stand = -back @ translation  # [batch, views, 3, 1]
    # Where a ray enters and leaves the slabs between the cube's opposite sides.
    slope = torch.where(direction.abs() < 1e-6, 1e-6, direction)
    sides = torch.stack([-stand / slope, (1 - stand) / slope])
    enter = sides.amin(0).amax(2).clamp(min=0)
    leave = sides.amax(0).amin(2)
    share = (torch.arange(RAY_SAMPLES, device=volume.device) + 0.5) / RAY_SAMPLES
    depth = enter[..., None] + (leave - enter).clamp(min=0)[..., None] * share  # [batch, views, pixels, steps]
    origin, way = (2 * stand - 1).transpose(2, 3)[:, :, None], (2 * direction).transpose(2, 3)[:, :, :, None]
    places = torch.addcmul(origin, way, depth[..., None]).flatten(1, 2)  # [batch, views * pixels, steps, 3]
    # grid_sample asks for the place along the last axis first.
    fullness = functional.grid_sample(volume.permute(0, 3, 2, 1)[:, None], places[:, None], align_corners=False)
    full = fullness[:, 0, 0].unflatten(1, depth.shape[1:3]).amax(-1)
    return (full * (leave > enter)).unflatten(2, (size, size))
