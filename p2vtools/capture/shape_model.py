"""A statistical shape model of the foot, fitted to a scan: how the foot stands, and the parts that the scan hides.

The model is a mean shape with principal modes of variation (Cootes et al., Active Shape Models, 1995), from synthetic
feet of the training population, whose vertices correspond. Pose, size and modes are fitted together by iterative
closest points in both directions, with the distance to the tangent plane (Chen and Medioni 1992) and robust weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import igl
import numpy as np
import trimesh
from jaxtyping import Float
from safetensors.numpy import load_file
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from p2vlib.geometry.frames import SIDES
from p2vlib.provenance import home

FIRST_RADIUS, LAST_RADIUS = 0.012, 0.004
"""Distance at which a point has a quarter of its weight, metres, in the first and in the last rounds."""

ROUNDS, SIDE_ROUNDS = 24, 12
"""Rounds of a fit, and of the shorter fits that tell which side it is."""

PRIOR = 7.0
"""Weight of the standard normal prior of the modes: the number of points whose errors are as one."""

MIN_COSINE = 0.3
"""Least cosine between the normals of a point and of its nearest vertex."""


def shape_model_path() -> Path:
    """Path of the model that comes with the project, which `synthesis.feet.shape_modes` writes."""
    return home() / "data" / "weights" / "foot-shapes.safetensors"


@dataclass(frozen=True, eq=False)
class FittedShape:
    """A foot of the model in a scan."""

    side: str
    surface: trimesh.Trimesh
    """Closed foot and leg in the coordinates of the scan."""
    to_scan: Float[np.ndarray, "4 4"]
    """Similarity transform from the frame of the foot at length 1, pternion at x = z = 0, to the scan."""
    distance: float
    """Root mean square distance of the points to the surface over the share of the points that take part."""


class ShapeModel:
    """The shape model of feet of both sides."""

    def __init__(self) -> None:
        tensors = load_file(shape_model_path())
        self.mean, self.modes = tensors["mean"].astype(float), tensors["modes"].astype(float)
        self.faces = tensors["faces"].astype(np.int64)

    def fit(
        self,
        points: Float[np.ndarray, "points 3"],
        normals: Float[np.ndarray, "points 3"],
        is_visible: Callable[[np.ndarray], np.ndarray],
        start: Float[np.ndarray, "4 4"],
    ) -> FittedShape:
        """Fits a left and a right foot and returns the one that is nearer.

        Args:
            points: of the visible surface of the foot, in a scan in metres, upright.
            normals: of the surface at ``points``, outwards.
            is_visible: points ``[n, 3]`` -> whether the scan would show a surface there, ``[n]``.
            start: as `FittedShape.to_scan`, of a left foot or of its mirror image.
        """
        short = [self._fit(points, normals, is_visible, start, side, SIDE_ROUNDS) for side in SIDES]
        best = min(short, key=lambda fit: fit.distance)
        return self._fit(points, normals, is_visible, best.to_scan, best.side, ROUNDS)

    def _fit(
        self,
        points: np.ndarray,
        normals: np.ndarray,
        is_visible: Callable[[np.ndarray], np.ndarray],
        start: np.ndarray,
        side: str,
        rounds: int,
    ) -> FittedShape:
        mirror = np.array([1.0, 1.0, 1.0 if side == "left" else -1.0])
        faces = np.ascontiguousarray(self.faces if side == "left" else self.faces[:, ::-1])
        mean, modes, tree = self.mean * mirror, self.modes * mirror, KDTree(points)
        scale = np.cbrt(np.linalg.det(start[:3, :3]))
        rotation, shift, weights = start[:3, :3] / scale, start[:3, 3], np.zeros(len(modes))
        for number in range(rounds):
            radius = FIRST_RADIUS * (LAST_RADIUS / FIRST_RADIUS) ** min(1.0, number / (0.7 * rounds))
            vertices = scale * (mean + np.tensordot(weights, modes, 1)) @ rotation.T + shift
            outwards = igl.per_vertex_normals(vertices, faces)
            near = np.flatnonzero(vertices[:, 1] < points[:, 1].max() + 0.02)
            seen = np.flatnonzero(is_visible(vertices))[::2]
            index = near[KDTree(vertices[near]).query(points)[1]]
            nearest = tree.query(vertices[seen])[1]
            index, target = np.concatenate([index, seen]), np.concatenate([points, points[nearest]])
            facing = (outwards[index] * np.concatenate([normals, normals[nearest]])).sum(1) > MIN_COSINE
            offset = target - vertices[index]
            far = np.linalg.norm(offset, axis=1) / radius
            trust = np.where(facing & (far < 3), (1 + far**2) ** -2, 0.0)
            trust[len(points) :] *= len(points) / max(1, len(seen))
            normal = outwards[index]
            residual = (normal * offset).sum(1)
            arm = vertices[index] - shift
            moves = np.einsum("mid,id->im", scale * modes[:, index] @ rotation.T, normal)
            jacobian = np.hstack([np.cross(arm, normal), normal, (normal * arm).sum(1)[:, None], moves])
            weighted = jacobian * (trust / LAST_RADIUS**2)[:, None]
            prior = np.diag([1e-6] * 7 + [PRIOR] * len(modes))
            gradient = weighted.T @ residual - prior @ np.concatenate([np.zeros(7), weights])
            step = np.linalg.solve(weighted.T @ jacobian + prior, gradient)
            rotation = Rotation.from_rotvec(step[:3]).as_matrix() @ rotation
            shift, scale, weights = shift + step[3:6], scale * np.exp(step[6]), weights + step[7:]
        to_scan = np.eye(4)
        to_scan[:3, :3], to_scan[:3, 3] = scale * rotation, shift
        surface = trimesh.Trimesh(mean + np.tensordot(weights, modes, 1), faces, process=False).apply_transform(to_scan)
        distance = np.sqrt((trust * residual**2).sum() / trust.sum()) / trust[: len(points)].mean()
        return FittedShape(side, surface, to_scan, float(distance))
