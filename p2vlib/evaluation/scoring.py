"""Measuring reconstructions: IoU at every threshold, one tidy row a test evaluation, intervals over people.

A threshold for headlines is chosen on validation, never on what it is reported on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from p2vlib.data.augmentation import preprocess
from p2vlib.data.dataset import Captures
from p2vlib.geometry.frames import FOOT_SYNSET, THRESHOLDS, Cube
from p2vlib.geometry.grids import to_mesh
from p2vlib.geometry.projection import project_points, voxel_centres
from p2vlib.models.network import Reconstruction, fast_bf16

SHUFFLED_ORDERS = 10
"""``shuffled`` is the mean over this many seeded orders."""

CAPTURE_COLUMNS = ["taxonomy", "subject", "sample", "look"]
"""What a metrics row says of its capture."""


def iou_at(
    probability: Float[Tensor, "batch x y z"],
    truth: Bool[Tensor, "batch x y z"],
    thresholds: Sequence[float] = THRESHOLDS,
) -> Float[Tensor, "batch thresholds"]:
    """Intersection over union at each threshold (occupied where probability >= threshold).

    Empty against empty is 1: the published code divides zero by zero there.
    """
    if probability.shape != truth.shape:
        raise ValueError(f"prediction {tuple(probability.shape)} and truth {tuple(truth.shape)} differ in shape")
    predicted = probability.flatten(1)[:, None] >= torch.tensor(thresholds, device=probability.device)[:, None]
    solid = truth.flatten(1)[:, None]
    hit = (predicted & solid).sum(-1)
    union = (predicted | solid).sum(-1)
    return torch.where(union > 0, hit / union.clamp(min=1), 1.0)


def f_score(
    predicted: Bool[np.ndarray, "n n n"],
    truth: Bool[np.ndarray, "n n n"],
    distance: float = 0.01,
    points: int = 8192,
    seed: int = 0,
) -> float:
    """F-score@1% of two solids as in the Pix2Vox papers: how much of either surface lies within 1 % of the other.

    Both surfaces are drawn by marching cubes at the outer edge of their voxels and sampled with ``points`` points; the
    unit is the edge of the cube with one more voxel. The points of the two are drawn independently, as published, so
    that even a perfect prediction stays below 1: how far depends on the area over which the points are spread.
    Empty against empty is 1, empty against anything else 0.

    Source: Tatarchenko et al., What do single-view 3D reconstruction networks learn? (CVPR 2019), section 5.2.
    """
    if not predicted.any() or not truth.any():
        return float(predicted.any() == truth.any())
    to_truth, to_predicted = surface_distances(predicted, truth, points, seed)
    precision, recall = (to_truth < distance).mean(), (to_predicted < distance).mean()
    return float(2 * precision * recall / max(precision + recall, 1e-12))


def surface_distances(
    predicted: Bool[np.ndarray, "n n n"], truth: Bool[np.ndarray, "n n n"], points: int = 8192, seed: int = 0
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """How far points on each of two surfaces are from the nearest point on the other, as `f_score` measures it.

    From the predicted one to the truth, then back. Neither solid may be empty.
    """
    from scipy.spatial import KDTree

    first, second = (_surface_points(volume, points, seed + which) for which, volume in enumerate((predicted, truth)))
    return KDTree(second).query(first)[0], KDTree(first).query(second)[0]


def _surface_points(volume: Bool[np.ndarray, "n n n"], points: int, seed: int) -> Float[np.ndarray, "points 3"]:
    import trimesh

    edge = len(volume) / (len(volume) + 1)
    outer = 1e-4  # published: level 0, which is where an occupied voxel's neighbour is quite empty
    surface = trimesh.Trimesh(*to_mesh(volume, Cube((0.0, 0.0, 0.0), edge), outer), process=False)
    return np.asarray(trimesh.sample.sample_surface(surface, points, seed=seed)[0])


def view_orders(order: str, views: int) -> list[list[int]]:
    """The orders in which ``views`` photos are shown: one, or ten seeded ones for `shuffled`."""
    if order == "clockwise":
        return [list(range(views))]
    if order == "reversed":
        return [list(range(views))[::-1]]
    if order == "shuffled":
        return [
            np.random.default_rng(seed).permutation(views).tolist()
            for seed in range(SHUFFLED_ORDERS if views > 1 else 1)
        ]
    raise ValueError(f"unknown order {order!r}; expected clockwise, shuffled or reversed")


def iter_predictions(
    model: nn.Module, captures: Captures, views: Sequence[int] | Int64[Tensor, "captures number"], batch: int = 16
) -> Iterator[tuple[Reconstruction, Float[Tensor, "batch views 3 7"] | None]]:
    """All that ``model`` says of the photos at the positions ``views``, in that order, and the cameras it was told.

    A row of ``views`` for each capture, or one for all; ``batch`` captures at a time.
    """
    for _, answers in _asked(model, captures, [torch.as_tensor(views).expand(len(captures), -1)], batch):
        yield next(answers)


@torch.no_grad()
def _asked(
    model: nn.Module, captures: Captures, tests: Sequence[Int64[Tensor, "captures _"]], batch: int = 16
) -> Iterator[tuple[Tensor, Iterator[tuple[Reconstruction, Tensor | None]]]]:
    """Rows of ``captures`` and `asked` of them for each of ``tests``, their photos prepared and looked at once."""
    device = next(model.parameters()).device
    model.eval()
    for rows in torch.arange(len(captures)).split(batch):
        chosen = [views[rows] for views in tests]
        used = torch.cat([views.flatten() for views in chosen]).unique()
        at = (rows[:, None], used)
        photos, boxes, cameras = (
            value if value is None else value[tuple(index.to(value.device) for index in at)].to(device)
            for value in (captures.photos, captures.boxes, captures.cameras)
        )
        shown = preprocess(photos, sharp=captures.as_published, boxes=boxes, size=captures.crop_size)
        places = [torch.searchsorted(used, views).to(device) for views in chosen]
        yield rows, _answers(model, shown, cameras, places)


@torch.no_grad()
def _answers(
    model: nn.Module, shown: Tensor, cameras: Tensor | None, places: Sequence[Int64[Tensor, "batch _"]]
) -> Iterator[tuple[Reconstruction, Tensor | None]]:
    halves = hasattr(model, "encode")
    row = torch.arange(len(shown), device=shown.device)[:, None]
    with torch.autocast(shown.device.type, torch.bfloat16, enabled=fast_bf16(shown.device)):
        known = model.encode(shown) if halves else (shown,)
    for place in places:
        part, told = tuple(value[row, place] for value in known), None if cameras is None else cameras[row, place]
        with torch.autocast(shown.device.type, torch.bfloat16, enabled=fast_bf16(shown.device)):
            said = model.fuse(part) if halves else model(*part, told)
        yield said, told


def predict(
    model: nn.Module, captures: Captures, views: Sequence[int] | Int64[Tensor, "captures number"], batch: int = 16
) -> Float[Tensor, "captures x y z"]:
    """Occupancy probabilities from the photos at the positions ``views``, in that order; a row for each capture."""
    return torch.cat([said.probability for said, _ in iter_predictions(model, captures, views, batch)])


def evaluate(
    model: nn.Module, captures: Captures, views: Sequence[int], orders: Sequence[str] = ("clockwise",)
) -> pd.DataFrame:
    """One row per capture x view count x order x threshold: `FACTS`, views, order, threshold, iou."""
    truth = captures.truth.to(next(model.parameters()).device)
    kinds = [(number, order) for number in views for order in orders]
    tests = {kind: [captures.test_views(kind[0])[:, at] for at in view_orders(kind[1], kind[0])] for kind in kinds}
    found: dict[tuple[int, str], list[Tensor]] = {kind: [] for kind in kinds}
    for rows, answers in _asked(model, captures, [views for several in tests.values() for views in several]):
        for kind, several in tests.items():
            scores = [iou_at(next(answers)[0].probability, truth[rows]) for _ in several]
            found[kind].append(torch.stack(scores).mean(0).cpu())
    return pd.concat([_rows(captures, torch.cat(scores), *kind) for kind, scores in found.items()], ignore_index=True)


def score_volumes(captures: Captures, volumes: Tensor, views: int) -> pd.DataFrame:
    """Rows of `evaluate` for ``volumes`` ``[captures, x, y, z]`` that something else made of ``views`` photos."""
    return _rows(captures, iou_at(volumes.float(), captures.truth).cpu(), views, "clockwise")


def _rows(captures: Captures, iou: Float[Tensor, "captures thresholds"], views: int, order: str) -> pd.DataFrame:
    facts = captures.table[CAPTURE_COLUMNS].assign(views=views, order=order)
    rows = facts.loc[facts.index.repeat(len(THRESHOLDS))].reset_index(drop=True)
    return rows.assign(threshold=np.tile(THRESHOLDS, len(facts)), iou=iou.flatten().numpy())


def mean_shape_volumes(train: Captures, test: Captures, by: str) -> Float[Tensor, "captures x y z"]:
    """The mean grid of the training captures of the same ``by`` (side or taxonomy) as each test capture.

    Raises:
        ValueError: a side or category that nobody in training has.
    """
    means = {}
    for value, group in train.table.drop_duplicates("sample").groupby(by):
        means[value] = train.truth[torch.tensor(group.index)].float().mean(0)
    lacking = sorted(set(test.table[by]) - set(means))
    if lacking:
        raise ValueError(f"no training capture has {by} {', '.join(lacking)}: no mean shape for the test's")
    return torch.stack([means[value] for value in test.table[by]])


def score_mean_shape(
    train: Captures, test: Captures, by: str, views: Sequence[int] = (1,), orders: Sequence[str] = ("clockwise",)
) -> pd.DataFrame:
    """The baseline that sees no photo, `mean_grids`, as rows of `evaluate`.

    Its rows repeat for every view count and order, so that every row of a network has its neighbour.
    """
    iou = iou_at(mean_shape_volumes(train, test, by), test.truth)
    return pd.concat([_rows(test, iou, number, order) for number in views for order in orders], ignore_index=True)


def dataset_visual_hulls(captures: Captures, number: int, height: float = 1.0) -> Bool[Tensor, "captures x y z"]:
    """The largest solid that ``number`` silhouettes allow: the bar for whoever knows cameras (Laurentini 1994).

    The silhouettes are the photos' own transparency, and the cameras are believed. A voxel stays where every view that
    sees its centre sees it inside.

    Args:
        height: what is above this share of the cube is empty, as a foot's truth is above its cut.

    Raises:
        ValueError: no cameras, or photos that are opaque everywhere and so have no silhouettes.
    """
    if captures.cameras is None or captures.boxes is not None:
        raise ValueError("a visual hull needs photos that are cut and whose cameras are known")
    if (captures.photos[:, :, 3] == 255).all():
        raise ValueError("a visual hull needs silhouettes; these photos are opaque everywhere")
    chosen, rows = captures.test_views(number), torch.arange(len(captures))[:, None]
    masks = captures.photos[rows, chosen, 3].float() / 255
    return visual_hull(masks, captures.cameras[rows, chosen], captures.truth.shape[-1], height)


def visual_hull(
    masks: Float[Tensor, "batch views rows columns"],
    cameras: Float[Tensor, "batch views 3 7"],
    edge: int,
    height: float = 1.0,
) -> Bool[Tensor, "batch x y z"]:
    """The largest solid of ``edge``^3 voxels that silhouettes (`visual_hull`) in [0, 1] allow."""
    projection = project_points(cameras, voxel_centres(edge, device=masks.device))
    read = functional.grid_sample(
        masks.flatten(0, 1)[:, None], projection.uv.flatten(0, 1)[:, None], align_corners=False
    )
    inside = read[:, 0, 0].unflatten(0, masks.shape[:2]) > 0.5
    allowed = (inside | ~projection.visible).all(1).unflatten(1, (edge,) * 3)
    allowed[:, :, round(height * edge) :] = False
    return allowed


def f_score_rows(solids: Bool[Tensor, "captures x y z"], captures: Captures) -> pd.DataFrame:
    """`f_score` of each of ``solids`` with the truth of its capture: `FACTS` and f_score, one row a capture."""
    pairs = (solids.cpu().numpy(), captures.truth.cpu().numpy())
    with ThreadPoolExecutor() as pool:
        return captures.table[CAPTURE_COLUMNS].assign(f_score=list(pool.map(f_score, *pairs)))


def best_threshold(scores: pd.DataFrame) -> tuple[float, float]:
    """(threshold, mean IoU) at the threshold that is best on these (validation) scores."""
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
    """`evaluate`'s rows as rows of the metrics, with the ``threshold`` that validation chose marked as selected."""
    facts = {"model": model, "variant": variant, "training": training, "dataset": dataset}
    return scores.assign(**facts, cameras=cameras, placement=placement, selected=scores.threshold == threshold)


# ----------------------------------------------------------------------------------------------------------- intervals


def bootstrap_interval(
    values: np.ndarray, subjects: np.ndarray, draws: int = 2000, seed: int = 0
) -> tuple[float, float, float]:
    """Mean of ``values`` and its 95 % bootstrap interval; ``subjects`` are drawn whole, since their feet are alike."""
    sums = (
        pd.DataFrame({"value": values, "subject": subjects}).groupby("subject").value.agg(["sum", "count"]).to_numpy()
    )
    picks = np.random.default_rng(seed).integers(len(sums), size=(draws, len(sums)))
    total, count = sums[picks].sum(1).T
    low, high = np.quantile(total / count, [0.025, 0.975])
    return float(np.mean(values)), float(low), float(high)


def summarise(metrics: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean IoU over samples with its interval, at the selected threshold, for each group ``by``.

    Columns: those of ``by``, then iou, low, high, samples.
    """
    rows = []
    for key, group in metrics[metrics.selected].groupby(list(by), sort=False):
        iou, low, high = bootstrap_interval(group.iou.to_numpy(), group.subject.to_numpy())
        rows.append((*key, iou, low, high, group["sample"].nunique()))
    return pd.DataFrame(rows, columns=[*by, "iou", "low", "high", "samples"])


def paired_difference(metrics: pd.DataFrame, reference: pd.DataFrame) -> tuple[float, float, float]:
    """Mean difference in IoU to ``reference`` on the same samples at the selected thresholds, with its interval.

    Raises:
        ValueError: the two do not hold the same samples, once each.
    """
    key = ["taxonomy", "subject", "sample", "look"]
    one, two = (rows[rows.selected].set_index(key) for rows in (metrics, reference))
    if len(one) != len(two) or not one.index.is_unique or set(one.index) != set(two.index):
        raise ValueError(f"{len(one)} and {len(two)} test evaluations do not pair up sample by sample")
    difference = one.iou - two.iou.reindex(one.index)
    return bootstrap_interval(difference.to_numpy(), one.index.get_level_values("subject").to_numpy())


def class_and_sample_means(metrics: pd.DataFrame) -> dict[str, float]:
    """Both averages that papers mix up, at the selected threshold: over samples, and over categories."""
    chosen = metrics[metrics.selected]
    return {"sample mean": float(chosen.iou.mean()), "class mean": float(chosen.groupby("taxonomy").iou.mean().mean())}


def iou_by_threshold(metrics: pd.DataFrame) -> pd.DataFrame:
    """The slides' table of one model: by category #samples and mean IoU at each threshold; then both averages.

    The overall rows weigh samples, as the published protocol does, that of the slides with their feet; the class mean
    weighs categories, and the foot is none of them.
    """
    table = metrics.pivot_table(index="taxonomy", columns="threshold", values="iou", sort=False)
    counts = metrics.groupby("taxonomy")["sample"].nunique()
    objects = metrics[metrics.taxonomy != FOOT_SYNSET]
    classes = table[table.index != FOOT_SYNSET].mean()
    table.insert(0, "#sample", counts)
    for name, rows in (("overall", metrics), ("overall, objects", objects)):
        mean = rows.groupby("threshold").iou.mean()
        table.loc[name] = [rows["sample"].nunique(), *mean.reindex(classes.index)]
    table.loc["class mean, objects"] = [objects["sample"].nunique(), *classes]
    if len(objects) in (0, len(metrics)):
        table = table.drop(index="overall, objects")
    table.columns = [column if isinstance(column, str) else f"t={column:.2f}" for column in table.columns]
    return table.astype({"#sample": int}).reset_index()


def rank_samples(metrics: pd.DataFrame, each: int = 3) -> dict[str, list[str]]:
    """The ``each`` best, middle and worst samples by their IoU at the selected threshold, fewer where few are."""
    ranked = metrics[metrics.selected].sort_values("iou", ascending=False)["sample"].tolist()
    each = max(1, min(each, len(ranked) // 3))
    middle = (len(ranked) - each) // 2
    return {"best": ranked[:each], "median": ranked[middle : middle + each], "worst": ranked[-each:]}


def best_median_worst(metrics: pd.DataFrame) -> dict[str, str]:
    """Three samples by their IoU at the selected threshold: never only the best."""
    return {title: samples[0] for title, samples in rank_samples(metrics, each=1).items()}
