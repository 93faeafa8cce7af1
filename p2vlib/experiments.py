"""The two acts that notebooks 03, 04 and 05 repeat: train a network of the study, and put it to the test.

A network is known by its name, what it was trained on and its variant; its weights live below the run's work folder, so
a later notebook finds what an earlier one trained, and a killed one goes on where it stopped.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import pandas as pd
import torch
from torch import nn

from . import evaluation, models, viewer
from .config import Config, Training
from .datasets import Captures, spread
from .runs import Run
from .training import train

TRAININGS = ("objects", "feet-studio", "feet-phone")

Result = TypeVar("Result")

_BUILDING = threading.Lock()
"""Held while a network is initialised, which draws from torch's one global random state."""

_STOP = threading.Event()
"""Set when one of the trainings side by side ends in an error, so that the others do not run on unseen."""


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
    thresholds: dict[str, float] = field(default_factory=dict)
    """The best threshold on each validation set, by its digest, that was asked for."""

    def threshold_on(self, validation: Captures) -> float:
        """The threshold that is best on ``validation`` with all of its photos; measured once."""
        known = validation.digest()
        if known not in self.thresholds:
            scores = evaluation.evaluate(self.model, validation, views=(validation.photos.shape[1],))
            self.thresholds[known], _ = evaluation.headline(scores)
        return self.thresholds[known]


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
    with _BUILDING, torch.random.fork_rng():
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
        report=_tell,
    )
    return Network(name, training, variant, model, history, folder / "weights.safetensors")


def train_arm(run: Run, captures: Captures, arm: Arm, training: str, start: Network | None = None) -> Network:
    """`train_network` for an arm of the ablation."""
    facts = {"variant": arm.variant, "order": arm.order, "repeat": arm.repeat, **dict(arm.overrides)}
    return train_network(run, captures, arm.name, training, start=start, **facts)


def side_by_side(jobs: Mapping[str, Callable[[], Result]]) -> dict[str, Result]:
    """What each of ``jobs`` returns, by its key; on a CPU they run at the same time and share the cores.

    Small networks do not fill two cores: trained two at a time, on one core each, they are done sooner than one after
    the other on both. A GPU takes them one by one. When one fails or the notebook is
    interrupted, the others stop at their next line of history; asked for again, they go on from there.
    """
    if torch.cuda.is_available() or len(jobs) == 1:
        return {key: job() for key, job in jobs.items()}
    cores = torch.get_num_threads()
    alone = max(1, cores // len(jobs))
    with ThreadPoolExecutor(max(cores, 4), initializer=torch.set_num_threads, initargs=(alone,)) as pool:
        running = {key: pool.submit(job) for key, job in jobs.items()}
        try:
            for done in as_completed(running.values()):
                done.result()
        except BaseException:
            _STOP.set()
            pool.shutdown(cancel_futures=True)
            raise
        finally:
            _STOP.clear()
            torch.set_num_threads(cores)  # in part it is a setting of the whole process
    return {key: done.result() for key, done in running.items()}


def _tell(line: str) -> None:
    if _STOP.is_set():
        raise InterruptedError("another of the trainings side by side has stopped")
    print(line, flush=True)


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

    All of them, whatever ``views`` are asked for: so a network has one threshold, in every notebook that tests it. A
    network without recurrence knows no order (its tests hold it to that), so one order is run and counts for all.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = network.model.to(device)
    threshold = network.threshold_on(validation)
    facts = {"model": network.name, "training": network.training, "variant": variant or network.variant}
    if isinstance(model.recurrent, nn.Identity):
        scores = evaluation.evaluate(model, test, views)
        scores = pd.concat([scores.assign(order=order) for order in orders], ignore_index=True)
    else:
        scores = evaluation.evaluate(model, test, views, orders)
    return evaluation.tidy(scores, threshold, dataset=dataset, **facts)


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
