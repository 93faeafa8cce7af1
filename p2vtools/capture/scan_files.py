"""Reads scans: triangle meshes in the common formats, USD, and the voxel shells that voxelisers write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Bool
from scipy import ndimage

from p2vlib.files import FileError, check_size, reading
from p2vlib.geometry.grids import to_mesh
from p2vtools import limits
from p2vtools.archives.binvox import read_binvox
from p2vtools.capture.usd_meshes import read_usd
from p2vtools.executor import read_in_process

USD_FORMATS = (".usdz", ".usdc", ".usda", ".usd")

SCAN_FORMATS = (".obj", ".glb", ".ply", ".stl", ".off", *USD_FORMATS, ".binvox")

USD_SECONDS = 60.0
"""Time limit for a USD file, to which a second per MiB is added."""

MAX_FACES = 400_000
"""Enough for a foot and its floor at a resolution of one millimetre; larger scans are decimated."""

MAX_GRID_SIZE = 384
"""Voxels along each side of a `.binvox`."""


def read_scan(path: Path) -> trimesh.Trimesh:
    """Reads the surface of a scan, decimated to about `MAX_FACES` triangles.

    Args:
        path: a file in one of `SCAN_FORMATS`. The shell in a `.binvox` is filled.

    Raises:
        ValueError: no such file, an unsupported format, a file that is too large or damaged, or no surface in it.
    """
    expected = f"expected a scan as {', '.join(SCAN_FORMATS)}"
    suffix = path.suffix.lower()
    check_size(path, limits.SCAN_BYTES, expected)
    if suffix not in SCAN_FORMATS:
        raise FileError(path, f"unsupported format {path.suffix or '(no extension)'}", expected)
    if suffix == ".binvox":
        vertices, faces = _read_voxels(path)
    elif suffix in USD_FORMATS:
        instead = "export the scan again, or as .glb, .obj or .ply"
        vertices, faces = read_in_process(read_usd, path, expected=instead, seconds=USD_SECONDS)
    elif suffix == ".glb":  # one mesh of the file can occur many times in its scene
        vertices, faces = read_in_process(_read_mesh, path, expected="export it again")
    else:
        vertices, faces = _read_mesh(path)
    if vertices.shape[1:] != (3,) or not np.isfinite(vertices).all():
        raise FileError(path, "vertices that are not three finite numbers", "export it again")
    if not len(faces):
        raise FileError(path, "no triangles", "mesh the point cloud in the app that exported it")
    if not 0 <= faces.min() <= faces.max() < len(vertices):
        raise FileError(path, f"a face has the vertex {faces.max()} of {len(vertices)}", "export it again")
    scan = trimesh.Trimesh(vertices, faces, process=False)
    with np.errstate(over="ignore", invalid="ignore"):
        area = scan.area
    if not 0 < area < np.inf:
        raise FileError(path, f"its triangles have an area of {area:g}", "expected the surface of a foot")
    return decimate(scan)


def _read_mesh(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Vertices and faces of a mesh in a format of trimesh."""
    with reading(path, "damaged or cut off: export it again"):
        scan = trimesh.load_mesh(path, process=False, skip_materials=True)
        return np.array(scan.vertices), np.array(getattr(scan, "faces", ()), np.int64).reshape(-1, 3)


def _read_voxels(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The surface of the solid that the occupied voxels of a `.binvox` form or enclose."""
    grid = read_binvox(path)
    if not grid.volume.any():
        raise FileError(path, "no voxel is occupied", "expected the shell or the solid of a scan")
    if grid.size > MAX_GRID_SIZE:
        raise FileError(path, f"{grid.size} voxels a side", f"the limit is {MAX_GRID_SIZE}: use a coarser grid")
    with reading(path, "expected the shell or the solid of a scan"):
        return to_mesh(ndimage.gaussian_filter(fill_shell(grid.volume).astype(np.float32), 0.8), grid.cube)


def fill_shell(shell: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """Fills what a shell encloses in space or within a layer across any axis.

    The layers close a leg that is open at its upper end.
    """
    solid = ndimage.binary_fill_holes(shell)
    for axis in range(3):
        layer = np.expand_dims(ndimage.generate_binary_structure(2, 1), axis)
        solid |= ndimage.binary_fill_holes(shell, structure=layer)
    return solid


def decimate(scan: trimesh.Trimesh, max_faces: int = MAX_FACES) -> trimesh.Trimesh:
    """Merges duplicate vertices, and simplifies a mesh with more than ``max_faces`` triangles.

    Vertices in one cell of a grid are replaced by their mean, and triangles that collapse are removed (vertex
    clustering, Rossignac and Borrel 1993).
    """
    vertices, faces = np.asarray(scan.vertices), np.asarray(scan.faces)
    if len(faces) <= max_faces:
        return trimesh.Trimesh(vertices, faces, process=True)
    used, corners = np.unique(faces, return_inverse=True)  # other vertices may be anywhere
    vertices, faces = vertices[used], corners.reshape(-1, 3)
    # A surface along the grid has two triangles per cell, an oblique one about three.
    cell_size = np.sqrt(3 * scan.area / max_faces)
    indices = np.floor((vertices - vertices.min(0)) / cell_size).astype(np.int64)
    flat_indices = np.ravel_multi_index(tuple(indices.T), tuple(indices.max(0) + 1))
    _, cells, counts = np.unique(flat_indices, return_inverse=True, return_counts=True)
    means = np.stack([np.bincount(cells, vertices[:, axis]) for axis in range(3)], axis=1) / counts[:, None]
    corners = cells[faces]
    distinct = (corners != np.roll(corners, 1, axis=1)).all(1)
    return trimesh.Trimesh(means, corners[distinct], process=False)
