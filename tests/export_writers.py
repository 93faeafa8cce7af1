"""Writes exports in the formats that the apps document, of a foot with known cameras.

All writers take the transform from the frame of the foot to the world of the app, the cameras in the frame of the foot,
and the photos, and return the path that a user would pass.
"""

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
"""Pixels of the sensor of a phone, and photos of the walk."""

DISTORTION = np.array([-0.08, 0.01, 0.001, -0.001])
"""Of a lens, as coefficients of OpenCV."""


def app_world(seed: int, up: str = "y") -> np.ndarray:
    """From the frame of the foot to the world of an app: the same vertical, any yaw and position."""
    rng = np.random.default_rng(seed)
    world = np.eye(4)
    world[:3, :3] = Rotation.from_euler("y", rng.uniform(60, 300), degrees=True).as_matrix()
    world[:3, 3] = rng.uniform(-1, 1, 3) + [0, -1.2, 0]
    return world if up == "y" else np.array([[0.0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1]]) @ world


def opengl_poses(cameras: list[Camera], world: np.ndarray) -> list[np.ndarray]:
    """Camera-to-world matrices with the axes of OpenGL."""
    return [world @ np.linalg.inv(camera.extrinsics) @ np.diag([1.0, -1, -1, 1]) for camera in cameras]


def write_photo(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, quality=95)


def write_json(path: Path, content: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def replace_members(source: Path, target: Path, change) -> Path:
    """Copies a zip; ``change`` returns the new content of a member from its name and content."""
    with zipfile.ZipFile(source) as before, zipfile.ZipFile(target, "w") as after:
        for name in before.namelist():
            after.writestr(name, change(name, before.read(name)))
    return target


def polycam(folder: Path, world, cameras, pictures, scan=None, depths=()) -> Path:
    """Raw data: a zip with a folder named after the capture."""
    inside = folder / "raw" / "Foot 12.03.26"
    for number, (camera, pose, picture) in enumerate(zip(cameras, opengl_poses(cameras, world), pictures, strict=True)):
        stamp, lens = 7_000_000 + 40_000 * number, camera.intrinsics
        values = {f"t_{row}{column}": pose[row, column] for row in range(3) for column in range(4)}
        values |= {"fx": lens[0, 0], "fy": lens[1, 1], "cx": lens[0, 2], "cy": lens[1, 2]}
        values |= {"width": LONG, "height": SHORT}
        write_json(inside / f"keyframes/corrected_cameras/{stamp}.json", values | {"blur_score": 100.0 + number})
        write_json(inside / f"keyframes/cameras/{stamp}.json", values | {"t_03": 9.9, "blur_score": 100.0})
        write_photo(inside / f"keyframes/corrected_images/{stamp}.jpg", picture)
        if len(depths):
            write_photo(
                inside / f"keyframes/depth/{stamp}.png", np.round(1000 * depths[number][2::4, 2::4]).astype("<u2")
            )
    if scan is not None:
        alignment = np.linalg.inv(app_world(77))
        mesh = scan.copy().apply_transform(alignment @ world)
        trimesh.Trimesh(mesh.vertices, mesh.faces).export(inside / "raw.glb")
        write_json(inside / "mesh_info.json", {"alignmentTransform": alignment.T.ravel().tolist()})
    with zipfile.ZipFile(folder / "polycam.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(inside.rglob("*.*")):
            archive.write(file, file.relative_to(inside.parent))
    return folder / "polycam.zip"


def scannerapp(folder: Path, world, cameras, pictures, scan) -> Path:
    """All Data: a JSON file for every frame, photos of the keyframes only."""
    for number, (camera, pose) in enumerate(zip(cameras, opengl_poses(cameras, world), strict=True)):
        values = {"cameraPoseARFrame": pose.ravel().tolist(), "intrinsics": camera.intrinsics.ravel().tolist()}
        write_json(folder / f"frame_{3 * number:05d}.json", values)
        write_json(folder / f"frame_{3 * number + 1:05d}.json", values)
        write_photo(folder / f"frame_{3 * number:05d}.jpg", pictures[number])
    write_json(folder / "info.json", {"device": "phone"})
    scan.copy().apply_transform(world).export(folder / "textured_output.obj")
    return folder


def record3d(folder: Path, world, cameras, pictures, depths) -> Path:
    """A zip whose depth maps are LZFSE streams, here of uncompressed blocks."""
    path = folder / "foot.r3d"
    poses = [[*Rotation.from_matrix(pose[:3, :3]).as_quat(), *pose[:3, 3]] for pose in opengl_poses(cameras, world)]
    metadata = {"w": LONG, "h": SHORT, "K": cameras[0].intrinsics.T.ravel().tolist(), "dw": 80, "poses": poses}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata", json.dumps(metadata))
        for number, (picture, depth) in enumerate(zip(pictures, depths, strict=True)):
            archive.writestr(f"rgbd/{number}.jpg", cv2.imencode(".jpg", picture[..., ::-1])[1].tobytes())
            content = depth[2::4, 2::4].astype("<f4").tobytes()
            blocks = [content[:8000], content[8000:]]
            stream = b"".join(b"bvx-" + struct.pack("<I", len(block)) + block for block in blocks) + b"bvx$"
            archive.writestr(f"rgbd/{number}.depth", stream)
    return path


def nerfstudio(folder: Path, world, cameras, pictures, points) -> Path:
    """A capture of a phone after conversion: z up, metres."""
    lens = cameras[0].intrinsics
    transforms = {"camera_model": "OPENCV", "w": LONG, "h": SHORT, "fl_x": lens[0, 0], "fl_y": lens[1, 1]}
    transforms |= {"cx": lens[0, 2], "cy": lens[1, 2], "ply_file_path": "./sparse_pc.ply", "frames": []}
    transforms |= dict(zip(("k1", "k2", "p1", "p2"), DISTORTION.tolist(), strict=True))
    for number, (pose, picture) in enumerate(zip(opengl_poses(cameras, world), pictures, strict=True)):
        photo = f"images/frame_{number:05d}.jpg"
        write_photo(folder / photo, picture)
        depth = {"depth_file_path": f"./depth/frame_{number:05d}.png"}
        transforms["frames"].append({"file_path": f"./{photo}", "transform_matrix": pose.tolist(), **depth})
    write_json(folder / "transforms.json", transforms)
    trimesh.PointCloud(trimesh.transform_points(points, world)).export(folder / "sparse_pc.ply")
    return folder / "transforms.json"


def colmap(folder: Path, world, cameras, pictures, points, text: bool = False) -> Path:
    """A project: photos in images, the model in sparse/0."""
    model, lens = pycolmap.Reconstruction(), cameras[0].intrinsics
    params = [lens[0, 0], lens[1, 1], lens[0, 2], lens[1, 2], *DISTORTION]
    camera_model = pycolmap.Camera(model="OPENCV", width=LONG, height=SHORT, params=params, camera_id=1)
    model.add_camera_with_trivial_rig(camera_model)
    scale = np.cbrt(np.linalg.det(world[:3, :3]))
    for number, (camera, picture) in enumerate(zip(cameras, pictures, strict=True)):
        write_photo(folder / f"images/IMG_{number}.jpg", picture)
        pose = scale * (camera.extrinsics @ np.linalg.inv(world))[:3]
        image = pycolmap.Image(name=f"IMG_{number}.jpg", camera_id=1, image_id=number + 1)
        model.add_image_with_trivial_frame(image, pycolmap.Rigid3d(pycolmap.Rotation3d(pose[:, :3]), pose[:, 3]))
    for point in trimesh.transform_points(points, world):
        model.add_point3D(point, pycolmap.Track(), np.zeros(3, np.uint8))
    (folder / "sparse/0").mkdir(parents=True)
    (model.write_text if text else model.write_binary)(str(folder / "sparse/0"))
    return folder
