"""What conventions cost: the IoU of one foot against itself after a mistake in its frame, its scale or its sampling.

Every function takes a closed mesh (vertices ``[n, 3]`` in the world frame, metres; faces ``[m, 3]``), the size of the
mistake and the voxels a side, and returns the IoU with the mesh as it was. All but `floor_slab` compare at the metric
cube's scale, in a cube that is centred on the unchanged foot; what a mistake pushes out of it is lost.
"""

from __future__ import annotations

import igl
import numpy as np
import pandas as pd
import trimesh

from p2vlib.geometry.frames import Cube, Points, Volume, foot_cube, object_cube
from p2vlib.geometry.grids import Faces, iou, voxelise

SLAB_THICKNESS = 0.005
"""How deep the floor of a phone scan reaches below y = 0, metres."""


def yaw(vertices: Points, faces: Faces, degrees: float, size: int) -> float:
    """The foot turned about the vertical through the middle of its cube, clockwise seen from above."""
    cube = _cube(vertices)
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])
    return _against_itself(vertices, (vertices - cube.centre) @ turn.T + cube.centre, faces, size)


def forward_shift(vertices: Points, faces: Faces, millimetres: float, size: int) -> float:
    """The foot moved along +x, towards its toes."""
    return _against_itself(vertices, vertices + [millimetres / 1000, 0, 0], faces, size)


def sideways_shift(vertices: Points, faces: Faces, millimetres: float, size: int) -> float:
    """The foot moved along +z, to its right."""
    return _against_itself(vertices, vertices + [0, 0, millimetres / 1000], faces, size)


def inflation(vertices: Points, faces: Faces, millimetres: float, size: int) -> float:
    """The foot with all that lies within a distance of its surface added, as a thick sock would."""
    cube = _cube(vertices)
    true = voxelise(vertices, faces, cube, size).volume
    reach, centres = millimetres / 1000, cube.voxel_centres(size)
    near = ((centres >= vertices.min(axis=0) - reach) & (centres <= vertices.max(axis=0) + reach)).all(axis=-1) & ~true
    swollen = true.copy()
    if near.any():
        squared, _, _ = igl.point_mesh_squared_distance(centres[near], vertices, faces)
        swollen[near] = squared <= reach**2
    return iou(true, swollen)


def mirror(vertices: Points, faces: Faces, size: int) -> float:
    """A left foot taken for a right one: mirrored across the upright plane through the middle of its cube."""
    volume = voxelise(vertices, faces, _cube(vertices), size).volume
    return iou(volume, volume[:, :, ::-1])


def floor_slab(vertices: Points, faces: Faces, margin: float, size: int, cut: float | None = None) -> float:
    """A scan that holds a piece of floor, normalised by its bounding box as object data sets do.

    Args:
        vertices: world frame, metres; the foot stands on y = 0.
        faces: of the foot alone.
        margin: how far the scanned floor reaches beyond the foot on all four sides, millimetres.
        size: voxels a side.
        cut: if given, all below this height (millimetres above the floor) is thrown away before normalising.

    Returns:
        The IoU with the foot alone, normalised by its own bounding box.
    """
    lower, upper = vertices.min(axis=0), vertices.max(axis=0)
    true = voxelise(vertices, faces, object_cube(np.stack([lower, upper])), size).volume
    reach = margin / 1000
    corners = [[lower[0] - reach, -SLAB_THICKNESS, lower[2] - reach], [upper[0] + reach, 0.0, upper[2] + reach]]
    scan = trimesh.Trimesh(vertices, faces, process=False) + trimesh.creation.box(bounds=corners)
    if cut is None:
        return iou(true, voxelise(*_parts(scan), object_cube(scan.bounds), size).volume)
    plane = [0, cut / 1000, 0]
    kept, surface, _ = trimesh.intersections.slice_faces_plane(
        *_parts(scan), plane_normal=[0, 1, 0], plane_origin=plane
    )
    # The cut is measured from the floor, so the box still ends there; the winding number closes the missing sole.
    cube = object_cube(np.stack([kept.min(axis=0) * [1, 0, 1], kept.max(axis=0)]))
    return iou(true, voxelise(kept, surface, cube, size).volume)


def surface_sampling(vertices: Points, faces: Faces, size: int) -> float:
    """The foot with every voxel that its surface touches, filled, against the one sampled at voxel centres."""
    cube = _cube(vertices)
    true = voxelise(vertices, faces, cube, size).volume
    return iou(true, true | _touched(vertices, faces, cube, size))


def cost_table(vertices: Points, faces: Faces, sizes: tuple[int, ...] = (32, 64)) -> pd.DataFrame:
    """All mistakes over a range of amounts: one row each with ``perturbation, amount, unit, grid, iou``."""
    ranges = [
        ("yaw", "degrees", yaw, (1, 2, 3, 5, 10, 20, 34, 45)),
        ("forward shift", "mm", forward_shift, (2, 4, 10, 20, 30, 40)),
        ("sideways shift", "mm", sideways_shift, (2, 4, 10, 20, 30, 40)),
        ("inflation", "mm", inflation, (1, 2, 3, 5, 10, 20, 25)),
        ("floor in the bounding box", "mm beyond the foot", floor_slab, (10, 30, 60, 100)),
    ]
    rows = [
        (name, amount, unit, size, mistake(vertices, faces, amount, size))
        for size in sizes
        for name, unit, mistake, amounts in ranges
        for amount in amounts
    ]
    for size in sizes:
        rows += [
            ("floor cut away", 1.5, "mm above the floor", size, floor_slab(vertices, faces, 60, size, cut=1.5)),
            ("left taken for right", 1, "swap", size, mirror(vertices, faces, size)),
            ("surface instead of centre sampling", 1, "convention", size, surface_sampling(vertices, faces, size)),
        ]
    return pd.DataFrame(rows, columns=["perturbation", "amount", "unit", "grid", "iou"])


def _cube(vertices: np.ndarray) -> Cube:
    """The metric cube, but centred on the foot in height too, so that what a mistake puts below the floor counts."""
    bounds = np.stack([vertices.min(axis=0), vertices.max(axis=0)])
    cube = foot_cube(bounds)
    return Cube((cube.lower[0], float(bounds[:, 1].mean()) - cube.edge / 2, cube.lower[2]), cube.edge)


def _parts(mesh: trimesh.Trimesh) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(mesh.vertices), np.asarray(mesh.faces)


def _against_itself(true: np.ndarray, moved: np.ndarray, faces: np.ndarray, size: int) -> float:
    cube = _cube(true)
    return iou(voxelise(true, faces, cube, size).volume, voxelise(moved, faces, cube, size).volume)


def _touched(vertices: np.ndarray, faces: np.ndarray, cube: Cube, size: int) -> Volume:
    """Voxels that hold a point of the surface, which is sampled four times as finely as the grid."""
    points, _ = trimesh.remesh.subdivide_to_size(vertices, faces, max_edge=cube.edge / size / 4, max_iter=20)
    indices = np.floor((points - cube.lower) / cube.edge * size).astype(int)
    inside = indices[((indices >= 0) & (indices < size)).all(axis=1)]
    touched = np.zeros((size, size, size), dtype=bool)
    touched[tuple(inside.T)] = True
    return touched
