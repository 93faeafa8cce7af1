"""Distances between the surfaces of two solids: F-score and nearest-neighbour distances (Chamfer)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from torch import Tensor

from p2vlib.data.dataset import Captures
from p2vlib.evaluation.iou import CAPTURE_COLUMNS
from p2vlib.geometry.frames import Cube
from p2vlib.geometry.grids import to_mesh

OUTER_LEVEL = 1e-4
"""Level of the surface at the outer edge of the voxels; the published code uses 0."""


def f_score(predicted: Bool[np.ndarray, "n n n"], truth: Bool[np.ndarray, "n n n"], distance: float = 0.01) -> float:
    """F-score of two solids, by default F-score@1% as in the Pix2Vox papers.

    It is the harmonic mean of two fractions: points of the predicted surface within ``distance`` of the true one, and
    the reverse (see `surface_distances`). As published, the points of the two surfaces are independent samples, so that
    even a perfect prediction stays below 1, by how much depends on the area of the surface. Two empty solids score 1,
    an empty and a non-empty one 0.

    Source: Tatarchenko et al., What do single-view 3D reconstruction networks learn? (CVPR 2019), section 5.2.

    >>> cube = np.zeros((8, 8, 8), bool)
    >>> cube[2:6, 2:6, 2:6] = True
    >>> f_score(cube, cube, distance=0.05) > 0.99
    True
    >>> f_score(cube, np.zeros_like(cube))
    0.0
    """
    if not predicted.any() or not truth.any():
        return float(predicted.any() == truth.any())
    to_truth, to_predicted = surface_distances(predicted, truth)
    precision, recall = (to_truth < distance).mean(), (to_predicted < distance).mean()
    return float(2 * precision * recall / max(precision + recall, 1e-12))


def surface_distances(
    predicted: Bool[np.ndarray, "n n n"], truth: Bool[np.ndarray, "n n n"]
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """Distances from points on each of two surfaces to the nearest point on the other: predicted to true, and back.

    The surfaces are drawn by marching cubes at the outer edge of the voxels and sampled with 8,192 points. The
    unit is the edge of the cube, enlarged by one voxel as in the published code. Neither solid may be empty.

    >>> slab = np.zeros((8, 8, 8), bool)
    >>> slab[:, 0] = True
    >>> thicker = slab.copy()
    >>> thicker[:, 1] = True
    >>> to_truth, to_predicted = surface_distances(slab, thicker)
    >>> bool(to_predicted.max() < 1.5 / 9)
    True
    """
    from scipy.spatial import KDTree

    first, second = (_surface_points(volume, seed) for seed, volume in enumerate((predicted, truth)))
    return KDTree(second).query(first)[0], KDTree(first).query(second)[0]


def _surface_points(volume: Bool[np.ndarray, "n n n"], seed: int) -> Float[np.ndarray, "8192 3"]:
    import trimesh

    edge = len(volume) / (len(volume) + 1)
    surface = trimesh.Trimesh(*to_mesh(volume, Cube((0.0, 0.0, 0.0), edge), OUTER_LEVEL), process=False)
    return np.asarray(trimesh.sample.sample_surface(surface, 8192, seed=seed)[0])


def f_score_rows(solids: Bool[Tensor, "captures x y z"], captures: Captures) -> pd.DataFrame:
    """The F-score of each of ``solids`` against the ground truth of its capture: `CAPTURE_COLUMNS` and f_score."""
    pairs = (solids.cpu().numpy(), captures.truth.cpu().numpy())
    with ThreadPoolExecutor() as pool:
        return captures.table[CAPTURE_COLUMNS].assign(f_score=list(pool.map(f_score, *pairs)))
