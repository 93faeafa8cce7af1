"""What `accelerate` does for the training loop: device, mixed precision, and several processes."""

from __future__ import annotations

from typing import Any

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from accelerate.utils import AutocastKwargs, GradientAccumulationPlugin
from torch import nn

from p2vlib.training.recipes import precision


# Accelerate's own `to_kwargs` looks for the defaults of a class in an empty environment. The environment is that of the
# whole process: other threads, as of trainings side by side, would lose variables, or crash where they read one.
class _Autocast(AutocastKwargs):
    """Without the cache of cast weights, which all threads share: trainings side by side would mix weights."""

    def to_kwargs(self) -> dict[str, Any]:
        return {"cache_enabled": False}


class _Accumulation(GradientAccumulationPlugin):
    """None: the training loop accumulates by itself."""

    def to_kwargs(self) -> dict[str, Any]:
        return {}


def make_accelerator(device: torch.device | str | None) -> Accelerator:
    """An accelerator for ``device``, by default the GPU where there is one, with the `precision` that is fast there."""
    on_cpu = not torch.cuda.is_available() if device is None else torch.device(device).type == "cpu"
    mixed = {"bfloat16": "bf16", "float16": "fp16", "float32": "no"}[precision("cpu" if on_cpu else "cuda")]
    state = AcceleratorState._shared_state  # of the process: it allows no other device or precision
    if state and (state["device"].type == "cpu", state["_mixed_precision"]) != (on_cpu, mixed):
        AcceleratorState._reset_state(reset_partial_state=True)
    if not on_cpu:
        torch.set_float32_matmul_precision("high")  # TF32; convolutions have it by default
    accelerator = Accelerator(
        mixed_precision=mixed,
        cpu=on_cpu,
        gradient_accumulation_plugin=_Accumulation(num_steps=1),
        # Steps with a single view give the fusion no gradients, which several processes have to know.
        kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
    )
    accelerator.autocast_handler = _Autocast(cache_enabled=False)
    return accelerator


def release(accelerator: Accelerator, network: nn.Module, model: nn.Module) -> None:
    """Undoes what ``accelerator`` did to ``model``: it predicts without autocast, and may be trained once more."""
    accelerator.unwrap_model(network, keep_fp32_wrapper=False).to("cpu")
    vars(model).pop("_is_accelerate_prepared", None)  # accelerate leaves a marked model on the CPU, unprepared
    model._compiled_call_impl = None
