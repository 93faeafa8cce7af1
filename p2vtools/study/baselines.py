"""Baselines of the study: the mean shape of the training data, and the visual hull of silhouettes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from p2vlib.data.dataset import Captures
from p2vlib.evaluation import best_threshold, iou_at, score_volumes
from p2vlib.geometry.frames import THRESHOLDS
from p2vlib.geometry.projection import project_points, voxel_centres

MIN_VALIDATION = 60
"""Smallest number of validation people or objects that determine the threshold of the mean shape."""


def mean_shape_volumes(train: Captures, test: Captures, by: str) -> Float[Tensor, "captures x y z"]:
    """For each test capture, the mean volume of the training captures with the same ``by`` (side or taxonomy).

    Raises:
        ValueError: a side or category without training captures.
    """
    means = {}
    for value, group in train.table.drop_duplicates("sample").groupby(by):
        means[value] = train.truth[torch.tensor(group.index)].float().mean(0)
    missing = sorted(set(test.table[by]) - set(means))
    if missing:
        raise ValueError(f"no training capture has {by} {', '.join(missing)}: no mean shape for the test captures")
    return torch.stack([means[value] for value in test.table[by]])


def score_mean_shape(
    train: Captures, test: Captures, by: str, views: Sequence[int] = (1,), orders: Sequence[str] = ("clockwise",)
) -> pd.DataFrame:
    """Scores, as of `evaluate`, of the mean-shape baseline (`mean_shape_volumes`), which uses no photo.

    The rows are repeated for every view count and order, so that each row of a network has a counterpart.
    """
    rows = score_volumes(test, mean_shape_volumes(train, test, by), 1)
    return pd.concat(
        [rows.assign(views=number, order=order) for number in views for order in orders], ignore_index=True
    )


def mean_shape_threshold(train: Captures, validation: Captures, by: str) -> float:
    """The threshold of the mean shape with the highest mean IoU on people or objects that it was not averaged from.

    These are those of ``validation``. If they are fewer than `MIN_VALIDATION`, each training sample is added, with the
    mean of the other ones: with 15 people, two thresholds differ by .0002 there, and by .02 on test people.
    """
    scores = [score_mean_shape(train, validation, by)]
    if validation.table.subject.nunique() < MIN_VALIDATION:
        for _, group in train.table.drop_duplicates("sample").groupby(by):
            truth = train.truth[torch.tensor(group.index)]
            others = (truth.sum(0) - truth.float()) / max(1, len(truth) - 1)
            iou = iou_at(others, truth).flatten().cpu()
            scores.append(pd.DataFrame({"threshold": np.tile(THRESHOLDS, len(truth)), "iou": iou}))
    return best_threshold(pd.concat(scores))[0]


def dataset_visual_hulls(captures: Captures, number: int, height: float = 1.0) -> Bool[Tensor, "captures x y z"]:
    """Visual hulls (`visual_hull`) from ``number`` photos of each capture and their true cameras.

    The silhouettes are the alpha channels of the photos.

    Raises:
        ValueError: no cameras, uncropped photos, or photos without transparency.
    """
    if captures.cameras is None or captures.boxes is not None:
        raise ValueError("a visual hull needs cropped photos with known cameras")
    if (captures.photos[:, :, 3] == 255).all():
        raise ValueError("a visual hull needs silhouettes; these photos are opaque everywhere")
    views, rows = captures.test_views(number), torch.arange(len(captures))[:, None]
    masks = captures.photos[rows, views, 3].float() / 255
    return visual_hull(masks, captures.cameras[rows, views], captures.truth.shape[-1], height)


def visual_hull(
    masks: Float[Tensor, "batch views rows columns"],
    cameras: Float[Tensor, "batch views 3 7"],
    size: int,
    height: float = 1.0,
) -> Bool[Tensor, "batch x y z"]:
    """The largest solid that is consistent with silhouettes (Laurentini 1994).

    A voxel is occupied unless a view shows its centre outside the silhouette.

    Args:
        masks: silhouettes in [0, 1].
        cameras: `Camera.normalised`.
        size: voxels along an edge.
        height: voxels above this fraction of the cube are empty, as the ground truth of a foot is above its cut.
    """
    projection = project_points(cameras, voxel_centres(size, device=masks.device))
    uv = projection.uv.flatten(0, 1)[:, None]  # [batch * views, 1, voxels, 2]
    values = functional.grid_sample(masks.flatten(0, 1)[:, None], uv, align_corners=False)
    inside = values[:, 0, 0].unflatten(0, masks.shape[:2]) > 0.5
    occupied = (inside | ~projection.visible).all(1).unflatten(1, (size,) * 3)
    occupied[:, :, round(height * size) :] = False
    return occupied
