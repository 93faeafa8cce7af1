"""Captures as networks take them: loaded once from the packed file, mirrored in batches.

In memory a photo is cropped to the picture box of the capture's cube and resized once; after that every step is tensor
work on the device that trains.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float32, Int64, UInt8
from PIL import Image
from torch import Tensor

from p2vlib.config import Config
from p2vlib.data import packed as packing
from p2vlib.data.capture_folder import evenly_spaced
from p2vlib.geometry.frames import R2N2_PIXELS

COLUMNS = ("sample", "subject", "dataset", "taxonomy", "look", "light", "split", "side", "cube")
"""Columns of `Captures.table`. ``light`` is drift or steady; ``cube`` is metric or object (R2N2's own)."""


@dataclass(frozen=True, eq=False)
class Captures:
    """Captures in memory: a table, and tensors with one entry a row of it; views stand in clockwise order."""

    table: pd.DataFrame
    photos: UInt8[Tensor, "captures views 4 height width"]
    truth: Bool[Tensor, "captures x y z"]
    cameras: Float32[Tensor, "captures views 3 7"] | None = None
    """Where each photo was taken from (`Camera.normalised`, for the photo as it is cut); None: nobody knows."""
    boxes: Float32[Tensor, "captures views 4"] | None = None
    """What each photo is still to be cut to, pixels (an archive's); None: that is done."""
    crop_size: int = 0
    """Edge of what is cut, pixels."""
    source: str = ""
    """What stands for photos and grids in `digest` where they are too many to be read for it."""
    file_order: Int64[Tensor, "captures views"] | None = None
    """Where in clockwise order an archive's first, second … file stands; None: the files are in that order."""
    as_published: bool = False
    """Tests see them as the published code showed them: the first files, and outlines with their dark seam."""
    fine_truth: Bool[Tensor, "captures fine_x fine_y fine_z"] | None = None
    """The truth at `packing.FINE`^3, its lower part alone, for cubes that are moved about it; None: they stay."""

    def __len__(self) -> int:
        return len(self.table)

    def digest(self) -> str:
        """A short hash of what is in here, so that weights can tell what they were trained on."""
        content = hashlib.sha256(self.table.to_csv().encode())
        if self.cameras is not None:
            content.update(self.cameras.cpu().contiguous().numpy())
        if self.source:
            content.update(f"{self.source} {self.crop_size}".encode())
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
        fine = None if self.fine_truth is None else self.fine_truth[some]
        return replace(self, table=table, photos=self.photos[some], truth=self.truth[some], fine_truth=fine, **rest)

    def _views(self) -> dict[str, Tensor | None]:
        """What is known of each photo, if it is."""
        return {"cameras": self.cameras, "boxes": self.boxes, "file_order": self.file_order}

    def test_views(self, number: int) -> Int64[Tensor, "captures number"]:
        """Which of the clockwise photos a test with ``number`` photos sees: evenly spaced, or the first files.

        Raises:
            ValueError: there are not so many.
        """
        chosen = torch.tensor(evenly_spaced(self.photos.shape[1], number)).expand(len(self), -1)
        if not self.as_published:
            return chosen
        # As they come: the order in which the published code shows them, whose networks know none.
        return (
            torch.arange(number).expand(len(self), -1) if self.file_order is None else self.file_order[:, :number].cpu()
        )

    def to(self, device: torch.device | str) -> Captures:
        """The same captures with their tensors on ``device``; photos that are a file stay one."""
        photos = self.photos if self.source else self.photos.to(device)
        rest = {name: value if value is None else value.to(device) for name, value in self._views().items()}
        fine = None if self.fine_truth is None else self.fine_truth.to(device)
        return replace(self, photos=photos, truth=self.truth.to(device), fine_truth=fine, **rest)


R2N2_CENTRE_CROP = (4.0, 4.0, 132.0, 132.0)
"""What the published crop leaves of it: without a box, a random crop became the middle 128 pixels."""


def load(config: Config, crop: Literal["box", "centre", "whole"] = "box") -> Captures:
    """All captures of ``config`` at ``config.image_size`` pixels, made and packed first where they are missing.

    Each photo is cut to the picture ``box`` of its cube, to its ``centre`` as published, or left ``whole``. A right
    foot enters mirrored, as the left foot that it would be: whoever takes photos knows which foot it is, so does the
    mean foot that a network is compared with, and no network has to learn both.
    """
    packed, size = packing.read_packed(config), config.image_size
    records = packed.records

    def views_of(record: dict) -> np.ndarray:
        pictures = packed.open_photos(record)
        boxes = record["boxes"] if crop == "box" else [None] * len(pictures)
        if crop == "centre":
            boxes = [np.array(R2N2_CENTRE_CROP) * picture.width / R2N2_PIXELS for picture in pictures]
        return np.stack([crop_and_resize(picture, box, size) for picture, box in zip(pictures, boxes, strict=True)])

    with ThreadPoolExecutor() as pool:
        photos = np.stack(list(pool.map(views_of, records)))
    truth = packed.truth(records)
    table = pd.DataFrame([{column: record[column] for column in COLUMNS} for record in records])
    right = torch.tensor((table.side == "right").tolist())
    turned = mirror_views(torch.from_numpy(photos).permute(0, 1, 4, 2, 3), torch.from_numpy(truth), right)
    # The cameras are those of the cut photos; of whole ones no network that asks for cameras is trained.
    seen = mirror_cameras(torch.from_numpy(packed.cameras), right) if crop == "box" else None
    return Captures(table, *(tensor.contiguous() for tensor in turned), seen, as_published=crop == "centre")


def load_feet(config: Config, *looks: str) -> Captures:
    """The feet of ``config`` in these looks, metric cubes alone, whole photos that are cut on the device.

    For networks that are told cameras: with the finer truth at hand the cube can be moved about a foot (`placement`),
    and every photo is cut anew to where it then stands.
    """
    packed = packing.read_packed(config)
    rows = [
        number
        for number, one in enumerate(packed.records)
        if (one["dataset"], one["cube"]) == ("feet", "metric") and one["look"] in looks
    ]
    records = [packed.records[n] for n in rows]

    def views_of(record: dict) -> np.ndarray:
        return np.stack([np.asarray(picture.convert("RGBA")) for picture in packed.open_photos(record)])

    with ThreadPoolExecutor() as pool:
        photos = torch.from_numpy(np.stack(list(pool.map(views_of, records)))).permute(0, 1, 4, 2, 3)
    boxes = torch.tensor([record["boxes"] for record in records])
    table = pd.DataFrame([{column: record[column] for column in COLUMNS} for record in records])
    fine = torch.from_numpy(packing.fine_truth(config, table))
    right = torch.tensor((table.side == "right").tolist())
    photos, truth = mirror_views(photos, torch.from_numpy(packed.truth(records)), right)
    seen = mirror_cameras(torch.from_numpy(packed.cameras[rows]), right)
    boxes = mirror_boxes(boxes, photos.shape[-1], right)
    fine = torch.where(right[:, None, None, None], fine.flip(-1), fine)
    return Captures(table, photos.contiguous(), truth.contiguous(), seen, boxes, config.image_size, fine_truth=fine)


def crop_and_resize(
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


# ------------------------------------------------------------------------------------------------------------- mirror


def mirror_views(
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


def mirror_boxes(
    boxes: Float32[Tensor, "batch views 4"], width: int, which: Bool[Tensor, " batch"]
) -> Float32[Tensor, "batch views 4"]:
    """The boxes of the photos that `mirrored` makes, which are ``width`` pixels wide."""
    left, top, right, bottom = boxes.unbind(-1)
    turned = torch.stack([width - right, top, width - left, bottom], -1).roll(-1, dims=1).flip(1)
    return torch.where(which[:, None, None], turned, boxes)


def mirror_cameras(
    cameras: Float32[Tensor, "batch views 3 7"], which: Bool[Tensor, " batch"]
) -> Float32[Tensor, "batch views 3 7"]:
    """The cameras of the photos that `mirrored` makes: right-handed again, since picture and world turn together."""
    across = torch.diag(cameras.new_tensor([-1, 1, 1]))
    through = torch.diag(cameras.new_tensor([1, 1, -1]))
    intrinsics, rotation, translation = cameras.split([3, 3, 1], dim=-1)
    shift = rotation @ cameras.new_tensor([[0], [0], [1]]) + translation  # z runs from 1 to 0
    turned = torch.cat([across @ intrinsics @ across, across @ rotation @ through, across @ shift], -1)
    return torch.where(which[:, None, None, None], turned.roll(-1, dims=1).flip(1), cameras)
