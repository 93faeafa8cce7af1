"""One verdict for every reconstruction: good, doubtful or not usable, with the reasons.

Some features of a reconstruction are low where it fails (`FEATURES`): how well the solid agrees with the silhouettes,
how well the members of the ensemble and two halves of the photos agree with each other, how similar it is to a typical
foot. A linear formula of them predicts its IoU with the true foot. The formula, the expected IoU from which a
reconstruction is *good*, and for each feature the limit below which it is *not usable*, are fitted on validation
people, some of them with faulty captures (`p2vtools.study.verdict_limits.fit_verdict`); the card of the weights stores
them. Fixed rules are added (`other_concerns`): a length outside the population, a placement at the limit of the search,
photos from one direction.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from p2vlib.geometry.grids import iou
from p2vtools.fit.camera_alignment import TypicalFoot
from p2vtools.fit.cube_crops import FootNotSeenError, Pose
from p2vtools.fit.measure import Measures
from p2vtools.fit.photo_set import PhotoSet
from p2vtools.fit.placement import describe_shift
from p2vtools.fit.pretrained import PretrainedModel
from p2vtools.fit.reconstruct import ReconstructedFoot, reconstruct
from p2vtools.fit.uncertainty import MeasureIntervals, card_calibration, measure_with_intervals, photo_class

VERDICT_KEY = "verdict"
"""Key of the card: the formula of the expected IoU, and limits by `photo_class` (`study.verdict_limits`)."""

GOOD_IOU, USABLE_IOU = 0.80, 0.50
"""IoU with the true foot from which a reconstruction is good, and below which it is not usable."""

MAX_EXPECTED_IOU = 0.88
"""Largest expected IoU: the formula is linear, and beyond this value it rises while the IoU hardly does."""

LENGTHS, POSSIBLE_LENGTHS = (150.0, 320.0), (110.0, 345.0)
"""Range of the lengths in the training data, and range of possible lengths of feet, mm."""

BREADTH_SHARES, POSSIBLE_BREADTH_SHARES = (0.32, 0.48), (0.25, 0.60)
"""The same two ranges for the ball breadth as a share of the length."""

PHOTO_IOU, PHOTO_GAP = 0.70, 0.12
"""A photo disagrees with the others if its silhouette IoU is below `PHOTO_IOU`, and `PHOTO_GAP` below their median."""

MIN_SPREAD = 30.0
"""Several photos of which no two directions of view differ by this angle, degrees, make a result doubtful."""

MORE_PHOTOS = "take more photos, in even light, all round the foot"

Level = Literal["good", "doubtful", "not usable"]

LEVELS: tuple[Level, ...] = ("good", "doubtful", "not usable")


FEATURES = {
    "silhouettes": (
        "the solid agrees with the silhouettes in the photos with an IoU of {:.2f}",
        "check the cameras and whether the foot moved between the photos",
    ),
    "members": ("the two networks agree with an IoU of {:.2f}", MORE_PHOTOS),
    "halves": (
        "two halves of the photos give feet with an IoU of {:.2f}",
        "check the cameras, or take more photos from all round",
    ),
    "typical": (
        "the solid has an IoU of {:.2f} with a typical foot",
        "check the position of the foot in the photos and which foot it is",
    ),
    "certainty": (
        "the network is certain of {:.2f} of the solid",
        "take more photos, in even light, with the whole foot in each",
    ),
    "connected": ("the largest connected piece is {:.2f} of the solid", "remove other objects from around the foot"),
}
"""Number between 0 and 1 that is low where a reconstruction fails -> the reason that is given for a low value, and what
the user can do."""

PREDICTORS = ("silhouettes", "members", "halves", "typical", "certainty", "log2 photos")
"""Terms of the formula of the expected IoU. With fewer than four photos ``members`` is used in place of ``halves``."""


@dataclass(frozen=True)
class Verdict:
    """The verdict on a reconstruction."""

    level: Level
    expected_iou: float
    """Predicted IoU with the true foot."""
    reasons: list[str]
    """One sentence each; empty if there is nothing to say."""
    advice: list[str]
    """What to do."""


@dataclass(frozen=True, eq=False)
class JudgedFoot:
    """The result of `reconstruct_and_judge`."""

    foot: ReconstructedFoot
    """With its surface corrected, if it could be measured."""
    measured: MeasureIntervals | None
    """None: the solid cannot be measured as a foot."""
    verdict: Verdict
    photo_set: PhotoSet
    """The photos that were used."""
    left_out: dict[str, float]
    """Photo that was left out because it disagreed with the others -> its silhouette IoU; 0 if its camera does not see
    the foot."""


# ------------------------------------------------------------------------------------------------------- reconstruction


def reconstruct_and_judge(
    weights: PretrainedModel,
    photo_set: PhotoSet,
    size: int = 128,
    placement: str = "found",
    cameras: str = "exact",
    report: Callable[[str], object] = lambda line: None,
) -> JudgedFoot:
    """Reconstructs the foot in ``photo_set`` without the photos that disagree with the others, measures and judges it.

    Arguments and exceptions are those of `reconstruct`.

    Raises:
        ValueError: weights without a calibration for this number of photos.
    """
    card_calibration(weights, photo_class(len(photo_set.photos), cameras))  # an error comes before the work
    foot, photo_set, left_out = reconstruct_consistent(weights, photo_set, size, placement, cameras, report)
    try:
        measured = measure_with_intervals(weights, photo_set, foot, cameras)
    except ValueError as error:
        advice = ["check the photos, the cameras and which foot it is"]
        verdict = Verdict("not usable", 0.0, [f"the solid cannot be measured as a foot: {error}"], advice)
        return JudgedFoot(foot, None, verdict, photo_set, left_out)
    features = reconstruction_features(weights, foot, measured.halves_iou, photo_set.side)
    photos = photo_class(len(photo_set.photos), cameras)
    concerns = other_concerns(photo_set, foot, measured.measures, left_out)
    verdict = judge(weights.card, features, len(photo_set.photos), photos, concerns)
    return JudgedFoot(measured.foot, measured, verdict, photo_set, left_out)


def reconstruct_consistent(
    weights: PretrainedModel,
    photo_set: PhotoSet,
    size: int,
    placement: str,
    cameras: str,
    report: Callable[[str], object] = lambda line: None,
) -> tuple[ReconstructedFoot, PhotoSet, dict[str, float]]:
    """`reconstruct` without the photos that disagree with the others or whose cameras do not see the foot.

    Returns:
        The foot, the photos that were used, and ``left_out`` as in `JudgedFoot`. One photo is always used.
    """
    left_out: dict[str, float] = {}
    while True:
        try:
            foot = reconstruct(weights, photo_set, size, placement, cameras, report)
            if (name := disagreeing_photo(foot.silhouette_iou)) is None:
                return foot, photo_set, left_out
            left_out[name] = foot.silhouette_iou[name]
            reason = f"its silhouette has an IoU of only {left_out[name]:.2f} with the reconstruction"
        except FootNotSeenError as error:
            if len(photo_set.photos) == 1:
                raise
            name, reason = error.args
            left_out[name] = 0.0
        report(f"{name}: left out, {reason}")
        photo_set = photo_set.subset([i for i, other in enumerate(photo_set.names) if other != name])


def disagreeing_photo(silhouette_iou: Mapping[str, float]) -> str | None:
    """The photo that disagrees most with the others; None: none does, or there are fewer than three photos."""
    if len(silhouette_iou) < 3:
        return None
    worst = min(silhouette_iou, key=lambda name: silhouette_iou[name])
    others = np.median([value for name, value in silhouette_iou.items() if name != worst])
    return worst if silhouette_iou[worst] < min(PHOTO_IOU, others - PHOTO_GAP) else None


# ------------------------------------------------------------------------------------------------------------- features


def reconstruction_features(
    weights: PretrainedModel, foot: ReconstructedFoot, halves_iou: float | None, side: str
) -> dict[str, float]:
    """Key of `FEATURES` -> value. ``halves`` is missing where it is unknown.

    ``certainty`` is the share of voxels with a probability of at least 0.9, among those above 0.1.
    """
    labels, count = ndimage.label(foot.solid)
    candidates = foot.probability[foot.probability > 0.1]
    first, second = foot.member_probability[:2] >= foot.threshold
    return {
        "silhouettes": float(np.mean(list(foot.silhouette_iou.values()))),
        "members": float(iou(first, second)),
        "connected": float(np.bincount(labels.ravel())[1:].max() / foot.solid.sum()) if count else 0.0,
        "certainty": float((candidates >= 0.9).sum() / max(1, len(candidates))),
        **({} if halves_iou is None else {"halves": halves_iou}),
        "typical": typical_iou(foot.member_probability.mean(0) >= foot.threshold, weights.typical_foot, side),
    }


def typical_iou(solid: Bool[np.ndarray, "x y z"], typical_foot: TypicalFoot, side: str) -> float:
    """IoU of the ``solid`` of a foot, toes along +x, with the typical foot of this ``side``, scaled to its length.

    Both stand on the floor, with the centres of their bounding boxes at the same x and z.
    """
    if not solid.any():
        return 0.0
    typical = typical_foot.solid.numpy()
    typical = typical[:, :, ::-1] if side == "right" else typical
    (start, end), (typical_start, typical_end) = _bounds(solid), _bounds(typical)
    factor = (typical_end[0] - typical_start[0]) / (end[0] - start[0])
    middle, typical_middle = (start + end) / 2 * [1, 0, 1], (typical_start + typical_end) / 2 * [1, 0, 1]
    centres = np.moveaxis(np.indices(solid.shape), 0, -1) + 0.5
    where = (centres - middle) * factor + typical_middle - 0.5
    scaled = ndimage.map_coordinates(typical.astype(float), np.moveaxis(where, -1, 0), order=1, cval=0.0) >= 0.5
    return float(iou(solid, scaled))


def _bounds(solid: Bool[np.ndarray, "x y z"]) -> tuple[Float[np.ndarray, " 3"], Float[np.ndarray, " 3"]]:
    """Lower and upper corner of the occupied voxels, in voxels."""
    occupied = np.argwhere(solid)
    return occupied.min(0).astype(float), occupied.max(0) + 1.0


# -------------------------------------------------------------------------------------------------------------- verdict


class Concern(NamedTuple):
    """A reason against a reconstruction."""

    level: Level
    reason: str
    advice: str


def judge(
    card: Mapping[str, Any],
    features: Mapping[str, float],
    photos: int,
    photos_class: str,
    others: Sequence[Concern] = (),
) -> Verdict:
    """The verdict for the ``features`` of a reconstruction (`reconstruction_features`) and further concerns.

    Args:
        card: card of the weights, with the limits of this class.
        photos: number of photos.
        photos_class: `photo_class` of the capture.
        others: further concerns (`other_concerns`).
    """
    limits = card[VERDICT_KEY]
    of_class, concerns = limits["classes"][photos_class], []
    expected, good_from = expected_iou(limits["formula"], features, photos), of_class["good from"]
    overlap = f"the expected overlap (IoU) with the true foot is {expected:.2f}"
    if expected < USABLE_IOU:
        concerns.append(Concern("not usable", f"{overlap}, usable from {USABLE_IOU:.2f}", MORE_PHOTOS))
    elif good_from is None:
        reason = f"{overlap}; good and doubtful results cannot be distinguished here ({photos_class})"
        concerns.append(Concern("doubtful", reason, MORE_PHOTOS))
    elif expected < good_from:
        concerns.append(Concern("doubtful", f"{overlap}, good from {good_from:.2f}", MORE_PHOTOS))
    usual = of_class["usual"] if good_from is not None and expected < good_from else {}
    for name, value in features.items():
        sentence, advice = FEATURES[name]
        for level, lowest in (("not usable", of_class["lower"].get(name, 0.0)), ("doubtful", usual.get(name, 0.0))):
            if value < lowest:
                concerns.append(Concern(level, f"{sentence.format(value)}, expected at least {lowest:.2f}", advice))
                break
    concerns += others
    concerns.sort(key=lambda concern: LEVELS.index(concern.level), reverse=True)
    to_do = dict.fromkeys(concern.advice for concern in concerns)
    worst = concerns[0].level if concerns else "good"
    return Verdict(worst, expected, [concern.reason for concern in concerns], list(to_do))


def expected_iou(formula: Mapping[str, float], features: Mapping[str, float], photos: int) -> float:
    """The IoU with the true foot that ``formula`` predicts, from 0 to `MAX_EXPECTED_IOU`.

    The formula has a constant and the coefficients of `PREDICTORS`.
    """
    values = {"halves": features["members"], **features, "log2 photos": float(np.log2(photos))}
    total = formula["constant"] + sum(
        coefficient * values.get(name, 0.0) for name, coefficient in formula.items() if name != "constant"
    )
    return float(np.clip(total, 0, MAX_EXPECTED_IOU))


def other_concerns(
    photo_set: PhotoSet, foot: ReconstructedFoot, measures: Measures, left_out: Mapping[str, float]
) -> list[Concern]:
    """Concerns from fixed rules: photos left out, the placement, size and proportions, the directions of view."""
    level: Level = "doubtful" if 2 * len(left_out) > len(photo_set.photos) else "good"
    concerns = []
    for name, value in left_out.items():
        reason = f"{name} does not agree with the other photos (silhouette IoU {value:.2f}) and was left out"
        concerns.append(Concern(level, reason, f"look at {name}: another foot, a wrong camera, or the foot moved"))
    if foot.placement and foot.placement.at_limit:
        shift = f"{describe_shift(photo_set, foot.pose)} from its start"
        reason = f"the best position of the foot is at the limit of the search, {shift}"
        concerns.append(Concern("doubtful", reason, "check the cameras and the position of the foot"))
    if photo_set.has_scale:
        concerns += _outside("foot is {value:.0f} mm long", measures.length, LENGTHS, POSSIBLE_LENGTHS, ".0f")
    share, sentence = measures.ball_breadth / measures.length, "ball is {value:.2f} of the length wide"
    concerns += _outside(sentence, share, BREADTH_SHARES, POSSIBLE_BREADTH_SHARES, ".2f")
    if len(photo_set.photos) > 1 and (angle := view_spread(photo_set, foot.pose)) < MIN_SPREAD:
        reason = f"the views of all photos differ by only {angle:.0f} degrees, expected at least {MIN_SPREAD:.0f}"
        concerns.append(Concern("doubtful", reason, "take photos from all round the foot"))
    return concerns


def _outside(
    sentence: str, value: float, known: tuple[float, float], possible: tuple[float, float], digits: str
) -> list[Concern]:
    """The concern about a ``value`` outside the ``known`` or the ``possible`` range; empty if there is none."""
    if known[0] <= value <= known[1]:
        return []
    level: Level = "doubtful" if possible[0] <= value <= possible[1] else "not usable"
    low, high = known if level == "doubtful" else possible
    reason = f"the {sentence.format(value=value)}, expected {low:{digits}} to {high:{digits}}"
    return [Concern(level, reason, "check the scale of the cameras and which foot it is")]


def view_spread(photo_set: PhotoSet, pose: Pose) -> float:
    """The largest angle between the directions of two cameras, seen from the foot, degrees."""
    middle = pose[:3, 3] + [0, 0.05, 0]
    directions = np.stack([camera.position - middle for camera in photo_set.cameras])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return float(np.rad2deg(np.arccos((directions @ directions.T).clip(-1, 1).min())))
