"""The portable file of a scale: all captures, made first where they are missing, for machines without a renderer.

It is safetensors, so nothing in it can run: photos as WebP or JPEG, grids as bits. The feet's truth on a finer grid
is a file of its own, made when somebody asks.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float32, Int64, UInt8
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save

from p2vlib import progress
from p2vlib.config import DATA_RECIPE, Config
from p2vlib.data.capture_folder import Capture, read_capture
from p2vlib.files import write_bytes
from p2vlib.geometry.frames import FOOT_CUT_HEIGHT, FOOT_SHARE, Cube, object_cube
from p2vlib.geometry.grids import VoxelGrid, voxelise
from p2vlib.provenance import data_folder, home

FINE = 96
"""Edge of the finer truth: each of its voxels' centres that is every third is one of the truth's."""

PACKED = 2
"""Grows when the same captures would be packed in another way."""


def fingerprint(config: Config) -> str:
    """What the packed data depend on, as a short hash: the data part of ``config`` and the recipe's version."""
    content = json.dumps([DATA_RECIPE, PACKED, asdict(config.feet), asdict(config.objects)], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def packed_path(config: Config) -> Path:
    """The portable file of a scale: ``data/packed/<scale>.safetensors``."""
    return home() / "data" / "packed" / f"{config.scale}.safetensors"


def pack(config: Config) -> Path:
    """Writes the packed file of ``config``, after the captures that are missing; keeps one that is up to date."""
    path = packed_path(config)
    if path.is_file():
        with safe_open(path, "numpy") as stored:
            if (stored.metadata() or {}).get("fingerprint") == fingerprint(config):
                return path
    from p2vtools.synthesis.collection import capture_jobs, dataset_root, ensure_collection

    ensure_collection(config)
    folders = [folder for job in capture_jobs(config) for folder in job.folders(dataset_root(job, config)).values()]
    photos, grids, cameras, records = [], [], [], []
    with ThreadPoolExecutor() as pool:
        for pictures, truths in pool.map(_packed, folders):
            for row, grid, seen in truths:
                records.append({**row, "first": len(photos), "grid": len(grids)})
                grids.append(grid)
                cameras.append(seen)
            photos += pictures
    tensors = {
        "photos": np.frombuffer(b"".join(photos), np.uint8),
        "offsets": np.cumsum([0, *map(len, photos)]),
        "grids": np.stack(grids),
        "cameras": np.stack(cameras).astype(np.float32),
    }
    write_bytes(path, save(tensors, {"fingerprint": fingerprint(config), "records": json.dumps(records)}))
    return path


@dataclass(frozen=True, eq=False)
class Packed:
    """The packed file of a scale, in memory as it is on the disk."""

    records: list[dict]
    """A row of the table each, with where its photos begin, their boxes, and the number of its grid."""
    cameras: Float32[np.ndarray, "captures views 3 7"]
    """For the photos cut to their boxes."""
    content: UInt8[np.ndarray, " bytes"]
    offsets: Int64[np.ndarray, " ends"]
    grids: UInt8[np.ndarray, "grids packed"]

    def pictures(self, record: dict) -> list[Image.Image]:
        """The photos of a record, not yet decoded."""
        numbers = range(record["first"], record["first"] + len(record["boxes"]))
        return [Image.open(io.BytesIO(self.content[self.offsets[n] : self.offsets[n + 1]])) for n in numbers]

    def truth(self, records: Sequence[dict]) -> Bool[np.ndarray, "captures x y z"]:
        """The grids of ``records``."""
        bits = np.unpackbits(self.grids[[record["grid"] for record in records]], axis=1)
        edge = round(bits.shape[1] ** (1 / 3))
        return bits.reshape(-1, edge, edge, edge).astype(bool)


def read_packed(config: Config) -> Packed:
    """The packed file of ``config``, made first where it is missing or stale."""
    with safe_open(pack(config), "numpy") as stored:
        records = json.loads(stored.metadata()["records"])
        tensors = (stored.get_tensor(name) for name in ("cameras", "photos", "offsets", "grids"))
        return Packed(records, *tensors)


def _packed(folder: Path) -> tuple[list[bytes], list[tuple[dict, np.ndarray, np.ndarray]]]:
    """The photos of a capture folder, and for each cube of it its row, its grid's bits and the cameras."""
    capture, truths = read_capture(folder), []
    for cube_name, truth in _truths(capture):
        # A foot ends far below the top of its metric cube; the part above would cost a third of the pixels.
        height = FOOT_CUT_HEIGHT if cube_name == "metric" else None
        boxes = [camera.box(truth.cube, height) for camera in capture.cameras]
        seen = [camera.seen_from(truth.cube, box) for camera, box in zip(capture.cameras, boxes, strict=True)]
        truths.append(({**_row(capture, cube_name), "boxes": boxes}, np.packbits(truth.volume), np.stack(seen)))
    return [_compressed(photo) for photo in capture.photos], truths


def _truths(capture: Capture) -> Iterator[tuple[str, VoxelGrid]]:
    """The grids of a capture: its own, and for the studio look of a tested foot the one normalised as objects are."""
    is_foot = capture.subject["metadata"] == "metric"
    yield ("metric" if is_foot else "object"), capture.truth
    if is_foot and capture.subject["look"] == "studio":
        import trimesh

        solid = trimesh.load_mesh(capture.folder / "model.obj", process=False)
        yield "object", voxelise(solid.vertices, solid.faces, object_cube(solid.bounds), capture.truth.size)


def _row(capture: Capture, cube: str) -> dict[str, str]:
    subject = capture.subject
    return {
        "sample": capture.folder.name,
        "subject": subject["subject"],
        "dataset": "feet" if subject["metadata"] == "metric" else "objects",
        "taxonomy": subject["taxonomy"],
        "look": subject["look"],
        "light": "drift" if capture.folder.parent.name in ("phone", "mat") else "steady",
        "split": subject["split"],
        "side": subject.get("side", "none"),
        "cube": cube,
    }


def _compressed(photo: bytes) -> bytes:
    """A PNG as WebP (alpha stays exact); what is JPEG already stays as it is."""
    picture = Image.open(io.BytesIO(photo))
    if picture.format == "JPEG":
        return photo
    buffer = io.BytesIO()
    picture.save(buffer, "webp", quality=85, method=4)
    return buffer.getvalue()


def fine_truth(config: Config, table: pd.DataFrame) -> Bool[np.ndarray, "captures fine_x fine_y fine_z"]:
    """The truth of the feet in ``table`` at `FINE`^3 up to their cut, from the packed file, made first if need be."""
    path = packed_path(config).with_name(f"{config.scale}-fine.safetensors")
    layers = round(FOOT_SHARE * FINE)
    told = {"fingerprint": fingerprint(config), "fine": str(FINE)}
    stored = {}
    if path.is_file():
        with safe_open(path, "numpy") as file:
            if file.metadata() == told:
                stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if missing := sorted(set(table["sample"]) - set(stored)):
        folder = data_folder("feet", config.scale) / table.look.iloc[0]
        import trimesh

        def grid_of(name: str) -> np.ndarray:
            capture = json.loads((folder / name / "subject.json").read_text())
            cube = Cube(tuple(capture["cube"]["lower"]), capture["cube"]["edge"])
            solid = trimesh.load_mesh(folder / name / "model.obj", process=False)
            return np.packbits(voxelise(solid.vertices, solid.faces, cube, FINE).volume[:, :layers])

        with ThreadPoolExecutor() as pool:
            made = progress.bar(pool.map(grid_of, missing), "fine grids", len(missing), unit="foot")
            stored |= dict(zip(missing, made, strict=True))
        write_bytes(path, save(stored, told))
    bits = np.unpackbits(np.stack([stored[name] for name in table["sample"]]), axis=1)
    return bits.reshape(-1, FINE, layers, FINE).astype(bool)
