"""Captures as networks take them: read from folders, packed into one portable file, loaded once, mirrored in batches.

The packed file (safetensors, nothing in it can run) holds the photos as WebP or JPEG and the grids as bits, so that a
box with a GPU and without a renderer can train from it. In memory a photo is cropped to the picture box of the
capture's cube and resized once; after that every step is tensor work on the device that trains.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from PIL import Image, UnidentifiedImageError
from safetensors import safe_open
from safetensors.numpy import save
from torch import Tensor

from .cameras import Camera, look_at, r2n2_camera, read_cameras, read_metadata
from .config import DATA_RECIPE, Config
from .conventions import FOOT_CUT_HEIGHT, Cube, object_cube
from .files import write_bytes
from .grids import VoxelGrid, read_binvox, voxelise
from .runs import data_folder, home

PIXEL_LIMIT = 4096 * 4096
"""No photo of a capture is larger; one that claims to be is refused before it is decoded."""

COLUMNS = ("sample", "subject", "dataset", "taxonomy", "look", "light", "split", "side", "cube")
"""Columns of `Captures.table`. ``light`` is drift or steady; ``cube`` is metric or object (R2N2's own)."""


@dataclass(frozen=True)
class Capture:
    """One capture folder, read: ``photos`` are file contents in clockwise order, ``truth`` is its `model.binvox`."""

    folder: Path
    subject: dict
    photos: list[bytes]
    cameras: list[Camera]
    truth: VoxelGrid


def read_capture(folder: Path) -> Capture:
    """Reads and checks a capture folder.

    Raises:
        ValueError: a missing view, an unreadable picture, metadata that do not fit, a broken grid; names the file.
    """
    subject_file = folder / "subject.json"
    try:
        subject = json.loads(subject_file.read_text())
        cube = Cube(tuple(subject["cube"]["lower"]), subject["cube"]["edge"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{subject_file}: not a capture's description ({error}); expected JSON that names its cube"
        ) from None
    rendering = folder / "rendering"
    photos, sizes = read_photos(rendering)
    rows = read_metadata(rendering / "rendering_metadata.txt", len(photos))
    if (folder / "cameras.json").is_file():
        cameras = read_cameras(folder / "cameras.json")
    elif subject.get("metadata") == "r2n2":
        cameras = [r2n2_camera(row, 1.0, np.zeros(3), *size) for row, size in zip(rows, sizes, strict=True)]
    else:
        cameras = [look_at(row, cube.centre, *size) for row, size in zip(rows, sizes, strict=True)]
    if len(cameras) != len(photos) or any((c.width, c.height) != size for c, size in zip(cameras, sizes, strict=False)):
        raise ValueError(f"{folder / 'cameras.json'}: does not fit the {len(photos)} photos in {rendering}")
    return Capture(folder, subject, photos, cameras, read_binvox(folder / "model.binvox"))


def read_photos(rendering: Path) -> tuple[list[bytes], list[tuple[int, int]]]:
    """File contents and (width, height) of the photos that ``renderings.txt`` names, in its order.

    Raises:
        ValueError: no such list, an empty one, or a picture that is missing, elsewhere or unreadable.
    """
    listing = rendering / "renderings.txt"
    if not listing.is_file():
        raise ValueError(f"{listing}: missing; expected the names of the photos, one a line")
    found = [_read_photo(rendering / name, rendering) for name in listing.read_text().split()]
    if not found:
        raise ValueError(f"{listing}: names no photo; expected at least one")
    return [content for content, _ in found], [size for _, size in found]


def _read_photo(path: Path, inside: Path) -> tuple[bytes, tuple[int, int]]:
    if path.resolve().parent != inside.resolve() or not path.is_file():
        raise ValueError(f"{path}: a view named in renderings.txt is missing; expected a picture beside that list")
    content = path.read_bytes()
    return content, open_picture(path, content).size


def open_picture(path: Path, content: bytes) -> Image.Image:
    """The decoded picture in the ``content`` of ``path``.

    Raises:
        ValueError: none that can be read, or one that is too large to be believed.
    """
    try:
        with Image.open(io.BytesIO(content)) as picture:
            if picture.width * picture.height > PIXEL_LIMIT:
                raise ValueError(f"{path}: {picture.width} x {picture.height} pixels; at most {PIXEL_LIMIT} are read")
            picture.load()
            return picture
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable picture ({error}); expected PNG or JPEG") from None


# ----------------------------------------------------------------------------------------------------------- packing


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
    from .capture.collection import ensure, jobs

    ensure(config)
    roots = {"foot": data_folder("feet", config.scale), "object": data_folder("objects", config.scale)}
    folders = [folder for job in jobs(config) for folder in job.folders(roots[job.kind]).values()]
    photos, grids, cameras, records = [], [], [], []
    for folder in folders:
        capture = read_capture(folder)
        first = len(photos)
        photos += [_compressed(photo) for photo in capture.photos]
        for cube_name, truth in _truths(capture):
            # A foot ends far below the top of its metric cube; the part above would cost a third of the pixels.
            height = FOOT_CUT_HEIGHT if cube_name == "metric" else None
            boxes = [camera.box(truth.cube, height) for camera in capture.cameras]
            seen = [camera.seen_from(truth.cube, box) for camera, box in zip(capture.cameras, boxes, strict=True)]
            records.append({**_row(capture, cube_name), "first": first, "boxes": boxes, "grid": len(grids)})
            grids.append(np.packbits(truth.volume))
            cameras.append(np.stack(seen))
    tensors = {
        "photos": np.frombuffer(b"".join(photos), np.uint8),
        "offsets": np.cumsum([0, *map(len, photos)]),
        "grids": np.stack(grids),
        "cameras": np.stack(cameras).astype(np.float32),
    }
    write_bytes(path, save(tensors, {"fingerprint": fingerprint(config), "records": json.dumps(records)}))
    return path


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
        "light": "drift" if capture.folder.parent.name == "phone" else "steady",
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


# ----------------------------------------------------------------------------------------------------------- loading


@dataclass(frozen=True, eq=False)
class Captures:
    """Captures in memory: a table, and tensors with one entry a row of it; views stand in clockwise order."""

    table: pd.DataFrame
    photos: UInt8[Tensor, "captures views 4 height width"]
    truth: Bool[Tensor, "captures x y z"]
    cameras: Float32[Tensor, "captures views 3 7"] | None = None
    """Where each photo was taken from (`Camera.seen_from`, for the photo as it is cut); None: nobody knows."""
    boxes: Float32[Tensor, "captures views 4"] | None = None
    """What each photo is still to be cut to, pixels (an archive's); None: that is done."""
    size: int = 0
    """Edge of what is cut, pixels."""
    origin: str = ""
    """What stands for photos and grids in `digest` where they are too many to be read for it."""
    files: Int64[Tensor, "captures views"] | None = None
    """Where in clockwise order an archive's first, second … file stands; None: the files are in that order."""
    as_published: bool = False
    """Tests see them as the published code showed them: the first files, and outlines with their dark seam."""

    def __len__(self) -> int:
        return len(self.table)

    def digest(self) -> str:
        """A short hash of what is in here, so that weights can tell what they were trained on."""
        content = hashlib.sha256(self.table.to_csv().encode())
        if self.origin:
            content.update(f"{self.origin} {self.size}".encode())
            return content.hexdigest()[:16]
        content.update(self.photos.cpu().contiguous().numpy())
        content.update(np.packbits(self.truth.cpu().numpy()).tobytes())
        return content.hexdigest()[:16]

    def select(self, **wanted: str | Sequence[str]) -> Captures:
        """The rows whose columns have the ``wanted`` value (or one of several).

        Raises:
            ValueError: nothing is left.
        """
        keep = np.ones(len(self.table), bool)
        for column, values in wanted.items():
            keep &= self.table[column].isin([values] if isinstance(values, str) else list(values)).to_numpy()
        if not keep.any():
            found = self.table[list(wanted)].drop_duplicates().to_dict("records")
            raise ValueError(f"no capture has {wanted}; the data hold {found}")
        rows = np.flatnonzero(keep)
        # Neighbours are looked at in place: the photos of an archive are a file, and half of it is no less than a copy.
        together = rows[-1] - rows[0] + 1 == len(rows)
        some = slice(rows[0], rows[-1] + 1) if together else torch.from_numpy(rows)
        rest = {name: value if value is None else value[some] for name, value in self._views().items()}
        table = self.table[keep].reset_index(drop=True)
        return replace(self, table=table, photos=self.photos[some], truth=self.truth[some], **rest)

    def _views(self) -> dict[str, Tensor | None]:
        """What is known of each photo, if it is."""
        return {"cameras": self.cameras, "boxes": self.boxes, "files": self.files}

    def shown(self, number: int) -> Int64[Tensor, "captures number"]:
        """Which of the clockwise photos a test with ``number`` photos sees: evenly spaced, or the first files.

        Raises:
            ValueError: there are not so many.
        """
        chosen = torch.tensor(spread(self.photos.shape[1], number)).expand(len(self), -1)
        if not self.as_published:
            return chosen
        # As they come: the order in which the published code shows them, whose networks know none.
        return torch.arange(number).expand(len(self), -1) if self.files is None else self.files[:, :number].cpu()

    def to(self, device: torch.device | str) -> Captures:
        """The same captures with their tensors on ``device``; photos that are a file stay one."""
        photos = self.photos if self.origin else self.photos.to(device)
        rest = {name: value if value is None else value.to(device) for name, value in self._views().items()}
        return replace(self, photos=photos, truth=self.truth.to(device), **rest)


R2N2_PIXELS = 137
"""Edge of a picture in R2N2's archive."""

R2N2_MIDDLE = (4.0, 4.0, 132.0, 132.0)
"""What the published crop leaves of it: without a box, a random crop became the middle 128 pixels."""


def load(config: Config, crop: Literal["box", "centre", "whole"] = "box") -> Captures:
    """All captures of ``config`` at ``config.image_size`` pixels, made and packed first where they are missing.

    Each photo is cut to the picture ``box`` of its cube, to its ``centre`` as published, or left ``whole``. A right
    foot enters mirrored, as the left foot that it would be: whoever takes photos knows which foot it is, so does the
    mean foot that a network is compared with, and no network has to learn both.
    """
    with safe_open(pack(config), "numpy") as stored:
        records = json.loads(stored.metadata()["records"])
        content, offsets = stored.get_tensor("photos"), stored.get_tensor("offsets")
        grids = np.unpackbits(stored.get_tensor("grids"), axis=1)
        cameras = torch.from_numpy(stored.get_tensor("cameras"))
    size = config.image_size

    def views_of(record: dict) -> np.ndarray:
        numbers = range(record["first"], record["first"] + len(record["boxes"]))
        pictures = [Image.open(io.BytesIO(content[offsets[n] : offsets[n + 1]])) for n in numbers]
        boxes = record["boxes"] if crop == "box" else [None] * len(numbers)
        if crop == "centre":
            boxes = [np.array(R2N2_MIDDLE) * picture.width / R2N2_PIXELS for picture in pictures]
        return np.stack([_cropped(picture, box, size) for picture, box in zip(pictures, boxes, strict=True)])

    with ThreadPoolExecutor() as pool:
        photos = np.stack(list(pool.map(views_of, records)))
    side = round(grids.shape[1] ** (1 / 3))
    truth = grids[[record["grid"] for record in records]].reshape(-1, side, side, side).astype(bool)
    table = pd.DataFrame([{column: record[column] for column in COLUMNS} for record in records])
    right = torch.tensor((table.side == "right").tolist())
    turned = mirrored(torch.from_numpy(photos).permute(0, 1, 4, 2, 3), torch.from_numpy(truth), right)
    # The cameras are those of the cut photos; of whole ones no network that asks for cameras is trained.
    seen = mirrored_cameras(cameras, right) if crop == "box" else None
    return Captures(table, *(tensor.contiguous() for tensor in turned), seen, as_published=crop == "centre")


def _cropped(
    picture: Image.Image, box: Sequence[float] | np.ndarray | None, size: int
) -> UInt8[np.ndarray, "size size 4"]:
    """``picture`` as RGBA, cut to ``box`` (pixels; beyond the border the last row or column goes on), resized."""
    pixels = np.asarray(picture.convert("RGBA"))
    if box is not None:
        height, width = pixels.shape[:2]
        left, top, right, bottom = box
        margin = int(np.ceil(max(0, -left, -top, right - width, bottom - height)))
        pixels = np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
        box = tuple(edge + margin for edge in box)
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BOX, box=box))


# ------------------------------------------------------------------------------------------------------ orders of views


def spread(available: int, views: int) -> list[int]:
    """``views`` of ``available`` clockwise photos: evenly spaced, starting nearest the front."""
    if not 1 <= views <= available:
        raise ValueError(f"{views} views of {available} photos; expected between 1 and {available}")
    return [i * available // views for i in range(views)]


# ------------------------------------------------------------------------------------------------------------- mirror


def mirrored(
    photos: UInt8[Tensor, "batch views 4 height width"],
    truth: Bool[Tensor, "batch x y z"],
    which: Bool[Tensor, " batch"],
) -> tuple[UInt8[Tensor, "batch views 4 height width"], Bool[Tensor, "batch x y z"]]:
    """Mirrors the captures in ``which`` at z = 0: pictures left to right, volume along z, walk in the other direction.

    The mirror image of a left foot is a right foot, and photos that ran clockwise around one run counter-clockwise
    around the other; turning their order round keeps every sequence clockwise.
    """
    flipped = photos.flip(-1).roll(-1, dims=1).flip(1)
    return (
        torch.where(which[:, None, None, None, None], flipped, photos),
        torch.where(which[:, None, None, None], truth.flip(-1), truth),
    )


def mirrored_boxes(
    boxes: Float32[Tensor, "batch views 4"], width: int, which: Bool[Tensor, " batch"]
) -> Float32[Tensor, "batch views 4"]:
    """The boxes of the photos that `mirrored` makes, which are ``width`` pixels wide."""
    left, top, right, bottom = boxes.unbind(-1)
    turned = torch.stack([width - right, top, width - left, bottom], -1).roll(-1, dims=1).flip(1)
    return torch.where(which[:, None, None], turned, boxes)


def mirrored_cameras(
    cameras: Float32[Tensor, "batch views 3 7"], which: Bool[Tensor, " batch"]
) -> Float32[Tensor, "batch views 3 7"]:
    """The cameras of the photos that `mirrored` makes: right-handed again, since picture and world turn together."""
    across = torch.diag(cameras.new_tensor([-1, 1, 1]))
    through = torch.diag(cameras.new_tensor([1, 1, -1]))
    intrinsics, rotation, translation = cameras.split([3, 3, 1], dim=-1)
    shift = rotation @ cameras.new_tensor([[0], [0], [1]]) + translation  # z runs from 1 to 0
    turned = torch.cat([across @ intrinsics @ across, across @ rotation @ through, across @ shift], -1)
    return torch.where(which[:, None, None, None], turned.roll(-1, dims=1).flip(1), cameras)
