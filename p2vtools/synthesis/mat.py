"""The printed mat: a ChArUco board from which every photo gets its camera pose and its scale.

A ChArUco board (Garrido-Jurado et al., Pattern Recognition 2014) is a chessboard with a marker in every white square,
so that any visible part of it identifies itself. A single A4 or letter sheet has larger marks along its long edges
instead (`BorderMat`), as the foot hides the middle. The foot stands in the middle, toes towards the right edge of the
sheet. The world frame is that of `p2vlib.geometry.frames`; its origin is the middle of the board.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

MARKER_RATIO = 0.75
"""Edge of a marker divided by the edge of its square."""

MIN_MARKERS = 4
"""Markers needed to recognise a mat; single ones are sometimes detected in a patterned carpet."""

RULER = 100.0
"""Length of the ruler on each printed sheet, mm."""

INCH = 25.4

PLAIN_SHEETS = {"a4": (297.0, 210.0), "letter": (11 * INCH, 8.5 * INCH)}
"""Longer and shorter edge of a sheet without a print, mm, by the name of its paper."""


class Sheet(NamedTuple):
    """A sheet, printed or plain, on the floor, as the renderer takes it."""

    reflectance: Float[np.ndarray, "rows columns"]
    width: float
    """Extent along the sheet's x axis, metres."""
    depth: float
    """Extent along its z axis, metres; the upper edge of the print points to -z."""
    position: tuple[float, float] = (0.0, 0.0)
    """World x and z of its middle, metres."""
    rotation: float = 0.0
    """Degrees from the world's x axis to the sheet's, clockwise seen from above."""
    corner_heights: tuple[float, ...] = ()
    """Of a bent sheet: metres of its corners above the floor, from -x and -z clockwise seen from above."""

    def heights(self, x: Float[np.ndarray, "*grid"], z: Float[np.ndarray, "*grid"]) -> Float[np.ndarray, "*grid"]:
        """Metres above the floor at ``x`` and ``z`` from -1 to 1; the middle lies flat."""
        signs = ((-1, -1), (1, -1), (1, 1), (-1, 1))
        return sum(
            (height * ((1 + right * x) * (1 + down * z) / 4) ** 4)
            for height, (right, down) in zip(self.corner_heights, signs, strict=True)
        )


@dataclass(frozen=True)
class Mat:
    """A ChArUco board and the paper it is printed on; lengths in millimetres."""

    name: str
    columns: int
    rows: int
    square: float
    sheet_size: tuple[float, float]
    """Width and height of one sheet."""
    first_marker: int = 0
    """Id of the first marker. Boards of different geometry share no ids, so that they cannot be confused."""
    sheets: int = 1
    """Number of sheets side by side; two are glued together at the middle of the board."""

    min_corners = 8
    """Corners that a photo must show to be used; the large mats have 96."""

    @property
    def size(self) -> tuple[float, float]:
        """Width and height of the board."""
        return self.columns * self.square, self.rows * self.square

    @property
    def marker_ids(self) -> Int[np.ndarray, " markers"]:
        """Ids of the markers on the board."""
        return self.first_marker + np.arange(self.columns * self.rows // 2)

    def board(self) -> object:
        """The board as a ``cv2.aruco.CharucoBoard``, in metres."""
        import cv2

        edge, ids = self.square / 1000, self.marker_ids
        return cv2.aruco.CharucoBoard((self.columns, self.rows), edge, MARKER_RATIO * edge, marker_dictionary(), ids)

    def board_corners(self) -> Float[np.ndarray, "corners 3"]:
        """Corners that are detected, in OpenCV's board frame (x right, y down the sheet), metres, by id.

        They are the inner corners of the chessboard, or all corners of the marks of a `BorderMat`.
        """
        return np.asarray(self.board().getChessboardCorners(), dtype=float)

    def corners(self) -> Float[np.ndarray, "corners 3"]:
        """`board_corners` in the world frame, metres, by id."""
        width, height = self.size
        flat = self.board_corners()
        x, z = flat[:, 0] - width / 2000, flat[:, 1] - height / 2000
        return np.stack([x, np.zeros_like(x), z], 1)

    def image(self, pixels_per_mm: float) -> UInt8[np.ndarray, "height width"]:
        """The board as a greyscale image."""
        width, height = (round(edge * pixels_per_mm) for edge in self.size)
        return self.board().generateImage((width, height), marginSize=0)

    def to_sheet(self, pixels_per_mm: float, ink: float = 0.04, paper: float = 0.86) -> Sheet:
        """The mat as a `Sheet` for the renderer, with its white margin; ``ink`` and ``paper`` are reflectances."""
        board = self.image(pixels_per_mm)
        paper_size = self.sheet_size[1], self.sheet_size[0] * self.sheets
        margins = [round((mm * pixels_per_mm - edge) / 2) for mm, edge in zip(paper_size, board.shape, strict=True)]
        page = np.pad(board, [(margin, margin) for margin in margins], constant_values=255)
        edges = np.array(page.shape[::-1]) / pixels_per_mm / 1000
        return Sheet(page / 255 * (paper - ink) + ink, *edges.tolist())


@dataclass(frozen=True)
class GluedMat(Mat):
    """Two sheets of which the second is not glued exactly where it belongs."""

    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """The second sheet's shift to the right and downwards, mm, and its turn about the middle of the board, degrees,
    clockwise."""

    def board_corners(self) -> Float[np.ndarray, "corners 3"]:
        corners = super().board_corners()
        centre, (right, down, turn) = np.array(self.size) / 2000, self.offset
        second = corners[:, 0] > centre[0]
        cosine, sine = np.cos(np.deg2rad(turn)), np.sin(np.deg2rad(turn))
        turned = (corners[second, :2] - centre) @ [[cosine, sine], [-sine, cosine]]
        corners[second, :2] = turned + centre + np.array([right, down]) / 1000
        return corners


@dataclass(frozen=True)
class BorderMat(Mat):
    """Large marks in two rows along the long edges of a sheet, beside the foot."""

    mark: float = 0.0
    """Edge of a mark; ``square`` is the distance from one to the next."""
    height: float = 0.0
    """From the upper edge of the first row to the lower edge of the second."""

    min_corners = 16

    @property
    def size(self) -> tuple[float, float]:
        return (self.columns - 1) * self.square + self.mark, self.height

    @property
    def marker_ids(self) -> Int[np.ndarray, " markers"]:
        return self.first_marker + np.arange(self.columns * self.rows)

    def board(self) -> object:
        """The board as a ``cv2.aruco.Board``, in metres."""
        import cv2

        return cv2.aruco.Board(
            self.board_corners().astype(np.float32).reshape(-1, 4, 3), marker_dictionary(), self.marker_ids
        )

    def board_corners(self) -> Float[np.ndarray, "corners 3"]:
        y, x = np.meshgrid([0, self.height - self.mark], self.square * np.arange(self.columns), indexing="ij")
        outline = self.mark * np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
        origins = np.stack([x.ravel(), y.ravel(), np.zeros(x.size)], 1)
        return (origins[:, None] + outline).reshape(-1, 3) / 1000


def marker_dictionary() -> object:
    """The markers of all mats, a ``cv2.aruco.Dictionary``."""
    import cv2

    return cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_5X5_1000)


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
"""Chessboards by the name of their paper. A foot hides most of a single A4 or letter sheet: those two are no longer
printed, but still read and rendered."""

BORDER_MATS = {
    mat.name: mat
    for mat in (
        BorderMat("a4", 8, 2, 36.0, (297.0, 210.0), 400, mark=31.0, height=198.0),
        BorderMat("letter", 8, 2, 34.0, (11 * INCH, 8.5 * INCH), 450, mark=29.0, height=203.0),
    )
}
"""Mats for a single small sheet, by the name of their paper."""


def get_mat(paper: str) -> Mat:
    """The mat to print on a kind of ``paper``; upper and lower case are equivalent.

    Raises:
        ValueError: unknown paper.
    """
    mat = (MATS | BORDER_MATS).get(paper.strip().lower())
    if mat is None:
        raise ValueError(f"no mat for paper {paper!r}; expected one of {', '.join(MATS)}")
    return mat


def find_mats(marker_ids: Int[np.ndarray, " markers"]) -> list[Mat]:
    """The mats with the most of these markers; none if no mat has at least `MIN_MARKERS` of them."""
    counts = {mat: int(np.isin(marker_ids, mat.marker_ids).sum()) for mat in (*MATS.values(), *BORDER_MATS.values())}
    best = max(counts.values())
    return [mat for mat, count in counts.items() if count == best >= MIN_MARKERS]


def random_sheet(mat: Mat, rng: np.random.Generator) -> Sheet:
    """A mat with random print contrast, up to 12 mm and 7 degrees away from the foot's axis."""
    ink, paper = rng.uniform([0.03, 0.70], [0.10, 0.90]).tolist()
    position, rotation = _random_place(rng)
    return mat.to_sheet(4, ink, paper)._replace(position=position, rotation=rotation)


MAX_CORNER_HEIGHT = 0.005
"""Largest height of the corners of a plain sheet above the floor, metres."""


def random_plain_sheet(paper: str, rng: np.random.Generator) -> Sheet:
    """A sheet of `PLAIN_SHEETS` of random whiteness, up to 12 mm and 7 degrees away from the foot's axis.

    Its corners are up to `MAX_CORNER_HEIGHT` above the floor.
    """
    width, depth = (np.array(PLAIN_SHEETS[paper]) / 1000).tolist()
    white, place = np.full((60, 80), rng.uniform(0.80, 0.92)), _random_place(rng)
    return Sheet(white, width, depth, *place, corner_heights=tuple(rng.uniform(0, MAX_CORNER_HEIGHT, 4).tolist()))


def _random_place(rng: np.random.Generator) -> tuple[tuple[float, float], float]:
    """Position of a sheet, metres, and its rotation, degrees."""
    x, z = rng.uniform(-0.012, 0.012, 2).tolist()
    return (x, z), float(rng.uniform(-7, 7))
