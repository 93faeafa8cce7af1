"""The two acts that notebooks 03, 04 and 05 repeat: train a network of the study, and put it to the test.

A network is known by its name, what it was trained on and its variant; its weights live below the run's work folder, so
a later notebook finds what an earlier one trained, and a killed one goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import pandas as pd
import torch
from matplotlib.figure import Figure
from torch import nn

from p2vlib import evaluation, models, progress
from p2vlib.config import Config, Training
from p2vlib.data import shapenet
from p2vlib.data.dataset import Captures
from p2vlib.files import file_lock
from p2vlib.provenance import home
from p2vlib.training import checkpoints, train, training_provenance
from p2vtools import viewer
from p2vtools.archives import pix3d
from p2vtools.study.notebook_run import NotebookRun

TRAININGS = ("objects", "shapenet", "things3d", "feet-studio", "feet-phone")

Result = TypeVar("Result")

_INITIALISING = threading.Lock()
"""Held while a network is initialised, which draws from torch's one global random state."""

_STOPPED = threading.Event()
"""Set when one of the trainings side by side ends in an error, so that the others do not run on unseen."""


@dataclass(frozen=True)
class Arm:
    """One network of the ablation of notebook 05: what is trained, and in which order it meets the photos."""

    name: str
    variant: str
    order: str
    repeat: int = 0
    overrides: tuple[tuple[str, object], ...] = ()


def ablation_arms(config: Config) -> dict[str, Arm]:
    """Title -> arm: Pix2Vox, the LSTM in clockwise and in shuffled order; when repeated, also without the LSTM.

    Replaced by the identity, the LSTM leaves the same network as Pix2Vox, trained once more under another name: how
    far the two differ is how far two trainings of one thing differ.
    """
    arms = {
        "Pix2Vox": Arm(config.order_free, "main", "clockwise"),
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
class TrainedNetwork:
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
            self.thresholds[known], _ = evaluation.best_threshold(scores)
        return self.thresholds[known]


@dataclass(frozen=True, eq=False)
class LoadedArchive:
    """A real archive, read."""

    captures: Captures
    skipped: pd.DataFrame
    """What could not be read: columns object, reason."""
    leaks: pd.DataFrame
    """Ids that stand in more than one split: columns object, places."""


def read_archive(
    dataset: str,
    root: str,
    image_size: int,
    *,
    as_published: bool = False,
    limit: int = 0,
    drop_leaks: bool = False,
    on_error: str = "stop",
) -> LoadedArchive | None:
    """A real archive, or None for the ``embedded`` objects.

    ``root`` empty: where `p2vlib fetch` puts it. ``as_published``: photos are cut to their centre, and tested as the
    published code tests. The rest is told at `shapenet.load` and `pix3d.load`.

    Raises:
        FileNotFoundError: it is not there; says how to get it.
        ValueError: an unknown data set or way, or an archive that is not as published.
    """
    if on_error not in ("stop", "skip"):
        raise ValueError(f"on_error is {on_error!r}; expected stop or skip")
    if limit < 0:
        raise ValueError(f"limit is {limit}; expected so many objects a category and split, or 0 for all")
    facts = dict(limit=limit, on_error=on_error)
    none = pd.DataFrame(columns=["object", "places"])
    if dataset == "embedded":
        return None
    if dataset == "pix3d":
        captures, skipped = pix3d.load(Path(root or home() / "data" / "pix3d" / "pix3d"), image_size, **facts)
        return LoadedArchive(replace(captures, as_published=as_published), skipped, none)
    if dataset not in ("shapenet", "things3d"):
        raise ValueError(f"no data set is called {dataset!r}; there are embedded, shapenet, things3d, pix3d")
    folder = Path(root or home() / "data" / dataset)
    facts |= dict(as_published=as_published, drop_leaks=drop_leaks, dataset=dataset)
    captures, skipped = shapenet.load(folder, image_size, **facts)
    found = shapenet.cross_listed(shapenet.read_taxonomy(folder / shapenet.TAXONOMY))
    leaks = pd.DataFrame([(name, ", ".join(places)) for name, places in found.items()], columns=none.columns)
    return LoadedArchive(captures, skipped, leaks)


def training_captures(captures: Captures, training: str, split: str) -> Captures:
    """The captures of a ``training`` (one of `TRAININGS`) in a split: objects in their cube, feet in the metric one.

    `objects` are the embedded ones, `shapenet` and `things3d` those of the real archives.
    """
    if training not in TRAININGS:
        raise ValueError(f"unknown training {training!r}; expected one of {', '.join(TRAININGS)}")
    if not training.startswith("feet-"):
        return captures.select(dataset=training, split=split)
    look = training.removeprefix("feet-")
    light = "drift" if look == "phone" else "steady"
    return captures.select(dataset="feet", look=look, light=light, cube="metric", split=split)


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
    """The network ``name`` trained on the train split of ``training``; from ``start``'s weights where one is given.

    It is trained once: asked for again, in this notebook or a later one, it is loaded. ``repeat`` counts further
    trainings with other seeds; ``overrides`` go to `models.build`. Without a ``recipe`` it is the config's pretraining,
    or its fine-tuning where there is a start.
    """
    recipe = recipe or (run.config.pretraining if start is None else run.config.finetuning)
    recipe = replace(recipe, view_order=order, seed=recipe.seed + run.config.seed + 1000 * repeat)
    with _INITIALISING, torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        model = models.build(name, image_size=run.config.image_size, **overrides)
    folder = run.work / "weights" / "_".join([name, training, variant])
    learn, validation = (training_captures(captures, training, split) for split in ("train", "validation"))
    begun = start.weights if start else None
    with _trained_once(run, folder, lambda: training_provenance(model, learn, recipe, begun)):
        history = train(model, learn, validation, recipe, folder, start=begun, report=_log)
    return TrainedNetwork(name, training, variant, model, history, folder / "weights.safetensors")


@contextlib.contextmanager
def _trained_once(run: NotebookRun, folder: Path, origin_of: Callable[[], dict]) -> Iterator[None]:
    """Where runs of a grid stand side by side, one trains what several would train alike, and the others take it.

    What is taken has the same origin to the last setting; the plain run is looked at first.
    """
    if run.name == run.config.scale:
        yield
        return
    told = origin_of()
    with file_lock(run.work.parent / "trainings" / f"{checkpoints.provenance_id(told)}.lock", waiting=_check_stop):
        own = folder / "weights.safetensors"
        plain = home() / ".runs" / run.config.scale
        for place in (plain, *sorted(run.work.parent.glob("*"))):
            found = place / "weights" / folder.name / own.name
            if not own.is_file() and found.is_file() and not checkpoints.provenance_diff(found, told):
                own.parent.mkdir(parents=True, exist_ok=True)
                os.link(found, own)
                _log(f"  {folder.name}: the same as in {place.name}")
        yield


def published_network(path: str) -> TrainedNetwork:
    """The network of a published checkpoint (``.pth``, or what `p2vlib convert` made of one), to be tested as it is.

    Raises:
        FileNotFoundError, ValueError: as `models.load_published`.
    """
    found = models.load_published(path)
    print(f"{path}: {found.name}; not used: {', '.join(found.unused) or 'nothing'}", flush=True)
    return TrainedNetwork(found.name, "shapenet", "published", found.model, pd.DataFrame(), Path(path))


def train_arm(
    run: NotebookRun, captures: Captures, arm: Arm, training: str, start: TrainedNetwork | None = None
) -> TrainedNetwork:
    """`train_network` for an arm of the ablation."""
    facts = {"variant": arm.variant, "order": arm.order, "repeat": arm.repeat, **dict(arm.overrides)}
    return train_network(run, captures, arm.name, training, start=start, **facts)


def run_in_parallel(jobs: Mapping[str, Callable[[], Result]]) -> dict[str, Result]:
    """What each of ``jobs`` returns, by its key; on a CPU they run at the same time and share the cores.

    Small networks do not fill two cores: trained two at a time, on one core each, they are done sooner than one after
    the other on both. Few begin together, lest one be left alone at the end; of many a core takes one at a time, so
    that their minutes can be compared. A GPU takes them one by one. When one fails or the notebook is interrupted, the
    others stop at their next line of history; asked for again, they go on from there.
    """
    if torch.cuda.is_available() or len(jobs) == 1:
        return {key: job() for key, job in jobs.items()}
    cores = torch.get_num_threads()
    alone = max(1, cores // len(jobs))
    at_once = cores if len(jobs) > max(2 * cores, 4) else len(jobs)
    with ThreadPoolExecutor(at_once, initializer=torch.set_num_threads, initargs=(alone,)) as pool:
        running = {key: pool.submit(job) for key, job in jobs.items()}
        try:
            for done in as_completed(running.values()):
                done.result()
        except BaseException:
            _STOPPED.set()
            pool.shutdown(cancel_futures=True)
            raise
        finally:
            _STOPPED.clear()
            torch.set_num_threads(cores)  # in part it is a setting of the whole process
    return {key: done.result() for key, done in running.items()}


def _log(line: str) -> None:
    _check_stop()
    progress.log(line)


def _check_stop() -> None:
    if _STOPPED.is_set():
        raise InterruptedError("another of the trainings side by side has stopped")


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
    """Metrics of ``network`` on ``test``; the threshold is the best on ``validation`` with all of its photos.

    All of them, whatever ``views`` are asked for: so a network has one threshold, in every notebook that tests it. A
    network that knows no order (its tests hold it to that) is run in one, which counts for all.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = network.model.to(device)
    threshold = network.threshold_on(validation)
    facts = {"model": network.name, "training": network.training, "variant": variant or network.variant}
    facts["cameras"] = "true" if model.needs_cameras else "none"
    if model.order_free:
        scores = evaluation.evaluate(model, test, views)
        scores = pd.concat([scores.assign(order=order) for order in orders], ignore_index=True)
    else:
        scores = evaluation.evaluate(model, test, views, orders)
    return evaluation.metric_rows(scores, threshold, dataset=dataset, **facts)


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
    """Metrics of the mean training shape of the same ``by`` (side or taxonomy), its threshold chosen on validation."""
    threshold, _ = evaluation.best_threshold(evaluation.score_mean_shape(train, validation, by))
    scores = evaluation.score_mean_shape(train, test, by, views, orders)
    return evaluation.metric_rows(
        scores, threshold, model="mean-shape", training=training, dataset=dataset, variant=variant
    )


def surface_scores(
    networks: Mapping[str, TrainedNetwork], train: Captures, test: Captures, validation: Captures, views: Sequence[int]
) -> pd.DataFrame:
    """F-score@1% on ``test`` of each network by number of photos, and of the mean shape: model, views, low, high …

    Each is cut at its threshold from ``validation``. Columns: model, views, f_score, low, high, samples.
    """
    rows = []
    for network in networks.values():
        threshold = network.threshold_on(validation)
        for number in views:
            solids = evaluation.predict(network.model, test, test.test_views(number)) >= threshold
            rows.append((network.name, number, evaluation.f_score_rows(solids, test)))
    threshold, _ = evaluation.best_threshold(evaluation.score_mean_shape(train, validation, "taxonomy"))
    mean = evaluation.f_score_rows(evaluation.mean_shape_volumes(train, test, "taxonomy") >= threshold, test)
    rows += [("mean-shape", number, mean) for number in views]
    return pd.DataFrame(
        [
            (
                model,
                number,
                *evaluation.bootstrap_interval(found.f_score.to_numpy(), found.subject.to_numpy()),
                len(found),
            )
            for model, number, found in rows
        ],
        columns=["model", "views", "f_score", "low", "high", "samples"],
    )


def prediction_panels(
    networks: Mapping[str, TrainedNetwork],
    captures: Captures,
    samples: Mapping[str, str],
    views: int,
    metrics: pd.DataFrame,
) -> list[viewer.Panel]:
    """Rows for `viewer.panels`: each of ``samples`` (title -> sample) with its photos, truth and every prediction.

    Each network's volume is cut at the threshold that ``metrics`` mark as its selected one.
    """
    rows = []
    for title, sample in samples.items():
        one = captures.select(sample=sample)
        chosen = one.test_views(views)[0].tolist()
        predictions = {
            name: evaluation.predict(network.model, one, chosen)[0].cpu().numpy() >= _selected(metrics, network)
            for name, network in networks.items()
        }
        photos = one.photos[0, chosen].permute(0, 2, 3, 1).cpu().numpy()
        rows.append(viewer.Panel(f"{title}\n{sample}", list(photos), one.truth[0].cpu().numpy(), predictions))
    return rows


def ranking_figure(network: TrainedNetwork, captures: Captures, rows: pd.DataFrame, views: int) -> Figure:
    """The best, the middle and the worst of ``captures`` by ``network``, and the scores of all (`best_to_worst`).

    Args:
        rows: the metrics of that network on those captures, under whatever variant, with ``views`` photos in one order.
    """
    rows, groups = rows.assign(variant=network.variant), {}
    for title, samples in evaluation.rank_samples(rows).items():
        named = {f"{title} {place}": sample for place, sample in enumerate(samples, start=1)}
        groups[title] = prediction_panels({network.name: network}, captures, named, views, rows)
    return viewer.best_to_worst(groups, rows[rows.selected].iou.tolist())


def _selected(metrics: pd.DataFrame, network: TrainedNetwork) -> float:
    own = (metrics.model == network.name) & (metrics.training == network.training)
    chosen = metrics[own & (metrics.variant == network.variant) & metrics.selected].threshold.unique()
    if len(chosen) != 1:
        raise ValueError(f"{network.name}, {network.training}, {network.variant} has {len(chosen)} selected thresholds")
    return float(chosen[0])
