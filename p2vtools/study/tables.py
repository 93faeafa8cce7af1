"""The comparison tables of notebooks 03 to 05: the slides' tables with our numbers, intervals and baselines.

Every function takes rows of the metrics and gives a table to be shown; IoU unless a column says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from p2vlib.evaluation import iou_by_threshold, paired_difference, summarise
from p2vlib.geometry.frames import FOOT_SYNSET
from p2vtools.study.report import published_results

TitledNetworks = Mapping[str, tuple[str, str]]
"""Title in a table -> (model, variant) in the metrics."""

ORDERS = ("clockwise", "shuffled", "reversed")


def format_interval(iou: float, low: float, high: float) -> str:
    """``0.703 [0.690, 0.716]``."""
    return f"{iou:.3f} [{low:.3f}, {high:.3f}]"


def category_names() -> dict[str, str]:
    """Synset -> the name that the published tables use."""
    known = published_results().dropna(subset=["taxonomy_id"]).drop_duplicates("taxonomy_id")
    return {**dict(zip(known.taxonomy_id, known.taxonomy, strict=True)), FOOT_SYNSET: "foot"}


def slide_table(metrics: pd.DataFrame, model: str) -> pd.DataFrame:
    """The slides' table for ``model``: samples, baselines, IoU at four thresholds; then Pix2Vox-A as published."""
    names = category_names()
    own = iou_by_threshold(metrics[metrics.model == model])
    own.insert(0, "category", own.taxonomy.map(names).fillna(own.taxonomy))
    mean = metrics[(metrics.model == "mean-shape") & metrics.selected].groupby("taxonomy").iou.mean()
    own.insert(3, "mean shape", own.taxonomy.map(mean))
    theirs = published_results()
    theirs = theirs[(theirs.source == "slides 2021") & (theirs.metric == "iou") & (theirs.dataset != "pix3d")]
    baseline = theirs[theirs.model == "3D-R2N2"].set_index("taxonomy").value
    own.insert(3, "3D-R2N2 (published)", own.category.map(baseline))
    accurate = theirs[(theirs.model == "Pix2Vox-A") & theirs.threshold.notna()]
    for threshold, rows in accurate.groupby("threshold"):
        own[f"slides t={threshold:.2f}"] = own.category.map(rows.set_index("taxonomy").value)
    return own.drop(columns="taxonomy").round(4)


def surface_table(scores: pd.DataFrame) -> pd.DataFrame:
    """F-score@1% by number of photos with its interval, a row a model; below, as published on ShapeNet."""
    counts = scores.views.unique()
    cells = scores.assign(shown=[format_interval(*row) for row in scores[["f_score", "low", "high"]].to_numpy()])
    own = cells.pivot(index="model", columns="views", values="shown").loc[scores.model.unique()]
    numbers = published_results()
    theirs = numbers[(numbers.source == "papers, by views") & (numbers.metric == "f-score@1%")]
    theirs = theirs[theirs.views.isin(counts)].pivot(index="model", columns="views", values="value")
    theirs.index = [f"{model} (published, ShapeNet)" for model in theirs.index]
    table = pd.concat([own, theirs.map("{:.3f}".format).where(theirs.notna())]).fillna("–")
    table.columns = [f"{number:.0f} photo{'s' if number > 1 else ''}" for number in table.columns]
    return table.rename_axis("model").reset_index()


def published_pix3d() -> pd.DataFrame:
    """The slides' numbers on Pix3D's chairs: columns model, training, iou."""
    numbers = published_results()
    theirs = numbers[(numbers.dataset == "pix3d") & (numbers.metric == "iou")].rename(columns={"value": "iou"})
    return theirs[["model", "training", "iou"]].reset_index(drop=True)


def published_curves() -> pd.DataFrame:
    """Published IoU on ShapeNet by number of photos: columns model, views, iou."""
    numbers = published_results()
    curves = numbers[(numbers.source == "papers, by views") & (numbers.metric == "iou")]
    return curves.rename(columns={"value": "iou"})[["model", "views", "iou"]]


def category_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """IoU at the selected threshold: a row a category, a column a model, the mean shape last."""
    chosen = metrics[metrics.selected]
    table = chosen.pivot_table(index="taxonomy", columns="model", values="iou", sort=False)
    table.insert(0, "category", table.index.map(category_names()))
    table.insert(1, "#sample", chosen.groupby("taxonomy")["sample"].nunique())
    return table.reset_index(drop=True).round(4).rename_axis(columns=None)


def domain_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """Trained on (rows) and tested on (columns) studio and phone looks, each with its interval over people."""
    cells = summarise(metrics, ["model", "variant", "training", "look"])
    cells["iou"] = [format_interval(*row) for row in cells[["iou", "low", "high"]].to_numpy()]
    wide = cells.pivot(index=["model", "training", "variant"], columns="look", values="iou")[["studio", "phone"]]
    wide = wide.rename(columns={"studio": "tested on studio", "phone": "tested on phone"}).reset_index()
    wide = wide[(wide.model != "mean-shape") | (wide.training == "feet-phone")].fillna("–")
    wide.loc[wide.model == "mean-shape", "training"] = "none: looks at no photo"
    rank = wide.training.map({"objects": 0, "feet-studio": 1, "feet-phone": 2}).fillna(3) + (wide.variant != "main") / 2
    return wide.iloc[rank.argsort(kind="stable")].reset_index(drop=True).rename_axis(columns=None)


def paired_table(metrics: pd.DataFrame, reference: str = "mean-shape") -> pd.DataFrame:
    """Each network's difference to the ``reference`` model on the same feet: what, iou, difference, low, high."""
    rows = []
    base = metrics[(metrics.model == reference) & (metrics.training == "feet-phone")]
    for (model, training, variant), group in metrics[metrics.model != reference].groupby(
        ["model", "training", "variant"], sort=False
    ):
        iou = group[group.selected].iou.mean()
        rows.append((f"{model}, {training}, {variant}", iou, *paired_difference(group, base)))
    return pd.DataFrame(rows, columns=["what", "iou", "difference", "low", "high"]).round(4)


def order_table(metrics: pd.DataFrame, named: TitledNetworks) -> pd.DataFrame:
    """The slides' up-and-down table: foot and overall (samples) by the order of the test, one row a network."""
    rows = []
    for title, (model, variant) in named.items():
        own = metrics[(metrics.model == model) & (metrics.variant == variant) & metrics.selected]
        row: dict[str, object] = {"network": title}
        for name, part in (("foot", own[own.dataset == "feet"]), ("overall", own)):
            row |= {f"{name}, {order}": part[part.order == order].iou.mean() for order in ORDERS}
        rows.append(row)
    table = pd.DataFrame(rows)
    for name in ("foot", "overall"):
        change = table[f"{name}, clockwise"] - table[f"{name}, clockwise"].iloc[0]
        table[f"{name} ↑↓"] = [f"{'↑' if c > 0 else '↓' if c < 0 else '='} {abs(c):.4f}" for c in change]
    return table.round(4)


def lighting_table(metrics: pd.DataFrame, named: TitledNetworks) -> pd.DataFrame:
    """IoU on feet by the order of the test, with the drift of light along the walk and without it."""
    cells = summarise(metrics, ["model", "variant", "order"]).set_index(["model", "variant", "order"])
    rows = []
    for title, (model, variant) in named.items():
        row = {"network": title}
        for light, suffix in (("drift", ""), ("steady", "-steady")):
            for order in ORDERS:
                key = (model, variant + suffix, order)
                row[f"{order}, {light}"] = (
                    format_interval(*cells.loc[key, ["iou", "low", "high"]]) if key in cells.index else "–"
                )
        rows.append(row)
    return pd.DataFrame(rows)


def _gain(metrics: pd.DataFrame, reference: pd.DataFrame) -> pd.DataFrame:
    """``metrics`` at the selected threshold, with the gain over ``reference`` on the same sample instead of IoU."""
    key = ["taxonomy", "subject", "sample", "look"]
    chosen = metrics[metrics.selected].set_index(key)
    base = reference[reference.selected].set_index(key).iou
    return chosen.assign(iou=chosen.iou - base.reindex(chosen.index)).reset_index()


def order_effects(metrics: pd.DataFrame, named: TitledNetworks, reference: str) -> pd.DataFrame:
    """Paired differences in IoU: each network to ``reference``, with drift and without, and each order to clockwise."""

    def rows_of(title: str, order: str, suffix: str = "") -> pd.DataFrame:
        model, variant = named[title]
        keep = (metrics.model == model) & (metrics.variant == variant + suffix) & (metrics.order == order)
        return metrics[keep]

    effects = []
    for title in named:
        if title != reference:
            one = (rows_of(title, "clockwise"), rows_of(reference, "clockwise"))
            effects.append((f"{title} - {reference}", *paired_difference(*one)))
            if len(steady := rows_of(title, "clockwise", "-steady")):
                still = (steady, rows_of(reference, "clockwise", "-steady"))
                effects.append((f"{title} - {reference}, without drift", *paired_difference(*still)))
                effects.append(
                    (f"{title} - {reference}: drift - steady", *paired_difference(_gain(*one), _gain(*still)))
                )
        for order in ORDERS[1:]:
            if title not in (reference, "mean foot"):
                effects.append(
                    (
                        f"{title}: {order} - clockwise",
                        *paired_difference(rows_of(title, order), rows_of(title, "clockwise")),
                    )
                )
    return pd.DataFrame(effects, columns=["effect", "difference", "low", "high"]).round(4)
