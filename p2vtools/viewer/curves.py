"""Histograms, and IoU against the number of photos, the cost and the predicted probability."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from p2vtools.viewer.style import FAINTER, PALETTE, new_figure, study_style


@study_style
def histograms(
    frame: pd.DataFrame,
    columns: Sequence[str],
    by: str,
    units: Mapping[str, str],
    expected: Mapping[str, Mapping[str, tuple[float, float]]],
) -> Figure:
    """Histograms of ``columns``, one plot each, in one colour for each value of column ``by``.

    Args:
        units: unit of each column, for its axis.
        expected: column -> group -> (mean, standard deviation) of a normal curve, drawn dashed.
    """
    names = sorted(frame[by].unique())
    across = min(3, len(columns))
    down = -(-len(columns) // across)
    figure = new_figure(3.4 * across, 2.5 * down + 0.4)
    for index, column in enumerate(columns):
        axes = figure.add_subplot(down, across, index + 1)
        bins = np.histogram_bin_edges(frame[column], bins=min(24, max(6, len(frame) // 8)))
        for colour, name in zip(PALETTE, names, strict=False):
            values = frame.loc[frame[by] == name, column]
            axes.hist(values, bins, histtype="stepfilled", color=colour, alpha=0.35, label=f"{name} ({len(values)})")
            axes.hist(values, bins, histtype="step", color=colour)
            if name in expected.get(column, {}):
                mean, deviation = expected[column][name]
                x = np.linspace(mean - 3 * deviation, mean + 3 * deviation, 121)
                density = np.exp(-(((x - mean) / deviation) ** 2) / 2) / (deviation * np.sqrt(2 * np.pi))
                counts = density * len(values) * (bins[1] - bins[0])
                axes.plot(x, counts, "--", color=colour, label=f"{name}, expected")
        axes.set_xlabel(column.removesuffix(f"_{units[column]}").replace("_", " ") + f" [{units[column]}]")
        axes.set_ylabel("count")
        axes.grid(False, axis="x")
        if index == 0:
            figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def line_styles(names: Iterable[str]) -> dict[str, dict[str, str]]:
    """Name -> color, marker and linestyle of its line, all different; the mean shape, a baseline, is always grey."""
    styles, others = {}, 0
    for name in names:
        if name.startswith(("mean-shape", "mean foot")):
            styles[name] = {"color": FAINTER, "marker": ".", "linestyle": "--"}
            continue
        cycle, index = divmod(others, len(PALETTE) - 1)  # a repeated colour has another marker and line
        marker, line = "os^Dv<>"[(index + cycle) % 7], ("-", "--", ":")[cycle % 3]
        styles[name] = {"color": PALETTE[index], "marker": marker, "linestyle": line}
        others += 1
    return styles


@study_style
def iou_against_views(summary: pd.DataFrame, published: pd.DataFrame | None = None, by: str = "model") -> Figure:
    """IoU against the number of photos, a line for each value of column ``by``.

    Args:
        summary: columns ``views``, ``iou`` and ``by``; with ``low`` and ``high`` the interval is shaded.
        published: columns ``views``, ``iou`` and ``model``; drawn in grey, labelled at the end.
    """
    figure = new_figure(7.2, 4.4)
    axes = figure.add_subplot()
    groups = {str(name): rows.sort_values("views") for name, rows in summary.groupby(by, sort=False)}
    for name, style in line_styles(groups).items():
        rows = groups[name]
        axes.plot(rows["views"], rows["iou"], **style, markersize=4.5, label=name, zorder=3)
        if {"low", "high"} <= set(rows):
            axes.fill_between(rows["views"], rows["low"], rows["high"], color=style["color"], alpha=0.1, linewidth=0)
    if published is not None:
        ends = []
        for name, rows in published_in_range(published, summary).groupby("model", sort=False):
            axes.plot(rows["views"], rows["iou"], ":", color=FAINTER, linewidth=1.2)
            ends.append((rows["iou"].iloc[-1], rows["views"].iloc[-1], name))
        heights = spread_labels([height for height, _, _ in sorted(ends)], 0.035 * np.diff(axes.get_ylim()).item())
        for height, (_, views, name) in zip(heights, sorted(ends), strict=True):
            axes.annotate(f" {name}", (views, height), fontsize=7.5, color="#5b616b", va="center")
        axes.plot([], [], ":", color=FAINTER, linewidth=1.2, label="published, ShapeNet")
    axes.set(xlabel="photos [count]", ylabel="IoU", xticks=sorted(summary["views"].unique()))
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def published_in_range(published: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """Published rows with at most as many photos as ``summary`` has."""
    return published[published["views"] <= summary["views"].max()].sort_values("views")


def spread_labels(heights: Sequence[float], gap: float) -> list[float]:
    """Ascending ``heights`` moved apart, up and down alike, until they differ by ``gap``, so that labels do not
    overlap."""
    placed = np.array(heights, dtype=float)
    for _ in range(200):
        missing = np.clip(gap - np.diff(placed), 0, None) / 2
        placed[:-1] -= missing
        placed[1:] += missing
    return placed.tolist()


@study_style
def iou_against_cost(costs: pd.DataFrame) -> Figure:
    """IoU against the time for one object, a point with its interval for each row.

    Args:
        costs: columns ``system``, ``milliseconds``, ``iou``, ``low`` and ``high``; where milliseconds is NaN, as for a
            baseline without photos, a dashed line is drawn.
    """
    figure = new_figure(7.2, 4.4)
    axes = figure.add_subplot()
    styles = line_styles(costs["system"])
    for row in costs.itertuples():
        style = styles[row.system]
        if np.isnan(row.milliseconds):
            axes.axhline(row.iou, linestyle="--", linewidth=1.1, color=style["color"], label=row.system)
            continue
        interval = [[row.iou - row.low], [row.high - row.iou]]
        points = {"fmt": style["marker"], "color": style["color"], "label": row.system}
        axes.errorbar(row.milliseconds, row.iou, interval, capsize=3, **points)
    axes.set(xlabel="time for one object [ms]", ylabel="IoU", xscale="log")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


@study_style
def iou_against_minutes(history: pd.DataFrame, means: Mapping[str, float]) -> Figure:
    """Validation IoU during trainings against their minutes, a plot for each training and a line for each model.

    Args:
        history: columns ``training``, ``model``, ``seconds`` and ``validation_iou``.
        means: training -> validation IoU of the mean shape, drawn dashed.
    """
    figure = new_figure(4.6 * len(means) + 1.6, 4.2)
    styles = line_styles(history["model"].unique())
    for axes, (training, mean) in zip(figure.subplots(1, len(means), squeeze=False)[0], means.items(), strict=True):
        for name, rows in history[history["training"] == training].groupby("model", sort=False):
            axes.plot(rows["seconds"] / 60, rows["validation_iou"], **styles[name], markersize=3.5, label=name)
        axes.axhline(mean, linestyle="--", color=FAINTER, label="mean shape")
        axes.set(title=training, xlabel="training [min]", ylabel="validation IoU", xlim=(0, None))
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


@study_style
def reliability_diagram(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Share of occupied voxels against their predicted probability, a line for each of ``tables``.

    Args:
        tables: name -> columns ``predicted`` and ``occupied`` (`calibration.reliability_table`).
    """
    figure = new_figure(6.2, 4.4)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=FAINTER, linewidth=1.0, label="perfect calibration")
    for name, style in line_styles(tables).items():
        axes.plot(tables[name].predicted, tables[name].occupied, **style, label=name)
    axes.set(xlabel="predicted probability [1]", ylabel="share occupied [1]", aspect="equal")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure
