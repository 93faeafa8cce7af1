"""The real R2N2 archive of ShapeNet: its taxonomy with its leaks, its objects with their true camera.

Choy et al., 3D-R2N2 (ECCV 2016): ``ShapeNetRendering/<synset>/<id>/rendering/00.png …``, 137 pixels, RGBA, and
``ShapeNetVox32/<synset>/<id>/model.binvox``. Column 5 of its metadata is not the camera's field of view, and the header
of a grid does not place it: see `cameras.r2n2_camera` and `read_object`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float32
from PIL import Image

from p2vlib import progress
from p2vlib.data.capture_folder import PhotoSet, read_capture, read_photos
from p2vlib.data.dataset import COLUMNS, R2N2_CENTRE_CROP, R2N2_PIXELS, Captures
from p2vlib.geometry.cameras import r2n2_camera, read_metadata
from p2vlib.geometry.frames import FOOT_SYNSET, Cube
from p2vlib.geometry.grids import VoxelGrid, read_binvox

VIEWS = 24
"""Photos of an object in the published archive."""

THINGS3D_VIEWS = 6
"""Photos of an object of Things3D (Xie et al., Pix2Vox++, IJCV 2020): 1.68 million of 280,000 objects."""

SPLITS = {"train": "train", "validation": "val", "test": "test"}
"""Our name of a split -> its key in the taxonomy file."""

RENDERINGS, VOXELS = "ShapeNetRendering", "ShapeNetVox32"

TAXONOMY = "ShapeNet.json"

WHOLE = (0.0, 0.0, float(R2N2_PIXELS), float(R2N2_PIXELS))

TOGETHER = 64
"""Objects read at a time."""

STORE = 1
"""Grows when the same archive would be stored in another way."""


@dataclass(frozen=True)
class Category:
    """One entry of the taxonomy file: who is in which split."""

    synset: str
    name: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def read_taxonomy(path: str | Path) -> list[Category]:
    """Reads the published taxonomy JSON (``ShapeNet.json``), or that of the embedded objects.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not JSON, or an entry without its id, name and three lists of ids.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected the taxonomy (a JSON list of categories)")
    try:
        entries = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); expected a list of categories") from None
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path}: holds no list of categories; expected taxonomy_id, taxonomy_name, train, val, test")
    return [_category(path, number, entry) for number, entry in enumerate(entries)]


def _category(path: Path, number: int, entry: object) -> Category:
    wanted = {"taxonomy_id": str, "taxonomy_name": str, "train": list, "val": list, "test": list}
    for key, kind in wanted.items():
        if not isinstance(entry, dict) or not isinstance(entry.get(key), kind):
            raise ValueError(f"{path}: category {number} has no {key} ({kind.__name__}); it needs {', '.join(wanted)}")
    members = {ours: tuple(map(str, entry[theirs])) for ours, theirs in SPLITS.items()}
    unsafe = [name for names in members.values() for name in [*names, entry["taxonomy_id"]] if not _is_plain(name)]
    if unsafe:
        raise ValueError(f"{path}: {unsafe[0]!r} is no id; expected letters, digits, '-' and '_' alone")
    return Category(entry["taxonomy_id"], entry["taxonomy_name"], **members)


def _is_plain(name: str) -> bool:
    """Whether ``name`` can be a folder's: an id that climbs out of the archive is refused."""
    return name.replace("-", "").replace("_", "").isalnum()


def cross_listed(categories: list[Category]) -> dict[str, list[str]]:
    """Id -> the places (``synset split``) of every id that stands in more than one split.

    The archive files some objects under several categories, so a model learnt from under one is met again in the test
    of another: 53 test ids of the published taxonomy are also in train.
    """
    places: dict[str, list[str]] = {}
    for category in categories:
        for split in SPLITS:
            for name in getattr(category, split):
                places.setdefault(name, []).append(f"{category.synset} {split}")
    return {name: where for name, where in places.items() if len({place.split()[1] for place in where}) > 1}


def without_leaks(categories: list[Category]) -> list[Category]:
    """The categories without the test ids that are also in train, under whatever synset."""
    learnt = {name for category in categories for name in category.train}
    return [replace(c, test=tuple(name for name in c.test if name not in learnt)) for c in categories]


def read_object(root: Path, synset: str, name: str, views: int = VIEWS, grid: int = 32) -> PhotoSet:
    """Reads one object of the archive, its cameras and its grid in one frame, its photos in clockwise order.

    The archive took them at random azimuths; ``files`` in the subject says where each of its files stands now. The
    camera stands at 1.75 times column 4 and sees 49.13 degrees; the grid is centred on the origin and as large as its
    header's ``scale``, whatever its ``translate`` says. Both were fitted to the real renderings. The archive has no
    feet: those that were filed beside it (`phone.filing`) tell cameras and cube in full, and these rule.

    Raises:
        ValueError: a missing or unreadable picture, other metadata than ``views`` rows, a grid of another size.
    """
    if synset == FOOT_SYNSET:
        return read_capture(root / RENDERINGS / synset / name)
    return _read_rendering(root, synset, name, views, grid)


def _read_rendering(root: Path, synset: str, name: str, views: int, grid: int = 32) -> PhotoSet:
    rendering = root / RENDERINGS / synset / name / "rendering"
    if not rendering.is_dir():
        raise ValueError(f"{rendering}: missing; the taxonomy lists {synset}/{name}, and the archive lacks it")
    voxels = root / VOXELS / synset / name / "model.binvox"
    names, files, photos = read_photos(rendering)
    rows = read_metadata(rendering / "rendering_metadata.txt", views)
    if len(photos) != views:
        raise ValueError(f"{rendering}: {len(photos)} pictures are listed; expected {views}")
    truth = read_binvox(voxels)
    if truth.size != grid:
        raise ValueError(f"{voxels}: a grid of {truth.size}^3; expected {grid}^3, as the rest of the archive")
    edge = truth.cube.edge
    try:
        cameras = [r2n2_camera(row, 1.0, np.zeros(3), *one.size) for row, one in zip(rows, photos, strict=True)]
    except ValueError as error:
        raise ValueError(f"{rendering / 'rendering_metadata.txt'}: {error}") from None
    azimuths = np.array([row[0] for row in rows])
    first = azimuths[np.abs((azimuths + 180) % 360 - 180).argmin()]  # the one nearest the front, as everywhere
    order = np.argsort((azimuths - first) % 360, kind="stable")
    subject = {"subject": name, "taxonomy": synset, "look": "studio", "metadata": "r2n2"}
    subject["files"] = np.argsort(order).tolist()
    placed = VoxelGrid(truth.volume, Cube((-edge / 2,) * 3, edge))
    names, files, photos, cameras = ([values[i] for i in order] for values in (names, files, photos, cameras))
    return PhotoSet(photos, cameras, names, folder=rendering.parent, subject=subject, files=files, truth=placed)


# ------------------------------------------------------------------------------------------------- the archive at hand


def load(
    root: Path,
    image_size: int,
    *,
    as_published: bool = False,
    limit: int = 0,
    drop_leaks: bool = False,
    on_error: Literal["stop", "skip"] = "stop",
    dataset: Literal["shapenet", "things3d"] = "shapenet",
) -> tuple[Captures, pd.DataFrame]:
    """The archive below ``root`` as captures, and what was skipped of it (columns object, reason).

    On first use the pictures are decoded once into one large file beside the archive (75 kB each, 79 GB for all of
    them), from which batches are read and cut on the device.

    Args:
        root: holds ``ShapeNet.json``, ``ShapeNetRendering`` and ``ShapeNetVox32``.
        image_size: edge of the photos as the network sees them, pixels.
        as_published: photos are cut to their middle and tested as the published code does (`Captures.as_published`),
            instead of cut to the projected cube and tested evenly spaced, as everywhere in the study.
        limit: at most so many objects of a category and split; 0: all.
        drop_leaks: leave out test objects that are also in train.
        on_error: ``skip`` goes on without an object that cannot be read; ``stop`` names it and ends.
        dataset: Things3D lies in the same layout and has fewer photos of an object.

    Raises:
        FileNotFoundError: there is no such archive; says how to get it.
        ValueError: an object that is not as published.
        OSError: a disk that cannot hold the decoded pictures.
    """
    views = {"shapenet": VIEWS, "things3d": THINGS3D_VIEWS}[dataset]
    store = _stored(Path(root), dataset, views, limit, drop_leaks, on_error)
    table = pd.read_csv(store / "table.csv", dtype=str, keep_default_na=False)
    # Read only: a writable map would be reserved in memory as a whole. Nobody writes into these tensors.
    photos = np.memmap(store / "photos", np.uint8, "r", shape=(len(table), views, 4, R2N2_PIXELS, R2N2_PIXELS))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        pictures = torch.from_numpy(photos)
    truth = np.unpackbits(np.load(store / "truth.npy"), axis=1)
    edge = round(truth.shape[1] ** (1 / 3))
    boxes = np.load(store / "boxes.npy")
    if as_published:
        boxes[:] = R2N2_CENTRE_CROP
    captures = Captures(
        table.assign(dataset=dataset),
        pictures,
        torch.from_numpy(truth.reshape(-1, edge, edge, edge).astype(bool)),
        torch.from_numpy(_cut_to(boxes, np.load(store / "cameras.npy"))),
        torch.from_numpy(boxes),
        image_size,
        f"{store.name} {'middle' if as_published else 'box'}",
        torch.from_numpy(np.load(store / "files.npy")),
        as_published,
    )
    return captures, pd.read_csv(store / "skipped.csv", dtype=str)


def _stored(root: Path, dataset: str, views: int, limit: int, drop_leaks: bool, on_error: str) -> Path:
    """The folder with the decoded pictures of what is asked for, made first where it is missing or stale."""
    if absent := [name for name in (TAXONOMY, RENDERINGS, VOXELS) if not (root / name).exists()]:
        way = f"get it with `p2v fetch shapenet --root {root}`, or put" if dataset == "shapenet" else "put"
        raise FileNotFoundError(
            f"{root}: there is no {absent[0]}; {way} {TAXONOMY}, {RENDERINGS} and {VOXELS} there by hand"
        )
    categories = read_taxonomy(root / TAXONOMY)
    if drop_leaks:
        categories = without_leaks(categories)
    wanted = [
        (split, category.synset, name)
        for split in SPLITS
        for category in categories
        for name in getattr(category, split)[: limit or None]
    ]
    facts = json.dumps([STORE, views, wanted])
    store = root / "decoded" / hashlib.sha256(facts.encode()).hexdigest()[:16]
    if store.is_dir() and _is_stale(root, store, views, on_error):
        shutil.rmtree(store)
    if not store.is_dir():
        _decode(root, wanted, store, views, on_error)
    return store


def _is_stale(root: Path, store: Path, views: int, on_error: str) -> bool:
    """Whether something that was skipped when ``store`` was made is not to be skipped now."""
    skipped = pd.read_csv(store / "skipped.csv", dtype=str).object
    if on_error == "stop":
        return len(skipped) > 0
    return any(not isinstance(_read(root, *name.split("/"), views), Exception) for name in skipped)


def _cut_to(
    boxes: Float32[np.ndarray, "captures views 4"], cameras: Float32[np.ndarray, "captures views 3 7"]
) -> Float32[np.ndarray, "captures views 3 7"]:
    """``cameras`` of the whole photos (`Camera.normalised`) for photos that are cut to ``boxes``."""
    lower, upper = boxes[..., :2], boxes[..., 2:]
    scale, shift = R2N2_PIXELS / (upper - lower), (R2N2_PIXELS - 2 * lower) / (upper - lower) - 1
    cut = cameras.copy()
    cut[..., :2, :3] = scale[..., None] * cameras[..., :2, :3] + shift[..., None] * cameras[..., 2:, :3]
    return cut


def _decode(root: Path, wanted: list[tuple[str, str, str]], store: Path, views: int, on_error: str) -> None:
    """Fills ``store``, whole or not at all."""
    partial = store.with_name(f".{os.getpid()}.partial.{store.name}")  # several processes may come here at once
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    needed = len(wanted) * views * 4 * R2N2_PIXELS**2
    if (free := shutil.disk_usage(partial).free) < needed:
        raise OSError(f"{store.parent}: {free / 2**30:.1f} GiB are free; {needed / 2**30:.1f} are needed for pictures")
    rows, boxes, cameras, grids, files, skipped = [], [], [], [], [], []
    try:
        with open(partial / "photos", "wb") as file:
            for (split, synset, name), found in _read_all(root, wanted, views):
                if isinstance(found, Exception):
                    if on_error == "stop":
                        raise found
                    skipped.append((f"{synset}/{name}", str(found)))
                    continue
                capture, pictures, box = found
                file.write(pictures)
                boxes.append(box)
                cameras.append([camera.normalised(capture.truth.cube, WHOLE) for camera in capture.cameras])
                files.append(capture.subject["files"])
                grids.append(np.packbits(capture.truth.volume))
                # An object filed under two categories is one subject and two samples.
                rows.append((f"{synset}-{name}", name, "shapenet", synset, "studio", "steady", split, "none", "object"))
            os.fsync(file.fileno())
        if not rows:
            raise ValueError(f"{root}: none of its {len(wanted)} objects can be read; the first: {skipped[0][1]}")
        pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(partial / "table.csv", index=False)
        pd.DataFrame(skipped, columns=["object", "reason"]).to_csv(partial / "skipped.csv", index=False)
        np.save(partial / "boxes.npy", np.array(boxes, np.float32))
        np.save(partial / "cameras.npy", np.array(cameras, np.float32))
        np.save(partial / "files.npy", np.array(files))
        np.save(partial / "truth.npy", np.stack(grids))
        if not store.is_dir():
            partial.rename(store)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _read_all(root: Path, wanted: list[tuple[str, str, str]], views: int) -> Iterator:
    """Each of ``wanted`` with what `_read` gives; in order."""
    with ThreadPoolExecutor() as pool, progress.bar(title="objects", total=len(wanted), unit="object") as bar:
        for first in range(0, len(wanted), TOGETHER):
            some = wanted[first : first + TOGETHER]
            yield from zip(some, pool.map(lambda one: _read(root, *one[1:], views), some), strict=True)
            bar.update(len(some))


def _read(root: Path, synset: str, name: str, views: int) -> tuple[PhotoSet, bytes, list] | Exception:
    """An object, its decoded pictures and their boxes, or the error in their place."""
    try:
        capture = _read_rendering(root, synset, name, views)
        pictures = b"".join(_pixels(photo, capture.folder) for photo in capture.photos)
        try:
            boxes = [camera.crop_box(capture.truth.cube) for camera in capture.cameras]
        except ValueError as error:
            raise ValueError(f"{capture.folder / 'rendering' / 'rendering_metadata.txt'}: {error}") from None
        return capture, pictures, boxes
    except (ValueError, OSError) as error:
        return error


def _pixels(picture: Image.Image, folder: Path) -> bytes:
    if picture.size != (R2N2_PIXELS, R2N2_PIXELS) or picture.mode != "RGBA":
        found = f"{picture.width} x {picture.height} pixels, {picture.mode}"
        raise ValueError(f"{folder}: a picture of {found}; expected {R2N2_PIXELS} square, RGBA")
    return np.asarray(picture).transpose(2, 0, 1).tobytes()
