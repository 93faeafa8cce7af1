"""Parts of the object families: random values and materials, the arrangement of solids, and their coloured union."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import trimesh
from manifold3d import Manifold

from p2vtools.synthesis.objects.solids import union

Part = tuple[Manifold, str]
"""A solid and its material: a palette's name. "paint 2" is a second colour from the palette "paint"."""
Parts = Iterator[Part]
Values = SimpleNamespace
"""Random values of an object by name."""

# fmt: off
PALETTES = {
    "wood": ((150, 101, 58), (193, 146, 92), (94, 58, 35), (215, 180, 130), (122, 70, 44)),
    "metal": ((170, 174, 180), (120, 124, 130), (205, 207, 210), (84, 88, 94), (181, 150, 90)),
    "fabric": ((122, 42, 48), (62, 84, 120), (142, 138, 126), (70, 94, 70), (205, 192, 170), (60, 56, 60)),
    "plastic": ((225, 225, 220), (50, 52, 56), (190, 60, 50), (60, 110, 160), (230, 190, 70), (90, 150, 110)),
    "paint": ((180, 30, 34), (36, 64, 130), (228, 228, 226), (150, 154, 160), (32, 94, 66), (220, 160, 40)),
    "dark": ((32, 33, 36), (46, 46, 50), (24, 24, 28)),
    "glass": ((70, 92, 112), (40, 54, 70), (120, 150, 170)),
    "light": ((250, 240, 205), (240, 225, 180), (245, 245, 240)),
}
"""Nominal colours of materials, sRGB 0-255."""
# fmt: on


class Sampler:
    """Draws the random values of one object: ``sample(low, high)`` is a uniform number."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng

    def __call__(self, low: float, high: float) -> float:
        """A number between ``low`` and ``high``."""
        return float(self.rng.uniform(low, high))

    def count(self, low: int, high: int) -> int:
        """A whole number from ``low`` to ``high``, both included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, probability: float) -> bool:
        """True with ``probability``."""
        return bool(self.rng.random() < probability)

    def choice(self, options: Mapping[Hashable, float] | Sequence | None = None, **weights: float) -> Any:
        """One of ``options``: those of a list are equally likely, those of a mapping or of keywords have weights."""
        options = weights if options is None else options
        names = list(options)
        shares = np.array(list(options.values()) if isinstance(options, Mapping) else [1.0] * len(names))
        return names[self.rng.choice(len(names), p=shares / shares.sum())]

    def kind(self, table: Mapping[str, Mapping[str, Any]], **ranges: Any) -> Values:
        """One row of ``table``, chosen by its ``weight`` and completed by ``ranges``, with a value drawn per entry.

        A tuple ``(low, high)`` gives a uniform number, a list or dict a `choice`, and all else is a constant.
        """
        name = self.choice({name: row["weight"] for name, row in table.items()})
        drawn = {**ranges, **table[name], "kind": name}
        for key, entry in drawn.items():
            if isinstance(entry, tuple | list | dict):
                drawn[key] = self(*entry) if isinstance(entry, tuple) else self.choice(entry)
        return Values(**drawn)

    def tint(self, material: str) -> tuple[int, int, int]:
        """A colour of the material, slightly off its nominal value."""
        shades = np.asarray(PALETTES[material.split()[0]])
        shade = self.rng.choice(shades) * self(0.85, 1.1) + self.rng.normal(0, 5, 3)
        return tuple(int(level) for level in np.clip(shade, 8, 250))


def mirrored(solid: Manifold, axes: str = "z") -> Manifold:
    """A solid and its mirror image; with the axes "xz" a solid of one corner appears in all four."""
    for axis in axes:
        solid = solid + solid.mirror(np.eye(3)["xyz".index(axis)])
    return solid


def copies(solid: Manifold, x: Any = 0.0, y: Any = 0.0, z: Any = 0.0) -> Manifold:
    """The union of a solid moved to every combination of the offsets along x, y and z (numbers or lists)."""
    return union(*(solid.translate(offset) for offset in product(*map(np.atleast_1d, (x, y, z)))))


def turned(solid: Manifold, count: int) -> Manifold:
    """A solid repeated ``count`` times about the y axis."""
    return union(*(solid.rotate((0, 360 * turn / count, 0)) for turn in range(count)))


def sheared(solid: Manifold, slope: float, level: float = 0.0) -> Manifold:
    """A solid that leans backwards by ``slope`` (x per y) from the height ``level`` upwards."""
    return solid.transform([[1, -slope, 0, slope * level], [0, 1, 0, 0], [0, 0, 1, 0]])


def cells(width: float, count: int) -> np.ndarray:
    """The centres of ``count`` equal cells that fill ``width`` about 0."""
    return width * ((np.arange(count) + 0.5) / count - 0.5)


def assemble(parts: Iterable[Part], sample: Sampler) -> trimesh.Trimesh:
    """The union of parts as a watertight mesh whose faces keep the colour of the part they came from.

    Every material has one colour per object.

    Raises:
        ValueError: a part that is empty.
    """
    solids, materials, colours = [], {}, {}
    for solid, material in parts:
        if solid.is_empty():
            raise ValueError(f"part {len(solids)} has no volume ({solid.status()}); expected a closed solid")
        solids.append(solid.as_original())
        materials[solids[-1].original_id()] = material
        if material not in colours:
            colours[material] = (*sample.tint(material), 255)
    # A corner may poke through its neighbour by a hair, and two parts may enclose an invisible void (of negative
    # volume): neither is a part of the object.
    whole = union(*solids)
    pieces = [piece for piece in whole.decompose() if piece.volume() > 1e-5 * whole.volume()]
    mesh = Manifold.compose(pieces).to_mesh64()
    runs = np.diff(mesh.run_index) // 3
    palette = np.array([colours[materials[part]] for part in mesh.run_original_id], dtype=np.uint8)
    vertices, faces = np.asarray(mesh.vert_properties)[:, :3], np.asarray(mesh.tri_verts).astype(np.int64)
    return trimesh.Trimesh(vertices, faces, face_colors=np.repeat(palette, runs, axis=0), process=False)
