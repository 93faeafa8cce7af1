"""Reads the meshes of a USD file (`.usd`, `.usda`, `.usdc`, `.usdz`) with Pixar's library.

The library is written in C++, and the files come from strangers: `scan_files` calls `read_usd` in a process of its own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from p2vtools import limits

MAX_PRIMS = 10_000
"""Limit for one stage."""


def read_usd(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads all meshes of a stage as one, in metres with y up; without a unit in the stage, as stored.

    Polygons are split into fans of triangles. Subdivision, materials and animation (after its first frame) are ignored.

    Returns:
        Vertices ``[points, 3]`` and faces ``[triangles, 3]``.

    Raises:
        ValueError: the file is no USD stage, has no mesh or an inconsistent one, or exceeds a limit.
    """
    from pxr import Tf, Usd, UsdGeom

    try:
        stage = Usd.Stage.Open(str(path))
    except Tf.ErrorException:
        raise ValueError("cannot be opened as a USD stage: damaged, cut off, or a compressed package") from None
    transforms = UsdGeom.XformCache(Usd.TimeCode.EarliestTime())
    vertices, faces, points = [], [], 0
    for number, prim in enumerate(stage.Traverse(Usd.TraverseInstanceProxies())):
        if number == MAX_PRIMS:
            raise ValueError(f"has more than {MAX_PRIMS} prims")
        if prim.IsA(UsdGeom.Mesh):
            to_world = np.array(transforms.GetLocalToWorldTransform(prim)).T  # USD multiplies row vectors
            own_vertices, own_faces = _read_mesh(UsdGeom.Mesh(prim), to_world)
            faces.append(own_faces + points)
            vertices.append(own_vertices)
            points += len(own_vertices)
            if max(points, 3 * sum(map(len, faces))) > limits.SCAN_POINTS:
                raise ValueError(f"has more than {limits.SCAN_POINTS} points or face corners")
    if not points:
        raise ValueError("its stage has no mesh")
    unit = UsdGeom.GetStageMetersPerUnit(stage) if UsdGeom.StageHasAuthoredMetersPerUnit(stage) else 1.0
    in_metres = unit * np.concatenate(vertices)
    if UsdGeom.GetStageUpAxis(stage) == UsdGeom.Tokens.z:
        in_metres = in_metres[:, [0, 2, 1]] * [1, 1, -1]
    return in_metres, np.concatenate(faces)


def _read_mesh(mesh: object, to_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of a `UsdGeom.Mesh` in world units, and its triangles."""
    from pxr import Usd, UsdGeom

    first = Usd.TimeCode.EarliestTime()
    points = np.array(mesh.GetPointsAttr().Get(first) or [], np.float64).reshape(-1, 3)
    counts = np.array(mesh.GetFaceVertexCountsAttr().Get(first) or [], np.int64)
    corners = np.array(mesh.GetFaceVertexIndicesAttr().Get(first) or [], np.int64)
    if (counts < 3).any():
        raise ValueError(f"{mesh.GetPath()}: a face has {counts.min()} vertices")
    if counts.sum() != len(corners):
        raise ValueError(f"{mesh.GetPath()}: faceVertexCounts add up to {counts.sum()}, not to {len(corners)} indices")
    if len(corners) and not 0 <= corners.min() <= corners.max() < len(points):
        raise ValueError(f"{mesh.GetPath()}: faceVertexIndices up to {corners.max()}, but {len(points)} points")
    triangles = counts - 2
    first_corner = np.repeat(np.cumsum(counts) - counts, triangles)
    within_polygon = np.arange(len(first_corner)) - np.repeat(np.cumsum(triangles) - triangles, triangles)
    second_corner = first_corner + 1 + within_polygon
    faces = corners[np.stack([first_corner, second_corner, second_corner + 1], axis=1)]
    # A reflection turns the surface inside out, as the orientation does.
    left_handed = mesh.GetOrientationAttr().Get() == UsdGeom.Tokens.leftHanded
    if left_handed != (np.linalg.det(to_world[:3, :3]) < 0):
        faces = faces[:, ::-1]
    return points @ to_world[:3, :3].T + to_world[:3, 3], faces
