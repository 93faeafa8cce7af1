"""Lens and camera poses of photos of one sheet of paper, by bundle adjustment over the edges of the sheet.

All photos are from one phone: they share the focal length, in longer sides of the photo, and the radial distortion. The
edges are found again around the projected sides after each adjustment, as Harris's RAPID tracker does (1992).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8
from scipy.optimize import least_squares
from scipy.sparse import coo_array, csr_array

from p2vlib.geometry.cameras import Camera
from p2vtools.capture.charuco import CameraSolution
from p2vtools.capture.sheet_detection import (
    PAPER_WEIGHTS,
    SheetPhoto,
    possible_sheets,
    prepare_photo,
    resize_photo,
    score_sheets,
    sheet_corners,
    smooth_lab,
)

FOCALS = 0.62 * 1.12 ** np.arange(7)
"""Focal lengths that are tried, in longer sides of a photo: fields of view of 78 to 44 degrees."""

KNOWN_FOCAL = 1.1
"""A focal length from EXIF is at most wrong by this factor."""

CANDIDATES = 4
"""Sheets in each photo that are refined."""

MIN_SCORE, CHANCE_SCORE = 0.5, 0.45
"""Score (`score_sheets`) below which a photo shows no sheet, and up to which it says nothing about the focal length."""

FINE_SIDE = 1024
"""Longer side of a photo in which edges are measured, pixels."""

POINTS, STEP = 60, 0.5
"""Points on each side, and distance of the samples across it, pixels."""

MIN_STEP = 1.5
"""Difference of colour (8-bit Lab) over 2 pixels that counts as an edge."""

MAX_PAPER_DIFFERENCE = 14.0
"""Largest difference of the colour inside of an edge from that of the paper."""

COARSE_REACH, FINE_REACH = (18.0, 9.0), (6.0, 4.0, 3.0)
"""Distances from a side within which edges are searched, pixels, one after the other."""

MAX_ERROR, MIN_EDGES = 2.5, 40
"""Median distance of edges from the sides (pixels) and number of edges beyond which a photo is rejected."""

TYPICAL_FOCAL = 0.82
"""Mean of the prior of the focal length without EXIF: photos from above alone do not determine it."""

FOCAL_DEVIATION, KNOWN_DEVIATION, DISTORTION_DEVIATION = 0.2, 0.03, 0.02
"""Standard deviations of the prior of the logarithm of the focal length, without and with EXIF, and of distortion."""

PRIOR_WEIGHT = 10.0
"""Factor on the residuals of the prior: errors of about a hundred neighbouring edges have one cause, as bent paper."""

Pose = Float[np.ndarray, " 6"]
"""Rotation vector and translation of the sheet in the frame of the camera."""

Lens = Float[np.ndarray, " 2"]
"""Logarithm of the focal length in longer sides of the photo, and the first radial coefficient of OpenCV."""


@dataclass(frozen=True, eq=False)
class Edges:
    """Points on the sides of the sheet in one photo, where an edge was found."""

    world: Float[np.ndarray, "points 3"]
    normals: Float[np.ndarray, "points 2"]
    offsets: Float[np.ndarray, " points"]
    """Position of the edge along its normal, pixels of the photo at `FINE_SIDE`."""


@dataclass(frozen=True, eq=False)
class _Photo:
    """A photo in two sizes."""

    fine: Float[np.ndarray, "height width 3"]
    """Lab, `FINE_SIDE` pixels along the longer side."""
    coarse: SheetPhoto


def locate_sheets(
    pictures: Mapping[str, UInt8[np.ndarray, "_ _ 3"]], size: tuple[float, float], focal: float | None = None
) -> CameraSolution:
    """Lens and poses of the photos that show a sheet of ``size`` metres, in the frame of `sheet_corners`.

    A sheet looks the same after half a turn, so each pose may be wrong by that.

    Args:
        pictures: name -> RGB photo; photos of one phone, of any shapes.
        focal: focal length in longer sides of a photo, as from EXIF.

    Raises:
        ValueError: no photo shows the sheet.
    """
    photos = {name: _prepare(picture) for name, picture in pictures.items()}
    focals = FOCALS if focal is None else focal * np.array([1 / KNOWN_FOCAL, 1, KNOWN_FOCAL]) ** 0.5
    prior = (np.log(focal or TYPICAL_FOCAL), KNOWN_DEVIATION if focal else FOCAL_DEVIATION)
    evidence = [sum(_evidence(photo, size, value) for photo in photos.values()) for value in focals]
    start = float(focals[np.argmax(evidence - 0.1 * ((np.log(focals) - prior[0]) / prior[1]) ** 2)])
    lens, poses = np.array([np.log(start), 0.0]), {}
    for _ in range(2):  # again with a better focal length
        for name in photos.keys() - poses.keys():
            poses[name] = _find_pose(photos[name], size, lens)
        poses = _with_good_scores(photos, poses, size, lens)
        for reach in FINE_REACH if poses else ():
            used = [photos[name] for name in poses]
            edges = [
                find_edges(one.fine, pose, lens, size, reach) for one, pose in zip(used, poses.values(), strict=True)
            ]
            lens, adjusted = adjust(edges, [one.fine.shape for one in used], lens, [*poses.values()], prior)
            poses = dict(zip(poses, adjusted, strict=True))
        poses = _with_good_scores(photos, poses, size, lens)
    if not poses:
        raise ValueError(f"none of {len(pictures)} photos shows the sheet; is it white, plain, flat and well lit?")
    return _to_solution(pictures, photos, poses, lens, size)


def _prepare(picture: UInt8[np.ndarray, "_ _ 3"]) -> _Photo:
    return _Photo(smooth_lab(resize_photo(picture, FINE_SIDE)), prepare_photo(picture))


def _evidence(photo: _Photo, size: tuple[float, float], focal: float) -> float:
    """By how much the best score of a sheet exceeds that of a photo without one."""
    scores = score_sheets(photo.coarse, possible_sheets(photo.coarse, size, focal)[:1], focal)
    return float(np.clip(scores - CHANCE_SCORE, 0, None).sum())


def _score(photo: _Photo, pose: Pose, size: tuple[float, float], lens: Lens) -> float:
    corners = sheet_corners(size) @ cv2.Rodrigues(pose[:3])[0].T + pose[3:]
    return float(score_sheets(photo.coarse, corners[None], float(np.exp(lens[0])))[0])


def _with_good_scores(
    photos: Mapping[str, _Photo], poses: Mapping[str, Pose], size: tuple[float, float], lens: Lens
) -> dict[str, Pose]:
    """The poses with which the photos show a sheet, in the order of the photos."""
    return {
        name: poses[name]
        for name in photos
        if name in poses and _score(photos[name], poses[name], size, lens) >= MIN_SCORE
    }


def _find_pose(photo: _Photo, size: tuple[float, float], lens: Lens) -> Pose:
    """The pose with the best score after a refinement with a fixed lens."""
    poses = [np.array([np.pi / 2, 0, 0, 0, 0, 1.0])]
    for corners in possible_sheets(photo.coarse, size, float(np.exp(lens[0])))[:CANDIDATES]:
        pose = _pose_of(corners)
        for reach in COARSE_REACH:
            edges = find_edges(photo.fine, pose, lens, size, reach)
            if len(edges.offsets) < MIN_EDGES:
                break
            pose = adjust([edges], [photo.fine.shape], lens, [pose])[1][0]
        poses.append(pose)
    return max(poses, key=lambda pose: _score(photo, pose, size, lens))


def _pose_of(corners: Float[np.ndarray, "4 3"]) -> Pose:
    """The pose of a sheet with these corners in the frame of the camera."""
    x, z = corners[1] - corners[0], corners[3] - corners[0]
    x, z = x / np.linalg.norm(x), z / np.linalg.norm(z)
    rotation = np.stack([x, np.cross(z, x), z], 1)
    return np.concatenate([cv2.Rodrigues(rotation)[0].ravel(), corners.mean(0)])


def _project(
    points: Float[np.ndarray, "points 3"], pose: Pose, lens: Lens, shape: Sequence[int]
) -> tuple[Float[np.ndarray, "points 2"], Float[np.ndarray, "points 2 8"]]:
    """Pixels, and their derivatives by pose, logarithm of the focal length and distortion."""
    height, width = shape[:2]
    pixels = np.exp(lens[0]) * max(height, width)
    intrinsics = np.array([[pixels, 0, (width - 1) / 2], [0, pixels, (height - 1) / 2], [0, 0, 1]])
    distortion = np.array([lens[1], 0, 0, 0, 0])
    projected, jacobian = cv2.projectPoints(points, pose[:3], pose[3:], intrinsics, distortion)
    by_focal = pixels * jacobian[:, 6:8].sum(1, keepdims=True)
    return projected[:, 0], np.hstack([jacobian[:, :6], by_focal, jacobian[:, 10:11]]).reshape(-1, 2, 8)


def find_edges(
    lab: Float[np.ndarray, "height width 3"],
    pose: Pose,
    lens: Lens,
    size: tuple[float, float],
    reach: float,
) -> Edges:
    """The strongest edge with paper inside of it, within ``reach`` pixels, at points along the projected sides."""
    corners = sheet_corners(size)
    steps = (np.arange(POINTS) + 0.5)[:, None] / POINTS
    world = np.concatenate([a + steps * (b - a) for a, b in zip(corners, np.roll(corners, -1, 0), strict=True)])
    outwards = np.repeat([[0, 0, -1], [1, 0, 0], [0, 0, 1], [-1, 0, 0]], POINTS, axis=0)
    (pixels, _), (outside, _) = (_project(points, pose, lens, lab.shape) for points in (world, world + 1e-3 * outwards))
    normals = outside - pixels
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    margin = int(3 / STEP)
    offsets = np.arange(-reach - margin * STEP, reach + margin * STEP + 1e-9, STEP)
    places = (pixels[:, None] + normals[:, None] * offsets[:, None]).astype(np.float32)
    profile = cv2.remap(lab, places, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    apart = int(1 / STEP)
    steps = np.linalg.norm(profile[:, 2 * apart :] - profile[:, : -2 * apart], axis=2)
    centres = offsets[apart:-apart]
    first, last = margin - apart, len(centres) - (margin - apart)
    peak = first + (steps * np.exp(-0.5 * (centres / reach) ** 2))[:, first:last].argmax(1)
    row = np.arange(len(peak))
    before, at, after = (steps[row, peak + shift] for shift in (-1, 0, 1))
    curvature = before - 2 * at + after
    shift = np.where(curvature < 0, 0.5 * (before - after) / np.where(curvature < 0, curvature, -1), 0).clip(-0.5, 0.5)
    inside = profile[row, peak + apart - margin]
    paper = np.median(inside, axis=0)
    is_paper = np.linalg.norm((inside - paper) * np.array(PAPER_WEIGHTS), axis=1) < MAX_PAPER_DIFFERENCE
    height, width = lab.shape[:2]
    visible = ((places[:, [0, -1]] >= 0) & (places[:, [0, -1]] <= [width - 1, height - 1])).all((1, 2))
    used = is_paper & visible & (at > MIN_STEP)
    position = (pixels * normals).sum(1) + centres[peak] + shift * STEP
    return Edges(world[used], normals[used], position[used])


def adjust(
    edges: Sequence[Edges],
    shapes: Sequence[Sequence[int]],
    lens: Lens,
    poses: Sequence[Pose],
    prior: tuple[float, float] | None = None,
) -> tuple[Lens, list[Pose]]:
    """Bundle adjustment: the lens and the poses whose sides are nearest to the edges, with a soft L1 loss.

    Args:
        shapes: height and width of each photo.
        prior: mean and standard deviation of the logarithm of the focal length; None: the lens is fixed.
    """
    counts = np.array([len(one.offsets) for one in edges])
    ends = np.cumsum(counts)
    fixed = prior is None
    prior_weights = PRIOR_WEIGHT / np.array([1.0 if fixed else prior[1], DISTORTION_DEVIATION])

    def unpack(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return (lens if fixed else values[:2]), values[0 if fixed else 2 :].reshape(-1, 6)

    def residuals(values: np.ndarray) -> np.ndarray:
        current, moved = unpack(values)
        distances = [
            (_project(one.world, pose, current, shape)[0] * one.normals).sum(1) - one.offsets
            for one, pose, shape in zip(edges, moved, shapes, strict=True)
        ]
        if not fixed:
            distances.append((current - [prior[0], 0]) * prior_weights)
        return np.concatenate(distances)

    def jacobian(values: np.ndarray) -> csr_array:
        current, moved = unpack(values)
        blocks = []
        for number, (one, pose, shape) in enumerate(zip(edges, moved, shapes, strict=True)):
            derivatives = np.einsum("pij,pi->pj", _project(one.world, pose, current, shape)[1], one.normals)
            rows = np.broadcast_to(np.arange(ends[number] - counts[number], ends[number])[:, None], derivatives.shape)
            first = 6 * number + (0 if fixed else 2)
            columns = np.broadcast_to([*range(first, first + 6), 0, 1], derivatives.shape)
            kept = slice(0, 6 if fixed else 8)
            blocks.append([array[:, kept].ravel() for array in (derivatives, rows, columns)])
        if not fixed:
            blocks.append([prior_weights, ends[-1] + np.arange(2), np.arange(2)])
        data, rows, columns = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        return coo_array((data, (rows, columns)), (ends[-1] + (0 if fixed else 2), len(values))).tocsr()

    start = np.concatenate([[] if fixed else lens, *poses])
    solution = least_squares(residuals, start, jacobian, loss="soft_l1", x_scale="jac", max_nfev=30)
    current, moved = unpack(solution.x)
    return current, list(moved)


def _to_solution(
    pictures: Mapping[str, np.ndarray],
    photos: Mapping[str, _Photo],
    poses: Mapping[str, Pose],
    lens: Lens,
    size: tuple[float, float],
) -> CameraSolution:
    """The cameras of the photos whose edges agree with the sheet.

    Raises:
        ValueError: there is no such photo.
    """
    names, cameras, errors = [], [], []
    rejected = {
        name: "no sheet found: is most of it in the photo, white and flat?" for name in photos if name not in poses
    }
    for name, pose in poses.items():
        shape = photos[name].fine.shape
        edges = find_edges(photos[name].fine, pose, lens, size, FINE_REACH[0])
        distances = (_project(edges.world, pose, lens, shape)[0] * edges.normals).sum(1) - edges.offsets
        error = float(np.median(np.abs(distances))) if len(distances) else np.inf
        if len(distances) < MIN_EDGES or error > MAX_ERROR:
            rejected[name] = f"edges are {error:.1f} pixels off those of the sheet: is it flat and all visible?"
            continue
        height, width = pictures[name].shape[:2]
        focal = np.exp(lens[0]) * max(height, width)
        extrinsics = np.eye(4)
        extrinsics[:3, :3], extrinsics[:3, 3] = cv2.Rodrigues(pose[:3])[0], pose[3:]
        intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
        names.append(name)
        cameras.append(Camera(intrinsics, extrinsics, width, height))
        errors.append(error * max(height, width) / FINE_SIDE)
    if not names:
        raise ValueError(f"none of {len(pictures)} photos agrees with the sheet: is it this size of paper, and flat?")
    return CameraSolution(names, cameras, np.array(errors), np.array([lens[1], 0, 0, 0, 0]), rejected)
