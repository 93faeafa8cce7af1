"""A small archive in Pix3D's layout, written by the words of its README."""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from p2vlib.geometry.cameras import look_at
from p2vlib.geometry.frames import Cube
from p2vlib.geometry.grids import voxelise
from p2vtools.archives import pix3d
from p2vtools.synthesis.objects import make_object
from p2vtools.synthesis.photos import rendering

CHAIR, WIDTH, HEIGHT = "03001627", 200, 150
IMG, MASK, SOLID = "img/chair/0001.png", "mask/chair/0001.png", "model/chair/OWN_ONE/voxel.mat"


def write_archive(root: Path) -> None:
    """Files one rendered chair, turned and off the middle of its picture, as Pix3D does."""
    mesh = make_object(CHAIR, seed=1, index=9)
    camera = look_at((35.0, 20.0, 6.0, 1.5, 42.0), np.array([0.02, 0.04, -0.06]), WIDTH, HEIGHT)
    (picture,) = rendering.render_studio_photos(mesh, [camera], 4)
    for file in (IMG, MASK, SOLID):
        (root / file).parent.mkdir(parents=True)
    Image.fromarray(picture[..., :3]).save(root / IMG)
    Image.fromarray(picture[..., 3]).save(root / MASK)
    volume = voxelise(mesh.vertices, mesh.faces, Cube((-0.5, -0.5, -0.5), 1.0), 128).volume
    write_solid(root, volume.transpose(2, 0, 1).astype(np.uint8))  # front, up, right -> left, outward, up
    entry = {"img": IMG, "mask": MASK, "voxel": SOLID, "category": "chair", "bbox": [40, 10, 160, 140]}
    write_index(root, [entry | dict.fromkeys(["truncated", "occluded", "slightly_occluded"], False)])


def write_index(root: Path, entries: object) -> None:
    (root / pix3d.INDEX).write_text(json.dumps(entries))


def entries_of(root: Path) -> list[dict]:
    return json.loads((root / pix3d.INDEX).read_text())


def write_solid(root: Path, solid: np.ndarray, key: str = "voxel") -> None:
    savemat(root / SOLID, {key: solid}, do_compression=True)
