"""Measurements of a reconstructed foot with prediction intervals, in millimetres.

The scale of the uncertainty has four parts, each the change of a measurement with one cause: the voxel size; the level
of the surface (`LEVELS`), which reflects the network's own confidence; the members of the ensemble; and, from
`MIN_PHOTOS` photos with exact cameras on, the photos, from the reconstructions of two halves of them. Their root sum of
squares is a relative scale. Validation people calibrate the factor for which 90 % of feet lie inside (split conformal
prediction, Lei et al., J. American Statistical Association 2018) in each domain of photos, for each number of photos
and kind of cameras (`photo_class`); the correction below is fitted on other people than the factor.

A blurred surface ends before the tips of the toes, which are thinner than a voxel. The correction of this bias is
proportional to the observed blur, so a sharp surface is not changed. It moves the surface itself
(`surface_correction`), and all measurements are taken on the corrected surface. The card of the weights stores both
calibrations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd
import trimesh
from jaxtyping import Float

from p2vlib.geometry.frames import FOOT_CUBE
from p2vlib.geometry.grids import iou, to_mesh
from p2vtools.fit.measure import Measures, measure_foot
from p2vtools.fit.photo_set import PhotoSet
from p2vtools.fit.pretrained import PretrainedModel
from p2vtools.fit.reconstruct import ReconstructedFoot, reconstruct
from p2vtools.fit.surface_correction import CORRECTED_MEASURES, correct_surface

COVERAGE = 0.9
"""Nominal coverage of the intervals."""

LEVELS = 0.5
"""Surfaces halfway from the threshold to 0 and to 1 are compared."""

MIN_PHOTOS = 4
"""Photos needed for two halves."""

CALIBRATED_SIZE = 128
"""Edge of the grid, voxels, at which the calibration holds; coarser reconstructions are repeated at this size."""

CALIBRATION_KEY = "intervals"
"""Key of the card: `photo_class` -> measurement -> ``softness`` and ``factor``. The correction of a measurement is its
``softness`` times its change with the level of the surface; half of the interval is its ``factor`` times the scale."""

RULER_ERROR = 2.0
"""Half of the interval of a foot length measured with a ruler, mm. Assumed."""

UNMEASURABLE_CHANGE = 0.1
"""Change of a measurement, as a share of it, assumed if one of the compared surfaces cannot be measured as a foot."""

MEASURE_NAMES = tuple(field.name for field in fields(Measures) if field.name != "arch_height")
"""Measurements of a reconstruction; photos do not show the sole."""


@dataclass(frozen=True)
class MeasureIntervals:
    """Measurements of a reconstructed foot and their intervals."""

    measures: Measures
    """Measured on the surface of ``foot``."""
    half_widths: dict[str, float]
    """Measurement -> half of its interval, mm, with coverage `COVERAGE`."""
    foot: ReconstructedFoot
    """The reconstruction with its surface corrected, and its scale where the length was measured with a ruler."""
    halves_iou: float | None = None
    """IoU between the solids of two halves of the photos; None with fewer than `MIN_PHOTOS`, or noted cameras."""


def photo_class(photos: int, cameras: str = "exact") -> str:
    """The class of a capture, by its number of photos and kind of cameras; each class has a calibration of its own.

    >>> photo_class(3), photo_class(8, "noted")
    ('2 or 3 photos', 'noted')
    """
    if cameras == "noted":
        return "noted"
    bounds = {1: "1 photo", 3: "2 or 3 photos", 7: "4 to 7 photos"}
    return next((name for most, name in bounds.items() if photos <= most), "8 photos or more")


def measure_with_intervals(
    weights: PretrainedModel, photo_set: PhotoSet, foot: ReconstructedFoot, cameras: str = "exact"
) -> MeasureIntervals:
    """Measures ``foot``, the result of `reconstruct` with the same ``weights``, ``photo_set`` and ``cameras``.

    Raises:
        ValueError: the reconstruction cannot be measured as a foot, or the card of the weights has no calibration.
    """
    calibration = card_calibration(weights, photo_class(len(photo_set.photos), cameras))
    placed, fine = photo_set, foot
    if len(foot.probability) != CALIBRATED_SIZE:
        placed = placed_photos(photo_set, foot, range(len(photo_set.photos)))
        fine = reconstruct(weights, placed, CALIBRATED_SIZE, "given", "exact" if foot.placement else cameras)
    table, halves_iou = uncalibrated_measures(weights, placed, fine, cameras)
    corrected = correct_surface(foot.mesh, photo_set.side, corrected_targets(table, calibration))
    measures = measure_foot(corrected, photo_set.side)[0]
    half_widths = {name: float(calibration[name]["factor"] * table.scale[name]) for name in MEASURE_NAMES}
    scale = 1.0
    if photo_set.length:
        scale = 1000 * photo_set.length / measures.length
        half_widths = _half_widths_by_ruler(measures, half_widths, scale)
    scaled = {name: scale * getattr(measures, name) for name in MEASURE_NAMES}
    corrected_foot = replace(foot, corrected_surface=corrected, scale=scale)
    return MeasureIntervals(Measures(**scaled), half_widths, corrected_foot, halves_iou)


def _half_widths_by_ruler(measures: Measures, half_widths: Mapping[str, float], scale: float) -> dict[str, float]:
    """Half widths if the length was measured with a ruler: the uncertainty of the proportions and of the ruler."""
    length, relative = measures.length, half_widths["length"] / measures.length
    ruler = {"length": RULER_ERROR}
    for name in half_widths.keys() - ruler:
        value = getattr(measures, name)
        ruler[name] = float(np.hypot(half_widths[name], value * relative) * scale + value / length * RULER_ERROR)
    return ruler


def card_calibration(weights: PretrainedModel, photos: str) -> dict[str, dict[str, float]]:
    """Measurement -> its calibration for a `photo_class`.

    Raises:
        ValueError: the card of the weights has none, as those before intervals by number of photos.
    """
    calibration = weights.card.get(CALIBRATION_KEY, {})
    if photos not in calibration:
        found = f"the card of these weights has no calibration of intervals for {photos}"
        raise ValueError(f"{found}; expected weights as made by `p2v weights`")
    return calibration[photos]


def corrected_targets(table: pd.DataFrame, calibration: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Measurements that the surface should have, mm: those of `CORRECTED_MEASURES` plus their correction."""
    return {
        name: float(table.value[name] + calibration[name]["softness"] * table.surface[name])
        for name in CORRECTED_MEASURES
    }


def uncalibrated_measures(
    weights: PretrainedModel, photo_set: PhotoSet, foot: ReconstructedFoot, cameras: str = "exact"
) -> tuple[pd.DataFrame, float | None]:
    """Measures ``foot`` before any correction, and how much each measurement changes with each cause.

    Returns:
        A table indexed by measurement, mm, with the columns value; the parts of the scale: grid, surface, members and,
        with at least `MIN_PHOTOS` photos and exact cameras, photos; scale. The IoU as `MeasureIntervals.halves_iou`.

    Raises:
        ValueError: the reconstruction cannot be measured as a foot.
    """
    side, size = photo_set.side, len(foot.probability)
    lower, upper = (1 - LEVELS) * foot.threshold, foot.threshold + LEVELS * (1 - foot.threshold)
    value = _measure_volume(foot.probability, side, foot.threshold)
    parts = {
        "grid": pd.Series(1000 * FOOT_CUBE.edge / size / np.sqrt(12), value.index),
        "surface": _half_change([(foot.probability, lower), (foot.probability, upper)], side, value),
        "members": _half_change([(volume, foot.threshold) for volume in foot.member_probability[:2]], side, value),
    }
    halves_iou = None
    if cameras == "exact" and len(photo_set.photos) >= MIN_PHOTOS:
        halves = []
        for first in (0, 1):
            every_second = placed_photos(photo_set, foot, range(first, len(photo_set.photos), 2))
            halves.append(reconstruct(weights, every_second, size, "given"))
        parts["photos"] = _half_change([(half.probability, half.threshold) for half in halves], side, value)
        halves_iou = float(iou(halves[0].solid, halves[1].solid))
    table = pd.DataFrame({"value": value, **parts})
    return table.assign(scale=np.sqrt((table[list(parts)] ** 2).sum(axis=1))), halves_iou


def _half_change(volumes: Sequence[tuple[np.ndarray, float]], side: str, value: pd.Series) -> pd.Series:
    """Half the change of each measurement between two surfaces (volume, level), or `UNMEASURABLE_CHANGE`."""
    try:
        first, second = (_measure_volume(volume, side, level) for volume, level in volumes)
    except ValueError:
        return UNMEASURABLE_CHANGE * value
    return (first - second).abs() / 2


def _measure_volume(volume: np.ndarray, side: str, level: float) -> pd.Series:
    """Measurements of the surface of a volume at ``level``, by name."""
    measures = measure_foot(trimesh.Trimesh(*to_mesh(volume, FOOT_CUBE, level), process=False), side)[0]
    return pd.Series({name: getattr(measures, name) for name in MEASURE_NAMES})


def placed_photos(photo_set: PhotoSet, foot: ReconstructedFoot, numbers: Sequence[int]) -> PhotoSet:
    """Some photos of a capture, with cameras in the frame of the foot that was found."""
    selection = photo_set.subset(numbers)
    cameras = [replace(camera, extrinsics=camera.extrinsics @ foot.pose) for camera in selection.cameras]
    return replace(selection, cameras=cameras, initial_position=np.zeros(3))


# ---------------------------------------------------------------------------------------------------------- calibration


def fit_softness(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """`photo_class` -> measurement -> softness: missing millimetres per millimetre of blur, the median over feet.

    The softness of measurements that are not in `CORRECTED_MEASURES` is 0.

    Args:
        rows: `uncalibrated_measures` of feet with known truth: columns class, measure, value, surface and truth (mm).
    """
    softness: dict[str, dict[str, float]] = {}
    for (photos, name), feet in rows.groupby(["class", "measure"]):
        missing = (feet.truth - feet.value) / feet.surface.clip(lower=0.1)
        softness.setdefault(photos, {})[name] = round(float(missing.median()), 3) if name in CORRECTED_MEASURES else 0.0
    return softness


def fit_factors(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """`photo_class` -> measurement -> factor: the conformal quantile of the error over the scale.

    It is the largest of the domains' quantiles, so the intervals cover feet of each domain, not only of both together:
    in everyday scenes errors are larger at the same scale.

    Args:
        rows: columns class, domain, subject, measure, value (measured on the corrected surface), scale and truth (mm);
            the correction has to be fitted on other people.
    """
    factors: dict[str, dict[str, float]] = {}
    for (photos, name, _), feet in rows.groupby(["class", "measure", "domain"]):
        score = ((feet.value - feet.truth).abs() / feet.scale).to_numpy()
        factor = round(conformal_quantile(score, feet.subject.to_numpy()), 3)
        by_name = factors.setdefault(photos, {})
        by_name[name] = max(factor, by_name.get(name, 0.0))
    return factors


def conformal_quantile(score: Float[np.ndarray, " feet"], people: np.ndarray) -> float:
    """The limit below which the score of a foot of another person lies with a probability of at least `COVERAGE`.

    Each of ``n`` people weighs 1 / (n + 1), shared equally by the feet of the person; the limit is the smallest score
    up to which the weights reach `COVERAGE` (Lee, Barber and Willett, Distribution-free inference with hierarchical
    data, 2023). With one foot each, its rank is ``ceil(COVERAGE * (n + 1))``. With fewer than nine people it is the
    largest score, which covers fewer.

    >>> conformal_quantile(np.arange(1.0, 21.0), np.arange(20))
    19.0
    """
    _, person, feet = np.unique(people, return_inverse=True, return_counts=True)
    order = np.argsort(score)
    reached = np.cumsum(1 / feet[person[order]]) / (len(feet) + 1) >= COVERAGE - 1e-9
    return float(score[order[np.argmax(reached) if reached.any() else -1]])
