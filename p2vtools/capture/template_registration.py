"""How a typical foot lies in a scan: place, direction, size and side, by points of the two that are near each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trimesh
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.spatial import KDTree

from p2vlib.data.photo_set import FOOT_CUBE
from p2vlib.geometry.frames import SIDES
from p2vlib.geometry.grids import to_mesh

Points = Float[np.ndarray, "points 3"]

LOW, HIGH = 0.010, 0.075
"""What is compared stands between these heights, metres: below is the floor, above is the leg, which leans as it likes.
"""

POINTS = 600

TRIED, SETTLED = 6, 14
"""Rounds in which every side and direction is tried, and further ones for the better two."""

KEPT = 0.85
"""The share of the points that count: the rest may be in a hole or of something else."""


@dataclass(frozen=True, eq=False)
class Registration:
    """A typical foot laid into a scan."""

    side: str
    to_foot: Float[np.ndarray, "4 4"]
    """From the scan to the frame and the size of the typical foot: a turn, a move and a scale."""
    apart: float
    """Mean distance of the nearest points both ways, `KEPT` of them, metres of the typical foot."""


class TemplateRegistration:
    """A typical left foot (a solid in its cube, of any size) and its mirror image, to compare scans with."""

    def __init__(self, typical: Bool[np.ndarray, "x y z"]) -> None:
        self.soft = ndimage.gaussian_filter(typical.astype(np.float32), 0.6)
        surface = trimesh.Trimesh(*to_mesh(self.soft, FOOT_CUBE))
        points = np.asarray(trimesh.sample.sample_surface(surface, 3 * POINTS, seed=0)[0])
        points = points[(points[:, 1] > LOW) & (points[:, 1] < HIGH)]
        self.surfaces = {side: points * [1, 1, 1 if side == "left" else -1] for side in SIDES}
        self.trees = {side: KDTree(points) for side, points in self.surfaces.items()}
        self.length = float(np.ptp(points[:, 0]))
        self.middle = (points.min(0) + points.max(0)) / 2

    def fit(self, points: Points, rng: np.random.Generator) -> Registration:
        """The typical foot in ``points`` of a scan that stands on y = 0, whose direction and size are not known."""
        flat = points[:, [0, 2]] - points[:, [0, 2]].mean(0)
        axis = np.linalg.svd(flat, full_matrices=False)[2][0]
        ends = np.quantile(flat @ axis, (0.01, 0.99))
        chosen = points[rng.choice(len(points), min(POINTS, len(points)), replace=False)]
        starts = [self._start(points, ahead, self.length / (ends[1] - ends[0])) for ahead in (axis, -axis)]
        tried = [self._settled(chosen, side, start, TRIED) for side in SIDES for start in starts]
        better = sorted(tried, key=lambda fit: fit.apart)[:2]
        settled = [self._settled(chosen, fit.side, fit.to_foot, SETTLED) for fit in better]
        return min(settled, key=lambda fit: fit.apart)

    def occupied(self, points: Float[np.ndarray, "x y z 3"], fit: Registration) -> Float[np.ndarray, "x y z"]:
        """Occupancy of the typical foot, as it lies in the scan, at ``points`` of that."""
        there = trimesh.transform_points(points.reshape(-1, 3), fit.to_foot) * [1, 1, 1 if fit.side == "left" else -1]
        places = (there - FOOT_CUBE.lower) / FOOT_CUBE.edge * len(self.soft) - 0.5
        return ndimage.map_coordinates(self.soft, places.T, order=1).reshape(points.shape[:3]).astype(float)

    def _start(self, points: Points, ahead: Float[np.ndarray, " 2"], scale: float) -> Float[np.ndarray, "4 4"]:
        """Toes to +x along the longest axis, the boxes' middles on each other."""
        turn = np.eye(4)
        turn[:3, :3] = scale * np.array([[ahead[0], 0, ahead[1]], [0, 1, 0], [-ahead[1], 0, ahead[0]]])
        there = trimesh.transform_points(points, turn)
        middle = (np.quantile(there, 0.01, axis=0) + np.quantile(there, 0.99, axis=0)) / 2
        turn[[0, 2], 3] = (self.middle - middle)[[0, 2]]
        return turn

    def _settled(self, points: Points, side: str, to_foot: Float[np.ndarray, "4 4"], rounds: int) -> Registration:
        """Nearest points brought together again and again (Besl, McKay 1992), both ways: so no size is favoured."""
        typical, tree = self.surfaces[side], self.trees[side]
        for _ in range(rounds):
            there = trimesh.transform_points(points, to_foot)
            away, nearest = tree.query(there)
            back, nearer = KDTree(there).query(typical)
            near, close = away <= np.quantile(away, KEPT), back <= np.quantile(back, KEPT)
            apart = float(away[near].mean() + back[close].mean()) / 2
            mine = np.concatenate([there[near], there[nearer[close]]])
            its = np.concatenate([typical[nearest[near]], typical[close]])
            to_foot = trimesh.registration.procrustes(mine, its, reflection=False, return_cost=False) @ to_foot
        return Registration(side, to_foot, apart)
