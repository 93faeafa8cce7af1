"""The synthetic people beside a survey: how far the proportions of their feet are from those of measured adults.

The survey is ANSUR II (Gordon et al., 2012 Anthropometric Survey of U.S. Army Personnel, NATICK/TR-15/007, 2014): 4,082
men and 1,986 women, right feet, standing.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
import trimesh
from jaxtyping import Float
from matplotlib.figure import Figure
from scipy.spatial import ConvexHull

from p2vtools.fit.measure import measure_foot
from p2vtools.synthesis.feet.foot import SyntheticFoot, make_feet
from p2vtools.synthesis.feet.landmarks import find_landmarks, true_measures
from p2vtools.synthesis.feet.population import Person
from p2vtools.viewer.style import PALETTE, new_figure

SURVEY: dict[str, dict[str, tuple[float, float]]] = {
    "length": {"man": (271.2, 13.1), "woman": (246.3, 12.4)},
    "ball breadth": {"man": (101.9, 5.2), "woman": (92.7, 4.8)},
    "ball girth": {"man": (252.0, 12.9), "woman": (228.1, 11.8)},
    "heel breadth": {"man": (72.5, 5.5), "woman": (67.2, 5.2)},
    "heel-ankle girth": {"man": (343.5, 16.6), "woman": (310.3, 15.3)},
    "ankle girth": {"man": (229.3, 14.6), "woman": (215.7, 14.9)},
    "breadth / length": {"man": (0.376, 0.017), "woman": (0.377, 0.018)},
    "ball length / length": {"man": (0.741, 0.015), "woman": (0.739, 0.013)},
}
"""Measure -> mean and standard deviation, mm."""

CORRELATIONS = {("length", "ball breadth"): (0.59, 0.56), ("length", "stature"): (0.72, 0.72)}
"""Two measures -> their correlation in men and in women."""

TOLERANCE = 0.2
"""Deviation of a mean, in standard deviations of the survey, up to which a proportion counts as right."""

HEEL_PART = (0.25, 0.18)
"""The heel, whose greatest breadth is measured: distance from pternion and height, as shares of the length."""

ANKLE_HEIGHTS, HEEL_ANGLES = np.linspace(0.08, 0.17, 7), np.deg2rad([30, 37, 44, 51, 58, 65])
"""Sections that are tried: heights of the ankle, metres, and slopes of the plane through heel and instep."""


def survey_table(people: Iterable[Person]) -> pd.DataFrame:
    """The measures of `SURVEY` and the stature of each adult, mm, of the right foot: sex, then one column a measure."""
    rows = []
    for person in people:
        if not person.is_child:
            foot = make_feet(person)["right"]
            row = {"sex": person.sex, "stature": 1000 * person.stature}
            row |= _measures(foot, person.right.form is not None)
            row["breadth / length"] = row["ball breadth"] / row["length"]
            rows.append(row)
    return pd.DataFrame(rows)


def compare_with_survey(table: pd.DataFrame) -> pd.DataFrame:
    """Means of `survey_table` beside the survey, by measure and sex.

    Column ``deviation`` is in standard deviations of the survey, for feet as long as those of the table: lengths and
    girths of the survey are scaled to their mean length. ``spread`` is the standard deviation relative to the survey's.
    ``deviation ±`` is twice the standard error. A proportion is ``off`` if it deviates by more than `TOLERANCE` and
    these two errors.
    """
    rows = []
    for measure, by_sex in SURVEY.items():
        for sex, (mean, deviation) in by_sex.items():
            own = table[table.sex == sex]
            is_size = measure != "length" and "/" not in measure
            scale = own["length"].mean() / SURVEY["length"][sex][0] if is_size else 1.0
            values = own[measure]
            off, error = (values.mean() - scale * mean) / deviation, values.std() / np.sqrt(len(values)) / deviation
            is_off = measure != "length" and abs(off) - 2 * error > TOLERANCE
            rows.append((measure, sex, mean, values.mean(), off, 2 * error, values.std() / deviation, is_off))
    columns = ["measure", "sex", "survey", "mean", "deviation", "deviation ±", "spread", "off"]
    return pd.DataFrame(rows, columns=columns).round(3)


def compare_correlations(table: pd.DataFrame) -> pd.DataFrame:
    """Correlations of `CORRELATIONS` in the table and in the survey, by sex."""
    rows = [
        (f"{one} and {two}", sex, expected, round(own[one].corr(own[two]), 3))
        for (one, two), both in CORRELATIONS.items()
        for sex, expected in zip(("man", "woman"), both, strict=True)
        for own in [table[table.sex == sex]]
    ]
    return pd.DataFrame(rows, columns=["measures", "sex", "survey", "correlation"])


def survey_figure(comparisons: dict[str, pd.DataFrame]) -> Figure:
    """The deviations of `compare_with_survey` for each population; grey: `TOLERANCE`."""
    figure = new_figure(10, 3.8)
    axes = figure.subplots(1, len(comparisons), sharey=True, squeeze=False)[0]
    for ax, (title, comparison) in zip(axes, comparisons.items(), strict=True):
        ax.axvspan(-TOLERANCE, TOLERANCE, color="0.9")
        for offset, (sex, rows) in enumerate(comparison.groupby("sex", sort=False)):
            places = np.arange(len(rows)) + 0.25 * offset
            ax.errorbar(rows["deviation"], places, xerr=rows["deviation ±"], fmt="o", color=PALETTE[offset], label=sex)
        ax.set(title=title, xlabel="mean minus survey [standard deviations]", yticks=np.arange(len(rows)) + 0.12)
        ax.set_yticklabels(rows["measure"])
    axes[0].invert_yaxis()
    axes[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _measures(foot: SyntheticFoot, is_wide: bool) -> dict[str, float]:
    if is_wide:  # the landmarks of the body model do not hold for feet of wide variety
        measures, marks = measure_foot(foot.solid, foot.side)
        found, ball = vars(measures), marks.first_metatarsal[0] - marks.heel[0]
    else:
        landmarks = find_landmarks(foot)
        found, ball = true_measures(foot), (landmarks["first metatarsal"] - landmarks["pternion"])[0, 0]
    names = {name: name.replace(" ", "_") for name in ("length", "ball breadth", "ball girth")}
    mesh, points = foot.leg_mesh, np.asarray(foot.leg_mesh.vertices)
    heel_part = (points[:, :2] - foot.pternion[:2] * [1, 0] < np.multiply(foot.length, HEEL_PART)).all(axis=1)
    low, high = (points[np.abs(points[:, 1] - height) < 0.01].mean(axis=0) for height in (0.10, 0.17))
    shank = (high - low) / np.linalg.norm(high - low)
    ankle = min(_girth(mesh, low + (height - 0.10) * shank, shank) for height in ANKLE_HEIGHTS)
    heel = min(_girth(mesh, foot.pternion * [1, 0, 1], np.array([-np.sin(a), np.cos(a), 0.0])) for a in HEEL_ANGLES)
    others = {"heel breadth": 1000 * np.ptp(points[heel_part, 2]), "heel-ankle girth": heel, "ankle girth": ankle}
    return {name: found[key] for name, key in names.items()} | others | {"ball length / length": ball / foot.length}


def _girth(mesh: trimesh.Trimesh, point: Float[np.ndarray, " 3"], normal: Float[np.ndarray, " 3"]) -> float:
    """Convex girth of the section of a leg by a plane, mm."""
    points = trimesh.intersections.mesh_plane(mesh, normal, point).reshape(-1, 3)
    across = np.linalg.svd(normal[None])[2][1:]
    return 1000 * float(ConvexHull((points - point) @ across.T).area)
