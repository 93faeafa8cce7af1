"""Depth maps of a phone: points in the world, by which the floor is found where an app exports no mesh."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float

from p2vlib.geometry.cameras import Camera

MOST_MAPS, GRID = 16, 48
"""So many depth maps are read, and so many places along either side of each."""

NEAREST, FARTHEST = 0.1, 3.0
"""Metres between which a depth is believed."""

LARGEST_MAP = 2 * 2**20
"""Bytes of a packed depth map: one of Record3D has 50 000 to 500 000."""

NO_POINTS = np.zeros((0, 3))


def points_of(
    cameras: Mapping[str, Camera], read: Callable[[str], Float[np.ndarray, "rows columns"]]
) -> Float[np.ndarray, "points 3"]:
    """Points in the world that some of the depth maps tell.

    Args:
        cameras: name of a depth map -> camera of the photo that was taken with it, of any size.
        read: distance before the camera, metres, of everything that a map of this name shows.
    """
    points = [NO_POINTS]
    for name in list(cameras)[:: -(-len(cameras) // MOST_MAPS) or 1]:
        depth = read(name)
        camera = cameras[name].resized(depth.shape[1], depth.shape[0])
        across, down = (np.linspace(0, edge - 1, GRID).astype(int) for edge in (camera.width, camera.height))
        across, down = (grid.ravel() for grid in np.meshgrid(across, down))
        away = depth[down, across]
        kept = (away > NEAREST) & (away < FARTHEST)
        rays = np.stack([across + 0.5, down + 0.5, np.ones(len(down))]) * away
        before = np.linalg.solve(camera.intrinsics, rays[:, kept])
        points.append((before.T - camera.extrinsics[:3, 3]) @ camera.extrinsics[:3, :3])
    return np.concatenate(points)


def record3d_depth(name: str, content: bytes, across: object, shape: float) -> Float[np.ndarray, "rows columns"]:
    """A depth map as Record3D packs it: LZFSE over 32-bit floats.

    Args:
        across: pixels of a row, where the app tells them; else ``shape``, width over height, tells them.

    Raises:
        ImportError: packed, and the package pyliblzfse is not there.
        ValueError: something else.
    """
    values = _unpacked(name, content)
    count = len(values) // 4
    across = round(np.sqrt(count * shape)) if across is None else across
    if not isinstance(across, int) or across < 1 or len(values) != 4 * across * (count // across) or not count:
        raise ValueError(f"{name}: {len(values)} bytes are no rows of {across} depths; export it once more")
    return np.frombuffer(values, dtype="<f4").astype(float).reshape(-1, across)


def _unpacked(name: str, content: bytes) -> bytes:
    plain, at = [], 0
    while content[at : at + 4] == b"bvx-" and len(content) >= at + 8:  # a block that was left as it is
        (size,) = struct.unpack_from("<I", content, at + 4)
        plain.append(content[at + 8 : at + 8 + size])
        at += 8 + size
    if content[at : at + 4] == b"bvx$":
        return b"".join(plain)
    import liblzfse

    try:
        return liblzfse.decompress(content)
    except liblzfse.error as error:
        raise ValueError(f"{name}: not packed as Record3D does ({error}); export it once more") from None
