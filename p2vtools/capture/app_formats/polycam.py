"""Polycam, "raw data": a JSON file per keyframe, with its photo and depth map, and a mesh where the phone has LiDAR."""

from __future__ import annotations

from pathlib import PurePosixPath

import numpy as np
import trimesh

from p2vtools.capture.app_exports import Y_UP, Export, Frame, depth_to_points, read_mesh, to_array, to_camera, to_floats
from p2vtools.capture.export_archive import ExportArchive


def read(archive: ExportArchive) -> Export:
    """Prefers the corrected cameras and photos, which exist once the app has processed the capture."""
    root = archive.find_root("keyframes/")
    corrected = "corrected_" if archive.list_files(f"{root}keyframes/corrected_cameras/", ".json") else ""
    frames = []
    for name in archive.list_files(f"{root}keyframes/{corrected}cameras/", ".json"):
        photo = f"{root}keyframes/{corrected}images/{PurePosixPath(name).stem}.jpg"
        frames.append(_frame(name, photo, archive.read_json(name)))
    mesh = _mesh(archive, root)
    notes = [] if mesh is not None else ["no raw.glb with mesh_info.json: the floor is found in the depth maps"]
    depth_maps = {f"{root}keyframes/depth/{PurePosixPath(frame.name).stem}.png": frame.camera for frame in frames}
    depth_maps = {name: camera for name, camera in depth_maps.items() if name in archive and mesh is None}
    points = depth_to_points(
        depth_maps,
        lambda name: np.asarray(archive.open_photo(name, as_stored=True), dtype=float) / 1000,  # mm
    )
    return Export("polycam", frames, archive.open_photo, Y_UP, True, mesh, points, notes)


def _frame(name: str, photo: str, values: dict) -> Frame:
    rows = [[values.get(f"t_{row}{column}") for column in range(4)] for row in range(3)]
    pose = to_array(name, "t_00 to t_23", rows, (3, 4))
    *lens, width, height = to_floats(name, values, "fx fy cx cy width height")
    score = values.get("blur_score")  # higher is sharper, despite its name
    sharpness = float(score) if isinstance(score, int | float) else None
    return Frame(photo, to_camera(name, pose, lens, (width, height)), sharpness=sharpness)


def _mesh(archive: ExportArchive, root: str) -> trimesh.Trimesh | None:
    """The mesh in the world of the cameras: the app centres and turns it for its viewer."""
    if f"{root}raw.glb" not in archive or f"{root}mesh_info.json" not in archive:
        return None
    info = archive.read_json(f"{root}mesh_info.json")
    alignment = to_array("mesh_info.json", "alignmentTransform", info.get("alignmentTransform"), (4, 4)).T  # by columns
    if not 0.9 < np.linalg.det(alignment[:3, :3]) < 1.1:
        raise ValueError(f"{archive.path}: alignmentTransform of mesh_info.json is not a rotation; export it again")
    return read_mesh(archive, f"{root}raw.glb").apply_transform(np.linalg.inv(alignment))
