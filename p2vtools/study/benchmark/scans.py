"""Benchmark of scan cleaning on degraded scans, and of measuring on clean meshes.

The cleaned solid is compared with the true solid as a user gets it: each in the cube about its own bounding box, in the
frame that `clean_scan` found. Nothing is aligned to the truth.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from dataclasses import asdict

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from p2vlib.geometry.frames import SIDES, foot_cube
from p2vlib.geometry.grids import iou, voxelise
from p2vtools.capture.scan_cleaning import CleanedScan, clean_scan
from p2vtools.fit import pretrained
from p2vtools.fit.measure import measure_foot
from p2vtools.fit.uncertainty import MEASURE_NAMES
from p2vtools.study.benchmark.walks import SEED
from p2vtools.synthesis.feet.foot import SyntheticFoot, make_feet
from p2vtools.synthesis.feet.landmarks import true_measures
from p2vtools.synthesis.feet.population import sample_population
from p2vtools.synthesis.scan_degradation import ScanTruth, degrade_scan

SIZE = 64
"""Voxels per side of the compared grids."""

FIRST_MEASURED = 1000
"""Number of the first person whose mesh is measured; those before are photographed and scanned."""

GROUPS = {
    "all": lambda rows: rows.case >= 0,
    "no floor": lambda rows: rows.floor == "none",
    "floor": lambda rows: (rows.floor != "none") & (rows.tilt == 0),
    "floor turned against the sole": lambda rows: rows.tilt > 0,
}
"""Title -> selection of rows in `scan_table`."""

STATISTICS: dict[str, tuple[str, Callable[..., np.ndarray]]] = {
    "IoU at 64, median": ("iou", np.median),
    "IoU at 64, 5th percentile": ("iou", lambda values, axis: np.quantile(values, 0.05, axis)),
    "yaw error, median degrees": ("yaw error", lambda values, axis: np.nanmedian(np.abs(values), axis)),
    "tilt error, median degrees": ("tilt error", np.nanmedian),
    "side right, share": ("side right", np.mean),
    "unit right, share": ("unit right", np.mean),
    "refused, share": ("refused", lambda values, axis: np.mean(values != "", axis)),
}
"""Title -> (column, statistic) in `scan_table`."""

RESAMPLES = 2000
"""Bootstrap resamples."""


def evaluate_scan(case: int) -> dict[str, pd.DataFrame]:
    """Degrades a scan of person number ``case``, cleans it, compares it with the truth and measures it.

    Returns:
        ``scans``, one row: case, person, side, unit, floor, tilt (degrees), noise, holes (share), sole, leg (m), strays
        (`ScanTruth`); yaw error, tilt error (degrees), iou, side right, unit right, refused (the reason, or empty),
        seconds. A refused scan has IoU 0, no errors, and neither side nor unit right.

        ``fits``: as in `evaluate_capture`, way ``scan`` with 0 photos.
    """
    (person,) = sample_population(SEED, 1, first=case)
    foot = make_feet(person)[SIDES[case % 2]]
    scan, truth = degrade_scan(foot, np.random.default_rng([SEED, 0, case]))
    cleaned, refused, began = None, "", time.perf_counter()
    try:
        cleaned = clean_scan(scan, _typical_foot())
    except ValueError as error:
        refused = str(error)
    seconds = time.perf_counter() - began
    settings = {name: value for name, value in asdict(truth).items() if name != "to_scan"}
    row = {"case": case, "person": person.id, **settings, **_scan_errors(cleaned, foot, truth)}
    fits = pd.DataFrame(_fit_rows(cleaned, foot)).assign(case=case, person=person.id, side=foot.side)
    return {"scans": pd.DataFrame([{**row, "refused": refused, "seconds": seconds}]), "fits": fits}


def evaluate_meshes(case: int) -> dict[str, pd.DataFrame]:
    """Measures the clean meshes of both feet of a person and compares with the landmarks of the body model.

    Returns:
        ``meshes``: side, measure, truth, found (mm), case, person.
    """
    (person,) = sample_population(SEED, 1, first=FIRST_MEASURED + case)
    rows = []
    for side, foot in make_feet(person).items():
        found = dict(measure_foot(foot.solid, side)[0].items())
        for name, truth in true_measures(foot).items():
            if (title := name.replace("_", " ")) in found:
                rows.append({"side": side, "measure": title, "truth": truth, "found": found[title]})
    return {"meshes": pd.DataFrame(rows).assign(case=case, person=person.id)}


def _scan_errors(cleaned: CleanedScan | None, foot: SyntheticFoot, truth: ScanTruth) -> dict[str, object]:
    if cleaned is None:
        return {"yaw error": np.nan, "tilt error": np.nan, "iou": 0.0, "side right": False, "unit right": False}
    solid = voxelise(foot.solid.vertices, foot.solid.faces, foot_cube(foot.solid.bounds), SIZE).volume
    yaw, tilt = yaw_and_tilt(cleaned.to_foot @ truth.to_scan)
    return {
        "yaw error": yaw,
        "tilt error": tilt,
        "iou": iou(cleaned.grid(SIZE).volume, solid),
        "side right": cleaned.side == truth.side,
        "unit right": cleaned.unit == truth.unit,
    }


def _fit_rows(cleaned: CleanedScan | None, foot: SyntheticFoot) -> list[dict[str, object]]:
    found = {}
    with contextlib.suppress(ValueError):  # the cleaned mesh cannot be measured as a foot
        if cleaned and cleaned.scale != "unknown":
            found = vars(measure_foot(cleaned.mesh, cleaned.side)[0])
    true, labels = true_measures(foot), {"way": "scan", "views": 0}
    return [
        {**labels, "measure": name.replace("_", " "), "truth": true[name], "found": found.get(name, np.nan)}
        for name in MEASURE_NAMES
    ]


@functools.cache
def _typical_foot() -> Bool[np.ndarray, "x y z"]:
    return pretrained.load_pretrained().typical_foot.solid.numpy()


def yaw_and_tilt(matrix: Float[np.ndarray, "4 4"]) -> tuple[float, float]:
    """Rotation of a similarity transform about the vertical, and the angle by which it tilts the vertical, degrees."""
    rotation = matrix[:3, :3] / np.cbrt(np.linalg.det(matrix[:3, :3]))
    yaw = np.rad2deg(np.arctan2(rotation[0, 2] - rotation[2, 0], rotation[0, 0] + rotation[2, 2]))
    return float(yaw), float(np.rad2deg(np.arccos(np.clip(rotation[1, 1], -1, 1))))


def scan_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Statistics of scans by group, with 95 % bootstrap intervals over people: of, measure, value, low, high, scans."""
    rng, table = np.random.default_rng(0), []
    for group, select in GROUPS.items():
        part = rows[select(rows)]
        if not len(part):
            continue
        resamples = rng.integers(len(part), size=(RESAMPLES, len(part)))
        for title, (column, statistic) in STATISTICS.items():
            values = part[column].to_numpy()
            low, high = np.nanquantile(statistic(values[resamples], axis=-1), [0.025, 0.975])
            table.append((group, title, float(statistic(values, axis=-1)), float(low), float(high), len(part)))
    return pd.DataFrame(table, columns=["of", "measure", "value", "low", "high", "scans"])
