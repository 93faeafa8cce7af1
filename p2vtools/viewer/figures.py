"""Figures for pages: sheets of photos, histograms, qualitative panels, curves and slices (matplotlib)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from p2vlib.geometry.frames import Cube
from p2vlib.geometry.grids import iou
from p2vtools.viewer.shading import label_agreement, render_voxels
from p2vtools.viewer.style import AGREEMENT, FAINT, FAINTER, INK, PALETTE, new_figure, study_style


def on_paper(photo: np.ndarray) -> np.ndarray:
    """A photo ``[height, width, 1|3|4]`` uint8 as RGB on white, whatever its channels.

    Raises:
        ValueError: another shape or type.
    """
    photo = np.asarray(photo)
    if photo.dtype != np.uint8 or photo.ndim != 3 or photo.shape[2] not in (1, 3, 4):
        raise ValueError(f"a photo is uint8 [height, width, 1, 3 or 4 channels]; found {photo.dtype} {photo.shape}")
    if photo.shape[2] < 4:
        return np.broadcast_to(photo, (*photo.shape[:2], 3)).copy()
    alpha = photo[..., 3:].astype(np.float32) / 255
    return np.rint(photo[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def mosaic(photos: Sequence[Sequence[np.ndarray]], gap: int = 3) -> np.ndarray:
    """Rows of photos as one RGB picture, each resized to the first one's size, ``gap`` pixels of white between them."""
    if not any(len(row) for row in photos):
        raise ValueError("a sheet of photos needs at least one photo; found none")
    height, width = next(row for row in photos if len(row))[0].shape[:2]
    columns = max(len(row) for row in photos)
    sheet = np.full((len(photos) * (height + gap) - gap, columns * (width + gap) - gap, 3), 255, dtype=np.uint8)
    for r, row in enumerate(photos):
        for c, photo in enumerate(row):
            picture = Image.fromarray(on_paper(photo)).resize((width, height), Image.Resampling.LANCZOS)
            top, left = r * (height + gap), c * (width + gap)
            sheet[top : top + height, left : left + width] = np.asarray(picture)
    return sheet


@study_style
def contact_sheet(
    photos: Sequence[Sequence[np.ndarray]],
    row_titles: Sequence[str] = (),
    column_titles: Sequence[str] = (),
    width: float = 10.0,
) -> Figure:
    """Rows of photos (``[height, width, 1|3|4]`` uint8) with a title for each row and column; ``width`` in inches."""
    sheet = mosaic(photos)
    rows, columns = len(photos), max(len(row) for row in photos)
    for titles, count, what in ((row_titles, rows, "row"), (column_titles, columns, "column")):
        if len(titles) not in (0, count):
            raise ValueError(f"{len(titles)} {what} titles for {count} {what}s of photos")
    figure = new_figure(width, width * sheet.shape[0] / sheet.shape[1] + 0.35)
    axes = figure.add_subplot()
    axes.imshow(sheet, interpolation="lanczos")
    axes.set_xticks((np.arange(len(column_titles)) + 0.5) * sheet.shape[1] / columns, column_titles)
    axes.set_yticks((np.arange(len(row_titles)) + 0.5) * sheet.shape[0] / rows, row_titles)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.grid(False)
    axes.spines[:].set_visible(False)
    return figure


@study_style
def histograms(
    frame: pd.DataFrame,
    columns: Sequence[str],
    by: str | None = None,
    units: Mapping[str, str] | None = None,
    expected: Mapping[str, Mapping[str, tuple[float, float]]] | None = None,
) -> Figure:
    """How ``columns`` of a table are spread, one plot each, one colour for each value of column ``by``.

    Args:
        units: the unit of a column, written on its axis.
        expected: for a column, group -> (mean, standard deviation), drawn as a dashed normal curve.
    """
    names = sorted(frame[by].unique()) if by else ["all"]
    across = min(3, len(columns))
    down = -(-len(columns) // across)
    figure = new_figure(3.4 * across, 2.5 * down + 0.4)
    for index, column in enumerate(columns):
        axes = figure.add_subplot(down, across, index + 1)
        bins = np.histogram_bin_edges(frame[column], bins=min(24, max(6, len(frame) // 8)))
        for colour, name in zip(PALETTE, names, strict=False):
            values = frame.loc[frame[by] == name, column] if by else frame[column]
            axes.hist(values, bins, histtype="stepfilled", color=colour, alpha=0.35, label=f"{name} ({len(values)})")
            axes.hist(values, bins, histtype="step", color=colour)
            if name in (expected or {}).get(column, {}):
                mean, deviation = expected[column][name]
                x = np.linspace(mean - 3 * deviation, mean + 3 * deviation, 121)
                bell = np.exp(-(((x - mean) / deviation) ** 2) / 2) / (deviation * np.sqrt(2 * np.pi))
                axes.plot(x, bell * len(values) * (bins[1] - bins[0]), "--", color=colour, label=f"{name}, expected")
        unit = (units or {}).get(column)
        axes.set_xlabel(column.removesuffix(f"_{unit}").replace("_", " ") + (f" [{unit}]" if unit else ""))
        axes.set_ylabel("count")
        axes.grid(False, axis="x")
        if index == 0 and (by or expected):
            figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


@dataclass(frozen=True)
class Panel:
    """One row of a qualitative figure: photos ``[h, w, c]`` uint8, truth and predictions, bool ``[x, y, z]``."""

    title: str
    photos: Sequence[np.ndarray]
    truth: np.ndarray
    predictions: Mapping[str, np.ndarray]


@study_style
def panels(rows: Sequence[Panel]) -> Figure:
    """Photos, truth and predictions side by side, a row each; predictions in the colours of agreement, with their IoU.

    All volumes of a row are drawn in one frame, cut to what any of them fills.
    """
    if not rows:
        raise ValueError("a qualitative figure needs at least one row; found none")
    names = list(dict.fromkeys(name for row in rows for name in row.predictions))
    figure = new_figure(2.1 * (2 + len(names)) + 0.4, 1.75 * len(rows) + 0.75)
    grid = figure.subplots(len(rows), 2 + len(names), squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        for axes, picture, note in zip(line, *_seen(row, names), strict=True):
            _hang(axes, picture, note)
        line[0].set_ylabel(row.title, fontsize=8)
    for axes, title in zip(grid[0], ["input", "truth", *names], strict=True):
        axes.set_title(title)
    figure.legend(handles=_patches(AGREEMENT), loc="outside lower center", ncols=len(AGREEMENT))
    return figure


@study_style
def gallery(row: Panel, across: int = 5) -> Figure:
    """One `Panel` of many predictions on several lines of ``across`` pictures, each under its own name."""
    titles = ["input", "truth", *row.predictions]
    lines = -(-len(titles) // across)
    figure = new_figure(2.1 * across, 2.0 * lines + 0.75)
    grid = figure.subplots(lines, across, squeeze=False).flatten()
    for axes, title, picture, note in zip(grid, titles, *_seen(row, list(row.predictions)), strict=False):
        _hang(axes, picture, note)
        axes.set_title(title)
    for axes in grid[len(titles) :]:
        axes.set_axis_off()
    figure.suptitle(row.title.replace("\n", ", "))
    figure.legend(handles=_patches(AGREEMENT), loc="outside lower center", ncols=len(AGREEMENT))
    return figure


@study_style
def best_to_worst(groups: Mapping[str, Sequence[Panel]], every: Sequence[float]) -> Figure:
    """The best, the middle and the worst, a line each, every one with its photos, truth and prediction.

    Above stand the scores of all, so that nobody takes the shown ones for the rest.

    Args:
        groups: ``best``, ``median``, ``worst`` -> as many panels each, of one prediction.
        every: IoU of all samples, those that are shown among them.
    """
    across = max(len(row) for row in groups.values())
    figure = new_figure(max(6.5, 3.4 * across), 1.3 * len(groups) + 1.9)
    above, below = figure.subfigures(2, 1, height_ratios=(0.95, 1.3 * len(groups)))
    _strip(above.add_subplot(), groups, every)
    grid = below.subplots(len(groups), 3 * across, squeeze=False)
    for line, (title, row) in zip(grid, groups.items(), strict=True):
        for place, panel in enumerate(row):
            name = next(iter(panel.predictions))
            for axes, picture, note in zip(line[3 * place :], *_seen(panel, [name]), strict=False):
                _hang(axes, picture, note)
                axes.set_anchor("N")
            line[3 * place].set_xlabel(panel.title.split("\n")[-1], fontsize=6.5, color=FAINTER)
        line[0].set_ylabel(title)
    for axes, title in zip(grid[0], ["photos", "truth", "prediction"] * across, strict=True):
        axes.set_title(title, fontsize=8.5)
    below.legend(handles=_patches(AGREEMENT), loc="outside lower center", ncols=len(AGREEMENT))
    return figure


def _strip(axes: Axes, groups: Mapping[str, Sequence[Panel]], every: Sequence[float]) -> None:
    """Every score as a stroke on one line, and the shown ones as dots on it."""
    axes.vlines(every, -0.5, 0.5, color=FAINT, linewidth=1.2)
    # Colours that agreement has no other use for.
    for colour, marker, (title, row) in zip((PALETTE[2], INK, PALETTE[3]), "^ov", groups.items(), strict=True):
        scores = [iou(panel.truth, prediction) for panel in row for prediction in panel.predictions.values()]
        axes.plot(scores, [0] * len(scores), marker, color=colour, markersize=7, label=title)
    axes.set(xlabel=f"IoU of each of {len(every)}", yticks=[], ylim=(-1, 1))
    axes.grid(False)
    axes.spines["left"].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))


def _seen(row: Panel, names: Sequence[str]) -> tuple[list[np.ndarray], list[str]]:
    """Photos, truth and the predictions called ``names`` as pictures, and what stands under each."""
    pictures, notes = [mosaic(_squarish(row.photos)), render_voxels(row.truth)], ["", ""]
    for name in names:
        if name not in row.predictions:
            pictures.append(np.zeros_like(pictures[1]))
            notes.append("not run")
            continue
        labels = label_agreement(row.truth, row.predictions[name])
        pictures.append(render_voxels(labels, list(AGREEMENT.values())))
        notes.append(f"IoU {iou(row.truth, row.predictions[name]):.3f}")
    return [pictures[0], *_cut(pictures[1:])], notes


def _hang(axes: Axes, picture: np.ndarray, note: str) -> None:
    axes.imshow(picture, interpolation="antialiased")
    axes.set(xticks=[], yticks=[], xlabel=note)
    axes.grid(False)
    axes.spines[:].set_visible(False)


def _squarish(photos: Sequence[np.ndarray]) -> list[Sequence[np.ndarray]]:
    across = int(np.ceil(np.sqrt(len(photos))))
    return [photos[start : start + across] for start in range(0, len(photos), across)]


def _cut(pictures: Sequence[np.ndarray], margin: int = 4) -> list[np.ndarray]:
    """RGBA pictures of one frame, cut to the rectangle that holds what any of them shows."""
    shown = np.any([picture[..., 3] > 0 for picture in pictures], axis=0)
    if not shown.any():
        return list(pictures)
    spans = [np.flatnonzero(shown.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    part = tuple(slice(max(0, first - margin), last + margin + 1) for first, last in spans)
    return [picture[part] for picture in pictures]


def _patches(colours: Mapping[str, str]) -> list[Patch]:
    return [Patch(color=colour, label=name) for name, colour in colours.items()]


@study_style
def iou_against_views(summary: pd.DataFrame, published: pd.DataFrame | None = None, by: str = "model") -> Figure:
    """IoU against the number of photos, a line for each value of column ``by``.

    Args:
        summary: columns ``views``, ``iou`` and ``by``; with ``low`` and ``high`` the interval is shaded.
        published: columns ``views``, ``iou`` and ``model``; drawn thin and grey, each named at its end.
    """
    figure = new_figure(7.2, 4.4)
    axes = figure.add_subplot()
    groups = {str(name): rows.sort_values("views") for name, rows in summary.groupby(by, sort=False)}
    for name, (colour, marker, line) in line_styles(groups).items():
        rows = groups[name]
        how = {"marker": marker, "linestyle": line, "markersize": 4.5, "color": colour, "label": name, "zorder": 3}
        axes.plot(rows["views"], rows["iou"], **how)
        if {"low", "high"} <= set(rows):
            axes.fill_between(rows["views"], rows["low"], rows["high"], color=colour, alpha=0.1, linewidth=0)
    if published is not None:
        shown = published[published["views"] <= summary["views"].max()]
        ends = []
        for name, rows in shown.sort_values("views").groupby("model", sort=False):
            axes.plot(rows["views"], rows["iou"], ":", color=FAINTER, linewidth=1.2)
            ends.append((rows["iou"].iloc[-1], rows["views"].iloc[-1], name))
        levels = _apart([iou for iou, _, _ in sorted(ends)], 0.035 * np.diff(axes.get_ylim()).item())
        for level, (_, views, name) in zip(levels, sorted(ends), strict=True):
            axes.annotate(f" {name}", (views, level), fontsize=7.5, color="#5b616b", va="center")
        axes.plot([], [], ":", color=FAINTER, linewidth=1.2, label="published, ShapeNet")
    axes.set(xlabel="photos [count]", ylabel="IoU", xticks=sorted(summary["views"].unique()))
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def line_styles(names: Iterable[str]) -> dict[str, tuple[str, str, str]]:
    """Name -> colour, marker and line of its own; the mean shape, which learns nothing, is grey everywhere."""
    found, others = {}, 0
    for name in names:
        if name.startswith(("mean-shape", "mean foot")):
            found[name] = (FAINTER, ".", "--")
            continue
        again, index = divmod(others, len(PALETTE) - 1)  # a colour that comes again has another mark and line
        found[name] = (PALETTE[index], "os^Dv<>"[(index + again) % 7], ("-", "--", ":")[again % 3])
        others += 1
    return found


@study_style
def iou_against_cost(costs: pd.DataFrame) -> Figure:
    """IoU against the time for one object, a point with its interval for each row.

    Args:
        costs: columns ``system``, ``milliseconds``, ``iou``, ``low`` and ``high``; without milliseconds (NaN) a dashed
            line across, as for what looks at no photo.
    """
    figure = new_figure(7.2, 4.4)
    axes = figure.add_subplot()
    found = line_styles(costs["system"])
    for row in costs.itertuples():
        colour, marker, _ = found[row.system]
        if np.isnan(row.milliseconds):
            axes.axhline(row.iou, linestyle="--", linewidth=1.1, color=colour, label=row.system)
            continue
        interval = [[row.iou - row.low], [row.high - row.iou]]
        axes.errorbar(row.milliseconds, row.iou, interval, fmt=marker, color=colour, capsize=3, label=row.system)
    axes.set(xlabel="time for one object [ms]", ylabel="IoU", xscale="log")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


@study_style
def reliability_diagram(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """How often voxels are occupied against the probability that they were given, a line for each of ``tables``.

    Args:
        tables: name -> columns ``predicted`` and ``occupied`` (`calibration.reliability`).
    """
    figure = new_figure(6.2, 4.4)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=FAINTER, linewidth=1.0, label="as it says")
    for name, (colour, marker, line) in line_styles(tables).items():
        told = tables[name]
        axes.plot(told.predicted, told.occupied, marker=marker, linestyle=line, color=colour, label=name)
    axes.set(xlabel="probability given [1]", ylabel="share occupied [1]", aspect="equal")
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))
    return figure


def _apart(levels: list[float], gap: float) -> list[float]:
    """Rising ``levels`` pushed apart, up and down alike, until they keep ``gap``: names that would cover each other."""
    placed = np.array(levels, dtype=float)
    for _ in range(200):
        lack = np.clip(gap - np.diff(placed), 0, None) / 2
        placed[:-1] -= lack
        placed[1:] += lack
    return placed.tolist()


@study_style
def slices(
    volume: np.ndarray,
    cube: Cube,
    outline: np.ndarray | None = None,
    at: Sequence[int] | None = None,
    is_metric: bool = True,
) -> Figure:
    """Three cuts through a ``volume`` ``[x, y, z]``: from the side, above and the front, in mm.

    Args:
        volume: boolean, or occupancy in [0, 1].
        outline: a second volume over the same cube, drawn as a line at one half (the truth, say).
        at: the voxel of each axis through which it is cut; None: the middle of what is filled.
        is_metric: whether the cube has a size; else its edge is the unit.
    """
    scale, unit, digits = (1000, "mm", 0) if is_metric else (1 / cube.edge, "edges", 2)
    middle = filled_middle(volume) if at is None else at
    figure = new_figure(10, 3.3)
    for index, (across, up, cut, title) in enumerate([(0, 1, 2, "side"), (0, 2, 1, "above"), (2, 1, 0, "front")]):
        axes = figure.add_subplot(1, 3, index + 1)
        extent = [scale * (cube.lower[axis] + end) for axis in (across, up) for end in (0, cube.edge)]
        for grid, draw in ((volume, True), (outline, False)):
            if grid is None:
                continue
            plane = np.take(np.asarray(grid, dtype=float), middle[cut] * len(grid) // len(volume), axis=cut)
            plane = plane if across > up else plane.T
            if draw:
                axes.imshow(plane, origin="lower", extent=extent, cmap="Blues", vmin=0, vmax=1.4)
                axes.grid(False)
            else:
                # A border of nothing closes the line where the solid meets the wall of its cube.
                rim = scale * cube.edge / len(grid) * np.array([-1, 1, -1, 1])
                axes.contour(np.pad(plane, 1), [0.5], origin="lower", extent=extent + rim, colors=PALETTE[1])
        at = scale * (cube.lower[cut] + cube.edge * (middle[cut] + 0.5) / len(volume))
        axes.set(xlim=extent[:2], ylim=extent[2:], xlabel=f"{'xyz'[across]} [{unit}]", ylabel=f"{'xyz'[up]} [{unit}]")
        axes.set_title(f"{title}, {'xyz'[cut]} = {at:.{digits}f} {unit}")
        # +z is the foot's right: it lies below in a view from above, and to the left for who faces the toes.
        if up == 2:
            axes.invert_yaxis()
        if across == 2:
            axes.invert_xaxis()
    return figure


def filled_middle(volume: np.ndarray) -> list[int]:
    """The voxel in the middle of what ``volume`` ``[x, y, z]`` fills, or of the volume where nothing is."""
    filled = np.argwhere(np.asarray(volume) >= 0.5)
    return filled.mean(axis=0).round().astype(int).tolist() if len(filled) else [size // 2 for size in volume.shape]
