"""Batches: captures, views and augmentation of a step, all drawn from the recipe's seed and the step's number."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from p2vlib.config import Training
from p2vlib.data.augmentation import RECIPES, augment, perturb_cameras
from p2vlib.data.dataset import Captures, evenly_spaced, mirror_boxes, mirror_cameras, mirror_views
from p2vlib.geometry import placement
from p2vlib.models.network import Batch
from p2vlib.training.recipes import first_stage

Value = TypeVar("Value")

CLOSE_MARGINS = (1.1, 1.6)
"""Range of the size of close crops relative to the smallest square around the projected foot."""

CLOSE_SHIFT = 0.06
"""Largest displacement of a close crop, as a fraction of its size."""


def sample_batch(
    captures: Captures,
    recipe: Training,
    step: int,
    share: tuple[int, int] = (0, 1),
    query_points: Callable[..., Tensor] | None = None,
) -> Batch:
    """The batch of a step; it is a function of seed and step alone.

    Args:
        captures: what to sample from.
        recipe: how to sample.
        step: number of the step.
        share: (index, count) of the processes: each takes its part of the batch, with its own random numbers for
            mirroring, noise and augmentation.
        query_points: the network's (see `Network`), for a recipe with `point_samples`.

    Raises:
        ValueError: fewer captures a step than processes.
    """
    process, processes = share
    seed = recipe.seed * 1_000_003 + step
    generator = torch.Generator().manual_seed(seed)
    rows, views = _sample_rows(captures, recipe, step, processes, generator)
    if len(rows) < processes:
        raise ValueError(f"{len(rows)} captures a step for {processes} processes; use a larger batch or fewer of them")
    rows = rows[process::processes]
    if processes > 1:
        generator.manual_seed(seed + (2 + process) * 2**40)
    chosen = _sample_views(captures.photos.shape[1], views, recipe, generator)
    device, storage = captures.truth.device, captures.photos.device
    photos = captures.photos[rows[:, None].to(storage), chosen.to(storage)].to(device, non_blocking=True)
    rows, chosen = rows.to(device, non_blocking=True), chosen.to(device, non_blocking=True)
    truth = captures.truth[rows]
    boxes = None if captures.boxes is None else captures.boxes[rows[:, None], chosen]
    cameras = None if captures.cameras is None else captures.cameras[rows[:, None], chosen]
    if recipe.mirror:
        which = (torch.rand(len(rows), generator=generator) < 0.5).to(device, non_blocking=True)
        if boxes is not None:
            boxes = mirror_boxes(boxes, photos.shape[-1], which)
        if cameras is not None:
            cameras = mirror_cameras(cameras, which)
        photos, truth = mirror_views(photos, truth, which)
    points = inside = None
    moved = any(recipe.placement_noise) or recipe.lift_noise
    if moved and captures.fine_truth is not None and cameras is not None and boxes is not None:
        moves = placement.sample_placements(len(rows), *recipe.placement_noise, generator, recipe.lift_noise)
        room, fine = placement.MAX_DEVIATIONS * recipe.lift_noise, captures.fine_truth[rows]
        truth, cameras, boxes = placement.move_cube(fine, cameras, boxes, moves, truth.shape[-1], room)
        if recipe.point_samples and query_points is not None:
            points = query_points(truth, recipe.point_samples, fine.shape[2] / fine.shape[1], generator)
            inside = placement.occupancy_at(fine, moves, points)
    if recipe.close_crops and cameras is not None and boxes is not None:
        cameras, boxes = _crop_closely(truth, cameras, boxes, recipe.close_crops, generator)
    true_cameras = cameras
    if cameras is not None and recipe.camera_noise != (0.0, 0.0):
        cameras = perturb_cameras(cameras, *recipe.camera_noise, generator)
    photos = augment(photos, generator, RECIPES[recipe.augmentation], boxes, captures.crop_size)
    return Batch(photos, cameras, truth, true_cameras, points, inside, generator)


def prefetch(values: Iterator[Value]) -> Iterator[Value]:
    """``values``, each computed in a thread while the one before it is used."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, values, None)
        while (value := following.result()) is not None:
            following = pool.submit(next, values, None)
            yield value


def _crop_closely(
    truth: Tensor, cameras: Tensor, boxes: Tensor, share: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Crops a ``share`` of the batch to the foot instead of its cube; returns the new cameras and boxes.

    A camera close to a foot sees little of the cube, so most of a crop to the cube lies beyond the photo. Close crops
    have a random size (`CLOSE_MARGINS`) and displacement (`CLOSE_SHIFT`).
    """
    random = torch.rand(len(boxes), boxes.shape[1], 4, generator=generator).to(boxes.device, non_blocking=True)
    low, high = CLOSE_MARGINS
    margin = low + (high - low) * random[:, :1, :1]
    close = placement.solid_boxes(truth, cameras, boxes, margin)
    shift = CLOSE_SHIFT * (2 * random[..., 1:3] - 1) * (close[..., 2:] - close[..., :2])
    chosen = torch.where(random[:, :1, 3:] < share, close + shift.repeat(1, 1, 2), boxes)
    return placement.recrop(cameras, boxes, chosen), chosen


def network_inputs(model: nn.Module, captures: Captures) -> Captures:
    """``captures`` as ``model`` gets them: without cameras if it needs none, so that no noise is drawn for these."""
    return captures if model.needs_cameras else replace(captures, cameras=None)


def _sample_rows(
    captures: Captures, recipe: Training, step: int, processes: int, generator: torch.Generator
) -> tuple[Int64[Tensor, " captures"], int]:
    """The captures of a step, all processes together, and their number of views.

    In a recipe with `epochs` an epoch uses each capture once, in an order of its own, and, as published, the same
    number of views throughout; else both are drawn for each step.
    """
    single, most = step < first_stage(recipe), min(recipe.views, captures.photos.shape[1])
    if recipe.epochs:
        number, position = divmod(step, recipe.steps_per_epoch)
        generator = torch.Generator().manual_seed(2**40 + recipe.seed * 1_000_003 + number)
        rows = torch.randperm(len(captures), generator=generator).tensor_split(recipe.steps_per_epoch)[position]
        return rows, 1 if single else 1 + int(torch.randint(most, (1,), generator=generator))
    views = 1 if single else 1 + int(torch.randint(most, (1,), generator=generator))
    return torch.randint(len(captures), (max(2, recipe.batch // views, processes),), generator=generator), views


def _sample_views(available: int, views: int, recipe: Training, generator: torch.Generator) -> Int64[Tensor, " views"]:
    """Positions of the views of a step among the ``available`` photos, which are in clockwise order."""
    if recipe.view_sampling == "any":
        chosen = torch.randperm(available, generator=generator)[:views].sort().values
    else:
        # Evenly spaced from a random start; they stay in clockwise order, beginning with the lowest index.
        start = int(torch.randint(available, (1,), generator=generator))
        chosen = torch.tensor(sorted((start + i) % available for i in evenly_spaced(available, views)))
    if recipe.view_order == "shuffled":
        chosen = chosen[torch.randperm(views, generator=generator)]
    return chosen
