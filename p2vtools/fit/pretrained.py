"""The pretrained weights in ``data/weights``: reading and writing them with their card (`study.pretraining` trains)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from p2vlib.files import FileError, check_size, parse_json, reading, write_atomically, write_text
from p2vlib.models.network import OLD_NAMES, to_fast_layout
from p2vlib.models.registry import configure
from p2vlib.provenance import home
from p2vtools import limits
from p2vtools.fit.camera_alignment import TypicalFoot
from p2vtools.fit.ensemble import Ensemble

FOLDER = "data/weights"

NAME = "rays-foot"

TYPICAL = "typical"
"""Prefix of the tensors of the typical foot."""


@dataclass(frozen=True, eq=False)
class PretrainedModel:
    """A trained network and its card."""

    model: nn.Module
    threshold: float
    """Occupancy from which a voxel is solid, chosen on validation people."""
    card: dict[str, Any]
    """Configuration, training data, recipe and results."""
    typical_foot: TypicalFoot
    """Prior for the search for the foot and the alignment of cameras measured by hand."""

    @property
    def takes_close_crops(self) -> bool:
        """Whether the network was also trained with photos cropped to the foot (`Training.close_crops`)."""
        return any(recipe.get("close_crops", 0) for recipe in self.card.get("recipe", {}).values())

    @property
    def outside(self) -> Literal["edge", "constant"]:
        """What the network was trained to see beyond the border of a photo (`crop_and_resize`)."""
        return "constant" if self.takes_close_crops else "edge"


def pretrained_path() -> Path:
    """Path of the weights that come with the project."""
    return home() / FOLDER / f"{NAME}.safetensors"


def save_pretrained(path: Path, model: nn.Module, card: dict[str, Any], typical: TypicalFoot) -> None:
    """Writes float16 weights as safetensors with the card in their metadata, and the card again as JSON beside them."""
    tensors = {
        name: (value.half() if value.is_floating_point() else value).contiguous().cpu()
        for name, value in model.state_dict().items()
    }
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
    check_size(path, limits.WEIGHTS_BYTES, expected)
    with reading(path, expected), safe_open(path, "pt") as stored:
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
        card = parse_json(path, (stored.metadata() or {}).get("card", "{}").encode(), expected)
    if OLD_NAMES.get(str(card.get("network")), card.get("network")) != "unprojection":
        raise FileError(path, "weights of another network", expected)
    with reading(path, f"its card does not match its weights; {expected}"):
        config = configure("unprojection", **card["config"])
        members, finer, threshold = card["members"], card["finer"], float(card["threshold"])
        for name, value, limit in (
            ("members", members, limits.ENSEMBLE_MEMBERS),
            ("grid", config.grid, limits.NETWORK_GRID),
            ("image_size", config.image_size, limits.NETWORK_PIXELS),
        ):
            if type(value) is not int or not 0 < value <= limit:
                raise ValueError(f"{name} is {value}; expected a whole number from 1 to {limit}")
        if not 0 < threshold < 1 or not all(tensor.isfinite().all() for tensor in tensors.values()):
            raise ValueError(f"threshold {threshold}, or weights that are not finite")
        with torch.device("meta"):  # shapes without values: they are compared before memory is allocated
            model = Ensemble(config, members, finer)
        solid, spread = (tensors.pop(f"{TYPICAL}.{name}") for name in TypicalFoot._fields)
        model.load_state_dict(tensors, assign=True)
        typical = TypicalFoot(solid > 0, float(spread))
        return PretrainedModel(to_fast_layout(model.float()).eval(), threshold, card, typical)
