"""Charts for pages (matplotlib) and with hover labels (plotly): histograms, IoU, trainings, camera poses."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.express as px
import plotly.graph_objects as go
import plotly.io as pio
from matplotlib.figure import Figure
from scipy.stats import norm

from p2vlib.geometry.cameras import Camera
from p2vlib.geometry.frames import Cube
from p2vtools.viewer.scene import view_pyramid
from p2vtools.viewer.style import FAINTER, INK, PALETTE, new_figure, study_style


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
                counts = norm.pdf(x, mean, deviation) * len(values) * (bins[1] - bins[0])
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
        curves = published_in_range(published, summary).groupby("model", sort=False)
        for _, rows in curves:
            axes.plot(rows["views"], rows["iou"], ":", color=FAINTER, linewidth=1.2)
        ends = curves.last().sort_values("iou")
        heights = spread_labels(ends["iou"], 0.035 * np.diff(axes.get_ylim()).item())
        for name, views, height in zip(ends.index, ends["views"], heights, strict=True):
            axes.annotate(f" {name}", (views, height), fontsize=7.5, color="#5b616b", va="center")
        axes.plot([], [], ":", color=FAINTER, linewidth=1.2, label="published, ShapeNet")
    axes.set(xlabel="photos [count]", ylabel="IoU", xticks=sorted(summary["views"].unique()))
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def published_in_range(published: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    """Published rows with at most as many photos as ``summary`` has."""
    return published[published["views"] <= summary["views"].max()].sort_values("views")


def spread_labels(heights: Iterable[float], gap: float) -> list[float]:
    """Ascending ``heights`` moved apart, up and down alike, until they differ by ``gap``, so that labels do not
    overlap."""
    placed = np.array([*heights], dtype=float)
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


# -------------------------------------------------------------------------------------------------------------- plotly

DASHES = {"-": "solid", "--": "dash", ":": "dot"}
"""matplotlib's line styles -> plotly's."""


def _use_plotly_style() -> None:
    """Sets plotly's default template and renderer; the figures work in exported pages without a network.

    In a batch run only the figure's data is stored; the pages of the report include plotly's script once.
    """
    is_batch = os.environ.get("P2VLIB_BATCH") == "1"
    pio.renderers.default = "plotly_mimetype" if is_batch else "plotly_mimetype+notebook"
    template = go.layout.Template(pio.templates["plotly_white"])
    template.layout.colorway = PALETTE
    template.layout.font = {"size": 13, "color": INK}
    template.layout.margin = {"l": 60, "r": 20, "t": 30, "b": 50}
    pio.templates["p2vlib"] = template
    pio.templates.default = "p2vlib"


def iou_curves(summary: pd.DataFrame, published: pd.DataFrame | None = None, by: str = "model") -> go.Figure:
    """IoU against the number of photos with hover labels; arguments as for `iou_against_views`."""
    _use_plotly_style()
    rows = summary.sort_values("views").astype({by: str})
    styles = line_styles(summary[by].astype(str).unique())
    bars = {}
    if {"low", "high"} <= set(rows):
        rows = rows.assign(up=rows.high - rows.iou, down=rows.iou - rows.low)
        bars = {"error_y": "up", "error_y_minus": "down", "hover_data": {"low": ":.3f", "high": ":.3f", "iou": ":.3f"}}
    figure = px.line(
        rows,
        x="views",
        y="iou",
        color=by,
        category_orders={by: list(styles)},
        color_discrete_map={name: style["color"] for name, style in styles.items()},
        line_dash=by,
        line_dash_map={name: DASHES[style["linestyle"]] for name, style in styles.items()},
        markers=True,
        height=420,
        **bars,
    )
    figure.update_traces(error_y_thickness=1)
    if published is not None:
        for name, line in published_in_range(published, summary).groupby("model", sort=False):
            style = {"color": FAINTER, "dash": "dot", "width": 1}
            figure.add_scatter(x=line.views, y=line.iou, name=f"{name}, published", mode="lines", line=style)
    figure.update_xaxes(title_text="photos [count]", tickvals=sorted(summary.views.unique()))
    figure.update_yaxes(title_text="IoU")
    return figure


def training_curves(history: pd.DataFrame, by: str) -> go.Figure:
    """Loss and validation IoU against the step, with hover labels.

    Args:
        history: as returned by `p2vlib.training.train`: columns ``step``, ``loss`` and ``validation_iou``.
        by: column that distinguishes several trainings.
    """
    _use_plotly_style()
    names = {"loss": "training loss", "validation_iou": "validation IoU"}
    rows = history.rename(columns=names).melt(["step", by], [*names.values()], "curve", "value")
    figure = px.line(rows, x="step", y="value", color=by, facet_col="curve", markers=True, height=360)
    figure.for_each_annotation(lambda title: title.update(text=title.text.removeprefix("curve=")))
    figure.update_xaxes(title_text="step [optimiser updates]")
    figure.update_yaxes(matches=None, showticklabels=True, title_text=None)
    return figure


def camera_poses(cameras: Sequence[Camera], cube: Cube) -> go.Figure:
    """Positions and viewing pyramids of ``cameras`` around the ``cube``: metres, y up.

    Hover labels show azimuth, elevation (degrees) and distance (m) from the centre of the cube.
    """
    _use_plotly_style()
    positions = np.array([camera.position for camera in cameras]).reshape(-1, 3)
    offset = positions - cube.centre
    distance = np.linalg.norm(offset, axis=1)
    table = pd.DataFrame(positions, columns=["x [m]", "y [m]", "z [m]"])
    table["azimuth [°]"] = np.rad2deg(np.arctan2(offset[:, 2], offset[:, 0])) % 360
    table["elevation [°]"] = np.rad2deg(np.arcsin(offset[:, 1] / distance))
    table["distance [m]"] = distance
    table["view"] = [str(number) for number in range(len(cameras))]
    hover = dict.fromkeys(table.columns[:3], False) | dict.fromkeys(table.columns[3:6], ":.3f")
    figure = px.scatter_3d(table, *table.columns[:3], text="view", hover_data=hover)
    figure.update_traces(marker={"size": 5, "color": PALETTE[0]}, name="cameras", showlegend=True)
    corners = cube.corners()
    # Corners are numbered by three bits; an edge joins two whose numbers differ in one bit.
    edges = [corners[[corner, corner | bit]] for corner in range(8) for bit in (1, 2, 4) if not corner & bit]
    floor = np.array([cube.centre[0], cube.lower[1], cube.centre[2]])
    reach = 0.2 * distance.min(initial=5.0)
    pyramids = [camera.position + reach * view_pyramid(camera)[[0, 1, 2, 0, 3, 4, 0, 4, 1, 2, 3]] for camera in cameras]
    arrow = np.stack([floor, floor + [0.75 * cube.edge, 0, 0]])
    lines = {"cube": (edges, INK), "+x: the front": ([arrow], PALETTE[1]), "viewing pyramids": (pyramids, PALETTE[4])}
    for name, (polylines, colour) in lines.items():
        gap = np.full((1, 3), np.nan)
        x, y, z = np.concatenate([part for line in polylines for part in (line, gap)] or [gap]).T
        style = {"color": colour, "width": 4}
        figure.add_scatter3d(x=x, y=y, z=z, mode="lines", line=style, name=name, hoverinfo="skip")
    view = {"up": {"x": 0, "y": 1, "z": 0}, "eye": {"x": 1.5, "y": 1.1, "z": 1.4}}
    figure.update_layout(scene={"aspectmode": "data", "camera": view}, height=560)
    return figure
