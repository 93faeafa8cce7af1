"""A small archive in Pix3D's layout, written by the words of its README."""

import json
from pathlib import Path

import numpy as np
import trimesh
from PIL import Image
from scipy.io import savemat

from p2vlib.geometry.cameras import Camera, look_at
from p2vlib.geometry.frames import Cube
from p2vlib.geometry.grids import VoxelGrid, voxelise
from p2vtools.archives import pix3d
from p2vtools.synthesis.objects import make_object
from p2vtools.synthesis.photos import rendering

CHAIR, UNIT = "03001627", Cube((-0.5, -0.5, -0.5), 1.0)
WIDTH, HEIGHT, FIELD = 200, 150, 42.0
BOARD = np.array([[-0.14, 0.075, 0.23], [0.22, 0.125, 0.45]])


def in_model_axes(points: np.ndarray) -> np.ndarray:
    """Left (our z), up, inward (against our x)."""
    return np.column_stack([points[:, 2], points[:, 1], -points[:, 0]])


def write_archive(root: Path) -> None:
    """Files one rendered chair, turned and off the middle of its picture, as Pix3D does.

    It is a student's, with a board to write on at its right: a chair alone is its own mirror image.
    """
    board = trimesh.creation.box(bounds=BOARD)
    mesh = trimesh.util.concatenate([make_object(CHAIR, seed=1, index=9), board])
    assert np.abs(mesh.bounds).max() < 0.5, "the solid's cube holds it"
    camera = look_at((35.0, 20.0, 6.0, 1.5, FIELD), np.array([0.02, 0.04, -0.06]), WIDTH, HEIGHT)
    (picture,) = rendering.render_studio_photos(mesh, [camera], 4)
    model = "model/chair/OWN_ONE"
    for folder in ("img/chair", "mask/chair", model):
        (root / folder).mkdir(parents=True)
    Image.fromarray(picture[..., :3]).save(root / "img/chair/0001.png")
    Image.fromarray(picture[..., 3]).save(root / "mask/chair/0001.png")
    solid = voxelise(in_model_axes(mesh.vertices), mesh.faces, UNIT, 128).volume
    # left, up, inward -> left, outward, up
    savemat(root / model / "voxel.mat", {"voxel": solid[:, :, ::-1].transpose(0, 2, 1).astype(np.uint8)})
    write_index(root, [entry_of(camera)])


def entry_of(camera: Camera) -> dict:
    """What the index says of ``camera``: where left, up and inward of the model show in x left, y up, z forward."""
    flip = np.array([-1, -1, 1])
    axes = camera.extrinsics[:3, :3] @ np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]]).T
    model = "model/chair/OWN_ONE"
    return {
        **{"img": "img/chair/0001.png", "mask": "mask/chair/0001.png", "category": "chair"},
        **{"img_size": [WIDTH, HEIGHT], "voxel": f"{model}/voxel.mat", "model": f"{model}/model.obj"},
        **{"rot_mat": (flip[:, None] * axes).tolist(), "trans_mat": (flip * camera.extrinsics[:3, 3]).tolist()},
        **{"focal_length": 16 / np.tan(np.deg2rad(FIELD / 2)), "cam_position": [0, 0, -1.5], "inplane_rotation": 0.0},
        **{"truncated": False, "occluded": False, "slightly_occluded": False, "bbox": [40, 10, 160, 140]},
    }


def write_index(root: Path, entries: object) -> None:
    (root / pix3d.INDEX).write_text(json.dumps(entries))


def entries_of(root: Path) -> list[dict]:
    return json.loads((root / pix3d.INDEX).read_text())


def write_solid(root: Path, solid: np.ndarray, key: str = "voxel") -> None:
    savemat(root / "model/chair/OWN_ONE/voxel.mat", {key: solid}, do_compression=True)


def silhouette_iou(picture: np.ndarray, grid: VoxelGrid, camera: Camera, steps: int) -> float:
    """IoU of the alpha of ``picture`` and the outline of ``grid``: ``steps`` ** 3 points of each voxel, projected."""
    seen, size = picture[..., 3] > 127, len(grid.volume)
    fine = np.stack(np.meshgrid(*[(np.arange(steps) + 0.5) / steps] * 3, indexing="ij"), -1).reshape(-1, 3)
    cells = (np.argwhere(grid.volume)[:, None] + fine).reshape(-1, 3) / size
    column, row, _ = np.floor(camera.project(np.asarray(grid.cube.lower) + grid.cube.edge * cells)).astype(int).T
    inside = (column >= 0) & (column < camera.width) & (row >= 0) & (row < camera.height)
    drawn = np.zeros_like(seen)
    drawn[row[inside], column[inside]] = True
    return float((seen & drawn).sum() / (seen | drawn).sum())
