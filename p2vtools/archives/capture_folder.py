"""Reading and writing capture folders: photos of one foot or object from all sides, with their cameras.

A capture folder holds ``rendering/`` (the photos in clockwise order, ``renderings.txt``, ``rendering_metadata.txt``)
and ``subject.json``. Optional files are ``cameras.json``, which takes precedence over the metadata, ``model.obj``
(metres) and ``model.binvox``. `read_capture` is strict, for training data; `p2vtools.fit.photo_set` reads photos as a
phone took them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from p2vlib.files import JSON_BYTES, FileError, check_size, read_json, reading
from p2vlib.geometry.cameras import Camera, Row, look_at, r2n2_camera
from p2vlib.geometry.frames import Cube
from p2vlib.geometry.grids import VoxelGrid
from p2vtools.archives.binvox import read_binvox, write_binvox
from p2vtools.archives.camera_files import read_cameras, read_metadata, write_cameras, write_metadata
from p2vtools.archives.photo_files import decode_photo

RENDERINGS, VOXELS, TAXONOMY = "ShapeNetRendering", "ShapeNetVox32", "ShapeNet.json"
"""Folders of captures and of their grids in a tree like that of ShapeNet, and its list of categories."""

SPLITS = {"train": "train", "validation": "val", "test": "test"}
"""Names of the splits -> their keys in the taxonomy file."""


@dataclass(frozen=True, eq=False)
class Capture:
    """A capture of training data: photos as stored, with cameras and ground truth."""

    photos: list[Image.Image]
    """In clockwise order."""
    cameras: list[Camera]
    """In the world frame."""
    folder: Path
    subject: dict[str, Any]
    """Content of ``subject.json``."""
    files: list[bytes]
    """Contents of the photo files."""
    truth: VoxelGrid
    """Content of ``model.binvox``."""


# ---------------------------------------------------------------------------------------------------------------- read


def read_capture(folder: Path) -> Capture:
    """Reads a capture folder of training data, with its ground truth.

    Raises:
        ValueError: a missing photo, an unreadable image, metadata that do not match the photos, or a broken grid; the
            message names the file.
    """
    subject = read_subject(folder)
    with reading(folder / "subject.json", "expected a JSON object with the cube of the capture"):
        cube = Cube(tuple(subject["cube"]["lower"]), subject["cube"]["edge"])
    rendering = folder / "rendering"
    files, photos = read_photos(rendering)
    rows = read_metadata(rendering / "rendering_metadata.txt", len(photos))
    if (folder / "cameras.json").is_file():
        cameras = read_cameras(folder / "cameras.json")
    elif subject.get("metadata") == "r2n2":
        cameras = [r2n2_camera(row, 1.0, np.zeros(3), *photo.size) for row, photo in zip(rows, photos, strict=True)]
    else:
        cameras = [look_at(row, cube.centre, *photo.size) for row, photo in zip(rows, photos, strict=True)]
    sizes = [(camera.width, camera.height) for camera in cameras]
    if sizes != [photo.size for photo in photos]:
        found = f"does not match the {len(photos)} photos in {rendering}"
        raise FileError(folder / "cameras.json", found, "expected the camera of each photo")
    return Capture(photos, cameras, folder, subject, files, read_binvox(folder / "model.binvox"))


def read_photos(rendering: Path) -> tuple[list[bytes], list[Image.Image]]:
    """File contents and decoded images of the photos listed in ``renderings.txt``, in its order.

    Raises:
        ValueError: no list, an empty list, or a photo that is missing, outside the folder or unreadable.
    """
    names = read_names(rendering / "renderings.txt")
    files = [listed_photo(rendering, name).read_bytes() for name in names]
    return files, [decode_photo(rendering / name, file) for name, file in zip(names, files, strict=True)]


def read_subject(folder: Path) -> dict[str, Any]:
    """The content of ``subject.json``; empty without such a file.

    Raises:
        FileError: not a JSON object.
    """
    path = folder / "subject.json"
    return read_json(path, "expected a JSON object that describes the capture") if path.is_file() else {}


def read_names(listing: Path) -> list[str]:
    """The names of photos in a ``renderings.txt``."""
    expected = "expected the names of the photos, one per line"
    check_size(listing, JSON_BYTES, expected)
    with reading(listing, expected):
        names = [name for line in listing.read_text("utf-8").splitlines() if (name := line.strip())]
        if not names or not "".join(names).isprintable() or max(map(len, names)) > 255:
            raise FileError(listing, "names that no file can have" if names else "empty", expected)
        return names


def listed_photo(rendering: Path, name: str) -> Path:
    """The path of a photo that ``renderings.txt`` lists.

    Raises:
        ValueError: the photo is missing or outside the folder.
    """
    path = rendering / name
    if path.resolve().parent != rendering.resolve() or not path.is_file():
        raise FileError(path, "missing", "renderings.txt lists it and expects it in the same folder")
    return path


# --------------------------------------------------------------------------------------------------------------- write


def write_capture(
    folder: Path,
    photos: Mapping[str, bytes],
    rows: Sequence[Row],
    cameras: Sequence[Camera],
    subject: Mapping[str, Any],
    truth: VoxelGrid | None = None,
    mesh: str | None = None,
) -> None:
    """Fills ``folder`` with a capture; for an all-or-nothing write pass a folder of `p2vtools.files.atomic_directory`.

    Args:
        photos: file name -> content of the image file, in clockwise order.
        rows: one row of ``rendering_metadata.txt`` per photo.
        cameras: one camera per photo, for ``cameras.json``.
        subject: content of ``subject.json``.
        truth: content of ``model.binvox``.
        mesh: content of ``model.obj``.
    """
    rendering = folder / "rendering"
    rendering.mkdir(parents=True, exist_ok=True)
    for name, content in photos.items():
        (rendering / name).write_bytes(content)
    (rendering / "renderings.txt").write_text("".join(f"{name}\n" for name in photos), "utf-8")
    write_metadata(rendering / "rendering_metadata.txt", rows)
    write_cameras(folder / "cameras.json", cameras)
    if mesh is not None:
        (folder / "model.obj").write_text(mesh, "utf-8")
    if truth is not None:
        write_binvox(folder / "model.binvox", truth)
    (folder / "subject.json").write_text(json.dumps(dict(subject), indent=1), "utf-8")
