"""What the viewer says around its scenes, as HTML: a line for each network, what colours mean, the photos in a row."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

import numpy as np
from PIL import Image

from p2vtools.viewer import scene, scene_context
from p2vtools.viewer.sample import Prediction, Sample, facts
from p2vtools.viewer.style import FAINT, FAINTER, PALETTE


def said(text: str) -> str:
    """How things stand, softly."""
    return f'<span role="status" style="color: {FAINTER}; white-space: nowrap">{html.escape(text)}</span>'


def wrong(error: Exception) -> str:
    """What could not be done."""
    return f'<span role="alert" style="color: var(--jp-error-color1, firebrick)">{html.escape(str(error))}</span>'


def line(name: str, sample: Sample, answer: Prediction, cut: float, shown: str) -> str:
    """What the network called ``name`` says, and how right it is: of what is looked at as ``shown``."""
    volume, photos = scene.selected_volume(answer, shown), len(answer.chosen)
    asked = f"{photos} photo{'s' * (photos > 1)}, {len(volume)}³, from {cut:.2f} on"
    told = facts(sample, volume, cut)
    agreed = told.agreed
    if shown == "change by the refiner":
        agreed = f"{facts(sample, answer.coarse, cut).agreed} → {agreed}"
    which = f", {shown}" if shown == "before the refiner" else ""
    return f"<b>{html.escape(name)}</b>, {asked}{which}: IoU {agreed} · {told.size}"


def legend(sample: Sample, answer: Prediction, shown: str) -> str:
    """The colours of one of `scene.SHOWN` and what they say."""
    told = scene.legend(sample, answer, shown).items()
    parts = (f'<span style="color: {colour}">■</span> {html.escape(name)}' for name, colour in told)
    return "&emsp;".join(parts)


def strip(sample: Sample, chosen: Sequence[int], photo: int | None = None) -> str:
    """The photos that networks are shown as a row of pictures in their order, the marked one framed."""
    cells = []
    for place, number in enumerate(chosen):
        colour = PALETTE[1] if place == photo else FAINT
        name = html.escape(f"photo {place + 1}" + (f", {sample.names[number]}" if sample.names else ""))
        source = base64.b64encode(scene_context.encoded(_small(sample.photos[number]))).decode()
        cells.append(
            '<figure style="margin: 0 6px 0 0; flex: 0 0 auto">'
            f'<img alt="{name}" src="data:image/{scene_context.PICTURES};base64,{source}" '
            f'style="height: 84px; border: 3px solid {colour}; display: block; margin: 0">'
            f'<figcaption style="font-size: 11px">{name}</figcaption></figure>'
        )
    return f'<div style="display: flex; overflow-x: auto; line-height: 1.4">{"".join(cells)}</div>'


def _small(photo: np.ndarray) -> np.ndarray:
    picture = Image.fromarray(photo)
    picture.thumbnail((96, 96))
    return np.asarray(picture)
