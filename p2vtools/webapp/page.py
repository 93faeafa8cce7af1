"""The page: choices, photos and the result as widgets, which notebook 08 displays one below the other."""

from __future__ import annotations

import contextlib
import html
import tempfile
from collections.abc import Callable, Iterator
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
        self.side = _toggle({"Left foot": "left", "Right foot": "right"})
        self.source = _toggle({"On a printed mat": MAT, "On a sheet of paper": SHEET, "With a scanning app": EXPORT})
        self.ruler = widgets.BoundedFloatText(RULER, min=0.8 * RULER, max=1.2 * RULER, step=0.5)
        self.ruler.layout.width = "110px"
        self.app = widgets.Dropdown(options=[(APP_TITLES.get(app, app), app) for app in APPS], value="polycam")
        self._mat_box = _part(
            "How many millimetres long is the ruler printed on the mat? All sizes depend on it.",
            self.ruler,
            "No mat yet? Save one, print it at 100 %, and stand on it with one bare foot.",
            _row([_button(f"Mat on {title}", self._save_mat, paper) for title, paper in PAPERS.items()]),
        )
        self.paper = _toggle({"A4": "a4", "Letter": "letter"})
        sheet = "Lay a white sheet flat on a darker floor. Stand in its middle with the foot along its longer edge."
        self._sheet_box = _part(sheet, self.paper)
        self._app_box = _part("Which app, and what was exported?", self.app)
        for control in (self.side, self.source, self.paper):
            control.observe(lambda _: self._choose(), "value")
        questions = [STYLE, "Which foot?", self.side, "How was it photographed?", self.source]
        self.choices = _page_part(*questions, self._mat_box, self._sheet_box, self._app_box)

    def _make_photos(self) -> None:
        self.photo_files, self.export_files = (
            FileExchange(self.visit.folder, limit, self._receive, self._refuse, photos=photos)
            for photos, limit in ((True, limits.PHOTO_BYTES), (False, limits.SCAN_BYTES))
        )
        self.hint, self.refused, self.ring, self.pictures = (widgets.HTML() for _ in range(4))
        self.restart = _button("Delete all and start again", self._restart)
        shown = [self.refused, self.ring, self.pictures]
        self.photos = _page_part(self.hint, self.photo_files, self.export_files, *shown, self.restart)

    def _make_result(self) -> None:
        self.start = _button("Reconstruct the foot", self._reconstruct)
        self.start.button_style = "primary"
        self.status, self.verdict, self.measures, self.fit = (widgets.HTML() for _ in range(4))
        self.scene = widgets.Box(layout={"width": "100%"})
        self.files = [_button(label, self._save, kind) for kind, label in FILES.items()]
        self.saving = _row(self.files)
        shown = [self.status, self.verdict, self.scene, self.measures, self.fit]
        self.result = _page_part(self.start, *shown, self.saving)
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
        self.photo_files.stop()
        self.export_files.stop()
        self.visit.clear()
        self.refused.value = self.status.value = ""
        self._show(None)
        self._update()

    def _update(self) -> None:
        """Shows what there is."""
        visit, source = self.visit, self.source.value
        of_photos, surface = source != EXPORT, "mat" if source == MAT else "sheet"
        _display(source == MAT, self._mat_box)
        _display(source == SHEET, self._sheet_box)
        _display(source == EXPORT, self._app_box, self.export_files)
        _display(of_photos, self.photo_files, self.ring, self.pictures)
        _display(bool(visit.photos or visit.export), self.restart)
        task = f"Take eight photos, one step apart, all round the foot, with the whole {surface} in each."
        self.hint.value = task if of_photos else html.escape(visit.export_name) or "A zip as the app exports it"
        rows = [photo.row for photo in visit.used_photos()]
        self.ring.value = text.ring_html(rows, self.side.value, visit.advice())
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
        usable = bool(result and result.judged.measured and result.judged.verdict.level != "not usable")
        self.verdict.value = text.verdict_html(result) if result else ""
        self.measures.value = self.fit.value = ""
        self.scene.children = ()
        _display(result is not None, self.saving)
        _display(usable, *self.files[:2])
        if not usable:
            return
        judged, written = result.judged, result.written
        self.measures.value = text.measures_html(judged, written, self.ruler.value)
        plot = new_plot(380)
        plot.camera, mesh = CAMERA, judged.foot.mesh
        for drawn in floor_objects(judged.photo_set.side, judged.photo_set.has_scale):
            plot += drawn
        vertices, faces = (1000 * mesh.vertices).astype(np.float32), mesh.faces.astype(np.uint32)
        plot += k3d.mesh(vertices, faces, color=to_number(SOLID), flat_shading=False, name="foot")
        self.scene.children = (plot,)
        if written.scale != "unknown":
            pictures, note = "", html.escape(CAPTION.format(room=TOE_ROOM))
            for fit in shoe_last.fit_shoes(mesh, judged.photo_set.side):
                description = f"in a shoe for feet of {fit.last.length:.0f} mm"
                pictures += text.image_html(viewer.fit_map([fit], caption=False), description)
            self.fit.value = f'<h3>In shoes of three sizes</h3><div class="p2v-fit">{pictures}</div><p>{note}</p>'

    def _save(self, kind: str) -> None:
        self.photo_files.save(*self.visit.saved(kind))

    def _save_mat(self, paper: str) -> None:
        with tempfile.TemporaryDirectory(dir=self.visit.folder) as folder:
            path = Path(folder) / f"mat-{paper}.pdf"
            write_mat_pdf(get_mat(paper), path)
            self.photo_files.save(path.name, path.read_bytes())


def _toggle(options: dict[str, str]) -> widgets.ToggleButtons:
    return widgets.ToggleButtons(options=options, style={"button_width": "auto"})


def _button(label: str, press: Callable[..., None], *arguments: str) -> widgets.Button:
    button = widgets.Button(description=label, layout={"width": "auto"})
    button.on_click(lambda _: press(*arguments))
    return button


def _display(shown: bool, *parts: widgets.DOMWidget) -> None:
    for part in parts:
        part.layout.display = None if shown else "none"


def _row(children: list[widgets.Widget]) -> widgets.Box:
    return widgets.Box(children, layout={"flex_flow": "row wrap", "grid_gap": "8px"})


def _part(*children: widgets.Widget | str) -> widgets.VBox:
    """The children one below the other; a text becomes HTML."""
    return widgets.VBox([widgets.HTML(child) if isinstance(child, str) else child for child in children])


def _page_part(*children: widgets.Widget | str) -> widgets.VBox:
    part = _part(*children)
    part.layout.width = "100%"
    return part.add_class("p2v-page")
