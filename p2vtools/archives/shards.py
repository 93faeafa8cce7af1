"""Photos of an archive in tar files, compressed as they were published, and decoded in threads where they are used.

The files are those of the package webdataset: ``<number>-<object>.<view>.png``. That package reads them in their order;
here each photo is read by its position, so that a step has exactly the photos that it has with decoded ones.
"""

from __future__ import annotations

import functools
import io
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from PIL import Image
from torch import Tensor

from p2vlib.files import reading
from p2vlib.geometry.frames import R2N2_PIXELS

SHARD_BYTES = 2**28
"""Size beyond which a new tar file is begun."""


class ShardedPhotos(Tensor):
    """Photos ``[captures views 4 height width]`` as a tensor that is stored in tar files and can only be indexed.

    An index of captures selects some, and an index of captures and views decodes photos.
    """

    shards: list[np.memmap]
    places: Int64[Tensor, "captures views 3"]
    """Of each photo the number of its tar file, the offset and the bytes."""

    @staticmethod
    def __new__(cls, shards: list[np.memmap], places: Tensor) -> ShardedPhotos:
        shape = (*places.shape[:2], 4, R2N2_PIXELS, R2N2_PIXELS)
        return Tensor._make_wrapper_subclass(cls, shape, dtype=torch.uint8)

    def __init__(self, shards: list[np.memmap], places: Tensor) -> None:
        self.shards, self.places = shards, places

    def __getitem__(self, key: Any) -> Tensor:
        places = self.places[key]
        if not isinstance(key, tuple):
            return ShardedPhotos(self.shards, places)
        photos = np.stack(list(_threads().map(self._decode, places.reshape(-1, 3).tolist())))
        return torch.from_numpy(photos.reshape(*places.shape[:-1], *self.shape[2:]))

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Tensor:
        raise NotImplementedError(f"{function}: photos in shards can only be indexed")

    def _decode(self, place: Sequence[int]) -> UInt8[np.ndarray, "4 height width"]:
        shard, offset, size = place
        stored = self.shards[shard]
        with reading(stored.filename, "make the shards again with `p2v data shard`"):
            return np.asarray(Image.open(io.BytesIO(stored[offset : offset + size]))).transpose(2, 0, 1)


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor()


def open_shards(folder: Path) -> ShardedPhotos:
    """The photos that a `ShardWriter` wrote to ``folder``.

    Raises:
        OSError: a missing file.
        ValueError: a file that is too short.
    """
    places = torch.from_numpy(np.load(folder / "places.npy"))
    shards = [np.memmap(_shard(folder, number), np.uint8, "r") for number in range(int(places[..., 0].max()) + 1)]
    for number, shard in enumerate(shards):
        here = places[places[..., 0] == number]
        if (end := int(here[:, 1:].sum(1).max())) > len(shard):
            raise ValueError(f"{_shard(folder, number)}: {len(shard)} bytes; expected at least {end}")
    return ShardedPhotos(shards, places)


def _shard(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.tar"


class ShardWriter:
    """Writes photos to tar files in ``folder``; `close` writes where each is."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.places = folder, []
        self.tar, self.number = tarfile.TarFile(_shard(folder, 0), "w"), 0

    def write(self, name: str, photos: Sequence[bytes]) -> None:
        """Writes the photos of an object."""
        if self.tar.offset > SHARD_BYTES:
            self.tar.close()
            self.number += 1
            self.tar = tarfile.TarFile(_shard(self.folder, self.number), "w")
        places = []
        for view, content in enumerate(photos):
            member = tarfile.TarInfo(f"{len(self.places):06d}-{name}.{view:02d}.png")
            member.size = len(content)
            self.tar.addfile(member, io.BytesIO(content))
            padded = -(-len(content) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            places.append((self.number, self.tar.offset - padded, len(content)))
        self.places.append(places)

    def close(self) -> None:
        self.tar.close()
        np.save(self.folder / "places.npy", np.array(self.places))
