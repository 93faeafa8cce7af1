"""Measures of a reconstructed foot with what they are sure within, in millimetres.

Three things say how far a measure may be off, each as the measure changes with it: the grid, whose voxels have a size;
the network's probability, when the surface is taken where it is less or more sure (`LEVELS`); and cameras and photos,
when every second photo alone tells the foot. Their root of squares is only a scale: by how much it is to be multiplied
for nine feet of ten to lie inside, validation people have told (split conformal prediction, Lei et al., J. American
Statistical Association 2018), and by how much a measure comes out short: tips of toes are thinner than a voxel, and a
foot whose surface is softer comes out shorter. The card of the weights keeps what they told (`fitted`).
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
"""Share of feet whose measure lies inside what is told."""

LEVELS = 0.5
"""The surface is taken half of the way from the threshold to 0, and to 1."""

FEWEST = 4
"""Photos from which on they are told apart in two halves, and an interval is told."""

CALIBRATED_SIZE = 128
"""Voxels a side at which all this is calibrated: of a coarser answer the network is asked once more, so finely."""

CALIBRATION_KEY = "measures"
"""What the card calls corrections and factors: measure -> ``correction, mm``, to which ``softness`` times the change
with the surface is added, and ``factor`` of the scale."""

MEASURE_NAMES = tuple(field.name for field in fields(Measures) if field.name != "arch_height")
"""What is measured of a reconstruction: its sole was never seen."""


@dataclass(frozen=True)
class MeasureIntervals:
    """What is known of the size of a reconstructed foot."""

    measures: Measures
    """Corrected."""
    half_widths: dict[str, float]
    """Measure -> half of the interval that `COVERAGE` of feet lie in, mm; empty where nobody has calibrated it."""
    scale: float = 1.0
    """By which the foot is larger than the cameras say, where a ruler gave its length."""


def measure_with_intervals(
    weights: PretrainedModel, shots: PhotoSet, foot: ReconstructedFoot, cameras: str = "exact"
) -> MeasureIntervals:
    """Measures ``foot``, which ``weights`` made of ``shots`` (`inference.reconstruct`, with the same ``cameras``).

    Raises:
        ValueError: what was reconstructed cannot be measured as a foot.
    """
    known, within = weights.card.get(CALIBRATION_KEY, {}), {}
    if len(foot.probability) != CALIBRATED_SIZE:
        foot = reconstruct(weights, _placed(shots, foot, range(len(shots.photos))), CALIBRATED_SIZE, "given", cameras)
    told = _readings(foot, shots.side)
    if cameras == "exact" and len(shots.photos) >= FEWEST:
        scale = uncalibrated_measures(weights, shots, foot).scale
        within = {name: float(known[name]["factor"] * scale[name]) for name in known}
    values = told.value + (predict_correction(told.loc[list(known)], known) if known else 0.0)
    scale = 1000 * shots.length / values["length"] if shots.length else 1.0
    if shots.length:
        within = {name: scale * half for name, half in within.items() if name != "length"}
    return MeasureIntervals(
        Measures(**{name: float(scale * values[name]) for name in MEASURE_NAMES}), within, float(scale)
    )


def predict_correction(told: pd.DataFrame, known: Mapping[str, Mapping[str, float]]) -> pd.Series:
    """What is to be added to measures, mm: to rows of `uncalibrated_measures`, as the card ``known`` says."""
    card = pd.DataFrame(known).T.loc[told.index]
    return card["correction, mm"] + card["softness"] * told.surface


def uncalibrated_measures(weights: PretrainedModel, shots: PhotoSet, foot: ReconstructedFoot) -> pd.DataFrame:
    """What each measure of a reconstruction is, uncorrected, and what it changes with: a row a measure, mm.

    Columns: value; surface, grid and photos, the three parts of its scale; scale.
    """
    told = _readings(foot, shots.side)
    size, halves = len(foot.probability), []
    for first in (0, 1):
        every_second = _placed(shots, foot, range(first, len(shots.photos), 2))
        half = reconstruct(weights, every_second, size, "given")
        halves.append(_measured(half, shots.side, half.threshold))
    told["grid"] = 1000 * FOOT_CUBE.edge / size / np.sqrt(12)
    told["photos"] = (halves[0] - halves[1]).abs() / 2
    told["scale"] = np.sqrt(told.grid**2 + told.surface**2 + told.photos**2)
    return told


def _readings(foot: ReconstructedFoot, side: str) -> pd.DataFrame:
    """What each measure is and how it changes with the surface."""
    lower, upper = (1 - LEVELS) * foot.threshold, foot.threshold + LEVELS * (1 - foot.threshold)
    looser, tighter = (_measured(foot, side, level) for level in (lower, upper))
    return pd.DataFrame({"value": _measured(foot, side, foot.threshold), "surface": (looser - tighter).abs() / 2})


def _measured(foot: ReconstructedFoot, side: str, level: float) -> pd.Series:
    """Measures of the surface where the probability is ``level``, by name."""
    mesh = foot.mesh
    if level != foot.threshold:
        mesh = trimesh.Trimesh(*to_mesh(foot.probability, FOOT_CUBE, level), process=False)
    found = measure_foot(mesh, side)[0]
    return pd.Series({name: getattr(found, name) for name in MEASURE_NAMES})


def _placed(shots: PhotoSet, foot: ReconstructedFoot, chosen: Sequence[int]) -> PhotoSet:
    """Some photos of a capture whose foot was found: it stands where they say."""
    some = shots.subset(chosen)
    cameras = [replace(camera, extrinsics=camera.extrinsics @ foot.pose) for camera in some.cameras]
    return replace(some, cameras=cameras, initial_position=np.zeros(3))


def fit_calibration(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Correction and factor of each measure: what the card keeps under `CALIBRATION_KEY`.

    Args:
        rows: `uncalibrated_measures` of many feet whose truth is known: columns measure, value, surface, scale, truth.
    """
    told = {}
    for name, one in rows.groupby("measure"):
        constant, softness = _line(one.surface.to_numpy(), (one.truth - one.value).to_numpy())
        score = (one.value + constant + softness * one.surface - one.truth).abs() / one.scale
        share = min(1.0, np.ceil(COVERAGE * (len(score) + 1)) / len(score))
        factor = float(np.quantile(score, share, method="higher"))
        told[str(name)] = {
            "correction, mm": round(constant, 2),
            "softness": round(softness, 3),
            "factor": round(factor, 3),
        }
    return told


def _line(surface: Float[np.ndarray, " feet"], lacking: Float[np.ndarray, " feet"]) -> tuple[float, float]:
    """A constant, and a slope over ``surface`` if with it a foot is foretold better by all others."""
    designs = (np.ones((len(surface), 1)), np.stack([np.ones_like(surface), surface], 1))
    lines, errors = [], []
    for design in designs:
        lines.append(np.linalg.lstsq(design, lacking, rcond=None)[0])
        own = np.einsum("fc,cf->f", design, np.linalg.pinv(design))
        errors.append(float(np.mean(((lacking - design @ lines[-1]) / np.maximum(1 - own, 1e-6)) ** 2)))
    best = lines[int(np.argmin(errors))]
    return float(best[0]), float(best[1]) if len(best) > 1 else 0.0
