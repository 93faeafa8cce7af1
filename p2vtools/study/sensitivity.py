"""Sensitivity of IoU to conventions: a foot against itself after an error in frame, scale or sampling.

Every function takes a closed mesh (vertices ``[n, 3]`` in the world frame, metres; faces ``[m, 3]``), the amount of the
error and the number of voxels per side, and returns the IoU with the unchanged mesh. All but `floor_slab` use a cube of
the metric size centred on the unchanged foot; parts outside the cube are lost.
"""

from __future__ import annotations

from functools import partial

import igl
import numpy as np
import pandas as pd
import trimesh

from p2vlib.geometry.frames import Cube, Points, foot_cube, object_cube
from p2vlib.geometry.grids import Faces, iou, voxelise

SLAB_THICKNESS = 0.005
"""Thickness of the floor in a phone scan below y = 0, metres."""


def yaw(vertices: Points, faces: Faces, degrees: float, size: int) -> float:
    """Rotation about the vertical axis through the centre of the cube, clockwise seen from above."""
    cube = _cube(vertices)
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn = np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])
    return _moved_iou(vertices, (vertices - cube.centre) @ turn.T + cube.centre, faces, size)


def shift(vertices: Points, faces: Faces, millimetres: float, size: int, axis: int) -> float:
    """Translation along an axis: 0, towards the toes, or 2, to the right of the foot."""
    return _moved_iou(vertices, vertices + millimetres / 1000 * np.eye(3)[axis], faces, size)


def inflation(vertices: Points, faces: Faces, millimetres: float, size: int) -> float:
    """Dilation: all points within a distance of the surface are added, as by a thick sock."""
    cube = _cube(vertices)
    true = voxelise(vertices, faces, cube, size).volume
    radius, centres = millimetres / 1000, cube.voxel_centres(size)
    lower, upper = vertices.min(axis=0) - radius, vertices.max(axis=0) + radius
    near = ((centres >= lower) & (centres <= upper)).all(axis=-1) & ~true
    dilated = true.copy()
    if near.any():
        squared, _, _ = igl.point_mesh_squared_distance(centres[near], vertices, faces)
        dilated[near] = squared <= radius**2
    return iou(true, dilated)


def mirror(vertices: Points, faces: Faces, size: int) -> float:
    """A left foot taken for a right one: reflection across the vertical plane z = centre of the cube."""
    volume = voxelise(vertices, faces, _cube(vertices), size).volume
    return iou(volume, volume[:, :, ::-1])


def floor_slab(vertices: Points, faces: Faces, margin: float, size: int, cut: float | None = None) -> float:
    """A scan that includes a piece of floor, normalised by its bounding box as in object data sets.

    Args:
        vertices: world frame, metres; the foot stands on y = 0.
        faces: faces of the foot without floor.
        margin: extent of the scanned floor beyond the foot on all four sides, millimetres.
        size: voxels per side.
        cut: height above the floor, millimetres, below which the scan is removed before it is normalised.

    Returns:
        IoU with the foot without floor, normalised by its own bounding box.
    """
    lower, upper = vertices.min(axis=0), vertices.max(axis=0)
    true = voxelise(vertices, faces, object_cube(np.stack([lower, upper])), size).volume
    wide = margin / 1000
    corners = [[lower[0] - wide, -SLAB_THICKNESS, lower[2] - wide], [upper[0] + wide, 0.0, upper[2] + wide]]
    scan = trimesh.Trimesh(vertices, faces, process=False) + trimesh.creation.box(bounds=corners)
    points, surface, bounds = np.asarray(scan.vertices), np.asarray(scan.faces), scan.bounds
    if cut is not None:
        plane = {"plane_normal": [0, 1, 0], "plane_origin": [0, cut / 1000, 0]}
        points, surface, _ = trimesh.intersections.slice_faces_plane(points, surface, **plane)
        # The bounding box still starts at the floor, and the winding number closes the missing sole.
        bounds = np.stack([points.min(axis=0) * [1, 0, 1], points.max(axis=0)])
    return iou(true, voxelise(points, surface, object_cube(bounds), size).volume)


def surface_sampling(vertices: Points, faces: Faces, size: int) -> float:
    """Occupancy of all voxels that the surface touches, and the interior, against occupancy of voxel centres.

    The surface is sampled four times as densely as the grid.
    """
    cube = _cube(vertices)
    true = voxelise(vertices, faces, cube, size).volume
    points, _ = trimesh.remesh.subdivide_to_size(vertices, faces, max_edge=cube.edge / size / 4, max_iter=20)
    indices = np.floor((points - cube.lower) / cube.edge * size).astype(int)
    indices = indices[((indices >= 0) & (indices < size)).all(axis=1)]
    touched = true.copy()
    touched[tuple(indices.T)] = True
    return iou(true, touched)


def cost_table(vertices: Points, faces: Faces, sizes: tuple[int, ...] = (32, 64)) -> pd.DataFrame:
    """All errors over ranges of amounts: columns perturbation, amount, unit, grid, iou."""
    ranges = [
        ("yaw", "degrees", yaw, (1, 2, 3, 5, 10, 20, 34, 45)),
        ("forward shift", "mm", partial(shift, axis=0), (2, 4, 10, 20, 30, 40)),
        ("sideways shift", "mm", partial(shift, axis=2), (2, 4, 10, 20, 30, 40)),
        ("inflation", "mm", inflation, (1, 2, 3, 5, 10, 20, 25)),
        ("floor in the bounding box", "mm beyond the foot", floor_slab, (10, 30, 60, 100)),
    ]
    rows = [
        (name, amount, unit, size, perturbed_iou(vertices, faces, amount, size))
        for size in sizes
        for name, unit, perturbed_iou, amounts in ranges
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
    """The metric cube, centred on the foot in height too, so that errors below the floor count."""
    bounds = np.stack([vertices.min(axis=0), vertices.max(axis=0)])
    cube = foot_cube(bounds)
    return Cube((cube.lower[0], float(bounds[:, 1].mean()) - cube.edge / 2, cube.lower[2]), cube.edge)


def _moved_iou(true: np.ndarray, moved: np.ndarray, faces: np.ndarray, size: int) -> float:
    """IoU of a mesh with the same faces at ``moved`` vertices, in the cube of the true ones."""
    cube = _cube(true)
    return iou(voxelise(true, faces, cube, size).volume, voxelise(moved, faces, cube, size).volume)
