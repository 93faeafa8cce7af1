"""Fill light of a phone capture: the indirect light of sky or room, floor and skin on the foot and the floor.

It does not depend on the camera, so it is computed once per capture: rays over the hemisphere (embree) with one bounce
from floor and skin. The unit is the radiance of a white diffuse surface; key light and fill light add up to 1 on a bare
floor.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.ndimage import gaussian_filter, map_coordinates
from trimesh.ray.ray_pyembree import RayMeshIntersector

from p2vtools.synthesis.photos.floors import PIXELS, SPAN
from p2vtools.synthesis.photos.surfaces import flat_frame
from p2vtools.synthesis.photos.trajectories import Colour, PhoneTrajectory

EnvironmentMap = Float[np.ndarray, "rows columns 3"]
"""Radiance over the sphere in Mitsuba's layout, the zenith in the first row."""

Light = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
"""Fill light at points with normals, with a number of rays per point."""

ROWS, COLUMNS = 16, 32
"""Pixels of the environment map in elevation and azimuth."""

RAYS = 32
"""Per point."""

SHADOW_GRID, SHADOW_STEP = 64, 4
"""The fill light of the floor is computed for ``SHADOW_GRID`` x ``SHADOW_GRID`` points, every ``SHADOW_STEP``-th pixel
of its texture, in a square of 0.8 m around the foot: further away the contact shadow is invisible."""

FLOOR_LIGHT, SKIN_LIGHT = 0.65, 0.4
"""Light on floor and skin near a point, as shares of that on a bare floor: they are partly in shadow."""


def gather_light(
    blockers: RayMeshIntersector, environment: EnvironmentMap, floor: np.ndarray, skin: np.ndarray
) -> Light:
    """The fill light in a scene of ``blockers``, as a function.

    Args:
        floor: mean reflectance, ``[3]``.
        skin: mean reflectance of the blockers, ``[3]``.
    """
    rows, columns = environment.shape[:2]

    def light(points: np.ndarray, normals: np.ndarray, rays: int) -> np.ndarray:
        directions = _hemisphere(normals, rays)
        origins = np.repeat(points + 1e-3 * normals, rays, axis=0)
        blocked = blockers.intersects_any(origins, directions.reshape(-1, 3)).reshape(len(points), rays)
        row = np.arccos(np.clip(directions[..., 1], -1, 1)) / np.pi * rows
        column = (np.arctan2(directions[..., 0], -directions[..., 2]) / (2 * np.pi)) % 1 * columns
        sky = environment[np.minimum(row.astype(int), rows - 1), np.minimum(column.astype(int), columns - 1)]
        unblocked = np.where(directions[..., 1:2] > 0, sky, FLOOR_LIGHT * floor)
        return np.where(blocked[..., None], SKIN_LIGHT * skin, unblocked).mean(axis=1)

    return light


def sample_floor_light(
    light: Float[np.ndarray, "height width 3"], trajectory: PhoneTrajectory, points: Float[np.ndarray, "rows columns 3"]
) -> Float[np.ndarray, "rows columns 3"]:
    """Samples the ``light`` on the floor's texture at world ``points`` (metres), bilinearly."""
    axes = flat_frame(trajectory.target, trajectory.floor.rotation, 2, 2)[:3, :2]  # of columns and rows
    local = (points - trajectory.target * [1, 0, 1]) @ axes
    columns, rows = np.moveaxis(local / SPAN * PIXELS + PIXELS / 2 - 0.5, -1, 0)
    samples = [map_coordinates(light[..., channel], [rows, columns], order=1, mode="wrap") for channel in range(3)]
    return np.stack(samples, axis=-1)


def light_on_floor(
    light: Light, trajectory: PhoneTrajectory, open_floor: Float[np.ndarray, "3"]
) -> Float[np.ndarray, "height width 3"]:
    """The fill light on the floor's texture: computed on the shadow grid, smoothed, ``open_floor`` outside the grid."""
    steps = (np.arange(SHADOW_GRID) + 0.5 - SHADOW_GRID / 2) * SHADOW_STEP * SPAN / PIXELS
    y, x = np.meshgrid(steps, steps, indexing="ij")
    local = np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size), np.ones(x.size)])
    points = (local @ flat_frame(trajectory.target, trajectory.floor.rotation, 2, 2).T)[:, :3]
    shadow = light(points, np.broadcast_to([0.0, 1.0, 0.0], points.shape), RAYS) / open_floor
    fine = shadow.reshape(SHADOW_GRID, SHADOW_GRID, 3).repeat(SHADOW_STEP, axis=0).repeat(SHADOW_STEP, axis=1)
    fine = gaussian_filter(fine, (SHADOW_STEP, SHADOW_STEP, 0))
    fade = np.clip(6 * (0.5 - np.abs((np.arange(len(fine)) + 0.5) / len(fine) - 0.5)), 0, 1)
    relative = np.ones((PIXELS, PIXELS, 3))
    centre = slice((PIXELS - len(fine)) // 2, (PIXELS + len(fine)) // 2)
    relative[centre, centre] += np.minimum.outer(fade, fade)[..., None] * (fine - 1)
    return relative * open_floor


def make_environment(
    seed: int, zenith_tint: Colour, horizon_tint: Colour, share: float, uneven: bool
) -> tuple[EnvironmentMap, Float[np.ndarray, "3"]]:
    """The radiance of sky or room and its light on a bare floor.

    Args:
        share: mean of the light on a bare floor.
        uneven: a room (walls, curtains, furniture) is uneven, a sky is nearly even.
    """
    rng = np.random.default_rng(seed)
    elevation = np.pi * (0.5 - (np.arange(ROWS) + 0.5) / ROWS)
    height = np.clip(np.sin(elevation), 0, 1)[:, None, None]
    tint = np.asarray(horizon_tint) * (1 - height) + np.asarray(zenith_tint) * height
    depth = 0.6 if uneven else 0.15
    variation = rng.uniform(1 - depth, 1 + depth, (ROWS // 4, COLUMNS // 4)).repeat(4, axis=0).repeat(4, axis=1)
    environment = tint * gaussian_filter(variation, (1, 2), mode=("nearest", "wrap"))[..., None]
    solid_angle = (np.pi / ROWS) * (2 * np.pi / COLUMNS) * np.cos(elevation)
    on_floor = np.einsum("rcn,r->n", environment, solid_angle * np.clip(np.sin(elevation), 0, None)) / np.pi
    scale = share / on_floor.mean()
    return environment * scale, on_floor * scale


def _hemisphere(normals: Float[np.ndarray, "points 3"], rays: int) -> Float[np.ndarray, "points rays 3"]:
    """``rays`` cosine-weighted directions around each normal: a spiral on the disc, projected up to the hemisphere."""
    index = np.arange(rays)
    radius, angle = np.sqrt((index + 0.5) / rays), index * np.pi * (3 - np.sqrt(5))
    spiral = np.column_stack([radius * np.cos(angle), radius * np.sin(angle), np.sqrt(1 - radius**2)])
    helper = np.where(np.abs(normals[:, :1]) > 0.7, [0.0, 0.0, 1.0], [1.0, 0.0, 0.0])
    tangent = np.cross(helper, normals)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    return np.einsum("rk,pkc->prc", spiral, np.stack([tangent, np.cross(normals, tangent), normals], axis=1))


def light_on_mesh(light: Light, mesh: trimesh.Trimesh, rays: int = RAYS) -> Float[np.ndarray, "vertices 3"]:
    """The fill light at the vertices, averaged twice over neighbours, as subsurface scattering in skin does."""
    values = light(np.asarray(mesh.vertices), np.asarray(mesh.vertex_normals), rays)
    ends = np.concatenate([mesh.edges_unique, mesh.edges_unique[:, ::-1]])
    count = np.bincount(ends[:, 0], minlength=len(values))[:, None]
    for _ in range(2):
        around = np.stack([np.bincount(ends[:, 0], channel[ends[:, 1]], len(values)) for channel in values.T], axis=1)
        values = (values + around) / (1 + count)
    return values
