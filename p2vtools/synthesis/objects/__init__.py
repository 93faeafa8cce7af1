"""The thirteen ShapeNet categories as parametric CAD families: watertight, coloured by part, different every time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import trimesh

from p2vtools.synthesis.objects import devices, furniture, vehicles
from p2vtools.synthesis.objects.parts import Parts, Sampler, assemble


class Family(NamedTuple):
    """A category: its ``name`` in the published taxonomy, and the function that yields the parts of one object."""

    name: str
    parts: Callable[[Sampler], Parts]


FAMILIES: dict[str, Family] = {
    "02691156": Family("aeroplane", vehicles.aeroplane),
    "02828884": Family("bench", furniture.bench),
    "02933112": Family("cabinet", furniture.cabinet),
    "02958343": Family("car", vehicles.car),
    "03001627": Family("chair", furniture.chair),
    "03211117": Family("display", devices.display),
    "03636649": Family("lamp", devices.lamp),
    "03691459": Family("speaker", devices.speaker),
    "04090263": Family("rifle", devices.rifle),
    "04256520": Family("sofa", furniture.sofa),
    "04379243": Family("table", furniture.table),
    "04401088": Family("telephone", devices.telephone),
    "04530566": Family("watercraft", vehicles.watercraft),
}
"""Families by WordNet synset, the folder names of ShapeNet."""


def make_object(synset: str, seed: int, index: int) -> trimesh.Trimesh:
    """Object ``index`` of a category, the same for the same three arguments.

    Returns a watertight mesh in R2N2's frame: front +x, y up, bounding box centred on the origin with a diagonal of 1.
    Its faces carry the colour of their part.

    Raises:
        ValueError: a synset that is none of the thirteen, or a negative seed or index.
    """
    if synset not in FAMILIES:
        raise ValueError(f"no family for synset {synset!r}; expected one of {', '.join(FAMILIES)}")
    if seed < 0 or index < 0:
        raise ValueError(f"seed and index must not be negative; found seed {seed}, index {index}")
    sample = Sampler(np.random.default_rng(np.random.SeedSequence([seed, int(synset), index])))
    mesh = assemble(FAMILIES[synset].parts(sample), sample)
    lower, upper = mesh.bounds
    mesh.apply_translation(-(lower + upper) / 2)
    mesh.apply_scale(1 / np.linalg.norm(upper - lower))
    return mesh
