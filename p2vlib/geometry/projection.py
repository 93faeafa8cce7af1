"""Projection of points into views, and silhouettes of volumes.

Cameras are those of `Camera.normalised`: the cube has edge 1, an image runs from -1 to 1 in both directions.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

RAY_SAMPLES = 32
"""Samples along a ray through the cube; at 32^3 they are at most two voxels apart."""


class Projection(NamedTuple):
    """Points projected into views."""

    uv: Float[Tensor, "batch views points 2"]
    """Position in the image, -1 to 1 from border to border."""
    visible: Bool[Tensor, "batch views points"]
    """Whether the point is inside the image and in front of the camera."""
    ray_features: Float[Tensor, "batch views 5 points"]
    """Visible (0 or 1), depth relative to the centre of the cube in edges, unit vector from the camera to the point."""


def voxel_centres(
    size: int, layers: int | None = None, device: torch.device | str = "cpu"
) -> Float[Tensor, "voxels 3"]:
    """Voxel centres of the unit cube, in the order of a flattened volume (x slowest).

    Args:
        layers: only this many layers from the floor up.

    >>> voxel_centres(2)[:3].tolist()
    [[0.25, 0.25, 0.25], [0.25, 0.25, 0.75], [0.25, 0.75, 0.25]]
    """
    line = (torch.arange(size, device=device) + 0.5) / size
    return torch.stack(torch.meshgrid(line, line[:layers], line, indexing="ij"), -1).reshape(-1, 3)


def project_points(cameras: Float[Tensor, "batch views 3 7"], points: Float[Tensor, "*batch points 3"]) -> Projection:
    """Projects ``points`` of the unit cube into every view; the same points for all captures, or a set for each.

    >>> from p2vlib.geometry.cameras import look_at
    >>> from p2vlib.geometry.frames import FOOT_CUBE
    >>> camera = look_at((0.0, 0.0, 0.0, 0.64, 60.0), FOOT_CUBE.centre, 64, 64)
    >>> cameras = torch.from_numpy(camera.normalised(FOOT_CUBE, (0.0, 0.0, 64.0, 64.0)))[None, None]
    >>> projection = project_points(cameras, torch.full((1, 3), 0.5))
    >>> projection.uv.abs().max().item() < 1e-6, projection.visible.item()
    (True, True)
    """
    intrinsics, rotation, translation = cameras.float().split([3, 3, 1], dim=-1)
    columns = points.transpose(-1, -2).unsqueeze(-3)  # [batch, 1, 3, points]
    in_camera = rotation @ columns + translation  # [batch, views, 3, points]
    depth = in_camera[:, :, 2]
    pixels = intrinsics @ in_camera
    uv = (pixels[:, :, :2] / pixels[:, :, 2:].clamp(min=1e-3)).transpose(2, 3)
    visible = (depth > 0.01) & (uv.abs() <= 1).all(-1)
    position = -rotation.transpose(2, 3) @ translation
    direction = functional.normalize(columns - position, dim=2)
    centre = rotation @ points.new_full((3, 1), 0.5) + translation
    ray_features = torch.cat([visible[:, :, None].float(), (depth - centre[:, :, 2])[:, :, None], direction], 2)
    return Projection(uv.clamp(-2, 2), visible, ray_features)


def render_silhouettes(
    volume: Float[Tensor, "batch x y z"], cameras: Float[Tensor, "batch views 3 7"], size: int
) -> Float[Tensor, "batch views size size"]:
    """The silhouette of ``volume`` in every view: the largest occupancy along the ray of each pixel.

    Differentiable in volume and cameras. Occupancy is interpolated between voxel centres and zero outside the cube.

    >>> from p2vlib.geometry.cameras import look_at
    >>> from p2vlib.geometry.frames import FOOT_CUBE
    >>> camera = look_at((0.0, 0.0, 0.0, 0.64, 60.0), FOOT_CUBE.centre, 64, 64)
    >>> cameras = torch.from_numpy(camera.normalised(FOOT_CUBE, (0.0, 0.0, 64.0, 64.0))).float()[None, None]
    >>> silhouette = render_silhouettes(torch.ones(1, 8, 8, 8), cameras, 8)[0, 0]
    >>> silhouette[4, 4].round().item(), silhouette[0, 0].item()
    (1.0, 0.0)
    """
    intrinsics, rotation, translation = cameras.float().split([3, 3, 1], dim=-1)
    line = (torch.arange(size, device=volume.device) + 0.5) * 2 / size - 1
    down, across = torch.meshgrid(line, line, indexing="ij")
    pixels = torch.stack([across, down, torch.ones_like(down)]).flatten(1)  # [3, size * size]
    back = rotation.transpose(2, 3)
    rays, _ = torch.linalg.solve_ex(intrinsics, pixels.expand(*cameras.shape[:2], -1, -1))  # does not wait for a GPU
    direction = back @ rays
    position = -back @ translation  # [batch, views, 3, 1]
    # Where a ray enters and leaves the slabs between opposite sides of the cube.
    slope = torch.where(direction.abs() < 1e-6, 1e-6, direction)
    sides = torch.stack([-position / slope, (1 - position) / slope])
    enter = sides.amin(0).amax(2).clamp(min=0)
    leave = sides.amax(0).amin(2)
    fraction = (torch.arange(RAY_SAMPLES, device=volume.device) + 0.5) / RAY_SAMPLES
    depth = enter[..., None] + (leave - enter).clamp(min=0)[..., None] * fraction  # [batch, views, pixels, samples]
    # grid_sample takes coordinates from -1 to 1, so positions and directions are scaled once, before the product.
    origin, way = (2 * position - 1).transpose(2, 3)[:, :, None], (2 * direction).transpose(2, 3)[:, :, :, None]
    samples = torch.addcmul(origin, way, depth[..., None]).flatten(1, 2)  # [batch, views * pixels, samples, 3]
    # grid_sample takes the coordinate along the last axis first, hence the permuted volume.
    values = functional.grid_sample(volume.permute(0, 3, 2, 1)[:, None], samples[:, None], align_corners=False)
    occupancy = values[:, 0, 0].unflatten(1, depth.shape[1:3]).amax(-1)
    return (occupancy * (leave > enter)).unflatten(2, (size, size))
