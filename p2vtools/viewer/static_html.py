"""k3d scenes side by side as HTML without a server; and saving of scenes and solids.

The script that draws a scene is 1.1 MB and the same for all, so only the first scene of a notebook contains it; the
others are data.
"""

from __future__ import annotations

import base64
import functools
import html
import io
import itertools
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import k3d
import numpy as np
import trimesh
from IPython import get_ipython
from PIL import Image

from p2vlib.files import write_atomically
from p2vlib.geometry.frames import Cube
from p2vlib.geometry.grids import to_mesh
from p2vtools.viewer.figures import mosaic
from p2vtools.viewer.sample import Prediction, Sample
from p2vtools.viewer.scene import label_voxels, surface_voxels, volume_of

MESH_FORMATS = (".obj", ".stl", ".glb", ".ply")
FORMATS = (*MESH_FORMATS, ".binvox", ".png", ".html")

SPACING = 1.1
"""Distance along z between the solids of two networks, in edges of the cube."""

_DRAW = """(async () => {
  if (window.p2vDrawer) return;
  window.p2vDrawer = true;
  const bytes = text => Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const packed = new Blob([bytes("[K3D]")]).stream();
  const source = await new Response(packed.pipeThrough(new DecompressionStream("deflate"))).text();
  let k3d;
  new Function("define", source)((name, needs, make) => { k3d = make(); });
  const groups = {};
  const draw = async ([id, group, data]) => {
    const scene = await k3d.CreateK3DAndLoadBinarySnapshot(bytes(data), document.getElementById(id));
    scene.setCamera(scene.parameters.camera);  // otherwise labels appear only after the first drag
    scene.render();
    const others = groups[group] = groups[group] || [];
    others.push(scene);
    scene.on(scene.events.CAMERA_CHANGE, camera => {
      if (scene.isFollowing) return;
      for (const other of others) if (other !== scene) {
        other.isFollowing = true;
        other.setCamera(camera);
        other.render();
        other.isFollowing = false;
      }
    });
  };
  const waiting = window.p2vScenes || [];
  window.p2vScenes = {push: draw};
  waiting.forEach(draw);
})();"""
"""Draws the scenes of `window.p2vScenes`, now and later; the cameras of a group move together."""

_group_numbers = itertools.count()

_script_is_written = False
"""Whether this process has written the script into its notebook."""


def is_live() -> bool:
    """Whether the output is interactive: in a notebook, without ``P2VLIB_BATCH=1`` in the environment."""
    return get_ipython() is not None and os.environ.get("P2VLIB_BATCH") != "1"


@dataclass(repr=False)
class Scenes:
    """Scenes of one height side by side, whose cameras move together, with HTML above all and below each."""

    plots: Sequence[k3d.Plot]
    above: str = ""
    below: Sequence[str] = ()
    title: str = "3-D view"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        global _script_is_written
        script = "" if _script_is_written else f"<script>{draw_script()}</script>"
        _script_is_written = True
        return {"text/html": script + self.html(), "text/plain": repr(self)}

    def html(self) -> str:
        """The scenes without the script that draws them."""
        group, title, columns = f"p2v-{next(_group_numbers)}", html.escape(self.title), []
        for plot, text in itertools.zip_longest(self.plots, self.below, fillvalue=""):
            content = plot.get_binary_snapshot(9)
            name = f"{group}-{len(columns)}-{zlib.crc32(content):08x}"
            data = base64.b64encode(content).decode()
            columns.append(
                '<div style="flex: 1 1 320px; min-width: 0">'
                f'<div id="{name}" class="p2v-scene" role="img" aria-label="{title}" '
                f'style="position: relative; height: {plot.height}px; border-radius: 8px; overflow: hidden"></div>'
                f"<div>{text}</div></div>"
                f'<script>(window.p2vScenes = window.p2vScenes || []).push(["{name}", "{group}", "{data}"]);</script>'
            )
        return f'{self.above}<div style="display: flex; flex-wrap: wrap; gap: 8px">{"".join(columns)}</div>'

    def page(self) -> str:
        """A self-contained HTML page."""
        title = html.escape(self.title)
        return (
            f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            "<style>:root { color-scheme: light dark } body { font: 15px/1.5 system-ui, sans-serif; margin: 16px }"
            "@media (prefers-color-scheme: dark) { .p2v-scene { filter: brightness(.92) } }</style>"
            f"</head><body><h1>{title}</h1>{self.html()}<script>{draw_script()}</script></body></html>"
        )


@functools.cache
def draw_script() -> str:
    """The script that draws all scenes of a page."""
    source = (Path(k3d.__file__).parent / "static" / "standalone.js").read_bytes()
    return _DRAW.replace("[K3D]", base64.b64encode(zlib.compress(source, 9)).decode())


# --------------------------------------------------------------------------------------------------------------- saving


def unused_path(stem: Path, extension: str) -> Path:
    """``stem`` with ``extension``, and with ``-2``, ``-3`` … before it where that file exists."""
    numbered = (stem.with_name(f"{stem.name}-{number}{extension}") for number in itertools.count(2))
    candidates = itertools.chain([stem.with_name(stem.name + extension)], numbered)
    return next(path for path in candidates if not path.exists())


def save_mesh(
    path: Path, sample: Sample, predictions: Sequence[tuple[Prediction, float]], mode: str, photo: int = 0
) -> None:
    """Writes one or two predictions, side by side, as drawn in ``mode`` (`scene.MODES`): surface, or coloured voxels.

    Metres, ``.stl`` in millimetres, in the sample's own frame; without a known size, in the unit of its cube.

    Args:
        predictions: each with its threshold.

    Raises:
        ValueError: nothing is occupied.
    """
    parts = []
    for position, (prediction, threshold) in enumerate(predictions):
        if not (volume_of(prediction, mode) > threshold).any():
            raise ValueError(f"{path}: nothing is occupied at a threshold of {threshold:.2f}; lower the threshold")
        if mode == "surface":
            part = trimesh.Trimesh(*to_mesh(prediction.probability, sample.cube, threshold), process=False)
        else:
            part = _voxel_mesh(*label_voxels(sample, prediction, threshold, mode, photo), sample.cube)
        parts.append(part.apply_translation([0, 0, -position * SPACING * sample.cube.edge]))
    whole = trimesh.util.concatenate(parts)
    if path.suffix == ".stl" and sample.is_metric:
        whole.apply_scale(1000)
    write_atomically(path, lambda partial: whole.export(partial))


def _voxel_mesh(labels: np.ndarray, colours: Sequence[str], cube: Cube) -> trimesh.Trimesh:
    """The boundary voxels as boxes in the colours of their labels (1, 2, …), metres."""
    boundary = surface_voxels(labels)
    centres = cube.voxel_centres(len(labels))[boundary]
    rgba = np.array([trimesh.visual.color.hex_to_rgba(colour) for colour in colours])[labels[boundary] - 1]
    return trimesh.voxel.ops.multibox(centres, cube.edge / len(labels), rgba)


def save_picture(path: Path, screenshots: Sequence[bytes]) -> None:
    """Writes PNG screenshots, side by side, as one picture."""
    pictures = [np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) for content in screenshots]
    whole = Image.fromarray(mosaic([pictures], gap=0))
    write_atomically(path, lambda partial: whole.save(partial, "png", optimize=True))
