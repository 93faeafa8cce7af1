"""The mat on paper: a vector PDF in true size, with what somebody needs to know who stands on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from p2vlib.files import write_atomically
from p2vtools.synthesis.mat import INCH, MARKER_RATIO, Mat
from p2vtools.viewer.style import new_figure, study_style

INK, HINT = "#000000", "#8fa3bd"


def board_squares(mat: Mat) -> list[Float[np.ndarray, "4 2"]]:
    """Everything that is black on the board as squares, millimetres from its upper left corner, x right and y down.

    Black squares of the chessboard, and of every marker its black frame and cells.
    """
    board, shapes = mat.board(), []
    places = (1000 * np.asarray(board.getObjPoints())[:, 0, :2] // mat.square).astype(int).tolist()
    white = {tuple(place): number for number, place in enumerate(places)}
    kind, edge = board.getDictionary(), MARKER_RATIO * mat.square
    cells = kind.markerSize + 2
    cell, margin = edge / cells, (mat.square - edge) / 2
    ids = np.asarray(board.getIds()).ravel()
    for column in range(mat.columns):
        for row in range(mat.rows):
            corner = np.array([column, row]) * mat.square
            if (column, row) not in white:
                shapes.append(_square(corner, mat.square))
                continue
            bits = kind.generateImageMarker(int(ids[white[column, row]]), cells) == 0
            for y, x in np.argwhere(bits):
                shapes.append(_square(corner + margin + cell * np.array([x, y]), cell))
    return shapes


def _square(corner: np.ndarray, edge: float) -> Float[np.ndarray, "4 2"]:
    return corner + edge * np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=float)


def write_mat_pdf(mat: Mat, path: Path) -> None:
    """Writes the mat as a PDF in true size: its sheets first, then a page that says in pictures how to use it.

    Raises:
        OSError: it cannot be written.
    """
    pages = [_sheet(mat, number) for number in range(mat.sheets)] + [_instructions(mat)]

    def save(partial: Path) -> None:
        with PdfPages(partial, metadata={"Title": f"p2vlib mat, {mat.name}"}) as pdf:
            for page in pages:
                pdf.savefig(page)

    write_atomically(path, save)


@study_style
def _sheet(mat: Mat, number: int) -> Figure:
    """One sheet. The board is in the middle of all sheets; what lies beyond this one is cut off."""
    width, height = mat.sheet_size
    figure = new_figure(width / INCH, height / INCH)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    axes.set_axis_off()
    across, down = mat.size
    left = _left(mat, number)
    top = (height - down) / 2 - 2
    shapes = [shape + [left, top] for shape in board_squares(mat)]
    kept = _halves(mat, number, left, shapes)
    axes.add_collection(PolyCollection(kept, facecolors=INK, edgecolors="none", antialiased=False))
    _zone(axes, left + across / 2, top + down / 2)
    _ruler(axes, max(left, 0) + 6, top + down + 3.5)
    if mat.sheets > 1:
        seam = left + across / 2
        axes.plot([seam, seam], [0, height], "--", color=HINT, linewidth=0.5)
        words = "glue sheet 2 onto this strip" if number == 0 else "cut along this line"
        axes.text(seam + (2 if number == 0 else -2), height - 6, words, fontsize=6, color=HINT, rotation=90,
                  ha="left" if number == 0 else "right", va="bottom")  # fmt: skip
    axes.text(width / 2, top - 2.5, f"p2vlib mat {mat.name} · print at 100 %, not fitted to the page · toes this way →",
              fontsize=7, color="#555555", ha="center", va="bottom")  # fmt: skip
    return figure


GLUE_STRIP = 10.0
"""Millimetres of paper beyond the middle of the board on either of two sheets."""


def _left(mat: Mat, number: int) -> float:
    """Where the board begins on a sheet: of two, the first ends and the second begins a strip beyond its middle."""
    width, across = mat.sheet_size[0], mat.size[0]
    if mat.sheets == 1:
        return (width - across) / 2
    return (width - GLUE_STRIP if number == 0 else GLUE_STRIP) - across / 2


def _halves(mat: Mat, number: int, left: float, shapes: list[np.ndarray]) -> list[np.ndarray]:
    """The part of ``shapes`` on this sheet: of two, each has one half of the board."""
    if mat.sheets == 1:
        return shapes
    seam = left + mat.size[0] / 2
    low, high = (0.0, seam) if number == 0 else (seam, mat.sheet_size[0])
    clipped = [np.stack([shape[:, 0].clip(low, high), shape[:, 1]], 1) for shape in shapes]
    return [shape for shape in clipped if np.ptp(shape[:, 0]) > 1e-6]


def foot_outline(length: float = 265.0, width: float = 100.0) -> Float[np.ndarray, "points 2"]:
    """A rounded outline about a foot of this size, mm about its middle, toes to +x; it fits left and right alike."""
    angle = np.linspace(0, 2 * np.pi, 121)
    x = length / 2 * np.cos(angle)
    return np.stack([x, width / 2 * np.sin(angle) * (0.84 + 0.16 * np.cos(angle))], 1)


def _zone(axes: Axes, x: float, y: float) -> None:
    """Where the foot stands: an outline to stand in, its long axis, and where the heel goes."""
    shape = foot_outline() + [x, y]
    axes.plot(*shape.T, color=HINT, linewidth=1.2)
    axes.plot([x - 150, x + 150], [y, y], "-.", color=HINT, linewidth=0.6)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
    axes.text(x, y, "LEFT OR RIGHT FOOT", fontsize=7, color=HINT, ha="center", va="center", bbox=box)


def _ruler(axes: Axes, x: float, y: float, length: int = 100) -> None:
    """A hundred millimetres, to be held against a ruler."""
    axes.plot([x, x + length], [y, y], color=INK, linewidth=0.6)
    for mark in range(0, length + 1, 5):
        axes.plot([x + mark] * 2, [y, y + (3 if mark % 10 == 0 else 1.6)], color=INK, linewidth=0.4)
    axes.text(x + length + 2, y + 1.5, "100 mm: measure it", fontsize=6, va="center", color="#555555")


@study_style
def _instructions(mat: Mat) -> Figure:
    """A page of four pictures."""
    width, height = max(mat.sheet_size), min(mat.sheet_size)
    figure = new_figure(width / INCH, height / INCH)
    figure.set_layout_engine("none")
    grid = [figure.add_axes((0.02 + 0.245 * place, 0.3, 0.225, 0.5)) for place in range(4)]
    sheets = "Glue the two sheets together;\nlay" if mat.sheets > 1 else "Lay"
    words = (
        "1  Measure the ruler: 100 mm.\nIf not, print again at 100 %.",
        f"2  {sheets} it flat on the floor.\nStand on it, toes along the arrow,\nfull weight, leg bare to the calf.",
        "3  Somebody walks once around you:\n8 to 16 photos, knee height,\nfoot and most of the mat in each.",
        "4  Photos off the phone as they are,\nthen  python -m p2vtools capture PHOTOS\n"
        f"--mat {mat.name} --side left --out CAPTURE",
    )
    for axes, text in zip(grid, words, strict=True):
        axes.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal")
        axes.set_axis_off()
        axes.set_title(text, fontsize=9.5, y=-0.4, loc="center")
    _little_mat(grid[0])
    grid[0].plot([-0.6, 0.6], [-0.85, -0.85], color=INK, linewidth=1.5)
    grid[0].text(0, -1.05, "100 mm", fontsize=8, ha="center")
    for axes in grid[1:3]:
        _little_mat(axes)
        axes.fill(*(foot_outline() / 240).T, color="#d9b38c", zorder=3)
    grid[1].annotate("", (0.95, 0), (0.62, 0), arrowprops={"arrowstyle": "->", "color": "#0072B2"}, zorder=4)
    for angle in np.deg2rad(np.arange(0, 360, 45)):
        x, y = np.cos(angle), np.sin(angle)
        grid[2].plot(x, y, "s", color="#0072B2", markersize=6)
        grid[2].plot([0.9 * x, 0.7 * x], [0.9 * y, 0.7 * y], color="#0072B2", linewidth=0.8)
    grid[3].fill(*(foot_outline() / 150).T, color="#b9c2cf")
    grid[3].text(0, 0, "mm", fontsize=14, ha="center", va="center")
    figure.suptitle("A foot from photos on the mat", fontsize=13, y=0.93)
    return figure


def _little_mat(axes: Axes) -> None:
    for column in range(9):
        for row in range(6):
            if (column + row) % 2 == 0:
                axes.fill(*(_square(np.array([-0.65 + column * 0.144, -0.43 + row * 0.144]), 0.144)).T, color="#555555")
