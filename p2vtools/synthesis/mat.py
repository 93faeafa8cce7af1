"""The mat: a printed board that tells every photo where it was taken from and how long a millimetre is.

A ChArUco board (Garrido-Jurado et al., Pattern Recognition 2014): a chessboard whose white squares carry markers, so
that any part of it that a foot leaves free says which part it is. The foot stands in its middle, toes to the right of
the sheet; the world is that of `conventions`, its origin under the middle of the board.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

MARKER_RATIO = 0.75
"""Edge of a marker in edges of its square."""

MIN_MARKERS = 4
"""Markers by which a mat is recognised: single ones are now and then read into a carpet."""

INCH = 25.4


class Sheet(NamedTuple):
    """A printed sheet as it lies on the floor."""

    reflectance: Float[np.ndarray, "rows columns"]
    width: float
    """Along the sheet's x, metres."""
    depth: float
    """Along its z, metres; its upper edge is towards -z."""
    position: tuple[float, float] = (0.0, 0.0)
    """x and z of its middle in the world, metres."""
    rotation: float = 0.0
    """Degrees clockwise, seen from above, from the world's x to its own."""


@dataclass(frozen=True)
class Mat:
    """A board and the sheets that it is printed on; lengths in millimetres."""

    name: str
    columns: int
    rows: int
    square: float
    sheet_size: tuple[float, float]
    """Width and height of one sheet."""
    first_marker: int = 0
    """Number of the first marker: no two boards share one, so that none is taken for another."""
    sheets: int = 1
    """Side by side; two are glued together in the middle of the board."""

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the board."""
        return self.columns * self.square, self.rows * self.square

    @property
    def marker_ids(self) -> Int[np.ndarray, " markers"]:
        """Numbers of the markers on it."""
        return self.first_marker + np.arange(self.columns * self.rows // 2)

    def board(self) -> object:
        """OpenCV's board, in metres."""
        import cv2

        kind = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_1000)
        edge = self.square / 1000
        return cv2.aruco.CharucoBoard((self.columns, self.rows), edge, MARKER_RATIO * edge, kind, self.marker_ids)

    def corners(self) -> Float[np.ndarray, "corners 3"]:
        """Inner corners of the chessboard in the world, metres, in the order of their ids."""
        across, down = self.size
        flat = np.asarray(self.board().getChessboardCorners(), dtype=float)[:, :2]
        x, z = flat[:, 0] - across / 2000, flat[:, 1] - down / 2000
        return np.stack([x, np.zeros_like(x), z], 1)

    def image(self, pixels_per_mm: float) -> UInt8[np.ndarray, "height width"]:
        """The board as an image."""
        across, down = (round(edge * pixels_per_mm) for edge in self.size)
        return self.board().generateImage((across, down), marginSize=0)

    def to_sheet(
        self,
        pixels_per_mm: float,
        ink: float = 0.04,
        paper: float = 0.86,
        place: tuple[float, float] = (0.0, 0.0),
        turn: float = 0.0,
    ) -> Sheet:
        """The board in the middle of its white paper, lying on the floor at ``place`` (metres), for who renders it.

        ``ink`` and ``paper`` are reflectances.
        """
        board = self.image(pixels_per_mm)
        whole = self.sheet_size[1], self.sheet_size[0] * self.sheets
        margins = [round((mm * pixels_per_mm - edge) / 2) for mm, edge in zip(whole, board.shape, strict=True)]
        page = np.pad(board, [(margin, margin) for margin in margins], constant_values=255)
        edges = np.array(page.shape[::-1]) / pixels_per_mm / 1000
        return Sheet(page / 255 * (paper - ink) + ink, *edges.tolist(), place, turn)


MATS = {
    mat.name: mat
    for mat in (
        Mat("a3", 13, 9, 30.0, (420.0, 297.0)),
        Mat("a4x2", 13, 9, 30.0, (210.0, 297.0), sheets=2),
        Mat("tabloid", 13, 8, 30.0, (17 * INCH, 11 * INCH), 100),
        Mat("letterx2", 13, 8, 30.0, (8.5 * INCH, 11 * INCH), 100, sheets=2),
        Mat("a4", 13, 9, 20.5, (297.0, 210.0), 200),
        Mat("letter", 13, 9, 20.0, (11 * INCH, 8.5 * INCH), 300),
    )
}
"""By the paper they are printed on. On a single A4 or letter sheet a large foot leaves little of the board free."""


def get_mat(paper: str) -> Mat:
    """The mat for a kind of paper.

    Raises:
        ValueError: there is none.
    """
    if paper not in MATS:
        raise ValueError(f"no mat is made for paper {paper!r}; there are {', '.join(MATS)}")
    return MATS[paper]


def find_mats(markers: Int[np.ndarray, " markers"]) -> list[Mat]:
    """The mats that carry the most of these ``markers``; none where fewer than `FEWEST_MARKERS` are on any."""
    shared = {name: int(np.isin(markers, mat.marker_ids).sum()) for name, mat in MATS.items()}
    most = max(shared.values())
    return [MATS[name] for name, count in shared.items() if count == most >= MIN_MARKERS]


def random_sheet(mat: Mat, rng: np.random.Generator) -> Sheet:
    """A mat as somebody laid it under their foot: printed more or less black, a little askew."""
    ink, paper = rng.uniform([0.03, 0.70], [0.10, 0.90]).tolist()
    place, turn = rng.uniform(-0.012, 0.012, 2).tolist(), float(rng.uniform(-7, 7))
    return mat.to_sheet(4, ink, paper, tuple(place), turn)
