"""k3d scenes side by side: live widgets in Jupyter, and in a batch run HTML that turns without a network.

The script that draws is 1.1 MB and the same for all, so it stands with the first scene of a notebook; every further one
is its data alone, and is drawn whichever of them a page shows first.
"""

from __future__ import annotations

import base64
import functools
import html
import itertools
import os
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import k3d
import traitlets
from IPython import get_ipython

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
    scene.setCamera(scene.parameters.camera);  // else words stay out of sight until somebody turns it
    scene.render();
    const others = groups[group] = groups[group] || [];
    others.push(scene);
    scene.on(scene.events.CAMERA_CHANGE, place => {
      if (scene.isLed) return;
      for (const other of others) if (other !== scene) {
        other.isLed = true;
        other.setCamera(place);
        other.render();
        other.isLed = false;
      }
    });
  };
  const waiting = window.p2vScenes || [];
  window.p2vScenes = {push: draw};
  waiting.forEach(draw);
})();"""
"""Draws what `window.p2vScenes` holds and will hold; cameras of one group move together."""

_NUMBERS = itertools.count()

_told = False
"""Whether this process has given its notebook the script."""


def is_live() -> bool:
    """Whether somebody turns what is shown: not with ``P2VLIB_BATCH=1`` in the environment or outside a notebook."""
    return get_ipython() is not None and os.environ.get("P2VLIB_BATCH") != "1"


class Scenes:
    """Scenes of one height side by side, whose cameras move together, with HTML above and below each."""

    def __init__(
        self, plots: Sequence[k3d.Plot], above: str = "", below: Sequence[str] = (), title: str = "3-D view"
    ) -> None:
        self.plots = list(plots)
        self.above = above
        self.below = below
        self.title = title
        self.is_live = is_live()
        for one, other in itertools.pairwise(self.plots):
            traitlets.link((one, "camera"), (other, "camera"))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> Any:
        global _told
        if self.is_live:
            return self._widget()._repr_mimebundle_(include=include, exclude=exclude)
        script = "" if _told else f"<script>{drawer()}</script>"
        _told = True
        return {"text/html": script + self.html(), "text/plain": repr(self)}

    def _widget(self) -> widgets.Widget:
        columns = [
            widgets.VBox([plot, *map(widgets.HTML, told)], layout={"flex": "1 1 0", "min_width": "0"})
            for plot, *told in itertools.zip_longest(self.plots, self.below, fillvalue="")
        ]
        return widgets.VBox([widgets.HTML(self.above), widgets.HBox(columns)])

    def html(self) -> str:
        """The scenes without the script that draws them."""
        group, columns = f"p2v-{next(_NUMBERS)}", []
        for plot, told in itertools.zip_longest(self.plots, self.below, fillvalue=""):
            content = plot.get_binary_snapshot(9)
            place = f"{group}-{len(columns)}-{zlib.crc32(content):08x}"
            data = base64.b64encode(content).decode()
            columns.append(
                '<div style="flex: 1 1 320px; min-width: 0">'
                f'<div id="{place}" class="p2v-scene" role="img" aria-label="{html.escape(self.title)}" '
                f'style="position: relative; height: {plot.height}px; border-radius: 8px; overflow: hidden"></div>'
                f"<div>{told}</div></div>"
                f'<script>(window.p2vScenes = window.p2vScenes || []).push(["{place}", "{group}", "{data}"]);</script>'
            )
        return f'{self.above}<div style="display: flex; flex-wrap: wrap; gap: 8px">{"".join(columns)}</div>'

    def page(self) -> str:
        """One self-contained HTML page."""
        title = html.escape(self.title)
        return (
            f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            "<style>:root { color-scheme: light dark } body { font: 15px/1.5 system-ui, sans-serif; margin: 16px }"
            "@media (prefers-color-scheme: dark) { .p2v-scene { filter: brightness(.92) } }</style>"
            f"</head><body><h1>{title}</h1>{self.html()}<script>{drawer()}</script></body></html>"
        )


@functools.cache
def drawer() -> str:
    """The script that draws all scenes of a page."""
    source = (Path(k3d.__file__).parent / "static" / "standalone.js").read_bytes()
    return _DRAW.replace("[K3D]", base64.b64encode(zlib.compress(source, 9)).decode())
