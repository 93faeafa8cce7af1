"""Captures in memory, as tensors for training and evaluation: loading, selecting, mirroring.

Photos are cropped to the box of the capture's cube and resized once, when they are loaded; from then on everything is
tensor work on the device.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from PIL import Image
from torch import Tensor

from p2vlib.config import Config
from p2vlib.data import packed as packing
from p2vlib.geometry.frames import R2N2_PIXELS

COLUMNS = ("sample", "subject", "dataset", "taxonomy", "look", "light", "split", "side", "cube")
"""Columns of `Captures.table`. ``look`` is the domain (studio, phone, mat, wild), ``light`` the lighting along a walk
(drift or steady), ``cube`` metric or object (R2N2's normalised cube)."""

MAX_BOX = 8
"""Largest crop box, relative to the longer side of the photo."""


@dataclass(frozen=True, eq=False)
class Captures:
    """A table of captures, and tensors with one entry per row; views are in clockwise order."""

    table: pd.DataFrame
    photos: UInt8[Tensor, "captures views 4 height width"]
    truth: Bool[Tensor, "captures x y z"]
    cameras: Float32[Tensor, "captures views 3 7"] | None = None
    """Cameras of the cropped photos (`Camera.normalised`); None: unknown."""
    boxes: Float32[Tensor, "captures views 4"] | None = None
    """Crop boxes in pixels, for photos that are cropped in batches; None: the photos are cropped."""
    crop_size: int = 0
    """Edge of photos that are cropped in batches, pixels."""
    source: str = ""
    """Identifies the photos and volumes in `digest` where they are too many to be hashed; empty: hash them."""
    file_order: Int64[Tensor, "captures views"] | None = None
    """Clockwise index of the first, second, … file of an archive; None: the files are in clockwise order."""
    as_published: bool = False
    """Tests use the photos of the published code: the first files, and outlines with a dark seam."""
    fine_truth: Bool[Tensor, "captures fine_x fine_y fine_z"] | None = None
    """The lowest layers of the ground truth at `packed.FINE_SIZE`^3, for `geometry.placement`."""

    def __len__(self) -> int:
        return len(self.table)

    def digest(self) -> str:
        """A short hash of the captures, stored with the weights that were trained on them."""
        content = hashlib.sha256(self.table.to_csv().encode())
        if self.cameras is not None:
            content.update(self.cameras.cpu().contiguous().numpy().data)
        if self.source:
            content.update(f"{self.source} {self.crop_size}".encode())
            return content.hexdigest()[:16]
        content.update(self.photos.cpu().contiguous().numpy().data)
        content.update(np.packbits(self.truth.cpu().numpy()).tobytes())
        return content.hexdigest()[:16]

    def select(self, **values: str | Sequence[str]) -> Captures:
        """The captures whose columns have the given value, or one of several.

        Raises:
            ValueError: no capture is left.
        """
        keep = np.ones(len(self.table), bool)
        for column, value in values.items():
            keep &= self.table[column].isin([value] if isinstance(value, str) else list(value)).to_numpy()
        if not keep.any():
            found = self.table[list(values)].drop_duplicates().to_dict("records")
            raise ValueError(f"no capture has {values}; the data hold {found}")
        return self.rows(np.flatnonzero(keep))

    def rows(self, rows: Int64[np.ndarray, " rows"]) -> Captures:
        """The captures with these row numbers; ``rows`` is in ascending order."""
        # Consecutive rows are a view, not a copy: the photos of an archive are a memory map of up to 79 GB.
        consecutive = rows[-1] - rows[0] + 1 == len(rows)
        index = slice(rows[0], rows[-1] + 1) if consecutive else torch.from_numpy(rows)
        table = self.table.iloc[rows].reset_index(drop=True)
        return replace(self, table=table, **self._map(lambda value: value[index]))

    def _map(self, function: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        names = ("photos", "truth", "cameras", "boxes", "file_order", "fine_truth")
        return {name: None if (value := getattr(self, name)) is None else function(value) for name in names}

    def test_views(self, number: int) -> Int64[Tensor, "captures number"]:
        """Indices of the photos in a test with ``number`` photos: evenly spaced, or `as_published` the first files.

        Raises:
            ValueError: there are fewer photos.
        """
        indices = torch.tensor(evenly_spaced(self.photos.shape[1], number)).expand(len(self), -1)
        if not self.as_published:
            return indices
        # In the order of the files, as the published code does; its networks do not depend on the order.
        return (
            torch.arange(number).expand(len(self), -1) if self.file_order is None else self.file_order[:, :number].cpu()
        )

    def to(self, device: torch.device | str) -> Captures:
        """The same captures with their tensors on ``device``; memory-mapped photos stay where they are."""
        keep = self.photos if self.source else None
        return replace(self, **self._map(lambda value: value if value is keep else value.to(device)))


def evenly_spaced(available: int, views: int) -> list[int]:
    """Indices of ``views`` evenly spaced photos out of ``available`` clockwise ones, beginning with the first."""
    if not 1 <= views <= available:
        raise ValueError(f"{views} views of {available} photos; expected between 1 and {available}")
    return [i * available // views for i in range(views)]


R2N2_CENTRE_CROP = (4.0, 4.0, 132.0, 132.0)
"""The published crop of a rendering: without a box, the random crop takes the centre, 128 pixels."""


def load(config: Config, crop: Literal["box", "centre", "whole"] = "box") -> Captures:
    """All captures of the packed file of ``config``, with photos of ``config.image_size`` pixels.

    Right feet are mirrored to left ones: the person who takes photos knows the side, the mean-shape baseline uses it,
    too, and no network has to learn both.

    Args:
        crop: to the ``box`` of the cube, to the ``centre`` as published, or none (``whole``).

    Raises:
        ValueError: the packed file is missing or stale.
    """
    packed, size = packing.read_packed(config), config.image_size

    def load_views(record: dict) -> np.ndarray:
        images = packed.open_photos(record)
        boxes = record["boxes"] if crop == "box" else [None] * len(images)
        if crop == "centre":
            boxes = [np.array(R2N2_CENTRE_CROP) * image.width / R2N2_PIXELS for image in images]
        return np.stack([crop_and_resize(image, box, size) for image, box in zip(images, boxes, strict=True)])

    table, right = _table(packed.records)
    photos, truth = mirror_views(
        _stack_views(load_views, packed.records), torch.from_numpy(packed.truth(packed.records)), right
    )
    # The packed cameras belong to the boxes.
    cameras = mirror_cameras(torch.from_numpy(packed.cameras), right) if crop == "box" else None
    return Captures(table, photos.contiguous(), truth.contiguous(), cameras, as_published=crop == "centre")


def load_feet(config: Config, *domains: str) -> Captures:
    """The feet of ``config`` in these domains, in metric cubes, with whole photos, crop boxes and fine ground truth.

    For networks with cameras: training moves the cube relative to the foot (`geometry.placement`) and crops each photo
    to the moved cube. Photos of different sizes are placed in the middle of a common transparent square, so that pixels
    beyond a photo get the colour of the background.

    Raises:
        ValueError: the packed file is missing or stale, or holds no foot in these domains.
    """
    packed = packing.read_packed(config)

    def is_wanted(record: dict) -> bool:
        return (record["dataset"], record["cube"]) == ("feet", "metric") and record["look"] in domains

    rows = [row for row, record in enumerate(packed.records) if is_wanted(record)]
    records = [packed.records[row] for row in rows]
    if not records:
        found = ", ".join(sorted({record["look"] for record in packed.records if record["dataset"] == "feet"}))
        raise ValueError(f"no feet in the domain {' or '.join(domains)}; the data hold {found or 'none'}")
    images = [packed.open_photos(record) for record in records]
    sizes = {image.size for views in images for image in views}
    canvas = max(map(max, sizes)) + (2 if len(sizes) > 1 else 0)

    def load_views(views: list[Image.Image]) -> np.ndarray:
        return np.stack([_place_on_canvas(image, canvas) for image in views])

    table, right = _table(records)
    photos, truth = mirror_views(_stack_views(load_views, images), torch.from_numpy(packed.truth(records)), right)
    cameras = mirror_cameras(torch.from_numpy(packed.cameras[rows]), right)
    corners = [[_canvas_corner(image, canvas) * 2 for image in views] for views in images]
    boxes = torch.tensor([record["boxes"] for record in records]) + torch.tensor(corners)
    boxes = mirror_boxes(boxes, canvas, right)
    fine = torch.from_numpy(packing.fine_truth(config, table))
    fine = torch.where(right[:, None, None, None], fine.flip(-1), fine)
    size = config.image_size
    return Captures(table, photos.contiguous(), truth.contiguous(), cameras, boxes, size, fine_truth=fine)


def _table(records: Sequence[dict]) -> tuple[pd.DataFrame, Bool[Tensor, " captures"]]:
    """The table of ``records``, and which of them are right feet."""
    table = pd.DataFrame([{column: record[column] for column in COLUMNS} for record in records])
    return table, torch.tensor((table.side == "right").tolist())


def _canvas_corner(image: Image.Image, canvas: int) -> tuple[int, int]:
    """Left and top of ``image`` in the middle of a square of ``canvas`` pixels."""
    return (canvas - image.width) // 2, (canvas - image.height) // 2


def _place_on_canvas(image: Image.Image, canvas: int) -> UInt8[np.ndarray, "canvas canvas 4"]:
    """``image`` as RGBA in the middle of a transparent square."""
    left, top = _canvas_corner(image, canvas)
    return np.asarray(image.convert("RGBA").crop((-left, -top, canvas - left, canvas - top)))


def _stack_views(
    load_views: Callable[[Any], np.ndarray], items: Sequence[Any]
) -> UInt8[Tensor, "captures views 4 height width"]:
    """The photos of the captures ``items``, which ``load_views`` decodes one capture at a time."""
    with ThreadPoolExecutor() as pool:
        photos = np.stack(list(pool.map(load_views, items)))
    return torch.from_numpy(photos).permute(0, 1, 4, 2, 3)


def crop_and_resize(
    image: Image.Image,
    box: Sequence[float] | np.ndarray | None,
    size: int,
    outside: Literal["edge", "constant"] = "edge",
) -> UInt8[np.ndarray, "size size 4"]:
    """``image`` as RGBA, cropped to ``box`` (pixels) and resized to ``size`` pixels.

    Where the box extends beyond the image by more than the image's longer side, the image is scaled down first, so that
    the image with its border never takes more than nine times the memory of the square around the image.

    Args:
        outside: pixels outside the image: ``edge`` repeats those of its border, ``constant`` is transparent.

    Raises:
        ValueError: a box that is empty, not finite or more than `MAX_BOX` times as large as the image.
    """
    pixels, crop = image.convert("RGBA"), None
    if box is not None:
        longer = max(image.size)
        edges = np.array(box, dtype=float)
        extent = edges[2:] - edges[:2]
        if not (np.isfinite(edges).all() and extent.min() > 0):
            raise ValueError(f"the box {edges.tolist()} of a photo is empty; expected left < right and top < bottom")
        if extent.max() > MAX_BOX * longer:
            raise ValueError(
                f"a crop box of {extent.max():.0f} pixels in a photo of {image.width} x {image.height}; expected at "
                f"most {MAX_BOX} times the photo: the camera is misplaced or too near"
            )
        # A box entirely beyond the photo shows only what is outside, so it is moved to the photo's border.
        edges -= np.tile(np.maximum(edges[:2] - image.size, 0) + np.minimum(edges[2:], 0), 2)
        beyond = max(0.0, *-edges[:2], *(edges[2:] - image.size))
        if beyond > longer:
            smaller = [max(1, int(side * longer / beyond)) for side in image.size]
            edges *= np.tile(np.divide(smaller, image.size), 2)
            pixels = pixels.resize(smaller, Image.Resampling.BOX)
            beyond = max(0.0, *-edges[:2], *(edges[2:] - smaller))
        margin = int(np.ceil(beyond))
        padded = np.pad(np.asarray(pixels), ((margin, margin), (margin, margin), (0, 0)), mode=outside)
        pixels, crop = Image.fromarray(padded), tuple(edges + margin)
    return np.asarray(pixels.resize((size, size), Image.Resampling.BOX, box=crop))


# ------------------------------------------------------------------------------------------------------------- mirror


def mirror_views(
    photos: UInt8[Tensor, "batch views 4 height width"],
    truth: Bool[Tensor, "batch x y z"],
    which: Bool[Tensor, " batch"],
) -> tuple[UInt8[Tensor, "batch views 4 height width"], Bool[Tensor, "batch x y z"]]:
    """Mirrors the captures in ``which`` at z = 0: photos left to right, volumes along z, views in reverse order.

    The mirror image of a left foot is a right foot. Photos that run clockwise around one run anticlockwise around the
    other, so their order is reversed; the first photo stays the first.
    """
    flipped = photos.flip(-1).roll(-1, dims=1).flip(1)
    return (
        torch.where(which[:, None, None, None, None], flipped, photos),
        torch.where(which[:, None, None, None], truth.flip(-1), truth),
    )


def mirror_boxes(
    boxes: Float32[Tensor, "batch views 4"], width: int, which: Bool[Tensor, " batch"]
) -> Float32[Tensor, "batch views 4"]:
    """The crop boxes of the photos, ``width`` pixels wide, that `mirror_views` mirrors."""
    left, top, right, bottom = boxes.unbind(-1)
    mirrored = torch.stack([width - right, top, width - left, bottom], -1).roll(-1, dims=1).flip(1)
    return torch.where(which[:, None, None], mirrored, boxes)


def mirror_cameras(
    cameras: Float32[Tensor, "batch views 3 7"], which: Bool[Tensor, " batch"]
) -> Float32[Tensor, "batch views 3 7"]:
    """The cameras of the photos that `mirror_views` mirrors; image and world are mirrored, so rotations stay proper."""
    across = torch.diag(cameras.new_tensor([-1, 1, 1]))
    through = torch.diag(cameras.new_tensor([1, 1, -1]))
    intrinsics, rotation, translation = cameras.split([3, 3, 1], dim=-1)
    shift = rotation @ cameras.new_tensor([[0], [0], [1]]) + translation  # z runs from 1 to 0
    mirrored = torch.cat([across @ intrinsics @ across, across @ rotation @ through, across @ shift], -1)
    return torch.where(which[:, None, None, None], mirrored.roll(-1, dims=1).flip(1), cameras)
