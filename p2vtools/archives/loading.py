"""The real archives by name, as notebook 03 reads them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from p2vlib.data.dataset import Captures
from p2vlib.provenance import home
from p2vtools.archives import pix3d, shapenet


@dataclass(frozen=True, eq=False)
class LoadedArchive:
    """The captures of a real archive."""

    captures: Captures
    skipped: pd.DataFrame
    """Unreadable objects: columns object, reason."""
    leaks: pd.DataFrame
    """Object ids that occur in more than one split: columns object, places."""


def read_archive(
    dataset: str,
    root: str,
    image_size: int,
    *,
    as_published: bool = False,
    limit: int = 0,
    drop_leaks: bool = False,
    on_error: str = "stop",
) -> LoadedArchive | None:
    """Reads a real archive; returns None for the ``embedded`` objects.

    Args:
        dataset: ``embedded``, ``shapenet``, ``things3d`` or ``pix3d``.
        root: folder of the archive; empty: where `p2v fetch` puts it.
        as_published: crop photos to their centre, and test as the published code does.
        limit, drop_leaks, on_error: as in `shapenet.load` and `pix3d.load`.

    Raises:
        FileNotFoundError: the archive is missing; the message says how to get it.
        ValueError: an unknown data set or option, or an archive that differs from the published one.
    """
    if on_error not in ("stop", "skip"):
        raise ValueError(f"on_error is {on_error!r}; expected stop or skip")
    if limit < 0:
        raise ValueError(f"limit is {limit}; expected a number of objects per category and split, or 0 for all")
    if dataset == "embedded":
        return None
    if dataset == "pix3d":
        folder = Path(root or home() / "data" / "pix3d" / "pix3d")
        captures, skipped = pix3d.load(folder, image_size, limit=limit, on_error=on_error)
        no_leaks = pd.DataFrame(columns=["object", "places"])
        return LoadedArchive(replace(captures, as_published=as_published), skipped, no_leaks)
    if dataset not in ("shapenet", "things3d"):
        raise ValueError(f"unknown data set {dataset!r}; expected embedded, shapenet, things3d or pix3d")
    folder = Path(root or home() / "data" / dataset)
    options = dict(limit=limit, on_error=on_error, as_published=as_published, drop_leaks=drop_leaks, dataset=dataset)
    captures, skipped = shapenet.load(folder, image_size, **options)
    leaks = shapenet.cross_listed(shapenet.read_taxonomy(folder / shapenet.TAXONOMY))
    return LoadedArchive(captures, skipped, leaks)
