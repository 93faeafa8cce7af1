"""What a training recipe says: its steps, its two stages, the optimiser, the learning rates, and a summary."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from p2vlib.config import Training
from p2vlib.data.dataset import Captures
from p2vlib.models.network import fast_bf16

WARM_UP = 0.03
"""Share of the steps in which the cosine schedule warms up."""

MILESTONE = 0.6
"""Share of the first stage after which the step schedule halves the rate; published: epoch 150 of 250."""


def resolve_epochs(recipe: Training, captures: int) -> Training:
    """``recipe`` with its length in steps, for a recipe that gives it in passes over ``captures`` captures."""
    if not recipe.epochs:
        return recipe
    steps = math.ceil(captures / recipe.batch)
    return replace(recipe, steps=recipe.epochs * steps, steps_per_epoch=steps)


def first_stage(recipe: Training) -> int:
    """Steps of the first stage, in which every sample has a single view."""
    return round(recipe.single_view_share * recipe.steps)


def frozen_parts(model: nn.Module, recipe: Training, step: int) -> tuple[str, ...]:
    """Names of the children of ``model`` that do not train at ``step`` (see `Network.frozen_parts`)."""
    frozen = getattr(model, "frozen_parts", {})
    second_stage = recipe.freeze_after_first_stage and step >= first_stage(recipe)
    return (
        *(frozen.get("multi-view", ()) if second_stage else ()),
        *(frozen.get("points", ()) if recipe.point_samples else ()),
    )


def learning_rate(recipe: Training, step: int) -> float:
    """The learning rate of a step.

    `cosine`: warmed up over 3 % of the steps, then a cosine to zero. `step`: halved once, at 60 %. With
    `freeze_after_first_stage` the second stage has a schedule of its own: another cosine, or the first rate throughout.
    (The published code halves the rate in its 250 single-view epochs; the rate of the 100 epochs that follow is not
    published.)
    """
    steps, second_stage = recipe.steps, False
    if recipe.freeze_after_first_stage:
        first = first_stage(recipe)
        second_stage = step >= first
        step, steps = (step - first, steps - first) if second_stage else (step, first)
    done = step / steps
    if recipe.schedule == "step":
        return recipe.learning_rate * (0.5 if done >= MILESTONE and not second_stage else 1.0)
    warm_up = min(1.0, (step + 1) / max(1, round(WARM_UP * steps)))
    return recipe.learning_rate * warm_up * 0.5 * (1 + math.cos(math.pi * done))


def precision(device: torch.device | str | None = None) -> str:
    """The precision of a training on ``device``: bfloat16 where it is multiplied in hardware, else float16 (GPU: T4,
    RTX 20) or float32."""
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return "bfloat16" if fast_bf16(device) else "float16" if device.type == "cuda" else "float32"


def recipe_summary(recipe: Training, captures: Captures, validation: Captures | None = None) -> str:
    """One line: optimiser, learning rate, schedule, steps x photos, precision and the size of the data."""
    recipe = resolve_epochs(recipe, len(captures))
    available = captures.photos.shape[1]
    optimiser = f"AdamW, weight decay {recipe.weight_decay:g}" if recipe.weight_decay else "Adam"
    schedule = {"cosine": "cosine to 0 after a warm-up", "step": "halved at 60 %"}[recipe.schedule]
    if recipe.epochs:
        batch = f"{recipe.epochs} epochs of {recipe.steps_per_epoch:,} steps x {recipe.batch} captures"
    else:
        batch = f"{recipe.steps:,} steps x {recipe.batch} photos"
    first = f"the first {recipe.single_view_share:.0%} with 1 view, then " if recipe.single_view_share else ""
    views = f"{first}1 to {min(recipe.views, available)} views"
    frozen = ", encoder and decoder of Pix2Vox and AttSets frozen" if recipe.freeze_after_first_stage else ""
    data = f"{len(captures):,} captures of {available} photos, {captures.crop_size or captures.photos.shape[-1]} px"
    data += f"; {len(validation):,} for validation" if validation is not None else ""
    rate = f"learning rate {recipe.learning_rate:g}, {schedule}"
    return f"{optimiser}; {rate}; {batch}, {views}{frozen}; loss {recipe.loss}; {precision()}; {data}"


def adamw(model: nn.Module, recipe: Training) -> torch.optim.AdamW:
    """AdamW with two groups of parameters for each child of ``model``, at its share of the learning rate: weights and,
    without weight decay, biases and norms."""
    groups: dict[tuple[str, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = name.partition(".")[0]
            share, is_weight = recipe.fusion_rate if part == "merger" else 1.0, parameter.dim() > 1
            group = {"params": [], "part": part, "share": share, "weight_decay": recipe.weight_decay * is_weight}
            groups.setdefault((part, is_weight), group)["params"].append(parameter)
    return torch.optim.AdamW(groups.values(), recipe.learning_rate, fused=True)
