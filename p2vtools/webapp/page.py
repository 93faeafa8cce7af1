"""The page: choices, photos and the result as widgets, which notebook 08 displays one below the other."""

from __future__ import annotations

import contextlib
import html
import tempfile
from collections.abc import Iterator
from pathlib import Path

import ipywidgets as widgets
import k3d
import numpy as np

from p2vtools import limits, viewer
from p2vtools.capture.app_formats import APPS
from p2vtools.capture.mat_printing import write_mat_pdf
from p2vtools.fit import shoe_last
from p2vtools.fit.measure import TOE_ROOM
from p2vtools.synthesis.mat import RULER, get_mat
from p2vtools.viewer.foot_figures import CAPTION
from p2vtools.viewer.scene import floor_objects, new_plot, to_number
from p2vtools.viewer.style import SOLID
from p2vtools.webapp import text
from p2vtools.webapp.file_exchange import FileExchange
from p2vtools.webapp.visit import Result, Visit

STYLE = f"<style>{Path(__file__).with_name('page.css').read_text(encoding='utf-8')}</style>"

MAT, SHEET, EXPORT = "a printed mat", "a sheet of paper", "an app's export"
"""What can be photographed."""

APP_TITLES = {"polycam": "Polycam, raw data", "record3d": "Record3D, .r3d", "scannerapp": "3d Scanner App, All Data"}
"""App -> what to export, for those that need it."""

PAPERS = {"A4, two sheets": "a4x2", "Letter, two sheets": "letterx2"}

CAMERA = [340.0, 330.0, 460.0, 0.0, 45.0, 0.0, 0.0, 1.0, 0.0]
"""k3d's camera: position, target and upward direction, mm."""

FILES = {"obj": "Save the foot as OBJ", "stl": "Save the foot as STL", "zip": "Save the photos (capture folder)"}
"""Kind of `Visit.saved` -> label of its button."""


class Page:
    """One visitor's page; `choices`, `photos` and `result` are its parts."""

    def __init__(self) -> None:
        self.visit = Visit()
        self._make_choices()
        self._make_photos()
        self._make_result()
        self._update()

    # ----------------------------------------------------------------------------------------------------------- parts

    def _make_choices(self) -> None:
        self.side = _toggle({"Left foot": "left", "Right foot": "right"}, "p2v-side")
        self.source = _toggle(
            {"On a printed mat": MAT, "On a sheet of paper": SHEET, "With a scanning app": EXPORT}, "p2v-source"
        )
        self.ruler = widgets.BoundedFloatText(RULER, min=0.8 * RULER, max=1.2 * RULER, step=0.5)
        self.ruler.layout.width = "110px"
        self.ruler.add_class("p2v-ruler")
        self.app = widgets.Dropdown(options=[(APP_TITLES.get(app, app), app) for app in APPS], value="polycam")
        self.pdfs = [widgets.Button(description=f"Mat on {title}", layout={"width": "auto"}) for title in PAPERS]
        for button, paper in zip(self.pdfs, PAPERS.values(), strict=True):
            button.on_click(lambda _, paper=paper: self._save_mat(paper))
        self._mat_box = widgets.VBox(
            [
                widgets.HTML("How many millimetres long is the ruler printed on the mat? All sizes depend on it."),
                self.ruler,
                widgets.HTML("No mat yet? Save one, print it at 100 %, and stand on it with one bare foot."),
                _row(self.pdfs),
            ]
        )
        self.paper = _toggle({"A4": "a4", "Letter": "letter"}, "p2v-paper")
        sheet = "Lay a white sheet flat on a darker floor. Stand in its middle with the foot along its longer edge."
        self._sheet_box = widgets.VBox([widgets.HTML(sheet), self.paper])
        self._app_box = widgets.VBox([widgets.HTML("Which app, and what was exported?"), self.app])
        for control in (self.side, self.source, self.paper):
            control.observe(lambda _: self._choose(), "value")
        parts = [widgets.HTML(STYLE), widgets.HTML("Which foot?"), self.side, widgets.HTML("How was it photographed?")]
        self.choices = _part(*parts, self.source, self._mat_box, self._sheet_box, self._app_box)

    def _make_photos(self) -> None:
        visit = self.visit

        self.photo_files, self.export_files = (
            FileExchange(visit.folder, limit, self._receive, self._refuse, photos=photos)
            for photos, limit in ((True, limits.PHOTO_BYTES), (False, limits.SCAN_BYTES))
        )
        self.refused, self.ring, self.pictures = (widgets.HTML() for _ in range(3))
        self.restart = widgets.Button(description="Delete all and start again", layout={"width": "auto"})
        self.restart.on_click(lambda _: self._restart())
        self.hint = widgets.HTML()
        self.photos = _part(
            self.hint, self.photo_files, self.export_files, self.refused, self.ring, self.pictures, self.restart
        )

    def _make_result(self) -> None:
        self.start = widgets.Button(
            description="Reconstruct the foot", button_style="primary", layout={"width": "auto"}
        )
        self.start.on_click(lambda _: self._reconstruct())
        self.status, self.verdict, self.measures, self.fit = (widgets.HTML() for _ in range(4))
        self.scene = widgets.Box(layout={"width": "100%"})
        self.files = [widgets.Button(description=label, layout={"width": "auto"}) for label in FILES.values()]
        for button, kind in zip(self.files, FILES, strict=True):
            button.on_click(lambda _, kind=kind: self.photo_files.save(*self.visit.saved(kind)))
        self.saving = _row(self.files)
        parts = [self.start, self.status, self.verdict, self.scene, self.measures, self.fit, self.saving]
        self.result = _part(*parts)
        self._show(None)

    # ---------------------------------------------------------------------------------------------------------- photos

    def _receive(self, name: str, path: Path) -> None:
        add = self.visit.add_export if self.source.value == EXPORT else self.visit.add_photo
        add(name, path)
        self._update()

    def _refuse(self, name: str, reason: str) -> None:
        self.refused.value += f'<div role="alert">{html.escape(f"{name}: {reason}")}</div>'

    def _choose(self) -> None:
        """Follows the choices; photos that are there are checked again if they show another surface now."""
        with self._busy():
            if self.source.value != EXPORT:
                self.hint.value = "The photos are checked again …" if self.visit.photos else ""
                self.visit.choose_surface(self.paper.value if self.source.value == SHEET else None, self.side.value)

    def _restart(self) -> None:
        self.visit.clear()
        self.refused.value = self.status.value = ""
        self._show(None)
        self._update()

    def _update(self) -> None:
        """Shows what there is."""
        visit, source = self.visit, self.source.value
        of_photos = source != EXPORT
        for widget, shown in (
            *((self._mat_box, source == MAT), (self._sheet_box, source == SHEET), (self._app_box, not of_photos)),
            *((self.photo_files, of_photos), (self.ring, of_photos), (self.pictures, of_photos)),
            (self.export_files, not of_photos),
            (self.restart, bool(visit.photos or visit.export)),
        ):
            widget.layout.display = None if shown else "none"
        used = visit.used_photos()
        if of_photos:
            surface = "mat" if source == MAT else "sheet"
            self.hint.value = (
                f"Take eight photos, one step apart, all round the foot, with the whole {surface} in each."
            )
        else:
            self.hint.value = f"{visit.export_name or 'A zip as the app exports it'}"
        self.ring.value = text.ring_html([photo.row for photo in used], self.side.value, visit.advice())
        self.pictures.value = text.photos_html(visit.photos, visit.problems())
        self.start.disabled = not (visit.has_enough_photos if of_photos else visit.export)

    # ---------------------------------------------------------------------------------------------------------- result

    def _reconstruct(self) -> None:
        app = self.app.value if self.source.value == EXPORT else None
        with self._busy():
            try:
                self._show(self.visit.reconstruct(self.side.value, self.ruler.value, app, self._report))
                self.status.value = ""
            except ValueError as error:
                self.status.value = f'<div role="alert">{html.escape(str(error))}</div>'

    @contextlib.contextmanager
    def _busy(self) -> Iterator[None]:
        controls = [self.side, self.source, self.paper, self.start, self.restart, self.photo_files, self.export_files]
        for control in controls:
            control.disabled = True
        try:
            yield
        finally:
            for control in controls:
                control.disabled = False
            self._update()

    def _report(self, sentence: str) -> None:
        self.status.value = f'<div role="status">{html.escape(sentence)}</div>'

    def _show(self, result: Result | None) -> None:
        """Shows a result; without measures if it is not usable."""
        usable = result is not None and result.judged.measured and result.judged.verdict.level != "not usable"
        self.verdict.value = text.verdict_html(result) if result else ""
        self.measures.value = self.fit.value = ""
        self.scene.children = ()
        self.saving.layout.display = None if result else "none"
        for button in self.files[:2]:
            button.layout.display = None if usable else "none"
        if not usable:
            return
        judged, written = result.judged, result.written
        self.measures.value = text.measures_html(judged, written, self.ruler.value)
        plot = new_plot(380)
        plot.camera, mesh = CAMERA, judged.foot.mesh
        for drawn in floor_objects(judged.photo_set.side, judged.photo_set.has_scale):
            plot += drawn
        vertices = (1000 * mesh.vertices).astype(np.float32)
        plot += k3d.mesh(
            vertices, mesh.faces.astype(np.uint32), color=to_number(SOLID), flat_shading=False, name="foot"
        )
        self.scene.children = (plot,)
        if written.scale != "unknown":
            fits = shoe_last.fit_shoes(mesh, judged.photo_set.side)
            pictures = [
                text.image_html(viewer.fit_map([fit], caption=False), f"in a shoe for feet of {fit.last.length:.0f} mm")
                for fit in fits
            ]
            note = html.escape(CAPTION.format(room=TOE_ROOM))
            self.fit.value = (
                f'<h3>In shoes of three sizes</h3><div class="p2v-fit">{"".join(pictures)}</div><p>{note}</p>'
            )

    def _save_mat(self, paper: str) -> None:
        with tempfile.TemporaryDirectory(dir=self.visit.folder) as folder:
            path = Path(folder) / f"mat-{paper}.pdf"
            write_mat_pdf(get_mat(paper), path)
            self.photo_files.save(path.name, path.read_bytes())


def _toggle(options: dict[str, str], name: str) -> widgets.ToggleButtons:
    return widgets.ToggleButtons(options=options, style={"button_width": "auto"}).add_class(name)


def _row(children: list[widgets.Widget]) -> widgets.Box:
    return widgets.Box(children, layout={"flex_flow": "row wrap", "grid_gap": "8px"})


def _part(*children: widgets.Widget) -> widgets.VBox:
    return widgets.VBox(children, layout={"width": "100%"}).add_class("p2v-page")
