"""People of wide variety: feet at least as varied as those of surveys, and legs that lean.

Lengths, breadths and heels of adults have the means of ANSUR II (Gordon et al., 2014: 4,082 men and 1,986 women) and a
somewhat larger spread. The other ranges are deliberately wide.
"""

from __future__ import annotations

import numpy as np

from p2vlib.geometry.frames import SIDES
from p2vtools.synthesis.feet.population import FOOT_WIDTH, FootForm, FootShape, truncated_normal

STREAM = 7
"""Distinguishes the random stream of people of wide variety from that of the usual people."""

CHILDREN = 0.25
"""Share of children of 4 to 14 years."""

ANSUR = {"man": (271.2, 13.1, 101.9, 5.2, 0.59, 72.5, 5.5), "woman": (246.3, 12.4, 92.7, 4.8, 0.56, 67.2, 5.2)}
"""Mean and standard deviation of length and breadth, their correlation, mean and standard deviation of the breadth of
the heel; millimetres."""

BALL_POSITION = 0.74
"""Length of the ball as a share of the length of the foot, ANSUR II."""

LENGTH_RANGE = (0.160, 0.310)
"""Shortest and longest foot, metres."""

HEIGHTS = (0.268, 0.196, 0.153)
"""Mean of `FootForm.heights`."""

BACKWARDS = 0.55
"""Share of legs that lean backwards by 10 to 50 degrees; the others are roughly upright."""

TOES_IN_CLAW = np.array([0.3, 1, 1, 1, 1])
"""Share of each toe in a claw."""

BONES = {
    "head of the first metatarsal": (0.73, 0.08, 1.0),
    "head of the fifth metatarsal": (0.63, 0.06, -1.0),
    "base of the fifth metatarsal": (0.38, 0.08, -0.8),
    "navicular": (0.38, 0.19, 0.7),
    "inner malleolus": (0.26, 0.33, 0.5),
    "outer malleolus": (0.20, 0.28, -0.6),
    "tuberosity of the calcaneus": (0.02, 0.17, 0.0),
    "instep": (0.48, 0.25, 0.1),
}
"""Positions at which bones stand out or are hidden by fat, as in `FootForm.bumps`: along, height, across."""


def sample_feet(rng: np.random.Generator, sex: str, child_age: float | None, size: float) -> list[FootShape]:
    """Both feet share the measures and bones of the person; each side deviates a little."""
    length, breadth, heel = _sample_measures(rng, sex, child_age, size)
    common, bones = rng.normal(size=40), 0.0012 * rng.normal(size=len(BONES)) + 0.0008 * rng.normal()
    hallux_valgus = rng.gamma(2.0, 6.0)
    second_toe = 0.002 + 0.003 * rng.random() if rng.random() < 0.25 else -0.010 * rng.random()
    feet = []
    for _ in SIDES:
        scale = 1 + 0.006 * rng.normal()
        z = np.clip(common + 0.35 * rng.normal(size=40), -2.5, 2.5)
        own_length = float(np.clip(length * scale, *LENGTH_RANGE))
        form = _sample_form(rng, z, own_length, (breadth * scale, heel * scale), second_toe, bones)
        feet.append(_sample_foot(rng, z, own_length, FOOT_WIDTH[sex], hallux_valgus, form))
    return feet


def _sample_measures(
    rng: np.random.Generator, sex: str, child_age: float | None, size: float
) -> tuple[float, float, float]:
    """Length, breadth and breadth of the heel, metres."""
    wide, heel_wide = truncated_normal(rng), truncated_normal(rng)
    if child_age is not None:
        length = 0.128 + 0.0085 * child_age + 0.010 * size
        breadth = length * (0.388 + 0.022 * wide)
        return length, breadth, breadth * (0.71 + 0.045 * heel_wide)
    length, length_sd, breadth, breadth_sd, correlation, heel, heel_sd = ANSUR[sex]
    relative_breadth = correlation * 1.15 * size + 1.3 * np.sqrt(1 - correlation**2) * wide
    relative_heel = 0.5 * relative_breadth + 1.6 * np.sqrt(0.75) * heel_wide
    measures = length + 1.15 * length_sd * size, breadth + breadth_sd * relative_breadth, heel + heel_sd * relative_heel
    return tuple(0.001 * value for value in measures)


def _sample_form(
    rng: np.random.Generator,
    z: np.ndarray,
    length: float,
    breadths: tuple[float, float],
    second_toe: float,
    bones: np.ndarray,
) -> FootForm:
    unit = length / 0.26
    heights = np.array(HEIGHTS) * (1 + 0.095 * (0.75 * z[0] + 0.65 * z[1:4] + 0.5 * z[12]))
    thick = 1 + 0.17 * (0.8 * z[4] + 0.6 * z[5:10] + 0.3 * z[12])
    toes = unit * np.array([0.0225, 0.0160, 0.0155, 0.0150, 0.0145]) * thick
    bumps = []
    for _ in range(16):
        place, amplitude = rng.uniform([0, 0, -1], [1, 0.45, 1]), 0.001 * np.clip(rng.normal(0, 1.1), -2.5, 2.5)
        bumps.append((*place, amplitude, rng.uniform(0.011, 0.026)))
    for place, amplitude in zip(BONES.values(), bones, strict=True):
        bumps.append((*place, amplitude + 0.0004 * rng.normal(), rng.uniform(0.008, 0.013)))
    return FootForm(
        breadth=breadths[0],
        heel_breadth=breadths[1],
        midfoot=float(1.06 + 0.05 * z[38]),
        ball_position=float(BALL_POSITION + 0.016 * z[10]),
        heights=tuple(heights.tolist()),
        sole=float(np.clip(0.30 + 0.15 * z[39], 0, 0.6)),
        toe_heights=tuple(toes.tolist()),
        toe_bluntness=float(np.clip(0.79 + 0.11 * z[11], 0.5, 0.95)),
        toe_width=float(1.02 + 0.05 * z[12]),
        second_toe=float(unit * second_toe),
        ankle=float(1.02 + 0.065 * z[13]),
        bumps=tuple((*map(float, place), float(unit * a), float(unit * w)) for *place, a, w in bumps),
    )


def _sample_foot(
    rng: np.random.Generator, z: np.ndarray, length: float, width: float, hallux_valgus: float, form: FootForm
) -> FootShape:
    """The pose is sampled per side: clawed or lifted toes, a loaded or an unloaded foot, the lean of the shank."""
    claw = rng.uniform(10, 35) if rng.random() < 0.12 else 0.0
    unloaded = rng.random() < 0.35
    lift = rng.uniform(5, 22) if rng.random() < (0.45 if unloaded else 0.1) else 0.0
    lifts = lift * np.array([1.0 + 0.25 * rng.random(), 1, 1, 1, 1])
    forwards = rng.uniform(-50, -10) if rng.random() < BACKWARDS else np.clip(rng.normal(1, 7), -10, 15)
    return FootShape(
        length=length,
        width=float(width + 0.25 * z[14]),
        instep=float(np.clip(0.4 * z[15], -0.9, 0.9)),
        taper=float(0.08 * z[16]),
        adduction=float(5 * z[17]),
        hallux_valgus=float(min(hallux_valgus + 2 * z[18], 40)),
        toe_flexion=tuple((-1 + 5 * (0.6 * z[19] + 0.8 * z[20:25]) - lifts - claw * TOES_IN_CLAW).tolist()),
        toe_curl=tuple((6 + 8 * (0.6 * z[25] + 0.8 * z[26:31]) + 1.6 * claw * TOES_IN_CLAW).tolist()),
        toe_spread=float(4 + 4 * z[31]),
        toe_extension=tuple((0.0018 * z[32:37]).tolist()),
        lean=(float(forwards), float(np.clip(rng.normal(0, 6), -15, 15))),
        arch=float(np.clip(0.006 + 0.0045 * z[37] + 0.003 * unloaded, 0, 0.018)),
        compression=float(rng.uniform(0.0012, 0.003) if unloaded else rng.uniform(0.002, 0.006)),
        form=form,
    )
