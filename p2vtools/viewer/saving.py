"""What the viewer shows, as a file: a mesh, a grid, a picture, or a page that turns without a network."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from p2vlib.files import write_atomically, write_bytes, write_text
from p2vlib.geometry.frames import Cube
from p2vlib.geometry.grids import Probability, VoxelGrid, to_mesh, write_binvox
from p2vtools.viewer.sample import Prediction, Sample
from p2vtools.viewer.scene import labelled, outer, selected_volume
from p2vtools.viewer.static_html import Scenes

if TYPE_CHECKING:
    import trimesh

MESHES = (".obj", ".stl", ".glb", ".ply")
FORMATS = (*MESHES, ".binvox", ".png", ".html")

APART = 1.1
"""Between what two networks say, in edges of the cube along z."""


def free(path: Path, ending: str) -> Path:
    """Where to write what is called ``path``, with ``ending`` where it has none: no file is there yet, for the name is
    followed by ``-2``, ``-3`` … where there is.

    Raises:
        ValueError: an ending that nothing can be saved as.
    """
    path = path if path.suffix else path.with_name(path.name + ending)
    if path.suffix not in FORMATS:
        raise ValueError(f"{path}: cannot be saved as {path.suffix}; expected {', '.join(FORMATS)}")
    others = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(2))
    return next(one for one in itertools.chain([path], others) if not one.exists())


def save_mesh(path: Path, sample: Sample, seen: Sequence[tuple[Prediction, float]], shown: str, photo: int = 0) -> None:
    """Writes what is seen of one or two answers, side by side: the surface, or the voxels in their colours.

    Metres, and millimetres in ``.stl``, in the sample's own frame; of what has no size the cube's edge is the unit.

    Args:
        seen: answers and the thresholds at which they are cut.

    Raises:
        ValueError: nothing is solid there, or an unknown ending.
    """
    import trimesh

    if path.suffix not in MESHES:
        raise ValueError(f"{path}: not a mesh; expected {', '.join(MESHES)}")
    parts = []
    for place, (answer, threshold) in enumerate(seen):
        if not (selected_volume(answer, shown) > threshold).any():
            raise ValueError(f"{path}: nothing is solid at a threshold of {threshold:.2f}; lower it")
        if shown == "surface":
            part = trimesh.Trimesh(*to_mesh(answer.probability, sample.cube, threshold), process=False)
        else:
            part = boxes(*labelled(sample, answer, threshold, shown, photo), sample.cube)
        parts.append(part.apply_translation([0, 0, -place * APART * sample.cube.edge]))
    whole = trimesh.util.concatenate(parts)
    if path.suffix == ".stl" and sample.is_metric:
        whole.apply_scale(1000)
    write_atomically(path, lambda partial: whole.export(partial))


def boxes(labels: np.ndarray, colours: Sequence[str], cube: Cube) -> trimesh.Trimesh:
    """The outer ones of the voxels with ``labels`` (0 is empty, k has ``colours[k - 1]``) as coloured boxes, metres."""
    import trimesh

    filled = outer(labels)
    centres = cube.voxel_centres(len(labels))[filled]
    tones = np.array([trimesh.visual.color.hex_to_rgba(colour) for colour in colours])[labels[filled] - 1]
    return trimesh.voxel.ops.multibox(centres, cube.edge / len(labels), tones)


def save_grid(path: Path, sample: Sample, volume: Probability, threshold: float) -> None:
    """Writes what is occupied from ``threshold`` on as ``.binvox`` over the sample's cube."""
    grid = VoxelGrid(volume >= threshold, sample.cube)
    write_atomically(path, lambda partial: write_binvox(partial, grid))


def save_picture(path: Path, screenshots: Sequence[bytes]) -> None:
    """Writes pictures of scenes (PNG), which stand side by side, as one."""
    pictures = [Image.open(io.BytesIO(content)).convert("RGB") for content in screenshots]
    width, height = sum(picture.width for picture in pictures), max(picture.height for picture in pictures)
    whole = Image.new("RGB", (width, height), "white")
    left = 0
    for picture in pictures:
        whole.paste(picture, (left, 0))
        left += picture.width
    buffer = io.BytesIO()
    whole.save(buffer, "png", optimize=True)
    write_bytes(path, buffer.getvalue())


def save_page(path: Path, scenes: Scenes) -> None:
    """Writes one self-contained HTML page."""
    write_text(path, scenes.page())
