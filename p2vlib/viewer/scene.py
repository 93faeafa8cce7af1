"""A sample in three dimensions, as k3d objects: solids, the cameras with their photos, the floor and a scale.

Millimetres, y up, the middle of the cube's floor at the origin; of what has no size the cube's edge counts as 320.
"""

from __future__ import annotations

import html
import io
from collections.abc import Sequence
from typing import Any

import k3d
import numpy as np
from jaxtyping import Bool, Float
from matplotlib import colormaps
from matplotlib.colors import to_hex
from PIL import Image

from ..cameras import Camera
from ..conventions import FOOT_CUBE_EDGE, Cube
from ..grids import to_mesh
from .sample import Answer, Sample
from .shading import agreement
from .style import AGREEMENT, FAINT, FAINTER, INK, PALETTE, SOLID

SHOWN = ("agreement", "voxels", "surface", "weight of the photo", "before the refiner", "change by the refiner")
"""How a solid can be looked at."""

HEAT = "cividis"
"""The weight of a photo; colour-blind readers see its order (Nuñez et al. 2018)."""

CHANGED = {"kept": SOLID, "taken away": AGREEMENT["missed"], "added": AGREEMENT["invented"]}
"""What a refiner does to voxels."""

DEPTH = 80.0
"""Millimetres before a camera at which its photo stands."""

STEPS = 16
"""Colours of `HEAT` that are told apart."""

EDGE = 1000 * FOOT_CUBE_EDGE


def number(colour: str) -> int:
    """``#rrggbb`` as k3d takes it."""
    return int(colour[1:], 16)


def new_plot(height: int = 460) -> k3d.Plot:
    """An empty scene, looked into from the front and the right side."""
    plot = k3d.plot(
        height=height,
        camera_auto_fit=False,
        camera_fov=30,
        camera_mode="orbit",
        grid_visible=False,
        menu_visibility=False,
        axes_helper=0,
    )
    plot.camera = [620, 520, 760, 0, 40, 0, 0, 1, 0]
    return plot


def solids(sample: Sample, answer: Answer, threshold: float, shown: str, photo: int = 0) -> list[Any]:
    """What ``answer`` says is solid from ``threshold`` on, looked at as ``shown`` (one of `SHOWN`).

    Args:
        photo: whose weight is shown: a position in ``answer.chosen``.

    Raises:
        ValueError: an unknown way to look.
    """
    if shown not in SHOWN:
        raise ValueError(f"cannot show {shown!r}; expected one of {', '.join(SHOWN)}")
    solid, truth = answer.probability >= threshold, sample.truth(len(answer.probability))
    if shown == "surface":
        found = [surface(sample, answer.probability, SOLID, threshold)] if solid.any() else []
        return found if truth is None else [*found, surface(sample, truth, AGREEMENT["missed"], opacity=0.25)]
    if shown == "weight of the photo":
        return [heat(answer.scores[photo], answer.refined >= threshold)]
    if shown == "before the refiner":
        before, known = answer.coarse >= threshold, sample.truth(len(answer.coarse))
        return _agreed(before, known)
    if shown == "change by the refiner":
        return [voxels(agreement(answer.coarse >= threshold, answer.refined >= threshold), list(CHANGED.values()))]
    return _agreed(solid, truth if shown == "agreement" else None)


def _agreed(solid: Bool[np.ndarray, "x y z"], truth: Bool[np.ndarray, "x y z"] | None) -> list[Any]:
    labels = solid if truth is None else agreement(truth, solid)
    return [voxels(labels, list(AGREEMENT.values()))]


def voxels(labels: np.ndarray, colours: Sequence[str]) -> Any:
    """Labels ``[x, y, z]`` (0 is empty, k has ``colours[k - 1]``) as boxes."""
    size = len(labels)
    filled = np.argwhere(labels)
    rows = np.column_stack([filled, np.asarray(labels, np.uint8)[tuple(filled.T)]]).astype(np.uint16)
    bounds = [-EDGE / 2, EDGE / 2, 0, EDGE, -EDGE / 2, EDGE / 2]
    return k3d.sparse_voxels(
        rows if len(rows) else np.zeros((1, 4), np.uint16),
        [size] * 3,
        color_map=[number(colour) for colour in colours],
        bounds=bounds,
        outlines=size <= 32,
        outlines_color=number(FAINTER),
        visible=bool(len(rows)),
        name="solid",
        compression_level=9,
    )


def heat(weight: Float[np.ndarray, "x y z"], solid: Bool[np.ndarray, "x y z"]) -> Any:
    """How much one photo counts in each voxel of a solid, from nothing (dark) to alone (bright), as boxes."""
    colours = [to_hex(colour) for colour in colormaps[HEAT](np.linspace(0, 1, STEPS))]
    labels = np.where(solid, 1 + np.clip((weight * STEPS).astype(int), 0, STEPS - 1), 0)
    return voxels(labels.astype(np.uint8), colours)


def surface(sample: Sample, volume: np.ndarray, colour: str, level: float = 0.5, opacity: float = 1.0) -> Any:
    """The smooth surface of a volume, occupied from ``level`` on."""
    vertices, faces = to_mesh(volume, sample.cube, level)
    return k3d.mesh(
        _placed(vertices, sample.cube),
        faces.astype(np.uint32),
        color=number(colour),
        opacity=opacity,
        flat_shading=False,
        side="double",
        name="surface",
        compression_level=9,
    )


def _placed(points: np.ndarray, cube: Cube) -> Float[np.ndarray, "points 3"]:
    """Points of the world in the scene's millimetres."""
    middle = cube.centre - [0, cube.edge / 2, 0]
    return ((np.asarray(points) - middle) * EDGE / cube.edge).astype(np.float32)


# ----------------------------------------------------------------------------------------------------------- around it


def frusta(sample: Sample, chosen: Sequence[int], photo: int) -> list[Any]:
    """The cameras of ``chosen`` photos with what they saw; that of ``chosen[photo]`` is drawn stronger."""
    drawn = []
    for place, number_ in enumerate(chosen if sample.cameras else ()):
        is_marked = place == photo
        corners = _corners(sample.cameras[number_], sample.cube)
        colour = number(PALETTE[1] if is_marked else FAINTER)
        edges = [[0, 1], [0, 2], [0, 3], [0, 4], [1, 2], [2, 3], [3, 4], [4, 1]]
        drawn.append(
            k3d.lines(
                corners,
                np.array(edges, np.uint32),
                indices_type="segment",
                color=colour,
                width=3.0 if is_marked else 1.0,
                shader="mesh" if is_marked else "simple",
                name=f"camera {sample.names[number_]}",
            )
        )
        # From the lower left corner of the photo along its lower and its left edge.
        upper_left, _, lower_right, lower_left = corners[1:]
        puv = np.concatenate([lower_left, lower_right - lower_left, upper_left - lower_left])
        drawn.append(
            k3d.texture(
                binary=encoded(sample.photos[number_]),
                file_format="jpg",
                puv=puv.astype(np.float32),
                name=f"photo {sample.names[number_]}",
            )
        )
    return drawn


def encoded(photo: np.ndarray, pixels: int = 96) -> bytes:
    """A small JPEG of a photo."""
    picture = Image.fromarray(photo)
    picture.thumbnail((pixels, pixels))
    buffer = io.BytesIO()
    picture.save(buffer, "jpeg", quality=70)
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
    drawn.append(words("toes" if sample.side != "none" else "front", [tip + 6, 0, 0]))
    if not sample.is_metric:
        return drawn
    ticks = np.arange(0, EDGE + 1e-6, 10)
    edge = [[[-half, 0, half + 8], [half, 0, half + 8]]]
    edge += [[[x - half, 0, half + 8], [x - half, 0, half + (20 if x % 100 == 0 else 13)]] for x in ticks]
    drawn.append(_segments(edge, INK, "ruler"))
    return drawn + [words(f"{mm} mm" if mm else "0", [mm - half, 0, half + 32]) for mm in (0, 100, 200, 300)]


def _segments(lines: Sequence[Sequence[Sequence[float]]], colour: str, name: str) -> Any:
    points = np.asarray(lines, np.float32).reshape(-1, 3)
    pairs = np.arange(len(points), dtype=np.uint32).reshape(-1, 2)
    return k3d.lines(
        points, pairs, indices_type="segment", color=number(colour), shader="simple", name=name, compression_level=9
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
