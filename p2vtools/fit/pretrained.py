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
"""Prefix of the tensors of the typical foot."""

MAX_BYTES = 64 * 2**20
"""Largest file that is read."""


@dataclass(frozen=True, eq=False)
class PretrainedModel:
    """A trained network and its card."""

    model: nn.Module
    threshold: float
    """Occupancy from which a voxel is solid, chosen on validation people."""
    card: dict[str, Any]
    """Configuration, training data, recipe and results."""
    typical_foot: TypicalFoot | None = None
    """Prior for the alignment of cameras measured by hand; None: not stored."""

    @property
    def takes_close_crops(self) -> bool:
        """Whether the network was also trained with photos cropped to the foot (`Training.close_crops`)."""
        return any(recipe.get("close_crops", 0) for recipe in self.card.get("recipe", {}).values())


def pretrained_path() -> Path:
    """Path of the weights that come with the project."""
    return home() / FOLDER / f"{NAME}.safetensors"


def save_pretrained(path: Path, model: nn.Module, card: dict[str, Any], typical: TypicalFoot | None = None) -> None:
    """Writes float16 weights as safetensors with the card in their metadata, and the card again as JSON beside them."""
    tensors = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in model.state_dict().items()
    }
    if typical:
        tensors |= {f"{TYPICAL}.solid": typical.solid.cpu(), f"{TYPICAL}.spread": torch.tensor(typical.spread)}
    write_atomically(path, lambda partial: save_file(tensors, partial, {"card": json.dumps(card)}))
    write_text(path.with_suffix(".json"), json.dumps(card, indent=1) + "\n")


def update_card(path: Path, entries: dict[str, Any]) -> None:
    """Adds ``entries`` to the card of the weights at ``path``."""
    weights = load_pretrained(path)
    save_pretrained(path, weights.model, {**weights.card, **entries}, weights.typical_foot)


def load_pretrained(path: Path | None = None) -> PretrainedModel:
    """Loads the model stored at ``path``; None: the one that comes with the project.

    Raises:
        ValueError: no such file, not safetensors, or weights of another network.
    """
    path = path or pretrained_path()
    expected = "expected weights of the unprojection network, as written by `p2v weights`"
    if not path.is_file():
        raise ValueError(f"{path}: no such file; {expected}")
    if path.stat().st_size > MAX_BYTES:
        size, limit = path.stat().st_size / 2**20, MAX_BYTES / 2**20
        raise ValueError(f"{path}: {size:.0f} MiB; {expected}, at most {limit:.0f} MiB")
    try:
        with safe_open(path, "pt") as stored:
            tensors = {name: stored.get_tensor(name).float() for name in stored.keys()}  # noqa: SIM118
            card = json.loads((stored.metadata() or {}).get("card", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read ({error}); {expected}") from None
    if not isinstance(card, dict) or OLD_NAMES.get(card.get("network"), card.get("network")) != "unprojection":
        raise ValueError(f"{path}: weights of another network; {expected}")
    try:
        with torch.random.fork_rng():
            model = Ensemble(configure("unprojection", **card["config"]), int(card["members"]), int(card["finer"]))
        solid, spread = (tensors.pop(f"{TYPICAL}.{name}", None) for name in TypicalFoot._fields)
        model.load_state_dict(tensors)
        typical = None if solid is None else TypicalFoot(solid > 0, float(spread))
        return PretrainedModel(model.eval(), float(card["threshold"]), card, typical)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path}: its card does not match its weights ({reason}); {expected}") from None
