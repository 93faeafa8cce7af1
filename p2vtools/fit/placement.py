"""The placement of a foot in a capture: its position and direction on the floor.

A real capture does not say where the foot stands and where its toes point. A typical foot is fitted to the silhouettes
that the network predicts: its position and direction on the floor, and its size. With two or more photos the cube is
then centred on the network's own volume there, and if the agreement is still low, on a visual hull of the silhouettes.
(The visual hull of one photo is unbounded.) The candidate whose predicted volume agrees best with the predicted
silhouettes is the placement.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch.nn import functional

from p2vlib.data.dataset import evenly_spaced
from p2vlib.geometry.frames import FOOT_CUBE, FOOT_CUBE_EDGE, FOOT_SHARE, Cube
from p2vlib.geometry.placement import Cameras
from p2vlib.geometry.projection import project_points, voxel_centres
from p2vtools.fit.cube_crops import Pose, predict_cube, predict_masks, silhouette_iou
from p2vtools.fit.photo_set import PhotoSet
from p2vtools.fit.pretrained import PretrainedModel
from p2vtools.fit.silhouette_fitting import Masks, PoseFit, Prior, fit_pose

START_SHIFT, START_TURN = 0.04, 30.0
"""Standard deviation of the prior of the fit about the start of the search: along x and z (metres), of the direction
(degrees)."""

MAX_SHIFT, MAX_TURN = 0.08, 60.0
"""Largest distance (metres) and angle (degrees) of a placement from the start of the search."""

SEARCH_SCALE = 1.35
"""Edge of the cube in which the foot is carved, relative to the cube of a foot."""

FIT_ROUNDS = ((1.35, 24, 0.04, 3), (1.35, 16, 0.03, 2), (1.15, 16, 0.02, 1), (1.0, 16, 0.01, 1))
"""Rounds of the fit: edge of the cube to which photos are cropped, relative to that of a foot; steps; learning rate;
number of poses that are refined further."""

FINE_PIXELS, COARSE_PIXELS = 24, 16
"""Edge of the silhouettes in the fit, pixels: with one or two photos, and with more, which need less detail."""

START_TURNS = (0.0, -20.0, 20.0, -40.0, 40.0)
"""Directions from which the first round starts, degrees."""

DISTINCT_SHIFT, DISTINCT_TURN = 0.02, 15.0
"""Two poses are distinct if they are more than this distance (metres) or angle (degrees) apart."""

FIT_PHOTOS = 4
"""At most this many photos, evenly spaced, take part in the fit."""

LEG_HEIGHT = 0.06
"""Height below which a foot determines its placement, metres: further up, the leg may lean."""

MIN_GAIN = 0.01
"""A placement replaces a simpler one only if its loss or agreement is better by this much."""

MIN_OVERLAP, DOUBTFUL_GAIN = 0.9, 0.1
"""Below this overlap the fit of the typical foot is doubtful: with one photo, its agreement then has to exceed that of
the start by `DOUBTFUL_GAIN`."""

SUFFICIENT_AGREEMENT = 0.85
"""From this agreement on, no further placement is tried."""

Method = Literal["start", "typical foot", "volume"]


@dataclass(frozen=True, eq=False)
class FootPlacement:
    """The result of `find_foot`, or a candidate for it."""

    pose: Pose
    method: Method
    """How the pose was found: kept, by the fit of the typical foot, or around a predicted volume or visual hull."""
    agreement: float
    """Mean IoU over the photos of the silhouettes of the network's volume with the silhouettes it predicts."""
    at_limit: bool
    """Whether the search went beyond `MAX_SHIFT` or `MAX_TURN`; ``pose`` is then the nearest pose within them,
    or the start."""
    overlap: float
    """Mean Dice coefficient over the photos of the fitted typical foot with the predicted silhouettes."""
    volume: Float[np.ndarray, "x y z"]
    """Occupancy that the network predicts there, 0.5 at the surface."""


def pose_matrix(yaw: float, position: np.ndarray) -> Pose:
    """From the frame of a foot at ``position`` (metres) whose toes point ``yaw`` degrees clockwise of +x."""
    cos, sin = np.cos(np.deg2rad(yaw)), np.sin(np.deg2rad(yaw))
    pose = np.eye(4)
    pose[:3, :3] = [[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]]
    pose[:3, 3] = position
    return pose


def pose_yaw(pose: Pose) -> float:
    """Direction of the toes of a foot with this ``pose`` (`pose_matrix`), degrees clockwise of +x."""
    return float(np.rad2deg(np.arctan2(pose[2, 0], pose[0, 0])))


def describe_shift(photo_set: PhotoSet, pose: Pose) -> str:
    """Distance (if sizes are known) and angle of a foot with this ``pose`` from the start of the search, as text."""
    shift = pose[:3, 3] - photo_set.initial_position
    distance = f"{1000 * np.hypot(shift[0], shift[2]):.0f} mm and " if photo_set.has_scale else ""
    return f"{distance}{pose_yaw(pose):+.0f} degrees"


def estimate_placement(volume: Float[np.ndarray, "x y z"], cube: Cube) -> tuple[float, np.ndarray] | None:
    """Yaw (degrees clockwise of +x, within 90) and centre on the floor of a coarse foot.

    Both come from the part below `LEG_HEIGHT`. The direction is the principal axis in the floor plane: on 300
    training feet it differs from the true direction by 0.5 degrees (standard deviation 0.8), and the centre of the
    bounding box from the true one by 0.3 mm along x (2.6) and z (1.2). None: fewer than ten occupied voxels.

    Args:
        volume: occupied above 0.5.
    """
    low = volume[:, : max(1, round(LEG_HEIGHT / cube.edge * len(volume)))] > 0.5
    if low.sum() < 10:
        return None
    points = cube.voxel_centres(len(volume))[:, : low.shape[1]][low][:, [0, 2]]
    centred = points - points.mean(0)
    _, axes = np.linalg.eigh(centred.T @ centred)
    axis = axes[:, -1] * np.sign(axes[0, -1] or 1.0)
    rotation = np.stack([axis, [-axis[1], axis[0]]])  # rows: x and z of the rotated frame
    rotated = points @ rotation.T
    centre = (rotated.min(0) + rotated.max(0)) / 2 @ rotation
    return float(np.rad2deg(np.arctan2(axis[1], axis[0]))), np.array([centre[0], 0.0, centre[1]])


# --------------------------------------------------------------------------------------------------------- typical foot


class _FittedPose(NamedTuple):
    """A pose of the typical foot."""

    loss: float
    overlap: float
    pose: Pose
    log_size: float


def _fit_in_rounds(weights: PretrainedModel, photo_set: PhotoSet, start: Pose) -> tuple[Pose, float]:
    """Pose and overlap of the typical foot. Each round predicts the silhouettes around the best poses and fits again.

    Returns the start itself if the first round does not improve the loss by `MIN_GAIN`. Raises ValueError if the
    silhouettes around the start are empty.
    """
    chosen = photo_set.subset(evenly_spaced(len(photo_set.photos), min(FIT_PHOTOS, len(photo_set.photos))))
    pixels = FINE_PIXELS if len(chosen.photos) <= 2 else COARSE_PIXELS
    places, turns = [_FittedPose(np.inf, 0.0, start, 0.0)], START_TURNS
    for edge, steps, rate, width in FIT_ROUNDS:
        fitted = []
        for place in places:
            pose, _ = _within_limits(place.pose, start)
            seen = _predict_masks(weights, chosen, pose, edge)
            if seen is None:
                continue
            prior = _start_prior(weights, np.linalg.inv(pose) @ start, photo_set.side)
            starts = torch.tensor([[0.0, 0.0, math.radians(turn), place.log_size] for turn in turns])
            fit = fit_pose(weights.typical_foot.solid, prior, *seen, starts, steps, rate, pixels)
            if turns is START_TURNS:
                if not (seen[0] > 0.5).any():
                    raise ValueError(_not_found(photo_set))
                kept = fit_pose(weights.typical_foot.solid, prior, *seen, torch.zeros(1, 4), 0, rate, pixels)
                if float(fit.loss.min()) > float(kept.loss) - MIN_GAIN:
                    return start, float(kept.overlap)
            fitted += _fitted_poses(fit, pose, photo_set.side)
        places, turns = _best_distinct(fitted, width) or places, (0.0,)
    return places[0].pose, places[0].overlap


def _start_prior(weights: PretrainedModel, start: Pose, side: str) -> Prior:
    """Prior of the fit in a cube in whose frame the search started at the pose ``start``."""
    mirror = -1 if side == "right" else 1
    x, z = start[0, 3] / FOOT_CUBE_EDGE, mirror * start[2, 3] / FOOT_CUBE_EDGE
    mean, shift = [x, z, mirror * math.radians(pose_yaw(start)), 0], START_SHIFT / FOOT_CUBE_EDGE
    deviation = [shift, shift, math.radians(START_TURN), math.sqrt(weights.typical_foot.spread)]
    return torch.tensor(mean), torch.tensor(deviation)


def _predict_masks(
    weights: PretrainedModel, photo_set: PhotoSet, pose: Pose, edge: float
) -> tuple[Masks, Cameras, float] | None:
    """Silhouettes, cameras and the edge of the cube that was used, relative to the cube of a foot.

    The edge is ``edge``, or 1 if a camera is so near that it is inside the larger cube. None: a camera does not see the
    cube of a foot.
    """
    for scale in (edge, 1.0):
        with contextlib.suppress(ValueError):
            return (*predict_masks(weights, photo_set, pose, scaled_cube(scale)), scale)
    return None


def _fitted_poses(fit: PoseFit, pose: Pose, side: str) -> list[_FittedPose]:
    """The poses of a ``fit`` in the cube at ``pose``; right feet are fitted mirrored."""
    places, mirror = [], -1 if side == "right" else 1
    numbers = (fit.loss.tolist(), fit.overlap.tolist(), fit.parameters.tolist())
    for loss, overlap, (x, z, angle, log_size) in zip(*numbers, strict=True):
        step = pose_matrix(mirror * np.rad2deg(angle), FOOT_CUBE_EDGE * np.array([x, 0.0, mirror * z]))
        places.append(_FittedPose(loss, overlap, pose @ step, log_size))
    return places


def _best_distinct(places: Sequence[_FittedPose], number: int) -> list[_FittedPose]:
    """The ``number`` best poses that are distinct (`DISTINCT_SHIFT`, `DISTINCT_TURN`)."""
    best: list[_FittedPose] = []
    for place in sorted(places, key=lambda place: place.loss):
        steps = [np.linalg.inv(other.pose) @ place.pose for other in best]
        if all(np.linalg.norm(s[:3, 3]) > DISTINCT_SHIFT or abs(pose_yaw(s)) > DISTINCT_TURN for s in steps):
            best.append(place)
    return best[:number]


# --------------------------------------------------------------------------------------------------------------- search


def find_foot(weights: PretrainedModel, photo_set: PhotoSet) -> FootPlacement:
    """Finds the pose of the foot, at most `MAX_SHIFT` and `MAX_TURN` away from where the capture says.

    Raises:
        ValueError: no foot in the view of the cameras.
    """
    start = pose_matrix(0.0, photo_set.initial_position)
    pose, overlap = _fit_in_rounds(weights, photo_set, start)
    search = _Search(weights, photo_set, start, overlap)
    fitted = None if pose is start else search.evaluate("typical foot", pose)
    best = fitted or search.evaluate("start", start)
    if fitted and len(photo_set.photos) == 1 and overlap < MIN_OVERLAP:
        best = _better(search.evaluate("start", start), best, DOUBTFUL_GAIN)
    if len(photo_set.photos) > 1:
        best = _better(best, search.recentre(best))
        if best.agreement < SUFFICIENT_AGREEMENT:
            best = _better(best, search.carve())
        if best.agreement < SUFFICIENT_AGREEMENT and best.method != "start":
            best = _better(search.evaluate("start", start), best)
    if not (best.volume > 0.5).any():
        raise ValueError(_not_found(photo_set))
    at_limit = best.at_limit or (best.method == "start" and fitted is not None and fitted.at_limit)
    return replace(best, at_limit=at_limit)


def _better(first: FootPlacement, second: FootPlacement | None, gain: float = MIN_GAIN) -> FootPlacement:
    """The second candidate where its agreement is better by ``gain``, otherwise the first."""
    return first if second is None or second.agreement < first.agreement + gain else second


class _Search(NamedTuple):
    """The candidates of one photo set."""

    weights: PretrainedModel
    photo_set: PhotoSet
    start: Pose
    overlap: float

    def evaluate(self, method: Method, pose: Pose) -> FootPlacement | None:
        """The candidate at ``pose``, moved within the limits; None: a camera does not see the cube there.

        Raises ValueError instead if ``method`` is ``start``.
        """
        pose, at_limit = _within_limits(pose, self.start)
        try:
            prediction, cameras = predict_cube(self.weights, self.photo_set, pose, FOOT_CUBE)
        except ValueError:
            if method == "start":
                raise
            return None
        volume = prediction.probability[0].numpy() / self.weights.threshold / 2
        volume = volume[:, :, ::-1] if self.photo_set.side == "right" else volume
        agreement = float(np.mean(silhouette_iou(prediction, cameras, self.weights.threshold)))
        return FootPlacement(pose, method, agreement, at_limit, self.overlap, volume)

    def recentre(self, candidate: FootPlacement | None) -> FootPlacement | None:
        """The candidate whose cube is centred on the volume of ``candidate``; None: the volume is empty."""
        placement = None if candidate is None else estimate_placement(candidate.volume, FOOT_CUBE)
        return placement and self.evaluate("volume", candidate.pose @ pose_matrix(*placement))

    def carve(self) -> FootPlacement | None:
        """The candidate whose cube is centred twice on a visual hull and then on the network's volume.

        None: a hull is empty, or a camera is inside the cube of the hull.
        """
        pose, cube = self.start, scaled_cube(SEARCH_SCALE)
        for _ in range(2):
            placement = None
            with contextlib.suppress(ValueError):
                placement = estimate_placement(foot_visual_hull(self.weights, self.photo_set, pose, cube), cube)
            if placement is None:
                return None
            pose = _within_limits(pose @ pose_matrix(*placement), self.start)[0]
        return self.recentre(self.evaluate("volume", pose))


def foot_visual_hull(
    weights: PretrainedModel, photo_set: PhotoSet, pose: Pose, cube: Cube, size: int = 48
) -> Float[np.ndarray, "x y z"]:
    """Visual hull of the predicted silhouettes in ``cube`` of the frame ``pose``; one photo in four may disagree.

    Raises:
        ValueError: a camera that does not see the cube.
    """
    masks, cameras = predict_masks(weights, photo_set, pose, cube)
    projection = project_points(cameras, voxel_centres(size))
    samples = functional.grid_sample(masks[0][:, None], projection.uv[0][:, None], align_corners=False)[:, 0, 0]
    samples = torch.where(projection.visible[0], samples, torch.nan)
    hull = torch.nan_to_num(torch.nanquantile(samples, 0.25, dim=0)).reshape((size,) * 3)
    hull[:, round(FOOT_SHARE * size) :] = 0
    return hull.numpy()[:, :, ::-1] if photo_set.side == "right" else hull.numpy()


def scaled_cube(scale: float) -> Cube:
    """The cube of a foot, scaled about its centre on the floor."""
    edge = FOOT_CUBE_EDGE * scale
    return Cube((-edge / 2, 0.0, -edge / 2), edge)


def _within_limits(pose: Pose, start: Pose) -> tuple[Pose, bool]:
    """``pose``, moved within `MAX_SHIFT` and `MAX_TURN` of ``start``, and whether it was outside them."""
    step = np.linalg.inv(start) @ pose
    distance, turn = float(np.linalg.norm(step[:3, 3])), pose_yaw(step)
    if distance <= MAX_SHIFT and abs(turn) <= MAX_TURN:
        return pose, False
    nearest = pose_matrix(float(np.clip(turn, -MAX_TURN, MAX_TURN)), step[:3, 3] * min(1, MAX_SHIFT / distance))
    return start @ nearest, True


def _not_found(photo_set: PhotoSet) -> str:
    limits = f"at most {100 * MAX_SHIFT:.0f} cm and {MAX_TURN:.0f} degrees from the start"
    found = f"no foot found in the {len(photo_set.photos)} photos; expected one on the floor at y = 0, {limits}"
    return f"{found}: check the cameras, or pass --placement given"
