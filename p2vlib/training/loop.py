"""The training loop, written for a GPU; it also runs on two processor cores.

All captures are on the device as bytes. A step draws its captures, views and augmentation from a generator seeded by
(seed, step), so a killed run continues from its last checkpoint and ends with the same weights, bit for bit on a CPU.
Under `torchrun` every process takes its share of each batch; a checkpoint of several processes can continue in one.
A step never waits for a GPU, except PSGN's. A thread prepares the next batch for it, or reads it from a disk.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from p2vlib import progress
from p2vlib.config import Training
from p2vlib.data.dataset import Captures
from p2vlib.evaluation.iou import best_threshold, evaluate
from p2vlib.models.network import Batch, to_fast_layout
from p2vlib.training import checkpoints
from p2vlib.training.acceleration import make_accelerator, release
from p2vlib.training.batches import network_inputs, prefetch, sample_batch
from p2vlib.training.losses import training_loss
from p2vlib.training.recipes import adamw, frozen_parts, learning_rate, resolve_epochs

VALIDATION_VIEWS = 8
"""Maximum number of views in validation: with the 24 of an archive it would take longer than the training."""


def train(
    model: nn.Module,
    captures: Captures,
    validation: Captures,
    recipe: Training,
    folder: Path,
    *,
    start: Path | None = None,
    device: torch.device | str | None = None,
    compiled: bool = False,
    report: Callable[[str], None] = progress.log,
) -> pd.DataFrame:
    """Trains ``model`` in place, continues from the checkpoint in ``folder``, or loads the finished weights there.

    Args:
        model: a `p2vlib.models.network.Network`, as from `p2vlib.models.build`; afterwards in evaluation mode.
        captures: the training data.
        validation: other people's captures; evaluated once an epoch, never trained on.
        recipe: optimiser, schedule, batches and loss; `recipe_summary` prints it.
        folder: holds ``checkpoint.safetensors`` during the training and ``weights.safetensors`` after it.
        start: weights to start from (fine-tuning).
        device: ``cpu``, or ``cuda`` where there is one, the default; `CUDA_VISIBLE_DEVICES` chooses among several.
        compiled: with `torch.compile`, for long trainings on a GPU: it takes minutes at first and rounds differently.
        report: receives one line per epoch.

    Returns:
        The history, one row an epoch: step, seconds, loss, validation IoU and threshold, photos per second.

    Raises:
        ValueError: a broken file in ``folder`` or at ``start``; a loss that is not finite; query points without a fine
            truth or for a network without them.
    """
    _check_points(model, captures, recipe)
    finished, checkpoint = folder / "weights.safetensors", folder / "checkpoint.safetensors"
    provenance = checkpoints.training_provenance(model, captures, recipe, start)
    recipe, captures = resolve_epochs(recipe, len(captures)), network_inputs(model, captures)
    accelerator = make_accelerator(device)
    main = accelerator.is_main_process
    report = report if main else lambda line: None
    if main:
        checkpoints.archive_stale((finished, checkpoint), provenance, report)
    accelerator.wait_for_everyone()
    if finished.is_file():
        history = checkpoints.load_weights(model, finished)
        model.eval()
        report(f"  {folder.name}: loaded finished weights, {len(history)} epochs")
        return history
    if start:
        checkpoints.load_start(model, start)
    network, optimizer, average = _prepare(accelerator, model, recipe, compiled)
    history, first = pd.DataFrame(), 0
    if checkpoint.is_file():
        history, first = checkpoints.resume(checkpoint, model, optimizer, average)
        report(f"  {folder.name}: continues at step {first} of {recipe.steps}")
    captures, validation = captures.to(accelerator.device), validation.to(accelerator.device)
    result, losses, photos, began = average.module if average else model, [], 0, time.perf_counter()
    steps = range(first, recipe.steps)
    batches = _batches(accelerator, model, captures, recipe, steps)
    # Elsewhere than on a terminal the line of each epoch is enough.
    shown = progress.bar(steps, folder.name, unit="step") if main and progress.is_interactive() else steps
    for step, parts in zip(shown, batches, strict=True):
        losses.append(training_step(accelerator, network, optimizer, parts, recipe, step))
        photos += sum(batch.views.shape[0] * batch.views.shape[1] for batch in parts)
        if average:
            average.update_parameters(model)
        if (step + 1) % recipe.steps_per_epoch and step + 1 < recipe.steps:
            continue
        row = _end_of_epoch(accelerator, result, validation, recipe, step + 1, losses, photos, began, history)
        losses, photos, began = [], 0, time.perf_counter()
        history = pd.concat([history, pd.DataFrame([row])], ignore_index=True)
        if step + 1 < recipe.steps and main:
            checkpoints.save(checkpoint, model, provenance, history, optimizer, step + 1, average)
        report("  " + folder.name + ": " + _epoch_line(row, recipe))
    _finish(accelerator, network, model, optimizer, average)
    if main:
        checkpoints.save(finished, model, provenance, history)
        checkpoint.unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    return history


def _prepare(
    accelerator: Accelerator, model: nn.Module, recipe: Training, compiled: bool
) -> tuple[nn.Module, torch.optim.Optimizer, AveragedModel | None]:
    """The network as each process trains it, its optimiser, and the moving average of its weights."""
    optimizer, average = adamw(to_fast_layout(model, compiled), recipe), None
    if recipe.average_decay:
        update = get_ema_multi_avg_fn(recipe.average_decay)
        average = AveragedModel(model, accelerator.device, multi_avg_fn=update, use_buffers=True)
    network, optimizer = accelerator.prepare(model, optimizer)
    if compiled:
        model.compile()
    return network, optimizer, average


def _finish(
    accelerator: Accelerator,
    network: nn.Module,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: AveragedModel | None,
) -> None:
    """Leaves ``model`` with its final weights, in evaluation mode, and ready for another training."""
    release(accelerator, network, model)
    model.eval()
    for group in optimizer.param_groups:  # a second stage has frozen some
        for parameter in group["params"]:
            parameter.requires_grad_()
    if average:
        model.load_state_dict(average.module.state_dict())


def _batches(
    accelerator: Accelerator, model: nn.Module, captures: Captures, recipe: Training, steps: Iterable[int]
) -> Iterator[list[Batch]]:
    """The batches of ``steps`` for this process, each in `accumulation` parts; prepared by a thread where that pays."""
    parts, points = recipe.accumulation, getattr(model, "query_points", None)
    shares = [parts * accelerator.process_index + part for part in range(parts)]
    count = parts * accelerator.num_processes
    batches = ([sample_batch(captures, recipe, step, (share, count), points) for share in shares] for step in steps)
    return prefetch(batches) if accelerator.device.type == "cuda" or captures.source else batches


def training_step(
    accelerator: Accelerator,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Batch],
    recipe: Training,
    step: int,
) -> Float[Tensor, ""]:
    """One optimiser step: forward, loss and backward of all ``batches``, clip, update. It never waits for the GPU.

    Returns:
        The loss. It stays on the device, so that the next step can start at once.
    """
    model = accelerator.unwrap_model(network)
    network.train()
    frozen, rate = frozen_parts(model, recipe, step), learning_rate(recipe, step)
    for name in frozen:
        model.get_submodule(name).eval().requires_grad_(False)
    for group in optimizer.param_groups:
        group["lr"] = 0.0 if group["part"] in frozen else rate * group["share"]
    losses = []
    for number, batch in enumerate(batches, start=1):
        # Not `accumulate`: trainings side by side in threads would share its counter.
        with accelerator.no_sync(network) if number < len(batches) else contextlib.nullcontext():
            queries = () if batch.points is None else (batch.points,)
            result = network(batch.views, batch.cameras, *queries)
            losses.append(training_loss(model, result, batch, recipe.loss) / len(batches))
            if losses[-1].requires_grad:
                accelerator.backward(losses[-1])
    if losses[-1].requires_grad:  # not with a single view, no refiner, and the rest frozen: nothing to train
        if recipe.gradient_clip:
            accelerator.clip_grad_norm_(network.parameters(), recipe.gradient_clip)
        optimizer.step()
        optimizer.zero_grad()
    return torch.stack(losses).detach().sum()


def _check_points(model: nn.Module, captures: Captures, recipe: Training) -> None:
    if not recipe.point_samples:
        return
    if not hasattr(model, "query_points"):
        raise ValueError(
            f"{type(model).__name__} has no query_points; expected a network with a point head, or point_samples=0"
        )
    if captures.fine_truth is None or not any(recipe.placement_noise):
        raise ValueError(
            "query points need captures with a fine truth (`dataset.load_feet`) and a recipe with `placement_noise`; "
            "found neither or one alone"
        )


def _end_of_epoch(
    accelerator: Accelerator,
    model: nn.Module,
    validation: Captures,
    recipe: Training,
    step: int,
    losses: list[Tensor],
    photos: int,
    began: float,
    history: pd.DataFrame,
) -> dict[str, Any]:
    """The row of history: mean loss, validation IoU at the best threshold, and the seconds of training so far."""
    if accelerator.num_processes > 1:  # the weights are equal already, the statistics of the batch norms are not
        broadcast(list(model.buffers()))
    loss = float(accelerator.reduce(torch.stack(losses).mean(), "mean"))
    if not math.isfinite(loss):
        raise ValueError(f"the loss is {loss} at step {step}; expected a finite number: lower the learning rate")
    rate = photos * accelerator.num_processes / (time.perf_counter() - began)
    seconds = time.perf_counter() - began + (history.seconds.iloc[-1] if len(history) else 0.0)
    views = min(recipe.views, VALIDATION_VIEWS, validation.photos.shape[1])
    threshold, iou = best_threshold(evaluate(model, validation, views=(views,)))
    row = dict(step=step, seconds=round(seconds, 2), loss=loss, validation_iou=iou, threshold=threshold)
    return {**row, "photos_per_second": round(rate, 1)}


def _epoch_line(row: dict[str, Any], recipe: Training) -> str:
    left = row["seconds"] / row["step"] * (recipe.steps - row["step"])
    return (
        f"step {row['step']:>5}/{recipe.steps} · loss {row['loss']:.3f} · validation IoU {row['validation_iou']:.3f} "
        f"at t={row['threshold']} · {row['seconds']:.0f} s, {left:.0f} s left"
    )
