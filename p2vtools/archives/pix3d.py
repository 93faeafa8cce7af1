"""The real Pix3D archive: its index, its pictures with their masks and cameras, its solids, in our frame.

Sun et al., Pix3D (CVPR 2018): ``pix3d.json`` lists photos of furniture, each with a mask, the camera that was fitted to
it and the model that it shows, as a ``voxel.mat`` of 128^3. It has axes of its own, twice, by the authors' README: a
model's are left, up, inward, a solid's are left, outward, up, where left is that of somebody who looks at the object's
front, and inward is away from them.
"""

from __future__ import annotations

import json
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
from p2vlib.data.capture_folder import Capture, decode_photo
from p2vlib.data.dataset import COLUMNS, Captures
from p2vlib.geometry.cameras import Camera
from p2vlib.geometry.frames import Cube, Volume
from p2vlib.geometry.grids import VoxelGrid

INDEX = "pix3d.json"

SENSOR = 32.0
"""Width of the sensor in mm that all focal lengths of the archive refer to."""

LARGEST_SOLID = 512
"""No ``voxel.mat`` may have more voxels a side; it is refused before memory is taken for it. The archive's have 128."""

CUBE = Cube((-0.5, -0.5, -0.5), 1.0)
"""Where a solid lies: the unit cube about the origin of the models. The archive itself does not say."""

FROM_MODEL = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
"""Model axes (left, up, inward) to ours: front = -inward, up, and the object's right = the onlooker's left. Its
determinant is 1: theirs is right-handed as ours is, a turn by 90 degrees about y, and nothing is mirrored."""

FROM_SOLID = (1, 2, 0)
"""A solid's axes (left, outward, up) in the order of ours (front = outward, up, right = left): one turn of the three
round, which is again no mirror, and no axis runs backwards."""

FROM_CAMERA = np.diag([-1.0, -1.0, 1.0])
"""Their camera (x left, y up, z forward) to ours (x right, y down, z forward)."""

CHAIR = "03001627"
"""ShapeNet's synset of the only category that published tables are made of."""

FILLED = 0.73
"""How much of a photo's edge a chair takes, as the networks learnt it: the median of the embedded ones, which are cut
to their projected cube. The archive only says where in the picture the chair is."""

KEYS = (
    "img mask voxel category img_size bbox rot_mat trans_mat focal_length truncated occluded slightly_occluded".split()
)


@dataclass(frozen=True, eq=False)
class Picture:
    """One entry of the index, checked: a photo of an object, and the camera in the archive's own axes."""

    name: str
    """Its file's path without ``img`` and the ending, such as chair-0001."""

    category: str
    img: Path
    mask: Path
    voxel: Path
    """Files, relative to the archive's folder, and inside it."""

    size: tuple[int, int]
    """Width and height that the picture has, pixels."""

    box: tuple[float, float, float, float]
    """Left, top, right and bottom of the object, pixels."""

    rotation: Float[np.ndarray, "3 3"]
    translation: Float[np.ndarray, " 3"]
    """A point m of the model stands at rotation m + translation before the camera (x left, y up, z forward)."""

    focal_length: float
    """Millimetres, before a sensor of `SENSOR`."""

    truncated: bool
    occluded: bool
    """Whether something hides the object, if only slightly."""

    def camera(self) -> Camera:
        """The camera in our frame; its pixels are square and its axis goes through the picture's middle.

        Raises:
            ValueError: a rotation that is none.
        """
        width, height = self.size
        focal = self.focal_length / SENSOR * width
        extrinsics = np.eye(4)
        extrinsics[:3, :3] = FROM_CAMERA @ self.rotation @ FROM_MODEL.T
        extrinsics[:3, 3] = FROM_CAMERA @ self.translation
        intrinsics = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
        return Camera(intrinsics, extrinsics, width, height)


def read_index(root: str | Path) -> list[Picture]:
    """Reads and checks ``pix3d.json``; opens none of the files that it names.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not JSON, not a list, an entry that lacks a key or has something else there, a file outside
            ``root``, two pictures of one name.
    """
    root = Path(root)
    path = root / INDEX
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected Pix3D's index (a JSON list of pictures)")
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); expected a list of pictures") from None
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"{path}: holds no list of pictures; expected entries with {', '.join(KEYS)}")
    pictures: dict[str, Picture] = {}
    for number, entry in enumerate(entries):
        picture = _picture(root, f"{path}: entry {number}", entry)
        if picture.name in pictures:
            raise ValueError(f"{path}: entry {number} is a second {picture.name}; expected every picture once")
        pictures[picture.name] = picture
    return list(pictures.values())


def _picture(root: Path, where: str, entry: Any) -> Picture:
    for key in KEYS:
        if not isinstance(entry, dict) or key not in entry:
            raise ValueError(f"{where} has no {key}; it needs {', '.join(KEYS)}")
    for key in ("img", "mask", "voxel", "category"):
        if not isinstance(entry[key], str):
            raise ValueError(f"{where}: {key} is {entry[key]!r}; expected text")
    for key in ("truncated", "occluded", "slightly_occluded"):
        if not isinstance(entry[key], bool):
            raise ValueError(f"{where}: {key} is {entry[key]!r}; expected true or false")
    files = {key: _inside(root, f"{where}: {key}", entry[key]) for key in ("img", "mask", "voxel")}
    name = str(PurePosixPath(entry["img"]).with_suffix("")).removeprefix("img/").replace("/", "-")
    if not re.fullmatch("[A-Za-z0-9_-]+", name):
        raise ValueError(
            f"{where}: img {entry['img']!r} makes no id; expected letters, digits, '-' and '_' alone, as img/chair/0001"
        )
    box = _numbers(f"{where}: bbox", entry["bbox"], (4,), "left, top, right, bottom in pixels")
    if box[0] >= box[2] or box[1] >= box[3]:
        raise ValueError(f"{where}: bbox {box.tolist()} is empty; expected left < right and top < bottom")
    size = _numbers(f"{where}: img_size", entry["img_size"], (2,), "width and height in pixels")
    if (size < 1).any() or (size % 1).any():
        raise ValueError(f"{where}: img_size is {entry['img_size']}; expected two whole numbers from 1")
    focal_length = _numbers(f"{where}: focal_length", entry["focal_length"], (), "millimetres")
    if focal_length <= 0:
        raise ValueError(f"{where}: focal_length is {entry['focal_length']}; expected millimetres above zero")
    return Picture(
        name=name,
        category=entry["category"],
        **files,
        size=(int(size[0]), int(size[1])),
        box=tuple(box.tolist()),
        rotation=_numbers(f"{where}: rot_mat", entry["rot_mat"], (3, 3), "a rotation, row by row"),
        translation=_numbers(f"{where}: trans_mat", entry["trans_mat"], (3,), "the object's place before the camera"),
        focal_length=float(focal_length),
        truncated=entry["truncated"],
        occluded=entry["occluded"] or entry["slightly_occluded"],
    )


def _inside(root: Path, where: str, name: str) -> Path:
    """``name`` as a path relative to ``root``: one that climbs out of it, by ``..`` or a link, is refused."""
    # A file name may not hold a null character: `resolve` would stumble over it without saying where it stands.
    if "\0" in name or not (root / name).resolve().is_relative_to(root.resolve()) or Path(name).is_absolute():
        raise ValueError(f"{where} {name!r} lies outside {root}; expected a file of the archive")
    return Path(name)


def _numbers(where: str, value: object, shape: tuple[int, ...], meaning: str) -> Float[np.ndarray, "..."]:
    try:
        numbers = np.array(value)
    except ValueError:  # rows of different lengths
        numbers = np.array(None)
    # Texts and truth values would become numbers without a word, whole numbers above 64 bits become objects.
    if numbers.dtype.kind not in "iuf" or numbers.shape != shape or not np.isfinite(numbers).all():
        many = " x ".join(map(str, shape)) + " finite numbers" if shape else "a finite number"
        raise ValueError(f"{where} is {value!r}; expected {many}: {meaning}")
    return numbers.astype(float)


def tested(pictures: Iterable[Picture], category: str = "chair") -> list[Picture]:
    """The pictures that published tables are made from: neither truncated nor occluded, not even slightly.

    Of the chairs these are 2,894, by the README and the list that come with the authors' evaluation code.
    """
    return [p for p in pictures if p.category == category and not p.truncated and not p.occluded]


def load(
    root: Path, image_size: int, *, limit: int = 0, on_error: Literal["stop", "skip"] = "stop"
) -> tuple[Captures, pd.DataFrame]:
    """The tested chairs below ``root`` as captures of one view, and what was skipped (columns object, reason).

    Each is cut out of its photo along its mask, since the networks learnt from pictures without surroundings.

    Args:
        root: holds ``pix3d.json``, ``img``, ``mask`` and ``model``.
        image_size: edge of the photos as the network sees them, pixels.
        limit: at most so many, the first of the list; 0: all.
        on_error: ``skip`` goes on without a picture that cannot be read; ``stop`` names it and ends.

    Raises:
        FileNotFoundError: there is no such archive; says how to get it.
        ValueError: a picture, mask or solid that is not as it should be.
    """
    root = Path(root)
    if not (root / INDEX).is_file():
        raise FileNotFoundError(
            f"{root}: there is no {INDEX}; get it with `p2v fetch pix3d`, which makes data/pix3d/pix3d, "
            f"or unpack pix3d.zip by hand and name the folder with {INDEX} as root"
        )
    wanted = tested(read_index(root))[: limit or None]
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
        # Beyond the photo's border nothing is known: it stays transparent.
        whole = capture.photos[0].crop(square(picture.box))
        photos.append(np.asarray(whole.resize((image_size, image_size), Image.Resampling.BOX)))
        grids.append(capture.truth.volume)
    if not rows:
        raise ValueError(
            f"{root}: none of {len(wanted)} chairs can be read; the first: {(skipped or [('', 'none')])[0][1]}"
        )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    pictures = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2)[:, None].contiguous()
    captures = Captures(table, pictures, torch.from_numpy(np.stack(grids)))
    return captures, pd.DataFrame(skipped, columns=["object", "reason"])


def square(box: tuple[float, float, float, float]) -> tuple[int, int, int, int]:
    """The square about the middle of ``box`` whose edge the longer side fills to `FILLED`, whole pixels."""
    left, top, right, bottom = box
    edge = round(max(right - left, bottom - top) / FILLED)
    corner = round((left + right - edge) / 2), round((top + bottom - edge) / 2)
    return (*corner, corner[0] + edge, corner[1] + edge)


def read_picture(root: str | Path, picture: Picture, grid: int = 32) -> Capture:
    """Reads a picture, its camera and its solid in our frame.

    The one photo is a PNG whose alpha is the mask. The subject is the model, which many pictures share; the sample's
    name, the last part of ``folder`` (which need not exist), is the picture's own. ``box`` stands in the description.

    Raises:
        ValueError: a file that is missing or unreadable, a mask or an ``img_size`` of another size than the picture, a
            mask that marks nothing, no rotation in the index, a solid that is none or cannot become ``grid``^3.
    """
    root = Path(root)
    colours = _pixels(root / picture.img, "RGB")
    alpha = _pixels(root / picture.mask, "L")
    (height, width), (mask_height, mask_width) = colours.shape[:2], alpha.shape
    if (width, height) != picture.size:
        listed = "{} x {}".format(*picture.size)
        raise ValueError(f"{root / picture.img}: {width} x {height} pixels; its img_size in {INDEX} says {listed}")
    if (mask_width, mask_height) != (width, height):
        raise ValueError(
            f"{root / picture.mask}: {mask_width} x {mask_height} pixels; expected {width} x {height}, as its picture "
            f"{picture.img}"
        )
    left, top, right, bottom = picture.box
    if left < -1 or top < -1 or right > width + 1 or bottom > height + 1:
        raise ValueError(
            f"{root / INDEX}: bbox of {picture.name} is {list(picture.box)}; expected one inside its {width} x "
            f"{height} pixels"
        )
    if alpha.max() < 128:
        raise ValueError(f"{root / picture.mask}: marks no pixel; expected a mask that is white on the object")
    try:
        camera = picture.camera()
    except ValueError as error:
        raise ValueError(f"{root / INDEX}: rot_mat of {picture.name} is no rotation ({error})") from None
    truth = VoxelGrid(_solid(root / picture.voxel, grid), CUBE)
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
    """The pixels of a picture in Pillow's ``mode``: a grey or indexed picture becomes RGB, a coloured mask grey."""
    if not path.is_file():
        raise ValueError(f"{path}: missing; expected a picture that {INDEX} names")
    return np.asarray(decode_photo(path, path.read_bytes()).convert(mode))


def _solid(path: Path, size: int) -> Volume:
    """The solid of a ``voxel.mat``, turned into our frame and reduced to ``size``^3.

    A voxel is occupied where any of those that it is made of is, as Pix3D's own evaluation reduces 128 to 32. A mean of
    one half instead would lose the legs of chairs: two of 128 voxels across, a leg fills a quarter of its 32nds.
    """
    from scipy.io import loadmat, whosmat

    if not path.is_file():
        raise ValueError(f"{path}: missing; expected a solid that {INDEX} names")
    if size < 1:
        raise ValueError(f"a grid needs at least one voxel a side; found {size}")
    # The shape is read first, from the header: what it promises is not allocated before it is checked.
    shapes = {name: shape for name, shape, _ in _matlab(path, whosmat)}
    if "voxel" not in shapes:
        raise ValueError(f"{path}: holds {sorted(shapes)} and no array voxel; expected Pix3D's solid")
    shape = shapes["voxel"]
    if len(shape) != 3 or len(set(shape)) != 1 or shape[0] % size or not 0 < shape[0] <= LARGEST_SOLID:
        raise ValueError(
            f"{path}: voxel is {' x '.join(map(str, shape))}; expected a cube whose edge is a multiple of {size}, at "
            f"most {LARGEST_SOLID}"
        )
    voxels = _matlab(path, loadmat, variable_names=["voxel"])["voxel"]
    if voxels.shape != shape or voxels.dtype.kind not in "biuf" or not ((voxels == 0) | (voxels == 1)).all():
        raise ValueError(f"{path}: voxel ({voxels.dtype}) holds other values than 0 and 1; expected a solid")
    if not voxels.any():
        raise ValueError(f"{path}: voxel is empty; expected a solid with at least one 1")
    volume = voxels.astype(bool).transpose(FROM_SOLID)
    step = shape[0] // size
    return volume.reshape(size, step, size, step, size, step).any(axis=(1, 3, 5))


def _matlab(path: Path, read: Callable[..., Any], **options: object) -> Any:
    try:
        return read(path, appendmat=False, **options)
    except Exception as error:  # scipy's parser raises whatever it stumbles over, of ten kinds and more
        raise ValueError(f"{path}: not a readable MATLAB file ({error}); expected one with an array voxel") from None
