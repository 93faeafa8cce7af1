"""What apps export: photos, the cameras they know, and often a mesh or depth, in the app's own frame and format.

Each reader turns one format into an `Export`; `placing` brings that into the foot's frame. Formats as documented or
written by Polycam (raw data), 3d Scanner App ("All Data"), Record3D (``.r3d``), nerfstudio (``transforms.json``) and
COLMAP (text or binary model). ARKit's world has y up and metres; its cameras look along -z, x along the device.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np
import trimesh
from jaxtyping import Float
from PIL import Image
from scipy.spatial.transform import Rotation

from p2vlib.geometry.cameras import Camera
from p2vtools.capture import APPS
from p2vtools.capture.archive import ExportArchive
from p2vtools.capture.depth_maps import LARGEST_MAP, NO_POINTS, points_of, record3d_depth
from p2vtools.capture.scan_files import read_scan

if TYPE_CHECKING:
    import pycolmap

TRANSFORMS = "transforms.json"

FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
"""From OpenGL's camera (y up, looking along -z) to OpenCV's."""

LENSES = {"SIMPLE_PINHOLE": 3, "PINHOLE": 4, "SIMPLE_RADIAL": 3, "RADIAL": 3, "OPENCV": 4, "FULL_OPENCV": 4}
"""COLMAP's camera models that OpenCV straightens, and after how many parameters their distortion is told."""

UNDISTORT = "undistort the photos first, with colmap image_undistorter or in the program that made them"

GRAVITY = np.array([0.0, 1.0, 0.0])
"""Up in ARKit's world."""


@dataclass(frozen=True, eq=False)
class Frame:
    """A photo and its camera."""

    name: str
    """In the bundle."""
    camera: Camera
    """Of the photo as it lies in its file, in the app's world."""
    distortion: Float[np.ndarray, " coefficients"] = field(default_factory=lambda: np.zeros(4))
    """OpenCV's coefficients."""
    sharpness: float | None = None
    """As the app measured it, in its own unit; more is sharper."""


@dataclass(frozen=True, eq=False)
class Export:
    """What an app knows of one capture, in its own world."""

    app: str
    frames: list[Frame]
    picture: Callable[[str, int], Image.Image]
    """Of a frame's name, as it lies in its file, or where that is possible at little more than so many pixels."""
    up: Float[np.ndarray, " 3"] | None
    """Against gravity; None where it was not measured."""
    metric: bool
    mesh: trimesh.Trimesh | None = None
    points: Float[np.ndarray, "points 3"] = field(default_factory=lambda: NO_POINTS)
    """Of surfaces, the floor's among them."""
    notes: list[str] = field(default_factory=list)


def read_export(app: str, path: Path) -> Export:
    """What ``app`` exported to ``path``, a folder or a zip.

    Raises:
        ValueError: an app that is not known, nothing of that app, something that does not fit together, a zip bomb.
    """
    readers = {"polycam": _polycam, "scannerapp": _scannerapp, "record3d": _record3d,
               "nerfstudio": _nerfstudio, "colmap": _colmap}  # fmt: skip
    if app not in readers:
        raise ValueError(f"no export of {app!r} is read; expected one of {', '.join(APPS)}")
    export = readers[app](ExportArchive(path.parent if path.name == TRANSFORMS else path))
    if not export.frames:
        raise ValueError(f"{path}: no photo with a camera in it; was it exported with its pictures?")
    return export


def _camera(name: str, pose: np.ndarray, lens: np.ndarray, size: Sequence[float], axes: np.ndarray = FLIP) -> Camera:
    """A camera of a camera-to-world ``pose``; rounding is taken out of its rotation."""
    if min(lens[0, 0], lens[1, 1], *size) <= 0:
        raise ValueError(f"{name}: focal length or size of its picture is not above zero; export it once more")
    turn, stretch, back = np.linalg.svd(pose[:3, :3])
    if abs(stretch - 1).max() > 0.01 or np.linalg.det(turn @ back) < 0:
        raise ValueError(f"{name}: where its camera looks is no rotation; export it once more")
    square = np.eye(4)
    square[:3, :3], square[:3, 3] = turn @ back, pose[:3, 3]
    return Camera(lens, np.linalg.inv(square @ axes), *map(int, size))


def _lens(fx: float, fy: float, cx: float, cy: float) -> Float[np.ndarray, "3 3"]:
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=float)


def _numbers(where: str, what: str, values: object, shape: tuple[int, ...]) -> np.ndarray:
    """Finite numbers in rows, of JSON that may hold anything."""
    try:
        numbers = np.array(values, dtype=float).reshape(shape)
    except (TypeError, ValueError, OverflowError):
        numbers = np.array(np.nan)
    if not np.isfinite(numbers).all():
        wanted = " x ".join(map(str, shape)).replace("-1", "any number of")
        raise ValueError(f"{where}: {what} should be {wanted} numbers and is not; is it the export of another app?")
    return numbers


def _listed(where: str, told: dict, keys: str) -> list[float]:
    return _numbers(where, keys, [told.get(key) for key in keys.split()], (len(keys.split()),)).tolist()


def _surface(bundle: ExportArchive, name: str) -> trimesh.Trimesh:
    with bundle.copied([name]) as folder:
        return read_scan(folder / PurePosixPath(name).name)


# -------------------------------------------------------------------------------------------------------------- readers


def _polycam(bundle: ExportArchive) -> Export:
    base = bundle.base_of("keyframes/")
    kind = "corrected_" if bundle.under(f"{base}keyframes/corrected_cameras/", ".json") else ""
    frames = []
    for name in bundle.under(f"{base}keyframes/{kind}cameras/", ".json"):
        told = bundle.json(name)
        rows = [[told.get(f"t_{row}{column}") for column in range(4)] for row in range(3)]
        pose = _numbers(name, "t_00 to t_23", rows, (3, 4))
        *lens, width, height = _listed(name, told, "fx fy cx cy width height")
        sharp = told.get("blur_score")  # lower is blurrier
        photo = f"{base}keyframes/{kind}images/{PurePosixPath(name).stem}.jpg"
        camera = _camera(name, pose, _lens(*lens), (width, height))
        frames.append(Frame(photo, camera, sharpness=float(sharp) if isinstance(sharp, int | float) else None))
    notes, mesh = [], None
    if f"{base}raw.glb" in bundle and f"{base}mesh_info.json" in bundle:
        told = bundle.json(f"{base}mesh_info.json")
        # The app turns and centres the mesh for its viewer; the matrix is told column by column.
        moved = _numbers("mesh_info.json", "alignmentTransform", told.get("alignmentTransform"), (4, 4)).T
        if not 0.9 < np.linalg.det(moved[:3, :3]) < 1.1:
            raise ValueError(f"{bundle.path}: alignmentTransform of mesh_info.json is no rotation; export it once more")
        mesh = _surface(bundle, f"{base}raw.glb").apply_transform(np.linalg.inv(moved))
    else:
        notes.append("no raw.glb with its mesh_info.json, so depth maps tell the floor")
    depths = {f"{base}keyframes/depth/{PurePosixPath(frame.name).stem}.png": frame.camera for frame in frames}
    depths = {name: camera for name, camera in depths.items() if name in bundle and mesh is None}
    points = points_of(depths, lambda name: np.asarray(bundle.picture(name), dtype=float) / 1000)
    return Export("polycam", frames, bundle.picture, GRAVITY, True, mesh, points, notes)


def _scannerapp(bundle: ExportArchive) -> Export:
    base = bundle.base_of("frame_")
    frames, size = [], None
    for name in bundle.under(f"{base}frame_", ".json"):
        photo = name.removesuffix(".json") + ".jpg"
        if photo not in bundle:  # pictures are kept of keyframes alone
            continue
        size = size or bundle.picture(photo).size
        told = bundle.json(name)
        pose = _numbers(name, "cameraPoseARFrame", told.get("cameraPoseARFrame"), (4, 4))
        lens = _numbers(name, "intrinsics", told.get("intrinsics"), (3, 3))
        frames.append(Frame(photo, _camera(name, pose, lens, size)))
    scan = f"{base}textured_output.obj"
    mesh = _surface(bundle, scan) if scan in bundle else None
    return Export("scannerapp", frames, bundle.picture, GRAVITY, True, mesh)


def _record3d(bundle: ExportArchive) -> Export:
    base = bundle.base_of("metadata")
    told = bundle.json(f"{base}metadata")
    width, height = _listed("metadata", told, "w h")
    first = _numbers("metadata", "K", told.get("K"), (3, 3)).T  # column by column
    poses = _numbers("metadata", "poses", told.get("poses"), (-1, 7))
    each = told.get("perFrameIntrinsicCoeffs")  # newer versions: the lens focuses
    each = _numbers("metadata", "perFrameIntrinsicCoeffs", each, (len(poses), 4)) if each else None
    frames = []
    for number, pose in enumerate(poses):
        photo = f"{base}rgbd/{number}.jpg"
        if photo not in bundle:
            continue
        if not pose[:4].any():
            raise ValueError(f"{photo}: its pose is no quaternion and place; export it once more")
        matrix = np.column_stack([Rotation.from_quat(pose[:4]).as_matrix(), pose[4:]])
        lens = first if each is None else _lens(*each[number])
        frames.append(Frame(photo, _camera(photo, matrix, lens, (width, height))))
    depths = {frame.name.removesuffix(".jpg") + ".depth": frame.camera for frame in frames}
    depths = {name: camera for name, camera in depths.items() if name in bundle}

    def read(name: str) -> np.ndarray:
        return record3d_depth(name, bundle.read(name, LARGEST_MAP), told.get("dw"), width / height)

    notes, points = [], NO_POINTS
    try:
        points = points_of(depths, read)
    except ImportError:
        notes.append("its depth maps are packed with LZFSE, which needs the package pyliblzfse")
    return Export("record3d", frames, bundle.picture, GRAVITY, True, None, points, notes)


def _nerfstudio(bundle: ExportArchive) -> Export:
    base = bundle.base_of(TRANSFORMS)
    told = bundle.json(f"{base}{TRANSFORMS}")
    listed = told.get("frames")
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise ValueError(f"{bundle.path}: {TRANSFORMS} has no list of frames; is it of another program?")
    frames = []
    for one in listed:
        whole = told | one  # a frame's own lens rules
        name = str(PurePosixPath(base) / str(one.get("file_path", "")))
        kind = whole.get("camera_model", "OPENCV")
        *bends, fourth = _listed(name, dict.fromkeys(("k1", "k2", "p1", "p2", "k3", "k4"), 0) | whole,
                                 "k1 k2 p1 p2 k3 k4")  # fmt: skip
        if kind not in LENSES or fourth:
            raise ValueError(f"{bundle.path}: {TRANSFORMS} has a lens {kind}, k4 {fourth:g}; {UNDISTORT}")
        *lens, width, height = _listed(name, whole, "fl_x fl_y cx cy w h")
        pose = _numbers(name, "transform_matrix", one.get("transform_matrix"), (4, 4))
        frames.append(Frame(name, _camera(name, pose, _lens(*lens), (width, height)), np.array(bends)))
    cloud = f"{base}{told.get('ply_file_path', '')}"
    points = _cloud(bundle, cloud) if cloud in bundle else NO_POINTS
    # Frames that structure from motion placed have its number; those that a phone placed are in metres, z up.
    placed = any("colmap_im_id" in one for one in listed)
    return Export("nerfstudio", frames, bundle.picture, None if placed else np.array([0.0, 0, 1]), not placed,
                  points=points)  # fmt: skip


def _cloud(bundle: ExportArchive, name: str) -> Float[np.ndarray, "points 3"]:
    with bundle.copied([name]) as folder:
        try:
            cloud = trimesh.load(folder / PurePosixPath(name).name)
        except Exception as error:
            raise ValueError(f"{name}: not points that can be read ({error}); expected PLY") from None
    points = np.asarray(cloud.vertices, dtype=np.float64)
    return points[np.isfinite(points).all(1)]


def _colmap(bundle: ExportArchive) -> Export:
    import pycolmap

    ending = ".bin" if any(name.endswith("images.bin") for name in bundle.names) else ".txt"
    base = bundle.base_of(f"images{ending}")
    needed = [f"{base}{part}{ending}" for part in ("cameras", "images", "points3D")]
    more = [name for part in ("rigs", "frames") if (name := f"{base}{part}{ending}") in bundle]
    with bundle.copied([*needed, *more]) as folder:
        if ending == ".bin":
            _check_whole(folder / "images.bin", 64, True, 24)
            _check_whole(folder / "points3D.bin", 43, False, 8)
        try:
            model = pycolmap.Reconstruction(str(folder))
        except Exception as error:
            raise ValueError(f"{folder}: no model of COLMAP that can be read ({error}); export it once more") from None
    frames, points = of_model(model)
    # Pictures are in a folder images beside the model, or beside the folder sparse that it is in.
    around = ["", *(f"{folder}/" for folder in PurePosixPath(base).parents if folder.name), base]
    places = [f"{folder}images/" for folder in around] + around
    known = {frame.name: place for frame in frames for place in places if place + frame.name in bundle}
    if missing := [frame.name for frame in frames if frame.name not in known]:
        raise ValueError(f"{bundle.path}: has no picture {missing[0]}, for which its model has a camera; expected the"
                         " pictures in a folder images beside the model")  # fmt: skip
    frames = [replace(frame, name=known[frame.name] + frame.name) for frame in frames]
    return Export("colmap", frames, bundle.picture, None, False, points=points)


def _check_whole(path: Path, fixed: int, named: bool, each: int) -> None:
    """pycolmap reads on beyond the end of a file that is cut off or lies about its counts.

    Args:
        fixed: bytes with which every record begins; a name that a zero ends follows if it is ``named``, then a count,
            and for each of that so many bytes.
    """
    content = path.read_bytes()
    try:
        (count,), at = struct.unpack_from("<Q", content), 8
        for _ in range(count):
            at += fixed
            at = content.index(b"\0", at) + 1 if named else at
            (held,) = struct.unpack_from("<Q", content, at)
            at += 8 + each * held
    except (struct.error, ValueError, OverflowError):
        at = len(content) + 1
    if at > len(content):
        raise ValueError(f"{path}: ends before all that it counts; export it once more")


def of_model(model: pycolmap.Reconstruction) -> tuple[list[Frame], Float[np.ndarray, "points 3"]]:
    """Photos and cameras of what structure from motion registered, and its points, in the model's own frame and scale.

    Raises:
        ValueError: a lens that is not read.
    """
    frames = []
    for image in sorted((image for image in model.images.values() if image.has_pose), key=lambda image: image.name):
        lens = model.cameras[image.camera_id]
        kind = lens.model.name
        if kind not in LENSES:
            raise ValueError(f"{image.name}: was taken with a lens {kind}; {UNDISTORT}")
        pose = np.vstack([image.cam_from_world().matrix(), [0, 0, 0, 1]])
        size = (int(lens.width), int(lens.height))
        camera = _camera(image.name, np.linalg.inv(pose), lens.calibration_matrix(), size, np.eye(4))
        bends = np.zeros(8)
        told = lens.params[LENSES[kind] :]
        bends[: len(told)] = told
        frames.append(Frame(image.name, camera, bends))
    points = np.array([point.xyz for point in model.points3D.values()], dtype=float).reshape(-1, 3)
    return frames, points
