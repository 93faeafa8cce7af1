"""Measurements of a reconstructed foot with prediction intervals, in millimetres.

The scale of the uncertainty has three parts, each the change of a measurement with one cause: the voxel size; the
level of the surface (`LEVELS`), which reflects the network's own confidence; and the photos, from the reconstructions
of two halves of them. Their root sum of squares is a relative scale. Validation people calibrate the factor for which
90 % of feet lie inside (split conformal prediction, Lei et al., J. American Statistical Association 2018), and the
correction of the bias: toe tips are thinner than a voxel, and a blurred surface makes a foot shorter. The card of the
weights stores both (`fit_calibration`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import pandas as pd
import trimesh
from jaxtyping import Float

from p2vlib.data.capture_folder import PhotoSet
from p2vlib.geometry.frames import FOOT_CUBE
from p2vlib.geometry.grids import to_mesh
from p2vtools.fit.measure import Measures, measure_foot
from p2vtools.fit.pretrained import PretrainedModel
from p2vtools.fit.reconstruct import ReconstructedFoot, reconstruct

COVERAGE = 0.9
"""Nominal coverage of the intervals."""

LEVELS = 0.5
"""Surfaces halfway from the threshold to 0 and to 1 are compared."""

MIN_PHOTOS = 4
"""Photos needed for two halves, and so for an interval."""

CALIBRATED_SIZE = 128
"""Edge of the grid, voxels, at which the calibration holds; coarser reconstructions are repeated at this size."""

CALIBRATION_KEY = "measures"
"""Key of the card: measurement -> ``correction, mm``; ``softness``, the factor on the change with the surface that is
added to it; ``factor`` on the scale."""

MEASURE_NAMES = tuple(field.name for field in fields(Measures) if field.name != "arch_height")
"""Measurements of a reconstruction; photos do not show the sole."""


@dataclass(frozen=True)
class MeasureIntervals:
    """Measurements of a reconstructed foot and their intervals."""

    measures: Measures
    """Corrected for bias, where the card of the weights has a calibration of the measurement."""
    half_widths: dict[str, float]
    """Calibrated measurement -> half of its interval, mm, with coverage `COVERAGE`."""
    scale: float = 1.0
    """Factor on all lengths, where a foot length measured by a ruler sets the scale."""


def measure_with_intervals(
    weights: PretrainedModel, photo_set: PhotoSet, foot: ReconstructedFoot, cameras: str = "exact"
) -> MeasureIntervals:
    """Measures ``foot``, the result of `reconstruct` with the same ``weights``, ``photo_set`` and ``cameras``.

    Raises:
        ValueError: the reconstruction cannot be measured as a foot.
    """
    calibration, half_widths = weights.card.get(CALIBRATION_KEY, {}), {}
    if len(foot.probability) != CALIBRATED_SIZE:
        every_photo = range(len(photo_set.photos))
        foot = reconstruct(weights, _placed_photos(photo_set, foot, every_photo), CALIBRATED_SIZE, "given", cameras)
    raw = _measure_levels(foot, photo_set.side)
    if cameras == "exact" and len(photo_set.photos) >= MIN_PHOTOS:
        scales = uncalibrated_measures(weights, photo_set, foot).scale
        half_widths = {name: float(calibration[name]["factor"] * scales[name]) for name in calibration}
    correction = predict_correction(raw.loc[list(calibration)], calibration) if calibration else pd.Series(dtype=float)
    values = raw.value + correction.reindex(raw.index, fill_value=0.0)
    scale = 1000 * photo_set.length / values["length"] if photo_set.length else 1.0
    if photo_set.length:
        half_widths = {name: scale * half for name, half in half_widths.items() if name != "length"}
    measures = Measures(**{name: float(scale * values[name]) for name in MEASURE_NAMES})
    return MeasureIntervals(measures, half_widths, float(scale))


def predict_correction(raw: pd.DataFrame, calibration: Mapping[str, Mapping[str, float]]) -> pd.Series:
    """Millimetres to add to ``raw`` measurements (`uncalibrated_measures`), by the ``calibration`` of a card."""
    card = pd.DataFrame(calibration).T.loc[raw.index]
    return card["correction, mm"] + card["softness"] * raw.surface


def uncalibrated_measures(weights: PretrainedModel, photo_set: PhotoSet, foot: ReconstructedFoot) -> pd.DataFrame:
    """Raw measurements of a reconstruction and the scale of their uncertainty, mm, indexed by measurement.

    Columns: value; surface, grid and photos, the three parts of the scale; scale.
    """
    raw = _measure_levels(foot, photo_set.side)
    size, halves = len(foot.probability), []
    for first in (0, 1):
        every_second = _placed_photos(photo_set, foot, range(first, len(photo_set.photos), 2))
        half = reconstruct(weights, every_second, size, "given")
        halves.append(_measure_at(half, photo_set.side, half.threshold))
    raw["grid"] = 1000 * FOOT_CUBE.edge / size / np.sqrt(12)
    raw["photos"] = (halves[0] - halves[1]).abs() / 2
    raw["scale"] = np.sqrt(raw.grid**2 + raw.surface**2 + raw.photos**2)
    return raw


def _measure_levels(foot: ReconstructedFoot, side: str) -> pd.DataFrame:
    """Columns value, and surface: half the change between the two `LEVELS`."""
    lower, upper = (1 - LEVELS) * foot.threshold, foot.threshold + LEVELS * (1 - foot.threshold)
    larger, smaller = (_measure_at(foot, side, level) for level in (lower, upper))
    return pd.DataFrame({"value": _measure_at(foot, side, foot.threshold), "surface": (larger - smaller).abs() / 2})


def _measure_at(foot: ReconstructedFoot, side: str, level: float) -> pd.Series:
    """Measurements of the surface at probability ``level``, by name."""
    mesh = foot.mesh
    if level != foot.threshold:
        mesh = trimesh.Trimesh(*to_mesh(foot.probability, FOOT_CUBE, level), process=False)
    measures = measure_foot(mesh, side)[0]
    return pd.Series({name: getattr(measures, name) for name in MEASURE_NAMES})


def _placed_photos(photo_set: PhotoSet, foot: ReconstructedFoot, numbers: Sequence[int]) -> PhotoSet:
    """Some photos of a capture, with cameras in the frame of the foot that was found."""
    selection = photo_set.subset(numbers)
    cameras = [replace(camera, extrinsics=camera.extrinsics @ foot.pose) for camera in selection.cameras]
    return replace(selection, cameras=cameras, initial_position=np.zeros(3))


def fit_calibration(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Correction and factor of each measurement, as stored under `CALIBRATION_KEY`.

    Args:
        rows: `uncalibrated_measures` of feet with known truth: columns measure, value, surface, scale, truth (mm).
    """
    calibration = {}
    for name, feet in rows.groupby("measure"):
        constant, softness = _fit_bias(feet.surface.to_numpy(), (feet.truth - feet.value).to_numpy())
        score = (feet.value + constant + softness * feet.surface - feet.truth).abs() / feet.scale
        quantile = min(1.0, np.ceil(COVERAGE * (len(score) + 1)) / len(score))
        factor = float(np.quantile(score, quantile, method="higher"))
        calibration[str(name)] = {
            "correction, mm": round(constant, 2),
            "softness": round(softness, 3),
            "factor": round(factor, 3),
        }
    return calibration


def _fit_bias(surface: Float[np.ndarray, " feet"], bias: Float[np.ndarray, " feet"]) -> tuple[float, float]:
    """Constant and slope over ``surface``; the slope is 0 unless it reduces the leave-one-out error."""
    designs = (np.ones((len(surface), 1)), np.stack([np.ones_like(surface), surface], 1))
    coefficients, errors = [], []
    for design in designs:
        coefficients.append(np.linalg.lstsq(design, bias, rcond=None)[0])
        leverage = np.einsum("fc,cf->f", design, np.linalg.pinv(design))
        residuals = bias - design @ coefficients[-1]
        errors.append(float(np.mean((residuals / np.maximum(1 - leverage, 1e-6)) ** 2)))
    best = coefficients[int(np.argmin(errors))]
    return float(best[0]), float(best[1]) if len(best) > 1 else 0.0
