"""People sampled from a seeded population, with the shape and the pose of both of their feet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from p2vlib.geometry.frames import SIDES
from p2vtools.synthesis.colours import MONK_TONES, monk_tone

CHILD_EVERY = 7
"""Every seventh person is a school child, so at most a seventh of a population are children."""

FOOT_LENGTH = {"man": (0.265, 0.013), "woman": (0.243, 0.012)}
"""Mean and standard deviation of the adult foot length, metres."""

STATURE = {"man": (1.76, 0.07), "woman": (1.63, 0.065)}
"""Mean and standard deviation of the adult stature, metres."""

STATURE_CORRELATION = 0.7
"""Correlation of stature and foot length."""

FOOT_WIDTH = {"man": 0.10, "woman": -0.17}
"""anny's horizontal scale at which the ball breadth is 38 % of the length, as in surveys."""

BODIES = {
    "usual": ((6, 13), (25, 4, 17, 38), 1.5, (0.15, 0.4, 0.4)),
    "wide": ((4, 14), (26, 5, 16, 40), 2.0, (0.2, 0.5, 0.5)),
}
"""Variety -> range of the age of children, years; body mass index of adults (mean, standard deviation, least, largest),
kg / m^2; standard deviation of that of children; standard deviations of muscle, ankle and calf."""


@dataclass(frozen=True)
class FootForm:
    """Further measures of the feet of people of wide variety, metres (`p2vtools.synthesis.feet.deformation`)."""

    breadth: float
    """Breadth of the ball across the axis of the foot."""
    heel_breadth: float
    """Greatest breadth of the heel below the ankle bones."""
    midfoot: float
    """Factor of the breadth between heel and ball."""
    ball_position: float
    """Pternion to the inner ball joint along the axis, as a share of the length."""
    heights: tuple[float, float, float]
    """Height of the top of the foot at `deformation.HEIGHT_POSITIONS`, as shares of the length."""
    sole: float
    """Share by which the edge of the sole is lowered: 0 for anny's round edge, more for a flat, steep-sided sole."""
    toe_heights: tuple[float, float, float, float, float]
    """Thickness of each toe 10 mm behind its tip, big toe first."""
    toe_bluntness: float
    """Thickness of the toes 4 mm behind their tips as a share of that at 10 mm."""
    toe_width: float
    """Factor of the width of each toe."""
    second_toe: float
    """Distance by which the second toe reaches beyond the big toe; negative if it is shorter."""
    ankle: float
    """Factor of the thickness of the ankle and the leg."""
    bumps: tuple[tuple[float, float, float, float, float], ...]
    """Smooth bulges and hollows: position along the axis and height as shares of the length, position across as a share
    of half the breadth, inner side positive; displacement along the normal and standard deviation, metres."""


@dataclass(frozen=True)
class FootShape:
    """Shape and pose of one foot, relative to the template; `p2vtools.synthesis.feet.foot` applies them."""

    length: float
    """Pternion to the longest toe along the axis of the foot, metres."""
    width: float
    """anny's horizontal scale of the foot, -1 to 1."""
    instep: float
    """anny's vertical scale of the foot, -1 to 1."""
    taper: float
    """Relative change of the width from heel to toes."""
    adduction: float
    """Additional rotation of the forefoot inwards, degrees."""
    hallux_valgus: float
    """Rotation of the big toe towards the others, degrees."""
    toe_flexion: tuple[float, float, float, float, float]
    """Downward rotation of each toe at its root, big toe first, degrees."""
    toe_curl: tuple[float, float, float, float, float]
    """Downward rotation of each toe at its middle joint, degrees."""
    toe_spread: float
    """Outward rotation of the small toe, degrees; the toes between follow in proportion."""
    toe_extension: tuple[float, float, float, float, float]
    """Additional length of each toe, metres."""
    lean: tuple[float, float]
    """Tilt of the shank over the foot, degrees: forwards and outwards."""
    arch: float
    """Additional height of the arch, metres."""
    compression: float
    """Depth to which body weight flattens the sole, metres."""
    form: FootForm | None = None
    """Only for people of wide variety."""


@dataclass(frozen=True)
class Person:
    """One person of the population, with a ``left`` and a ``right`` foot that are similar but not equal."""

    id: str
    sex: str
    age: float
    """Years."""
    stature: float
    """Metres."""
    mass: float
    """Kilograms."""
    muscle: float
    """anny's muscle phenotype, 0 to 1."""
    ankle: float
    """anny's change of the ankle girth, -1 to 1."""
    calf: float
    """anny's change of the calf girth, -1 to 1."""
    skin: tuple[float, float, float]
    """Albedo of the skin, linear RGB."""
    left: FootShape
    right: FootShape

    @property
    def is_child(self) -> bool:
        """Whether the person is younger than 18."""
        return self.age < 18

    def phenotypes(self) -> dict[str, float]:
        """anny's phenotypes, each 0 to 1. Gender 0 is male; age is 1, 11, 25 and 90 years at 0, 1/3, 2/3 and 1."""
        mean, deviation = STATURE[self.sex]
        relative = 0.0 if self.is_child else (self.stature - mean) / deviation
        return {
            "gender": 0.0 if self.sex == "man" else 1.0,
            "age": float(np.interp(self.age, [1, 11, 25, 90], [0, 1 / 3, 2 / 3, 1])),
            "height": float(np.clip(0.5 + 0.1 * relative, 0, 1)),
            "weight": float(np.interp(self.mass / self.stature**2, [15, 24, 38], [0, 0.5, 1])),
            "muscle": self.muscle,
        }


def sample_population(seed: int, people: int, first: int = 0, variety: str = "usual") -> list[Person]:
    """Samples the people with the indices ``first`` to ``first + people - 1`` of the population ``seed``.

    A person depends only on the seed, on their index and on the variety, so a longer population starts with the shorter
    one. Variety ``wide`` gives other people than ``usual``, with more varied feet and with legs that lean
    (`p2vtools.synthesis.feet.wide_population`).

    Raises:
        ValueError: ``seed``, ``people`` or ``first`` is negative, or the variety is unknown.
    """
    if min(seed, people, first) < 0:
        raise ValueError(f"seed, people and first must not be negative; found {seed}, {people}, {first}")
    if variety not in BODIES:
        raise ValueError(f"variety is {variety!r}; expected usual or wide")
    return [_sample_person(seed, index, variety) for index in range(first, first + people)]


def _sample_person(seed: int, index: int, variety: str) -> Person:
    from p2vtools.synthesis.feet import wide_population

    is_wide = variety == "wide"
    rng = np.random.default_rng([seed, index, *([wide_population.STREAM] if is_wide else [])])
    sex = ("man", "woman")[rng.integers(2)]
    is_child = rng.random() < wide_population.CHILDREN if is_wide else index % CHILD_EVERY == CHILD_EVERY - 1
    child_ages, mass_index, child_deviation, deviations = BODIES[variety]
    age = float(rng.uniform(*(child_ages if is_child else (18, 85))))
    # Size and build relative to the group of the person.
    size, build = truncated_normal(rng), truncated_normal(rng)
    relative = STATURE_CORRELATION * size + np.sqrt(1 - STATURE_CORRELATION**2) * build
    if is_child:  # about 1.16 m at six, 1.56 m at thirteen
        stature = 0.82 + 0.057 * age + 0.05 * relative
        body_mass_index = rng.normal(13.5 + 0.4 * age, child_deviation)
    else:
        (mean, deviation), (mean_index, index_deviation, *limits) = STATURE[sex], mass_index
        stature = mean + deviation * relative
        body_mass_index = np.clip(rng.normal(mean_index, index_deviation), *limits)
    muscle, ankle, calf = np.clip(rng.normal([0.5, 0, 0], deviations), [0, -1, -1], 1).tolist()
    # A tone between two neighbours of the Monk scale with a slight variation of hue.
    skin = monk_tone(rng.beta(1.5, 1.5) * (len(MONK_TONES) - 1)) * rng.normal(1, 0.03, 3)
    sample_feet = wide_population.sample_feet if is_wide else _sample_feet
    left, right = sample_feet(rng, sex, age if is_child else None, size)
    return Person(
        id=f"{'w' if is_wide else 'p'}{index:05d}",
        sex=sex,
        age=age,
        stature=float(stature),
        mass=float(body_mass_index * stature**2),
        muscle=muscle,
        ankle=ankle,
        calf=calf,
        skin=tuple(np.clip(skin, 0.005, 0.95).tolist()),
        left=left,
        right=right,
    )


def truncated_normal(rng: np.random.Generator) -> float:
    """A standard normal number, redrawn until it lies within three standard deviations."""
    while abs(value := rng.normal()) > 3:
        pass
    return float(value)


def _sample_feet(
    rng: np.random.Generator, sex: str, child_age: float | None, size: float
) -> tuple[FootShape, FootShape]:
    """Both feet: a shape of the person plus deviations of each side with a third of its spread."""
    mean, deviation = FOOT_LENGTH[sex]
    length = mean + deviation * size
    if child_age is not None:  # about 18.6 cm at six, 24.2 cm at thirteen
        length = 0.138 + 0.008 * child_age + 0.009 * size
    common = rng.normal(size=24)
    hallux_valgus = rng.gamma(2.0, 5.0)
    sides = [common + 0.35 * rng.normal(size=24) for _ in SIDES]
    return tuple(_sample_foot(z, FOOT_WIDTH[sex], hallux_valgus, length + 0.0015 * rng.normal(), rng) for z in sides)


def _sample_foot(
    z: np.ndarray, width: float, hallux_valgus: float, length: float, rng: np.random.Generator
) -> FootShape:
    """A foot from 24 standard normal numbers; the pose is sampled per side."""
    z = np.clip(z, -2, 2)
    forwards, outwards = np.clip(rng.normal(0, [11.0, 5.0]), [-25, -12], [20, 12])
    return FootShape(
        length=float(length),
        width=float(width + 0.22 * z[0]),
        instep=float(np.clip(0.35 * z[1], -0.7, 0.7)),
        taper=float(0.12 * z[22]),
        adduction=float(5 * z[23]),
        hallux_valgus=float(min(hallux_valgus + 2 * z[2], 30)),
        toe_flexion=tuple((-1 + 5 * (0.6 * z[10] + 0.8 * z[4:9])).tolist()),
        toe_curl=tuple((6 + 8 * (0.6 * z[9] + 0.8 * z[11:16])).tolist()),
        toe_spread=float(3 + 3 * z[16]),
        toe_extension=tuple((0.0015 * z[17:22]).tolist()),
        lean=(float(forwards), float(outwards)),
        arch=float(max(0.006 + 0.003 * z[3], 0)),
        compression=float(0.003 + 0.001 * rng.uniform(-1, 1)),
    )
