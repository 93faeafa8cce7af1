"""A sample as k3d objects: its solid, the cameras with their photos, the floor and a scale.

Coordinates are millimetres, y up, origin at the centre of the cube's floor. Where the size of the cube is unknown, its
edge is drawn as 320 mm.
"""

from __future__ import annotations

import html
import io
import itertools
from collections.abc import Sequence
from typing import Any

import k3d
import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib import colormaps
from matplotlib.colors import to_hex
from PIL import Image
from scipy.ndimage import binary_erosion

from p2vlib.geometry.cameras import Camera
from p2vlib.geometry.frames import FOOT_CUBE_EDGE, Cube
from p2vlib.geometry.grids import Probability
from p2vtools.viewer.sample import Prediction, Sample
from p2vtools.viewer.shading import WEIGHT_COLOURS, label_agreement, label_weights
from p2vtools.viewer.style import AGREEMENT, FAINT, FAINTER, INK, PALETTE, SOLID

MODES = ("agreement", "voxels", "surface", "weight of the photo", "before the refiner", "change by the refiner")
"""How a solid can be drawn."""

REFINER_COLOURS = {"kept": SOLID, "removed": AGREEMENT["missed"], "added": AGREEMENT["invented"]}

EDGE = 1000 * FOOT_CUBE_EDGE
CENTRE = (0.0, EDGE / 2, 0.0)

SURFACE_LEVELS = np.float32(128)
"""Quantisation of the occupancy of a surface: an error of a hundredth of a voxel, and a fifth of the bytes."""

NO_COLOUR_MAP = np.zeros((2, 4), np.float32)
"""For objects of one colour: k3d's default map would be most of the bytes of a snapshot."""

PHOTO_DISTANCE = 80.0
"""Distance from a camera at which its photo is drawn, mm."""

PHOTO_FORMAT = "webp"
"""Half the bytes of a JPEG, and a small header."""


def to_number(colour: str) -> int:
    """``#rrggbb`` as an integer, as k3d expects it."""
    return int(colour[1:], 16)


def new_plot(height: int) -> k3d.Plot:
    """An empty scene."""
    plot = k3d.plot(
        height=height,
        camera_auto_fit=False,
        camera_fov=30,
        screenshot_scale=1.0,
        camera_mode="orbit",
        grid_visible=False,
        menu_visibility=False,
        axes_helper=0,
    )
    plot.camera = camera_at()
    return plot


def camera_at(distance: float = 1600.0) -> list[float]:
    """k3d's camera at ``distance`` mm in front and to the right of the scene; at 1600 all photos are visible."""
    target, direction = np.array([0.0, 200.0, 0.0]), np.array([0.57, 0.42, 0.70])
    return np.concatenate([target + distance * direction, target, [0, 1, 0]]).tolist()


def update_plot(plot: k3d.Plot, objects: Sequence[Any]) -> list[Any]:
    """Makes ``plot`` show ``objects`` only; returns the objects of the plot that represent them.

    An object with the name of an existing one updates it, and others are hidden, not removed: k3d keeps drawing an
    object that is removed while the browser is loading it.
    """
    existing = {one.name: one for one in plot.objects}
    current = []
    for new in objects:
        old = existing.get(new.name)
        if old is None:
            plot += new
        elif old is not new:
            with old.hold_sync():
                for trait in new._synced_props:
                    if trait not in ("id", "type"):
                        setattr(old, trait, getattr(new, trait))
        current.append(old or new)
    for one in plot.objects:
        one.visible = any(one is other for other in current)
    return current


# --------------------------------------------------------------------------------------------------------------- solids


def solid_objects(sample: Sample, prediction: Prediction, threshold: float, mode: str, photo: int = 0) -> list[Any]:
    """The predicted solid at ``threshold``, drawn in one of `MODES`.

    Args:
        photo: whose weight is drawn: a position in ``prediction.photos``.
    """
    if mode != "surface":
        labels, colours = label_voxels(sample, prediction, threshold, mode, photo)
        return [_voxels(labels, colours)] if labels.any() else []
    objects, truth = [], sample.truth(len(prediction.probability))
    if (prediction.probability > threshold).any():
        objects.append(isosurface(prediction.probability, EDGE, SOLID, threshold, CENTRE))
    if truth is not None:
        objects.append(isosurface(truth, EDGE, AGREEMENT["missed"], 0.5, CENTRE, name="truth"))
        objects[-1].wireframe = True  # shows the prediction inside
    return objects


def label_voxels(
    sample: Sample, prediction: Prediction, threshold: float, mode: str, photo: int
) -> tuple[UInt8[np.ndarray, "x y z"], list[str]]:
    """Labels of the voxels (0 is empty) and the colours of labels 1, 2, …, for all of `MODES` but ``surface``."""
    solid = volume_of(prediction, mode) >= threshold
    if mode == "weight of the photo":
        return label_weights(solid, prediction.view_weights[photo], max_weight(prediction))
    if mode == "change by the refiner":
        return label_agreement(prediction.coarse >= threshold, solid), list(REFINER_COLOURS.values())
    truth = None if mode == "voxels" else sample.truth(len(solid))
    labels = solid.astype(np.uint8) if truth is None else label_agreement(truth, solid)
    return labels, list(AGREEMENT.values())


def volume_of(prediction: Prediction, mode: str) -> Float[np.ndarray, "x y z"]:
    """The occupancy that is drawn in ``mode``."""
    if mode == "before the refiner":
        return prediction.coarse
    return prediction.refined if mode in ("weight of the photo", "change by the refiner") else prediction.probability


def max_weight(prediction: Prediction) -> float:
    """View weight with the last colour: twice the uniform weight, at most 1."""
    return min(1.0, 2 / len(prediction.photos))


def legend(sample: Sample, prediction: Prediction, mode: str) -> dict[str, str]:
    """Label -> colour, for one of `MODES`."""
    if mode == "weight of the photo":
        top, photos = max_weight(prediction), len(prediction.photos)
        uniform = f"{top / 2:.2f}" + f": uniform weight of {photos} photos" * (photos > 1)
        labels = ("0: ignored", uniform, f"{top:.2f}" + " or more" * (top < 1))
        return dict(zip(labels, map(to_hex, colormaps[WEIGHT_COLOURS]([0.0, 0.5, 1.0])), strict=True))
    if mode == "change by the refiner":
        return REFINER_COLOURS
    if mode == "voxels" or sample.truth(len(volume_of(prediction, mode))) is None:
        return {"predicted": SOLID}
    return {"predicted": SOLID, "truth (wireframe)": AGREEMENT["missed"]} if mode == "surface" else AGREEMENT


def _voxels(labels: UInt8[np.ndarray, "x y z"], colours: Sequence[str]) -> Any:
    """Labelled voxels as boxes, without those hidden by others."""
    size, occupied = len(labels), np.argwhere(surface_voxels(labels))
    rows = np.column_stack([occupied, labels[tuple(occupied.T)]]).astype(np.uint16)
    return k3d.sparse_voxels(
        rows,
        [size] * 3,
        color_map=[to_number(colour) for colour in colours],
        bounds=[-EDGE / 2, EDGE / 2, 0, EDGE, -EDGE / 2, EDGE / 2],
        outlines=size <= 32,
        outlines_color=to_number(FAINTER),
        name="solid",
        compression_level=9,
    )


def surface_voxels(labels: UInt8[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """The occupied voxels with an empty neighbour."""
    return (labels > 0) & ~binary_erosion(labels > 0)


def isosurface(
    volume: Probability,
    edge: float,
    colour: str,
    level: float = 0.5,
    centre: Sequence[float] = (0.0, 0.0, 0.0),
    name: str = "surface",
) -> Any:
    """The smooth surface of a volume whose cube has this ``edge`` and ``centre``, in millimetres.

    Only the volume is stored, which takes a tenth of the bytes of the mesh; the browser extracts the surface.

    Raises:
        ValueError: nothing is occupied above ``level``.
    """
    if not (volume > level).any():
        raise ValueError(f"the volume is empty: no voxel above {level}, so there is no surface to draw")
    # One empty voxel on each side closes the surface of a solid that touches the wall of its cube.
    padded = np.pad(np.round(np.asarray(volume, np.float32) * SURFACE_LEVELS) / SURFACE_LEVELS, 1)
    spans = [(places.min() - 1, places.max() + 2) for places in np.nonzero(padded > level)]
    part = padded[tuple(slice(first, end) for first, end in spans)]
    # The centre of voxel i of the padded volume is i - 1/2 voxels from the wall.
    pitch, walls = edge / len(volume), np.asarray(centre) - edge / 2
    bounds = [
        wall + pitch * (i - 0.5) for wall, (first, end) in zip(walls, spans, strict=True) for i in (first, end - 1)
    ]
    return k3d.marching_cubes(
        part.transpose(2, 1, 0),
        level=level,
        color=to_number(colour),
        color_map=NO_COLOUR_MAP,
        flat_shading=False,
        bounds=bounds,
        name=name,
        compression_level=9,
    )


# ------------------------------------------------------------------------------------------------ cameras, floor, scale


def camera_objects(sample: Sample, numbers: Sequence[int], photo: int | None = None, pixels: int = 48) -> list[Any]:
    """The cameras of photos ``numbers`` with their photos, ``pixels`` a side; ``numbers[photo]`` is highlighted."""
    if not sample.cameras:
        return []
    pyramids = [_photo_pyramid(sample.cameras[number], sample.cube) for number in numbers]
    others = [pyramid for position, pyramid in enumerate(pyramids) if position != photo]
    objects = [_camera_lines(others, FAINTER, "cameras")] if others else []
    if len(others) < len(pyramids):
        name = f"camera {sample.photo_names[numbers[photo]]}"
        objects.append(_camera_lines([pyramids[photo]], PALETTE[1], name))
        objects[-1].shader, objects[-1].width = "mesh", 1.5
    return [*objects, _photo_mesh([sample.photos[number] for number in numbers], pyramids, pixels)]


def _camera_lines(pyramids: Sequence[np.ndarray], colour: str, name: str) -> Any:
    edges = np.array([[0, 1], [0, 2], [0, 3], [0, 4], [1, 2], [2, 3], [3, 4], [4, 1]])
    return _segments(np.concatenate([pyramid[edges] for pyramid in pyramids]), colour, name)


def _photo_mesh(photos: Sequence[np.ndarray], pyramids: Sequence[np.ndarray], pixels: int) -> Any:
    """All photos as one mesh with one texture, which takes a third of the bytes in a snapshot."""
    row = np.hstack([np.asarray(Image.fromarray(photo).resize((pixels, pixels))) for photo in photos])
    ends = np.arange(len(photos) + 1) / len(photos)
    corners = [[[left, 0], [right, 0], [right, 1], [left, 1]] for left, right in itertools.pairwise(ends)]
    quads = 4 * np.arange(len(photos), dtype=np.uint32)[:, None]
    return k3d.mesh(
        np.concatenate([pyramid[1:] for pyramid in pyramids]),
        np.concatenate([quads + [0, 1, 2], quads + [0, 2, 3]]).astype(np.uint32),
        uvs=np.array(corners, np.float32).reshape(-1, 2),
        # Emissive, so that the lights of the scene do not shade the photos.
        color=0,
        emissive=0xFFFFFF,
        emissive_map=encode_photo(row),
        texture_file_format=PHOTO_FORMAT,
        color_map=NO_COLOUR_MAP,
        side="double",
        name="photos",
    )


def encode_photo(photo: np.ndarray) -> bytes:
    """A photo in `PHOTO_FORMAT`."""
    buffer = io.BytesIO()
    Image.fromarray(photo).save(buffer, PHOTO_FORMAT, quality=60, method=6)
    return buffer.getvalue()


def view_pyramid(camera: Camera) -> Float[np.ndarray, "5 3"]:
    """The origin, then rays through the image corners at depth 1, clockwise from upper left; world orientation."""
    width, height = camera.width, camera.height
    pixels = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1.0]])
    rays = pixels @ np.linalg.inv(camera.intrinsics).T
    return np.vstack([np.zeros(3), rays @ camera.extrinsics[:3, :3]])


def _photo_pyramid(camera: Camera, cube: Cube) -> Float[np.ndarray, "5 3"]:
    """Position of a camera in the scene, and the corners of its photo, `PHOTO_DISTANCE` away from it."""
    pyramid, origin = view_pyramid(camera), cube.centre - [0, cube.edge / 2, 0]
    corners = pyramid * PHOTO_DISTANCE / np.linalg.norm(pyramid[1:].mean(0))
    return ((camera.position - origin) * EDGE / cube.edge + corners).astype(np.float32)


def floor_objects(side: str, is_metric: bool) -> list[Any]:
    """The floor of the cube as a grid of 20 mm, an arrow along +x, and a ruler where the size is known.

    Args:
        side: of the foot, or ``none`` for an object.
    """
    half, tip = EDGE / 2, EDGE / 2 + 30
    along = np.arange(-half, half + 1e-6, 20.0)
    grid = [[[x, 0, -half], [x, 0, half]] for x in along] + [[[-half, 0, z], [half, 0, z]] for z in along]
    arrow = [[[half, 0, 0], [tip, 0, 0]], *([[tip, 0, 0], [tip - 10, 0, z]] for z in (-6, 6))]
    front = "toes" if side != "none" else "front"
    objects = [_segments(grid, FAINT, "floor"), _segments(arrow, INK, "x"), _text(front, [tip + 26, 0, 0])]
    if not is_metric:
        return objects
    ruler = [[[-half, 0, half + 8], [half, 0, half + 8]]]
    for x in np.arange(0, EDGE + 1e-6, 10):
        ruler.append([[x - half, 0, half + 8], [x - half, 0, half + (20 if x % 100 == 0 else 13)]])
    labels = [_text(f"{mm} mm" if mm else "0", [mm - half, 0, half + 40]) for mm in (0, 100, 200, 300)]
    return [*objects, _segments(ruler, INK, "ruler"), *labels]


def _segments(lines: Any, colour: str, name: str) -> Any:
    """Line segments ``[number, 2, 3]`` as one object."""
    points = np.asarray(lines, np.float32).reshape(-1, 3)
    pairs = np.arange(len(points), dtype=np.uint32).reshape(-1, 2)
    style = {"color": to_number(colour), "shader": "simple", "color_map": NO_COLOUR_MAP}
    return k3d.lines(points, pairs, indices_type="segment", name=name, **style)


def _text(text: str, place: Sequence[float]) -> Any:
    """A label that faces the viewer."""
    return k3d.text(
        html.escape(text),
        position=np.asarray(place, np.float32),
        color=to_number(INK),
        size=0.7,
        reference_point="cc",
        label_box=False,
        is_html=True,
        on_top=False,
        name=text,
    )
