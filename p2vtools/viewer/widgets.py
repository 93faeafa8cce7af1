"""How the viewer's controls are made, and how they look in JupyterLab, light or dark."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets

LOOK = """<style>
.p2v-viewer, .p2v-viewer .widget-box { overflow: hidden; }
.p2v-viewer .widget-readout { width: 48px; min-width: 0; }
:is(.p2v-line, .p2v-status) .widget-html-content { line-height: 1.5; }
.p2v-scenes { gap: 8px; }
:is(.p2v-scenes > *, .p2v-cuts) { margin: 0; box-sizing: border-box; overflow: hidden; background: #fff;
  border: 1px solid var(--jp-border-color2, #c9ced6); border-radius: 8px; }
.p2v-cuts { padding: 6px; }
[data-jp-theme-light="false"] :is(.p2v-scenes > *, .p2v-cuts) { border-color: transparent; filter: brightness(.92); }
.p2v-viewer .jupyter-widgets :focus-visible {
  outline: 2px solid var(--jp-brand-color1, #0072B2) !important; outline-offset: 1px; }
</style>"""
"""Boxes of ipywidgets scroll when a canvas is three pixels taller than they are; here nothing has to.

Scenes and slices are white in every theme, so that their colours are the same everywhere: panels in a dark one.
"""

LABEL = "92px"
"""How wide the words before a control are."""


def control(kind: Any, name: str, description: str, **options: Any) -> Any:
    """One that shares a row with others where there is room for two, found by a page as ``p2v-name``."""
    layout = {"width": "auto", "flex": "1 1 250px", "min_width": "0"}
    return kind(description=description, style={"description_width": LABEL}, layout=layout, **options).add_class(
        f"p2v-{name}"
    )


def check(name: str, description: str, value: bool = True) -> Any:
    """A box to be ticked, below the other controls' fields."""
    layout = {"width": "auto", "flex": "1 1 150px", "margin": "2px 2px 2px 102px"}
    return widgets.Checkbox(value, description=description, indent=False, layout=layout).add_class(f"p2v-{name}")


def text(name: str) -> Any:
    """Words that change."""
    return widgets.HTML().add_class(f"p2v-{name}")


def offer(chosen: Any, options: Sequence[tuple[str, Any]]) -> None:
    """Lets a dropdown offer ``options``; what was chosen stays chosen where it can."""
    values = [value for _, value in options]
    kept = chosen.value if chosen.value in values else values[0]
    chosen.options, chosen.value = options, kept


def wrapped(flex: str) -> dict[str, str]:
    """The layout of a box whose parts go on in the next row where one is full."""
    return {"flex": flex, "flex_flow": "row wrap", "align_content": "flex-start", "grid_gap": "0 12px"}
