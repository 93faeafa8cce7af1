"""Solid voxel grids: from a mesh, back to a mesh, and their overlap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Integer

from p2vlib.geometry.frames import Cube, Points, Volume

Faces = Integer[np.ndarray, "faces 3"]
Probability = Bool[np.ndarray, "x y z"] | Float[np.ndarray, "x y z"]


@dataclass(frozen=True, eq=False)
class VoxelGrid:
    """A solid ``volume[x, y, z]``, sampled at the voxel centres of ``cube`` (world frame, metres).

    >>> grid = VoxelGrid(np.ones((4, 4, 4), bool), Cube((0.0, 0.0, 0.0), 0.2))
    >>> grid.size, grid.pitch, round(grid.cubic_metres, 6)
    (4, 0.05, 0.008)

    Raises:
        ValueError: a volume that is not boolean or not cubic.
    """

    volume: Volume
    cube: Cube

    def __post_init__(self) -> None:
        shape = np.shape(self.volume)
        if len(shape) != 3 or len(set(shape)) != 1 or shape[0] < 1 or self.volume.dtype != bool:
            raise ValueError(f"expected a boolean volume [n, n, n] with n >= 1; found {self.volume.dtype} {shape}")

    @property
    def size(self) -> int:
        """Voxels per edge."""
        return self.volume.shape[0]

    @property
    def pitch(self) -> float:
        """Edge of a voxel, metres."""
        return self.cube.edge / self.size

    @property
    def cubic_metres(self) -> float:
        """Volume of the solid, cubic metres."""
        return float(self.volume.sum() * self.pitch**3)


def voxelise(vertices: Points, faces: Faces, cube: Cube, size: int = 32) -> VoxelGrid:
    """The solid inside a mesh: a voxel is occupied where the winding number at its centre exceeds one half.

    Small holes and overlapping parts are tolerated (generalised winding number: Jacobson et al. 2013; fast evaluation:
    Barill et al. 2018). Parts outside the cube are cut off.

    >>> corners = Cube((0.0, 0.0, 0.0), 1.0).corners()[[0, 4, 2, 1]]  # a tetrahedron: origin, +x, +y, +z
    >>> faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    >>> voxelise(corners, faces, Cube((0.0, 0.0, 0.0), 1.0), size=2).volume.sum().item()
    1

    Args:
        vertices: world frame, metres.
        faces: vertex indices, anticlockwise seen from outside.
        cube: position of the grid.
        size: voxels per edge.

    Raises:
        ValueError: no vertices or faces, a coordinate that is not finite, a face with an unknown vertex, a size below
            one, a mesh entirely outside the cube, or faces that point inwards.
    """
    _check_mesh(vertices, faces)
    bounds = (np.stack([vertices.min(axis=0), vertices.max(axis=0)]) - cube.lower) / cube.edge
    if (bounds[1] < 0).any() or (bounds[0] > 1).any():
        raise ValueError(
            f"the mesh, {vertices.min(axis=0)} to {vertices.max(axis=0)}, is outside its cube, {cube.lower} with "
            f"edge {cube.edge}; expected both in the world frame and in metres"
        )
    # Only voxels in the bounding box of the mesh are evaluated; most of the cube of a foot is outside of it.
    first, last = np.clip(
        np.stack([np.ceil(bounds[0] * size - 0.5), np.floor(bounds[1] * size + 0.5)]), 0, size
    ).astype(int)
    box = tuple(slice(start, stop) for start, stop in zip(first, last, strict=True))
    centres = cube.voxel_centres(size)[box]
    volume = np.zeros((size, size, size), dtype=bool)
    if centres.size:
        winding = winding_numbers(vertices, faces, centres)
        if winding.max() <= 0.5 and winding.min() < -0.5:
            raise ValueError("the mesh is inside out: its faces are clockwise seen from outside; reverse them")
        volume[box] = winding > 0.5
    return VoxelGrid(volume, cube)


def winding_numbers(vertices: Points, faces: Faces, points: Float[np.ndarray, "x y z 3"]) -> Float[np.ndarray, "x y z"]:
    """The winding number of a mesh at each of ``points``: 1 inside, 0 outside.

    Raises:
        ValueError: as `voxelise`; libigl crashes on a mesh without faces and on faces with an unknown vertex.
    """
    from igl import fast_winding_number

    _check_mesh(vertices, faces)
    vertices, faces = np.ascontiguousarray(vertices, dtype=float), np.ascontiguousarray(faces, dtype=np.int64)
    return fast_winding_number(vertices, faces, points.reshape(-1, 3)).reshape(points.shape[:3])


def _check_mesh(vertices: np.ndarray, faces: np.ndarray) -> None:
    if vertices.size == 0 or faces.size == 0:
        raise ValueError(f"an empty mesh ({len(vertices)} vertices, {len(faces)} faces) cannot be voxelised")
    if vertices.shape[1:] != (3,) or faces.shape[1:] != (3,):
        raise ValueError(f"expected vertices [n, 3] and triangles [m, 3]; found {vertices.shape} and {faces.shape}")
    if broken := np.count_nonzero(~np.isfinite(vertices).all(axis=1)):
        raise ValueError(f"{broken} of {len(vertices)} vertices are not finite; expected metres; repair the mesh")
    if faces.min() < 0 or faces.max() >= len(vertices):
        raise ValueError(f"faces name vertices {faces.min()} to {faces.max()}; the mesh has 0 to {len(vertices) - 1}")


def to_mesh(probability: Probability, cube: Cube, level: float = 0.5) -> tuple[Points, Faces]:
    """The surface of a volume by marching cubes (Lewiner et al. 2003): closed, faces anticlockwise seen from outside.

    >>> vertices, faces = to_mesh(np.ones((2, 2, 2), bool), Cube((0.0, 0.0, 0.0), 1.0))
    >>> vertices.min(axis=0).tolist(), vertices.max(axis=0).tolist()
    ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0])

    Args:
        probability: occupancy in [0, 1], or a boolean volume.
        cube: position of the volume.
        level: occupancy of the surface, between 0 and 1.

    Returns:
        Vertices ``[n, 3]`` in the world frame, metres, and faces ``[m, 3]``.

    Raises:
        ValueError: a volume that is not cubic, holds NaN, or has no voxel above the level.
    """
    from skimage.measure import marching_cubes

    if probability.ndim != 3 or len(set(probability.shape)) != 1:
        raise ValueError(f"expected a cubic volume [n, n, n]; found {probability.shape}")
    if not 0 < level < 1:
        raise ValueError(f"the level of a surface is between 0 and 1; found {level}")
    if np.isnan(probability).any():
        raise ValueError("the volume contains NaN; expected occupancies in [0, 1]")
    if not (probability > level).any():
        raise ValueError(f"the volume is empty: no voxel above {level}, so it has no surface")
    # Padding with one empty voxel closes the surface of a solid that touches the boundary of its cube.
    padded = np.pad(probability.astype(np.float32), 1)
    indices, faces, _, _ = marching_cubes(padded, level, gradient_direction="ascent")
    centres = (indices.astype(float) - 1 + 0.5) / len(probability)
    return np.asarray(cube.lower) + cube.edge * centres, faces.astype(np.int64)


def iou(a: Volume, b: Volume) -> float:
    """Intersection over union of two boolean volumes; 1 for two empty volumes.

    >>> a, b = np.zeros((2, 2, 2), bool), np.zeros((2, 2, 2), bool)
    >>> a[0, 0], b[0] = True, True
    >>> iou(a, b)
    0.5

    Raises:
        ValueError: volumes of different shapes, or not boolean.
    """
    if a.shape != b.shape or a.dtype != bool or b.dtype != bool:
        raise ValueError(
            f"IoU compares two boolean volumes of one shape; found {a.dtype} {a.shape}, {b.dtype} {b.shape}"
        )
    union = np.count_nonzero(a | b)
    return float(np.count_nonzero(a & b) / union) if union else 1.0
