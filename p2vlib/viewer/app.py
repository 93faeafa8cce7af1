"""The viewer in JupyterLab: controls, photos, and a scene for each of one or two networks."""

from __future__ import annotations

import base64
import html
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from .. import shipped
from ..datasets import Captures
from ..shots import Shots
from . import scene
from .answers import ORDERS, Answers, Choice
from .live import is_live
from .sample import Networks, Sample, facts, samples
from .style import FAINT, PALETTE

ALONE = "none"
"""No second network beside the first."""


def view(what: Path | Shots | Captures, models: Networks | None = None, views: int | None = None) -> Any:
    """A sample in three dimensions with what networks make of its photos, and controls: to be shown last in a cell.

    Args:
        what: a capture folder, photos in memory, or a table of samples.
        models: name -> (network, threshold); None: the weights that come with the project.
        views: how many photos are shown at first; None: all.

    Raises:
        ValueError: as `sample.samples`, or networks that do not fit the photos.
    """
    if models is None:
        weights = shipped.load(shipped.path())
        models = {shipped.NAME: (weights.model, weights.threshold)}
    answers = Answers(samples(what), models)
    app = App(answers, views)
    return app if is_live() else app


class App(widgets.VBox):
    """The viewer. Every control has a class of its own, ``p2v-…``, by which a page finds it."""

    def __init__(self, answers: Answers, views: int | None = None) -> None:
        self.answers = answers
        names = list(answers.networks)
        most = answers.most(0)
        self.sample = _named(widgets.Dropdown, "sample", options=_numbered(answers.samples))
        self.network = _named(widgets.Dropdown, "network", options=names)
        self.beside = _named(widgets.Dropdown, "beside", "beside it", options=[ALONE, *names])
        self.views = _named(
            widgets.IntSlider, "views", "photos", value=views or most, min=1, max=most, continuous_update=False
        )
        self.order = _named(widgets.Dropdown, "order", options=ORDERS)
        self.threshold = _named(widgets.FloatSlider, "threshold", min=0.05, max=0.95, step=0.01)
        self.threshold.value = answers.networks[names[0]][1]
        self.size = _named(widgets.Dropdown, "resolution", options=[("32 voxels", 32)])
        self.shown = _named(widgets.Dropdown, "shown", options=scene.SHOWN)
        self.photo = _named(widgets.IntSlider, "photo", "marked photo", min=1, max=most)
        self.line = widgets.HTML().add_class("p2v-line")
        self.strip = widgets.HTML().add_class("p2v-photos")
        self.plots = [scene.new_plot() for _ in range(2)]
        self._drawn: list[tuple[list[Any], list[Any]]] = [([], []), ([], [])]
        self.scenes = widgets.HBox().add_class("p2v-scenes")
        for control in (self.sample, self.network, self.beside, self.views, self.order, self.size):
            control.observe(self._asked, "value")
        for control in (self.threshold, self.shown, self.photo):
            control.observe(self._looked, "value")
        controls = [self.sample, self.network, self.beside, self.views, self.order]
        controls += [self.threshold, self.size, self.shown, self.photo]
        side = widgets.VBox(controls, layout={"width": "330px", "flex": "0 0 auto"})
        body = widgets.HBox([side, widgets.VBox([self.line, self.scenes], layout={"flex": "1 1 auto"})])
        self._asked(None)
        super().__init__([self.strip, body])
        self.add_class("p2v-viewer")

    @property
    def choice(self) -> Choice:
        """What the controls say."""
        return Choice(self.sample.value, self.views.value, self.order.value, self.size.value)

    def _asked(self, _: Any) -> None:
        self.line.value = "working …"
        self._looked(None)

    def _looked(self, _: Any) -> None:
        lines, names = [], [self.network.value, self.beside.value]
        names = names[: 1 if ALONE in names else 2]
        for place, name in enumerate(names):
            lines.append(self._draw(place, name))
        self.scenes.children = self.plots[: len(names)]
        self.line.value = "<br>".join(lines)
        self.strip.value = strip(self._sample, self.answers.chosen(self.choice), self.photo.value - 1)

    @property
    def _sample(self) -> Sample:
        return self.answers.samples[self.sample.value]

    def _draw(self, place: int, name: str) -> str:
        answer, plot = self.answers.of(name, self.choice), self.plots[place]
        photo = min(self.photo.value, len(answer.chosen)) - 1
        for old in self._drawn[place]:
            for one in old:
                plot -= one
        drawn = scene.solids(self._sample, answer, self.threshold.value, self.shown.value, photo)
        around = scene.frusta(self._sample, answer.chosen, photo) + scene.floor(self._sample)
        for one in drawn + around:
            plot += one
        self._drawn[place] = (drawn, around)
        told = facts(self._sample, answer.probability, self.threshold.value)
        return f"<b>{html.escape(name)}</b> {told}"


def _named(kind: type, name: str, description: str = "", **options: Any) -> Any:
    control = kind(description=description or name, style={"description_width": "95px"}, **options)
    control.layout.width = "320px"
    return control.add_class(f"p2v-{name}")


def _numbered(found: list[Sample]) -> list[tuple[str, int]]:
    return [(sample.name, number) for number, sample in enumerate(found)]


def strip(sample: Sample, chosen: list[int], photo: int) -> str:
    """The photos that are shown as a row of pictures, the marked one framed."""
    cells = []
    for place, number in enumerate(chosen):
        colour = PALETTE[1] if place == photo else FAINT
        name = html.escape(sample.names[number])
        source = base64.b64encode(scene.encoded(sample.photos[number], 128)).decode()
        cells.append(
            f'<figure style="margin: 0 4px"><img alt="photo {name}" src="data:image/jpeg;base64,{source}" '
            f'style="height: 84px; border: 3px solid {colour}"><figcaption>{place + 1}: {name}</figcaption></figure>'
        )
    return f'<div style="display: flex; overflow-x: auto">{"".join(cells)}</div>'
