"""The one place that says which way things point, in which unit, and how large they are.

World frame
    Right-handed, metres, **y up**, the floor at y = 0. **+x** is where the toes (or an object's front) point and
    **+z** is to its right. For a foot +x is the floor projection of pternion (rearmost point of the heel) -> tip of
    the second toe.
Angles
    Degrees. Azimuth 0 sees the front (the camera stands on +x), 90 the right side (+z); it grows clockwise seen from
    above. Elevation grows upwards. In-plane rotation turns the camera clockwise about its viewing axis.
Volumes
    ``volume[x, y, z]``; a voxel is occupied where its **centre** lies inside the solid. Voxel ``i`` of ``n`` spans
    ``lower + edge * [i / n, (i + 1) / n]``, so its centre is at ``lower + edge * (i + 0.5) / n``.
Images
    ``[..., channels, height, width]``, RGB or RGBA, uint8 on disk and in caches, float32 in [0, 1] in networks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

Volume = Bool[np.ndarray, "x y z"]
Points = Float[np.ndarray, "points 3"]
Photo = UInt8[np.ndarray, "height width channels"]

FOOT_CUBE_EDGE = 0.32
"""Edge of the foot's cube in metres: the longest adult foot with a margin of a toe."""

FOOT_CUT_HEIGHT = 0.12
"""The true foot ends at this height above the floor, in metres; the photographed one goes on to the knee."""

FOOT_SHARE = FOOT_CUT_HEIGHT / FOOT_CUBE_EDGE
"""The lower share of a foot's cube in which all that can be occupied lies."""

FOOT_SYNSET = "05563266"
"""WordNet 3.0 offset of `foot, human foot, pes`, in the place of a ShapeNet synset id."""

SIDES = ("left", "right")

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001}
"""Metres."""

THRESHOLDS = (0.2, 0.3, 0.4, 0.5)
"""Occupancy thresholds of the published protocol."""

R2N2_DISTANCE_SCALE = 1.75
R2N2_FOV = 49.13
R2N2_PIXELS = 137
"""The camera that really took the ShapeNet renderings: distance = 1.75 x column 4, this field of view, 137 pixels."""


@dataclass(frozen=True)
class Cube:
    """An axis-aligned cube in the world: ``lower`` is its least corner in metres, ``edge`` its side in metres."""

    lower: tuple[float, float, float]
    edge: float

    def __post_init__(self) -> None:
        if not (np.isfinite([*self.lower, self.edge]).all() and self.edge > 0):
            raise ValueError(f"a cube needs a finite corner and an edge above zero; found {self.lower}, {self.edge}")

    @property
    def centre(self) -> np.ndarray:
        """The middle of the cube, ``[3]``, metres."""
        return np.asarray(self.lower) + self.edge / 2

    def corners(self) -> np.ndarray:
        """The eight corners, ``[8, 3]``, metres."""
        unit = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), axis=-1).reshape(8, 3)
        return np.asarray(self.lower) + self.edge * unit

    def voxel_centres(self, size: int) -> np.ndarray:
        """Centres of a ``size``^3 grid over the cube, ``[size, size, size, 3]``, metres."""
        if size < 1:
            raise ValueError(f"a grid needs at least one voxel a side; found {size}")
        steps = self.edge * (np.arange(size) + 0.5) / size
        return np.asarray(self.lower) + np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1)


FOOT_CUBE = Cube((-FOOT_CUBE_EDGE / 2, 0.0, -FOOT_CUBE_EDGE / 2), FOOT_CUBE_EDGE)
"""The cube of a foot in the foot's own frame: centred on the origin in x and z, on the floor."""


def foot_cube(bounds: np.ndarray) -> Cube:
    """The metric cube of a foot whose cut mesh has ``bounds`` ``[2, 3]``: on the floor, centred on it in x and z.

    Raises:
        ValueError: the foot leaves its cube.
    """
    lower, upper = np.asarray(bounds, dtype=float)
    centre = (lower + upper) / 2
    cube = Cube((centre[0] - FOOT_CUBE_EDGE / 2, 0.0, centre[2] - FOOT_CUBE_EDGE / 2), FOOT_CUBE_EDGE)
    if (upper - lower)[[0, 2]].max() > FOOT_CUBE_EDGE or lower[1] < -1e-4 or upper[1] > FOOT_CUBE_EDGE:
        raise ValueError(f"a foot spanning {lower} to {upper} m leaves its cube of {FOOT_CUBE_EDGE} m")
    return cube


def object_cube(bounds: np.ndarray) -> Cube:
    """R2N2's cube of an object: centred on its bounding box ``[2, 3]``, as large as its longest side, as in binvox."""
    lower, upper = np.asarray(bounds, dtype=float)
    edge = float((upper - lower).max())
    return Cube(tuple(((lower + upper - edge) / 2).tolist()), edge)
