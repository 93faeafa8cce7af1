"""Moving the cube relative to a foot: turned and shifted over the floor, or lifted, with cameras, crop boxes and truth.

In a real capture the centre and the direction of the foot are estimates, so networks that take cameras are trained with
cubes that are slightly misplaced. Everything here works on batches of tensors.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from p2vlib.geometry.projection import project_points, voxel_centres

Placement = Float[Tensor, "batch 3 4"]
"""Maps a point q of the new cube to ``placement[:, :3] q + placement[:, 3]`` in the old one, in edges of the cube."""

Cameras = Float[Tensor, "batch views 3 7"]
"""`Camera.normalised`."""

Boxes = Float[Tensor, "batch views 4"]
"""Crop boxes of the photos: left, top, right, bottom, pixels."""

FineTruth = Bool[Tensor, "batch fine_x fine_y fine_z"]
"""The lowest layers of a grid that is finer than the one of the networks."""

MAX_DEVIATIONS = 2.0
"""Random placement errors are clamped to this many standard deviations."""


def placement_matrix(
    degrees: Float[Tensor, " batch"], shift: Float[Tensor, "batch 2"], lift: Float[Tensor, " batch"] | None = None
) -> Placement:
    """The cube turned about its vertical centre line by ``degrees``, then shifted along x and z by ``shift`` edges.

    It turns clockwise seen from above, like azimuths: +x towards +z. ``lift`` is a shift along y, which separates the
    floor of the cube from the floor on which the foot stands.

    >>> placement = placement_matrix(torch.tensor([90.0]), torch.zeros(1, 2))
    >>> q = torch.tensor([1.0, 0.0, 0.5])
    >>> [abs(round(value, 4)) for value in (placement[0, :, :3] @ q + placement[0, :, 3]).tolist()]
    [0.5, 0.0, 1.0]
    """
    angle = torch.deg2rad(degrees)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    turn = torch.stack([cos, zero, -sin, zero, zero + 1, zero, sin, zero, cos], -1).unflatten(-1, (3, 3))
    centre = shift.new_tensor([0.5, 0.0, 0.5])
    move = torch.stack([shift[:, 0], zero if lift is None else lift, shift[:, 1]], -1)
    return torch.cat([turn, (centre + move - turn @ centre)[..., None]], -1)


def sample_placements(
    number: int, degrees: float, shift: float, generator: torch.Generator, lift: float = 0.0
) -> Placement:
    """Random placements with errors of these standard deviations, clamped to `MAX_DEVIATIONS` of them.

    >>> sample_placements(5, 4.0, 0.02, torch.Generator().manual_seed(0)).shape
    torch.Size([5, 3, 4])
    """
    errors = torch.randn(number, 4 if lift else 3, generator=generator).clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS)
    return placement_matrix(degrees * errors[:, 0], shift * errors[:, 1:3], lift * errors[:, 3] if lift else None)


def move_cameras(cameras: Cameras, placement: Placement) -> Cameras:
    """``cameras`` relative to the moved cube."""
    intrinsics, rotation, translation = cameras.split([3, 3, 1], dim=-1)
    turn, offset = placement[:, None, :, :3], placement[:, None, :, 3:]
    return torch.cat([intrinsics, rotation @ turn, rotation @ offset + translation], -1)


def resample_truth(fine: FineTruth, placement: Placement, size: int) -> Bool[Tensor, "batch x y z"]:
    """The ground truth in the moved cube at ``size``^3.

    Occupancy is interpolated between the voxel centres of ``fine`` and zero outside of it. With a ``placement`` on the
    CPU this does not wait for a GPU.
    """
    edge, layers = fine.shape[1], fine.shape[2]
    sunk = max(0.0, float(-placement[:, 1, 3].min()))  # in a lowered cube the foot reaches higher
    points = voxel_centres(size, min(size, math.ceil((layers / edge + sunk) * size - 1e-3)), fine.device)
    occupied = _sample_fine(fine, placement, points, padding_mode="zeros")
    lower = occupied.unflatten(1, (size, -1, size))
    return functional.pad(lower, (0, 0, 0, size - lower.shape[2]))


def occupancy_at(
    fine: FineTruth, placement: Placement, points: Float[Tensor, "batch points 3"]
) -> Bool[Tensor, "batch points"]:
    """Whether ``points`` of the moved cube are inside the solid, as `resample_truth` decides it for voxel centres.

    The solid is continued by half a voxel beyond the outer voxel centres, down to the floor and up to the cut.
    """
    return _sample_fine(fine, placement, points, padding_mode="border")


def _sample_fine(fine: FineTruth, placement: Placement, points: Tensor, padding_mode: str) -> Tensor:
    """Occupancy at ``points`` ``[points, 3]`` or ``[batch, points, 3]`` of the moved cube."""
    placement = placement.to(fine.device, non_blocking=True)
    in_fine = (placement[:, :, :3] @ points.transpose(-1, -2) + placement[:, :, 3:]).transpose(1, 2)
    extent = in_fine.new_tensor([1.0, fine.shape[2] / fine.shape[1], 1.0])
    grid = (2 * in_fine / extent - 1).flip(-1)[:, None, None]  # grid_sample takes z first
    values = functional.grid_sample(fine.float()[:, None], grid, padding_mode=padding_mode, align_corners=False)
    return values[:, 0, 0, 0] > 0.5


def move_cube(
    fine: FineTruth, cameras: Cameras, boxes: Boxes, placement: Placement, size: int, headroom: float = 0.0
) -> tuple[Bool[Tensor, "batch x y z"], Cameras, Boxes]:
    """Ground truth, cameras and crop boxes for the moved cube.

    Args:
        headroom: height above the layers of ``fine`` that the crop boxes include, in edges of the cube.
    """
    moved = move_cameras(cameras, placement.to(cameras.device, non_blocking=True))
    moved_boxes = projected_boxes(moved, boxes, fine.shape[2] / fine.shape[1] + headroom)
    return resample_truth(fine, placement, size), recrop(moved, boxes, moved_boxes), moved_boxes


def projected_boxes(cameras: Cameras, boxes: Boxes, height: float) -> Boxes:
    """The smallest square boxes around the projected cube up to ``height`` edges, in pixels (as `Camera.crop_box`).

    Args:
        boxes: the crop boxes to which ``cameras`` belong.
    """
    corners = torch.cartesian_prod(*cameras.new_tensor([[0.0, 1.0], [0.0, height], [0.0, 1.0]]).unbind())
    intrinsics, rotation, translation = cameras.split([3, 3, 1], dim=-1)
    projected = intrinsics @ (rotation @ corners.T + translation)
    uv = projected[:, :, :2] / projected[:, :, 2:].clamp(min=1e-3)  # [batch, views, 2, 8]
    lower, upper = boxes[..., :2, None], boxes[..., 2:, None]
    pixels = lower + (uv + 1) / 2 * (upper - lower)
    least, most = pixels.amin(-1), pixels.amax(-1)
    centre, half = (least + most) / 2, (most - least).amax(-1, keepdim=True) / 2
    return torch.cat([centre - half, centre + half], -1)


def solid_boxes(
    solid: Bool[Tensor, "batch x y z"], cameras: Cameras, boxes: Boxes, margin: float | Float[Tensor, "batch 1 1"] = 1.0
) -> Boxes:
    """Square crop boxes around the projected voxel centres of ``solid``, in pixels.

    An empty solid gets the boxes of the whole cube.

    Args:
        boxes: the crop boxes to which ``cameras`` belong.
        margin: edge of a box relative to the smallest square around the projection.

    >>> from p2vlib.geometry.cameras import look_at
    >>> from p2vlib.geometry.frames import FOOT_CUBE
    >>> camera = look_at((0.0, 0.0, 0.0, 3.2, 60.0), FOOT_CUBE.centre, 64, 64)
    >>> box = torch.tensor([[[0.0, 0.0, 64.0, 64.0]]])
    >>> cameras = torch.from_numpy(camera.normalised(FOOT_CUBE, (0.0, 0.0, 64.0, 64.0))).float()[None, None]
    >>> solid = torch.zeros(1, 4, 4, 4, dtype=torch.bool)
    >>> solid[0, :, 1:3, 1:3] = True
    >>> [round(edge, 1) for edge in solid_boxes(solid, cameras, box)[0, 0].tolist()]
    [31.3, 31.3, 32.7, 32.7]
    """
    points = voxel_centres(solid.shape[-1], device=solid.device)
    occupied = (solid | ~solid.flatten(1).any(1)[:, None, None, None]).flatten(1)[:, None, :, None]
    uv = project_points(cameras, points).uv  # [batch, views, points, 2]
    least = uv.masked_fill(~occupied, torch.inf).amin(2)
    most = uv.masked_fill(~occupied, -torch.inf).amax(2)
    centre, half = (least + most) / 2, margin * (most - least).amax(-1, keepdim=True) / 2
    lower, size = boxes[..., :2], boxes[..., 2:] - boxes[..., :2]
    corners = [lower + (edge + 1) / 2 * size for edge in (centre - half, centre + half)]
    return torch.cat(corners, -1)


def recrop(cameras: Cameras, before: Boxes, after: Boxes) -> Cameras:
    """``cameras`` of photos cropped to ``before``, for the same photos cropped to ``after``.

    >>> cameras = torch.eye(3, 7)[None, None]
    >>> box = torch.tensor([[[0.0, 0.0, 64.0, 64.0]]])
    >>> recrop(cameras, box, box / 2)[0, 0, :2, :3].tolist()
    [[2.0, 0.0, 1.0], [0.0, 2.0, 1.0]]
    """
    size, new = before[..., 2:] - before[..., :2], after[..., 2:] - after[..., :2]
    scale = size / new
    shift = (before[..., :2] + before[..., 2:] - after[..., :2] - after[..., 2:]) / new
    intrinsics, pose = cameras[..., :3], cameras[..., 3:]
    first = scale[..., None] * intrinsics[..., :2, :] + shift[..., None] * intrinsics[..., 2:, :]
    return torch.cat([torch.cat([first, intrinsics[..., 2:, :]], -2), pose], -1)
