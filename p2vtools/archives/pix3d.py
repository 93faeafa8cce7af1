"""The Pix3D archive: its index, photos with masks, and ground-truth volumes, in the axes of this project.

Sun et al., Pix3D (CVPR 2018): ``pix3d.json`` lists photos of furniture, each with a mask and the model that it shows,
as a ``voxel.mat`` of 128^3. According to the authors' README, the axes of a volume are left, outward, up, where left is
that of a person who looks at the front of the object. The cameras in the index are not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import UInt8
from PIL import Image

from p2vlib import progress
from p2vlib.data.dataset import COLUMNS, Captures
from p2vlib.files import FileError, check_size, read_json, reading
from p2vlib.geometry.frames import Volume
from p2vtools import limits
from p2vtools.archives.binvox import GRID_SIZE
from p2vtools.archives.photo_files import decode_photo

INDEX = "pix3d.json"

VOLUME_AXES = (1, 2, 0)
"""Volume axes (left, outward, up) in the order of world axes (front = outward, up, right of the object = left of the
observer): a cyclic permutation, so not a reflection, and no axis is reversed."""

SIZE = 32
"""Voxels per edge of the ground truth."""

CHAIR = "03001627"
"""ShapeNet synset of the only category in published tables."""

CHAIR_EXTENT = 0.73
"""Fraction of the image edge that a chair covers in training: the median of the synthetic chairs, which are cropped to
their projected cube. The archive has bounding boxes only."""

FILES = ("img", "mask", "voxel")
HIDDEN = ("truncated", "occluded", "slightly_occluded")
FIELDS = {**dict.fromkeys((*FILES, "category"), str), "bbox": list, **dict.fromkeys(HIDDEN, bool)}
"""Keys of an entry of the index that are read, with the types of their values."""


def read_index(root: Path) -> dict[str, dict[str, Any]]:
    """Reads and validates ``pix3d.json``, without opening the files that it lists.

    Returns:
        The entry of each picture by its id: the path of the photo without ``img`` and suffix, such as chair-0001. Files
        are relative to ``root``, and ``bbox`` is left, top, right, bottom of the object, pixels.

    Raises:
        ValueError: not JSON, not a list, an entry with a missing or invalid value, a file outside ``root``.
    """
    path = root / INDEX
    pictures: dict[str, dict[str, Any]] = {}
    for number, entry in enumerate(read_json(path, "expected a list of pictures", list)):
        name = _check_entry(root, f"{path}: entry {number}", entry)
        if name in pictures:
            raise FileError(path, f"entry {number} is a second {name}", "expected each picture once")
        pictures[name] = entry
    return pictures


def _check_entry(root: Path, where: str, entry: Any) -> str:
    """The id of a valid entry."""
    for key, kind in FIELDS.items():
        value = entry.get(key) if isinstance(entry, dict) else None
        if not isinstance(value, kind):
            found = f"{key} is {value!r}"
            raise FileError(where, found, f"expected {kind.__name__}; an entry needs {', '.join(FIELDS)}")
    for key in FILES:
        name = entry[key]
        if "\0" in name or not (root / name).resolve().is_relative_to(root.resolve()) or Path(name).is_absolute():
            raise FileError(where, f"{key} {name!r} is outside {root}", "expected a file of the archive")
    name = str(PurePosixPath(entry["img"]).with_suffix("")).removeprefix("img/").replace("/", "-")
    if not re.fullmatch("[A-Za-z0-9_-]+", name):
        expected = "expected letters, digits, '-' and '_', as in img/chair/0001"
        raise FileError(where, f"img {entry['img']!r} is not an id", expected)
    box = entry["bbox"]
    is_box = len(box) == 4 and all(type(value) in (int, float) and abs(value) < 1e6 for value in box)  # no NaN
    if not is_box or box[0] >= box[2] or box[1] >= box[3]:
        raise FileError(where, f"bbox is {box}", "expected left < right and top < bottom in pixels, as left, top, ...")
    return name


def load(
    root: Path, image_size: int, *, limit: int = 0, on_error: Literal["stop", "skip"] = "stop"
) -> tuple[Captures, pd.DataFrame]:
    """The chairs of published tables as captures with one view, and a table of what was skipped (object, reason).

    These are the chairs that are neither truncated nor occluded: 2,894, according to the README and the list in the
    authors' evaluation code. The background is masked out, since the networks are trained without background.

    Args:
        root: folder with ``pix3d.json``, ``img``, ``mask`` and ``model``.
        image_size: edge of the cropped photos, pixels.
        limit: maximum number of pictures; 0: all.
        on_error: ``skip`` pictures that cannot be read, or ``stop``.

    Raises:
        FileNotFoundError: no such archive; the message says how to get it.
        ValueError: an invalid index, picture, mask or volume.
    """
    if not (root / INDEX).is_file():
        raise FileNotFoundError(
            f"{root}: there is no {INDEX}; get it with `p2v fetch pix3d`, which makes data/pix3d/pix3d, "
            f"or unpack pix3d.zip by hand and name the folder with {INDEX} as root"
        )
    chairs = [(name, entry) for name, entry in read_index(root).items() if entry["category"] == "chair"]
    whole = [(name, entry) for name, entry in chairs if not any(entry[key] for key in HIDDEN)]
    rows, photos, volumes, skipped = [], [], [], []
    for name, entry in progress.bar(whole[: limit or None], "pictures", unit="picture"):
        try:
            photo, volume = read_picture(root, name, entry)
        except ValueError as error:
            if on_error == "stop":
                raise
            skipped.append((name, str(error)))
            continue
        model = PurePosixPath(entry["voxel"]).parent.as_posix()  # many pictures share a model
        rows.append((name, model, "pix3d", CHAIR, "photo", "steady", "test", "none", "object"))
        crop = photo.crop(square_box(entry["bbox"]))  # transparent outside the photo
        photos.append(np.asarray(crop.resize((image_size, image_size), Image.Resampling.BOX)))
        volumes.append(volume)
    if not rows:
        first = skipped[0][1] if skipped else "there is none"
        raise FileError(root, f"none of {len(skipped)} chairs can be read", f"the first: {first}")
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    views = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2)[:, None].contiguous()
    captures = Captures(table, views, torch.from_numpy(np.stack(volumes)))
    return captures, pd.DataFrame(skipped, columns=["object", "reason"])


def square_box(box: Sequence[float]) -> tuple[int, int, int, int]:
    """The square around ``box`` of which its longer side covers `CHAIR_EXTENT`, integer pixels."""
    left, top, right, bottom = box
    edge = round(max(right - left, bottom - top) / CHAIR_EXTENT)
    corner = round((left + right - edge) / 2), round((top + bottom - edge) / 2)
    return (*corner, corner[0] + edge, corner[1] + edge)


def read_picture(root: Path, name: str, entry: Mapping[str, Any]) -> tuple[Image.Image, Volume]:
    """The photo of an ``entry`` of the index, RGBA with the mask as alpha, and the ground truth in world axes.

    Raises:
        ValueError: a missing or unreadable file, a mask of another size, an empty mask, a box outside the photo, or an
            invalid volume.
    """
    img, mask, voxel = (root / entry[key] for key in FILES)
    colours, alpha = _pixels(img, "RGB"), _pixels(mask, "L")
    height, width = colours.shape[:2]
    if alpha.shape != (height, width):
        found, expected = f"{alpha.shape[1]} x {alpha.shape[0]} pixels", f"expected {width} x {height}"
        raise FileError(mask, found, f"{expected}, as its picture {entry['img']}")
    left, top, right, bottom = box = [*map(float, entry["bbox"])]
    if left < -1 or top < -1 or right > width + 1 or bottom > height + 1:
        found = f"bbox of {name} is {box}"
        raise FileError(root / INDEX, found, f"expected one inside its {width} x {height} pixels")
    if alpha.max() < 128:
        raise FileError(mask, "empty", "expected a mask that is white on the object")
    return Image.fromarray(np.dstack([colours, alpha])), _volume(voxel)


def _pixels(path: Path, mode: str) -> UInt8[np.ndarray, "height width *channels"]:
    """The pixels of an image, converted to a ``mode`` of Pillow."""
    check_size(path, limits.PHOTO_BYTES, f"{INDEX} lists it")
    return np.asarray(decode_photo(path, path.read_bytes()).convert(mode))


def _volume(path: Path) -> Volume:
    """The volume of a ``voxel.mat`` in world axes, reduced to `SIZE`^3.

    A voxel is occupied if any of its parts is, as in the evaluation of Pix3D, which reduces 128 to 32. A threshold of
    one half would lose the legs of chairs, which are two of 128 voxels wide.
    """
    from scipy.io import loadmat, whosmat

    check_size(path, limits.SCAN_BYTES, f"{INDEX} lists it")
    with reading(path, "expected a MATLAB file with an array voxel"):
        # The shape is read from the header and checked before memory is allocated.
        shape = {name: shape for name, shape, _ in whosmat(path, appendmat=False)}["voxel"]
        if len(shape) != 3 or len(set(shape)) != 1 or shape[0] % SIZE or not 0 < shape[0] <= GRID_SIZE:
            expected = f"expected a cube whose edge is a multiple of {SIZE}, at most {GRID_SIZE}"
            raise FileError(path, f"voxel is {' x '.join(map(str, shape))}", expected)
        voxels = loadmat(path, appendmat=False, variable_names=["voxel"])["voxel"]
        if voxels.shape != shape or voxels.dtype.kind not in "biuf" or not ((voxels == 0) | (voxels == 1)).all():
            raise FileError(path, f"voxel ({voxels.dtype}) has other values than 0 and 1", "expected a solid")
        if not voxels.any():
            raise FileError(path, "voxel is empty", "expected at least one 1")
    step = shape[0] // SIZE
    volume = voxels.astype(bool).transpose(VOLUME_AXES)
    return volume.reshape(SIZE, step, SIZE, step, SIZE, step).any(axis=(1, 3, 5))
