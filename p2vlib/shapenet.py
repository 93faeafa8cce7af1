"""The real R2N2 archive of ShapeNet: its taxonomy with its leaks, its objects with their true camera.

Choy et al., 3D-R2N2 (ECCV 2016): ``ShapeNetRendering/<synset>/<id>/rendering/00.png …``, 137 pixels, RGBA, and
``ShapeNetVox32/<synset>/<id>/model.binvox``. Column 5 of its metadata is not the camera's field of view, and the header
of a grid does not place it: see `cameras.r2n2_camera` and `read_object`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .cameras import r2n2_camera, read_metadata
from .conventions import Cube
from .datasets import Capture, read_photos
from .grids import VoxelGrid, read_binvox

VIEWS = 24
"""Photos of an object in the published archive."""

SPLITS = {"train": "train", "validation": "val", "test": "test"}
"""Our name of a split -> its key in the taxonomy file."""

RENDERINGS, VOXELS = "ShapeNetRendering", "ShapeNetVox32"


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


def missing(root: Path, categories: list[Category]) -> list[str]:
    """``synset/id`` of everything in the taxonomy that lacks its pictures or its grid below ``root``."""
    everyone = [(c.synset, name) for c in categories for split in SPLITS for name in getattr(c, split)]
    return [
        f"{synset}/{name}"
        for synset, name in dict.fromkeys(everyone)
        if not (root / RENDERINGS / synset / name / "rendering").is_dir()
        or not (root / VOXELS / synset / name / "model.binvox").is_file()
    ]


def read_object(root: Path, synset: str, name: str, views: int = VIEWS, grid: int = 32) -> Capture:
    """Reads one object of the archive, its cameras and its grid in one frame.

    The camera stands at 1.75 times column 4 and sees 49.13 degrees; the grid is centred on the origin and as large as
    its header's ``scale``, whatever its ``translate`` says. Both were fitted to the real renderings.

    Raises:
        ValueError: a missing or unreadable picture, other metadata than ``views`` rows, a grid of another size.
    """
    rendering = root / RENDERINGS / synset / name / "rendering"
    voxels = root / VOXELS / synset / name / "model.binvox"
    photos, sizes = read_photos(rendering)
    rows = read_metadata(rendering / "rendering_metadata.txt", views)
    if len(photos) != views:
        raise ValueError(f"{rendering}: {len(photos)} pictures are listed; expected {views}")
    truth = read_binvox(voxels)
    if truth.size != grid:
        raise ValueError(f"{voxels}: a grid of {truth.size}^3; expected {grid}^3, as the rest of the archive")
    edge = truth.cube.edge
    cameras = [r2n2_camera(row, 1.0, np.zeros(3), *size) for row, size in zip(rows, sizes, strict=True)]
    subject = {"subject": name, "taxonomy": synset, "look": "studio", "metadata": "r2n2"}
    placed = VoxelGrid(truth.volume, Cube((-edge / 2,) * 3, edge))
    return Capture(rendering.parent, subject, photos, cameras, placed)
