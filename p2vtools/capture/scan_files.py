"""Reading what an app exports: meshes of every usual kind, packages of Apple's, and the shells that voxelisers make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Bool
from scipy import ndimage

from p2vlib.geometry.grids import read_binvox, to_mesh
from p2vtools.capture.usd import read_usdz

SCANS = (".obj", ".glb", ".ply", ".stl", ".off", ".usdz", ".binvox")

LARGEST_SCAN = 512 * 2**20
"""Bytes."""

MOST_FACES = 400_000
"""A foot and its floor in millimetres have no more; of more, corners that are near each other become one."""

MOST_VOXELS = 384
"""Along each side."""


def read_scan(path: Path) -> trimesh.Trimesh:
    """A scan's surface, with at most about `MOST_FACES` triangles.

    OBJ, GLB, PLY, STL, OFF, USDZ with a stage as text, or the shell of a `.binvox`, filled.

    Raises:
        ValueError: no such file, a kind that is not read, or one without a surface.
    """
    wanted = f"expected a scan as {', '.join(SCANS)}"
    if not path.is_file():
        raise ValueError(f"{path}: no such file; {wanted}")
    if path.suffix.lower() not in SCANS:
        raise ValueError(f"{path}: cannot read {path.suffix or 'a file without ending'}; {wanted}")
    if not 0 < path.stat().st_size <= LARGEST_SCAN:
        found = f"{path.stat().st_size / 2**20:,.0f} MiB" if path.stat().st_size else "an empty file"
        raise ValueError(f"{path}: {found}; {wanted} of at most {LARGEST_SCAN / 2**20:.0f} MiB: export it again")
    scan = {".binvox": _read_voxels, ".usdz": _read_package}.get(path.suffix.lower(), _read_mesh)(path)
    if not np.isfinite(scan.vertices).all():
        raise ValueError(f"{path}: has corners that are no numbers; export it again")
    if not scan.area > 0:
        raise ValueError(f"{path}: its triangles have no area; expected the surface of a foot")
    return decimate(scan)


def _read_package(path: Path) -> trimesh.Trimesh:
    return read_usdz(path, LARGEST_SCAN)


def _read_mesh(path: Path) -> trimesh.Trimesh:
    try:
        scan = trimesh.load_mesh(path, process=False, skip_materials=True)
    except Exception as error:
        told = str(error).splitlines()[0] if str(error) else repr(error)
        raise ValueError(f"{path}: cannot be read, damaged or cut off ({told}); export it again") from None
    if not isinstance(scan, trimesh.Trimesh) or not len(scan.faces):
        raise ValueError(f"{path}: holds no triangles; a point cloud has to be meshed by the app that made it")
    return scan


def _read_voxels(path: Path) -> trimesh.Trimesh:
    """The surface of what the voxels of a `.binvox` are or enclose."""
    grid = read_binvox(path)
    if not grid.volume.any():
        raise ValueError(f"{path}: no voxel of it is occupied; expected the shell or the solid of a scan")
    if grid.size > MOST_VOXELS:
        raise ValueError(f"{path}: {grid.size} voxels a side; at most {MOST_VOXELS} are read: voxelise it coarser")
    vertices, faces = to_mesh(ndimage.gaussian_filter(fill_shell(grid.volume).astype(np.float32), 0.8), grid.cube)
    return trimesh.Trimesh(vertices, faces, process=False)


def fill_shell(shell: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """What a shell encloses, in space or in a layer across any axis: a leg cut open is still closed in its layers."""
    solid = ndimage.binary_fill_holes(shell)
    for axis in range(3):
        layer = np.expand_dims(ndimage.generate_binary_structure(2, 1), axis)
        solid |= ndimage.binary_fill_holes(shell, structure=layer)
    return solid


def decimate(scan: trimesh.Trimesh, most: int = MOST_FACES) -> trimesh.Trimesh:
    """The scan with its repeated corners made one, and with larger triangles where it has more than ``most``.

    Corners in one cell of a grid become their mean, and triangles that lose their area go (Rossignac, Borrel 1993).
    """
    vertices, faces = np.asarray(scan.vertices), np.asarray(scan.faces)
    if len(faces) <= most:
        return trimesh.Trimesh(vertices, faces, process=True)
    # A surface that lies along the grid has two triangles to a cell, and one that lies aslant half as many again.
    cell = np.sqrt(3 * scan.area / most)
    places = np.floor((vertices - vertices.min(0)) / cell).astype(np.int64)
    numbers = np.ravel_multi_index(tuple(places.T), tuple(places.max(0) + 1))
    _, cells, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    means = np.stack([np.bincount(cells, vertices[:, axis]) for axis in range(3)], axis=1) / counts[:, None]
    corners = cells[faces]
    kept = (corners != np.roll(corners, 1, axis=1)).all(1)
    return trimesh.Trimesh(means, corners[kept], process=False)
