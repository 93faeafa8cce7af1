"""Intersection over union: predictions scored at every threshold of the protocol.

Scores are data frames with one row per capture, view count, order of the views and threshold. The threshold of a
result is chosen on validation data (`best_threshold`), never on the data that the result is reported for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from p2vlib.data.augmentation import preprocess
from p2vlib.data.dataset import Captures
from p2vlib.geometry.frames import THRESHOLDS
from p2vlib.models.network import Reconstruction, fast_bf16

SHUFFLED_ORDERS = 10
"""The score of the order `shuffled` is the mean over this many seeded permutations."""

CAPTURE_COLUMNS = ["taxonomy", "subject", "sample", "look"]
"""Columns of a score that identify its capture."""


def iou_at(
    probability: Float[Tensor, "batch x y z"],
    truth: Bool[Tensor, "batch x y z"],
    thresholds: Sequence[float] = THRESHOLDS,
) -> Float[Tensor, "batch thresholds"]:
    """Intersection over union at each threshold; a voxel is occupied where its probability is >= the threshold.

    Two empty volumes have IoU 1; the published code divides zero by zero there.

    >>> probability = torch.zeros(1, 2, 2, 2)
    >>> probability[0, 0, 0] = torch.tensor([0.9, 0.3])
    >>> truth = torch.zeros(1, 2, 2, 2, dtype=torch.bool)
    >>> truth[0, 0, 0, 0] = True
    >>> iou_at(probability, truth, (0.2, 0.5))
    tensor([[0.5000, 1.0000]])

    Raises:
        ValueError: the shapes differ.
    """
    if probability.shape != truth.shape:
        raise ValueError(f"prediction {tuple(probability.shape)} and truth {tuple(truth.shape)} differ in shape")
    predicted = probability.flatten(1)[:, None] >= torch.tensor(thresholds, device=probability.device)[:, None]
    solid = truth.flatten(1)[:, None]  # [batch, 1, voxels]
    intersection = (predicted & solid).sum(-1)
    union = (predicted | solid).sum(-1)
    return torch.where(union > 0, intersection / union.clamp(min=1), 1.0)


# ------------------------------------------------------------------------------------------------- network predictions


def view_orders(order: str, views: int) -> list[list[int]]:
    """The permutations of ``views`` photos that an order stands for: one, or `SHUFFLED_ORDERS` for `shuffled`.

    >>> view_orders("reversed", 3)
    [[2, 1, 0]]
    >>> len(view_orders("shuffled", 3))
    10
    """
    if order == "clockwise":
        return [list(range(views))]
    if order == "reversed":
        return [list(range(views))[::-1]]
    if order == "shuffled":
        seeds = range(SHUFFLED_ORDERS if views > 1 else 1)
        return [np.random.default_rng(seed).permutation(views).tolist() for seed in seeds]
    raise ValueError(f"unknown order {order!r}; expected clockwise, shuffled or reversed")


def iter_predictions(
    model: nn.Module, captures: Captures, views: Sequence[int] | Int64[Tensor, "captures number"], batch: int = 16
) -> Iterator[tuple[Reconstruction, Float[Tensor, "batch views 3 7"] | None]]:
    """Yields the output of ``model`` and the cameras that it was given, ``batch`` captures at a time.

    Args:
        views: indices of the photos, in the order in which the model gets them: one row for all captures, or one each.
    """
    views = torch.as_tensor(views).expand(len(captures), -1)
    for _, results in _predict_batches(model, captures, [views], batch):
        yield next(results)


def predict(
    model: nn.Module, captures: Captures, views: Sequence[int] | Int64[Tensor, "captures number"], batch: int = 16
) -> Float[Tensor, "captures x y z"]:
    """Occupancy probabilities from the photos with the indices ``views`` (see `iter_predictions`)."""
    return torch.cat([result.probability for result, _ in iter_predictions(model, captures, views, batch)])


@torch.no_grad()
def _predict_batches(
    model: nn.Module, captures: Captures, view_sets: Sequence[Int64[Tensor, "captures _"]], batch: int = 16
) -> Iterator[tuple[Tensor, Iterator[tuple[Reconstruction, Tensor | None]]]]:
    """For each batch, the rows of ``captures`` and an iterator over the outputs for each of ``view_sets``.

    Each photo is preprocessed once, and encoded once by a model with ``encode`` and ``fuse``.
    """
    device = next(model.parameters()).device
    model.eval()
    for rows in torch.arange(len(captures)).split(batch):
        chosen = [views[rows] for views in view_sets]
        used = torch.cat([views.flatten() for views in chosen]).unique()
        photos = _select(captures.photos, rows, used, device)
        boxes, cameras = (
            None if values is None else _select(values, rows, used, device)
            for values in (captures.boxes, captures.cameras)
        )
        images = preprocess(photos, sharp=captures.as_published, boxes=boxes, size=captures.crop_size)
        positions = [torch.searchsorted(used, views).to(device) for views in chosen]
        yield rows, _predict_view_sets(model, images, cameras, positions)


def _select(values: Tensor, rows: Tensor, views: Tensor, device: torch.device) -> Tensor:
    return values[rows[:, None].to(values.device), views.to(values.device)].to(device)


@torch.no_grad()
def _predict_view_sets(
    model: nn.Module, images: Tensor, cameras: Tensor | None, view_sets: Sequence[Int64[Tensor, "batch _"]]
) -> Iterator[tuple[Reconstruction, Tensor | None]]:
    encode, fuse = getattr(model, "encode", None), getattr(model, "fuse", None)
    row = torch.arange(len(images), device=images.device)[:, None]
    with torch.autocast(images.device.type, torch.bfloat16, enabled=fast_bf16(images.device)):
        features = encode(images) if encode else (images,)
    for views in view_sets:
        selected = tuple(value[row, views] for value in features)
        selected_cameras = None if cameras is None else cameras[row, views]
        with torch.autocast(images.device.type, torch.bfloat16, enabled=fast_bf16(images.device)):
            result = fuse(selected) if fuse else model(*selected, selected_cameras)
        yield result, selected_cameras


def evaluate(
    model: nn.Module, captures: Captures, views: Sequence[int], orders: Sequence[str] = ("clockwise",)
) -> pd.DataFrame:
    """Scores of a network: `CAPTURE_COLUMNS`, views, order, threshold and iou."""
    truth = captures.truth.to(next(model.parameters()).device)
    tests = {
        (number, order): [captures.test_views(number)[:, permutation] for permutation in view_orders(order, number)]
        for number in views
        for order in orders
    }
    found: dict[tuple[int, str], list[Tensor]] = {test: [] for test in tests}
    view_sets = [view_set for several in tests.values() for view_set in several]
    for rows, results in _predict_batches(model, captures, view_sets):
        for test, several in tests.items():
            scores = [iou_at(next(results)[0].probability, truth[rows]) for _ in several]
            found[test].append(torch.stack(scores).mean(0).cpu())
    tables = [_score_rows(captures, torch.cat(scores), *test) for test, scores in found.items()]
    return pd.concat(tables, ignore_index=True)


def score_volumes(captures: Captures, volumes: Float[Tensor, "captures x y z"], views: int) -> pd.DataFrame:
    """Scores, as of `evaluate`, of ``volumes`` that were made from ``views`` photos by other means."""
    return _score_rows(captures, iou_at(volumes.float(), captures.truth).cpu(), views, "clockwise")


def _score_rows(captures: Captures, iou: Float[Tensor, "captures thresholds"], views: int, order: str) -> pd.DataFrame:
    columns = captures.table[CAPTURE_COLUMNS].assign(views=views, order=order)
    rows = columns.loc[columns.index.repeat(len(THRESHOLDS))].reset_index(drop=True)
    return rows.assign(threshold=np.tile(THRESHOLDS, len(columns)), iou=iou.flatten().numpy())


def best_threshold(scores: pd.DataFrame) -> tuple[float, float]:
    """The threshold with the highest mean IoU, and that IoU; pass scores on validation data.

    >>> best_threshold(pd.DataFrame({"threshold": [0.2, 0.3, 0.2, 0.3], "iou": [0.5, 0.75, 0.25, 0.5]}))
    (0.3, 0.625)
    """
    by_threshold = scores.groupby("threshold").iou.mean()
    return float(by_threshold.idxmax()), float(by_threshold.max())


def metric_rows(
    scores: pd.DataFrame,
    threshold: float,
    *,
    model: str,
    training: str,
    dataset: str,
    variant: str = "main",
    cameras: str = "none",
    placement: str = "true",
) -> pd.DataFrame:
    """Scores as rows of the metrics (`metrics_csv`); ``selected`` marks the ``threshold`` chosen on validation data."""
    columns = {"model": model, "variant": variant, "training": training, "dataset": dataset}
    return scores.assign(**columns, cameras=cameras, placement=placement, selected=scores.threshold == threshold)
