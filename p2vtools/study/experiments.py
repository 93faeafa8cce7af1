"""Training and evaluation of the networks in notebooks 03 to 06.

A trained network is identified by its name, its training data and its variant. Its weights are stored in the work
folder of the run, so a later notebook loads what an earlier one trained, and a killed training continues from its
checkpoint.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import pkgutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn

from p2vlib import evaluation, models, progress
from p2vlib.config import Training
from p2vlib.data.dataset import Captures
from p2vlib.provenance import home
from p2vlib.training import checkpoints, recipe_summary, train, training_provenance
from p2vtools import viewer
from p2vtools.archives.published import load_published
from p2vtools.files import file_lock
from p2vtools.study import baselines, intervals, learning, surfaces, tables
from p2vtools.study.notebook_run import NotebookRun

Result = TypeVar("Result")

_INITIALISING = threading.Lock()
"""Held while a network is initialised, which draws from the global generator of torch."""

_STOPPED = threading.Event()
"""Set when one of several parallel trainings fails, so that the others stop."""


@dataclass(frozen=True, eq=False)
class TrainedNetwork:
    """A trained network of the study."""

    name: str
    training: str
    variant: str
    model: nn.Module
    history: pd.DataFrame
    weights: Path
    thresholds: dict[str, float] = field(default_factory=dict)
    """Digest of a validation set -> the best threshold on it; filled by `threshold_on`."""

    @property
    def minutes(self) -> float:
        """Minutes of the training, without its validation."""
        return self.history.seconds.iloc[-1] / 60

    def threshold_on(self, validation: Captures) -> float:
        """The best threshold on ``validation`` with all photos; computed once."""
        digest = validation.digest()
        if digest not in self.thresholds:
            scores = evaluation.evaluate(self.model, validation, views=(validation.photos.shape[1],))
            self.thresholds[digest], _ = evaluation.best_threshold(scores)
        return self.thresholds[digest]


def training_captures(captures: Captures, training: str, split: str) -> Captures:
    """The captures of one split of a ``training``.

    ``objects`` are the embedded objects, ``shapenet`` and ``things3d`` those of the archives, each in its normalised
    cube; ``feet-studio``, ``feet-phone`` and ``feet-wild`` are the feet of one domain in the metric cube, and
    ``feet-control`` those of `ablation.order_control`.

    Raises:
        ValueError: no such capture.
    """
    if not training.startswith("feet-"):
        return captures.select(dataset=training, split=split)
    domain = training.removeprefix("feet-")
    lighting = "steady" if domain == "studio" else "drift"
    return captures.select(dataset="feet", look=domain, light=lighting, cube="metric", split=split)


def train_network(
    run: NotebookRun,
    captures: Captures,
    name: str,
    training: str,
    *,
    variant: str = "main",
    start: TrainedNetwork | None = None,
    order: str = "clockwise",
    repeat: int = 0,
    recipe: Training | None = None,
    **overrides: object,
) -> TrainedNetwork:
    """Trains the network ``name`` on the train split of ``training``, or loads its finished weights.

    Args:
        start: the network whose weights the training starts from.
        order: the order of the photos that a recurrent network sees.
        repeat: number of a further training with another seed.
        recipe: default: the pretraining of the config, or its fine-tuning with a ``start``.
        overrides: fields of the network's config (`models.build`).
    """
    recipe = recipe or (run.config.pretraining if start is None else run.config.finetuning)
    recipe = replace(recipe, view_order=order, seed=recipe.seed + run.config.seed + 1000 * repeat)
    with _INITIALISING, torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        model = models.build(name, **_size_setting(name, run.config.image_size), **overrides)
    folder = run.work / "weights" / "_".join([name.replace(":", "."), training, variant])
    train_split, validation = (training_captures(captures, training, split) for split in ("train", "validation"))
    weights = start.weights if start else None
    with _share_trainings(run, folder, lambda: training_provenance(model, train_split, recipe, weights)):
        history = train(model, train_split, validation, recipe, folder, start=weights, report=_log)
    return TrainedNetwork(name, training, variant, model, history, folder / "weights.safetensors")


def _size_setting(name: str, image_size: int) -> dict[str, int]:
    """``image_size`` as a setting of the network ``name``; empty for a ``package.module:ClassName`` without it."""
    if ":" in name and "image_size" not in inspect.signature(pkgutil.resolve_name(name)).parameters:
        return {}
    return {"image_size": image_size}


@contextlib.contextmanager
def _share_trainings(run: NotebookRun, folder: Path, provenance: Callable[[], dict]) -> Iterator[None]:
    """Of several processes one trains; in a sweep, the others link its weights into ``folder`` before the block trains.

    A sweep shares all trainings of the same provenance, a run of a scale those in the same ``folder``.
    """
    if run.name == run.config.scale:
        with file_lock(run.work / "trainings" / f"{folder.name}.lock", waiting=_check_stop):
            yield
        return
    expected = provenance()
    with file_lock(run.work.parent / "trainings" / f"{checkpoints.provenance_id(expected)}.lock", waiting=_check_stop):
        own = folder / "weights.safetensors"
        runs = (home() / ".runs" / run.config.scale, *sorted(run.work.parent.glob("*")))
        for other in runs:
            found = other / "weights" / folder.name / own.name
            if not own.is_file() and found.is_file() and not checkpoints.provenance_diff(found, expected):
                own.parent.mkdir(parents=True, exist_ok=True)
                os.link(found, own)
                _log(f"  {folder.name}: weights taken from run {other.name}")
        yield


def training_summary(
    recipe: Training, train_split: Captures, validation: Captures, networks: Mapping[str, TrainedNetwork]
) -> str:
    """One line: the recipe, the size of the data, and the minutes that each network was trained for."""
    minutes = [f"{title} {network.minutes:.1f}" for title, network in networks.items()]
    return f"{recipe_summary(recipe, train_split, validation)}; minutes: {', '.join(minutes)}"


def published_network(path: str) -> TrainedNetwork:
    """The network of a published checkpoint: a ``.pth`` file, or one that `p2v convert` wrote.

    Raises:
        FileNotFoundError, ValueError: as `load_published`.
    """
    checkpoint = load_published(path)
    print(f"{path}: {checkpoint.name}; unused entries: {', '.join(checkpoint.unused) or 'none'}", flush=True)
    return TrainedNetwork(checkpoint.name, "shapenet", "published", checkpoint.model, pd.DataFrame(), Path(path))


def run_in_parallel(jobs: Mapping[str, Callable[[], Result]]) -> dict[str, Result]:
    """Runs ``jobs`` and returns their results by key: in threads on a CPU, one after the other on a GPU.

    Two trainings of small networks with one core each finish sooner than one after the other with both. A few jobs all
    start at once; of many, one runs per core, so their minutes are comparable. When a job fails or is interrupted, the
    other trainings stop at their next line of history, and continue from their checkpoints in the next call.
    """
    if torch.cuda.is_available() or len(jobs) == 1:
        return {key: job() for key, job in jobs.items()}
    cores = torch.get_num_threads()
    workers = cores if len(jobs) > max(2 * cores, 4) else len(jobs)
    threads = max(1, cores // len(jobs))
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(threads,)) as pool:
        futures = {key: pool.submit(job) for key, job in jobs.items()}
        try:
            for future in as_completed(futures.values()):
                future.result()
        except BaseException:
            _STOPPED.set()
            pool.shutdown(cancel_futures=True)
            raise
        finally:
            _STOPPED.clear()
            torch.set_num_threads(cores)  # the initialiser also changes a setting of the whole process
    return {key: future.result() for key, future in futures.items()}


def _log(line: str) -> None:
    _check_stop()
    progress.log(line)


def _check_stop() -> None:
    if _STOPPED.is_set():
        raise InterruptedError("stopped, because a parallel training failed")


def evaluate_network(
    network: TrainedNetwork,
    test: Captures,
    validation: Captures,
    *,
    dataset: str,
    views: Sequence[int],
    orders: Sequence[str] = ("clockwise",),
    variant: str | None = None,
) -> pd.DataFrame:
    """Metrics of ``network`` on ``test``, as rows of `metrics.csv`.

    The threshold is the best on ``validation`` with all photos, whatever the ``views``, so a network has the same
    threshold in every notebook. An order-free network is run in one order, and its rows are repeated for the others.
    """
    model = network.model.to("cuda" if torch.cuda.is_available() else "cpu")
    threshold = network.threshold_on(validation)
    cameras, variant = "true" if model.needs_cameras else "none", variant or network.variant
    scores = evaluation.evaluate(model, test, views, ("clockwise",) if model.order_free else orders)
    if model.order_free:
        scores = pd.concat([scores.assign(order=order) for order in orders], ignore_index=True)
    labels = dict(model=network.name, training=network.training, variant=variant, cameras=cameras)
    return evaluation.metric_rows(scores, threshold, dataset=dataset, **labels)


def check_networks(
    networks: Mapping[str, TrainedNetwork],
    captures: Captures,
    views: Sequence[int],
    others: Mapping[str, Captures] = MappingProxyType({}),
) -> pd.DataFrame:
    """Whether each network learned (`learning.check_learning`), on validation; columns `learning.COLUMNS`.

    The mean shape is that of the training captures of the same side or category, at its best threshold on validation.

    Args:
        networks: title -> network.
        views: numbers of photos; those that the captures do not have are left out.
        others: title -> captures in place of ``captures``, for networks that are validated on others.
    """
    rows = []
    for title, network in networks.items():
        train = training_captures(captures, network.training, "train")
        validation = training_captures(others.get(title, captures), network.training, "validation")
        by = "side" if network.training.startswith("feet") else "taxonomy"
        _, mean = evaluation.best_threshold(baselines.score_mean_shape(train, validation, by))
        model = network.model.to("cuda" if torch.cuda.is_available() else "cpu")
        counts = [number for number in views if number <= validation.photos.shape[1]]
        found = learning.check_learning(model, validation, mean, counts)
        verdict = "learned" if found["learned"] else learning.DID_NOT_LEARN
        labels = (title, network.name, network.training, network.variant)
        rows.append((*labels, found["iou"], mean, found["answers"], found["range"], verdict))
    return pd.DataFrame(rows, columns=learning.COLUMNS).round(4)


def evaluate_mean_shape(
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
    """Metrics of the mean training shape of each ``by`` (side or taxonomy) at `baselines.mean_shape_threshold`."""
    threshold = baselines.mean_shape_threshold(train, validation, by)
    scores = baselines.score_mean_shape(train, test, by, views, orders)
    labels = dict(model="mean-shape", training=training, dataset=dataset, variant=variant)
    return evaluation.metric_rows(scores, threshold, **labels)


def surface_scores(
    networks: Mapping[str, TrainedNetwork], train: Captures, test: Captures, validation: Captures, views: Sequence[int]
) -> pd.DataFrame:
    """F-score@1% on ``test`` of each network and of the mean shape, by number of photos.

    Thresholds are chosen on ``validation``. Columns: model, views, f_score, low, high (95 % interval), samples.
    """
    parts = []
    for network in networks.values():
        threshold = network.threshold_on(validation)
        for number in views:
            solids = evaluation.predict(network.model, test, test.test_views(number)) >= threshold
            parts.append((network.name, number, surfaces.f_score_rows(solids, test)))
    threshold = baselines.mean_shape_threshold(train, validation, "taxonomy")
    mean = surfaces.f_score_rows(baselines.mean_shape_volumes(train, test, "taxonomy") >= threshold, test)
    parts += [("mean-shape", number, mean) for number in views]
    rows = []
    for model, number, scores in parts:
        interval = intervals.bootstrap_interval(scores.f_score.to_numpy(), scores.subject.to_numpy())
        rows.append((model, number, *interval, len(scores)))
    return pd.DataFrame(rows, columns=["model", "views", "f_score", "low", "high", "samples"])


def prediction_panels(
    networks: Mapping[str, TrainedNetwork],
    captures: Captures,
    samples: Mapping[str, str],
    views: int,
    metrics: pd.DataFrame,
) -> list[viewer.Panel]:
    """Rows for `viewer.panels`: each of ``samples`` (title -> sample) with photos, truth and all predictions.

    The threshold of each network is the one that ``metrics`` mark as selected.

    Raises:
        ValueError: ``metrics`` have no threshold of a network, or several.
    """
    panels = []
    for title, sample in samples.items():
        capture = captures.select(sample=sample)
        chosen = capture.test_views(views)[0].tolist()
        predictions = {}
        for name, network in networks.items():
            labels = [network.name, network.training, network.variant]
            same = (metrics[["model", "training", "variant"]] == labels).all(axis=1)
            threshold = metrics[same & metrics.selected].threshold.unique().item()
            predictions[name] = evaluation.predict(network.model, capture, chosen)[0].cpu().numpy() >= threshold
        photos = list(capture.photos[0, chosen].permute(0, 2, 3, 1).cpu().numpy())
        panels.append(viewer.Panel(f"{title}\n{sample}", photos, capture.truth[0].cpu().numpy(), predictions))
    return panels


def ranking_figure(network: TrainedNetwork, captures: Captures, rows: pd.DataFrame, views: int) -> Figure:
    """The best, the median and the worst of ``captures`` by IoU, below the IoU of all captures.

    Args:
        rows: metrics of ``network`` on ``captures`` with ``views`` photos in one order, under any variant.
    """
    rows, groups = rows.assign(variant=network.variant), {}
    for title, samples in tables.rank_samples(rows).items():
        titles = {f"{title} {place}": sample for place, sample in enumerate(samples, start=1)}
        groups[title] = prediction_panels({network.name: network}, captures, titles, views, rows)
    return viewer.best_to_worst(groups, rows[rows.selected].iou.tolist())
