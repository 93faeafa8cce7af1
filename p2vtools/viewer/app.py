"""The viewer: controls, photos, and a scene for each of one or two networks; in a batch run the scenes alone.

Every control has a class of its own, ``p2v-…``, by which a page finds it. What is computed stands in `answers` and
`sample`; here it only meets the controls.
"""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets

from p2vlib.data.capture_folder import PhotoSet
from p2vlib.data.dataset import Captures
from p2vlib.geometry.grids import Probability
from p2vtools.fit import pretrained
from p2vtools.viewer import captions, saving, scene, scene_context
from p2vtools.viewer.figures import filled_middle, slices
from p2vtools.viewer.prediction_cache import ORDERS, Answers, Choice
from p2vtools.viewer.sample import Networks, Prediction, Sample, samples
from p2vtools.viewer.static_html import Scenes, is_live
from p2vtools.viewer.widgets import LOOK, check, control, offer, text, wrapped

ALONE = "none"
"""No second network beside the first."""

SAVED = "saved"
"""The folder, below where the notebook runs, that files are offered to be saved in."""

HEIGHT = 480
"""Of a scene, pixels."""

DISTANCE = {1: 1600.0, 2: 2400.0}
"""Number of scenes -> millimetres from which they are looked at: two are narrow, and show as much."""


def view(what: Path | PhotoSet | Captures, models: Networks | None = None, views: int | None = None) -> App | Scenes:
    """A sample in three dimensions, with what networks make of its photos: to be named last in a cell.

    In JupyterLab it has controls; in a batch run it is one scene for each of the first two networks.

    Args:
        what: a capture folder, photos in memory, or a table of samples, the first of which is shown.
        models: name -> (network, threshold); None: the weights that come with the project.
        views: how many photos are shown to the networks at first; None: all.

    Raises:
        ValueError: as `sample.samples`, or networks that do not fit the photos.
    """
    if models is None:
        weights = pretrained.load_pretrained()
        models = {pretrained.NAME: (weights.model, weights.threshold)}
    answers = Answers(samples(what), models)
    return App(answers, views) if is_live() else static_view(answers, views)


def static_view(answers: Answers, views: int | None = None) -> Scenes:
    """The first sample with what the first two networks say, to be turned but not changed."""
    sample, choice = answers.samples[0], Choice(views=views or answers.most(0))
    chosen, plots, lines = answers.chosen(choice), [], []
    for name, (_, threshold) in list(answers.networks.items())[:2]:
        answer, plot = answers.of(name, choice), scene.new_plot(HEIGHT)
        for drawn in (
            *scene.solids(sample, answer, threshold, "agreement"),
            *scene_context.floor(sample),
            *scene_context.frusta(sample, chosen),
        ):
            plot += drawn
        plots.append(plot)
        lines.append(captions.line(name, sample, answer, threshold, "agreement"))
    above = captions.strip(sample, chosen) + captions.legend(sample, answer, "agreement")
    return Scenes(plots, above, lines, f"{sample.name}, {len(chosen)} photos: truth and prediction")


class App(widgets.VBox):
    """The live viewer of what networks say of some samples."""

    def __init__(self, answers: Answers, views: int | None = None) -> None:
        self.answers = answers
        self._settling = False
        self._thresholds = {name: threshold for name, (_, threshold) in answers.networks.items()}
        self._path = Path()
        self._pictures: dict[int, bytes] = {}
        self._sliced = 0
        self._around: list[tuple[Any, list[Any]]] = [(None, []), (None, [])]
        self._make_controls(views)
        self.line, self.status, self.saved = (text(name) for name in ("line", "status", "saved"))
        self.legend, self.strip = text("legend"), text("photos")
        self.saved.layout.flex = "1 1 100%"
        self.cuts = widgets.Image(format="png", layout={"width": "100%"}).add_class("p2v-cuts")
        # Side, above, front: as the pictures stand, each of which is cut across another axis.
        self.cutting = widgets.VBox([widgets.HBox(self.along[::-1]), self.cuts], layout={"max_width": "900px"})
        self.plots = [scene.new_plot(HEIGHT) for _ in range(2)]
        widgets.jslink((self.plots[0], "camera"), (self.plots[1], "camera"))
        self.scenes = widgets.HBox(layout={"width": "100%"}).add_class("p2v-scenes")
        self._observe()
        self._settle()
        self._name_file()
        super().__init__(self._laid_out())
        self.add_class("p2v-viewer")

    def _make_controls(self, views: int | None) -> None:
        names, most = list(self.answers.networks), self.answers.most(0)
        found = [(sample.name, number) for number, sample in enumerate(self.answers.samples)]
        self.sample = control(widgets.Dropdown, "sample", "sample", options=found)
        self.network = control(widgets.Dropdown, "network", "network", options=names)
        self.beside = control(widgets.Dropdown, "beside", "beside it", options=[ALONE])
        counts = {"min": 1, "max": most, "continuous_update": False}
        self.views = control(widgets.IntSlider, "views", "photos", value=views or most, **counts)
        self.order = control(widgets.Dropdown, "order", "their order", options=ORDERS)
        cut = {"min": 0.05, "max": 0.95, "step": 0.01}
        self.threshold = control(widgets.FloatSlider, "threshold", "threshold", **cut)
        self.beside_threshold = control(widgets.FloatSlider, "beside-threshold", "its threshold", **cut)
        self.size = control(widgets.Dropdown, "resolution", "resolution")
        self.shown = control(widgets.Dropdown, "shown", "shown")
        self.photo = control(widgets.IntSlider, "photo", "marked photo", min=1, max=most)
        self.cameras = check("cameras", "cameras and their photos")
        self.floor = check("floor", "floor and scale")
        self.has_cuts = check("slices", "slices", value=False)
        self.along = [control(widgets.IntSlider, f"slice-{axis}", f"{axis} [voxel]", min=0, max=31) for axis in "xyz"]
        for slider in self.along:
            slider.style.description_width = "64px"
        self.format = control(widgets.Dropdown, "format", "save as", options=saving.FORMATS)
        self.file = control(widgets.Text, "file", "file")
        self.save = widgets.Button(
            description="Save what is seen", icon="save", layout={"margin": "2px 2px 2px 102px", "flex": "1 1 150px"}
        ).add_class("p2v-save")

    def _observe(self) -> None:
        for one in (self.sample, self.network, self.beside):
            one.observe(lambda _: self._settle(), "value")
        for one in (self.views, self.order, self.size):
            one.observe(lambda _: self._look(), "value")
        looks = (self.threshold, self.beside_threshold, self.shown, self.photo, self.cameras, self.floor)
        for one in (*looks, self.has_cuts, *self.along):
            one.observe(lambda _: self._look(), "value")
        self.sample.observe(lambda _: self._name_file(), "value")
        self.format.observe(lambda _: self._end_file(), "value")
        self.file.observe(lambda _: self._follow_file(), "value")
        self.save.on_click(lambda _: self._save())
        for place, plot in enumerate(self.plots):
            plot.observe(lambda change, place=place: self._pictured(place, change.new), "screenshot")

    def _laid_out(self) -> list[widgets.Widget]:
        asked = [self.sample, self.network, self.beside, self.views, self.order, self.size]
        looked = [self.shown, self.threshold, self.beside_threshold, self.photo, self.cameras, self.floor]
        saved = [self.format, self.file, self.save, self.saved]
        # In a wide window one column beside the scene; in a narrow one two of them above it.
        side = widgets.Box([*asked, *looked, self.has_cuts, *saved], layout=wrapped("1 1 310px"))
        told = widgets.HBox([self.line, self.status], layout={"justify_content": "space-between"})
        middle = widgets.VBox(
            [told, self.legend, self.scenes, self.cutting], layout={"flex": "1000 1 440px", "min_width": "0"}
        )
        return [widgets.HTML(LOOK), self.strip, widgets.Box([side, middle], layout=wrapped("1 1 auto"))]

    # --------------------------------------------------------------------------------------------------------- choosing

    @property
    def choice(self) -> Choice:
        """What the controls say."""
        return Choice(self.sample.value, self.views.value, self.order.value, self.size.value)

    @property
    def names(self) -> list[str]:
        """The networks that are looked at."""
        return [self.network.value] + ([] if self.beside.value == ALONE else [self.beside.value])

    @property
    def seen(self) -> list[tuple[Prediction, float]]:
        """What they say, and where it is cut."""
        return [(self.answers.of(name, self.choice), self._thresholds[name]) for name in self.names]

    @property
    def _sample(self) -> Sample:
        return self.answers.samples[self.sample.value]

    def _settle(self) -> None:
        """Another sample or network: what can be chosen changes with it."""
        if self._settling:
            return
        self._settling = True
        try:
            self.status.value = captions.said("working …")
            self.views.max = self.answers.most(self.sample.value)
            others = [name for name in self._thresholds if name != self.network.value]
            offer(self.beside, [(name, name) for name in (ALONE, *others)])
            names = self.names
            sizes = [self.answers.sizes(name, self.sample.value) for name in names]
            both = [size for size in sizes[0] if size in sizes[-1]]
            offer(self.size, [(f"{size} voxels a side", size) for size in both])
            refines = all(self.answers.refines(name, self.sample.value) for name in names)
            offer(self.shown, [(way, way) for way in scene.SHOWN if refines or "refiner" not in way])
            for slider, name in zip((self.threshold, self.beside_threshold), names, strict=False):
                slider.value = self._thresholds[name]
            self.beside.layout.display = None if others else "none"
            self.beside_threshold.layout.display = None if len(names) > 1 else "none"
            self.photo.disabled = not self._sample.cameras
        except ValueError as error:
            self.line.value = captions.wrong(error)
            return
        finally:
            self._settling = False
        self._look()

    # ---------------------------------------------------------------------------------------------------------- looking

    def _look(self) -> None:
        """Draws and tells what the controls ask for."""
        if self._settling:
            return
        self.status.value, began = captions.said("working …"), time.perf_counter()
        try:
            self.photo.max = self.views.value
            self._thresholds.update(zip(self.names, (self.threshold.value, self.beside_threshold.value), strict=False))
            seen, photo = self.seen, self.photo.value - 1
            for place, (answer, cut) in enumerate(seen):
                self._draw(place, answer, cut, photo)
            self.line.value = "<br>".join(self._lines(seen))
            self._cut(scene.selected_volume(seen[0][0], self.shown.value), seen[0][1])
        except ValueError as error:
            self.line.value = captions.wrong(error)
            return
        if len(seen) != len(self.scenes.children):
            for plot in self.plots:
                plot.layout.width = f"{100 // len(seen)}%"
                plot.camera = scene.standpoint(DISTANCE[len(seen)])
        self.scenes.children = self.plots[: len(seen)]
        self.legend.value = captions.legend(self._sample, seen[0][0], self.shown.value)
        self.strip.value = captions.strip(self._sample, self.answers.chosen(self.choice), photo)
        self.status.value = captions.said(f"{time.perf_counter() - began:.2f} s")

    def _lines(self, seen: Sequence[tuple[Prediction, float]]) -> list[str]:
        shown = self.shown.value
        return [captions.line(name, self._sample, *one, shown) for name, one in zip(self.names, seen, strict=True)]

    def _draw(self, place: int, answer: Prediction, cut: float, photo: int) -> None:
        """What is around the solid stays as it is where it can: most of what is drawn, and of what is sent."""
        key = (self.sample.value, answer.chosen, photo, self.floor.value, self.cameras.value)
        if key != self._around[place][0]:
            floor = scene_context.floor(self._sample) if self.floor.value else []
            cameras = scene_context.frusta(self._sample, answer.chosen, photo, 96) if self.cameras.value else []
            self._around[place] = (key, floor + cameras)
        solids = scene.solids(self._sample, answer, cut, self.shown.value, photo)
        standing = scene.show(self.plots[place], [*self._around[place][1], *solids])
        self._around[place] = (key, standing[: len(standing) - len(solids)])

    def _cut(self, volume: Probability, cut: float) -> None:
        self.cutting.layout.display = None if self.has_cuts.value else "none"
        if not self.has_cuts.value:
            return
        solid = volume >= cut
        if len(solid) != self._sliced:
            self._settling, self._sliced = True, len(solid)
            for slider, middle in zip(self.along, filled_middle(solid), strict=True):
                slider.max, slider.value = len(solid) - 1, middle
            self._settling = False
        at = [slider.value for slider in self.along]
        self.cuts.value = _png(volume, self._sample, at)

    # ----------------------------------------------------------------------------------------------------------- saving

    def _name_file(self) -> None:
        name = self._sample.name.replace(", ", "-").replace(" ", "-")
        self.file.value = f"{SAVED}/{name}{self.format.value}"

    def _end_file(self) -> None:
        """The name takes the ending that is chosen."""
        path = Path(self.file.value)
        if path.suffix in saving.FORMATS and path.suffix != self.format.value:
            self.file.value = str(path.with_suffix(self.format.value))

    def _follow_file(self) -> None:
        """The list says the ending that is typed."""
        ending = Path(self.file.value).suffix
        if ending in saving.FORMATS:
            self.format.value = ending

    def _save(self) -> None:
        """Writes what is seen; a picture when the browser has sent it."""
        if not self.file.value.strip():
            self._name_file()
        try:
            self._path = saving.free(Path(self.file.value), self.format.value)
        except ValueError as error:
            self.saved.value = captions.wrong(error)
            return
        if self._path.suffix != ".png":
            self._write(self._path)
            return
        self._pictures = {}
        self.saved.value = captions.said("asking the browser for its picture …")
        for plot in self.plots[: len(self.names)]:
            plot.fetch_screenshot()

    def _pictured(self, place: int, content: str) -> None:
        self._pictures[place] = base64.b64decode(content)
        if len(self._pictures) == len(self.names):
            self._write(self._path)

    def _write(self, path: Path) -> None:
        try:
            self._write_as(path)
            told = f"{path}: written, {path.stat().st_size / 1000:.0f} kB"
        except (ValueError, OSError) as error:
            self.saved.value = captions.wrong(error)
            return
        if path.suffix == ".binvox" and len(self.names) > 1:
            told += f"; a .binvox holds one grid, that of {self.names[0]}"
        self.saved.value = captions.said(told)

    def _write_as(self, path: Path) -> None:
        sample, seen = self._sample, self.seen
        if path.suffix == ".png":
            saving.save_picture(path, [self._pictures[place] for place in sorted(self._pictures)])
        elif path.suffix == ".binvox":
            answer, cut = seen[0]
            saving.save_grid(path, sample, scene.selected_volume(answer, self.shown.value), cut)
        elif path.suffix == ".html":
            above = self.strip.value + self.legend.value
            saving.save_page(path, Scenes(self.plots[: len(seen)], above, self._lines(seen), sample.name))
        else:
            saving.save_mesh(path, sample, seen, self.shown.value, self.photo.value - 1)


def _png(volume: Probability, sample: Sample, at: Sequence[int]) -> bytes:
    truth = sample.truth(len(volume))
    figure, buffer = slices(volume, sample.cube, truth, at, sample.is_metric), io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return buffer.getvalue()
