"""Record3D, ``.r3d``: a zip with all poses in one JSON file ``metadata``, and photos and depth maps in ``rgbd/``."""

from __future__ import annotations

import struct

import numpy as np
from jaxtyping import Float
from scipy.spatial.transform import Rotation

from p2vtools.capture.app_exports import NO_POINTS, Y_UP, Export, Frame, depth_to_points, to_array, to_camera, to_floats
from p2vtools.capture.export_archive import ExportArchive

MAX_DEPTH_MAP_SIZE = 2 * 2**20
"""Bytes of a compressed depth map; usual ones have 50,000 to 500,000."""


def read(archive: ExportArchive) -> Export:
    """Newer versions store the intrinsics of each frame, because the lens focuses.

    In recordings whose first pose is no rotation, the world is that of the first camera: the vertical is unknown.
    """
    root = archive.find_root("metadata")
    metadata = archive.read_json(f"{root}metadata")
    width, height = to_floats("metadata", metadata, "w h")
    intrinsics = to_array("metadata", "K", metadata.get("K"), (3, 3)).T  # by columns
    poses = to_array("metadata", "poses", metadata.get("poses"), (-1, 7))
    if len(poses) > 1 and not np.ptp(poses, axis=0).any():
        raise ValueError("metadata: all poses are equal, as those of the selfie camera; record with the LiDAR")
    up = Y_UP if np.abs(poses[:1, :3]).max(initial=0) > 1e-3 else None
    lenses = metadata.get("perFrameIntrinsicCoeffs")
    lenses = to_array("metadata", "perFrameIntrinsicCoeffs", lenses, (len(poses), 4)) if lenses else None
    frames = []
    for number, pose in enumerate(poses):
        photo = f"{root}rgbd/{number}.jpg"
        if photo not in archive:
            continue
        if not pose[:4].any():
            raise ValueError(f"{photo}: its pose is not a quaternion and a position; export it again")
        matrix = np.column_stack([Rotation.from_quat(pose[:4]).as_matrix(), pose[4:]])
        lens = intrinsics if lenses is None else lenses[number]
        frames.append(Frame(photo, to_camera(photo, matrix, lens, (width, height))))
    depth_maps = {frame.name.removesuffix(".jpg") + ".depth": frame.camera for frame in frames}
    depth_maps = {name: camera for name, camera in depth_maps.items() if name in archive}
    notes, points = [], NO_POINTS
    try:
        points = depth_to_points(
            depth_maps,
            lambda name: _decode(name, archive.read(name, MAX_DEPTH_MAP_SIZE), metadata.get("dw"), width / height),
        )
    except ImportError:
        notes.append("its depth maps are compressed with LZFSE, which needs the package pyliblzfse")
    return Export("record3d", frames, archive.open_photo, up, True, None, points, notes)


def _decode(name: str, content: bytes, columns: object, aspect: float) -> Float[np.ndarray, "rows columns"]:
    """Decodes a depth map: 32-bit floats compressed with LZFSE.

    Args:
        columns: width of the map if the metadata have it, otherwise None: then ``aspect``, width over height, gives it.

    Raises:
        ImportError: compressed, and the package pyliblzfse is missing.
        ValueError: not a depth map of this width.
    """
    values = _decompress(name, content)
    count = len(values) // 4
    columns = round(np.sqrt(count * aspect)) if columns is None else columns
    if not isinstance(columns, int) or columns < 1 or len(values) != 4 * columns * (count // columns) or not count:
        raise ValueError(f"{name}: {len(values)} bytes are no rows of {columns} depths; export it again")
    return np.frombuffer(values, dtype="<f4").astype(float).reshape(-1, columns)


def _decompress(name: str, content: bytes) -> bytes:
    blocks, position = [], 0
    while content[position : position + 4] == b"bvx-" and len(content) >= position + 8:  # an uncompressed block
        (size,) = struct.unpack_from("<I", content, position + 4)
        blocks.append(content[position + 8 : position + 8 + size])
        position += 8 + size
    if content[position : position + 4] == b"bvx$":
        return b"".join(blocks)
    import liblzfse

    try:
        return liblzfse.decompress(content)
    except liblzfse.error as error:
        raise ValueError(f"{name}: not compressed with LZFSE ({error}); export it again") from None
