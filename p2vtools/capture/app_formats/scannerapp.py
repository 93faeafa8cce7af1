"""3d Scanner App, "All Data": a JSON file per frame, photos of the keyframes, and ``textured_output.obj``."""

from __future__ import annotations

from p2vtools.capture.app_exports import Y_UP, Export, Frame, read_mesh, to_array, to_camera
from p2vtools.capture.export_archive import ExportArchive


def read(archive: ExportArchive) -> Export:
    """Skips the frames without a photo."""
    root = archive.find_root("frame_")
    frames, size = [], None
    for name in archive.list_files(f"{root}frame_", ".json"):
        photo = name.removesuffix(".json") + ".jpg"
        if photo not in archive:
            continue
        size = size or archive.open_photo(photo).size
        values = archive.read_json(name)
        pose = to_array(name, "cameraPoseARFrame", values.get("cameraPoseARFrame"), (4, 4))
        intrinsics = to_array(name, "intrinsics", values.get("intrinsics"), (3, 3))
        frames.append(Frame(photo, to_camera(name, pose, intrinsics, size)))
    scan = f"{root}textured_output.obj"
    mesh = read_mesh(archive, scan) if scan in archive else None
    return Export("scannerapp", frames, archive.open_photo, Y_UP, True, mesh)
