"""Frames, axis order, units and the cubes of feet and objects: the only place where these are defined.

World frame
    Right-handed, metres, **y up**, floor at y = 0. **+x** points where the toes (or the front of an object) point,
    **+z** to the right of it. For a foot, +x is the floor projection of the line from the pternion (rearmost point of
    the heel) to the tip of the second toe.
Angles
    Degrees. At azimuth 0 the camera looks at the front (it stands on +x), at 90 at the right side (+z); azimuth grows
    clockwise seen from above. Elevation grows upwards. In-plane rotation turns the camera clockwise about its axis.
Volumes
    ``volume[x, y, z]``; a voxel is occupied where its **centre** is inside the solid. Voxel ``i`` of ``n`` spans
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
"""Edge of the cube of a foot in metres: the longest adult foot and a margin."""

FOOT_CUT_HEIGHT = 0.12
"""Height above the floor at which the ground truth of a foot is cut, metres; photos show the whole lower leg."""

FOOT_SHARE = FOOT_CUT_HEIGHT / FOOT_CUBE_EDGE
"""Fraction of the cube of a foot, from the floor up, that can be occupied."""

FOOT_SYNSET = "05563266"
"""WordNet 3.0 offset of `foot, human foot, pes`, used like a synset id of ShapeNet."""

SIDES = ("left", "right")

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "inch": 0.0254}
"""Metres per unit."""

THRESHOLDS = (0.2, 0.3, 0.4, 0.5)
"""Occupancy thresholds of the published protocol."""

R2N2_DISTANCE_SCALE, R2N2_FOV, R2N2_PIXELS = 1.75, 49.13, 137
"""The camera of the R2N2 renderings of ShapeNet: distance = 1.75 x column 4, field of view in degrees, image size."""


@dataclass(frozen=True)
class Cube:
    """An axis-aligned cube in the world frame, metres.

    >>> cube = Cube((0.0, 0.0, -1.0), 2.0)
    >>> cube.centre.tolist()
    [1.0, 1.0, 0.0]
    >>> cube.voxel_centres(4)[0, 1, 3].tolist()
    [0.25, 0.75, 0.75]

    Raises:
        ValueError: a corner that is not finite, or an edge that is not positive.
    """

    lower: tuple[float, float, float]
    """The corner with the smallest coordinates."""
    edge: float

    def __post_init__(self) -> None:
        if not (np.isfinite([*self.lower, self.edge]).all() and self.edge > 0):
            raise ValueError(f"a cube needs a finite corner and a positive edge; found {self.lower}, {self.edge}")

    @property
    def centre(self) -> Float[np.ndarray, " 3"]:
        """The centre of the cube, metres."""
        return np.asarray(self.lower) + self.edge / 2

    def corners(self) -> Float[np.ndarray, "8 3"]:
        """The eight corners, metres."""
        unit = np.stack(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij"), axis=-1).reshape(8, 3)
        return np.asarray(self.lower) + self.edge * unit

    def voxel_centres(self, size: int) -> Float[np.ndarray, "{size} {size} {size} 3"]:
        """Centres of the voxels of a grid of ``size``^3 voxels over the cube, metres."""
        if size < 1:
            raise ValueError(f"a grid needs at least one voxel per edge; found {size}")
        steps = self.edge * (np.arange(size) + 0.5) / size
        return np.asarray(self.lower) + np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1)


FOOT_CUBE = Cube((-FOOT_CUBE_EDGE / 2, 0.0, -FOOT_CUBE_EDGE / 2), FOOT_CUBE_EDGE)
"""The cube of a foot in the foot's own frame: centred on the origin in x and z, on the floor."""


def foot_cube(bounds: Float[np.ndarray, "2 3"]) -> Cube:
    """The cube of a foot whose cut mesh has these ``bounds``: on the floor, centred on the foot in x and z.

    >>> foot_cube(np.array([[-0.1, 0.0, 0.0], [0.16, 0.12, 0.1]]))
    Cube(lower=(-0.13, 0.0, -0.11), edge=0.32)

    Raises:
        ValueError: the foot does not fit into the cube.
    """
    lower, upper = np.asarray(bounds, dtype=float)
    x, _, z = ((lower + upper) / 2 - FOOT_CUBE_EDGE / 2).tolist()
    cube = Cube((x, 0.0, z), FOOT_CUBE_EDGE)
    if (upper - lower)[[0, 2]].max() > FOOT_CUBE_EDGE or lower[1] < -1e-4 or upper[1] > FOOT_CUBE_EDGE:
        raise ValueError(f"a foot from {lower} to {upper} m does not fit into its cube of {FOOT_CUBE_EDGE} m")
    return cube


def object_cube(bounds: Float[np.ndarray, "2 3"]) -> Cube:
    """R2N2's cube of an object: centred on its bounding box, with the longest side as edge, as binvox normalises.

    >>> object_cube(np.array([[0.0, 0.0, 0.0], [4.0, 2.0, 1.0]]))
    Cube(lower=(0.0, -1.0, -1.5), edge=4.0)
    """
    lower, upper = np.asarray(bounds, dtype=float)
    edge = float((upper - lower).max())
    return Cube(tuple(((lower + upper - edge) / 2).tolist()), edge)
