"""Where the cube stands about a foot: moved and turned over the floor or lifted, with its cameras, photos and truth.

In a real capture nobody knows the middle of the foot and where its toes point, so a network that is told cameras has to
learn from cubes that stand a little beside. Everything here is tensor work on whole batches.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from p2vlib.geometry.projection import voxel_centres

Placement = Float[Tensor, "batch 3 4"]
"""A point q of the new cube stands in the old one at ``placement[:, :3] q + placement[:, 3]``, in edges of the cube."""

MAX_DEVIATIONS = 2.0
"""Most standard deviations by which a cube is drawn wrong."""

Cameras = Float[Tensor, "batch views 3 7"]
Boxes = Float[Tensor, "batch views 4"]


def placement_matrix(
    degrees: Float[Tensor, " batch"], shift: Float[Tensor, "batch 2"], lift: Float[Tensor, " batch"] | None = None
) -> Placement:
    """The cube turned about its vertical middle line by ``degrees``, then moved along x and z by ``shift`` edges.

    It turns clockwise seen from above, as azimuths do: +x goes towards +z. ``lift`` is along y: its floor is then not
    the one that the foot stands on.
    """
    angle = torch.deg2rad(degrees)
    cos, sin, none = angle.cos(), angle.sin(), torch.zeros_like(angle)
    turn = torch.stack([cos, none, -sin, none, none + 1, none, sin, none, cos], -1).unflatten(-1, (3, 3))
    middle = shift.new_tensor([0.5, 0.0, 0.5])
    moved = torch.stack([shift[:, 0], none if lift is None else lift, shift[:, 1]], -1)
    return torch.cat([turn, (middle + moved - turn @ middle)[..., None]], -1)


def sample_placements(
    number: int, degrees: float, shift: float, generator: torch.Generator, lift: float = 0.0
) -> Placement:
    """Placements with errors of these standard deviations, none beyond `LARGEST` of them."""
    errors = torch.randn(number, 4 if lift else 3, generator=generator).clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS)
    return placement_matrix(degrees * errors[:, 0], shift * errors[:, 1:3], lift * errors[:, 3] if lift else None)


def move_cameras(cameras: Cameras, placement: Placement) -> Cameras:
    """``cameras`` as they see the moved cube."""
    intrinsics, rotation, translation = cameras.split([3, 3, 1], dim=-1)
    turn, offset = placement[:, None, :, :3], placement[:, None, :, 3:]
    return torch.cat([intrinsics, rotation @ turn, rotation @ offset + translation], -1)


def resample_truth(
    fine: Bool[Tensor, "batch fine_x fine_y fine_z"], placement: Placement, size: int
) -> Bool[Tensor, "batch x y z"]:
    """The solid in the moved cube, ``size``^3; ``fine`` are the lowest layers of a finer grid in the old one.

    Occupancy is interpolated between the centres of ``fine``, and nothing is outside it.
    """
    edge, layers = fine.shape[1], fine.shape[2]
    sunk = max(0.0, float(-placement[:, 1, 3].min()))  # a cube that is lowered sees the foot higher up in it
    points = voxel_centres(size, min(size, math.ceil((layers / edge + sunk) * size - 1e-3)), fine.device)
    there = (placement[:, :, :3] @ points.T + placement[:, :, 3:]).transpose(1, 2)
    span = there.new_tensor([1.0, layers / edge, 1.0])
    places = (2 * there / span - 1).flip(-1)[:, None, None]
    full = functional.grid_sample(fine.float()[:, None], places, align_corners=False)[:, 0, 0, 0] > 0.5
    lower = full.unflatten(1, (size, -1, size))
    return functional.pad(lower, (0, 0, 0, size - lower.shape[2]))


def occupancy_at(
    fine: Bool[Tensor, "batch fine_x fine_y fine_z"], placement: Placement, points: Float[Tensor, "batch points 3"]
) -> Bool[Tensor, "batch points"]:
    """Whether ``points`` of the moved cube are in the solid, as `moved_truth` says it of voxels' centres."""
    there = (placement[:, :, :3] @ points.transpose(1, 2) + placement[:, :, 3:]).transpose(1, 2)
    span = there.new_tensor([1.0, fine.shape[2] / fine.shape[1], 1.0])
    places = (2 * there / span - 1).flip(-1)[:, None, None]
    # Down to the floor and up to the cut, half a voxel beyond the outer centres, the solid goes on.
    full = functional.grid_sample(fine.float()[:, None], places, padding_mode="border", align_corners=False)
    return full[:, 0, 0, 0] > 0.5


def move_cube(
    fine: Bool[Tensor, "batch fine_x fine_y fine_z"],
    cameras: Cameras,
    boxes: Boxes,
    placement: Placement,
    size: int,
    room: float = 0.0,
) -> tuple[Bool[Tensor, "batch x y z"], Cameras, Boxes]:
    """Truth, cameras and what their photos are cut to, with the cube moved.

    ``room``: how far, in edges, photos show the cube above the layers of ``fine``.
    """
    there = move_cameras(cameras, placement)
    after = projected_boxes(there, boxes, fine.shape[2] / fine.shape[1] + room)
    return resample_truth(fine, placement, size), recrop(there, boxes, after), after


def projected_boxes(cameras: Cameras, boxes: Boxes, height: float) -> Boxes:
    """The smallest squares over the cube's lower part, up to ``height`` edges, in pixels (as `Camera.crop_box`).

    ``boxes`` are what the photos of ``cameras`` are cut to.
    """
    corners = torch.cartesian_prod(*cameras.new_tensor([[0.0, 1.0], [0.0, height], [0.0, 1.0]]).unbind())
    intrinsics, rotation, translation = cameras.split([3, 3, 1], dim=-1)
    shown = intrinsics @ (rotation @ corners.T + translation)
    place = shown[:, :, :2] / shown[:, :, 2:].clamp(min=1e-3)  # [batch, views, 2, 8]
    lower, upper = boxes[..., :2, None], boxes[..., 2:, None]
    pixels = lower + (place + 1) / 2 * (upper - lower)
    least, most = pixels.amin(-1), pixels.amax(-1)
    middle, half = (least + most) / 2, (most - least).amax(-1, keepdim=True) / 2
    return torch.cat([middle - half, middle + half], -1)


def recrop(cameras: Cameras, before: Boxes, after: Boxes) -> Cameras:
    """Cameras of photos that were cut to the boxes ``before``, for the same photos cut to those ``after``."""
    size, new = before[..., 2:] - before[..., :2], after[..., 2:] - after[..., :2]
    scale = size / new
    shift = (before[..., :2] + before[..., 2:] - after[..., :2] - after[..., 2:]) / new
    intrinsics, pose = cameras[..., :3], cameras[..., 3:]
    first = scale[..., None] * intrinsics[..., :2, :] + shift[..., None] * intrinsics[..., 2:, :]
    return torch.cat([torch.cat([first, intrinsics[..., 2:, :]], -2), pose], -1)
