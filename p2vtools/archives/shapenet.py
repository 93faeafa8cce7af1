"""The R2N2 archive of ShapeNet: taxonomy with its train-test leaks, objects with their actual cameras, memory-mapped.

Choy et al., 3D-R2N2 (ECCV 2016): ``ShapeNetRendering/<synset>/<id>/rendering/00.png …``, RGBA, 137 pixels, and
``ShapeNetVox32/<synset>/<id>/model.binvox``. Column 5 of the metadata is not the field of view of the camera, and the
header of a grid is not its position: see `cameras.r2n2_camera` and `read_object`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from p2vlib import progress
from p2vlib.data.dataset import COLUMNS, R2N2_CENTRE_CROP, Captures
from p2vlib.files import FileError, read_json, reading
from p2vlib.geometry.cameras import Box, r2n2_camera
from p2vlib.geometry.frames import R2N2_PIXELS, Cube
from p2vlib.geometry.grids import VoxelGrid
from p2vlib.geometry.placement import recrop
from p2vtools.archives.binvox import read_binvox
from p2vtools.archives.camera_files import read_metadata
from p2vtools.archives.capture_folder import RENDERINGS, SPLITS, TAXONOMY, VOXELS, Capture, read_photos
from p2vtools.archives.shards import ShardWriter, open_shards
from p2vtools.files import atomic_directory, file_lock

VIEWS = 24
"""Photos per object in the published archive."""

THINGS3D_VIEWS = 6
"""Photos per object of Things3D (Xie et al., Pix2Vox++, IJCV 2020): 1.68 million photos of 280,000 objects."""

FULL_IMAGE = (0.0, 0.0, float(R2N2_PIXELS), float(R2N2_PIXELS))

CHUNK = 64
"""Objects read at a time."""

STORE_VERSION = 1
"""Increase when the same archive is stored differently."""


def read_taxonomy(path: Path) -> pd.DataFrame:
    """Reads the published taxonomy (``ShapeNet.json``), or that of the synthetic collection.

    Returns:
        Columns synset, split and object, one row for each id in each split of each category, in the order of the file.

    Raises:
        ValueError: no such file, not JSON, or an entry without id, name and three lists of ids.
    """
    fields = {"taxonomy_id": str, "taxonomy_name": str, "train": list, "val": list, "test": list}
    entries, rows = read_json(path, "expected a list of categories", list), []
    if not entries:
        raise FileError(path, "no categories", f"expected {', '.join(fields)}")
    for number, entry in enumerate(entries):
        for key, kind in fields.items():
            if not isinstance(entry, dict) or not isinstance(entry.get(key), kind):
                found = f"category {number} has no {key} ({kind.__name__})"
                raise FileError(path, found, f"it needs {', '.join(fields)}")
        members = [(entry["taxonomy_id"], split, str(name)) for split, key in SPLITS.items() for name in entry[key]]
        for name in [entry["taxonomy_id"], *(name for *_, name in members)]:
            if not name.replace("-", "").replace("_", "").isalnum():  # ids are names of folders
                raise FileError(path, f"{name!r} is not an id", "expected letters, digits, '-' and '_' only")
        rows += members
    return pd.DataFrame(rows, columns=["synset", "split", "object"])


def cross_listed(taxonomy: pd.DataFrame) -> pd.DataFrame:
    """Ids that occur in more than one split, and where (``synset split, …``): columns object, places.

    The archive lists some objects under several categories, so a model that was trained with one of them is tested on
    it in another: 53 test ids of the published taxonomy are also in train.
    """
    several = taxonomy[taxonomy.groupby("object")["split"].transform("nunique") > 1]
    places = (several["synset"] + " " + several["split"]).groupby(several["object"], sort=False).agg(", ".join)
    return places.rename("places").reset_index()


def without_leaks(taxonomy: pd.DataFrame) -> pd.DataFrame:
    """The taxonomy without the test ids that are also in train, in any category."""
    trained = taxonomy["object"][taxonomy["split"] == "train"]
    return taxonomy[(taxonomy["split"] != "test") | ~taxonomy["object"].isin(trained)]


def read_object(root: Path, synset: str, name: str, views: int = VIEWS, size: int = 32) -> Capture:
    """Reads an object of the archive, with cameras and ground truth in one frame and photos in clockwise order.

    The archive has random azimuths; ``subject["files"]`` holds the clockwise index of each file. Its cameras are those
    of `r2n2_camera`. Its grids are centred on the origin with an edge of ``scale``, whatever ``translate`` says; both
    were fitted to the published renderings.

    Raises:
        ValueError: a missing or unreadable photo, metadata without ``views`` rows, a grid of another size.
    """
    rendering = root / RENDERINGS / synset / name / "rendering"
    if not rendering.is_dir():
        raise FileError(rendering, f"missing, although the taxonomy lists {synset}/{name}", "expected its photos")
    files, photos = read_photos(rendering)
    rows = read_metadata(rendering / "rendering_metadata.txt", views)
    if len(photos) != views:
        raise FileError(rendering, f"{len(photos)} photos are listed", f"expected {views}")
    voxels = root / VOXELS / synset / name / "model.binvox"
    truth = read_binvox(voxels)
    if truth.size != size:
        raise FileError(voxels, f"a grid of {truth.size}^3", f"expected {size}^3, as the rest of the archive")
    with reading(rendering / "rendering_metadata.txt", "expected the cameras of the archive"):
        cameras = [r2n2_camera(row, 1.0, np.zeros(3), *photo.size) for row, photo in zip(rows, photos, strict=True)]
    azimuths = np.array([row[0] for row in rows])
    first = azimuths[np.abs((azimuths + 180) % 360 - 180).argmin()]  # nearest the front
    order = np.argsort((azimuths - first) % 360, kind="stable")
    subject = {"subject": name, "taxonomy": synset, "look": "studio", "metadata": "r2n2"}
    subject["files"] = np.argsort(order).tolist()
    edge = truth.cube.edge
    grid = VoxelGrid(truth.volume, Cube((-edge / 2,) * 3, edge))
    files, photos, cameras = ([values[i] for i in order] for values in (files, photos, cameras))
    return Capture(photos, cameras, rendering.parent, subject, files, grid)


# --------------------------------------------------------------------------------------------------- the whole archive


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
    """The archive below ``root`` as captures, and a table of what was skipped (columns object, reason).

    On first use all photos are decoded into one file beside the archive (75 kB per photo, 79 GB in all), which is then
    memory-mapped, unless `ensure_store` has written shards; batches are cropped on the device.

    Args:
        root: folder with ``ShapeNet.json``, ``ShapeNetRendering`` and ``ShapeNetVox32``.
        image_size: edge of the cropped photos, pixels.
        as_published: crop photos to their centre and test as the published code does (`Captures.as_published`), instead
            of cropping to the projected cube and testing evenly spaced photos.
        limit: maximum number of objects per category and split; 0: all.
        drop_leaks: omit test objects that are also in train.
        on_error: ``skip`` objects that cannot be read, or ``stop``.
        dataset: Things3D has the same layout, with fewer photos per object.

    Raises:
        FileNotFoundError: no such archive; the message says how to get it.
        ValueError: an object that is not as published.
        OSError: the disk is too small for the decoded photos.
    """
    views = {"shapenet": VIEWS, "things3d": THINGS3D_VIEWS}[dataset]
    store = ensure_store(Path(root), views, limit, drop_leaks, on_error)
    table = pd.read_csv(store / "table.csv", dtype=str, keep_default_na=False)
    images = open_shards(store) if _is_sharded(store) else _open_decoded(store, len(table), views)
    truth = np.unpackbits(np.load(store / "truth.npy"), axis=1)
    size = round(truth.shape[1] ** (1 / 3))
    stored = torch.from_numpy(np.load(store / "boxes.npy"))
    boxes = stored.new_tensor(R2N2_CENTRE_CROP).expand_as(stored).clone() if as_published else stored
    cameras = torch.from_numpy(np.load(store / "cameras.npy"))
    captures = Captures(
        table.assign(dataset=dataset),
        images,
        torch.from_numpy(truth.reshape(-1, size, size, size).view(bool)),
        recrop(cameras, boxes.new_tensor(FULL_IMAGE).expand_as(boxes), boxes),
        boxes,
        image_size,
        f"{store.name} {'middle' if as_published else 'box'}",
        torch.from_numpy(np.load(store / "files.npy")),
        as_published,
    )
    return captures, pd.read_csv(store / "skipped.csv", dtype=str)


Wanted = Sequence[tuple[str, str, str]]
"""Split, synset and id of each object."""


def ensure_store(
    root: Path,
    views: int = VIEWS,
    limit: int = 0,
    drop_leaks: bool = False,
    on_error: str = "stop",
    shards: bool = False,
) -> Path:
    """The folder with the photos, decoded or in ``shards``, which is filled first if it is missing or stale.

    The arguments and exceptions are those of `load`, which uses shards where they exist.
    """
    if missing := [name for name in (TAXONOMY, RENDERINGS, VOXELS) if not (root / name).exists()]:
        how = f"get it with `p2v fetch shapenet --root {root}`, or put" if views == VIEWS else "put"
        raise FileNotFoundError(
            f"{root}: there is no {missing[0]}; {how} {TAXONOMY}, {RENDERINGS} and {VOXELS} there by hand"
        )
    taxonomy = read_taxonomy(root / TAXONOMY)
    if drop_leaks:
        taxonomy = without_leaks(taxonomy)
    if limit:
        taxonomy = taxonomy.groupby(["synset", "split"]).head(limit)
    columns = [taxonomy[taxonomy["split"] == split][["split", "synset", "object"]] for split in SPLITS]
    wanted = [*pd.concat(columns).itertuples(index=False, name=None)]
    key = json.dumps([STORE_VERSION, views, wanted])
    name = hashlib.sha256(key.encode()).hexdigest()[:16]
    store = root / ("shards" if shards or (root / "shards" / name).is_dir() else "decoded") / name
    with file_lock(store.parent / "lock"):  # the first of several processes fills it
        if store.is_dir() and _is_stale(root, store, views, on_error):
            shutil.rmtree(store)
        if not store.is_dir():
            _fill_store(root, wanted, store, views, on_error)
    return store


def _is_stale(root: Path, store: Path, views: int, on_error: str) -> bool:
    """Whether ``store`` is damaged, or an object that was skipped when it was filled must not be skipped now."""
    try:
        with reading(store, "it is filled again"):
            skipped, count = pd.read_csv(store / "skipped.csv", dtype=str).object, len(pd.read_csv(store / "table.csv"))
            lengths = {len(np.load(store / f"{name}.npy", "r")) for name in ("boxes", "cameras", "files", "truth")}
            photos = len(open_shards(store)) if _is_sharded(store) else (store / "photos").stat().st_size
            if lengths != {count} or photos != count * (1 if _is_sharded(store) else views * 4 * R2N2_PIXELS**2):
                raise ValueError("its files do not have the same number of objects")
    except (FileError, OSError) as error:
        progress.log(str(error))
        return True
    if on_error == "stop":
        return len(skipped) > 0
    objects = (name.split("/") for name in skipped)
    return any(not isinstance(_decode(root, synset, name, views), Exception) for synset, name in objects)


def _is_sharded(store: Path) -> bool:
    return store.parent.name == "shards"


def _open_decoded(store: Path, captures: int, views: int) -> Tensor:
    # Read-only, since for a writable map the system reserves memory for all of it. These tensors are never written to.
    photos = np.memmap(store / "photos", np.uint8, "r", shape=(captures, views, 4, R2N2_PIXELS, R2N2_PIXELS))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(photos)


def _fill_store(root: Path, wanted: Wanted, store: Path, views: int, on_error: str) -> None:
    sharded = _is_sharded(store)
    needed = len(wanted) * views * R2N2_PIXELS**2 * (1 if sharded else 4)
    if (free := shutil.disk_usage(store.parent).free) < needed:
        raise OSError(f"{store.parent}: {free / 2**30:.1f} GiB are free; the photos need {needed / 2**30:.1f} GiB")
    rows, boxes, cameras, grids, files, skipped = [], [], [], [], [], []
    with atomic_directory(store) as partial:
        with contextlib.closing(ShardWriter(partial) if sharded else open(partial / "photos", "wb")) as stream:
            for (split, synset, name), found in _decode_all(root, wanted, views):
                if isinstance(found, Exception):
                    if on_error == "stop":
                        raise found
                    skipped.append((f"{synset}/{name}", str(found)))
                    continue
                capture, pixels, crop_boxes = found
                stream.write(f"{synset}-{name}", capture.files) if sharded else stream.write(pixels)
                boxes.append(crop_boxes)
                cameras.append([camera.normalised(capture.truth.cube, FULL_IMAGE) for camera in capture.cameras])
                files.append(capture.subject["files"])
                grids.append(np.packbits(capture.truth.volume))
                # An object in two categories is one subject and two samples.
                rows.append((f"{synset}-{name}", name, "shapenet", synset, "studio", "steady", split, "none", "object"))
        if not rows:
            raise FileError(root, f"none of its {len(wanted)} objects can be read", f"the first: {skipped[0][1]}")
        pd.DataFrame(rows, columns=list(COLUMNS)).to_csv(partial / "table.csv", index=False)
        pd.DataFrame(skipped, columns=["object", "reason"]).to_csv(partial / "skipped.csv", index=False)
        np.save(partial / "boxes.npy", np.array(boxes, np.float32))
        np.save(partial / "cameras.npy", np.array(cameras, np.float32))
        np.save(partial / "files.npy", np.array(files))
        np.save(partial / "truth.npy", np.stack(grids))


Decoded = tuple[Capture, bytes, list[Box]]
"""An object, the pixels of its photos, and their crop boxes."""


def _decode_all(root: Path, wanted: Wanted, views: int) -> Iterator[tuple[tuple[str, str, str], Decoded | Exception]]:
    """Each of ``wanted`` with the result of `_decode`, in order."""
    with ThreadPoolExecutor() as pool, progress.bar(title="objects", total=len(wanted), unit="object") as bar:
        for first in range(0, len(wanted), CHUNK):
            chunk = wanted[first : first + CHUNK]
            results = pool.map(lambda one: _decode(root, one[1], one[2], views), chunk)
            yield from zip(chunk, results, strict=True)
            bar.update(len(chunk))


def _decode(root: Path, synset: str, name: str, views: int) -> Decoded | Exception:
    """An object of the archive, or the error instead."""
    try:
        capture = read_object(root, synset, name, views)
        pixels = b"".join(_pixels(photo, capture.folder) for photo in capture.photos)
        with reading(capture.folder / "rendering" / "rendering_metadata.txt", "expected the cameras of the archive"):
            boxes = [camera.crop_box(capture.truth.cube) for camera in capture.cameras]
        return capture, pixels, boxes
    except (ValueError, OSError) as error:
        return error


def _pixels(photo: Image.Image, folder: Path) -> bytes:
    if photo.size != (R2N2_PIXELS, R2N2_PIXELS) or photo.mode != "RGBA":
        found = f"{photo.width} x {photo.height} pixels, {photo.mode}"
        raise FileError(folder, f"a photo of {found}", f"expected {R2N2_PIXELS} square, RGBA")
    return np.asarray(photo).transpose(2, 0, 1).tobytes()
