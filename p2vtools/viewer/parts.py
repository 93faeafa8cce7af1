"""The parts of the viewer: its controls, their style in JupyterLab (light or dark), and its text as HTML."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets
import numpy as np
from PIL import Image

from p2vtools.viewer import scene
from p2vtools.viewer.sample import ORDERS, Prediction, Sample, describe_iou, describe_size
from p2vtools.viewer.static_html import FORMATS
from p2vtools.viewer.style import FAINT, FAINTER, PALETTE

STYLE = """<style>
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
"""ipywidgets' boxes get scroll bars when a canvas is a few pixels too tall; the viewer hides them.

Scenes and slices are white in every theme, so that their colours are always the same.
"""

NO_SECOND = "none"

_COUNT = {"min": 1, "continuous_update": False}
_LEVEL = {"min": 0.05, "max": 0.95, "step": 0.01}
_VOXEL = {"min": 0, "max": 31}

CONTROLS: dict[str, tuple[Any, str, dict[str, Any]]] = {
    "sample": (widgets.Dropdown, "sample", {}),
    "network": (widgets.Dropdown, "network", {}),
    "second": (widgets.Dropdown, "second network", {"options": [NO_SECOND]}),
    "views": (widgets.IntSlider, "photos", _COUNT),
    "order": (widgets.Dropdown, "photo order", {"options": ORDERS}),
    "resolution": (widgets.Dropdown, "resolution", {}),
    "mode": (widgets.Dropdown, "mode", {}),
    "threshold": (widgets.FloatSlider, "threshold", _LEVEL),
    "second_threshold": (widgets.FloatSlider, "2nd threshold", _LEVEL),
    "photo": (widgets.IntSlider, "highlighted", {"min": 1}),
    "cameras": (widgets.Checkbox, "cameras and their photos", {"value": True}),
    "floor": (widgets.Checkbox, "floor and scale", {"value": True}),
    "slices": (widgets.Checkbox, "slices", {"value": False}),
    "format": (widgets.Dropdown, "save as", {"options": FORMATS}),
    "file": (widgets.Text, "file", {}),
    "save": (widgets.Button, "Save the view", {"icon": "save"}),
    # Side, above, front: in the order of the pictures, each of which is a slice across another axis.
    "slice_z": (widgets.IntSlider, "z [voxel]", _VOXEL),
    "slice_y": (widgets.IntSlider, "y [voxel]", _VOXEL),
    "slice_x": (widgets.IntSlider, "x [voxel]", _VOXEL),
}
"""Name -> kind, label and options, in the order of the tab key."""


def make_control(name: str) -> Any:
    """One of `CONTROLS`, with the CSS class ``p2v-name``; two share a row where there is room."""
    kind, label, options = CONTROLS[name]
    layout = {"width": "auto", "flex": "1 1 250px", "min_width": "0"}
    if kind in (widgets.Checkbox, widgets.Button):
        options = options | ({"indent": False} if kind is widgets.Checkbox else {})
        layout |= {"flex": "1 1 150px", "margin": "2px 2px 2px 102px"}
    else:
        options = options | {"style": {"description_width": "64px" if name.startswith("slice_") else "92px"}}
    return kind(description=label, layout=layout, **options).add_class(f"p2v-{name.replace('_', '-')}")


def make_text(name: str, **layout: str) -> widgets.HTML:
    """A text with the CSS class ``p2v-name``."""
    return widgets.HTML(layout=layout).add_class(f"p2v-{name}")


def wrapping_box(children: Sequence[Any], flex: str) -> widgets.Box:
    """A box whose children continue in the next row when one is full."""
    layout = {"flex": flex, "flex_flow": "row wrap", "align_content": "flex-start", "grid_gap": "0 12px"}
    return widgets.Box(children, layout=layout)


def set_options(dropdown: widgets.Dropdown, options: Sequence[tuple[str, Any]]) -> None:
    """Replaces the options of a dropdown and keeps its value if possible."""
    values = [value for _, value in options]
    value = dropdown.value if dropdown.value in values else values[0]
    dropdown.options, dropdown.value = options, value


# ----------------------------------------------------------------------------------------------------------------- text


def status_html(text: str) -> str:
    """A status message."""
    return f'<span role="status" style="color: {FAINTER}; white-space: nowrap">{html.escape(text)}</span>'


def error_html(error: Exception) -> str:
    """An error message."""
    return f'<span role="alert" style="color: var(--jp-error-color1, firebrick)">{html.escape(str(error))}</span>'


def result_html(name: str, sample: Sample, prediction: Prediction, threshold: float, mode: str) -> str:
    """IoU and size of the prediction of the network ``name``, for the volume that is drawn in ``mode``."""
    volume, photos = scene.volume_of(prediction, mode), len(prediction.photos)
    settings = f"{photos} photo{'s' * (photos > 1)}, {len(volume)}³, threshold {threshold:.2f}"
    if mode == "before the refiner":
        settings += f", {mode}"
    score = describe_iou(sample, volume, threshold)
    if mode == "change by the refiner":
        score = f"{describe_iou(sample, prediction.coarse, threshold)} → {score}"
    return f"<b>{html.escape(name)}</b>, {settings}: IoU {score} · {describe_size(sample, volume, threshold)}"


def legend_html(sample: Sample, prediction: Prediction, mode: str) -> str:
    """The legend of one of `scene.MODES`."""
    entries = scene.legend(sample, prediction, mode).items()
    return "&emsp;".join(f'<span style="color: {colour}">■</span> {html.escape(label)}' for label, colour in entries)


def photos_html(sample: Sample, numbers: Sequence[int], photo: int | None = None) -> str:
    """The photos ``numbers`` of a sample in a row, ``numbers[photo]`` with a coloured frame."""
    cells = []
    for position, number in enumerate(numbers):
        colour = PALETTE[1] if position == photo else FAINT
        name = html.escape(f"photo {position + 1}" + (f", {sample.photo_names[number]}" if sample.photo_names else ""))
        picture = Image.fromarray(sample.photos[number])
        picture.thumbnail((96, 96))
        source = base64.b64encode(scene.encode_photo(np.asarray(picture))).decode()
        cells.append(
            '<figure style="margin: 0 6px 0 0; flex: 0 0 auto">'
            f'<img alt="{name}" src="data:image/{scene.PHOTO_FORMAT};base64,{source}" '
            f'style="height: 84px; border: 3px solid {colour}; display: block; margin: 0">'
            f'<figcaption style="font-size: 11px">{name}</figcaption></figure>'
        )
    return f'<div style="display: flex; overflow-x: auto; line-height: 1.4">{"".join(cells)}</div>'
