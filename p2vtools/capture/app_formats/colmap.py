"""COLMAP: a model as binary or text files ``cameras``, ``images`` and ``points3D``, and a folder of photos."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from p2vtools.capture.app_exports import LENS_MODELS, OPENCV, UNDISTORT, Export, Frame, to_camera
from p2vtools.capture.export_archive import ExportArchive

if TYPE_CHECKING:
    import pycolmap


def read(archive: ExportArchive) -> Export:
    """The model has neither a scale nor a vertical direction."""
    import pycolmap

    extension = ".bin" if any(name.endswith("images.bin") for name in archive.names) else ".txt"
    root = archive.find_root(f"images{extension}")
    required = [f"{root}{part}{extension}" for part in ("cameras", "images", "points3D")]
    optional = [name for part in ("rigs", "frames") if (name := f"{root}{part}{extension}") in archive]
    with archive.extracted([*required, *optional]) as folder:
        if extension == ".bin":
            _check_records(folder / "images.bin", 64, True, 24)
            _check_records(folder / "points3D.bin", 43, False, 8)
        try:
            model = pycolmap.Reconstruction(str(folder))
        except Exception as error:
            raise ValueError(f"{folder}: not a readable COLMAP model ({error}); export it again") from None
    frames, points = frames_from_model(model)
    # Photos are in a folder images next to the model, or next to one of its parent folders, such as sparse.
    parents = ["", *(f"{folder}/" for folder in PurePosixPath(root).parents if folder.name), root]
    folders = [f"{parent}images/" for parent in parents] + parents
    photos = {frame.name: folder for frame in frames for folder in folders if folder + frame.name in archive}
    if missing := [frame.name for frame in frames if frame.name not in photos]:
        raise ValueError(
            f"{archive.path}: has no photo {missing[0]}, for which the model has a camera; expected the photos in a"
            " folder images next to the model"
        )
    frames = [replace(frame, name=photos[frame.name] + frame.name) for frame in frames]
    return Export("colmap", frames, archive.open_photo, None, False, points=points)


def _check_records(path: Path, fixed_size: int, has_name: bool, item_size: int) -> None:
    """Checks that a file has all records that it counts; pycolmap reads beyond the end of one that does not.

    Args:
        fixed_size: bytes at the start of a record.
        has_name: whether a zero-terminated name follows.
        item_size: bytes of each item in the list at the end of a record, which begins with its length.
    """
    content = path.read_bytes()
    try:
        (records,), position = struct.unpack_from("<Q", content), 8
        for _ in range(records):
            position += fixed_size
            position = content.index(b"\0", position) + 1 if has_name else position
            (items,) = struct.unpack_from("<Q", content, position)
            position += 8 + item_size * items
    except (struct.error, ValueError, OverflowError):
        position = len(content) + 1
    if position > len(content):
        raise ValueError(f"{path}: is shorter than its counts require; export it again")


def frames_from_model(model: pycolmap.Reconstruction) -> tuple[list[Frame], Float[np.ndarray, "points 3"]]:
    """The registered photos of a model with their cameras, and its points, in the frame and scale of the model.

    Raises:
        ValueError: an unsupported lens model.
    """
    frames = []
    for image in sorted((image for image in model.images.values() if image.has_pose), key=lambda image: image.name):
        lens = model.cameras[image.camera_id]
        kind = lens.model.name
        if kind not in LENS_MODELS:
            raise ValueError(f"{image.name}: unsupported lens model {kind}; {UNDISTORT}")
        pose = np.vstack([image.cam_from_world().matrix(), [0, 0, 0, 1]])
        size = (int(lens.width), int(lens.height))
        camera = to_camera(image.name, np.linalg.inv(pose), lens.calibration_matrix(), size, OPENCV)
        distortion = np.zeros(8)
        coefficients = lens.params[LENS_MODELS[kind] :]
        distortion[: len(coefficients)] = coefficients
        frames.append(Frame(image.name, camera, distortion))
    points = np.array([point.xyz for point in model.points3D.values()], dtype=float).reshape(-1, 3)
    return frames, points
