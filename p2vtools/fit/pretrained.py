"""The weights that come with the project: how they are trained and tested, and how they are kept with what is known.

`make` is the one command behind ``data/weights``: ``python -m p2vtools weights``. It resumes, as every training does.
"""

from __future__ import annotations

import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from p2vlib import evaluation, models
from p2vlib.config import Config, Training, mat_recipe, noted_cameras_recipe, point_head_recipe, pretrained_config
from p2vlib.data import dataset
from p2vlib.evaluation import calibration
from p2vlib.files import write_atomically, write_text
from p2vlib.geometry.frames import FOOT_SHARE
from p2vlib.models.network import OLD_NAMES
from p2vlib.models.registry import configure
from p2vlib.models.unprojection import UnprojectionConfig
from p2vlib.provenance import commit, home
from p2vlib.training import checkpoints, train
from p2vtools.fit.camera_alignment import TypicalFoot, typical_foot
from p2vtools.fit.ensemble import Ensemble

FOLDER = "data/weights"

NAME = "rays-foot"

CHANNELS = 16
"""Of the head that answers between the voxels."""

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


def train_pretrained(config: Config | None = None, target: Path | None = None, work: Path | None = None) -> Path:
    """Trains two unprojection networks on the feet of ``config``, tests them together, and stores them.

    One learns with good cameras, one with those of a hand (`ensemble`); both go on with feet that stand on a mat. Then
    their probabilities are calibrated on validation people, and the finer head is trained on top. The people that they
    are tested on are in neither training nor validation, and the threshold is validation's. What is half done is kept
    in ``work``.
    """
    config, target, work = (
        config or pretrained_config(),
        target or pretrained_path(),
        work or home() / ".runs" / "weights" / NAME,
    )
    feet = dataset.load_feet(config, "phone", "mat").select(light="drift")
    learn, validation, test = (feet.select(split=split) for split in ("train", "validation", "test"))
    on_floors, watched = (part.select(look="phone") for part in (learn, validation))
    exact = config.finetuning
    recipes = {"exact": exact, "by hand": noted_cameras_recipe(exact)}
    with torch.random.fork_rng():
        torch.manual_seed(exact.seed + config.seed)
        model = Ensemble(UnprojectionConfig(image_size=config.image_size, height=FOOT_SHARE), members=2, finer=CHANNELS)
    histories = {}
    for member, name in zip(model.members, ("exact", "by hand"), strict=True):
        histories[name] = train(member, on_floors, watched, recipes[name], work / name)
        later, start = f"{name}, on mats", work / name / "weights.safetensors"
        recipes[later] = mat_recipe(recipes[name])
        histories[later] = train(member, learn, validation, recipes[later], work / later, start=start)
    return finish(config, model, feet, recipes, histories, target, work)


def finish(
    config: Config,
    model: Ensemble,
    feet: dataset.Captures,
    recipes: dict[str, Training],
    histories: dict[str, pd.DataFrame],
    target: Path,
    work: Path,
) -> Path:
    """Calibrates trained members, trains the head on top, tests all together, and stores it at ``target``."""
    learn, validation, test = (feet.select(split=split) for split in ("train", "validation", "test"))
    captures = [len(learn), len(validation), len(test)]
    most = test.photos.shape[1]
    every = range(most)
    model.calibrate(*calibration.fitted(evaluation.predict(model, validation, every), validation.truth))
    begun = work / "coarse.safetensors"
    checkpoints.save(begun, model, {}, next(iter(histories.values())))
    recipes = recipes | {"finer": point_head_recipe(config.finetuning)}
    histories = histories | {"finer": train(model, learn, validation, recipes["finer"], work / "finer", start=begun)}
    threshold, at_validation = evaluation.best_threshold(evaluation.evaluate(model, validation, views=(most,)))
    tested = {look: _scores(model, test.select(look=look), threshold) for look in test.table.look.unique()}
    test, learn = test.select(look="phone"), learn.select(look="phone")
    trusted = calibration.reliability_table(evaluation.predict(model, test, every), test.truth)
    mean = evaluation.mean_shape(learn, test, "side", (most,))
    least, _ = evaluation.best_threshold(evaluation.mean_shape(learn, validation.select(look="phone"), "side"))
    mean = evaluation.metric_rows(mean, least, model="mean-shape", training="feet-phone", dataset="feet")
    card = {
        "network": "unprojection",
        "members": len(model.members),
        "config": asdict(model.config),
        "finer": CHANNELS,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "threshold": threshold,
        "retrain": "python -m p2vtools weights",
        "data": {
            "people": asdict(config.feet),
            "looks": ["phone", "mat"],
            "captures": captures,
        },
        "recipe": {name: asdict(recipe) for name, recipe in recipes.items()},
        "minutes": {name: round(history.seconds.iloc[-1] / 60, 1) for name, history in histories.items()},
        "machine": _machine(),
        "commit": commit(),
        "validation IoU": round(at_validation, 4),
        "test IoU by photos": tested["phone"],
        "test IoU by photos, on a mat": tested.get("mat", []),
        "mean foot IoU": evaluation.summarise(mean, ["views"]).round(4).to_dict("records")[-1],
        "probability, predicted and occupied": trusted[["predicted", "occupied"]].round(3).to_numpy().tolist(),
        "limits": "synthetic feet in synthetic photos; the cube within about 1 cm and 4 degrees",
    }
    save_pretrained(target, model, card, typical_foot(learn))
    return target


def _scores(model: Ensemble, test: dataset.Captures, threshold: float) -> list[dict[str, float]]:
    """IoU and its interval over people by number of photos."""
    views = [number for number in (1, 2, 4, 8) if number <= test.photos.shape[1]]
    scores = evaluation.evaluate(model, test, views)
    scores = evaluation.metric_rows(scores, threshold, model="unprojection", training="feet-phone", dataset="feet")
    return evaluation.summarise(scores, ["views"]).round(4).to_dict("records")


def update_card(path: Path, more: dict[str, Any]) -> None:
    """Adds ``more`` to the card of the weights at ``path``."""
    weights = load_pretrained(path)
    save_pretrained(path, weights.model, {**weights.card, **more}, weights.typical_foot)


def _machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    fast = "with bfloat16" if models.fast_bf16("cpu") else "without bfloat16"
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' * (threads > 1)} of a {platform.machine()} CPU {fast}"


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
