"""The viewer of samples and predictions: controls, photos and scenes, in a batch run scenes only; scenes of volumes."""

from __future__ import annotations

import base64
import html
import io
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ipywidgets as widgets
import k3d
import numpy as np

from p2vlib.data.dataset import Captures
from p2vlib.files import write_atomically, write_text
from p2vlib.geometry.frames import Cube
from p2vlib.geometry.grids import VoxelGrid
from p2vtools.archives.binvox import write_binvox
from p2vtools.fit import pretrained
from p2vtools.viewer import parts, scene
from p2vtools.viewer.figures import occupied_centre, slices
from p2vtools.viewer.sample import Choice, Networks, Prediction, Predictions, Sample, load_samples
from p2vtools.viewer.static_html import Scenes, is_live, save_mesh, save_picture, unused_path
from p2vtools.viewer.style import INK, PALETTE, SOLID

OUTPUT_FOLDER = "saved"
"""Default folder of saved files, relative to the notebook."""

HEIGHT = 480
"""Height of a scene, pixels."""

CAMERA_DISTANCE = {1: 1600.0, 2: 2400.0}
"""Number of scenes -> distance of the camera, mm; two scenes are narrower."""


def view(source: Path | Captures, models: Networks | None = None, views: int | None = None) -> App | Scenes:
    """A sample in 3-D with the predictions of networks; the last expression of a cell.

    In JupyterLab it has controls; in a batch run it is one scene for each of the first two networks.

    Args:
        source: a capture folder, or a table of samples, of which the first is shown.
        models: name -> (network, threshold); None: the pretrained weights.
        views: initial number of photos; None: all.

    Raises:
        ValueError: as `sample.load_samples`, or networks that do not fit the photos.
    """
    if models is None:
        weights = pretrained.load_pretrained()
        models = {pretrained.NAME: (weights.model, weights.threshold)}
    predictions = Predictions(load_samples(source), models)
    return App(predictions, views) if is_live() else static_view(predictions, views)


def static_view(predictions: Predictions, views: int | None = None) -> Scenes:
    """The first sample with the predictions of the first two networks; the scenes turn, but have no controls."""
    sample, mode = predictions.samples[0], "agreement"
    choice = Choice(views=views or len(sample.photos))
    numbers, plots, lines = predictions.photo_numbers(choice), [], []
    for name, (_, threshold) in list(predictions.networks.items())[:2]:
        prediction, plot = predictions.get(name, choice), scene.new_plot(HEIGHT)
        for drawn in (
            *scene.solid_objects(sample, prediction, threshold, mode),
            *scene.floor_objects(sample.side, sample.is_metric),
            *scene.camera_objects(sample, numbers),
        ):
            plot += drawn
        plots.append(plot)
        lines.append(parts.result_html(name, sample, prediction, threshold, mode))
    above = parts.photos_html(sample, numbers) + parts.legend_html(sample, prediction, mode)
    return Scenes(plots, above, lines, f"{sample.name}, {len(numbers)} photos: truth and prediction")


def volume_scene(volumes: Mapping[str, np.ndarray], cube: Cube) -> k3d.Plot | Scenes:
    """Surfaces of volumes over one ``cube``, side by side along z and labelled, in millimetres.

    Args:
        volumes: name -> ``[x, y, z]``, boolean or occupancy in [0, 1]; the surface is where it is 0.5.
    """
    plot = scene.new_plot(420)
    edge, pitch = 1000 * cube.edge, 1100 * cube.edge
    for index, (name, volume) in enumerate(volumes.items()):
        colour = (SOLID, *PALETTE)[index % 8]
        plot += scene.isosurface(volume, edge, colour, 0.5, (0, 0, -index * pitch))
        label = f'<span style="color: {colour}">■</span> {html.escape(name)}'
        place = (0.02, 0.04 + 0.08 * index)
        plot += k3d.text2d(label, place, color=scene.to_number(INK), is_html=True, label_box=False)
    target = np.array([0, -edge / 4, -pitch * (len(volumes) - 1) / 2])
    distance = edge * (1 + 0.55 * len(volumes))
    plot.camera = [*(target + distance * np.array([1, 0.55, 0.45])), *target, 0, 1, 0]
    return plot if is_live() else Scenes([plot], title=f"surfaces: {', '.join(volumes)}")


class App(widgets.VBox):
    """The interactive viewer of ``predictions``. A page finds each control by its CSS class, ``p2v-…``."""

    def __init__(self, predictions: Predictions, views: int | None = None) -> None:
        self.predictions = predictions
        self.controls = SimpleNamespace(**{name: parts.make_control(name) for name in parts.CONTROLS})
        self.result, self.status = parts.make_text("line"), parts.make_text("status")
        self.legend, self.photos = parts.make_text("legend"), parts.make_text("photos")
        self.saved = parts.make_text("saved", flex="1 1 100%")
        self.slice_image = widgets.Image(format="png", layout={"width": "100%"}).add_class("p2v-cuts")
        self.plots = [scene.new_plot(HEIGHT) for _ in range(2)]
        self.scenes = widgets.HBox(layout={"width": "100%"}).add_class("p2v-scenes")
        self._is_updating = False
        self._thresholds = {name: threshold for name, (_, threshold) in predictions.networks.items()}
        self._drawn_names: list[str] = []
        self._context: list[tuple[Any, list[Any]]] = [(None, []), (None, [])]
        self._slice_size = 0
        self._path, self._screenshots = Path(), {}
        widgets.jslink((self.plots[0], "camera"), (self.plots[1], "camera"))
        controls, count = self.controls, len(predictions.samples[0].photos)
        parts.set_options(controls.sample, [(sample.name, number) for number, sample in enumerate(predictions.samples)])
        parts.set_options(controls.network, [(name, name) for name in predictions.networks])
        controls.views.max = controls.photo.max = count
        controls.views.value = views or count
        super().__init__(self._arrange())
        self.add_class("p2v-viewer")
        for name, control in vars(controls).items():
            if name not in ("format", "file", "save"):
                control.observe(lambda _: self._draw(), "value")
        controls.sample.observe(lambda _: self._reset_file_name(), "value")
        controls.save.on_click(lambda _: self._save())
        for position, plot in enumerate(self.plots):
            plot.observe(lambda change, position=position: self._receive(position, change.new), "screenshot")
        self._reset_file_name()
        self._draw()

    def _arrange(self) -> list[widgets.Widget]:
        slice_names = [name for name in parts.CONTROLS if name.startswith("slice_")]
        sidebar = [control for name, control in vars(self.controls).items() if name not in slice_names]
        sliders = widgets.HBox([getattr(self.controls, name) for name in slice_names])
        self.slice_box = widgets.VBox([sliders, self.slice_image], layout={"max_width": "900px"})
        header = widgets.HBox([self.result, self.status], layout={"justify_content": "space-between"})
        layout = {"flex": "1000 1 440px", "min_width": "0"}
        main = widgets.VBox([header, self.legend, self.scenes, self.slice_box], layout=layout)
        # The sidebar is a column beside the scene in a wide window, and two columns above it in a narrow one.
        body = parts.wrapping_box([parts.wrapping_box([*sidebar, self.saved], "1 1 310px"), main], "1 1 auto")
        return [widgets.HTML(parts.STYLE), self.photos, body]

    # ---------------------------------------------------------------------------------------------------------- drawing

    @property
    def choice(self) -> Choice:
        """The selected sample, photos and resolution."""
        controls = self.controls
        return Choice(controls.sample.value, controls.views.value, controls.order.value, controls.resolution.value)

    @property
    def names(self) -> list[str]:
        """The selected networks."""
        second = self.controls.second.value
        return [self.controls.network.value] + ([] if second == parts.NO_SECOND else [second])

    @property
    def selected(self) -> list[tuple[Prediction, float]]:
        """Predictions of the selected networks, and their thresholds."""
        return [(self.predictions.get(name, self.choice), self._thresholds[name]) for name in self.names]

    @property
    def _sample(self) -> Sample:
        return self.predictions.samples[self.controls.sample.value]

    def _update_options(self) -> None:
        """Adapts the controls to the selected sample and networks; each network keeps its threshold."""
        controls, predictions, sample = self.controls, self.predictions, self.controls.sample.value
        controls.views.max = len(self._sample.photos)
        controls.photo.max, controls.photo.disabled = controls.views.value, not self._sample.cameras
        others = [name for name in predictions.networks if name != controls.network.value]
        parts.set_options(controls.second, [(name, name) for name in (parts.NO_SECOND, *others)])
        names = self.names
        sizes = [predictions.sizes(name, sample) for name in names]
        common = [size for size in sizes[0] if size in sizes[-1]]
        parts.set_options(controls.resolution, [(f"{size} voxels a side", size) for size in common])
        refined = all(predictions.has_refiner(name, sample) for name in names)
        parts.set_options(controls.mode, [(mode, mode) for mode in scene.MODES if refined or "refiner" not in mode])
        for slider, name in zip((controls.threshold, controls.second_threshold), names, strict=False):
            if names != self._drawn_names:
                slider.value = self._thresholds[name]
            self._thresholds[name] = slider.value
        self._drawn_names = names
        controls.second.layout.display = None if others else "none"
        controls.second_threshold.layout.display = None if len(names) > 1 else "none"

    def _draw(self) -> None:
        """Draws what is selected."""
        if self._is_updating:
            return
        self.status.value, start = parts.status_html("working …"), time.perf_counter()
        self._is_updating = True
        try:
            self._update_options()
            selected, photo = self.selected, self.controls.photo.value - 1
            for position, (prediction, threshold) in enumerate(selected):
                self._draw_scene(position, prediction, threshold, photo)
            self.result.value = "<br>".join(self._results(selected))
            self._draw_slices(*selected[0])
        except ValueError as error:
            self.result.value, self.status.value = parts.error_html(error), ""
            return
        finally:
            self._is_updating = False
        if len(selected) != len(self.scenes.children):
            for plot in self.plots:
                plot.layout.width = f"{100 // len(selected)}%"
                plot.camera = scene.camera_at(CAMERA_DISTANCE[len(selected)])
        self.scenes.children = self.plots[: len(selected)]
        self.legend.value = parts.legend_html(self._sample, selected[0][0], self.controls.mode.value)
        self.photos.value = parts.photos_html(self._sample, selected[0][0].photos, photo)
        self.status.value = parts.status_html(f"{time.perf_counter() - start:.2f} s")

    def _results(self, selected: list[tuple[Prediction, float]]) -> list[str]:
        sample, mode = self._sample, self.controls.mode.value
        return [parts.result_html(name, sample, *one, mode) for name, one in zip(self.names, selected, strict=True)]

    def _draw_scene(self, position: int, prediction: Prediction, threshold: float, photo: int) -> None:
        """Floor and cameras are most of a scene, so they are created and sent again only if they change."""
        controls, sample = self.controls, self._sample
        key = (controls.sample.value, prediction.photos, photo, controls.floor.value, controls.cameras.value)
        context = self._context[position][1]
        if key != self._context[position][0]:
            context = scene.floor_objects(sample.side, sample.is_metric) if controls.floor.value else []
            context += scene.camera_objects(sample, prediction.photos, photo, 96) if controls.cameras.value else []
        solids = scene.solid_objects(sample, prediction, threshold, controls.mode.value, photo)
        current = scene.update_plot(self.plots[position], [*context, *solids])
        self._context[position] = (key, current[: len(context)])

    def _draw_slices(self, prediction: Prediction, threshold: float) -> None:
        controls = self.controls
        self.slice_box.layout.display = None if controls.slices.value else "none"
        if not controls.slices.value:
            return
        volume, sample = scene.volume_of(prediction, controls.mode.value), self._sample
        sliders = [controls.slice_x, controls.slice_y, controls.slice_z]
        if len(volume) != self._slice_size:
            self._slice_size = len(volume)
            for slider, centre in zip(sliders, occupied_centre(volume >= threshold), strict=True):
                slider.max, slider.value = len(volume) - 1, centre
        at = [slider.value for slider in sliders]
        figure, buffer = slices(volume, sample.cube, sample.truth(len(volume)), at, sample.is_metric), io.BytesIO()
        figure.savefig(buffer, format="png", dpi=90)
        self.slice_image.value = buffer.getvalue()

    # ----------------------------------------------------------------------------------------------------------- saving

    def _reset_file_name(self) -> None:
        self.controls.file.value = f"{OUTPUT_FOLDER}/{self._sample.name.replace(', ', '-').replace(' ', '-')}"

    def _save(self) -> None:
        """Writes a file; a picture is written when the browser has sent it."""
        if not self.controls.file.value.strip():
            self._reset_file_name()
        self._path = unused_path(Path(self.controls.file.value), self.controls.format.value)
        if self._path.suffix != ".png":
            self._write()
            return
        self._screenshots = {}
        self.saved.value = parts.status_html("waiting for the browser's picture …")
        for plot in self.plots[: len(self.names)]:
            plot.screenshot = ""  # the same picture as before is a change then
            plot.fetch_screenshot()

    def _receive(self, position: int, screenshot: str) -> None:
        if not screenshot:
            return
        self._screenshots[position] = base64.b64decode(screenshot)
        if len(self._screenshots) == len(self.names):
            self._write()

    def _write(self) -> None:
        path, sample, selected, mode = self._path, self._sample, self.selected, self.controls.mode.value
        try:
            if path.suffix == ".png":
                save_picture(path, [self._screenshots[position] for position in sorted(self._screenshots)])
            elif path.suffix == ".binvox":
                prediction, threshold = selected[0]
                grid = VoxelGrid(scene.volume_of(prediction, mode) >= threshold, sample.cube)
                write_atomically(path, lambda partial: write_binvox(partial, grid))
            elif path.suffix == ".html":
                above = self.photos.value + self.legend.value
                scenes = Scenes(self.plots[: len(selected)], above, self._results(selected), sample.name)
                write_text(path, scenes.page())
            else:
                save_mesh(path, sample, selected, mode, self.controls.photo.value - 1)
            message = f"{path}: written, {path.stat().st_size / 1000:.0f} kB"
        except (ValueError, OSError) as error:
            self.saved.value = parts.error_html(error)
            return
        if path.suffix == ".binvox" and len(self.names) > 1:
            message += f"; a .binvox file holds one grid, that of {self.names[0]}"
        self.saved.value = parts.status_html(message)
