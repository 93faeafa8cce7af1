"""Registers a template foot with a scan: position, direction, size and side, by iterative closest points."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trimesh
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.spatial import KDTree

from p2vlib.geometry.frames import FOOT_CUBE, SIDES
from p2vlib.geometry.grids import to_mesh

Points = Float[np.ndarray, "points 3"]

MIN_HEIGHT, MAX_HEIGHT = 0.010, 0.075
"""Only points between these heights are compared, metres: below is the floor, above the leg, which may lean."""

NUM_POINTS = 600
"""Points of the scan and of the template that are compared."""

COARSE_ROUNDS, FINE_ROUNDS = 6, 14
"""Rounds for every side and direction, and further rounds for the best two."""

INLIERS = 0.85
"""Share of the points that count; the rest may lie in a hole or belong to another object."""


@dataclass(frozen=True, eq=False)
class Registration:
    """The pose of the template foot in a scan."""

    side: str
    to_template: Float[np.ndarray, "4 4"]
    """Similarity transform from the scan to the frame and size of the template."""
    distance: float
    """Mean distance between nearest points in both directions over the `INLIERS`, metres of the template."""


class TemplateRegistration:
    """Registers a template foot and its mirror image with scans.

    Args:
        template: occupancy of a left foot in `FOOT_CUBE`, at any resolution.
    """

    def __init__(self, template: Bool[np.ndarray, "x y z"]) -> None:
        occupancy = ndimage.gaussian_filter(template.astype(np.float32), 0.6)
        surface = trimesh.Trimesh(*to_mesh(occupancy, FOOT_CUBE))
        points = np.asarray(trimesh.sample.sample_surface(surface, 3 * NUM_POINTS, seed=0)[0])
        points = points[(points[:, 1] > MIN_HEIGHT) & (points[:, 1] < MAX_HEIGHT)]
        self.points = {side: points * [1, 1, 1 if side == "left" else -1] for side in SIDES}
        self.trees = {side: KDTree(points) for side, points in self.points.items()}
        self.length = float(np.ptp(points[:, 0]))
        self.middle = (points.min(0) + points.max(0)) / 2

    def fit(self, points: Points, rng: np.random.Generator) -> Registration:
        """Finds the template in ``points`` of a scan that stands on y = 0, at any yaw and size."""
        flat = points[:, [0, 2]] - points[:, [0, 2]].mean(0)
        axis = np.linalg.svd(flat, full_matrices=False)[2][0]
        ends = np.quantile(flat @ axis, (0.01, 0.99))
        sample = points[rng.choice(len(points), min(NUM_POINTS, len(points)), replace=False)]
        starts = [self._start(points, toes, self.length / (ends[1] - ends[0])) for toes in (axis, -axis)]
        coarse = [self._iterate(sample, side, start, COARSE_ROUNDS) for side in SIDES for start in starts]
        best = sorted(coarse, key=lambda fit: fit.distance)[:2]
        fine = [self._iterate(sample, fit.side, fit.to_template, FINE_ROUNDS) for fit in best]
        return min(fine, key=lambda fit: fit.distance)

    def length_of(self, fit: Registration) -> float:
        """Length of the foot of a scan by the size of the template, in the unit of the scan."""
        return self.length / float(np.cbrt(np.linalg.det(fit.to_template[:3, :3])))

    def to_middle(self) -> Float[np.ndarray, "4 4"]:
        """From a foot of length 1 with its heel at the origin to the template."""
        return trimesh.transformations.translation_matrix([-self.length / 2, 0, 0]) @ np.diag([*[self.length] * 3, 1])

    def _start(self, points: Points, toes: Float[np.ndarray, " 2"], scale: float) -> Float[np.ndarray, "4 4"]:
        """The transform that turns ``toes`` to +x and aligns the centres of the bounding boxes."""
        start = np.eye(4)
        start[:3, :3] = scale * np.array([[toes[0], 0, toes[1]], [0, 1, 0], [-toes[1], 0, toes[0]]])
        turned = trimesh.transform_points(points, start)
        middle = (np.quantile(turned, 0.01, axis=0) + np.quantile(turned, 0.99, axis=0)) / 2
        start[[0, 2], 3] = (self.middle - middle)[[0, 2]]
        return start

    def _iterate(self, points: Points, side: str, to_template: Float[np.ndarray, "4 4"], rounds: int) -> Registration:
        """Iterative closest points (Besl and McKay 1992) in both directions, so that no size is favoured."""
        template, tree = self.points[side], self.trees[side]
        for _ in range(rounds):
            moved = trimesh.transform_points(points, to_template)
            to_nearest, nearest = tree.query(moved)
            from_nearest, reverse = KDTree(moved).query(template)
            inlier = to_nearest <= np.quantile(to_nearest, INLIERS)
            reverse_inlier = from_nearest <= np.quantile(from_nearest, INLIERS)
            distance = float(to_nearest[inlier].mean() + from_nearest[reverse_inlier].mean()) / 2
            source = np.concatenate([moved[inlier], moved[reverse[reverse_inlier]]])
            target = np.concatenate([template[nearest[inlier]], template[reverse_inlier]])
            step = trimesh.registration.procrustes(source, target, reflection=False, return_cost=False)
            to_template = step @ to_template
        return Registration(side, to_template, distance)
