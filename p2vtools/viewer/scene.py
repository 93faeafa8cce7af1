"""A sample in three dimensions, as k3d objects: solids and how they are looked at.

Millimetres, y up, the middle of the cube's floor at the origin; of what has no size the cube's edge counts as 320.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import k3d
import numpy as np
from jaxtyping import Bool, Float, UInt8
from matplotlib import colormaps
from matplotlib.colors import to_hex
from scipy.ndimage import binary_erosion

from p2vlib.geometry.frames import FOOT_CUBE_EDGE
from p2vlib.geometry.grids import Probability
from p2vtools.viewer.sample import Prediction, Sample
from p2vtools.viewer.shading import label_agreement
from p2vtools.viewer.style import AGREEMENT, FAINTER, SOLID

SHOWN = ("agreement", "voxels", "surface", "weight of the photo", "before the refiner", "change by the refiner")
"""How a solid can be looked at."""

HEAT = "cividis"
"""The weight of a photo; colour-blind readers see its order (Nuñez et al. 2018)."""

CHANGED = {"kept": SOLID, "taken away": AGREEMENT["missed"], "added": AGREEMENT["invented"]}
"""What a refiner does to voxels."""

STEPS = 16
"""Colours of `HEAT` that are told apart."""

EDGE = 1000 * FOOT_CUBE_EDGE
MIDDLE = (0.0, EDGE / 2, 0.0)

FINE = np.float32(128)
"""Steps of occupancy that a surface is told in: a hundredth of a voxel, and a fifth of the bytes."""

UNUSED = np.zeros((2, 4), np.float32)
"""A map of colours for what has one colour: k3d's own would be most of a snapshot's bytes."""


def number(colour: str) -> int:
    """``#rrggbb`` as k3d takes it."""
    return int(colour[1:], 16)


def new_plot(height: int = 460) -> k3d.Plot:
    """An empty scene, looked into from the front and the right side."""
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
    plot.camera = standpoint()
    return plot


def standpoint(distance: float = 1600.0) -> list[float]:
    """A camera of k3d so many millimetres before the scene, to its front and right; from 1600 all photos are seen."""
    towards, away = np.array([0.0, 200.0, 0.0]), np.array([0.57, 0.42, 0.70])
    return np.concatenate([towards + distance * away, towards, [0, 1, 0]]).tolist()


def show(plot: k3d.Plot, drawn: Sequence[Any]) -> list[Any]:
    """Lets ``plot`` show ``drawn`` and nothing else; returns the objects that now stand for them.

    Objects go by their names: one that is there already takes on the new one's looks, and one that is not wanted is
    hidden. Taken away while a browser is still busy with it, it would stay in sight.
    """
    known = {one.name: one for one in plot.objects}
    standing = []
    for new in drawn:
        old = known.get(new.name)
        if old is None:
            plot += new
        elif old is not new:
            with old.hold_sync():
                for trait in new._synced_props:
                    if trait not in ("id", "type"):
                        setattr(old, trait, getattr(new, trait))
        standing.append(old or new)
    for one in plot.objects:
        wanted = any(one is other for other in standing)
        one.visible = wanted and (one.name != "solid" or bool(one.sparse_voxels[:, 3].any()))
    return standing


def solids(sample: Sample, answer: Prediction, threshold: float, shown: str, photo: int = 0) -> list[Any]:
    """What ``answer`` says is solid from ``threshold`` on, looked at as ``shown`` (one of `SHOWN`).

    Args:
        photo: whose weight is shown: a position in ``answer.chosen``.

    Raises:
        ValueError: an unknown way to look.
    """
    if shown != "surface":
        return [voxels(*labelled(sample, answer, threshold, shown, photo))]
    found, truth = [], sample.truth(len(answer.probability))
    if (answer.probability > threshold).any():
        found.append(isosurface(answer.probability, EDGE, SOLID, threshold, MIDDLE))
    if truth is not None:
        found.append(isosurface(truth, EDGE, AGREEMENT["missed"], 0.5, MIDDLE, name="truth"))
        found[-1].wireframe = True  # it lets the prediction be seen where that is within it
    return found


def labelled(
    sample: Sample, answer: Prediction, threshold: float, shown: str, photo: int = 0
) -> tuple[UInt8[np.ndarray, "x y z"], list[str]]:
    """The voxels that `solids` draws as labels, 0 is empty, and the colours of 1, 2 …

    Raises:
        ValueError: an unknown way to look.
    """
    solid = selected_volume(answer, shown) >= threshold
    if shown == "weight of the photo":
        step = 1 + np.clip((answer.scores[photo] / full(answer) * STEPS).astype(int), 0, STEPS - 1)
        colours = colormaps[HEAT](np.linspace(0, 1, STEPS))
        return np.where(solid, step, 0).astype(np.uint8), [to_hex(colour) for colour in colours]
    if shown == "change by the refiner":
        return label_agreement(answer.coarse >= threshold, solid), list(CHANGED.values())
    truth = None if shown == "voxels" else sample.truth(len(solid))
    labels = solid.astype(np.uint8) if truth is None else label_agreement(truth, solid)
    return labels, list(AGREEMENT.values())


def selected_volume(answer: Prediction, shown: str) -> Float[np.ndarray, "x y z"]:
    """The occupancy that is looked at as ``shown`` (one of `SHOWN`).

    Raises:
        ValueError: an unknown way to look.
    """
    if shown not in SHOWN:
        raise ValueError(f"cannot show {shown!r}; expected one of {', '.join(SHOWN)}")
    own = {"weight of the photo": answer.refined, "change by the refiner": answer.refined}
    return {"before the refiner": answer.coarse, **own}.get(shown, answer.probability)


def full(answer: Prediction) -> float:
    """The weight from which on a photo has the last colour: twice an even share, or all of it."""
    return min(1.0, 2 / len(answer.chosen))


def legend(sample: Sample, answer: Prediction, shown: str) -> dict[str, str]:
    """What colours say -> the colour, for one of `SHOWN`."""
    if shown == "weight of the photo":
        top, photos = full(answer), len(answer.chosen)
        ends = [to_hex(colormaps[HEAT](end)) for end in (0.0, 0.5, 1.0)]
        half = f"{top / 2:.2f}" + f": an even share of {photos}" * (photos > 1)
        return dict(zip(("0: it does not count", half, f"{top:.2f}" + " or more" * (top < 1)), ends, strict=True))
    if shown == "change by the refiner":
        return CHANGED
    if shown == "voxels" or sample.truth(len(selected_volume(answer, shown))) is None:
        return {"predicted": SOLID}
    return {"predicted": SOLID, "truth, as a net": AGREEMENT["missed"]} if shown == "surface" else AGREEMENT


def voxels(labels: UInt8[np.ndarray, "x y z"], colours: Sequence[str]) -> Any:
    """Labels (0 is empty, k has ``colours[k - 1]``) as boxes, those left out that others hide."""
    size, filled = len(labels), np.argwhere(outer(labels))
    rows = np.column_stack([filled, labels[tuple(filled.T)]]).astype(np.uint16)
    return k3d.sparse_voxels(
        rows if len(rows) else np.zeros((1, 4), np.uint16),
        [size] * 3,
        color_map=[number(colour) for colour in colours],
        bounds=[-EDGE / 2, EDGE / 2, 0, EDGE, -EDGE / 2, EDGE / 2],
        outlines=size <= 32,
        outlines_color=number(FAINTER),
        visible=bool(len(rows)),
        name="solid",
        compression_level=9,
    )


def outer(labels: UInt8[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """The voxels that have an empty neighbour."""
    return (labels > 0) & ~binary_erosion(labels > 0)


def isosurface(
    grid: Probability,
    edge: float,
    colour: str,
    level: float = 0.5,
    middle: Sequence[float] = (0.0, 0.0, 0.0),
    name: str = "surface",
) -> Any:
    """The smooth surface of a volume whose cube has its ``edge`` and ``middle`` in millimetres, found by the browser.

    That is told the volume alone, which takes a tenth of the bytes of the surface.

    Raises:
        ValueError: nothing is occupied above ``level``.
    """
    if not (grid > level).any():
        raise ValueError(f"the volume is empty: no voxel above {level}, so there is no surface to draw")
    # One empty voxel all round closes the surface of a solid that touches the wall of its cube.
    padded = np.pad(np.round(np.asarray(grid, np.float32) * FINE) / FINE, 1)
    spans = [(places.min() - 1, places.max() + 2) for places in np.nonzero(padded > level)]
    part = padded[tuple(slice(first, last) for first, last in spans)]
    # Voxel i of the padded grid has its centre i - 1/2 voxels from the wall.
    walls = np.asarray(middle) - edge / 2
    bounds = [
        wall + edge / len(grid) * (end - 0.5) for wall, (a, b) in zip(walls, spans, strict=True) for end in (a, b - 1)
    ]
    return k3d.marching_cubes(
        part.transpose(2, 1, 0),
        level=level,
        color=number(colour),
        color_map=UNUSED,
        flat_shading=False,
        bounds=bounds,
        name=name,
        compression_level=9,
    )
