"""nerfstudio: ``transforms.json`` with all cameras, the photos that it lists, and a point cloud as PLY."""

from __future__ import annotations

import io
from pathlib import PurePosixPath

import numpy as np
import trimesh

from p2vlib.files import reading
from p2vtools.capture.app_exports import LENS_MODELS, UNDISTORT, Export, Frame, to_array, to_camera, to_floats
from p2vtools.capture.export_archive import ExportArchive

DISTORTION = "k1 k2 p1 p2 k3 k4"


def read(archive: ExportArchive) -> Export:
    """In metres, with z up, only if a phone has placed the frames: it measures their depth maps in the same unit.

    Without depth maps, or with the ``colmap_im_id`` of structure from motion, the scale is unknown: converters of
    Metashape, RealityCapture and OpenDroneMap leave no other trace.
    """
    root = archive.find_root("transforms.json")
    transforms = archive.read_json(f"{root}transforms.json")
    entries = transforms.get("frames")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError(f"{archive.path}: transforms.json has no list of frames; was it written by another program?")
    frames = [_frame(archive, root, transforms | entry) for entry in entries]  # the lens of a frame has precedence
    cloud, points = str(PurePosixPath(root) / str(transforms.get("ply_file_path", ""))), np.zeros((0, 3))
    if cloud in archive:
        with reading(archive.path / cloud, "expected a point cloud as PLY"):
            stored = trimesh.load(io.BytesIO(archive.read(cloud)), file_type="ply")
            points = np.asarray(stored.vertices, dtype=np.float64)
            points = points[np.isfinite(points).all(1)]
    metric = all("depth_file_path" in entry and "colmap_im_id" not in entry for entry in entries)
    up = np.array([0.0, 0, 1]) if metric else None
    notes = [] if metric else ["transforms.json has no depth maps of a phone, which would prove that it is in metres"]
    if cloud not in archive:
        notes.append("there is no point cloud (ply_file_path), and depth maps are not read: pass what the app exported")
    return Export("nerfstudio", frames, archive.open_photo, up, metric, points=points, notes=notes)


def _frame(archive: ExportArchive, root: str, values: dict) -> Frame:
    name = str(PurePosixPath(root) / str(values.get("file_path", "")))
    model = values.get("camera_model", "OPENCV")
    *distortion, k4 = to_floats(name, dict.fromkeys(DISTORTION.split(), 0) | values, DISTORTION)
    if model not in tuple(LENS_MODELS) or k4:
        raise ValueError(f"{archive.path}: transforms.json has the lens model {model}, k4 {k4:g}; {UNDISTORT}")
    *lens, width, height = to_floats(name, values, "fl_x fl_y cx cy w h")
    pose = to_array(name, "transform_matrix", values.get("transform_matrix"), (4, 4))
    return Frame(name, to_camera(name, pose, lens, (width, height)), np.array(distortion))
