"""How well `phone.clean` makes clean feet of scans made worse (`capture.degrade`), on people nobody trained on.

Everything is measured as a user gets it: the cleaned solid in the cube about itself, in the frame that `clean` found,
against the true solid in the cube about itself; nothing is aligned to the truth.
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

GROUPS = {
    "all": lambda rows: rows.case >= 0,
    "no floor": lambda rows: rows.floor == "none",
    "floor": lambda rows: (rows.floor != "none") & (rows.tilt == 0),
    "floor turned against the sole": lambda rows: rows.tilt > 0,
}

DRAWS = 2000
"""Of the bootstrap."""


def evaluate_scan(case: int) -> dict[str, pd.DataFrame]:
    """Scan number ``case``, of a person of its own: made, cleaned, compared and measured.

    ``scans``: case, person, side, floor, tilt (degrees), noise, leg (m), holes (share), sole, strays, unit (`Truth`);
    yaw error, tilt error (degrees), iou, side right, unit right, refused (the reason, or nothing), seconds. What is
    refused has an iou of 0, no errors, and neither side nor unit right.
    ``fits``: as of `captures`, way ``scan``, without photos.
    """
    (person,) = sample_population(SEED, 1, first=case)
    foot = make_feet(person)[SIDES[case % 2]]
    scan, truth = degrade_scan(foot, np.random.default_rng([SEED, 0, case]))
    facts = asdict(truth)
    del facts["to_scan"]
    found, refused, began = None, "", time.perf_counter()
    try:
        found = clean_scan(scan, _typical())
    except ValueError as error:
        refused = str(error)
    seconds = time.perf_counter() - began
    row = {"case": case, "person": person.id, **facts, **_compared(found, foot, truth)}
    fits = pd.DataFrame(_fits(found, foot)).assign(case=case, person=person.id, side=foot.side)
    return {"scans": pd.DataFrame([{**row, "refused": refused, "seconds": seconds}]), "fits": fits}


def _compared(found: CleanedScan | None, foot: SyntheticFoot, truth: ScanTruth) -> dict[str, object]:
    """How far a cleaned scan is from the truth."""
    if found is None:
        return {"yaw error": np.nan, "tilt error": np.nan, "iou": 0.0, "side right": False, "unit right": False}
    true = voxelise(foot.solid.vertices, foot.solid.faces, foot_cube(foot.solid.bounds), SIZE).volume
    yaw, tilt = yaw_and_tilt(found.to_foot @ truth.to_scan)
    right = {"side right": found.side == truth.side, "unit right": found.unit == truth.unit}
    return {"yaw error": yaw, "tilt error": tilt, "iou": iou(found.grid(SIZE).volume, true), **right}


def _fits(found: CleanedScan | None, foot: SyntheticFoot) -> list[dict[str, object]]:
    """Its measures beside the true ones, mm."""
    said = {}
    with contextlib.suppress(ValueError):  # what was found is no foot that can be measured
        said = vars(measure_foot(found.mesh, found.side)[0]) if found else {}
    true = true_measures(foot)
    return [
        {
            "way": "scan",
            "views": 0,
            "measure": name.replace("_", " "),
            "truth": true[name],
            "found": said.get(name, np.nan),
        }
        for name in MEASURE_NAMES
    ]


@functools.cache
def _typical() -> Bool[np.ndarray, "x y z"]:
    return pretrained.load_pretrained().typical_foot.solid.numpy()


def yaw_and_tilt(matrix: Float[np.ndarray, "4 4"]) -> tuple[float, float]:
    """Degrees by which a matrix of turn, move and scale turns about the vertical, and by which it tilts that."""
    turn = matrix[:3, :3] / np.cbrt(np.linalg.det(matrix[:3, :3]))
    yaw = np.rad2deg(np.arctan2(turn[0, 2] - turn[2, 0], turn[0, 0] + turn[2, 2]))
    return float(yaw), float(np.rad2deg(np.arccos(np.clip(turn[1, 1], -1, 1))))


def scan_table(rows: pd.DataFrame) -> pd.DataFrame:
    """What came of scans, with 95 % bootstrap intervals over people: of, measure, value, low, high, scans."""
    measures: dict[str, tuple[str, Callable[..., np.ndarray]]] = {
        "IoU at 64, median": ("iou", np.median),
        "IoU at 64, 5th percentile": ("iou", lambda values, axis: np.quantile(values, 0.05, axis)),
        "yaw error, median degrees": ("yaw error", lambda values, axis: np.nanmedian(np.abs(values), axis)),
        "tilt error, median degrees": ("tilt error", np.nanmedian),
        "side right, share": ("side right", np.mean),
        "unit right, share": ("unit right", np.mean),
        "refused, share": ("refused", lambda values, axis: np.mean(values != "", axis)),
    }
    rng, told = np.random.default_rng(0), []
    for group, chosen in GROUPS.items():
        of = rows[chosen(rows)]
        if not len(of):
            continue
        draws = rng.integers(len(of), size=(DRAWS, len(of)))
        for name, (column, statistic) in measures.items():
            values = of[column].to_numpy()
            low, high = np.nanquantile(statistic(values[draws], axis=-1), [0.025, 0.975])
            told.append((group, name, float(statistic(values, axis=-1)), float(low), float(high), len(of)))
    return pd.DataFrame(told, columns=["of", "measure", "value", "low", "high", "scans"])
