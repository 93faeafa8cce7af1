"""COLMAP: a model as binary or text files ``cameras``, ``images`` and ``points3D``, and a folder of photos."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from p2vlib.files import FileError
from p2vtools.capture.app_exports import LENS_MODELS, OPENCV, UNDISTORT, Export, Frame, to_array, to_camera
from p2vtools.capture.export_archive import ExportArchive
from p2vtools.executor import read_in_process

if TYPE_CHECKING:
    import pycolmap


def read(archive: ExportArchive) -> Export:
    """The model has neither a scale nor a vertical direction."""
    extension = ".bin" if any(name.endswith("images.bin") for name in archive.names) else ".txt"
    root = archive.find_root(f"images{extension}")
    required = [f"{root}{part}{extension}" for part in ("cameras", "images", "points3D")]
    optional = [name for part in ("rigs", "frames") if (name := f"{root}{part}{extension}") in archive]
    with archive.extracted([*required, *optional]) as folder:
        frames, points = read_in_process(_read_model, folder, expected="expected a COLMAP model: export it again")
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


def _read_model(folder: Path) -> tuple[list[Frame], Float[np.ndarray, "points 3"]]:
    """As `frames_from_model`, for the files in ``folder``.

    pycolmap takes what it finds beyond the end of a file for cameras, so the model is written again and compared.
    """
    import pycolmap

    model = pycolmap.Reconstruction(str(folder))
    with tempfile.TemporaryDirectory() as copy:
        model.write_binary(copy)
        for file in folder.glob("*.bin"):
            found, expected = (path.stat().st_size for path in (file, Path(copy) / file.name))
            if found != expected:
                raise FileError(file, f"{found} bytes", f"its content needs {expected}: export it again")
    return frames_from_model(model)


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
        distortion[: len(coefficients)] = to_array(image.name, "the distortion", coefficients, (-1,))
        frames.append(Frame(image.name, camera, distortion))
    points = np.array([point.xyz for point in model.points3D.values()], dtype=float).reshape(-1, 3)
    return frames, points
