"""The pretrained weights in ``data/weights``: reading and writing them with their card (`study.pretraining` trains)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from p2vlib.files import write_atomically, write_text
from p2vlib.models.network import OLD_NAMES
from p2vlib.models.registry import configure
from p2vlib.provenance import home
from p2vtools.fit.camera_alignment import TypicalFoot
from p2vtools.fit.ensemble import Ensemble

FOLDER = "data/weights"

NAME = "rays-foot"

TYPICAL = "typical"
"""What the file calls what is known of feet before any is seen."""

LARGEST = 64 * 2**20
"""Bytes of a weights file that is believed to be one."""


@dataclass(frozen=True, eq=False)
class PretrainedModel:
    """A network that is ready, and what is known of it."""

    model: nn.Module
    threshold: float
    """Occupancy from which a voxel is solid, chosen on validation people."""
    card: dict[str, Any]
    typical_foot: TypicalFoot | None = None
    """The foot that cameras measured by hand are first aligned to; None: these weights came without one."""


def pretrained_path() -> Path:
    """Where the weights are that come with the project."""
    return home() / FOLDER / f"{NAME}.safetensors"


def update_card(path: Path, more: dict[str, Any]) -> None:
    """Adds ``more`` to the card of the weights at ``path``."""
    weights = load_pretrained(path)
    save_pretrained(path, weights.model, {**weights.card, **more}, weights.typical_foot)


def save_pretrained(path: Path, model: nn.Module, card: dict[str, Any], typical: TypicalFoot | None = None) -> None:
    """Writes the weights as float16 safetensors with their card inside, and the card once more beside them as JSON."""
    tensors = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in model.state_dict().items()
    }
    if typical:
        tensors |= {f"{TYPICAL}.solid": typical.solid.cpu(), f"{TYPICAL}.spread": torch.tensor(typical.spread)}
    write_atomically(path, lambda partial: save_file(tensors, partial, {"card": json.dumps(card)}))
    write_text(path.with_suffix(".json"), json.dumps(card, indent=1) + "\n")


def load_pretrained(path: Path | None = None) -> PretrainedModel:
    """Loads the network of ``path``; None: the one that comes with the project.

    Raises:
        ValueError: no such file, not safetensors, or weights of another network.
    """
    path = path or pretrained_path()
    wanted = "expected weights of the unprojection network, as `python -m p2vtools weights` writes them"
    if not path.is_file():
        raise ValueError(f"{path}: no such file; {wanted}")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path}: {path.stat().st_size / 2**20:.0f} MiB; {wanted}, {LARGEST / 2**20:.0f} MiB at most")
    try:
        with safe_open(path, "pt") as stored:
            tensors = {name: stored.get_tensor(name).float() for name in stored.keys()}  # noqa: SIM118
            card = json.loads((stored.metadata() or {}).get("card", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); {wanted}") from None
    if not isinstance(card, dict) or OLD_NAMES.get(card.get("network"), card.get("network")) != "unprojection":
        raise ValueError(f"{path}: weights of another network; {wanted}")
    try:
        with torch.random.fork_rng():
            model = Ensemble(configure("unprojection", **card["config"]), int(card["members"]), int(card["finer"]))
        known = {name: tensors.pop(f"{TYPICAL}.{name}", None) for name in TypicalFoot._fields}
        model.load_state_dict(tensors)
        typical = TypicalFoot(known["solid"] > 0, float(known["spread"])) if known["solid"] is not None else None
        return PretrainedModel(model.eval(), float(card["threshold"]), card, typical)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path}: its card and its weights do not fit ({str(error).splitlines()[0]}); {wanted}"
        ) from None
