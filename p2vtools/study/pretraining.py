"""Training of the pretrained weights in ``data/weights``: `train_pretrained` is what `p2v weights` runs; it resumes."""

from __future__ import annotations

import platform
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import torch

from p2vlib import evaluation, models
from p2vlib.config import Config, Training, from_params
from p2vlib.data import dataset
from p2vlib.evaluation import calibration
from p2vlib.geometry.frames import FOOT_SHARE
from p2vlib.models.unprojection import UnprojectionConfig
from p2vlib.provenance import commit, home
from p2vlib.training import checkpoints, train
from p2vtools.fit import pretrained
from p2vtools.fit.camera_alignment import typical_foot
from p2vtools.fit.ensemble import Ensemble
from p2vtools.synthesis.collection import build_collection

CHANNELS = 16
"""Channels of the point head."""


def pretrained_config() -> Config:
    """What the weights in ``data/weights`` are trained on and how: feet alone, three times as many people as at quick.

    The people of the test are those of quick; validation has four times as many, since the length of a foot is
    corrected by what they show.
    """
    feet_alone = {f"objects.{split}": 0 for split in ("train", "validation", "test")}
    return replace(
        from_params("quick", **{"feet.train": 300, "feet.validation": 60, "feet.mats": True}, **feet_alone),
        finetuning=Training(
            steps=4500,
            batch=24,
            views=8,
            steps_per_epoch=250,
            single_view_share=0.0,
            mirror=False,
            placement_noise=(4.0, 0.025),
        ),
    )


def noted_cameras_recipe(exact: Training) -> Training:
    """``exact`` for cameras as a hand measures them, 1 degree and 3 mm off: told twice as wrongly, and for longer."""
    return replace(exact, steps=-(-exact.steps * 4 // 3), camera_noise=(1.2, 0.011))


def mat_recipe(before: Training) -> Training:
    """How a network trained by ``before`` goes on, on mats and other floors alike: a quarter as long, more gently."""
    return replace(before, steps=-(-before.steps // 4), learning_rate=before.learning_rate / 3)


def point_head_recipe(coarse: Training) -> Training:
    """How a finer head learns once the networks that it corrects are trained by ``coarse``: near the surface alone."""
    return replace(coarse, steps=-(-coarse.steps // 5), point_samples=2048)


def train_pretrained(config: Config | None = None, target: Path | None = None, work: Path | None = None) -> Path:
    """Trains two unprojection networks on the feet of ``config``, tests them together, and stores them.

    One learns with good cameras, one with those of a hand (`ensemble`); both go on with feet that stand on a mat. Then
    their probabilities are calibrated on validation people, and the finer head is trained on top. The people that they
    are tested on are in neither training nor validation, and the threshold is validation's. What is half done is kept
    in ``work``.
    """
    config, target, work = (
        config or pretrained_config(),
        target or pretrained.pretrained_path(),
        work or home() / ".runs" / "weights" / pretrained.NAME,
    )
    build_collection(config)
    feet = dataset.load_feet(config, "phone", "mat").select(light="drift")
    learn, validation, test = (feet.select(split=split) for split in ("train", "validation", "test"))
    on_floors, watched = (part.select(look="phone") for part in (learn, validation))
    exact = config.finetuning
    recipes = {"exact": exact, "by hand": noted_cameras_recipe(exact)}
    with torch.random.fork_rng():
        torch.manual_seed(exact.seed + config.seed)
        network = UnprojectionConfig(image_size=config.image_size, height=FOOT_SHARE)
        model = Ensemble(network, members=2, point_channels=CHANNELS)
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
    model.calibrate(*calibration.fit_calibration(evaluation.predict(model, validation, every), validation.truth))
    begun = work / "coarse.safetensors"
    checkpoints.save(begun, model, {}, next(iter(histories.values())))
    recipes = recipes | {"finer": point_head_recipe(config.finetuning)}
    histories = histories | {"finer": train(model, learn, validation, recipes["finer"], work / "finer", start=begun)}
    threshold, at_validation = evaluation.best_threshold(evaluation.evaluate(model, validation, views=(most,)))
    tested = {look: _scores(model, test.select(look=look), threshold) for look in test.table.look.unique()}
    test, learn = test.select(look="phone"), learn.select(look="phone")
    trusted = calibration.reliability_table(evaluation.predict(model, test, every), test.truth)
    mean = evaluation.score_mean_shape(learn, test, "side", (most,))
    least, _ = evaluation.best_threshold(evaluation.score_mean_shape(learn, validation.select(look="phone"), "side"))
    mean = evaluation.metric_rows(mean, least, model="mean-shape", training="feet-phone", dataset="feet")
    card = {
        "network": "unprojection",
        "members": len(model.members),
        "config": asdict(model.config),
        "finer": CHANNELS,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "threshold": threshold,
        "retrain": "p2v weights",
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
    pretrained.save_pretrained(target, model, card, typical_foot(learn))
    return target


def _scores(model: Ensemble, test: dataset.Captures, threshold: float) -> list[dict[str, float]]:
    """IoU and its interval over people by number of photos."""
    views = [number for number in (1, 2, 4, 8) if number <= test.photos.shape[1]]
    scores = evaluation.evaluate(model, test, views)
    scores = evaluation.metric_rows(scores, threshold, model="unprojection", training="feet-phone", dataset="feet")
    return evaluation.summarise(scores, ["views"]).round(4).to_dict("records")


def _machine() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    fast = "with bfloat16" if models.fast_bf16("cpu") else "without bfloat16"
    threads = torch.get_num_threads()
    return f"{threads} thread{'s' * (threads > 1)} of a {platform.machine()} CPU {fast}"
