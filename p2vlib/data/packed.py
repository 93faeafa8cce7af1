"""The packed file: all captures of a scale in one file, for training on machines without a renderer.

It is a safetensors file, so loading it runs no code: photos as WebP or JPEG, voxel grids as bits.
`p2vtools.synthesis.packing` writes it. The fine ground truth of the feet is a second file, which `fine_truth` writes on
first use.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
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
from p2vlib.files import FileError, read_json, reading, write_bytes
from p2vlib.geometry.frames import FOOT_SHARE, Cube
from p2vlib.geometry.grids import voxelise
from p2vlib.provenance import data_folder, home, text_digest

FINE_SIZE = 96
"""Voxels along an edge of the fine ground truth; the centre of every third one is the centre of a voxel at 32^3."""

PACKED_VERSION = 2
"""Increase when the same captures are packed differently; older packed files are then stale."""


def fingerprint(config: Config) -> str:
    """A short hash of what the packed data depend on: the data part of ``config`` and the format versions."""
    content = json.dumps([DATA_RECIPE, PACKED_VERSION, asdict(config.feet), asdict(config.objects)], sort_keys=True)
    return text_digest(content)


def packed_path(config: Config) -> Path:
    """The packed file of a scale: ``data/packed/<scale>.safetensors``."""
    return home() / "data" / "packed" / f"{config.scale}.safetensors"


def is_current(config: Config) -> bool:
    """Whether the packed file of ``config`` exists and holds the data that ``config`` describes."""
    return _read_metadata(packed_path(config)).get("fingerprint") == fingerprint(config)


def _read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a file that can be made again; empty without it or, with a line that says so, if damaged."""
    if not path.is_file():
        return {}
    try:
        with reading(path, "it is made again from the captures"), safe_open(path, "numpy") as stored:
            return stored.metadata() or {}
    except FileError as error:
        progress.log(str(error))
        return {}


@dataclass(frozen=True, eq=False)
class PackedData:
    """The content of a packed file."""

    records: list[dict]
    """One per capture and cube: its row of the table, the index of its first photo, its crop boxes, its grid."""
    cameras: Float32[np.ndarray, "captures views 3 7"]
    """Cameras of the cropped photos (`Camera.normalised`)."""
    content: UInt8[np.ndarray, " bytes"]
    """All photo files, one after the other."""
    offsets: Int64[np.ndarray, " ends"]
    """Where each photo file begins in ``content``, and the end of the last."""
    grids: UInt8[np.ndarray, "grids packed"]
    """Voxel grids, eight voxels per byte."""

    def open_photos(self, record: dict) -> list[Image.Image]:
        """The photos of a record, not yet decoded."""
        indices = range(record["first"], record["first"] + len(record["boxes"]))
        files = [self.content[self.offsets[i] : self.offsets[i + 1]].tobytes() for i in indices]
        return [Image.open(io.BytesIO(file)) for file in files]

    def truth(self, records: Sequence[dict]) -> Bool[np.ndarray, "captures x y z"]:
        """The voxel grids of ``records``."""
        bits = np.unpackbits(self.grids[[record["grid"] for record in records]], axis=1)
        size = round(bits.shape[1] ** (1 / 3))
        return bits.reshape(-1, size, size, size).astype(bool)


def read_packed(config: Config) -> PackedData:
    """Reads the packed file of ``config``.

    Raises:
        ValueError: the file is missing, or was packed from other data than ``config`` describes.
    """
    path = packed_path(config)
    if not is_current(config):
        found = "holds other data than this configuration describes" if path.is_file() else "no such file"
        raise ValueError(
            f"{path}: {found}; run `p2v data --scale {config.scale}`, or call p2vtools.synthesis.collection."
            "build_collection(config)"
        )
    with reading(path, f"delete it and run `p2v data --scale {config.scale}`"), safe_open(path, "numpy") as stored:
        records = json.loads(stored.metadata()["records"])
        tensors = (stored.get_tensor(name) for name in ("cameras", "photos", "offsets", "grids"))
        return PackedData(records, *tensors)


def fine_truth(config: Config, table: pd.DataFrame) -> Bool[np.ndarray, "captures fine_x fine_y fine_z"]:
    """Ground truth of the feet in ``table`` at `FINE_SIZE` voxels per edge, up to the cut of the foot.

    It is kept in a file beside the packed file; what is missing there is voxelised from the meshes of the captures.
    """
    path = packed_path(config).with_name(f"{config.scale}-fine.safetensors")
    layers = round(FOOT_SHARE * FINE_SIZE)
    metadata = {"fingerprint": fingerprint(config), "fine": str(FINE_SIZE)}
    stored = {}
    if _read_metadata(path) == metadata:
        with safe_open(path, "numpy") as file:
            stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    domains = dict(zip(table["sample"], table["look"], strict=True))
    if missing := sorted(set(domains) - set(stored)):
        import trimesh

        def voxelise_finely(name: str) -> np.ndarray:
            folder = data_folder("feet", config.scale) / domains[name] / name
            subject = read_json(folder / "subject.json", "expected a JSON object with the cube of the capture")
            cube = Cube(tuple(subject["cube"]["lower"]), subject["cube"]["edge"])
            solid = trimesh.load_mesh(folder / "model.obj", process=False)
            return np.packbits(voxelise(solid.vertices, solid.faces, cube, FINE_SIZE).volume[:, :layers])

        with ThreadPoolExecutor() as pool:
            grids = progress.bar(pool.map(voxelise_finely, missing), "fine grids", len(missing), unit="foot")
            stored |= dict(zip(missing, grids, strict=True))
        write_bytes(path, save(stored, metadata))
    bits = np.unpackbits(np.stack([stored[name] for name in table["sample"]]), axis=1)
    return bits.reshape(-1, FINE_SIZE, layers, FINE_SIZE).astype(bool)
