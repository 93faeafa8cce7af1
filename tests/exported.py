"""Exports as apps document them, written from a foot whose cameras are known."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pycolmap
import trimesh
from PIL import Image
from scipy.spatial.transform import Rotation

from p2vlib.geometry.cameras import Camera

LONG, SHORT, VIEWS = 320, 240, 8
"""Pixels of a phone's sensor, and photos of the walk."""

BENDS = np.array([-0.08, 0.01, 0.001, -0.001])
"""A lens that bends, as OpenCV counts."""

FLIP = np.diag([1.0, -1, -1, 1])


def somewhere(seed: int, up: str = "y") -> np.ndarray:
    """From the foot's frame to an app's world: level, anywhere."""
    rng = np.random.default_rng(seed)
    world = np.eye(4)
    world[:3, :3] = Rotation.from_euler("y", rng.uniform(60, 300), degrees=True).as_matrix()
    world[:3, 3] = rng.uniform(-1, 1, 3) + [0, -1.2, 0]
    return world if up == "y" else np.array([[0.0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]) @ world


def poses(cameras: list[Camera], world: np.ndarray) -> list[np.ndarray]:
    """Camera to the app's world, OpenGL's axes."""
    return [world @ np.linalg.inv(camera.extrinsics) @ FLIP for camera in cameras]


def save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, quality=95)


def write_json(path: Path, told: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(told))


def zipped(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(folder))
    return path


# ------------------------------------------------------------------------------------------------------ what apps write


def polycam(folder: Path, world, cameras, pictures, scan=None, depths=()) -> Path:
    """Raw data: a zip with a folder of the capture's name in it."""
    inside = folder / "raw" / "Foot 12.03.26"
    for number, (camera, pose, picture) in enumerate(zip(cameras, poses(cameras, world), pictures, strict=True)):
        stamp = 7_000_000 + 40_000 * number
        told = {f"t_{row}{column}": pose[row, column] for row in range(3) for column in range(4)}
        lens = camera.intrinsics
        told |= {"fx": lens[0, 0], "fy": lens[1, 1], "cx": lens[0, 2], "cy": lens[1, 2], "width": LONG, "height": SHORT}
        write_json(inside / f"keyframes/corrected_cameras/{stamp}.json", told | {"blur_score": 100.0 + number})
        write_json(inside / f"keyframes/cameras/{stamp}.json", told | {"t_03": 9.9, "blur_score": 100.0})
        save(inside / f"keyframes/corrected_images/{stamp}.jpg", picture)
        if len(depths):
            depth = np.round(1000 * depths[number][2::4, 2::4]).astype(np.uint16)
            (inside / "keyframes/depth").mkdir(exist_ok=True)
            Image.fromarray(depth).save(inside / f"keyframes/depth/{stamp}.png")
    if scan is not None:
        aligned = np.linalg.inv(somewhere(77))
        mesh = scan.copy().apply_transform(aligned @ world)
        trimesh.Trimesh(mesh.vertices, mesh.faces).export(inside / "raw.glb")
        write_json(inside / "mesh_info.json", {"alignmentTransform": aligned.T.ravel().tolist()})
    return zipped(folder / "raw", folder / "polycam.zip")


def scannerapp(folder: Path, world, cameras, pictures, scan) -> Path:
    """All Data: a JSON for every frame, a photo at keyframes."""
    for number, (camera, pose) in enumerate(zip(cameras, poses(cameras, world), strict=True)):
        told = {"cameraPoseARFrame": pose.ravel().tolist(), "intrinsics": camera.intrinsics.ravel().tolist()}
        write_json(folder / f"frame_{3 * number:05d}.json", told)
        write_json(folder / f"frame_{3 * number + 1:05d}.json", told)
        save(folder / f"frame_{3 * number:05d}.jpg", pictures[number])
    write_json(folder / "info.json", {"device": "phone"})
    scan.copy().apply_transform(world).export(folder / "textured_output.obj")
    return folder


def record3d(folder: Path, world, cameras, pictures, depths) -> Path:
    """A zip, whose depth maps are LZFSE streams, here of blocks that are stored as they are."""
    path = folder / "foot.r3d"
    told = {"w": LONG, "h": SHORT, "K": cameras[0].intrinsics.T.ravel().tolist(), "fps": 30, "dw": 80, "dh": 60}
    told["poses"] = [[*Rotation.from_matrix(pose[:3, :3]).as_quat(), *pose[:3, 3]] for pose in poses(cameras, world)]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata", json.dumps(told))
        for number, (picture, depth) in enumerate(zip(pictures, depths, strict=True)):
            archive.writestr(f"rgbd/{number}.jpg", cv2.imencode(".jpg", picture[..., ::-1])[1].tobytes())
            content = depth[2::4, 2::4].astype("<f4").tobytes()
            blocks = [content[:8000], content[8000:]]
            packed = b"".join(b"bvx-" + struct.pack("<I", len(block)) + block for block in blocks) + b"bvx$"
            archive.writestr(f"rgbd/{number}.depth", packed)
    return path


def nerfstudio(folder: Path, world, cameras, pictures, points) -> Path:
    """As it converts what a phone placed: z up, metres."""
    lens = cameras[0].intrinsics
    told = {"camera_model": "OPENCV", "w": LONG, "h": SHORT, "fl_x": lens[0, 0], "fl_y": lens[1, 1]}
    told |= {"cx": lens[0, 2], "cy": lens[1, 2], "ply_file_path": "sparse_pc.ply", "frames": []}
    told |= dict(zip(("k1", "k2", "p1", "p2"), BENDS.tolist(), strict=True))
    for number, (pose, picture) in enumerate(zip(poses(cameras, world), pictures, strict=True)):
        save(folder / f"images/frame_{number:05d}.jpg", picture)
        told["frames"].append({"file_path": f"./images/frame_{number:05d}.jpg", "transform_matrix": pose.tolist()})
    write_json(folder / "transforms.json", told)
    trimesh.PointCloud(trimesh.transform_points(points, world)).export(folder / "sparse_pc.ply")
    return folder / "transforms.json"


def colmap(folder: Path, world, cameras, pictures, points, text: bool = False) -> Path:
    """A project: images, and the model in sparse/0."""
    model, lens = pycolmap.Reconstruction(), cameras[0].intrinsics
    params = [lens[0, 0], lens[1, 1], lens[0, 2], lens[1, 2], *BENDS]
    model.add_camera_with_trivial_rig(
        pycolmap.Camera(model="OPENCV", width=LONG, height=SHORT, params=params, camera_id=1)
    )
    scale = np.cbrt(np.linalg.det(world[:3, :3]))
    for number, (camera, picture) in enumerate(zip(cameras, pictures, strict=True)):
        save(folder / f"images/IMG_{number}.jpg", picture)
        pose = scale * (camera.extrinsics @ np.linalg.inv(world))[:3]
        rigid = pycolmap.Rigid3d(pycolmap.Rotation3d(pose[:, :3]), pose[:, 3])
        image = pycolmap.Image(name=f"IMG_{number}.jpg", camera_id=1, image_id=number + 1)
        model.add_image_with_trivial_frame(image, rigid)
    for point in trimesh.transform_points(points, world):
        model.add_point3D(point, pycolmap.Track(), np.zeros(3, np.uint8))
    (folder / "sparse/0").mkdir(parents=True)
    (model.write_text if text else model.write_binary)(str(folder / "sparse/0"))
    return folder


# ------------------------------------------------------------------------------------------------------------ agreement
