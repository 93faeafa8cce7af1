"""Duplicates in a data set: photos in two captures or of two people, mirrored photos, and equal solids."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32
from PIL import Image

THUMBNAIL_SIZE = 32
"""Pixels a side of the thumbnails that are compared."""

MIN_CORRELATION = 0.98
"""Correlation of two thumbnails from which the photos count as the same.

Among 880 rendered photos of 55 people no two of different captures reach 0.91, or 0.93 mirrored. The same photo
resized, brightened or darkened and compressed again keeps at least 0.982, but cropped by 3 % it falls to 0.96 (median).
Of photos of six feet on one mat from exactly the same places, one pair in a hundred reaches 0.97."""

BATCH_SIZE = 1024
"""Photos compared with all others at a time."""


class PhotoFingerprint(NamedTuple):
    """What is compared of a photo."""

    capture: str
    subject: str
    name: str
    digest: str
    """SHA-256 of its file."""
    thumbnail: Float32[np.ndarray, " pixels"]


class Duplicate(NamedTuple):
    """Two captures that share a photo or a solid."""

    captures: tuple[str, str]
    message: str


def solid_digests(volume: Bool[np.ndarray, "x y z"]) -> list[str]:
    """SHA-256 of a solid and of its mirror image."""
    return [hashlib.sha256(np.packbits(solid)).hexdigest() for solid in (volume, volume[:, :, ::-1])]


def normalised_thumbnail(photo: Image.Image) -> Float32[np.ndarray, " pixels"]:
    """Greyscale thumbnail with zero mean and unit norm; the dot product of two is their correlation."""
    grey = photo.convert("L").resize((THUMBNAIL_SIZE, THUMBNAIL_SIZE), Image.Resampling.BOX)
    pixels = np.asarray(grey, np.float32)
    centred = (pixels - pixels.mean()).ravel()
    return centred / max(float(np.linalg.norm(centred)), 1e-6)


def duplicate_photos(photos: Sequence[PhotoFingerprint]) -> list[Duplicate]:
    """One result for each pair of captures that share photos: the same file, the same picture, or its mirror image."""
    shared = defaultdict(list)
    for first, second, relation in _similar_pairs(photos):
        if first.capture != second.capture or first.digest == second.digest:
            shared[first.capture, second.capture, relation].append((first, second))
    found = []
    for (*captures, relation), pairs in shared.items():
        first, second = pairs[0]
        more = f", and {len(pairs) - 1} more" if len(pairs) > 1 else ""
        if first.capture == second.capture:
            advice = "keep one of them"
        elif first.subject != second.subject:
            advice = f"is {first.subject} the same person as {second.subject}?"
        else:
            advice = "one capture was submitted twice, or a photo is in the wrong folder"
        names = f"{first.capture}/{first.name} and {second.capture}/{second.name}"
        found.append(Duplicate(tuple(captures), f"{names} are {relation}{more}: {advice}"))
    return found


def _similar_pairs(photos: Sequence[PhotoFingerprint]) -> Iterator[tuple[PhotoFingerprint, PhotoFingerprint, str]]:
    """Pairs of photos of the same picture, and their relation."""
    if not photos:
        return
    thumbnails = np.stack([photo.thumbnail for photo in photos])
    mirrored = thumbnails.reshape(-1, THUMBNAIL_SIZE, THUMBNAIL_SIZE)[:, :, ::-1].reshape(thumbnails.shape)
    for start in range(0, len(photos), BATCH_SIZE):
        batch = thumbnails[start : start + BATCH_SIZE]
        for others, relation in ((thumbnails, "the same picture"), (mirrored, "mirror images of each other")):
            for row, index in np.argwhere(batch @ others.T >= MIN_CORRELATION):
                first, second = photos[start + row], photos[index]
                if start + row < index:
                    yield first, second, "the same photo" if first.digest == second.digest else relation


def duplicate_solids(solids: Mapping[str, Sequence[str]]) -> list[Duplicate]:
    """One result for each capture with the solid of an earlier one, or its mirror image.

    Args:
        solids: capture -> `solid_digests`.
    """
    captures, found = {}, []
    for capture, (digest, mirrored) in solids.items():
        if same := captures.get(digest):
            message = f"{same} and {capture} have the same solid: one of them belongs to another foot"
            found.append(Duplicate((same, capture), message))
        elif other := captures.get(mirrored):
            message = f"{other} and {capture} have mirrored solids: one of them was not measured"
            found.append(Duplicate((other, capture), message))
        captures.setdefault(digest, capture)
    return found
