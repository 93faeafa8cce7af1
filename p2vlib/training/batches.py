"""What a step of a training learns from: captures, photos and augmentation, all drawn from its seed and number."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from p2vlib.config import Training
from p2vlib.data.augmentation import augment, augmentation_recipe, perturb_cameras
from p2vlib.data.dataset import Captures, evenly_spaced, mirror_boxes, mirror_cameras, mirror_views
from p2vlib.geometry import placement
from p2vlib.models.point_head import near_surface


class Batch(NamedTuple):
    """What a step learns from."""

    views: Float[Tensor, "batch views 3 size size"]
    cameras: Float[Tensor, "batch views 3 7"] | None
    """As the network is told them."""
    truth: Bool[Tensor, "batch x y z"]
    true_cameras: Float[Tensor, "batch views 3 7"] | None
    points: Float[Tensor, "batch points 3"] | None = None
    """Where a finer head is asked."""
    inside: Bool[Tensor, "batch points"] | None = None
    """Whether that is in the solid."""


def sample_batch(captures: Captures, recipe: Training, step: int, share: tuple[int, int] = (0, 1)) -> Batch:
    """The batch of a step; it follows from seed and step alone.

    ``share`` is (which, of how many) processes: each takes its part of the batch, with draws of its own for the rest.
    """
    process, processes = share
    seed = recipe.seed * 1_000_003 + step
    generator = torch.Generator().manual_seed(seed)
    available = captures.photos.shape[1]
    views = 1
    if step >= round(recipe.single_view * recipe.steps):
        views = 1 + int(torch.randint(min(recipe.views, available), (1,), generator=generator))
    if recipe.epochs:
        number, place = divmod(step, recipe.epoch)
        shuffling = torch.Generator().manual_seed(2**40 + recipe.seed * 1_000_003 + number)
        rows = torch.randperm(len(captures), generator=shuffling).tensor_split(recipe.epoch)[place]
    else:
        rows = torch.randint(len(captures), (max(2, recipe.batch // views, processes),), generator=generator)
    if len(rows) < processes:
        raise ValueError(f"{len(rows)} captures a step for {processes} processes; take a larger batch or fewer of them")
    rows = rows[process::processes]
    if processes > 1:
        generator.manual_seed(seed + (2 + process) * 2**40)
    if recipe.choice == "any":
        chosen = torch.randperm(available, generator=generator)[:views].sort().values
    else:
        # Any start of the walk and even spacing; they stay in clockwise order, the one nearest the front first.
        start = int(torch.randint(available, (1,), generator=generator))
        chosen = torch.tensor(sorted((start + i) % available for i in evenly_spaced(available, views)))
    if recipe.order == "shuffled":
        chosen = chosen[torch.randperm(views, generator=generator)]
    device, kept = captures.truth.device, captures.photos.device
    photos = captures.photos[rows[:, None].to(kept), chosen.to(kept)].to(device)
    rows, chosen = rows.to(device), chosen.to(device)
    truth = captures.truth[rows]
    boxes = None if captures.boxes is None else captures.boxes[rows[:, None], chosen]
    cameras = None if captures.cameras is None else captures.cameras[rows[:, None], chosen]
    if recipe.mirror:
        which = (torch.rand(len(rows), generator=generator) < 0.5).to(device)
        if boxes is not None:
            boxes = mirror_boxes(boxes, photos.shape[-1], which)
        if cameras is not None:
            cameras = mirror_cameras(cameras, which)
        photos, truth = mirror_views(photos, truth, which)
    points = inside = None
    if captures.fine is not None and cameras is not None and (any(recipe.placement_noise) or recipe.lift_noise):
        moves = placement.sample_placements(len(rows), *recipe.placement_noise, generator, recipe.lift_noise).to(device)
        room, fine = placement.LARGEST * recipe.lift_noise, captures.fine[rows]
        truth, cameras, boxes = placement.move_cube(fine, cameras, boxes, moves, truth.shape[-1], room)
        if recipe.points:
            points = near_points(truth, recipe.points, fine.shape[2] / fine.shape[1], generator)
            inside = placement.occupancy_at(fine, moves, points)
    true_cameras = cameras
    if cameras is not None and recipe.camera_noise != (0.0, 0.0):
        cameras = perturb_cameras(cameras, *recipe.camera_noise, generator)
    return Batch(
        augment(photos, generator, augmentation_recipe(recipe.augmentation), boxes, captures.size),
        cameras,
        truth,
        true_cameras,
        points,
        inside,
    )


def near_points(
    truth: Bool[Tensor, "batch x y z"], number: int, height: float, generator: torch.Generator
) -> Float[Tensor, "batch number 3"]:
    """Points within two voxels of the surface of ``truth``, in the lower ``height`` of the unit cube."""
    edge = truth.shape[-1]
    near = near_surface(truth)
    near[:, :, round(height * edge) :] = False
    near = near.flatten(1).float().cpu()
    chosen = torch.multinomial(near, number, replacement=True, generator=generator)
    voxels = torch.stack(torch.unravel_index(chosen, truth.shape[1:]), -1)
    points = (voxels + torch.rand(voxels.shape, generator=generator)) / edge
    return points.to(truth.device)
