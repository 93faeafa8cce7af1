"""The Pix3D archive: its index, photos with masks and cameras, and ground-truth volumes, in the frame of this project.

Sun et al., Pix3D (CVPR 2018): ``pix3d.json`` lists photos of furniture, each with a mask, a fitted camera and the model
that it shows, as a ``voxel.mat`` of 128^3. According to the authors' README, the axes of a model are left, up, inward
and those of a volume left, outward, up, where left is that of a person who looks at the front of the object.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, UInt8
from PIL import Image

from p2vlib import progress
from p2vlib.data.dataset import COLUMNS, Captures
from p2vlib.files import FileError, check_size, read_json, reading
from p2vlib.geometry.cameras import Box, Camera
from p2vlib.geometry.frames import Cube, Volume
from p2vlib.geometry.grids import VoxelGrid
from p2vtools import limits
from p2vtools.archives.binvox import GRID_SIZE
from p2vtools.archives.capture_folder import Capture
from p2vtools.archives.photo_files import decode_photo

INDEX = "pix3d.json"

SENSOR = 32.0
"""Sensor width in mm to which all focal lengths of the archive refer."""

CUBE = Cube((-0.5, -0.5, -0.5), 1.0)
"""The cube of the volumes: the unit cube around the origin of the models. The archive does not define it."""

MODEL_TO_WORLD = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
"""Model axes (left, up, inward) to world axes: front = -inward, up, right of the object = left of the observer. The
determinant is 1: a rotation by 90 degrees about y, not a reflection."""

VOLUME_AXES = (1, 2, 0)
"""Volume axes (left, outward, up) in the order of world axes (front = outward, up, right = left): a cyclic permutation,
so again not a reflection, and no axis is reversed."""

CAMERA_TO_OPENCV = np.diag([-1.0, -1.0, 1.0])
"""Camera axes of the archive (x left, y up, z forward) to OpenCV (x right, y down, z forward)."""

CHAIR = "03001627"
"""ShapeNet synset of the only category in published tables."""

CHAIR_EXTENT = 0.73
"""Fraction of the image edge that a chair covers in training: the median of the synthetic chairs, which are cropped to
their projected cube. The archive has bounding boxes only."""

KEYS = (
    "img mask voxel category img_size bbox rot_mat trans_mat focal_length truncated occluded slightly_occluded".split()
)


@dataclass(frozen=True, eq=False)
class Picture:
    """A validated entry of the index: a photo of an object and its camera, in the axes of the archive."""

    name: str
    """Path of the file without ``img`` and suffix, such as chair-0001."""

    category: str
    img: Path
    mask: Path
    voxel: Path
    """Files, relative to the folder of the archive."""

    size: tuple[int, int]
    """Width and height, pixels."""

    box: Box
    """Left, top, right, bottom of the object, pixels."""

    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, " 3"]
    """Model to camera (x left, y up, z forward)."""

    focal_length: float
    """Millimetres, for a sensor of width `SENSOR`."""

    truncated: bool
    occluded: bool
    """Whether the object is occluded, even slightly."""

    def camera(self) -> Camera:
        """The camera in the world frame; pixels are square, and the principal point is the centre of the image.

        Raises:
            ValueError: the matrix is not a rotation.
        """
        width, height = self.size
        focal = self.focal_length / SENSOR * width
        extrinsics = np.eye(4)
        extrinsics[:3, :3] = CAMERA_TO_OPENCV @ self.rotation @ MODEL_TO_WORLD.T
        extrinsics[:3, 3] = CAMERA_TO_OPENCV @ self.translation
        intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
        return Camera(intrinsics, extrinsics, width, height)


def read_index(root: str | Path) -> list[Picture]:
    """Reads and validates ``pix3d.json``, without opening the files that it lists.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, not a list, an entry with a missing or invalid value, a file outside ``root``.
    """
    root = Path(root)
    path = root / INDEX
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected the index of Pix3D (a JSON list of pictures)")
    entries = read_json(path, "expected a list of pictures", list)
    if not entries:
        raise FileError(path, "no pictures", f"expected entries with {', '.join(KEYS)}")
    pictures: dict[str, Picture] = {}
    for number, entry in enumerate(entries):
        if missing := [key for key in KEYS if not isinstance(entry, dict) or key not in entry]:
            raise FileError(path, f"entry {number} has no {missing[0]}", f"it needs {', '.join(KEYS)}")
        picture = _picture(root, f"{path}: entry {number}", entry)
        if picture.name in pictures:
            raise FileError(path, f"entry {number} is a second {picture.name}", "expected each picture once")
        pictures[picture.name] = picture
    return list(pictures.values())


def _picture(root: Path, where: str, entry: Any) -> Picture:
    for key in ("img", "mask", "voxel", "category"):
        if not isinstance(entry[key], str):
            raise FileError(where, f"{key} is {entry[key]!r}", "expected text")
    for key in ("truncated", "occluded", "slightly_occluded"):
        if not isinstance(entry[key], bool):
            raise FileError(where, f"{key} is {entry[key]!r}", "expected true or false")
    files = {key: _inside(root, where, key, entry[key]) for key in ("img", "mask", "voxel")}
    name = str(PurePosixPath(entry["img"]).with_suffix("")).removeprefix("img/").replace("/", "-")
    if not re.fullmatch("[A-Za-z0-9_-]+", name):
        raise FileError(
            where, f"img {entry['img']!r} is not an id", "expected letters, digits, '-' and '_', as in img/chair/0001"
        )
    box = _numbers(where, entry, "bbox", (4,), "left, top, right, bottom in pixels")
    if box[0] >= box[2] or box[1] >= box[3]:
        raise FileError(where, f"bbox {box.tolist()} is empty", "expected left < right and top < bottom")
    size = _numbers(where, entry, "img_size", (2,), "width and height in pixels")
    if (size < 1).any() or (size % 1).any():
        raise FileError(where, f"img_size is {entry['img_size']}", "expected two whole numbers from 1")
    focal_length = _numbers(where, entry, "focal_length", (), "millimetres")
    if focal_length <= 0:
        raise FileError(where, f"focal_length is {entry['focal_length']}", "expected millimetres above zero")
    return Picture(
        name=name,
        category=entry["category"],
        **files,
        size=(int(size[0]), int(size[1])),
        box=tuple(box.tolist()),
        rotation=_numbers(where, entry, "rot_mat", (3, 3), "a rotation"),
        translation=_numbers(where, entry, "trans_mat", (3,), "the position of the object"),
        focal_length=float(focal_length),
        truncated=entry["truncated"],
        occluded=entry["occluded"] or entry["slightly_occluded"],
    )


def _inside(root: Path, where: str, key: str, name: str) -> Path:
    """``name`` as a path relative to ``root``; ValueError if it leads out of it, by ``..`` or a link."""
    if "\0" in name or not (root / name).resolve().is_relative_to(root.resolve()) or Path(name).is_absolute():
        raise FileError(where, f"{key} {name!r} is outside {root}", "expected a file of the archive")
    return Path(name)


def _numbers(where: str, entry: dict, key: str, shape: tuple[int, ...], meaning: str) -> Float[np.ndarray, "..."]:
    value = entry[key]
    try:
        numbers = np.array(value)
    except ValueError:  # rows of different lengths
        numbers = np.array(None)
    # Strings and booleans must not be converted silently; integers above 64 bits are objects.
    if numbers.dtype.kind not in "iuf" or numbers.shape != shape or not np.isfinite(numbers).all():
        many = " x ".join(map(str, shape)) + " finite numbers" if shape else "a finite number"
        raise FileError(where, f"{key} is {value!r}", f"expected {many}: {meaning}")
    return numbers.astype(float)


def evaluation_subset(pictures: Iterable[Picture], category: str = "chair") -> list[Picture]:
    """The pictures of published tables: neither truncated nor occluded.

    For chairs these are 2,894, according to the README and the list in the authors' evaluation code.
    """
    return [p for p in pictures if p.category == category and not p.truncated and not p.occluded]


def load(
    root: Path, image_size: int, *, limit: int = 0, on_error: Literal["stop", "skip"] = "stop"
) -> tuple[Captures, pd.DataFrame]:
    """The chairs of `evaluation_subset` as captures with one view, and a table of what was skipped (object, reason).

    The background is masked out, since the networks are trained without background.

    Args:
        root: folder with ``pix3d.json``, ``img``, ``mask`` and ``model``.
        image_size: edge of the cropped photos, pixels.
        limit: maximum number of pictures; 0: all.
        on_error: ``skip`` pictures that cannot be read, or ``stop``.

    Raises:
        FileNotFoundError: no such archive; the message says how to get it.
        ValueError: an invalid picture, mask or volume.
    """
    root = Path(root)
    if not (root / INDEX).is_file():
        raise FileNotFoundError(
            f"{root}: there is no {INDEX}; get it with `p2v fetch pix3d`, which makes data/pix3d/pix3d, "
            f"or unpack pix3d.zip by hand and name the folder with {INDEX} as root"
        )
    wanted = evaluation_subset(read_index(root))[: limit or None]
    rows, photos, grids, skipped = [], [], [], []
    for picture in progress.bar(wanted, "pictures", unit="picture"):
        try:
            capture = read_picture(root, picture)
        except ValueError as error:
            if on_error == "stop":
                raise
            skipped.append((picture.name, str(error)))
            continue
        rows.append(
            (picture.name, capture.subject["subject"], "pix3d", CHAIR, "photo", "steady", "test", "none", "object")
        )
        # Outside the photo the crop is transparent.
        crop = capture.photos[0].crop(square_box(picture.box))
        photos.append(np.asarray(crop.resize((image_size, image_size), Image.Resampling.BOX)))
        grids.append(capture.truth.volume)
    if not rows:
        raise FileError(
            root, f"none of {len(wanted)} chairs can be read", f"the first: {(skipped or [('', 'none')])[0][1]}"
        )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    pictures = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2)[:, None].contiguous()
    captures = Captures(table, pictures, torch.from_numpy(np.stack(grids)))
    return captures, pd.DataFrame(skipped, columns=["object", "reason"])


def square_box(box: Box) -> tuple[int, int, int, int]:
    """The square around ``box`` of which its longer side covers `CHAIR_EXTENT`, integer pixels."""
    left, top, right, bottom = box
    edge = round(max(right - left, bottom - top) / CHAIR_EXTENT)
    corner = round((left + right - edge) / 2), round((top + bottom - edge) / 2)
    return (*corner, corner[0] + edge, corner[1] + edge)


def read_picture(root: str | Path, picture: Picture, grid: int = 32) -> Capture:
    """Reads a picture with its camera and ground truth, in the world frame.

    The photo is RGBA with the mask as alpha. The subject is the model, which many pictures share; the name of the
    picture is the last part of ``folder``, which need not exist.

    Args:
        grid: voxels per edge of the ground truth.

    Raises:
        ValueError: a missing or unreadable file, a mask or ``img_size`` that does not match the picture, an empty mask,
            no rotation in the index, an invalid volume, or one that cannot be reduced to ``grid``^3.
    """
    root = Path(root)
    colours = _pixels(root / picture.img, "RGB")
    alpha = _pixels(root / picture.mask, "L")
    (height, width), (mask_height, mask_width) = colours.shape[:2], alpha.shape
    if (width, height) != picture.size:
        listed = "{} x {}".format(*picture.size)
        raise FileError(root / picture.img, f"{width} x {height} pixels", f"its img_size in {INDEX} says {listed}")
    if (mask_width, mask_height) != (width, height):
        raise FileError(
            root / picture.mask,
            f"{mask_width} x {mask_height} pixels",
            f"expected {width} x {height}, as its picture {picture.img}",
        )
    left, top, right, bottom = picture.box
    if left < -1 or top < -1 or right > width + 1 or bottom > height + 1:
        raise FileError(
            root / INDEX,
            f"bbox of {picture.name} is {list(picture.box)}",
            f"expected one inside its {width} x {height} pixels",
        )
    if alpha.max() < 128:
        raise FileError(root / picture.mask, "empty", "expected a mask that is white on the object")
    with reading(root / INDEX, f"expected a camera for {picture.name}, with a rotation as rot_mat"):
        camera = picture.camera()
    truth = VoxelGrid(_volume(root / picture.voxel, grid), CUBE)
    subject = {
        "subject": picture.voxel.parent.as_posix(),
        "taxonomy": picture.category,
        "look": "photo",
        "metadata": "pix3d",
        "box": list(picture.box),
    }
    photo = Image.fromarray(np.dstack([colours, alpha]))
    folder = root / picture.name
    return Capture([photo], [camera], [picture.name], folder=folder, subject=subject, files=[], truth=truth)


def _pixels(path: Path, mode: str) -> UInt8[np.ndarray, "height width *channels"]:
    """The pixels of an image, converted to a ``mode`` of Pillow."""
    check_size(path, limits.PHOTO_BYTES, f"{INDEX} lists it")
    return np.asarray(decode_photo(path, path.read_bytes()).convert(mode))


def _volume(path: Path, size: int) -> Volume:
    """The volume of a ``voxel.mat`` in world axes, reduced to ``size``^3.

    A voxel is occupied if any of its parts is, as in the evaluation of Pix3D, which reduces 128 to 32. A threshold of
    one half would lose the legs of chairs, which are two of 128 voxels wide.
    """
    from scipy.io import loadmat, whosmat

    check_size(path, limits.SCAN_BYTES, f"{INDEX} lists it")
    if size < 1:
        raise ValueError(f"a grid needs at least one voxel per edge; found {size}")
    # The shape is read from the header and checked before memory is allocated.
    shapes = {name: shape for name, shape, _ in _matlab(path, whosmat)}
    if "voxel" not in shapes:
        raise FileError(path, "no array voxel", f"found {sorted(shapes)}")
    shape = shapes["voxel"]
    if len(shape) != 3 or len(set(shape)) != 1 or shape[0] % size or not 0 < shape[0] <= GRID_SIZE:
        raise FileError(
            path,
            f"voxel is {' x '.join(map(str, shape))}",
            f"expected a cube whose edge is a multiple of {size}, at most {GRID_SIZE}",
        )
    voxels = _matlab(path, loadmat, variable_names=["voxel"])["voxel"]
    if voxels.shape != shape or voxels.dtype.kind not in "biuf" or not ((voxels == 0) | (voxels == 1)).all():
        raise FileError(path, f"voxel ({voxels.dtype}) has other values than 0 and 1", "expected a solid")
    if not voxels.any():
        raise FileError(path, "voxel is empty", "expected at least one 1")
    volume = voxels.astype(bool).transpose(VOLUME_AXES)
    step = shape[0] // size
    return volume.reshape(size, step, size, step, size, step).any(axis=(1, 3, 5))


def _matlab(path: Path, read: Callable[..., Any], **options: object) -> Any:
    with reading(path, "expected a MATLAB file with an array voxel"):
        return read(path, appendmat=False, **options)
