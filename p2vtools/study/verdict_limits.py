"""Fit of the formula and the limits of the verdict on validation people."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from p2vtools.fit.verdict import FEATURES, GOOD_IOU, PREDICTORS, USABLE_IOU, expected_iou

PRECISION = 0.95
"""Wanted share of reconstructions with an IoU of at least `GOOD_IOU`, among those judged good."""

MIN_FEET = 12
"""Smallest number of validation reconstructions judged good from which this share is estimated."""

FAILURE_WEIGHT = 0.3
"""Weight of a reconstruction below `USABLE_IOU` in the fit of the formula."""

FALSE_WARNINGS = 0.02
"""Share of the good reconstructions whose photos would be said to disagree."""

SLACK = 0.1
"""Share by which a lower limit is below the lowest value of a usable reconstruction, because real photos vary more."""


def fit_verdict(rows: pd.DataFrame) -> dict[str, Any]:
    """Chooses the formula of the expected IoU and, for each `photo_class`, the limits, as stored under `VERDICT_KEY`.

    Args:
        rows: reconstructions with known truth: columns class, photos, iou and the features, NaN where a class has none.

    Returns:
        ``formula``: constant and coefficients of `PREDICTORS`. ``classes``, for each class: ``good from``, the lowest
        expected IoU from which the share of reconstructions with an IoU of at least `GOOD_IOU` is at least `PRECISION`
        and none is below `USABLE_IOU`, or None; ``lower``, for each feature its lowest value among the reconstructions
        with at least `USABLE_IOU`, less the share `SLACK`; ``usual``, its first decile among those with
        at least `GOOD_IOU`; ``agreement``, the quantile `FALSE_WARNINGS` of ``silhouettes`` among those, or None.
    """
    rows = rows.dropna(subset=["iou"])
    formula = _fit_formula(rows[rows["class"] != "noted"])
    classes = {}
    for photos_class, part in rows.groupby("class"):
        values = part[[name for name in FEATURES if name in part and part[name].notna().all()]]
        usable, good = values[part.iou >= USABLE_IOU], values[part.iou >= GOOD_IOU]
        pairs = zip(values.to_dict("records"), part.photos, strict=True)
        expected = [expected_iou(formula, features, int(photos)) for features, photos in pairs]
        classes[photos_class] = {
            "good from": _lowest_precise(np.array(expected), part.iou.to_numpy()),
            "lower": ((1 - SLACK) * usable.min()).round(3).to_dict(),
            "usual": good.quantile(0.1).round(3).dropna().to_dict(),
            "agreement": round(float(good.silhouettes.quantile(FALSE_WARNINGS)), 3) if len(good) else None,
        }
    return {"formula": formula, "classes": classes}


def _fit_formula(rows: pd.DataFrame) -> dict[str, float]:
    """Ridge regression of the IoU on the standardised `PREDICTORS`. Failures weigh less: the limits recognise them."""
    table = rows.assign(**{"log2 photos": np.log2(rows.photos), "halves": rows.halves.fillna(rows.members)})
    table = table.reindex(columns=list(PREDICTORS)).fillna(0.0)
    middle, spread = table.mean(), table.std().clip(lower=1e-6)
    design = np.column_stack([np.ones(len(table)), (table - middle) / spread])
    weighted = design * np.where(rows.iou >= USABLE_IOU, 1.0, FAILURE_WEIGHT)[:, None]
    ridge = np.diag([0.0, *np.ones(len(PREDICTORS))])
    constant, *slopes = np.linalg.solve(weighted.T @ design + ridge, weighted.T @ rows.iou.to_numpy())
    coefficients = pd.Series(slopes, PREDICTORS) / spread
    formula = {"constant": constant - float((coefficients * middle).sum()), **coefficients}
    return {name: round(float(value), 4) for name, value in formula.items()}


def _lowest_precise(expected: Float[np.ndarray, " feet"], true: Float[np.ndarray, " feet"]) -> float | None:
    """The lowest limit on ``expected`` that meets the conditions of ``good from`` (`fit_verdict`); None: none does."""
    for limit in np.arange(GOOD_IOU - 0.05, 0.96, 0.005):
        accepted = true[expected >= limit]
        if len(accepted) >= MIN_FEET and accepted.min() >= USABLE_IOU and (accepted >= GOOD_IOU).mean() >= PRECISION:
            return round(float(limit), 3)
    return None
