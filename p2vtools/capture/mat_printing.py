"""The mat as a vector PDF in true size, with a page of instructions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from p2vlib.files import write_atomically
from p2vtools.synthesis.mat import INCH, RULER, BorderMat, Mat

INK, HINT, GREY, BLUE = "#000000", "#8fa3bd", "#555555", "#0072B2"

GLUE_STRIP = 10.0
"""Millimetres of paper beyond the middle of the board on either of two sheets."""

UNIT_SQUARE = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])

INSTRUCTIONS = (
    "1  Measure the ruler: 100 mm.\nIf not, print again at 100 %,\nor pass --ruler MM (step 4).",
    "2  {place} it flat on the floor.\nStand on it, toes along the arrow,\nfull weight, leg bare to the calf.",
    "3  Somebody walks once around you:\n8 to 16 photos, knee height,\nfoot and most of the mat in each.",
    "4  Copy the photos unchanged, then\np2v capture PHOTOS\n--mat {name} --side left --out CAPTURE",
)


def write_mat_pdf(mat: Mat, path: Path) -> None:
    """Writes the sheets of ``mat`` in true size, then a page of instructions, as a PDF.

    Raises:
        OSError: the file cannot be written.
    """
    pages = [_draw_sheet(mat, number) for number in range(mat.sheets)] + [_draw_instructions(mat)]

    def save(partial: Path) -> None:
        with PdfPages(partial, metadata={"Title": f"p2vlib mat, {mat.name}"}) as pdf:
            for page in pages:
                pdf.savefig(page)

    write_atomically(path, save)


def board_squares(mat: Mat) -> Float[np.ndarray, "squares 4 2"]:
    """All black squares of the board: those of the chessboard, if any, and the frames and cells of its markers.

    Corners in millimetres from the upper left corner of the board, x right and y down.
    """
    board, squares = mat.board(), []
    dictionary, markers = board.getDictionary(), 1000 * np.asarray(board.getObjPoints())[..., :2]
    cells = dictionary.markerSize + 2
    for marker, outline in zip(np.asarray(board.getIds()).ravel().tolist(), markers, strict=True):
        black, cell = dictionary.generateImageMarker(marker, cells) == 0, (outline[1, 0] - outline[0, 0]) / cells
        squares += [outline[0] + cell * (np.array([x, y]) + UNIT_SQUARE) for y, x in np.argwhere(black)]
    if not isinstance(mat, BorderMat):
        white = set(map(tuple, (markers[:, 0] // mat.square).astype(int)))
        black = [place for place in np.ndindex(mat.columns, mat.rows) if place not in white]
        squares += [mat.square * (np.array(place) + UNIT_SQUARE) for place in black]
    return np.stack(squares)


def squares_on_sheet(mat: Mat, number: int) -> tuple[Float[np.ndarray, "squares 4 2"], float, float]:
    """The black squares on sheet ``number``, and the left and upper edge of the board there; millimetres.

    The board is in the middle of a single sheet. Of two sheets, each shows half of it: the first ends and the second
    begins `GLUE_STRIP` beyond the middle of the board.
    """
    (paper_width, paper_height), (width, height) = mat.sheet_size, mat.size
    middle = paper_width / 2 if mat.sheets == 1 else paper_width - GLUE_STRIP if number == 0 else GLUE_STRIP
    left, top = middle - width / 2, (paper_height - height) / 2 - 2
    squares = board_squares(mat) + [left, top]
    if mat.sheets > 1:
        limits = (0.0, middle) if number == 0 else (middle, paper_width)
        squares[..., 0] = squares[..., 0].clip(*limits)
        squares = squares[np.ptp(squares[..., 0], axis=1) > 1e-6]
    return squares, left, top


def foot_outline() -> Float[np.ndarray, "points 2"]:
    """Rounded outline of a left or right foot of 265 x 100 mm, mm from its middle, toes to +x."""
    angle = np.linspace(0, 2 * np.pi, 121)
    x = 265 / 2 * np.cos(angle)
    return np.stack([x, 100 / 2 * np.sin(angle) * (0.84 + 0.16 * np.cos(angle))], 1)


def _draw_sheet(mat: Mat, number: int) -> Figure:
    paper_width, paper_height = mat.sheet_size
    figure = Figure(figsize=(paper_width / INCH, paper_height / INCH))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, paper_width), ylim=(paper_height, 0), aspect="equal")
    axes.set_axis_off()
    squares, left, top = squares_on_sheet(mat, number)
    axes.add_collection(PolyCollection(squares, facecolors=INK, edgecolors="none", antialiased=False))
    x, y = left + mat.size[0] / 2, top + mat.size[1] / 2
    axes.plot(*(foot_outline() + [x, y]).T, color=HINT, linewidth=1.2)
    axes.plot([x - 150, x + 150], [y, y], "-.", color=HINT, linewidth=0.6)
    box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
    axes.text(x, y, "LEFT OR RIGHT FOOT", fontsize=7, color=HINT, ha="center", va="center", bbox=box)
    is_border = isinstance(mat, BorderMat)  # then there is no room above and below the board, but in it
    _draw_ruler(axes, (x if number else max(left, 0)) + 6, y + 55 if is_border else top + mat.size[1] + 3.5)
    if mat.sheets > 1:
        axes.plot([x, x], [0, paper_height], "--", color=HINT, linewidth=0.5)
        shift, align, note = (
            (-2, "right", "cut along this line") if number else (2, "left", "glue sheet 2 onto this strip")
        )
        axes.text(x + shift, paper_height - 6, note, ha=align, fontsize=6, color=HINT, rotation=90, va="bottom")
    title = f"p2vlib mat {mat.name} · print at 100 %, not fitted to the page · toes this way →"
    axes.text(
        paper_width / 2, y - 55 if is_border else top - 2.5, title, fontsize=7, color=GREY, ha="center", va="bottom"
    )
    return figure


def _draw_ruler(axes: Axes, x: float, y: float) -> None:
    """A ruler with its left end at (x, y), to measure the scale of the print."""
    length = round(RULER)
    axes.plot([x, x + length], [y, y], color=INK, linewidth=0.6)
    for mark in range(0, length + 1, 5):
        axes.plot([x + mark] * 2, [y, y + (3 if mark % 10 == 0 else 1.6)], color=INK, linewidth=0.4)
    axes.text(x + length + 2, y + 1.5, f"{length} mm: measure it", fontsize=6, va="center", color=GREY)


def _draw_instructions(mat: Mat) -> Figure:
    """A page of four pictures with their captions."""
    figure = Figure(figsize=(max(mat.sheet_size) / INCH, min(mat.sheet_size) / INCH))
    figure.suptitle("A foot from photos on the mat", fontsize=13, y=0.93)
    panels = [figure.add_axes((0.02 + 0.245 * step, 0.3, 0.225, 0.5)) for step in range(4)]
    place = "Glue the two sheets together;\nlay" if mat.sheets > 1 else "Lay"
    for axes, text in zip(panels, INSTRUCTIONS, strict=True):
        axes.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal")
        axes.set_axis_off()
        axes.set_title(text.format(place=place, name=mat.name), fontsize=9.5, y=-0.4, loc="center")
    for axes in panels[:3]:
        for column, row in np.ndindex(9, 6):
            if (column + row) % 2 == 0:
                axes.fill(*([-0.65, -0.43] + 0.144 * (np.array([column, row]) + UNIT_SQUARE)).T, color=GREY)
    for axes in panels[1:3]:
        axes.fill(*(foot_outline() / 240).T, color="#d9b38c", zorder=3)
    panels[0].plot([-0.6, 0.6], [-0.85, -0.85], color=INK, linewidth=1.5)
    panels[0].text(0, -1.05, "100 mm", fontsize=8, ha="center")
    panels[1].annotate("", (0.95, 0), (0.62, 0), arrowprops={"arrowstyle": "->", "color": BLUE}, zorder=4)
    for angle in np.deg2rad(np.arange(0, 360, 45)):
        x, y = np.cos(angle), np.sin(angle)
        panels[2].plot(x, y, "s", color=BLUE, markersize=6)
        panels[2].plot([0.9 * x, 0.7 * x], [0.9 * y, 0.7 * y], color=BLUE, linewidth=0.8)
    panels[3].fill(*(foot_outline() / 150).T, color="#b9c2cf")
    panels[3].text(0, 0, "mm", fontsize=14, ha="center", va="center")
    return figure
