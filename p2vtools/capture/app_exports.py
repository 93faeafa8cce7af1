"""Exports of capture apps: photos, their cameras, and a mesh or points where the app has them.

`read_export` calls the reader of the app in `p2vtools.capture.app_formats`. All readers return an `Export` in the world
of the app, which `p2vtools.capture.export_capture` transforms to the frame of the foot. Phone apps use the world of
ARKit: metres, y up; its cameras have OpenGL axes, with x along the long side of the device.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import trimesh
from jaxtyping import Float
from PIL import Image

from p2vlib.files import FileError, reading
from p2vlib.geometry.cameras import Camera
from p2vtools.capture.export_archive import ExportArchive
from p2vtools.capture.scan_files import read_scan

OPENGL, OPENCV = np.diag([1.0, -1.0, -1.0, 1.0]), np.eye(4)
"""From the axes of a camera to those of OpenCV. An OpenGL camera has y up and looks along -z."""

LENS_MODELS = {"SIMPLE_PINHOLE": 3, "PINHOLE": 4, "SIMPLE_RADIAL": 3, "RADIAL": 3, "OPENCV": 4, "FULL_OPENCV": 4}
"""Camera models of COLMAP that OpenCV can undistort, and the number of parameters before the distortion."""

UNDISTORT = "undistort the photos first, with colmap image_undistorter or in the program that made them"

WITHOUT_MAT = "photograph the foot on a mat or a sheet of paper, or on an irregular pattern with 15 to 30 photos"
"""What to do if photos without a mat cannot be used."""

Y_UP = np.array([0.0, 1.0, 0.0])

NO_POINTS = np.zeros((0, 3))

MAX_DEPTH_MAPS, DEPTH_GRID = 16, 48
"""Depth maps that are read, and samples along either side of each."""

MIN_DEPTH, MAX_DEPTH = 0.1, 3.0
"""Range of valid depths, metres."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A photo and its camera."""

    name: str
    """In the archive."""
    camera: Camera
    """Of the photo as stored, in the world of the app."""
    distortion: Float[np.ndarray, " coefficients"] = field(default_factory=lambda: np.zeros(4))
    """Coefficients of OpenCV."""
    sharpness: float | None = None
    """As measured by the app, in its own unit; higher is sharper."""


@dataclass(frozen=True, eq=False)
class Export:
    """The export of one capture, in the world of the app."""

    app: str
    frames: list[Frame]
    open_photo: Callable[[str, int], Image.Image]
    """Opens the photo of a frame by its name, as stored, or not much larger than so many pixels where possible."""
    up: Float[np.ndarray, " 3"] | None
    """Against gravity; None where it was not measured."""
    metric: bool
    """Whether the world is in metres, as the phone's tracking gives it."""
    mesh: trimesh.Trimesh | None = None
    points: Float[np.ndarray, "points 3"] = field(default_factory=lambda: NO_POINTS)
    """On surfaces, including the floor."""
    notes: list[str] = field(default_factory=list)


def read_export(app: str, path: Path) -> Export:
    """Reads what ``app`` exported.

    Args:
        app: one of `app_formats.APPS`.
        path: a folder, a zip, or a JSON file in the folder.

    Raises:
        ValueError: an export of another app, inconsistent or damaged content, or a zip bomb.
    """
    reader = importlib.import_module(f"p2vtools.capture.app_formats.{app}")
    with reading(path, f"expected what {app} exports: export it again"):
        export = reader.read(ExportArchive(path.parent if path.suffix == ".json" else path))
    if not export.frames:
        raise FileError(path, "no photo with a camera", "was it exported with its photos?")
    return export


# --------------------------------------------------------------------------------------------------- helpers of readers


def to_camera(
    name: str, pose: np.ndarray, lens: Sequence[float] | np.ndarray, size: Sequence[float], axes: np.ndarray = OPENGL
) -> Camera:
    """The camera with this camera-to-world ``pose``, whose rotation is made orthogonal.

    Args:
        name: for error messages.
        lens: the intrinsic matrix, or fx, fy, cx, cy in pixels.
        size: width and height in pixels.
    """
    intrinsics = np.array(lens, dtype=float)
    if intrinsics.shape == (4,):
        intrinsics = np.array([[lens[0], 0, lens[2]], [0, lens[1], lens[3]], [0, 0, 1]], dtype=float)
    left, stretch, right = np.linalg.svd(pose[:3, :3])
    if abs(stretch - 1).max() > 0.01 or np.linalg.det(left @ right) < 0:
        raise ValueError(f"{name}: the pose of its camera is not a rotation; export it again")
    rigid = np.eye(4)
    rigid[:3, :3], rigid[:3, 3] = left @ right, pose[:3, 3]
    try:
        return Camera(intrinsics, np.linalg.inv(rigid @ axes), *map(int, size))
    except ValueError as error:
        raise ValueError(f"{name}: {error}; export it again") from None


def to_array(where: str, key: str, values: object, shape: tuple[int, ...]) -> np.ndarray:
    """Converts a value of a JSON file, of any type, to finite numbers of this shape."""
    try:
        numbers = np.array(values, dtype=float).reshape(shape)
    except (TypeError, ValueError, OverflowError):
        numbers = np.array(np.nan)
    if not np.isfinite(numbers).all():
        expected = " x ".join(map(str, shape)).replace("-1", "any number of")
        raise ValueError(f"{where}: {key} is not an array of {expected} numbers; is it the export of another app?")
    return numbers


def to_floats(where: str, values: Mapping[str, object], keys: str) -> list[float]:
    """The numbers under ``keys``, separated by blanks, of an object of a JSON file."""
    names = keys.split()
    return to_array(where, keys, [values.get(name) for name in names], (len(names),)).tolist()


def read_mesh(archive: ExportArchive, name: str) -> trimesh.Trimesh:
    """Reads a mesh from the archive with `read_scan`."""
    with archive.extracted([name]) as folder:
        return read_scan(folder / PurePosixPath(name).name)


def depth_to_points(
    cameras: Mapping[str, Camera], read: Callable[[str], Float[np.ndarray, "rows columns"]]
) -> Float[np.ndarray, "points 3"]:
    """Unprojects samples of at most `MAX_DEPTH_MAPS` depth maps to the world.

    Args:
        cameras: name of a depth map -> camera of its photo, which may have another size.
        read: returns the depth map of a name: depth along the optical axis, metres.
    """
    points = [NO_POINTS]
    for name in list(cameras)[:: -(-len(cameras) // MAX_DEPTH_MAPS) or 1]:
        depth = read(name)
        camera = cameras[name].resized(depth.shape[1], depth.shape[0])
        across, down = (np.linspace(0, edge - 1, DEPTH_GRID).astype(int) for edge in (camera.width, camera.height))
        across, down = (grid.ravel() for grid in np.meshgrid(across, down))
        sampled = depth[down, across]
        valid = (sampled > MIN_DEPTH) & (sampled < MAX_DEPTH)
        pixels = np.stack([across + 0.5, down + 0.5, np.ones(len(down))]) * sampled
        in_camera = np.linalg.solve(camera.intrinsics, pixels[:, valid])
        points.append((in_camera.T - camera.extrinsics[:3, 3]) @ camera.extrinsics[:3, :3])
    return np.concatenate(points)
