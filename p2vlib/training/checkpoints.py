"""Weights and checkpoints of a training as safetensors, with the provenance that tells whether they are up to date."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import textwrap
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from p2vlib.config import Training
from p2vlib.data.dataset import Captures
from p2vlib.files import FileError, parse_json, reading, write_atomically
from p2vlib.provenance import PACKAGES, code_digest, syntax_digest, text_digest
from p2vlib.training.batches import network_inputs
from p2vlib.training.recipes import resolve_epochs

ARCHIVE = "archive"
"""The folder, next to the weights, for weights and checkpoints of another provenance."""

EXPECTED = "expected a complete safetensors file of a training: delete it and train again"

_PARSER = threading.Lock()
"""Python 3.11's parser of syntax trees fails when two threads use it at once."""


def save(
    path: Path,
    model: nn.Module,
    provenance: dict[str, Any],
    history: pd.DataFrame,
    optimizer: torch.optim.Optimizer | None = None,
    step: int = 0,
    average: nn.Module | None = None,
) -> None:
    """Writes the weights, and for a checkpoint their average and the optimiser's moments; the rest is the step's."""
    tensors = {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": value.contiguous() for name, value in average.state_dict().items()}
    if optimizer is not None:
        for number, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": value.contiguous() for name, value in state.items()}
    metadata = {"recipe": json.dumps(provenance), "history": json.dumps(history.to_dict("list")), "step": str(step)}
    tensors = {name: value.cpu().clone() for name, value in tensors.items()}
    write_atomically(path, lambda partial: save_file(tensors, partial, metadata))


def load_weights(model: nn.Module, path: Path) -> pd.DataFrame:
    """Loads the weights of a finished training into ``model``; returns its history.

    Raises:
        ValueError: a broken file, or the weights of another network.
    """
    tensors, metadata = _read(path)
    _load_state(model, tensors, path)
    with reading(path, EXPECTED):
        return _history(metadata)


def load_start(model: nn.Module, path: Path) -> None:
    """Loads the weights that a training starts from; a recurrence that they lack keeps its own, as Pix2Vox's do.

    Raises:
        ValueError: a broken file, or the weights of another network.
    """
    tensors, _ = _read(path)
    own = {f"model.{name}": value for name, value in model.state_dict().items()}
    lacking = {name: value for name, value in own.items() if name.startswith("model.recurrent.")}
    _load_state(model, lacking | tensors, path)


def resume(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, average: nn.Module | None = None
) -> tuple[pd.DataFrame, int]:
    """Loads a checkpoint into model, optimiser and average; returns its history and the next step.

    Raises:
        ValueError: a broken file, or the weights of another network.
    """
    tensors, metadata = _read(path)
    _load_state(model, tensors, path)
    if average is not None:
        _load_state(average, tensors, path, "average.")
    with reading(path, EXPECTED):
        optimizer.load_state_dict({**optimizer.state_dict(), "state": _moments(optimizer, tensors)})
        return _history(metadata), int(metadata["step"])


def _moments(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """The state of the optimiser among the ``tensors`` of a checkpoint, by the number of the parameter."""
    state: dict[int, dict[str, Tensor]] = {}
    trainable = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, number, key = name.split(".")
            # The fused optimiser walks through memory, so its moments need the memory layout of their weights.
            like = trainable[int(number)]
            moment = torch.empty_like(like, requires_grad=False).copy_(value) if value.dim() else value
            state.setdefault(int(number), {})[key] = moment
    return state


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with reading(path, EXPECTED), safe_open(path, "pt") as stored:
        return {name: stored.get_tensor(name) for name in stored.keys()}, stored.metadata() or {}  # noqa: SIM118


def _load_state(model: nn.Module, tensors: dict[str, Tensor], path: Path, part: str = "model.") -> None:
    state = {name.removeprefix(part): value for name, value in tensors.items() if name.startswith(part)}
    with reading(path, "weights of another network, or damaged ones"):
        model.load_state_dict(state)


def _history(metadata: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame(json.loads(metadata.get("history", "{}")))


# --------------------------------------------------------------------------------------------------------- provenance


def training_provenance(model: nn.Module, captures: Captures, recipe: Training, start: Path | None) -> dict[str, Any]:
    """All that the weights of a training depend on, except the initial ones: draw these from the recipe's seed."""
    return json.loads(  # as it is read back: tuples become lists
        json.dumps(
            {
                **asdict(resolve_epochs(recipe, len(captures))),
                "network": repr(getattr(model, "config", model)),
                "captures": network_inputs(model, captures).digest(),
                "start": hashlib.sha256(start.read_bytes()).hexdigest()[:16] if start else "",
                "code": _code(type(model)),
            }
        )
    )


def _code(network: type[nn.Module]) -> str:
    """The digest of the training loop and of what the class of a network reaches; outside the project, of its module.

    The configurations of the scales do not count: a training depends on its recipe and captures, which the provenance
    has. Weights thus stay valid when new test people are drawn.
    """
    own = network.__module__.split(".")[0] in PACKAGES
    with _PARSER:
        digest = code_digest(["p2vlib.training.loop", *([network.__module__] if own else [])], ["p2vlib.config"])
        return digest if own else f"{digest} {syntax_digest(_source_of(network))}"


def _source_of(network: type[nn.Module]) -> str:
    """The module of a class; of one from a notebook its `forward`, or its name where no source is kept."""
    for part in (inspect.getmodule(network), network.forward):
        with contextlib.suppress(OSError, TypeError):
            return textwrap.dedent(inspect.getsource(part))  # type: ignore[arg-type]
    return network.__name__


def read_provenance(path: Path) -> dict[str, Any]:
    """The provenance of the file at ``path``.

    Raises:
        ValueError: a broken file.
    """
    return parse_json(path, _read(path)[1].get("recipe", "{}").encode(), EXPECTED)


def provenance_diff(path: Path, expected: dict[str, Any]) -> list[str]:
    """The keys in which the provenance of the file at ``path`` differs from ``expected``."""
    return _differences(read_provenance(path), expected)


def _differences(stored: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    return sorted(key for key in expected | stored if expected.get(key) != stored.get(key))


def provenance_id(provenance: dict[str, Any]) -> str:
    """16 hexadecimal digits that identify a provenance."""
    return text_digest(json.dumps(provenance, sort_keys=True))


def archive_stale(paths: Sequence[Path], provenance: dict[str, Any], report: Callable[[str], None]) -> None:
    """Moves those of ``paths`` with another provenance to `ARCHIVE`, and restores from there those with this one.

    Weights of another recipe or another version of the code are found again when it comes back. Damaged files are
    removed.
    """
    for path in paths:
        stored = provenance
        if path.is_file():
            try:
                stored = read_provenance(path)
            except FileError as error:
                report(f"  {path}: {error.found}; removed, to be trained again")
                path.unlink()
        if differences := _differences(stored, provenance):
            archived = _archived(path, stored)
            archived.parent.mkdir(exist_ok=True)
            path.replace(archived)
            name = f"{path.parent.name}/{ARCHIVE}/{archived.name}"
            report(f"  {path.parent.name}: another {', '.join(differences)}; moved the older {path.stem} to {name}")
        if not path.is_file() and _archived(path, provenance).is_file():
            _archived(path, provenance).replace(path)


def _archived(path: Path, provenance: dict[str, Any]) -> Path:
    return path.parent / ARCHIVE / f"{provenance_id(provenance)}-{path.name}"
