"""One verdict for every reconstruction: good, doubtful or not usable, with the reasons.

Every reconstruction gives some numbers that fall where it fails (`FEATURES`): how well the solid fits the silhouettes,
how far the members of the ensemble and the halves of the photos agree, whether the solid looks like a foot. Limits for
these numbers are chosen on validation people (`fit_verdict`) and stored in the card of the weights: *good* if every
number is above its upper limit, *not usable* if one is below its lower limit, *doubtful* between. Rules that need no
choice are added: a length outside the population, a place at the edge of the search, photos from one side only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy import ndimage

from p2vlib.data.capture_folder import PhotoSet
from p2vlib.geometry.grids import iou
from p2vtools.fit.measure import Measures
from p2vtools.fit.pretrained import PretrainedModel
from p2vtools.fit.reconstruct import ReconstructedFoot, reconstruct
from p2vtools.fit.uncertainty import MeasureIntervals, measure_with_intervals, photo_class

VERDICT_KEY = "verdict"
"""Key of the card: `photo_class` -> feature -> [lower limit, upper limit]."""

GOOD_IOU, USABLE_IOU = 0.80, 0.50
"""IoU with the true foot from which a reconstruction is good, and below which it is not usable."""

PRECISION = 0.95
"""Share of validation reconstructions judged good whose IoU is at least `GOOD_IOU`."""

MIN_FEET = 12
"""Fewest validation reconstructions judged good from which a precision is believed."""

LENGTHS, POSSIBLE_LENGTHS = (150.0, 320.0), (110.0, 345.0)
"""Lengths of the feet that the networks know, and of feet at all, mm."""

BREADTH_SHARES, POSSIBLE_BREADTH_SHARES = (0.32, 0.48), (0.25, 0.60)
"""Likewise the ball breadth as a share of the length."""

PHOTO_IOU, PHOTO_GAP = 0.70, 0.12
"""A photo disagrees with the others if its silhouette IoU is below the first, and below their median by the second."""

Level = Literal["good", "doubtful", "not usable"]


LEVELS: tuple[Level, ...] = ("good", "doubtful", "not usable")


class Feature(NamedTuple):
    """A number between 0 and 1 that is low where a reconstruction fails."""

    sentence: str
    """What a low value says, with the value and its limit to be filled in."""
    advice: str
    """What the user can do."""
    limits: tuple[float, float]
    """Lower and upper limit for weights whose card has none."""


FEATURES = {
    "silhouettes": Feature(
        "the solid fits the silhouettes in the photos to {value:.2f}, expected {limit:.2f}",
        "check the cameras and whether the foot moved between the photos",
        (0.60, 0.83),
    ),
    "members": Feature(
        "the networks agree with each other to {value:.2f}, expected {limit:.2f}",
        "take more photos, in even light, all round the foot",
        (0.55, 0.86),
    ),
    "halves": Feature(
        "two halves of the photos give feet that agree to {value:.2f}, expected {limit:.2f}",
        "check the cameras, or take more photos from all round",
        (0.50, 0.80),
    ),
    "typical": Feature(
        "the solid looks like a foot to {value:.2f}, expected {limit:.2f}",
        "check the position of the foot in the photos and which foot it is",
        (0.45, 0.68),
    ),
    "connected": Feature(
        "{value:.0%} of the solid is one piece, expected {limit:.0%}",
        "remove other things from around the foot",
        (0.80, 0.97),
    ),
    "certainty": Feature(
        "the network is sure of {value:.0%} of the solid, expected {limit:.0%}",
        "take more photos, in even light, with the whole foot in each",
        (0.25, 0.45),
    ),
}


@dataclass(frozen=True)
class Verdict:
    """The judgement of a reconstruction."""

    level: Level
    reasons: list[str] = field(default_factory=list)
    """One sentence each; empty if there is nothing to say."""
    advice: list[str] = field(default_factory=list)
    """What to do."""


@dataclass(frozen=True, eq=False)
class JudgedFoot:
    """The result of `reconstruct_and_judge`."""

    foot: ReconstructedFoot
    """With its surface corrected, if it could be measured."""
    measured: MeasureIntervals | None
    """None: not the shape of a foot."""
    verdict: Verdict
    photo_set: PhotoSet
    """The photos that were used."""
    left_out: dict[str, float]
    """Photo that disagreed with the others -> its silhouette IoU."""


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

    Args and errors as `reconstruct`.
    """
    foot = reconstruct(weights, photo_set, size, placement, cameras, report)
    left_out: dict[str, float] = {}
    while (name := disagreeing_photo(foot.silhouette_iou)) is not None:
        left_out[name] = foot.silhouette_iou[name]
        report(f"{name}: left out, its silhouette agrees with the other photos to {left_out[name]:.2f} only")
        photo_set = photo_set.subset([i for i, other in enumerate(photo_set.names) if other != name])
        foot = reconstruct(weights, photo_set, size, placement, cameras, report)
    try:
        measured = measure_with_intervals(weights, photo_set, foot, cameras)
    except ValueError as error:
        advice = ["check the photos, the cameras and which foot it is"]
        verdict = Verdict("not usable", [f"the solid cannot be measured as a foot: {error}"], advice)
        return JudgedFoot(foot, None, verdict, photo_set, left_out)
    features = reconstruction_features(weights, foot, measured.halves_iou, photo_set.side)
    photos = photo_class(len(photo_set.photos), cameras)
    verdict = judge(features, limits_of(weights.card, photos), other_reasons(photo_set, measured.measures, left_out))
    return JudgedFoot(measured.foot, measured, verdict, photo_set, left_out)


def disagreeing_photo(silhouette_iou: Mapping[str, float]) -> str | None:
    """The photo that disagrees most with the others; None: none does, or nobody can say which (fewer than three)."""
    if len(silhouette_iou) < 3:
        return None
    worst = min(silhouette_iou, key=lambda name: silhouette_iou[name])
    others = np.median([value for name, value in silhouette_iou.items() if name != worst])
    return worst if silhouette_iou[worst] < min(PHOTO_IOU, others - PHOTO_GAP) else None


# ------------------------------------------------------------------------------------------------------------- features


def reconstruction_features(
    weights: PretrainedModel, foot: ReconstructedFoot, halves_iou: float | None, side: str
) -> dict[str, float]:
    """Feature of `FEATURES` -> value; those that this reconstruction does not have are missing."""
    labels, count = ndimage.label(foot.solid)
    first, second = foot.member_probability[:2] >= foot.threshold
    features = {
        "silhouettes": float(np.mean(list(foot.silhouette_iou.values()))),
        "members": float(iou(first, second)),
        "connected": float(np.bincount(labels.ravel())[1:].max() / foot.solid.sum()) if count else 0.0,
        "certainty": foot.certainty,
    }
    if halves_iou is not None:
        features["halves"] = halves_iou
    if weights.typical_foot is not None:
        typical = weights.typical_foot.solid.numpy()
        features["typical"] = typical_iou(foot, typical[:, :, ::-1] if side == "right" else typical)
    return features


def typical_iou(foot: ReconstructedFoot, typical: Float[np.ndarray, "x y z"]) -> float:
    """IoU of a reconstruction, on the grid of the network, with the typical foot scaled to its length.

    Both stand on the floor, with the middles of their bounding boxes above each other.
    """
    coarse = foot.member_probability.mean(0) >= foot.threshold
    if not coarse.any():
        return 0.0
    (start, end), (typical_start, typical_end) = _bounds(coarse), _bounds(typical)
    factor = (typical_end[0] - typical_start[0]) / (end[0] - start[0])
    middle, typical_middle = (start + end) / 2 * [1, 0, 1], (typical_start + typical_end) / 2 * [1, 0, 1]
    centres = np.moveaxis(np.indices(coarse.shape), 0, -1) + 0.5
    where = (centres - middle) * factor + typical_middle - 0.5
    scaled = ndimage.map_coordinates(typical.astype(float), np.moveaxis(where, -1, 0), order=1, cval=0.0) >= 0.5
    return float(iou(coarse, scaled))


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
    features: Mapping[str, float], limits: Mapping[str, tuple[float, float]], others: Sequence[Concern] = ()
) -> Verdict:
    """The verdict for ``features`` (`reconstruction_features`), their ``limits`` (`limits_of`) and further concerns."""
    concerns = list(others)
    for name, value in features.items():
        lower, upper = limits[name]
        if value < upper:
            level: Level = "not usable" if value < lower else "doubtful"
            limit = lower if value < lower else upper
            concerns.append(Concern(level, FEATURES[name].sentence.format(value=value, limit=limit), FEATURES[name].advice))
    concerns.sort(key=lambda concern: LEVELS.index(concern.level), reverse=True)
    level = concerns[0].level if concerns else "good"
    return Verdict(level, [concern.reason for concern in concerns], list(dict.fromkeys(c.advice for c in concerns)))


def limits_of(card: Mapping[str, Any], photos: str) -> dict[str, tuple[float, float]]:
    """Lower and upper limit of each feature for a `photo_class`; those of `FEATURES` where the card has none."""
    stored = card.get(VERDICT_KEY, {}).get(photos, {})
    return {name: tuple(stored.get(name, feature.limits)) for name, feature in FEATURES.items()}


def other_reasons(photo_set: PhotoSet, measures: Measures, left_out: Mapping[str, float]) -> list[Concern]:
    return []


def fit_verdict(rows: pd.DataFrame) -> dict[str, dict[str, list[float]]]:
    return {}
