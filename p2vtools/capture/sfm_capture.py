"""Photos of a foot without a mat: structure from motion says where they were taken from, but not how large anything is.

What registers the photos is the floor and what lies on it; smooth skin on a plain floor has nothing to match, and then
one sentence says so.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from p2vtools.capture.app_exports import Export
from p2vtools.capture.app_formats.colmap import frames_from_model
from p2vtools.capture.charuco import DEFAULT_FOCAL
from p2vtools.capture.mat_capture import list_photos, read_photo
from p2vtools.capture.sfm import map_photos

MAX_PHOTOS = 40
"""Every photo is matched with every other; of more, as many evenly spaced ones are taken."""

APP = "structure from motion"


def read_photos_without_mat(source: Path, report: Callable[[str], object] = lambda line: None) -> Export:
    """The photos in the folder ``source`` as structure from motion places them; for `placing.file_export`.

    The focal length in EXIF is where the search for it begins.

    Raises:
        ValueError: no photos, photos of different sizes, or photos that nothing connects.
    """
    if not source.is_dir():
        raise ValueError(f"{source}: no such folder of photos; without a mat photos are needed, 15 to 30 of them")
    paths = list_photos(source)
    paths = [paths[round(step)] for step in np.linspace(0, len(paths) - 1, min(len(paths), MAX_PHOTOS))]
    contents, sizes, focals = [], set(), []
    for path in paths:
        picture, focal = read_photo(path)
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "JPEG", quality=95)
        contents.append(stream.getvalue())
        sizes.add((picture.shape[1], picture.shape[0]))
        focals += [focal] if focal else []
    if len(sizes) > 1:
        told = ", ".join(f"{width} x {height}" for width, height in sorted(sizes))
        raise ValueError(f"photos of different sizes ({told}); take all of them upright, or all of them lying")
    width, height = sizes.pop()
    focal = float(np.median(focals)) if focals else DEFAULT_FOCAL
    report(f"matching {len(paths)} photos with each other")
    begin = [focal * max(width, height), width / 2, height / 2, 0.0]
    model = map_photos(contents, "SIMPLE_RADIAL", begin, refine=True, threads=os.cpu_count() or 1)
    if model is None:
        raise ValueError(
            f"{source}: none of {len(paths)} photos fits the others: smooth skin and a plain floor have nothing to"
            " match, or the photos do not overlap; print the mat (python -m p2vtools mat), or stand on a patterned"
            " carpet, and take 15 to 30 photos in one walk"
        )
    frames, points = frames_from_model(model)
    frames = [replace(frame, name=paths[int(Path(frame.name).stem)].name) for frame in frames]
    registered = {frame.name for frame in frames}
    for path in paths:
        if path.name not in registered:
            report(f"{path.name}: left out, nothing in it fits the other photos")
    known = {path.name: path for path in paths}

    def picture(name: str, side: int) -> Image.Image:
        return Image.fromarray(read_photo(known[name])[0])

    return Export(APP, frames, picture, None, False, points=points)
