"""Figures for pages (matplotlib): sheets of photos, qualitative panels and slices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.patches import Patch
from PIL import Image, ImageOps

from p2vlib.geometry.frames import Cube
from p2vlib.geometry.grids import iou
from p2vtools.viewer.shading import label_agreement, render_voxels
from p2vtools.viewer.style import AGREEMENT, FAINT, FAINTER, INK, PALETTE, hide_axes, new_figure, study_style

# --------------------------------------------------------------------------------------------------------------- photos


def read_photos(capture: Path, count: int = 8) -> list[np.ndarray]:
    """The first ``count`` photos of a rendered capture folder, as they are stored."""
    return [np.asarray(Image.open(path)) for path in sorted((capture / "rendering").glob("*.[jp][pn]g"))[:count]]


def mosaic(photos: Sequence[Sequence[UInt8[np.ndarray, "_ _ _"]]], gap: int = 3) -> UInt8[np.ndarray, "height width 3"]:
    """Rows of photos as one RGB image on white, ``gap`` pixels apart, each fitted into the size of the first photo, or
    into a square of its longer side if the aspect ratios differ.

    Args:
        photos: with 1, 3 or 4 channels.

    Raises:
        ValueError: no photo.
    """
    if not any(len(row) for row in photos):
        raise ValueError("expected at least one photo; found none")
    sizes = [photo.shape[:2] for row in photos for photo in row]
    height, width = sizes[0]
    if any(size[0] * width != size[1] * height for size in sizes):
        height = width = max(height, width)
    columns = max(len(row) for row in photos)
    sheet = Image.new("RGB", (columns * (width + gap) - gap, len(photos) * (height + gap) - gap), "white")
    for r, row in enumerate(photos):
        for c, photo in enumerate(row):
            tile = ImageOps.pad(_on_white(photo), (width, height), Image.Resampling.LANCZOS, color="white")
            sheet.paste(tile, (c * (width + gap), r * (height + gap)))
    return np.asarray(sheet)


def _on_white(photo: UInt8[np.ndarray, "height width channels"]) -> Image.Image:
    image = Image.fromarray(photo[..., 0] if photo.shape[2] == 1 else photo).convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


@study_style
def contact_sheet(
    photos: Sequence[Sequence[np.ndarray]],
    row_titles: Sequence[str] = (),
    column_titles: Sequence[str] = (),
    width: float = 10.0,
) -> Figure:
    """Rows of photos (as for `mosaic`) with a title for each row and column; ``width`` in inches."""
    sheet = mosaic(photos)
    rows, columns = len(photos), max(len(row) for row in photos)
    figure = new_figure(width, width * sheet.shape[0] / sheet.shape[1] + 0.35)
    axes = figure.add_subplot()
    axes.imshow(sheet, interpolation="lanczos")
    hide_axes(axes)
    axes.set_xticks((np.arange(columns) + 0.5) * sheet.shape[1] / columns, column_titles)
    axes.set_yticks((np.arange(rows) + 0.5) * sheet.shape[0] / rows, row_titles)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    return figure


# -------------------------------------------------------------------------------------------------- qualitative results


@dataclass(frozen=True)
class Panel:
    """One row of a qualitative figure: photos as for `mosaic`, truth and predictions as bool ``[x, y, z]``."""

    title: str
    photos: Sequence[np.ndarray]
    truth: np.ndarray
    predictions: Mapping[str, np.ndarray]


@study_style
def panels(rows: Sequence[Panel]) -> Figure:
    """Photos, truth and predictions side by side, one row each; predictions show hits and errors, and their IoU.

    All volumes of a row are cropped alike.
    """
    names = list(dict.fromkeys(name for row in rows for name in row.predictions))
    figure = new_figure(2.1 * (2 + len(names)) + 0.4, 1.75 * len(rows) + 0.75)
    grid = figure.subplots(len(rows), 2 + len(names), squeeze=False)
    for line, row in zip(grid, rows, strict=True):
        _draw_panel(line, row, names)
        line[0].set_ylabel(row.title, fontsize=8)
    for axes, title in zip(grid[0], ["input", "truth", *names], strict=True):
        axes.set_title(title)
    _add_agreement_legend(figure)
    return figure


@study_style
def gallery(row: Panel) -> Figure:
    """One `Panel` with many predictions, on several lines of five pictures, each with its name."""
    titles, columns = ["input", "truth", *row.predictions], 5
    lines = -(-len(titles) // columns)
    figure = new_figure(2.1 * columns, 2.0 * lines + 0.75)
    cells = figure.subplots(lines, columns, squeeze=False).flatten()
    _draw_panel(cells[: len(titles)], row, list(row.predictions))
    for axes, title in zip(cells, titles, strict=False):
        axes.set_title(title)
    for axes in cells[len(titles) :]:
        axes.set_axis_off()
    figure.suptitle(row.title.replace("\n", ", "))
    _add_agreement_legend(figure)
    return figure


@study_style
def best_to_worst(groups: Mapping[str, Sequence[Panel]], scores: Sequence[float]) -> Figure:
    """The best, median and worst samples, a line each, below a strip with the scores of all samples.

    Args:
        groups: ``best``, ``median``, ``worst`` -> equally many panels, with one prediction each.
        scores: IoU of all samples, those in ``groups`` among them.
    """
    columns = max(len(row) for row in groups.values())
    figure = new_figure(max(6.5, 3.4 * columns), 1.3 * len(groups) + 1.9)
    above, below = figure.subfigures(2, 1, height_ratios=(0.95, 1.3 * len(groups)))
    _draw_scores(above.add_subplot(), groups, scores)
    grid = below.subplots(len(groups), 3 * columns, squeeze=False)
    for line, (title, row) in zip(grid, groups.items(), strict=True):
        for column, panel in enumerate(row):
            cells = line[3 * column : 3 * column + 3]
            _draw_panel(cells, panel, list(panel.predictions)[:1])
            cells[0].set_xlabel(panel.title.split("\n")[-1], fontsize=6.5, color=FAINTER)
        line[0].set_ylabel(title)
    for axes, title in zip(grid[0], ["photos", "truth", "prediction"] * columns, strict=True):
        axes.set_title(title, fontsize=8.5)
    _add_agreement_legend(below)
    return figure


def _draw_scores(axes: Axes, groups: Mapping[str, Sequence[Panel]], scores: Sequence[float]) -> None:
    """A tick for every score, and a marker for those of ``groups``."""
    axes.vlines(scores, -0.5, 0.5, color=FAINT, linewidth=1.2)
    # Colours that `AGREEMENT` does not use.
    for colour, marker, (title, row) in zip((PALETTE[2], INK, PALETTE[3]), "^ov", groups.items(), strict=True):
        own = [iou(panel.truth, prediction) for panel in row for prediction in panel.predictions.values()]
        axes.plot(own, [0] * len(own), marker, color=colour, markersize=7, label=title)
    axes.set(xlabel=f"IoU of each of {len(scores)}", yticks=[], ylim=(-1, 1))
    axes.grid(False)
    axes.spines["left"].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5))


def _draw_panel(cells: Iterable[Axes], row: Panel, names: Sequence[str]) -> None:
    """Draws photos, truth and the predictions called ``names``, with their IoU below."""
    columns = int(np.ceil(np.sqrt(len(row.photos))))
    photos = mosaic([row.photos[start : start + columns] for start in range(0, len(row.photos), columns)])
    volumes, notes = [render_voxels(row.truth)], ["", ""]
    for name in names:
        if name not in row.predictions:
            volumes.append(np.zeros_like(volumes[0]))
            notes.append("not run")
            continue
        labels = label_agreement(row.truth, row.predictions[name])
        volumes.append(render_voxels(labels, list(AGREEMENT.values())))
        notes.append(f"IoU {iou(row.truth, row.predictions[name]):.3f}")
    for axes, picture, note in zip(cells, [photos, *crop_alike(volumes)], notes, strict=True):
        axes.imshow(picture, interpolation="antialiased")
        axes.set_xlabel(note)
        axes.set_anchor("N")  # the note of a wide picture stays away from the title below it
        hide_axes(axes)


def crop_alike(pictures: Sequence[np.ndarray], margin: int = 4) -> list[np.ndarray]:
    """RGBA pictures of one size, cropped to the rectangle of what is opaque in any of them."""
    opaque = np.any([picture[..., 3] > 0 for picture in pictures], axis=0)
    if not opaque.any():
        return list(pictures)
    spans = [np.flatnonzero(opaque.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    part = tuple(slice(max(0, first - margin), last + margin + 1) for first, last in spans)
    return [picture[part] for picture in pictures]


def _add_agreement_legend(figure: FigureBase) -> None:
    handles = [Patch(color=colour, label=name) for name, colour in AGREEMENT.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))


@study_style
def point_clouds(photo: np.ndarray, clouds: Mapping[str, np.ndarray]) -> Figure:
    """A photo beside clouds of points, title -> ``[points, 3]`` in the unit cube, y up, all seen from one side."""
    figure = new_figure(2.3 * (1 + len(clouds)), 2.6)
    axes = figure.add_subplot(1, 1 + len(clouds), 1)
    axes.imshow(photo)
    axes.set_title("input")
    hide_axes(axes)
    for index, (title, points) in enumerate(clouds.items(), start=2):
        axes = figure.add_subplot(1, 1 + len(clouds), index, projection="3d")
        x, y, z = points.T
        axes.scatter(x, -z, y, c=y, cmap="viridis", s=1.5)
        axes.set(xlim=(0, 1), ylim=(-1, 0), zlim=(0, 1))
        axes.set_box_aspect((1, 1, 1), zoom=1.6)
        axes.view_init(elev=25, azim=-60)
        axes.set_axis_off()
        axes.set_title(title, fontsize=8)
    return figure


# --------------------------------------------------------------------------------------------------------------- slices


@study_style
def slices(
    volume: np.ndarray,
    cube: Cube,
    outline: np.ndarray | None = None,
    at: Sequence[int] | None = None,
    is_metric: bool = True,
) -> Figure:
    """Three slices through a ``volume`` ``[x, y, z]``: from the side, above and the front, in millimetres.

    Args:
        volume: boolean, or occupancy in [0, 1].
        outline: a second volume over the same cube, drawn as its contour at 0.5, for example the truth.
        at: voxel of each axis at which to slice; None: the centre of the occupied voxels.
        is_metric: whether the cube has a physical size; otherwise the unit is its edge.
    """
    scale, unit, digits = (1000, "mm", 0) if is_metric else (1 / cube.edge, "edges", 2)
    position = occupied_centre(volume) if at is None else at
    figure = new_figure(10, 3.3)
    directions = ((0, 1, 2, "side"), (0, 2, 1, "above"), (2, 1, 0, "front"))
    for axes, (across, up, cut, title) in zip(figure.subplots(1, 3), directions, strict=True):
        extent = [scale * (cube.lower[axis] + end) for axis in (across, up) for end in (0, cube.edge)]

        def plane(grid: np.ndarray, across: int = across, up: int = up, cut: int = cut) -> np.ndarray:
            layer = np.take(np.asarray(grid, dtype=float), position[cut] * len(grid) // len(volume), axis=cut)
            return layer if across > up else layer.T

        axes.imshow(plane(volume), origin="lower", extent=extent, cmap="Blues", vmin=0, vmax=1.4)
        axes.grid(False)
        if outline is not None:
            # An empty border closes the contour where the solid touches the wall of its cube.
            border = scale * cube.edge / len(outline) * np.array([-1, 1, -1, 1])
            padded = np.pad(plane(outline), 1)
            axes.contour(padded, [0.5], origin="lower", extent=extent + border, colors=PALETTE[1])
        place = scale * (cube.lower[cut] + cube.edge * (position[cut] + 0.5) / len(volume))
        axes.set(xlim=extent[:2], ylim=extent[2:], xlabel=f"{'xyz'[across]} [{unit}]", ylabel=f"{'xyz'[up]} [{unit}]")
        axes.set_title(f"{title}, {'xyz'[cut]} = {place:.{digits}f} {unit}")
        # +z is the right side of the foot: below in a view from above, on the left in a view from the front.
        if up == 2:
            axes.invert_yaxis()
        if across == 2:
            axes.invert_xaxis()
    return figure


def occupied_centre(volume: np.ndarray) -> list[int]:
    """The voxel at the centre of what ``volume`` ``[x, y, z]`` occupies; its middle voxel where it is empty."""
    occupied = np.argwhere(np.asarray(volume) >= 0.5)
    return occupied.mean(axis=0).round().astype(int).tolist() if len(occupied) else [size // 2 for size in volume.shape]
