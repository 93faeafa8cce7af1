"""The fill light of a phone capture: what sky or room, floor and skin send onto the foot and the floor around it.

Gathered once a capture by casting rays over the hemisphere (embree), with one bounce from floor and skin, since it is
the same from every side. Unit: radiance that a white matt surface would give off; the key and the fill light together
give 1 on a bare floor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.ndimage import gaussian_filter, map_coordinates
from trimesh.ray.ray_pyembree import RayMeshIntersector

from p2vtools.synthesis.photos.floors import PIXELS, SPAN
from p2vtools.synthesis.photos.trajectories import Light, PhotoWalk

Backdrop = Float[np.ndarray, "rows columns 3"]

ROWS, COLUMNS = 16, 32
"""The backdrop's pixels in elevation and azimuth, the zenith first."""

RAYS = 32
SHADOW_GRID, SHADOW_CELL = 64, 4
"""The floor's fill light is gathered at every ``SHADOW_CELL``-th pixel of its texture in a square of this many points
under the foot (.8 m): further away a foot's contact shadow is too faint to see."""

FLOOR_RETURN, SKIN_RETURN = 0.65, 0.4
"""Light on the floor and on the skin near a point, as shares of a bare floor's: they are partly in shadow."""


@dataclass(frozen=True, eq=False)
class Fill:
    """Fill light on the vertices of the ``mesh``, on the texture of the ``floor`` under it and on the ``open_floor``
    further away, and the ``backdrop`` that is seen above the horizon."""

    mesh: Float[np.ndarray, "vertices 3"]
    floor: Float[np.ndarray, "height width 3"]
    open_floor: Float[np.ndarray, "3"]
    backdrop: Backdrop


def gather(
    mesh: trimesh.Trimesh, trousers: trimesh.Trimesh, walk: PhotoWalk, floor: np.ndarray, skin: np.ndarray
) -> Fill:
    """Gathers the fill light on ``mesh`` and the floor around it, of mean colours ``skin`` and ``floor`` ``[3]``."""
    blockers = RayMeshIntersector(trimesh.util.concatenate([mesh, trousers]))
    backdrop, open_floor = _backdrop(walk.light)

    def arriving(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
        directions = _hemisphere(normals)
        origins = np.repeat(points + 1e-3 * normals, RAYS, axis=0)
        blocked = blockers.intersects_any(origins, directions.reshape(-1, 3)).reshape(len(points), RAYS)
        light = np.where(directions[..., 1:2] > 0, _seen(backdrop, directions), FLOOR_RETURN * floor)
        return np.where(blocked[..., None], SKIN_RETURN * skin, light).mean(axis=1)

    on_mesh = arriving(np.asarray(mesh.vertices), np.asarray(mesh.vertex_normals))
    ground = _ground(walk)
    on_floor = arriving(ground, np.broadcast_to([0.0, 1.0, 0.0], ground.shape)) / open_floor
    return Fill(_softened(mesh, on_mesh), _on_texture(on_floor) * open_floor, open_floor, backdrop)


def floor_frame(walk: PhotoWalk) -> Float[np.ndarray, "4 4"]:
    """Texture axes (x: columns, y: rows, z: up; metres from the middle of the floor) to the world."""
    turn = np.deg2rad(walk.floor.turn)
    frame = np.eye(4)
    frame[:3, 0] = np.cos(turn), 0, np.sin(turn)
    frame[:3, 1] = np.sin(turn), 0, -np.cos(turn)
    frame[:3, 2] = 0, 1, 0
    frame[[0, 2], 3] = walk.target[[0, 2]]
    return frame


def on_floor(
    light: Float[np.ndarray, "height width 3"], walk: PhotoWalk, places: Float[np.ndarray, "rows columns 3"]
) -> Float[np.ndarray, "rows columns 3"]:
    """``light`` on the texture of the floor, read at ``places`` of the world (metres)."""
    local = (places - walk.target * [1, 0, 1]) @ floor_frame(walk)[:3, :2]
    columns, rows = np.moveaxis(local / SPAN * PIXELS + PIXELS / 2 - 0.5, -1, 0)
    read = [map_coordinates(light[..., channel], [rows, columns], order=1, mode="wrap") for channel in range(3)]
    return np.stack(read, axis=-1)


def _ground(walk: PhotoWalk) -> Float[np.ndarray, "points 3"]:
    """World points of the floor's shadow grid, rows of the texture first."""
    steps = (np.arange(SHADOW_GRID) + 0.5 - SHADOW_GRID / 2) * SHADOW_CELL * SPAN / PIXELS
    y, x = np.meshgrid(steps, steps, indexing="ij")
    local = np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size), np.ones(x.size)])
    return (local @ floor_frame(walk).T)[:, :3]


def _on_texture(shadow: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "height width 3"]:
    """The relative light of the shadow grid, smoothed, in the middle of the texture; 1 around it."""
    fine = shadow.reshape(SHADOW_GRID, SHADOW_GRID, 3).repeat(SHADOW_CELL, axis=0).repeat(SHADOW_CELL, axis=1)
    fine = gaussian_filter(fine, (SHADOW_CELL, SHADOW_CELL, 0))
    fade = np.clip(6 * (0.5 - np.abs((np.arange(len(fine)) + 0.5) / len(fine) - 0.5)), 0, 1)
    light = np.ones((PIXELS, PIXELS, 3))
    middle = slice((PIXELS - len(fine)) // 2, (PIXELS + len(fine)) // 2)
    light[middle, middle] += np.minimum.outer(fade, fade)[..., None] * (fine - 1)
    return light


def _backdrop(light: Light) -> tuple[Backdrop, Float[np.ndarray, "3"]]:
    """The radiance of sky or room and what it gives a bare floor; scaled to the share that the key light leaves."""
    rng = np.random.default_rng(light.seed)
    elevation = np.pi * (0.5 - (np.arange(ROWS) + 0.5) / ROWS)
    height = np.clip(np.sin(elevation), 0, 1)[:, None, None]
    tint = np.asarray(light.horizon) * (1 - height) + np.asarray(light.zenith) * height
    # Walls, curtains and furniture make a room blotchy; a sky is nearly even.
    depth = 0.6 if light.kind in ("lamp", "window") else 0.15
    blotches = rng.uniform(1 - depth, 1 + depth, (ROWS // 4, COLUMNS // 4)).repeat(4, axis=0).repeat(4, axis=1)
    backdrop = tint * gaussian_filter(blotches, (1, 2), mode=("nearest", "wrap"))[..., None]
    solid_angle = (np.pi / ROWS) * (2 * np.pi / COLUMNS) * np.cos(elevation)
    on_floor = np.einsum("rcn,r->n", backdrop, solid_angle * np.clip(np.sin(elevation), 0, None)) / np.pi
    scale = (1 - light.share) / on_floor.mean()
    return backdrop * scale, on_floor * scale


def _seen(backdrop: Backdrop, directions: Float[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape 3"]:
    """The backdrop's radiance along unit ``directions``, in Mitsuba's layout of the sphere."""
    row = np.arccos(np.clip(directions[..., 1], -1, 1)) / np.pi * ROWS
    column = (np.arctan2(directions[..., 0], -directions[..., 2]) / (2 * np.pi)) % 1 * COLUMNS
    return backdrop[np.minimum(row.astype(int), ROWS - 1), np.minimum(column.astype(int), COLUMNS - 1)]


def _hemisphere(normals: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "points rays 3"]:
    """``RAYS`` directions about each normal, as dense as the cosine law asks for (a spiral on the disc, raised)."""
    index = np.arange(RAYS)
    radius, angle = np.sqrt((index + 0.5) / RAYS), index * np.pi * (3 - np.sqrt(5))
    spiral = np.column_stack([radius * np.cos(angle), radius * np.sin(angle), np.sqrt(1 - radius**2)])
    helper = np.where(np.abs(normals[:, :1]) > 0.7, [0.0, 0.0, 1.0], [1.0, 0.0, 0.0])
    first = np.cross(helper, normals)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    return np.einsum("rk,pkc->prc", spiral, np.stack([first, np.cross(normals, first), normals], axis=1))


def _softened(mesh: trimesh.Trimesh, light: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, "vertices 3"]:
    """Light mixed with that of neighbouring vertices, twice, as skin spreads it under its surface."""
    ends = np.concatenate([mesh.edges_unique, mesh.edges_unique[:, ::-1]])
    count = np.bincount(ends[:, 0], minlength=len(light))[:, None]
    for _ in range(2):
        around = np.stack([np.bincount(ends[:, 0], part[ends[:, 1]], len(light)) for part in light.T], axis=1)
        light = (light + around) / (1 + count)
    return light
