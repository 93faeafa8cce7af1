"""Training of the pretrained weights in ``data/weights``, the command `p2v weights`. It can be resumed."""

from __future__ import annotations

import platform
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from p2vlib import evaluation, models
from p2vlib.config import Config, Training, from_params
from p2vlib.data import dataset
from p2vlib.geometry.frames import FOOT_SHARE
from p2vlib.models.unprojection import UnprojectionConfig
from p2vlib.provenance import commit, home
from p2vlib.training import checkpoints, train
from p2vtools.fit import pretrained
from p2vtools.fit.camera_alignment import typical_foot
from p2vtools.fit.ensemble import Ensemble
from p2vtools.study import baselines, calibration, intervals
from p2vtools.synthesis import assets
from p2vtools.synthesis.collection import build_collection

PLACEMENT_NOISE = {"exact": (4.0, 0.025), "by hand": (7.0, 0.05)}
"""Placement noise of each member in its training on the domain ``wild`` (`Training.placement_noise`)."""

CHANNELS = 16
"""Channels of the point head."""


def pretrained_config() -> Config:
    """Data and recipe of the pretrained weights: feet only, three times as many people as at scale quick, and more in
    the wild.

    The test people are those of quick. Validation has four times as many, since they also calibrate the measures.
    """
    data = {"feet.train": 300, "feet.validation": 60, "feet.mats": True, "feet.wild": True, "feet.wild_train": 700}
    data |= {f"objects.{split}": 0 for split in ("train", "validation", "test")}
    recipe = Training(steps=4500, batch=24, views=8, steps_per_epoch=250, single_view_share=0.0, mirror=False)
    return replace(from_params("quick", **data), finetuning=replace(recipe, placement_noise=(4.0, 0.025)))


def half_in_the_wild(feet: dataset.Captures) -> dataset.Captures:
    """All captures of the domain wild, and of every other person only those in one of the other domains, in turn.

    Args:
        feet: captures of the domains phone, mat and wild; mat or wild may be missing.
    """
    others = feet.table[feet.table.look != "wild"]
    domains, people = sorted(set(others.look)), sorted(set(others.subject))
    domain = {person: domains[number % len(domains)] for number, person in enumerate(people)}
    is_kept = feet.table.look == feet.table.subject.map(domain).fillna("wild")
    return feet.rows(np.flatnonzero(is_kept))


def train_pretrained(config: Config | None = None, target: Path | None = None, work: Path | None = None) -> Path:
    """Trains an ensemble of two unprojection networks on the feet of ``config``, evaluates it and saves it.

    One member is trained with accurate cameras and one with cameras noted by hand; both continue on feet that stand on
    a mat, and then on the domain wild together with the other two (`half_in_the_wild`), where the second member gets a
    larger placement noise (`PLACEMENT_NOISE`). Their probabilities are calibrated on validation people, who also
    determine the threshold, and the point head is trained on top. Test people occur in neither training nor validation.

    Args:
        target: file of the weights; default: the pretrained weights of the project.
        work: folder of the checkpoints.
    """
    config = config or pretrained_config()
    target = target or pretrained.pretrained_path()
    work = work or home() / ".runs" / "weights" / pretrained.NAME
    build_collection(config)
    feet = dataset.load_feet(config, "phone", "mat", "wild").select(light="drift")
    splits = [feet.select(split=split) for split in ("train", "validation")]
    on_floors = [split.select(look="phone") for split in splits]
    on_mats = [split.select(look=("phone", "mat")) for split in splits]
    in_the_wild = [half_in_the_wild(split) for split in splits]
    exact = config.finetuning
    # Cameras measured by hand, to 1 degree and 3 mm: twice the camera noise, a third more steps.
    recipes = {"exact": exact, "by hand": replace(exact, steps=-(-exact.steps * 4 // 3), camera_noise=(1.2, 0.011))}
    with torch.random.fork_rng():
        torch.manual_seed(exact.seed + config.seed)
        network = UnprojectionConfig(image_size=config.image_size, height=FOOT_SHARE)
        model = Ensemble(network, members=2, point_channels=CHANNELS)
    histories = {}
    for member, name in zip(model.members, ("exact", "by hand"), strict=True):
        mats, wild, start, recipe = f"{name}, on mats", f"{name}, in the wild", None, recipes[name]
        recipes[mats] = replace(recipe, steps=-(-recipe.steps // 4), learning_rate=recipe.learning_rate / 3)
        # 5,500 steps of 72 photos: hours on two cores, minutes on a GPU. Half of the crops are close to the foot.
        steps, rate = -(-exact.steps * 11 // 9), exact.learning_rate * 2 / 3
        options = {"placement_noise": PLACEMENT_NOISE[name], "close_crops": 0.5}
        recipes[wild] = replace(recipe, steps=steps, batch=3 * exact.batch, learning_rate=rate, **options)
        for stage, data in {name: on_floors, mats: on_mats, wild: in_the_wild}.items():
            histories[stage] = train(member, *data, recipes[stage], work / stage, start=start)
            start = work / stage / "weights.safetensors"
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
    """Calibrates the trained members, trains the point head, evaluates the ensemble and saves it at ``target``.

    The threshold is the best one on the grid of the network; `model_card.complete_card` replaces it by the best one on
    the grid of the results.
    """
    train_split, validation = (half_in_the_wild(feet.select(split=split)) for split in ("train", "validation"))
    test = feet.select(split="test")
    count = test.photos.shape[1]
    views = range(count)
    model.calibrate(*calibration.fit_calibration(evaluation.predict(model, validation, views), validation.truth))
    coarse, steps = work / "coarse.safetensors", -(-config.finetuning.steps // 6)
    recipe = replace(config.finetuning, steps=steps, steps_per_epoch=steps, point_samples=2048, close_crops=0.75)
    checkpoints.save(coarse, model, {}, next(iter(histories.values())))
    history = train(model, train_split, validation, recipe, work / "finer", start=coarse)
    recipes, histories = recipes | {"finer": recipe}, histories | {"finer": history}
    threshold, validation_iou = evaluation.best_threshold(evaluation.evaluate(model, validation, views=(count,)))
    scores = {domain: _scores(model, test.select(look=domain), threshold) for domain in test.table.look.unique()}
    phone = test.select(look="phone")
    reliability = calibration.reliability_table(evaluation.predict(model, phone, views), phone.truth)
    mean = {domain: _mean_foot_score(feet.select(look=domain)) for domain in scores}
    card = {
        "network": "unprojection",
        "members": len(model.members),
        "config": asdict(model.config),
        "finer": CHANNELS,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "threshold": threshold,
        "threshold of the test IoU by photos": threshold,
        "retrain": "p2v weights",
        "data": {
            "people": asdict(config.feet),
            "looks": ["phone", "mat", "wild"],
            "in the wild": assets.describe(),
            "captures": [len(train_split), len(validation), len(test)],
        },
        "recipe": {name: asdict(recipe) for name, recipe in recipes.items()},
        "minutes": {name: round(history.seconds.iloc[-1] / 60, 1) for name, history in histories.items()},
        "machine": _machine(),
        "commit": commit(),
        "validation IoU": round(validation_iou, 4),
        "test IoU by photos": scores["phone"],
        "test IoU by photos, on a mat": scores.get("mat", []),
        "test IoU by photos, in the wild": scores.get("wild", []),
        "mean foot IoU": mean["phone"],
        "mean foot IoU, in the wild": mean.get("wild", {}),
        "probability, predicted and occupied": reliability[["predicted", "occupied"]].round(3).to_numpy().tolist(),
        "limits": "synthetic feet in synthetic photos; the cube within about 2 cm and 8 degrees",
    }
    # Scans are aligned to the mean of upright feet, and so are placements.
    pretrained.save_pretrained(target, model, card, typical_foot(feet.select(look="phone", split="train")))
    return target


def _scores(model: Ensemble, test: dataset.Captures, threshold: float) -> list[dict[str, float]]:
    """IoU with its interval over people, by number of photos."""
    views = [number for number in (1, 2, 4, 8) if number <= test.photos.shape[1]]
    scores = evaluation.evaluate(model, test, views)
    scores = evaluation.metric_rows(scores, threshold, model="unprojection", training="feet-phone", dataset="feet")
    return intervals.summarise(scores, ["views"]).round(4).to_dict("records")


def _mean_foot_score(feet: dataset.Captures) -> dict[str, float]:
    """IoU of the mean training foot with the test feet, all photos of one domain, with its interval over people."""
    train_split, validation, test = (feet.select(split=split) for split in ("train", "validation", "test"))
    threshold = baselines.mean_shape_threshold(train_split, validation, "side")
    scores = baselines.score_mean_shape(train_split, test, "side", (test.photos.shape[1],))
    scores = evaluation.metric_rows(scores, threshold, model="mean-shape", training="feet-phone", dataset="feet")
    return intervals.summarise(scores, ["views"]).round(4).to_dict("records")[-1]


def _machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    bfloat16 = "with bfloat16" if models.fast_bf16("cpu") else "without bfloat16"
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' * (threads > 1)} of a {platform.machine()} CPU {bfloat16}"
