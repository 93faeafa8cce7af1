"""Finds a sheet of paper in a photo by its edges, although a foot covers parts of them.

Three lines that bound a rectangle of known size on three sides determine its pose for a known focal length. All
triples of the longest lines in the photo are tried. A pose is scored by what the photo shows along the four sides:
an edge with paper inside of it counts for the pose, paper without an edge against it, and what covers the paper is
ignored. Pixel coordinates are those of OpenCV: (0, 0) is the centre of the first pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

SIZES = {"a4": (0.297, 0.210), "letter": (0.2794, 0.2159)}
"""Name of a sheet -> its long and its short side, metres."""

WORKING_SIDE = 512
"""Longer side of the photo in which lines are searched, pixels."""

MAX_LINES, MAX_POSES = 45, 900
"""Lines whose triples are tried, and poses that are scored by colours."""

MIN_SEGMENT, LINE_TOLERANCE = 10.0, 2.0
"""Shortest line segment, and distance within which segments belong to one line, pixels."""

BESIDE = 5.0
"""Distance from a segment at which the whiteness of its sides is measured, pixels."""

DIRECTIONS = 16
"""Directions of an edge that are distinguished, in half a turn."""

EDGE_STEP = 3.0
"""Difference of colour per pixel (8-bit Lab) that counts as a full edge."""

MIN_DISTANCE, MAX_DISTANCE, MIN_SINE, MIN_AREA = 0.2, 1.6, 0.2, 0.06
"""Possible sheets: distance (metres), sine of the elevation, and share of the photo."""

BEYOND = 0.35
"""Largest distance of a corner beyond the photo, in its width and height."""

STRIP = 0.008
"""Distance from a side at which the colours inside and outside of it are compared, metres."""

PAPER_WEIGHTS, PAPER_SPREAD = (0.35, 1.0, 1.0), 9.0
"""Weights of the Lab channels (shadows change the brightness of paper), and standard deviation of its colour."""

MIN_COVERED, MAX_COVERED = 0.2, 0.75
"""Share of the sheet that the foot covers."""


@dataclass(frozen=True, eq=False)
class SheetPhoto:
    """A photo at `WORKING_SIDE` pixels in which a sheet is searched."""

    lab: Float[np.ndarray, "height width 3"]
    lines: Float[np.ndarray, "lines 3"]
    """Normal (of length 1) and offset: a x + b y + c = 0; most likely sides of a sheet first."""
    edges: Float[np.ndarray, "directions height width"]
    """Strength of the edge within 2 pixels whose normal has this direction, 0 to 1."""

    def intrinsics(self, focal: float) -> Float[np.ndarray, "3 3"]:
        """The intrinsic matrix for a focal length in longer sides of the photo."""
        height, width = self.lab.shape[:2]
        pixels = focal * max(height, width)
        return np.array([[pixels, 0, (width - 1) / 2], [0, pixels, (height - 1) / 2], [0, 0, 1]])


def sheet_corners(size: tuple[float, float]) -> Float[np.ndarray, "4 3"]:
    """The corners in the world: floor at y = 0, origin in the middle, x along the long side."""
    x, z = size[0] / 2, size[1] / 2
    return np.array([[-x, 0, -z], [x, 0, -z], [x, 0, z], [-x, 0, z]])


def resize_photo(picture: UInt8[np.ndarray, "_ _ 3"], side: int) -> UInt8[np.ndarray, "_ _ 3"]:
    """The photo with ``side`` pixels along its longer side."""
    scale = side / max(picture.shape[:2])
    return cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def smooth_lab(picture: UInt8[np.ndarray, "height width 3"]) -> Float[np.ndarray, "height width 3"]:
    """The RGB photo in 8-bit Lab, blurred by a pixel."""
    return cv2.GaussianBlur(cv2.cvtColor(picture, cv2.COLOR_RGB2LAB).astype(np.float32), (0, 0), 1.0)


def prepare_photo(picture: UInt8[np.ndarray, "_ _ 3"]) -> SheetPhoto:
    """Finds the lines and edges in an RGB photo."""
    scale = WORKING_SIDE / max(picture.shape[:2])
    small = cv2.resize(
        picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    )
    lab = cv2.GaussianBlur(cv2.cvtColor(small, cv2.COLOR_RGB2LAB).astype(np.float32), (0, 0), 1.0)
    across, down = (cv2.Scharr(lab, cv2.CV_32F, *axis) / 32 for axis in ((1, 0), (0, 1)))
    edges = []
    for angle in np.arange(DIRECTIONS) * np.pi / DIRECTIONS:
        cos, sin = np.cos(angle), np.sin(angle)
        strength = np.abs(across * cos + down * sin) - np.abs(down * cos - across * sin) / 2
        edges.append(cv2.dilate(np.clip(strength.max(2) / EDGE_STEP, 0, 1), np.ones((5, 5))))
    return SheetPhoto(lab, _find_lines(small, lab), np.stack(edges))


def _find_lines(
    picture: UInt8[np.ndarray, "height width 3"], lab: Float[np.ndarray, "height width 3"]
) -> Float[np.ndarray, "lines 3"]:
    """The lines with the longest segments on them, most of all those beside something bright and without colour.

    Contrast is enhanced for white paper on a white floor.
    """
    grey = cv2.createCLAHE(3.0, (4, 4)).apply(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))
    segments = cv2.createLineSegmentDetector(cv2.LSD_REFINE_STD).detect(grey)[0]
    ends = np.zeros((0, 2, 2)) if segments is None else segments.reshape(-1, 2, 2).astype(float)
    lengths = np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1)
    order = [index for index in np.argsort(-lengths) if lengths[index] > MIN_SEGMENT]
    ends, lengths = ends[order], lengths[order]
    weight = _weigh_by_whiteness(ends, lab)
    free, found = np.ones(len(ends), bool), []
    for index in range(len(ends)):
        if not free[index]:
            continue
        members = np.arange(len(ends)) == index
        for _ in range(2):
            points, weights = ends[members].reshape(-1, 2), np.repeat(lengths[members], 2)[:, None]
            middle = (points * weights).sum(0) / weights.sum()
            normal = np.linalg.svd((points - middle) * np.sqrt(weights))[2][1]
            members = (np.abs((ends - middle) @ normal).max(1) < LINE_TOLERANCE) & free
            members[index] = True
        free &= ~members
        found.append((lengths[members] @ weight[members], [*normal, -normal @ middle]))
    found.sort(key=lambda line: -line[0])
    return np.array([line for _, line in found[:MAX_LINES]]).reshape(-1, 3)


def _weigh_by_whiteness(
    ends: Float[np.ndarray, "segments 2 2"], lab: Float[np.ndarray, "height width 3"]
) -> Float[np.ndarray, " segments"]:
    """0.5 to 2 for each segment: how white its whiter side is, compared with the photo."""
    whiteness = lab[..., 0] - 1.5 * np.linalg.norm(lab[..., 1:] - 128, axis=2)
    along = ends[:, 1] - ends[:, 0]
    normal = np.stack([-along[:, 1], along[:, 0]], 1) / np.linalg.norm(along, axis=1, keepdims=True)
    points = ends[:, :1] + along[:, None] * np.array([0.2, 0.5, 0.8])[:, None]
    sides = []
    for distance in (-BESIDE, BESIDE):
        column, row = np.moveaxis(np.round(points + distance * normal[:, None]).astype(int), -1, 0)
        sides.append(whiteness[row.clip(0, lab.shape[0] - 1), column.clip(0, lab.shape[1] - 1)].mean(1))
    excess = np.maximum(*sides) - np.median(whiteness)
    return 0.5 + 1.5 / (1 + np.exp(-excess / 20))


def possible_sheets(photo: SheetPhoto, size: tuple[float, float], focal: float) -> Float[np.ndarray, "poses 4 3"]:
    """Corners of the best sheets in the frame of the camera, metres, in the order of `sheet_corners`; best first.

    Args:
        focal: focal length in longer sides of the photo.
    """
    intrinsics = photo.intrinsics(focal)
    corners = _plausible(_corners_from_lines(photo, intrinsics, size), intrinsics, photo)
    coarse = _edges_along(photo, corners, intrinsics, 12)
    seen = np.maximum(coarse[1].sum(2), 3)
    best = np.argsort(-(coarse[0].sum(2) / seen).mean(1))[:MAX_POSES]
    corners = corners[best]
    return corners[np.argsort(-score_sheets(photo, corners, focal))]


def _corners_from_lines(
    photo: SheetPhoto, intrinsics: Float[np.ndarray, "3 3"], size: tuple[float, float]
) -> Float[np.ndarray, "_ 4 3"]:
    """All sheets that three of the lines bound, if two corners are in or near the photo.

    The intersection of the planes through the camera and two opposite sides is their direction. The third side is
    perpendicular to it and lies in its own plane; its length is known.
    """
    index = np.arange(len(photo.lines))
    with np.errstate(divide="ignore", invalid="ignore"):
        crossings = np.cross(photo.lines[:, None], photo.lines[None])
        crossings = crossings[..., :2] / crossings[..., 2:]
    extent = np.array(photo.lab.shape[1::-1])
    near = ((crossings > -BEYOND * extent) & (crossings < (1 + BEYOND) * extent)).all(2)
    first, second, third = (axis.ravel() for axis in np.meshgrid(index, index, index, indexing="ij"))
    chosen = (first < second) & near[first, third] & near[second, third]
    planes = photo.lines @ intrinsics
    planes /= np.linalg.norm(planes, axis=1, keepdims=True)
    first, second, third = (planes[axis[chosen]] for axis in (first, second, third))
    along = np.cross(first, second)
    along /= np.linalg.norm(along, axis=1, keepdims=True) + 1e-9
    across = np.cross(along, third)
    valid = np.linalg.norm(across, axis=1) > 0.1
    across /= np.linalg.norm(across, axis=1, keepdims=True) + 1e-9
    rays = [np.cross(side, third) for side in (first, second)]
    rays = [ray * np.sign(ray[:, 2:]) for ray in rays]
    # a rays[0] - b rays[1] = across, in the plane of the third side
    area = (np.cross(*rays) * third).sum(1)
    a, b = ((np.cross(across, ray) * third).sum(1) / np.where(area == 0, 1e-9, area) for ray in rays[::-1])
    valid &= a * b > 0
    start, end, along = (np.abs(a)[:, None] * rays[0])[valid], (np.abs(b)[:, None] * rays[1])[valid], along[valid]
    sheets = []
    for width, depth, shift in ((*size, 0), (*size[::-1], 1)):
        for step in (depth * along, -depth * along):
            corners = np.stack([width * start, width * end, width * end + step, width * start + step], 1)
            sheets.append(np.roll(corners, -shift, 1))
    corners = np.concatenate(sheets)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 3] - corners[:, 0])
    below = (normals * corners[:, 0]).sum(1) < 0
    corners[below] = corners[below][:, [1, 0, 3, 2]]
    return corners


def _plausible(
    corners: Float[np.ndarray, "_ 4 3"], intrinsics: Float[np.ndarray, "3 3"], photo: SheetPhoto
) -> Float[np.ndarray, "_ 4 3"]:
    """The sheets that can be in the photo: in front of the camera, not too far, too slanted or too small."""
    corners = corners[(corners[..., 2] > 0.05).all(1)]
    middle = corners.mean(1)
    distance = np.linalg.norm(middle, axis=1)
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 3] - corners[:, 0])
    sine = (normals * middle).sum(1) / np.linalg.norm(normals, axis=1) / distance
    extent = np.array(photo.lab.shape[1::-1])
    pixels = _project(corners, intrinsics)
    x, y = pixels[..., 0], pixels[..., 1]
    area = np.abs((x * np.roll(y, -1, 1) - y * np.roll(x, -1, 1)).sum(1)) / 2
    possible = (distance > MIN_DISTANCE) & (distance < MAX_DISTANCE) & (sine > MIN_SINE)
    possible &= area > MIN_AREA * extent.prod()
    possible &= ((pixels > -BEYOND * extent) & (pixels < (1 + BEYOND) * extent)).all((1, 2))
    possible &= ((pixels.mean(1) > 0) & (pixels.mean(1) < extent)).all(1)
    return corners[possible]


def _project(points: Float[np.ndarray, "*_ 3"], intrinsics: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "*_ 2"]:
    pixels = points @ intrinsics.T
    return pixels[..., :2] / pixels[..., 2:]


def _look_up(
    photo: SheetPhoto, points: Float[np.ndarray, "*_ 3"], intrinsics: Float[np.ndarray, "3 3"]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row and column of the pixel of each point, clipped to the photo, and whether it is in the photo."""
    column, row = np.moveaxis(np.round(_project(points, intrinsics)).astype(int), -1, 0)
    height, width = photo.lab.shape[:2]
    visible = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return row.clip(0, height - 1), column.clip(0, width - 1), visible


def _along_sides(corners: Float[np.ndarray, "_ 4 3"], number: int) -> Float[np.ndarray, "_ 4 number 3"]:
    steps = (np.arange(number) + 0.5) / number
    return corners[:, :, None] + (np.roll(corners, -1, 1) - corners)[:, :, None] * steps[:, None]


def _edges_along(
    photo: SheetPhoto, corners: Float[np.ndarray, "_ 4 3"], intrinsics: Float[np.ndarray, "3 3"], number: int
) -> tuple[Float[np.ndarray, "_ 4 number"], np.ndarray]:
    """Strength of the edge at ``number`` points of each side, and whether they are in the photo."""
    pixels = _project(corners, intrinsics)
    side = np.roll(pixels, -1, 1) - pixels
    normal = np.arctan2(side[..., 0], -side[..., 1])
    direction = np.round(normal / np.pi * DIRECTIONS).astype(int) % DIRECTIONS
    row, column, visible = _look_up(photo, _along_sides(corners, number), intrinsics)
    return photo.edges[direction[..., None], row, column] * visible, visible


def score_sheets(
    photo: SheetPhoto, corners: Float[np.ndarray, "poses 4 3"], focal: float
) -> Float[np.ndarray, " poses"]:
    """How well the photo agrees with each sheet: about 0.5 to 0.9 for true ones, at most 1."""
    intrinsics = photo.intrinsics(focal)
    edges, visible = _edges_along(photo, corners, intrinsics, 24)
    points = _along_sides(corners, 24)
    inwards = (np.roll(corners, 1, 1) - corners)[:, :, None]
    inwards = STRIP * inwards / np.linalg.norm(inwards, axis=3, keepdims=True)
    row, column, shown = _look_up(photo, points + inwards, intrinsics)
    inside = photo.lab[row, column]
    row, column, _ = _look_up(photo, points - inwards, intrinsics)
    contrast = np.clip(np.linalg.norm(photo.lab[row, column] - inside, axis=3) / 10, 0, 1)
    colours = np.where(shown[..., None], inside, np.nan).reshape(len(corners), 4 * 24, 3)
    colours[~shown.any((1, 2))] = 0
    paper = np.nanmedian(colours, 1)
    is_paper = np.exp(-0.5 * (_colour_distance(inside, paper[:, None, None]) / PAPER_SPREAD) ** 2) * shown * visible
    by_side = (is_paper * (edges * (0.4 + 0.6 * contrast) - 1.5 * (1 - edges))).mean(2)
    lengths = np.linalg.norm(np.roll(corners, -1, 1) - corners, axis=2)
    lengths /= lengths.sum(1, keepdims=True)
    score = (by_side * lengths).sum(1) / ((is_paper.mean(2) * lengths).sum(1) + 0.25)
    score += np.minimum(by_side + 0.1, 0).sum(1)
    score -= 0.004 * np.clip(np.linalg.norm(paper[:, 1:] - 128, axis=1) - 10, 0, None)
    score -= 0.0015 * np.clip(170 - paper[:, 0], 0, None)
    return score - _interior_penalty(photo, corners, intrinsics, paper)


def _interior_penalty(
    photo: SheetPhoto,
    corners: Float[np.ndarray, "poses 4 3"],
    intrinsics: Float[np.ndarray, "3 3"],
    paper: Float[np.ndarray, "poses 3"],
) -> Float[np.ndarray, " poses"]:
    """Penalty where too little or too much of the sheet is covered, and where it is outside the photo."""
    across, down = (axis.ravel()[:, None] for axis in np.meshgrid((np.arange(10) + 0.5) / 10, (np.arange(8) + 0.5) / 8))
    origin, right, left = (corners[:, None, number] for number in (0, 1, 3))
    row, column, visible = _look_up(photo, origin + across * (right - origin) + down * (left - origin), intrinsics)
    covered = (_colour_distance(photo.lab[row, column], paper[:, None]) > 1.5 * PAPER_SPREAD) & visible
    share = covered.sum(1) / np.maximum(visible.sum(1), 1)
    outside = np.clip(MIN_COVERED - share, 0, None) + np.clip(share - MAX_COVERED, 0, None)
    return 2 * outside + 0.5 * (1 - visible.mean(1))


def _colour_distance(first: Float[np.ndarray, "*_ 3"], second: Float[np.ndarray, "*_ 3"]) -> Float[np.ndarray, "*_"]:
    return np.linalg.norm((first - second) * np.array(PAPER_WEIGHTS), axis=-1)
