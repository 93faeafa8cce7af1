"""Voxel grids in files of the format ``.binvox`` (P. Min)."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np

from p2vlib.files import FileError, check_size, reading
from p2vlib.geometry.frames import Cube
from p2vlib.geometry.grids import VoxelGrid

GRID_SIZE = 512
"""Largest voxel grid that is read, voxels along each edge."""

MAX_RUN = 255
"""Voxels in one run of the format."""

MAX_HEADER = 4096
"""Bytes searched for the end of the header."""


def write_binvox(path: Path, grid: VoxelGrid) -> None:
    """Writes ``.binvox`` (version 1, P. Min); ``translate`` and ``scale`` are the lower corner and edge of the cube."""
    voxels = grid.volume.transpose(0, 2, 1).ravel()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(voxels)) + 1])
    lengths = np.diff(starts, append=voxels.size)
    # A run longer than 255 becomes runs of 255 and a remainder of at least 1.
    pieces = (lengths - 1) // MAX_RUN + 1
    pairs = np.empty((pieces.sum(), 2), dtype=np.uint8)
    pairs[:, 0] = np.repeat(voxels[starts], pieces)
    pairs[:, 1] = MAX_RUN
    pairs[np.cumsum(pieces) - 1, 1] = (lengths - 1) % MAX_RUN + 1
    corner = " ".join(_shortest(value) for value in grid.cube.lower)
    dims = " ".join([str(grid.size)] * 3)
    header = f"#binvox 1\ndim {dims}\ntranslate {corner}\nscale {_shortest(grid.cube.edge)}\ndata\n"
    path.write_bytes(header.encode("ascii") + pairs.tobytes())


def _shortest(value: float) -> str:
    """The shortest decimal that reads back as ``value``; integers without a point, as binvox writes them."""
    return repr(float(value)).removesuffix(".0")


def read_binvox(path: Path) -> VoxelGrid:
    """Reads ``.binvox``, version 1 or 2 (in which any value from 1 to 255 is occupied).

    Some phone tools omit voxels at the end: a file that ends in an empty run and lacks at most one layer, or ends with
    a complete empty layer, is completed with empty voxels and a warning.

    Raises:
        FileError: no such file, not binvox, a grid that is not cubic or has more voxels per edge than
            `GRID_SIZE`, or runs that do not fill it.
    """
    check_size(path, 2 * GRID_SIZE**3, "expected a .binvox file")
    content = path.read_bytes()
    version, size, cube, start = _parse_header(path, content)
    if (len(content) - start) % 2:
        raise FileError(path, "ends in the middle of a (value, count) pair", "the file is cut off: download it again")
    values, counts = np.frombuffer(content, dtype=np.uint8, offset=start).reshape(-1, 2).T
    if (counts == 0).any() or (version == 1 and (values > 1).any()):
        reason = "runs of no voxels, or values above 1 in version 1"
        raise FileError(path, reason, "the file is damaged: download it again")
    found, expected = int(counts.sum(dtype=np.int64)), size**3
    if found > expected:
        raise FileError(path, f"its runs add up to {found} voxels", f"dim {size} expects {expected}: it is damaged")
    voxels = np.repeat(values > 0, counts)
    if found < expected:
        missing, layer = expected - found, size**2
        ends_empty = found > 0 and not voxels[-1]
        if not (ends_empty and voxels.any() and (missing <= layer or not voxels[-layer:].any())):
            raise FileError(
                path,
                f"its runs add up to {found} voxels",
                f"dim {size} expects {expected}, and the missing ones may not be empty; it is cut off: get it again",
            )
        warnings.warn(f"{path}: {missing} voxels are missing at the end; assumed empty", stacklevel=2)
        voxels = np.pad(voxels, (0, missing))
    return VoxelGrid(np.ascontiguousarray(voxels.reshape(size, size, size).transpose(0, 2, 1)), cube)


def _parse_header(path: Path, content: bytes) -> tuple[int, int, Cube, int]:
    """Version, voxels per edge, cube, and the offset of the runs."""
    magic = re.match(rb"#binvox ([12])\r?\n", content)
    if not magic:
        raise FileError(path, f"starts with {content[:12]!r}", "expected '#binvox 1' or '#binvox 2'")
    end = re.compile(rb"\ndata\r?\n").search(content, 0, MAX_HEADER)
    if not end:
        raise FileError(path, "no line 'data' after the header", "the file is cut off or not binvox")
    lines = [line.split() for line in content[magic.end() : end.start()].decode("ascii", "replace").splitlines()]
    fields = {words[0]: words[1:] for words in lines if words}
    expected = f"expected dim d d d with d from 1 to {GRID_SIZE}, translate x y z and scale s"
    with reading(path, expected):
        dims, corner = [int(word) for word in fields["dim"]], tuple(float(word) for word in fields["translate"])
        (edge,) = (float(word) for word in fields["scale"])
        if len(dims) != 3 or len(set(dims)) != 1 or not 1 <= dims[0] <= GRID_SIZE or len(corner) != 3:
            raise FileError(path, f"dim {dims}, translate {corner}", expected)
        return int(magic[1]), dims[0], Cube(corner, edge), end.end()
