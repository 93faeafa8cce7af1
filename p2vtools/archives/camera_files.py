"""The cameras of a capture folder: ``rendering_metadata.txt`` and ``cameras.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from p2vlib.files import JSON_BYTES, FileError, check_size, read_json, reading
from p2vlib.geometry.cameras import Camera, Row


def read_metadata(path: Path, rows: int) -> list[Row]:
    """Reads ``rendering_metadata.txt``, one view per line.

    Raises:
        ValueError: a line without five finite numbers, or another number of lines than ``rows``.
    """
    expected = "expected azimuth elevation in-plane distance fov"
    check_size(path, JSON_BYTES, expected)
    with reading(path, expected):
        lines = path.read_text("utf-8").splitlines()
        table = [[float(word) for word in line.split()] for line in lines if line.strip()]
    if len(table) != rows:
        raise FileError(path, f"{len(table)} rows for {rows} photos", "expected one row per photo")
    for number, row in enumerate(table, start=1):
        if len(row) != 5 or not np.isfinite(row).all():
            raise FileError(path, f"line {number} is {row}", expected)
    return [(row[0], row[1], row[2], row[3], row[4]) for row in table]


def write_metadata(path: Path, rows: Sequence[Row]) -> None:
    """Writes ``rendering_metadata.txt``."""
    path.write_text("".join(" ".join(f"{value:.6g}" for value in row) + "\n" for row in rows), "utf-8")


def read_cameras(path: Path) -> list[Camera]:
    """Reads ``cameras.json``.

    Raises:
        ValueError: not JSON, a frame without its matrices, or one that is no camera.
    """
    expected = "expected frames with intrinsics, extrinsics, width and height"
    content = read_json(path, expected)
    with reading(path, expected):
        return [
            Camera(
                np.array(f["intrinsics"], float), np.array(f["extrinsics"], float), int(f["width"]), int(f["height"])
            )
            for f in content["frames"]
        ]


def write_cameras(path: Path, cameras: Sequence[Camera]) -> None:
    """Writes ``cameras.json``: intrinsics and extrinsics (world to camera, OpenCV axes) of every photo, in order."""
    frames = [
        {"width": c.width, "height": c.height, "intrinsics": c.intrinsics.tolist(), "extrinsics": c.extrinsics.tolist()}
        for c in cameras
    ]
    content = {"axes": "opencv", "unit": "metre", "extrinsics": "world to camera", "frames": frames}
    path.write_text(json.dumps(content), "utf-8")
