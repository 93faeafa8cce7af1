"""The comparison tables of notebooks 03 to 05: those of the slides with our results, intervals and baselines.

Every function takes rows of `metrics.csv` and returns a table for display. Values are IoU unless a column says
otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from p2vlib.files import read_json
from p2vlib.geometry.frames import FOOT_SYNSET
from p2vtools.study import intervals
from p2vtools.study.intervals import format_interval, interval_cells
from p2vtools.study.report import published_results

TitledNetworks = Mapping[str, tuple[str, str]]
"""Title in a table -> (model, variant) in the metrics."""

DOMAINS = ("studio", "phone", "wild")
"""Domains of the photos of feet, in the order of the tables."""

ORDERS = ("clockwise", "shuffled", "reversed")


def describe_difference(difference: float, low: float, high: float) -> str:
    """A difference with its interval, and what the interval allows to say of it.

    >>> describe_difference(-0.0065, -0.0138, 0.0014)
    '-0.006 [-0.014, +0.001], which may be none'
    """
    meaning = "better" if low > 0 else "worse" if high < 0 else "which may be none"
    return f"{format_interval(difference, low, high, '+.3f')}, {meaning}"


def category_names() -> dict[str, str]:
    """Synset -> name of the category in the published tables."""
    rows = published_results().dropna(subset=["taxonomy_id"]).drop_duplicates("taxonomy_id")
    return {**dict(zip(rows.taxonomy_id, rows.taxonomy, strict=True)), FOOT_SYNSET: "foot"}


def slide_table(metrics: pd.DataFrame, model: str) -> pd.DataFrame:
    """The table of the slides for ``model``: samples, baselines, IoU at four thresholds and the published Pix2Vox-A."""
    names = category_names()
    table = iou_by_threshold(metrics[metrics.model == model])
    table.insert(0, "category", table.taxonomy.map(names).fillna(table.taxonomy))
    mean = metrics[(metrics.model == "mean-shape") & metrics.selected].groupby("taxonomy").iou.mean()
    table.insert(3, "mean shape", table.taxonomy.map(mean))
    published = published_results(source="slides 2021", metric="iou")
    published = published[published.dataset != "pix3d"]
    baseline = published[published.model == "3D-R2N2"].set_index("taxonomy").value
    table.insert(3, "3D-R2N2 (published)", table.category.map(baseline))
    accurate = published[(published.model == "Pix2Vox-A") & published.threshold.notna()]
    for threshold, rows in accurate.groupby("threshold"):
        table[f"slides t={threshold:.2f}"] = table.category.map(rows.set_index("taxonomy").value)
    return table.drop(columns="taxonomy").round(4)


def surface_table(scores: pd.DataFrame) -> pd.DataFrame:
    """F-score@1% with intervals by number of photos, one row per model, above the published values on ShapeNet.

    Args:
        scores: from `experiments.surface_scores`.
    """
    cells = scores.assign(cell=[format_interval(*row) for row in scores[["f_score", "low", "high"]].to_numpy()])
    ours = cells.pivot(index="model", columns="views", values="cell").loc[scores.model.unique()]
    published = published_results(source="papers, by views", metric="f-score@1%")
    published = published[published.views.isin(scores.views)].pivot(index="model", columns="views", values="value")
    published.index = [f"{model} (published, ShapeNet)" for model in published.index]
    table = pd.concat([ours, published.map("{:.3f}".format).where(published.notna())]).fillna("–")
    table.columns = [f"{number:.0f} photo{'s' if number > 1 else ''}" for number in table.columns]
    return table.rename_axis("model").reset_index()


def published_pix3d() -> pd.DataFrame:
    """The results of the slides on the chairs of Pix3D: columns model, training, iou."""
    rows = published_results(dataset="pix3d", metric="iou").rename(columns={"value": "iou"})
    return rows[["model", "training", "iou"]].reset_index(drop=True)


def published_curves() -> pd.DataFrame:
    """Published IoU on ShapeNet by number of photos: columns model, views, iou."""
    curves = published_results(source="papers, by views", metric="iou").rename(columns={"value": "iou"})
    return curves[["model", "views", "iou"]]


def category_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """IoU at the selected threshold: one row per category, one column per model, the mean shape last."""
    selected = metrics[metrics.selected]
    table = selected.pivot_table(index="taxonomy", columns="model", values="iou", sort=False)
    table.insert(0, "category", table.index.map(category_names()))
    table.insert(1, "#sample", selected.groupby("taxonomy")["sample"].nunique())
    return table.reset_index(drop=True).round(4).rename_axis(columns=None)


def domain_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """IoU by domain of the training (rows) and of the test (columns), with intervals over people.

    The last row is the mean shape; in each column it is that of the training people of the tested domain.
    """
    is_mean = metrics.model == "mean-shape"
    rows = metrics[~is_mean | (metrics.training == "feet-" + metrics.look)]
    rows = rows.assign(training=rows.training.mask(is_mean, "none: looks at no photo"))
    by = ["model", "training", "variant", "look"]
    wide = pd.Series(interval_cells(rows, by)).rename_axis(by).unstack()
    wide = wide[[domain for domain in DOMAINS if domain in wide]].rename(columns="tested on {}".format)
    wide = wide.reset_index().fillna("–")
    order = {training: rank for rank, training in enumerate(("objects", *(f"feet-{domain}" for domain in DOMAINS)))}
    rank = wide.training.map(order).fillna(len(order)) + (wide.variant != "main") / 2
    return wide.iloc[rank.argsort(kind="stable")].reset_index(drop=True).rename_axis(columns=None)


def gap_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """Change of the IoU from the domain of the training to each other domain, for every model trained on feet.

    Columns: model, training, tested on, iou, difference, low, high. The intervals are unpaired, since two domains may
    have different people. The rows of the mean shape show the effect of the change of people alone.
    """
    rows = []
    on_feet = metrics[metrics.training.str.startswith("feet-")]
    for (model, training, _), group in on_feet.groupby(["model", "training", "variant"], sort=False):
        own = group[group.look == training.removeprefix("feet-")]
        for domain, other in group[~group.index.isin(own.index)].groupby("look", sort=False):
            change = intervals.unpaired_difference(other, own)
            rows.append((model, training, domain, other[other.selected].iou.mean(), *change))
    return pd.DataFrame(rows, columns=["model", "training", "tested on", "iou", "difference", "low", "high"]).round(4)


def real_table(path: str) -> pd.DataFrame:
    """IoU of the pretrained weights and of the typical foot on real feet, with the true placement.

    Columns: file; test; samples; iou and typical foot, with their intervals; the paired difference of the two and its
    interval: difference, low, high.

    Args:
        path: a file of ``benchmarks/real.py --json``, or a folder of them, one for each set of weights.

    Raises:
        FileNotFoundError: ``path`` does not exist, or is a folder without such files.
        ValueError: a file is not valid JSON.
    """
    files = sorted(Path(path).glob("*.json")) if Path(path).is_dir() else [Path(path)]
    if not files:
        raise FileNotFoundError(f"{path}: no .json file in this folder; expected files of benchmarks/real.py --json")
    rows = []
    for file in files:
        content = read_json(file, "expected a file of benchmarks/real.py --json")
        for test, (iou, typical) in _real_scores(content).items():
            names = np.arange(len(iou))
            own, mean, gain = (intervals.bootstrap_interval(values, names) for values in (iou, typical, iou - typical))
            rows.append((file.stem, test, len(iou), format_interval(*own), format_interval(*mean), *gain))
    columns = ["file", "test", "samples", "iou", "typical foot", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=columns).round(4)


def _real_scores(content: dict[str, Any]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Test -> IoU of the weights and of the typical foot, for what a file of ``benchmarks/real.py`` holds."""
    scores = {}
    if photos := content.get("photos"):
        rows = pd.DataFrame(photos)
        cells = rows[rows["size"] == 32].drop_duplicates(["photo", "start"])
        cells = cells.pivot(index="photo", columns="start", values="iou")
        scores["one real photo, silhouette"] = (cells["right"].to_numpy(), cells["typical foot"].to_numpy())
    if scans := content.get("scans"):
        rows = pd.DataFrame(scans)
        given = rows[(rows.placement == "given") & (rows["size"] == 128)]
        scores["eight photos of a real scan, solid"] = (given.iou.to_numpy(), given["typical foot"].to_numpy())
    return scores


def paired_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """Difference of each network to the mean shape on the same feet: what, iou, difference, low, high.

    The mean shape is that of the training people of the tested domain.
    """
    keys = ["model", "training", "variant"]
    is_mean = metrics.model == "mean-shape"
    base = metrics[is_mean & (metrics.training == "feet-" + metrics.look)]
    rows = [
        (", ".join(labels), group[group.selected].iou.mean(), *intervals.paired_difference(group, base))
        for labels, group in metrics[~is_mean].groupby(keys, sort=False)
    ]
    return pd.DataFrame(rows, columns=["what", "iou", "difference", "low", "high"]).round(4)


def order_table(metrics: pd.DataFrame, networks: TitledNetworks) -> pd.DataFrame:
    """The up-and-down table of the slides: IoU of feet and of all samples by test order, one row per network.

    Arrows compare with the first network in clockwise order.
    """
    table, selected = pd.DataFrame({"network": list(networks)}), metrics[metrics.selected]
    parts = {"foot": selected[selected.dataset == "feet"], "overall": selected}
    for name, rows in parts.items():
        means = rows.groupby(["model", "variant", "order"]).iou.mean()
        for order in ORDERS:
            table[f"{name}, {order}"] = [means[*network, order] for network in networks.values()]
    for name in parts:
        change = table[f"{name}, clockwise"] - table[f"{name}, clockwise"].iloc[0]
        table[f"{name} ↑↓"] = [f"{'↑' if c > 0 else '↓' if c < 0 else '='} {abs(c):.4f}" for c in change]
    return table.round(4)


def lighting_table(metrics: pd.DataFrame, networks: TitledNetworks) -> pd.DataFrame:
    """IoU of feet by test order, with drifting and with steady light along the walk."""
    cells, rows = interval_cells(metrics, ["model", "variant", "order"]), []
    for title, (model, variant) in networks.items():
        row = {"network": title}
        for lighting, suffix in (("drift", ""), ("steady", "-steady")):
            row |= {f"{order}, {lighting}": cells.get((model, variant + suffix, order), "–") for order in ORDERS}
        rows.append(row)
    return pd.DataFrame(rows)


def _gain(metrics: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """``metrics`` at the selected threshold with the gain over ``reference`` on the same sample in place of IoU."""
    key = intervals.pairing_columns(metrics)
    selected = metrics[metrics.selected].set_index(key)
    base = reference[reference.selected].set_index(key).iou
    return selected.assign(iou=selected.iou - base.reindex(selected.index)).reset_index()


def order_effects(metrics: pd.DataFrame, networks: TitledNetworks, reference: str) -> pd.DataFrame:
    """Paired differences in IoU between networks, lightings and orders: effect, difference, low, high.

    Each network is compared with ``reference`` in drifting and in steady light, and with itself in clockwise order.
    """

    def rows_of(title: str, order: str = "clockwise", suffix: str = "") -> pd.DataFrame:
        model, variant = networks[title]
        return metrics[(metrics.model == model) & (metrics.variant == variant + suffix) & (metrics.order == order)]

    pairs: dict[str, tuple[pd.DataFrame, pd.DataFrame]] = {}
    for title in networks:
        if title != reference:
            drift = pairs[f"{title} - {reference}"] = (rows_of(title), rows_of(reference))
            steady = (rows_of(title, suffix="-steady"), rows_of(reference, suffix="-steady"))
            if len(steady[0]):
                pairs[f"{title} - {reference}, without drift"] = steady
                pairs[f"{title} - {reference}: drift - steady"] = (_gain(*drift), _gain(*steady))
        if title not in (reference, "mean foot"):
            for order in ORDERS[1:]:
                pairs[f"{title}: {order} - clockwise"] = (rows_of(title, order), rows_of(title))
    rows = [(effect, *intervals.paired_difference(*pair)) for effect, pair in pairs.items()]
    return pd.DataFrame(rows, columns=["effect", "difference", "low", "high"]).round(4)


def control_table(metrics: pd.DataFrame, networks: TitledNetworks, reference: str) -> pd.DataFrame:
    """The control of notebook 05: IoU in the order of the photos and reversed, and the paired difference to
    ``reference``: network, iou, reversed, difference, low, high."""
    cells = interval_cells(metrics, ["model", "variant", "order"])
    forward = metrics[metrics.order == "clockwise"]
    own = {title: forward[(forward.model == m) & (forward.variant == v)] for title, (m, v) in networks.items()}
    rows = []
    for title, key in networks.items():
        change = intervals.paired_difference(own[title], own[reference])
        rows.append((title, cells[*key, "clockwise"], cells[*key, "reversed"], *change))
    return pd.DataFrame(rows, columns=["network", "iou", "reversed", "difference", "low", "high"]).round(4)


def class_and_sample_means(metrics: pd.DataFrame) -> dict[str, float]:
    """Mean IoU at the selected threshold, over samples and over categories: papers report either.

    >>> metrics = pd.DataFrame({"taxonomy": list("aab"), "iou": [0.5, 0.5, 1.0], "selected": True})
    >>> class_and_sample_means(metrics)["class mean"]
    0.75
    """
    rows = metrics[metrics.selected]
    return {"sample mean": float(rows.iou.mean()), "class mean": float(rows.groupby("taxonomy").iou.mean().mean())}


def iou_by_threshold(metrics: pd.DataFrame) -> pd.DataFrame:
    """The table of the slides for one model: number of samples and mean IoU at each threshold, by category.

    The overall rows weight samples equally, as the published protocol does; the class mean weights categories equally
    and leaves out the foot.
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
    """The ``each`` best, median and worst samples by IoU at the selected threshold; fewer if there are few samples.

    >>> metrics = pd.DataFrame({"sample": list("abc"), "iou": [0.4, 0.9, 0.6], "selected": True})
    >>> rank_samples(metrics)
    {'best': ['b'], 'median': ['c'], 'worst': ['a']}
    """
    ranked = metrics[metrics.selected].sort_values("iou", ascending=False)["sample"].tolist()
    each = max(1, min(each, len(ranked) // 3))
    middle = (len(ranked) - each) // 2
    return {"best": ranked[:each], "median": ranked[middle : middle + each], "worst": ranked[-each:]}


def best_median_worst(metrics: pd.DataFrame) -> dict[str, str]:
    """The best, the median and the worst sample by IoU at the selected threshold."""
    return {title: samples[0] for title, samples in rank_samples(metrics, each=1).items()}
