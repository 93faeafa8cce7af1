"""Writes the packed file of a scale (`p2vlib.data.packed`) from its capture folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import trimesh
from safetensors.numpy import save

from p2vlib.config import Config
from p2vlib.data.packed import fingerprint, packed_path
from p2vlib.files import write_bytes
from p2vlib.geometry.frames import FOOT_CUT_HEIGHT, object_cube
from p2vlib.geometry.grids import voxelise
from p2vtools.archives.capture_folder import read_capture
from p2vtools.archives.photo_files import encode_photo


def pack(config: Config, folders: Sequence[Path]) -> Path:
    """Writes the capture ``folders`` of ``config`` to its packed file and returns the path of the file."""
    photos: list[bytes] = []
    grids: list[np.ndarray] = []
    cameras: list[np.ndarray] = []
    records: list[dict] = []
    with ThreadPoolExecutor() as pool:
        for files, rows in pool.map(_pack_capture, folders):
            for row, grid, views in rows:
                records.append({**row, "first": len(photos), "grid": len(grids)})
                grids.append(grid)
                cameras.append(views)
            photos += files
    tensors = {
        "photos": np.frombuffer(b"".join(photos), np.uint8),
        "offsets": np.cumsum([0, *map(len, photos)]),
        "grids": np.stack(grids),
        "cameras": np.stack(cameras).astype(np.float32),
    }
    path = packed_path(config)
    write_bytes(path, save(tensors, {"fingerprint": fingerprint(config), "records": json.dumps(records)}))
    return path


def _pack_capture(folder: Path) -> tuple[list[bytes], list[tuple[dict, np.ndarray, np.ndarray]]]:
    """Photo files of a capture, and for each of its cubes the row of the table, the grid as bits and the cameras."""
    capture, rows = read_capture(folder), []
    subject, is_foot = capture.subject, capture.subject["metadata"] == "metric"
    row = {
        "sample": folder.name,
        "subject": subject["subject"],
        "dataset": "feet" if is_foot else "objects",
        "taxonomy": subject["taxonomy"],
        "look": subject["look"],
        "light": "drift" if folder.parent.name in ("phone", "mat", "wild") else "steady",
        "split": subject["split"],
        "side": subject.get("side", "none"),
    }
    truths = {"metric" if is_foot else "object": capture.truth}
    if is_foot and subject["look"] == "studio":  # these also have R2N2's normalised cube
        solid = trimesh.load_mesh(folder / "model.obj", process=False)
        truths["object"] = voxelise(solid.vertices, solid.faces, object_cube(solid.bounds), capture.truth.size)
    for cube, truth in truths.items():
        # The upper part of a foot's cube is always empty; the photos are cropped to the lower part.
        height = FOOT_CUT_HEIGHT if cube == "metric" else None
        boxes = [camera.crop_box(truth.cube, height) for camera in capture.cameras]
        views = [camera.normalised(truth.cube, box) for camera, box in zip(capture.cameras, boxes, strict=True)]
        rows.append(({**row, "cube": cube, "boxes": boxes}, np.packbits(truth.volume), np.stack(views)))
    # WebP: lossy colours, lossless alpha.
    photos = [
        file if photo.format == "JPEG" else encode_photo(np.asarray(photo), "WEBP", 85)
        for photo, file in zip(capture.photos, capture.files, strict=True)
    ]
    return photos, rows
