"""Left or right: what a foot is by its solid or its photos, whatever it is told to be."""

from __future__ import annotations

import statistics
from pathlib import Path

import trimesh

from .. import inference
from ..conventions import SIDES
from ..grids import VoxelGrid, to_mesh
from ..shipped import Weights
from ..shots import read_shots
from .clean import side_of


def side_of_grid(grid: VoxelGrid, weights: Weights) -> str | None:
    """The side of a solid with its toes along +x; None: these weights came without a typical foot."""
    if weights.typical is None:
        return None
    vertices, faces = to_mesh(grid.volume, grid.cube)
    foot = trimesh.Trimesh(vertices - grid.cube.centre * [1, 0, 1], faces, process=False)
    return side_of(foot, weights.typical.solid.numpy())


def side_of_photos(folder: Path, weights: Weights) -> str:
    """The side as which a capture's photos agree more, in the middle, with the foot that the network makes of them.

    A foot that is told to be the other one comes out with a silhouette that no photo quite shows.

    Raises:
        ValueError: what `read_shots` and `reconstruct` cannot take.
    """
    agreement = {}
    for side in SIDES:
        foot = inference.reconstruct(weights, read_shots(folder, side))
        agreement[side] = statistics.median(foot.agreement.values())
    return max(SIDES, key=agreement.get)
