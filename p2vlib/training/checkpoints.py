"""What a training leaves behind: weights and checkpoints as safetensors, with what they were made from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from p2vlib.config import Training
from p2vlib.data.dataset import Captures
from p2vlib.files import write_atomically
from p2vlib.provenance import code_digest


def save(
    path: Path,
    model: nn.Module,
    told: dict,
    history: pd.DataFrame,
    optimizer: torch.optim.Optimizer | None = None,
    step: int = 0,
) -> None:
    """Weights, and for a checkpoint the optimiser's moments; schedule and random draws follow from the step."""
    tensors = {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    if optimizer is not None:
        for number, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value.contiguous() for name, value in state.items()}
    facts = {
        "recipe": json.dumps(told),
        "history": json.dumps(history.to_dict("list")),
        "step": str(step),
    }
    tensors = {name: value.cpu().clone() for name, value in tensors.items()}
    write_atomically(path, lambda partial: save_file(tensors, partial, facts))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, "pt") as stored:
            return {name: stored.get_tensor(name) for name in stored.keys()}, stored.metadata() or {}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a whole safetensors file ({error}); delete it and train again") from None


def load_weights(model: nn.Module, path: Path) -> pd.DataFrame:
    """Loads the weights of a finished training into ``model``; returns its history.

    Raises:
        ValueError: a broken file, or another network.
    """
    tensors, facts = _read(path)
    _load_state(model, tensors, path)
    return _history(facts)


def _load_state(model: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    state = {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"{path}: holds the weights of another network: {str(error).splitlines()[1].strip()}"
        ) from None


def provenance(model: nn.Module, captures: Captures, recipe: Training, start: Path | None) -> dict:
    """What a training depends on; weights of another origin are not taken for this one's."""
    code = code_digest([type(model).__module__, "p2vlib.training.loop"])
    begun = hashlib.sha256(start.read_bytes()).hexdigest()[:16] if start else ""
    network = repr(getattr(model, "config", type(model).__name__))
    told = {**asdict(recipe), "network": network, "captures": captures.digest(), "start": begun, "code": code}
    return json.loads(json.dumps(told))  # as it will be read back: a tuple becomes a list


def read_provenance(path: Path) -> dict:
    """What the file at ``path`` was made from: its `origin`.

    Raises:
        ValueError: a broken file.
    """
    return json.loads(_read(path)[1].get("recipe", "{}"))


def provenance_diff(path: Path, told: dict) -> list[str]:
    """The names of what the file at ``path`` was made from otherwise than ``told``."""
    stored = read_provenance(path)
    return sorted(key for key in told | stored if told.get(key) != stored.get(key))


def provenance_id(told: dict) -> str:
    """A short name of an `origin`, by which its weights are found again."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _history(facts: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(json.loads(facts["history"]))


def resume(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[pd.DataFrame, int]:
    """Loads a checkpoint into model and optimiser; returns its history and the step to go on with."""
    tensors, facts = _read(path)
    _load_state(model, tensors, path)
    state: dict[int, dict[str, Tensor]] = {}
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, number, key = name.split(".")
            # The fused optimiser walks through memory, so its moments have to lie there as their weights do.
            like = learning[int(number)]
            laid_out = torch.empty_like(like, requires_grad=False).copy_(value) if value.dim() else value
            state.setdefault(int(number), {})[key] = laid_out
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    return _history(facts), int(facts["step"])
