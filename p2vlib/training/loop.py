"""The training loop: a GPU loop that also runs on two processor cores.

All captures sit on the device as bytes; a step draws its captures, views and augmentation from a generator seeded by
(seed, step), so a run that was killed goes on from its last checkpoint exactly as if it had not been. Under `torchrun`
every process takes its share of each batch, and a checkpoint of several goes on in one.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import broadcast
from torch import Tensor, nn

from p2vlib import progress
from p2vlib.config import Training
from p2vlib.data.dataset import Captures
from p2vlib.evaluation import best_threshold, evaluate
from p2vlib.models import fast_bf16, to_fast_layout
from p2vlib.training import checkpoints
from p2vlib.training.batches import sample_batch
from p2vlib.training.losses import training_loss

WATCHED_VIEWS = 8
"""Most photos at which validation is watched: with an archive's 24 it would take longer than the training."""

FIRST_STAGE = ("encoder", "recurrent", "decoder")
"""The parts that a recipe may hold after its first stage."""


def resolve_epochs(recipe: Training, captures: int) -> Training:
    """``recipe`` in steps, where it is told in passes over ``captures`` of them."""
    if not recipe.epochs:
        return recipe
    once = math.ceil(captures / recipe.batch)
    return replace(recipe, steps=recipe.epochs * once, epoch=once)


def is_frozen(recipe: Training, step: int) -> bool:
    """Whether encoder and decoder stay as they are at ``step``."""
    return recipe.hold and step >= round(recipe.single_view * recipe.steps)


def learning_rate(recipe: Training, step: int) -> float:
    """The rate of a step: warmed up over 3 %, then a cosine to zero, or halved once at 60 % (published: 150/250)."""
    steps = recipe.steps
    if recipe.hold:
        first = round(recipe.single_view * steps)
        step, steps = (step - first, steps - first) if step >= first else (step, first)
    done = step / steps
    if recipe.schedule == "step":
        return recipe.learning_rate * 0.5 ** (done >= 0.6)
    warm = min(1.0, (step + 1) / max(1, round(0.03 * steps)))
    return recipe.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * done))


def train(
    model: nn.Module,
    captures: Captures,
    validation: Captures,
    recipe: Training,
    folder: Path,
    *,
    start: Path | None = None,
    device: torch.device | str | None = None,
    report: Callable[[str], None] = progress.log,
) -> pd.DataFrame:
    """Trains ``model`` in place, or goes on where ``folder`` says that it stopped, or loads what is finished there.

    Args:
        model: made by `p2vlib.models.build`.
        captures: what to learn from.
        validation: other people; watched once an epoch, never learnt from.
        folder: keeps ``checkpoint.safetensors`` while it runs and ``weights.safetensors`` once it is done.
        start: weights to begin with (fine-tuning).

    Returns:
        The history, one row an epoch: step, seconds, loss, validation IoU and threshold.

    Raises:
        ValueError: a file in ``folder`` or at ``start`` that is not whole; a loss that is not finite; no finer truth.
    """
    _check(captures, recipe)
    finished, checkpoint = folder / "weights.safetensors", folder / "checkpoint.safetensors"
    told = training_provenance(model, captures, recipe, start)
    recipe, captures = resolve_epochs(recipe, len(captures)), _shown(model, captures)
    accelerator = _accelerator(device)
    if not accelerator.is_main_process:
        report = _say_nothing
    if accelerator.is_main_process:
        _make_room((finished, checkpoint), told, report)
    accelerator.wait_for_everyone()
    if finished.is_file():
        history = checkpoints.load_weights(model, finished)
        report(f"  {folder.name}: trained before, {len(history)} epochs")
        return history
    if start:
        checkpoints.load_weights(model, start)
    groups = _groups(to_fast_layout(model), recipe)
    optimizer = torch.optim.AdamW(groups, recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
    network, optimizer = accelerator.prepare(model, optimizer)
    history, first = pd.DataFrame(), 0
    if checkpoint.is_file():
        history, first = checkpoints.resume(checkpoint, model, optimizer)
        report(f"  {folder.name}: goes on at step {first} of {recipe.steps}")
    captures, validation = captures.to(accelerator.device), validation.to(accelerator.device)
    losses, began = [], time.perf_counter()
    for step in _steps(first, recipe, folder.name, accelerator.is_main_process):
        losses.append(_step(accelerator, network, optimizer, captures, recipe, step))
        if (step + 1) % recipe.epoch and step + 1 < recipe.steps:
            continue
        _agree(accelerator, model)
        row = _epoch(model, validation, recipe, step + 1, losses, began, history)
        losses, began = [], time.perf_counter()
        history = pd.concat([history, pd.DataFrame([row])], ignore_index=True)
        if step + 1 < recipe.steps and accelerator.is_main_process:
            checkpoints.save(checkpoint, model, told, history, optimizer, step + 1)
        report("  " + folder.name + ": " + _line(row, recipe))
    model.to("cpu")
    if accelerator.is_main_process:
        checkpoints.save(finished, model, told, history)
        checkpoint.unlink(missing_ok=True)
    accelerator.wait_for_everyone()
    return history


def training_provenance(model: nn.Module, captures: Captures, recipe: Training, start: Path | None) -> dict[str, Any]:
    """What the weights that `train` leaves depend on: those of the same origin are the same."""
    return checkpoints.provenance(model, _shown(model, captures), resolve_epochs(recipe, len(captures)), start)


def _shown(model: nn.Module, captures: Captures) -> Captures:
    """Without cameras for a network that needs none: nor is their error drawn for it."""
    return captures if model.needs_cameras else replace(captures, cameras=None)


def _steps(first: int, recipe: Training, name: str, is_told: bool) -> Iterable[int]:
    """The steps, with a bar where it can move; elsewhere the line of each epoch says how far it is."""
    steps = range(first, recipe.steps)
    return progress.bar(steps, name, unit="step") if is_told and progress.is_interactive() else steps


def _check(captures: Captures, recipe: Training) -> None:
    if recipe.points and (captures.fine is None or not any(recipe.placement_noise)):
        raise ValueError(
            "a finer head learns from captures with a finer truth (`datasets.load_feet`) in cubes that are moved about"
            " it (`placement_noise`); found neither or one alone"
        )


def _make_room(files: Sequence[Path], told: dict[str, Any], report: Callable[[str], None]) -> None:
    """Sets aside those of ``files`` that another training than the one ``told`` left, and brings back its own.

    What other code left is of no use any more, and goes.
    """
    for path in files:
        if path.is_file() and (differing := checkpoints.provenance_diff(path, told)):
            told_before = checkpoints.read_provenance(path)
            report(f"  {path.parent.name}: was trained with another {', '.join(differing)}; begins anew")
            if "code" in differing:
                path.unlink()
            else:
                _aside(path, told_before).parent.mkdir(exist_ok=True)
                path.replace(_aside(path, told_before))
        if not path.is_file() and _aside(path, told).is_file():
            _aside(path, told).replace(path)


def _aside(path: Path, told: dict[str, Any]) -> Path:
    return path.parent / "aside" / f"{checkpoints.provenance_id(told)}-{path.name}"


def _say_nothing(line: str) -> None:
    """One of several processes speaks for all."""


def _groups(model: nn.Module, recipe: Training) -> list[dict[str, Any]]:
    """The parameters that learn, in the model's order, with what the recipe says of them."""
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            part = name.partition(".")[0]
            facts = {"share": recipe.fusion_rate if part == "merger" else 1.0, "first": part in FIRST_STAGE}
            groups.setdefault(part, {"params": [], **facts})["params"].append(parameter)
    return list(groups.values())


def _step(
    accelerator: Accelerator,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    captures: Captures,
    recipe: Training,
    step: int,
) -> Tensor:
    """One optimiser step; the loss stays on the device, so that nothing waits for it."""
    network.train()
    held, rate = is_frozen(recipe, step), learning_rate(recipe, step)
    for name, part in accelerator.unwrap_model(network).named_children():
        if (held and name in FIRST_STAGE) or (recipe.points and name != "finer"):
            part.eval().requires_grad_(False)  # nothing of it is computed backwards any more
    for group in optimizer.param_groups:
        group["lr"] = 0.0 if held and group["first"] else rate * group["share"]
    batch = sample_batch(captures, recipe, step, (accelerator.process_index, accelerator.num_processes))
    with accelerator.autocast():
        asked = () if batch.points is None else (batch.points,)
        result = network(batch.views, batch.cameras, *asked)
    loss = training_loss(result, batch.truth, recipe.loss, batch.true_cameras, batch.inside)
    if not loss.requires_grad:  # one view, no refiner, and the rest is held: nothing is left that could learn
        return loss
    accelerator.backward(loss)
    if recipe.clip:
        accelerator.clip_grad_norm_(network.parameters(), recipe.clip)
    optimizer.step()
    optimizer.zero_grad()
    return loss.detach()


def _agree(accelerator: Accelerator, model: nn.Module) -> None:
    """Gives all processes the batch norms' statistics of the first; their weights are the same already."""
    if accelerator.num_processes > 1:
        for buffer in model.buffers():
            broadcast(buffer)


def _accelerator(device: torch.device | str | None) -> Accelerator:
    on_cpu = not torch.cuda.is_available() if device is None else torch.device(device).type == "cpu"
    precision = "bf16" if fast_bf16("cpu" if on_cpu else "cuda") else "no"
    # A step with one view leaves the fusion without gradients, which several processes have to be told.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    return Accelerator(mixed_precision=precision, cpu=on_cpu, kwargs_handlers=[unused])


def _epoch(
    model: nn.Module,
    validation: Captures,
    recipe: Training,
    step: int,
    losses: list[Tensor],
    began: float,
    history: pd.DataFrame,
) -> dict:
    loss = float(torch.stack(losses).mean())
    if not math.isfinite(loss):
        raise ValueError(f"the loss is {loss} at step {step}; expected a number: lower the learning rate")
    trained = time.perf_counter() - began
    views = min(recipe.views, WATCHED_VIEWS, validation.photos.shape[1])
    scores = evaluate(model, validation, views=(views,))
    threshold, iou = best_threshold(scores)
    before = history.seconds.iloc[-1] if len(history) else 0.0
    return {
        "step": step,
        "seconds": round(before + trained, 2),
        "loss": loss,
        "validation_iou": iou,
        "threshold": threshold,
    }


def _line(row: dict, recipe: Training) -> str:
    left = row["seconds"] / row["step"] * (recipe.steps - row["step"])
    return (
        f"step {row['step']:>5}/{recipe.steps} · loss {row['loss']:.3f} · validation IoU {row['validation_iou']:.3f} "
        f"at t={row['threshold']} · {row['seconds']:.0f} s, {left:.0f} s left"
    )
