"""The thirteen ShapeNet categories as parametric CAD families: watertight, coloured by part, different every time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import trimesh

from p2vtools.synthesis.objects import aeroplanes, cars, devices, furniture, lamps, rifles, seats, watercraft
from p2vtools.synthesis.objects.parts import Part, assemble


@dataclass(frozen=True)
class Family:
    """A category: its ``name`` in the published taxonomy, and the drawing that yields the parts of one object."""

    name: str
    draw: Callable[[np.random.Generator], Iterator[Part]]

    def build(self, rng: np.random.Generator) -> trimesh.Trimesh:
        """One object in R2N2's frame: front +x, y up, bounding box centred on the origin with a diagonal of 1."""
        mesh = assemble(self.draw(rng))
        lower, upper = mesh.bounds
        mesh.apply_translation(-(lower + upper) / 2)
        mesh.apply_scale(1 / np.linalg.norm(upper - lower))
        return mesh


FAMILIES: dict[str, Family] = {
    "02691156": Family("aeroplane", aeroplanes.aeroplane),
    "02828884": Family("bench", seats.bench),
    "02933112": Family("cabinet", furniture.cabinet),
    "02958343": Family("car", cars.car),
    "03001627": Family("chair", seats.chair),
    "03211117": Family("display", devices.display),
    "03636649": Family("lamp", lamps.lamp),
    "03691459": Family("speaker", devices.speaker),
    "04090263": Family("rifle", rifles.rifle),
    "04256520": Family("sofa", seats.sofa),
    "04379243": Family("table", furniture.table),
    "04401088": Family("telephone", devices.telephone),
    "04530566": Family("watercraft", watercraft.watercraft),
}
"""Families by WordNet synset, as ShapeNet files them."""


def make_object(synset: str, seed: int, index: int) -> trimesh.Trimesh:
    """Object ``index`` of a category, the same for the same three arguments.

    Returns a watertight mesh in R2N2's frame (see `Family.build`) whose faces carry the colour of their part.

    Raises:
        ValueError: a synset that is none of the thirteen, or a negative seed or index.
    """
    if synset not in FAMILIES:
        raise ValueError(f"no family for synset {synset!r}; expected one of {', '.join(FAMILIES)}")
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index must not be negative; found seed {seed}, index {index}")
    rng = np.random.default_rng(np.random.SeedSequence([seed, int(synset), index]))
    return FAMILIES[synset].build(rng)
