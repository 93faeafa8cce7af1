"""What stands around a sample's solid, as k3d objects: the cameras with their photos, the floor and a scale."""

from __future__ import annotations

import html
import io
import itertools
from collections.abc import Sequence
from typing import Any

import k3d
import numpy as np
from jaxtyping import Float
from PIL import Image

from p2vlib.geometry.cameras import Camera
from p2vlib.geometry.frames import Cube
from p2vtools.viewer.sample import Sample
from p2vtools.viewer.scene import EDGE, UNUSED, number
from p2vtools.viewer.style import FAINT, FAINTER, INK, PALETTE

DEPTH = 80.0
"""Millimetres before a camera at which its photo stands."""

PICTURES = "webp"
"""What photos are told in: half the bytes of a JPEG, and no header to speak of."""


def frusta(sample: Sample, chosen: Sequence[int], photo: int | None = None, pixels: int = 48) -> list[Any]:
    """The cameras of ``chosen`` photos with what they saw, ``pixels`` a side; that of ``chosen[photo]`` is marked."""
    if not sample.cameras:
        return []
    corners = [_corners(sample.cameras[place], sample.cube) for place in chosen]
    others = [one for place, one in enumerate(corners) if place != photo]
    drawn = [_pyramids(others, FAINTER, "cameras")] if others else []
    if len(others) < len(corners):
        marked = _pyramids([corners[photo]], PALETTE[1], f"camera {sample.names[chosen[photo]]}")
        marked.shader, marked.width = "mesh", 1.5
        drawn.append(marked)
    return [*drawn, _pictures([sample.photos[place] for place in chosen], corners, pixels)]


def _pyramids(corners: Sequence[np.ndarray], colour: str, name: str) -> Any:
    edges = np.array([[0, 1], [0, 2], [0, 3], [0, 4], [1, 2], [2, 3], [3, 4], [4, 1]])
    return _segments(np.concatenate([one[edges] for one in corners]), colour, name)


def _pictures(photos: Sequence[np.ndarray], corners: Sequence[np.ndarray], pixels: int) -> Any:
    """Photos before their cameras as one mesh with one picture, which a snapshot holds in a third of the bytes."""
    row = np.hstack([np.asarray(Image.fromarray(photo).resize((pixels, pixels))) for photo in photos])
    ends = np.arange(len(photos) + 1) / len(photos)
    places = [[[left, 0], [right, 0], [right, 1], [left, 1]] for left, right in itertools.pairwise(ends)]
    quads = 4 * np.arange(len(photos), dtype=np.uint32)[:, None]
    return k3d.mesh(
        np.concatenate([one[1:] for one in corners]),
        np.concatenate([quads + [0, 1, 2], quads + [0, 2, 3]]).astype(np.uint32),
        uvs=np.array(places, np.float32).reshape(-1, 2),
        # It shines by itself: no lamp of the scene may darken a photo.
        color=0,
        emissive=0xFFFFFF,
        emissive_map=encoded(row),
        texture_file_format=PICTURES,
        color_map=UNUSED,
        side="double",
        name="photos",
    )


def encoded(picture: np.ndarray) -> bytes:
    """A picture in as few bytes as a browser can read."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, PICTURES, quality=60, method=6)
    return buffer.getvalue()


def _corners(camera: Camera, cube: Cube) -> Float[np.ndarray, "5 3"]:
    """Where a camera stands, and the corners of its photo before it, clockwise from the upper left one."""
    width, height = camera.width, camera.height
    pixels = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1.0]])
    rays = pixels @ np.linalg.inv(camera.intrinsics).T
    # All photos are as large as each other, whatever was in front of the lens.
    rays *= DEPTH / np.linalg.norm(rays.mean(0)) * cube.edge / EDGE
    return _placed(np.vstack([camera.position, rays @ camera.extrinsics[:3, :3] + camera.position]), cube)


def floor(sample: Sample, step: float = 20.0) -> list[Any]:
    """The cube's floor as a net of lines, and where the toes (or the front) point; with a ruler where there is a size.

    Args:
        step: between lines, mm.
    """
    half = EDGE / 2
    along = np.arange(-half, half + 1e-6, step)
    net = [[[x, 0, -half], [x, 0, half]] for x in along] + [[[-half, 0, z], [half, 0, z]] for z in along]
    drawn = [_segments(net, FAINT, "floor")]
    tip = half + 30
    drawn.append(
        _segments([[[half, 0, 0], [tip, 0, 0]], *([[tip, 0, 0], [tip - 10, 0, s]] for s in (-6, 6))], INK, "x")
    )
    drawn.append(words("toes" if sample.side != "none" else "front", [tip + 26, 0, 0]))
    if not sample.is_metric:
        return drawn
    ticks = np.arange(0, EDGE + 1e-6, 10)
    edge = [[[-half, 0, half + 8], [half, 0, half + 8]]]
    edge += [[[x - half, 0, half + 8], [x - half, 0, half + (20 if x % 100 == 0 else 13)]] for x in ticks]
    drawn.append(_segments(edge, INK, "ruler"))
    return drawn + [words(f"{mm} mm" if mm else "0", [mm - half, 0, half + 40]) for mm in (0, 100, 200, 300)]


def _segments(lines: Any, colour: str, name: str) -> Any:
    """Lines ``[number, 2, 3]`` from point to point as one object."""
    points = np.asarray(lines, np.float32).reshape(-1, 3)
    pairs = np.arange(len(points), dtype=np.uint32).reshape(-1, 2)
    return k3d.lines(
        points, pairs, indices_type="segment", color=number(colour), shader="simple", name=name, color_map=UNUSED
    )


def words(text: str, place: Sequence[float]) -> Any:
    """A word in the scene that always faces who looks."""
    return k3d.text(
        html.escape(text),
        position=np.asarray(place, np.float32),
        color=number(INK),
        size=0.7,
        reference_point="cc",
        label_box=False,
        is_html=True,
        on_top=False,
        name=text,
    )


def _placed(points: np.ndarray, cube: Cube) -> Float[np.ndarray, "points 3"]:
    """Points of the world in the scene's millimetres."""
    middle = cube.centre - [0, cube.edge / 2, 0]
    return ((np.asarray(points) - middle) * EDGE / cube.edge).astype(np.float32)
