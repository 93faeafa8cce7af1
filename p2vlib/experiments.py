"""The two acts that notebooks 03, 04 and 05 repeat: train a network of the study, and put it to the test.

A network is known by its name, what it was trained on and its variant; its weights live below the run's work folder, so
a later notebook finds what an earlier one trained, and a killed one goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch
from torch import nn

from . import evaluation, models, viewer
from .config import Config, Training
from .datasets import Captures, spread
from .runs import Run
from .training import train

TRAININGS = ("objects", "feet-studio", "feet-phone")


@dataclass(frozen=True)
class Arm:
    """One network of the ablation of notebook 05: what is trained, and in which order it meets the photos."""

    name: str
    variant: str
    order: str
    repeat: int = 0
    overrides: tuple[tuple[str, object], ...] = ()


def ablation(config: Config) -> dict[str, Arm]:
    """Title -> arm: Pix2Vox, the LSTM in clockwise and in shuffled order; when repeated, also without the LSTM.

    Replaced by the identity, the LSTM leaves the same network as Pix2Vox, trained once more under another name: how
    far the two differ is how far two trainings of one thing differ.
    """
    arms = {
        "Pix2Vox": Arm(config.adapted, "main", "clockwise"),
        "LSTM, clockwise": Arm(config.recurrent, "main", "clockwise"),
        "LSTM, shuffled": Arm(config.recurrent, "shuffled-training", "shuffled"),
    }
    if config.repeats > 1:
        arms["LSTM, identity"] = Arm(config.recurrent, "identity", "clockwise", 0, (("recurrent", "identity"),))
    for title, arm in list(arms.items()):
        for repeat in range(1, config.repeats):
            again = replace(arm, variant=f"{arm.variant}-seed{repeat}", repeat=repeat)
            arms[f"{title}, seed {repeat}"] = again
    return arms


@dataclass(frozen=True, eq=False)
class Network:
    """A trained network of the study."""

    name: str
    training: str
    variant: str
    model: nn.Module
    history: pd.DataFrame
    weights: Path


def training_captures(captures: Captures, training: str, split: str) -> Captures:
    """The captures of a ``training`` (one of `TRAININGS`) in a split: objects in their cube, feet in the metric one."""
    if training not in TRAININGS:
        raise ValueError(f"unknown training {training!r}; expected one of {', '.join(TRAININGS)}")
    if training == "objects":
        return captures.select(dataset="objects", split=split)
    look = training.removeprefix("feet-")
    light = "drift" if look == "phone" else "steady"
    return captures.select(dataset="feet", look=look, light=light, cube="metric", split=split)


def train_network(
    run: Run,
    captures: Captures,
    name: str,
    training: str,
    *,
    variant: str = "main",
    start: Network | None = None,
    order: str = "clockwise",
    repeat: int = 0,
    **overrides: object,
) -> Network:
    """The network ``name`` trained on the train split of ``training``; from ``start``'s weights where one is given.

    It is trained once: asked for again, in this notebook or a later one, it is loaded. ``repeat`` counts further
    trainings with other seeds; ``overrides`` go to `models.build`.
    """
    recipe: Training = run.config.pretraining if start is None else run.config.finetuning
    recipe = replace(recipe, order=order, seed=recipe.seed + run.config.seed + 1000 * repeat)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        model = models.build(name, image_size=run.config.image_size, **overrides)
    folder = run.work / "weights" / "_".join([name, training, variant])
    history = train(
        model,
        training_captures(captures, training, "train"),
        training_captures(captures, training, "validation"),
        recipe,
        folder,
        start=start.weights if start else None,
    )
    return Network(name, training, variant, model, history, folder / "weights.safetensors")


def test_network(
    network: Network,
    test: Captures,
    validation: Captures,
    *,
    dataset: str,
    views: Sequence[int],
    orders: Sequence[str] = ("clockwise",),
    variant: str | None = None,
) -> pd.DataFrame:
    """Metrics of ``network`` on ``test``; the threshold is the best on ``validation`` with all of its photos.

    All of them, whatever ``views`` are asked for: so a network has one threshold, in every notebook that tests it.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = network.model.to(device)
    threshold, _ = evaluation.headline(evaluation.evaluate(model, validation, views=(validation.photos.shape[1],)))
    facts = {"model": network.name, "training": network.training, "variant": variant or network.variant}
    return evaluation.tidy(evaluation.evaluate(model, test, views, orders), threshold, dataset=dataset, **facts)


def test_mean_shape(
    train: Captures,
    test: Captures,
    validation: Captures,
    *,
    by: str,
    training: str,
    dataset: str,
    views: Sequence[int],
    orders: Sequence[str] = ("clockwise",),
    variant: str = "main",
) -> pd.DataFrame:
    """Metrics of the mean training shape of the same ``by`` (side or taxonomy), its threshold chosen on validation."""
    threshold, _ = evaluation.headline(evaluation.mean_shape(train, validation, by))
    scores = evaluation.mean_shape(train, test, by, views, orders)
    return evaluation.tidy(scores, threshold, model="mean-shape", training=training, dataset=dataset, variant=variant)


def panels_of(
    networks: dict[str, Network], captures: Captures, samples: dict[str, str], views: int, threshold: float
) -> list[viewer.Panel]:
    """Rows for `viewer.panels`: each of ``samples`` (title -> sample) with its photos, truth and every prediction."""
    rows = []
    for title, sample in samples.items():
        one = captures.select(sample=sample)
        chosen = spread(one.photos.shape[1], views)
        predictions = {
            name: evaluation.predict(network.model, one, chosen)[0].cpu().numpy() >= threshold
            for name, network in networks.items()
        }
        photos = one.photos[0, chosen].permute(0, 2, 3, 1).cpu().numpy()
        rows.append(viewer.Panel(f"{title}\n{sample}", list(photos), one.truth[0].cpu().numpy(), predictions))
    return rows
