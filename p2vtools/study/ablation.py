"""The ablation of notebook 05: Pix2Vox and its recurrent variants, trained with several seeds from the same weights,
the size of what the recurrence adds, and data in which the order of the photos decides the truth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import pandas as pd
import torch

from p2vlib.config import Config
from p2vlib.data.augmentation import preprocess
from p2vlib.data.dataset import Captures
from p2vtools.study.experiments import TrainedNetwork, evaluate_network, run_in_parallel, train_network
from p2vtools.study.notebook_run import NotebookRun

EXPOSURES = (0.1, 1.0)
"""Exposure of the first and of the last photo of a walk in `order_control`, relative to the true one. The range is far
wider than that of the augmentation, to which the features of a trained network hardly react."""

CONTROL = "control"
"""``look`` of the captures of `order_control`."""


@dataclass(frozen=True)
class Arm:
    """A network of the ablation and the order of the photos in its training."""

    name: str
    variant: str
    order: str = "clockwise"
    overrides: tuple[tuple[str, object], ...] = ()


def ablation_arms(config: Config) -> dict[str, Arm]:
    """Title -> arm; the first is Pix2Vox, without recurrence."""
    return {
        "Pix2Vox": Arm(config.order_free, "main"),
        "3-D LSTM, clockwise": Arm(config.recurrent, "main"),
        "3-D LSTM, shuffled": Arm(config.recurrent, "shuffled-training", "shuffled"),
        "2-D LSTM, clockwise": Arm(config.recurrent, "convlstm2d", overrides=(("recurrent", "convlstm2d"),)),
    }


def train_arms(
    run: NotebookRun,
    captures: Captures,
    arms: Mapping[str, Arm],
    training: str,
    start: TrainedNetwork,
    repeats: int = 1,
) -> dict[str, TrainedNetwork]:
    """Fine-tunes every arm ``repeats`` times from ``start``; "title, seed N" -> network.

    The networks of one seed see the same photos in each step; in shuffled order these also have another augmentation.
    What a recurrent network adds to ``start`` is zero at first, so all begin as the same network.
    """
    jobs: dict[str, Callable[[], TrainedNetwork]] = {}
    for repeat in range(repeats):
        for title, arm in arms.items():
            variant = f"{arm.variant}-seed{repeat}" if repeat else arm.variant
            options = {"variant": variant, "start": start, "order": arm.order, "repeat": repeat, **dict(arm.overrides)}
            jobs[f"{title}, seed {repeat}"] = partial(train_network, run, captures, arm.name, training, **options)
    return run_in_parallel(jobs)


def evaluate_on_walks(
    network: TrainedNetwork,
    feet: Captures,
    validation: Captures,
    views: int,
    orders: Sequence[str],
    other_views: Sequence[int],
) -> pd.DataFrame:
    """Metrics on ``feet``: in drifting light with ``views`` photos in all ``orders``, with ``other_views`` clockwise;
    in steady light clockwise, as variant ``…-steady``.
    """
    drift, steady = (feet.select(light=light) for light in ("drift", "steady"))
    evaluate = partial(evaluate_network, network, validation=validation, dataset="feet")
    parts = [evaluate(drift, views=(views,), orders=orders), evaluate(drift, views=other_views)]
    return pd.concat([*parts, evaluate(steady, views=(views,), variant=f"{network.variant}-steady")])


@torch.no_grad()
def update_sizes(networks: Mapping[str, TrainedNetwork], captures: Captures, views: int) -> pd.DataFrame:
    """The norm of what the recurrence adds, relative to the norm of the features to which it adds it, by photo.

    Columns: network, and ``photo 1``, ``photo 2``, … of a walk of ``views`` photos; means over ``captures``.
    """
    photos = preprocess(captures.photos[torch.arange(len(captures))[:, None], captures.test_views(views)])
    rows = []
    for title, network in networks.items():
        if network.model.order_free:
            continue
        model = network.model.eval()
        (features,) = model.encode(photos.to(next(model.parameters()).device))
        update = model.recurrent(features) - features
        ratio = (update.flatten(2).norm(dim=2) / features.flatten(2).norm(dim=2)).mean(0)
        rows.append((title, *ratio.tolist()))
    return pd.DataFrame(rows, columns=["network", *(f"photo {number}" for number in range(1, views + 1))])


def order_control(captures: Captures, views: int) -> Captures:
    """Captures in which only the order of the photos tells the truth: every one of ``captures`` twice.

    Each has ``views`` photos, whose exposure rises along the walk (`EXPOSURES`). In the second copy the same photos
    come in reverse order, so the exposure falls, and the truth is turned by 180 degrees about the vertical. A network
    that does not depend on the order has the same input for both, and cannot know which is right; a recurrent one can.
    """
    factors = torch.linspace(*EXPOSURES, views)[:, None, None, None]
    rows = torch.arange(len(captures))[:, None]
    photos = captures.photos[rows, captures.test_views(views)].clone()
    photos[:, :, :3] = (photos[:, :, :3] * factors).round().to(torch.uint8)
    tables = [
        captures.table.assign(look=CONTROL, sample=captures.table["sample"] + end) for end in ("-rising", "-falling")
    ]
    return replace(
        captures,
        table=pd.concat(tables, ignore_index=True),
        photos=torch.cat([photos, photos.flip(1)]),
        truth=torch.cat([captures.truth, captures.truth.flip(1, 3)]),
        cameras=None,
        source="",
    )
