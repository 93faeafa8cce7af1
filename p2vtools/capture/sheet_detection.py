"""Finds a plain sheet of paper in a photo, although a foot covers a part of its edges.

Straight edges are found with the Line Segment Detector (von Gioi et al., PAMI 2010), in brightness and in colour, since
white paper differs little from a bright floor. Four of them whose brighter sides face each other, or three and the
known proportions of the paper, are a candidate; the one whose sides are covered best by edges, with paper inside, is
the sheet. Lengths in a photo are thousandths of its longer side, from its centre, so that a focal length has the same
value in all sizes of a photo.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from p2vtools.capture.charuco import Grey, Picture
from p2vtools.synthesis.mat import PLAIN_SHEETS

Segments = Float[np.ndarray, "segments 2 2"]
"""Two ends each."""

Candidates = Float[np.ndarray, "candidates 4 2"]
"""Corners of quadrilaterals; side k goes from corner k to the next."""

Sides = Float[np.ndarray, "candidates 4"]
Scores = Float[np.ndarray, " candidates"]

PAPERS = {name: (long / 1000, short / 1000) for name, (long, short) in PLAIN_SHEETS.items()}
"""Longer and shorter edge of a sheet, metres, by the name of the paper."""

FOCALS = np.geomspace(600, 1400, 18)
"""Focal lengths that are tried: fields of view of 39 to 80 degrees along the longer side."""

MIN_SEGMENT, MAX_SEGMENTS, MAX_SEEDS = 20, 3000, 150
"""Length of the shortest segment that is used; how many segments of one image are used; how many segments, best
first, start a line."""

MAX_LINES, MAX_THREE, MAX_SCORED = 56, 32, 500
"""Number of lines, best first, for candidates of four and of three lines; number of candidates, those covered best,
whose colours are compared."""

SAME_ANGLE, SAME_DISTANCE = np.cos(np.deg2rad(4)), 4.0
"""Cosine of 4 degrees, and a distance: segments within both of a line belong to it."""

BIN, REACH = 2.0, 2000.0
"""Resolution and half of the range of the covered parts of a line."""

MAX_OFFSET = 4.0
"""Largest distance of a side of a candidate from the line that covers it."""

STRIP, SAME_COLOUR = 7.0, 4.0
"""Distance from a side at which its two colours are compared, and their largest difference without an edge (Lab)."""

MAX_CHROMA, MAX_TINT, SAME_TINT = 20.0, 40.0, 8.0
"""Largest chroma (Lab) of paper in white light, of the brightest parts of a photo that may be paper in coloured light,
and the largest difference of paper from these, whose chroma decreases with the brightness."""

MIN_COVER = 0.25
"""Share of each of three sides that has to be covered by edges."""

MIN_AREA, MAX_CORNER = 40_000, 1100.0
"""Smallest area of the sheet, and the largest coordinate of a corner, which may be outside of the photo."""

WEIGHT_OUTSIDE, WEIGHT_PAPER, WEIGHT_MISSING, FREE_GAPS, WEIGHT_ERROR, FREE_ERROR = 0.5, 0.5, 1.0, 0.15, 1.5, 0.03
"""Weights in the score of a candidate: of edges that continue beyond its sides, of paper inside its sides, of sides
where paper but no edge is seen, beyond the free share, and of the error of its angles and proportions beyond the free
one."""


@dataclass(frozen=True, eq=False)
class SheetLines:
    """Straight edges in a photo, and where it looks like paper."""

    lines: Float[np.ndarray, "lines 3"]
    """Unit normal, towards the brighter side, and offset: ``normal @ point + offset`` is the signed distance."""
    cover: Float[np.ndarray, "lines bins"]
    """Length of the segments of each line up to a position along it, in steps of `BIN` from ``-REACH``."""
    lab: Float32[np.ndarray, "height width 3"]
    """The photo in CIE Lab, scaled to 1000 pixels and smoothed."""
    paper: Bool[np.ndarray, "height width"]
    """Bright and nearly colourless pixels."""


def find_lines(picture: Picture) -> SheetLines:
    """The straight edges in an RGB photo."""
    height, width = (max(1, round(edge * 1000 / max(picture.shape[:2]))) for edge in picture.shape[:2])
    lab = cv2.cvtColor(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)
    centre = np.array(lab.shape[1::-1]) / 2 - 0.5
    detector, segments = cv2.createLineSegmentDetector(cv2.LSD_REFINE_STD), [np.zeros((0, 2, 2))]
    for channel in _channels(lab):
        found = detector.detect(channel)[0]
        found = np.zeros((0, 2, 2)) if found is None else found.reshape(-1, 2, 2).astype(float)
        lengths = np.linalg.norm(found[:, 1] - found[:, 0], axis=1)
        found = found[np.argsort(-lengths)[: min(MAX_SEGMENTS, (lengths > MIN_SEGMENT).sum())]]
        segments.append(_higher_side_right(found, channel))
    paper, brightness = _find_paper(lab)
    smooth = cv2.GaussianBlur(lab, (0, 0), 1.2).astype(np.float32)
    edges = np.concatenate(segments)
    return SheetLines(*_merge(edges - centre, _paper_beside(edges, np.where(paper, brightness, 0.6))), smooth, paper)


def _find_paper(
    lab: UInt8[np.ndarray, "height width 3"],
) -> tuple[Bool[np.ndarray, "height width"], Float[np.ndarray, "height width"]]:
    """Where a photo looks like paper, and its brightness relative to its brightest parts.

    Paper is bright, and nearly colourless or, in the light of a warm lamp, of the colour of the brightest parts.
    """
    colour = lab[..., 1:].astype(float) - 128
    brightest = np.percentile(lab[..., 0], 98)
    brightness = lab[..., 0] / max(brightest, 1)  # 0 in a photo taken in the pocket
    tint = np.median(colour[lab[..., 0] >= brightest], axis=0)
    paper = np.linalg.norm(colour, axis=-1) < MAX_CHROMA
    if np.linalg.norm(tint) < MAX_TINT:
        paper |= np.linalg.norm(colour - brightness[..., None] * tint, axis=-1) < SAME_TINT
    return paper & (brightness > 0.6), brightness


def _paper_beside(segments: Segments, whiteness: Float[np.ndarray, "height width"]) -> Float[np.ndarray, " segments"]:
    """Mean difference of ``whiteness`` between the brighter and the other side of each segment."""
    points = segments[:, :1] + np.linspace(0.1, 0.9, 9)[:, None] * (segments[:, 1:] - segments[:, :1])
    step = STRIP * _normals(segments)[:, None]
    return np.maximum(_sample(whiteness, points + step) - _sample(whiteness, points - step), 0).mean(1)


def _channels(lab: UInt8[np.ndarray, "height width 3"]) -> Iterator[Grey]:
    """Images in which paper has higher values than most floors: brightness, the same with the contrast of bright parts
    raised, blueness, and the lack of colour.
    """
    yield lab[..., 0]
    bright, red, yellow = (cv2.GaussianBlur(lab[..., index], (0, 0), 1.2).astype(float) for index in range(3))
    yield np.clip(255 + 4 * (bright - np.percentile(bright, 90) - 5), 0, 255).astype(np.uint8)
    yield np.clip(128 - 10 * (yellow - np.median(yellow)), 0, 255).astype(np.uint8)
    yield np.clip(255 - 10 * np.hypot(red - 128, yellow - 128), 0, 255).astype(np.uint8)


def _higher_side_right(segments: Segments, channel: Grey) -> Segments:
    """The segments in the direction in which their side with the higher values is that of `_normals`."""
    points = segments[:, :1] + np.linspace(0.1, 0.9, 15)[:, None] * (segments[:, 1:] - segments[:, :1])
    steps = np.array([-4, -3, -2, 2, 3, 4])[:, None, None, None] * _normals(segments)[:, None]
    samples = np.stack([_sample(channel, points + step) for step in steps])
    lower = np.median(samples[3:].mean(0) - samples[:3].mean(0), axis=1) < 0
    return np.where(lower[:, None, None], segments[:, ::-1], segments)


def _normals(segments: Segments) -> Float[np.ndarray, "segments 2"]:
    along = segments[:, 1] - segments[:, 0]
    along = along / np.linalg.norm(along, axis=1, keepdims=True)
    return np.stack([-along[:, 1], along[:, 0]], 1)


def _sample(image: np.ndarray, points: Float[np.ndarray, "a b 2"]) -> Float[np.ndarray, "a b"]:
    """Values of ``image`` at ``points``, whose origin is the centre of the first pixel."""
    if not points.size:
        return np.zeros(points.shape[:2])
    return cv2.remap(image.astype(np.float32), points.astype(np.float32), None, cv2.INTER_LINEAR)


def _merge(
    segments: Segments, paper: Float[np.ndarray, " segments"]
) -> tuple[Float[np.ndarray, "lines 3"], Float[np.ndarray, "lines bins"]]:
    """The lines on which the segments lie, first those with the longest cover or with the most edges of ``paper``."""
    lengths, normals = np.linalg.norm(segments[:, 1] - segments[:, 0], axis=1), _normals(segments)
    free, lines, covers, edges = np.ones(len(segments), bool), [], [], []
    for first in _by_either(lengths, lengths * paper)[:MAX_SEEDS]:
        if not free[first]:
            continue
        normal, offset = normals[first], -normals[first] @ segments[first].mean(0)
        for _ in range(3):
            group = (np.abs(segments @ normal + offset).max(1) < SAME_DISTANCE) & (normals @ normal > SAME_ANGLE)
            group[first] = True
            points, weights = segments[group].reshape(-1, 2), np.repeat(lengths[group], 2)
            mean = weights @ points / weights.sum()
            direction = np.linalg.svd((points - mean) * np.sqrt(weights)[:, None], full_matrices=False)[2][1]
            normal = direction if direction @ normal > 0 else -direction
            offset = -normal @ mean
        free &= ~group
        cover = np.zeros(round(2 * REACH / BIN))
        along = np.sort((segments[group] @ [-normal[1], normal[0]] + REACH) / BIN).round().astype(int)
        for start, end in along:
            cover[max(start, 0) : end] = BIN
        lines.append((*normal, offset))
        covers.append(np.cumsum([0, *cover]))
        edges.append(covers[-1][-1] * (lengths * paper)[group].sum() / lengths[group].sum())
    order = _by_either(np.array([cover[-1] for cover in covers]), np.array(edges))[:MAX_LINES]
    width = round(2 * REACH / BIN) + 1
    return np.array([lines[i] for i in order]).reshape(-1, 3), np.array([covers[i] for i in order]).reshape(-1, width)


def _by_either(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Indices in the order of the better rank of the two values."""
    return np.minimum(*(np.argsort(np.argsort(-values)) for values in (first, second))).argsort(kind="stable")


# ----------------------------------------------------------------------------------------------------------- candidates


def from_four_lines(found: SheetLines) -> Candidates:
    """Corners of the convex quadrilaterals with the brighter sides of four lines inside, in order of the angle."""
    angles = np.arctan2(found.lines[:, 1], found.lines[:, 0])
    chosen = np.array([*combinations(range(len(angles)), 4)], int).reshape(-1, 4)
    chosen = np.take_along_axis(chosen, np.argsort(angles[chosen], 1), 1)
    turns = np.diff(angles[chosen], axis=1, append=angles[chosen][:, :1] + 2 * np.pi)
    chosen = chosen[((turns > np.deg2rad(20)) & (turns < np.deg2rad(160))).all(1)]
    lines = found.lines[chosen]
    corners = _dehomogenise(np.cross(lines, np.roll(lines, -1, 1)))
    distances = np.einsum("mkj,mij->mki", lines[..., :2], corners) + lines[..., 2:]
    return _plausible(corners[(distances > -1).all((1, 2))])


def from_three_lines(found: SheetLines, focal: float, size: tuple[float, float]) -> Candidates:
    """Corners of the sheets of this ``size`` with three sides on lines, seen with this focal length.

    A line and the centre of the camera span a plane. The normals of the planes of two opposite sides are perpendicular
    to the direction of both; the third side is perpendicular to it.
    """
    normals = found.lines[:MAX_THREE] * [focal, focal, 1]
    pairs, count = np.array([*combinations(range(len(normals)), 2)], int).reshape(-1, 2), len(normals)
    first, last = np.repeat(pairs, count, 0).T
    middle = np.tile(np.arange(count), len(pairs))
    along = np.cross(normals[first], normals[last])
    across = np.cross(normals[middle], along)
    rays = np.cross(normals[first], normals[middle]), np.cross(normals[middle], normals[last])
    rays = [np.where(ray[:, 2:] < 0, -ray, ray) / np.maximum(np.abs(ray[:, 2:]), 1e-9) for ray in rays]
    along, across = (one / np.maximum(np.linalg.norm(one, axis=1, keepdims=True), 1e-9) for one in (along, across))
    candidates = []
    for width, depth in (size, size[::-1]):
        # Depths a and b of the two corners: a ray0 - b ray1 = width across, solved in the plane of both rays.
        normal = np.cross(rays[0], rays[1])
        squared = (normal**2).sum(1) + 1e-12
        a, b = (width * (np.cross(across, ray) * normal).sum(1) / squared for ray in rays[::-1])
        near = np.stack([rays[0] * np.abs(a)[:, None], rays[1] * np.abs(b)[:, None]], 1)
        for sign in (1, -1):
            far = near[:, ::-1] + sign * depth * along[:, None]
            corners = np.concatenate([near, far], 1)
            corners = corners[((a * b > 0)[:, None] & (corners[..., 2] > 0.05)).all(1)]
            candidates.append(_dehomogenise(corners * [focal, focal, 1]))
    return _plausible(np.concatenate(candidates))


def _dehomogenise(points: Float[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape 2"]:
    depth = points[..., 2:]
    return points[..., :2] / np.where(np.abs(depth) < 1e-9, 1e-9, depth)


def _plausible(corners: Candidates) -> Float[np.ndarray, "plausible 4 2"]:
    """The candidates that are convex, large enough and nearly inside the photo, all in one sense of rotation."""
    sides = np.roll(corners, -1, 1) - corners
    turns = sides[..., 0] * np.roll(sides, -1, 1)[..., 1] - sides[..., 1] * np.roll(sides, -1, 1)[..., 0]
    corners = np.where((turns < 0).all(1)[:, None, None], corners[:, ::-1], corners)
    following = np.roll(corners, -1, 1)
    areas = (corners[..., 0] * following[..., 1] - corners[..., 1] * following[..., 0]).sum(1) / 2
    convex = (turns > 0).all(1) | (turns < 0).all(1)
    return corners[convex & (areas > MIN_AREA) & (np.abs(corners) < MAX_CORNER).all((1, 2))]


# --------------------------------------------------------------------------------------------------------------- scores


def cover_of_sides(corners: Candidates, found: SheetLines) -> tuple[Sides, Sides]:
    """Share of each side that is covered by edges, and length of the edges beyond it, relative to the perimeter."""
    ends = np.roll(corners, -1, 1)
    lengths = np.linalg.norm(ends - corners, axis=2)
    points = corners[:, :, None] + np.array([0.15, 0.5, 0.85])[:, None] * (ends - corners)[:, :, None]
    offsets = np.abs(points @ found.lines[:, :2].T + found.lines[:, 2]).max(2)
    inwards = np.stack([-(ends - corners)[..., 1], (ends - corners)[..., 0]], -1)
    offsets = np.where(inwards @ found.lines[:, :2].T > 0, offsets, np.inf)
    along = np.stack([-found.lines[:, 1], found.lines[:, 0]], 1)
    spans = np.sort(np.stack([corners @ along.T, ends @ along.T], -1), -1)
    bins = np.clip(((spans + REACH) / BIN).round().astype(int), 0, found.cover.shape[1] - 1)
    index = np.arange(len(along))
    inside = found.cover[index, bins[..., 1]] - found.cover[index, bins[..., 0]]
    inside = np.where(offsets < MAX_OFFSET, inside, -1)
    best = inside.argmax(-1)
    inside = np.maximum(np.take_along_axis(inside, best[..., None], -1)[..., 0], 0)
    outside = np.where(inside > 0, found.cover[best, -1] - inside, 0)
    return inside / lengths, outside / lengths.sum(1, keepdims=True)


def score(
    corners: Candidates, found: SheetLines
) -> tuple[Float[np.ndarray, "possible 4 2"], Float[np.ndarray, " possible"]]:
    """The possible candidates, and how well they agree with the photo, without proportions; a perfect one has 1.5."""
    if not len(corners):
        return corners, np.zeros(0)
    inside, outside = cover_of_sides(corners, found)
    lengths = np.linalg.norm(np.roll(corners, -1, 1) - corners, axis=2)
    lengths /= lengths.sum(1, keepdims=True)
    covered, scores = (inside * lengths).sum(1) - WEIGHT_OUTSIDE * outside.sum(1), np.full(len(corners), -np.inf)
    covered[np.sort(inside, 1)[:, 1] < MIN_COVER] = -np.inf
    best = np.argsort(-covered)[:MAX_SCORED]
    paper, no_edge = _paper_at_sides(corners[best], found)
    missing = np.maximum(paper - inside[best] - FREE_GAPS, 0) + np.maximum(no_edge - inside[best] - FREE_GAPS, 0)
    scores[best] = covered[best] + ((WEIGHT_PAPER * paper - WEIGHT_MISSING * missing) * lengths[best]).sum(1)
    return corners[scores > -np.inf], scores[scores > -np.inf]


def _paper_at_sides(corners: Candidates, found: SheetLines) -> tuple[Sides, Sides]:
    """Share of each side, within the photo, along which there is paper inside, and the same colour outside as well."""
    sides = np.roll(corners, -1, 1) - corners
    points = corners[:, :, None] + np.linspace(0.06, 0.94, 12)[:, None] * sides[:, :, None]
    inwards = np.stack([-sides[..., 1], sides[..., 0]], -1) / np.linalg.norm(sides, axis=2, keepdims=True)
    height, width = found.paper.shape
    places = []
    for distance in (STRIP, -STRIP):
        pixels = (points + distance * inwards[:, :, None] + [width / 2, height / 2]).astype(int)
        columns, rows = np.moveaxis(np.clip(pixels, 0, [width - 1, height - 1]), -1, 0)
        places.append(((rows, columns), ((pixels >= 0) & (pixels < [width, height])).all(-1)))
    (inner, visible), (outer, outside_visible) = places
    is_paper = found.paper[inner] & visible
    same = np.abs(found.lab[inner] - found.lab[outer]).sum(-1) < SAME_COLOUR
    seen = np.maximum(visible.sum(2), 1)
    return is_paper.sum(2) / seen, (is_paper & same & outside_visible).sum(2) / seen


def proportion_errors(
    corners: Candidates, focals: Float[np.ndarray, " focals"], size: tuple[float, float]
) -> Float[np.ndarray, "candidates 2 focals"]:
    """Error of the angle and of the proportions of a sheet of this ``size``, by its first side (long, short) and by
    focal length.
    """
    errors = []
    for width, depth in (size, size[::-1]):
        homographies = _homographies(corners, width, depth)
        scales = np.stack([focals, focals, np.ones_like(focals)], 1)
        axes = homographies[:, None, :, :2] / scales[None, :, :, None]
        lengths = np.linalg.norm(axes, axis=2)
        cosine = (axes[..., 0] * axes[..., 1]).sum(2) / lengths.prod(2)
        errors.append(np.hypot(cosine, np.log(lengths[..., 0] / lengths[..., 1])))
    return np.stack(errors, 1)


def _homographies(corners: Candidates, width: float, depth: float) -> Float[np.ndarray, "candidates 3 3"]:
    """From a rectangle about the origin to ``corners``, its first side along x."""
    rectangle = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * [width / 2, depth / 2]
    matrix = np.zeros((len(corners), 8, 8))
    for corner, (x, y) in enumerate(rectangle):
        matrix[:, 2 * corner, :3] = matrix[:, 2 * corner + 1, 3:6] = x, y, 1
        matrix[:, 2 * corner : 2 * corner + 2, 6:] = -corners[:, corner, :, None] * [x, y]
    solution = np.linalg.solve(matrix, corners.reshape(-1, 8, 1))[..., 0]
    return np.concatenate([solution, np.ones((len(corners), 1))], 1).reshape(-1, 3, 3)
