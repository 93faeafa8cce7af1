"""The pages of the report, copied elsewhere and opened from disk without a network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from p2vlib.provenance import home
from tests.browser.tabs import Tab, check_turning, is_blank, pixels

NOTEBOOK = "05_lstm_ablation"


@pytest.fixture(scope="module")
def reports(chromium, tmp_path_factory) -> Path:
    """A copy of the reports of this checkout, with notebook 05 of the smoke scale."""
    command = [sys.executable, "-m", "p2vtools", "study", "--scale", "smoke", "--only", NOTEBOOK[:2]]
    result = subprocess.run(command, capture_output=True, text=True, cwd=home())
    assert result.returncode == 0, result.stderr
    copy = tmp_path_factory.mktemp("reports")
    for scale in ("smoke", "quick", "evaluate"):
        shutil.copytree(home() / "reports" / scale, copy / scale)
    return copy


@pytest.fixture
def offline(tab: Tab) -> Tab:
    """A tab without a network."""
    tab.page.context.set_offline(True)
    return tab


def executed_page(reports: Path) -> Path:
    """The page of the executed notebook, smoke scale."""
    return next(page for page in sorted((reports / "smoke").rglob(f"{NOTEBOOK}.html")) if page.parent.name == "html")


def visit(tab: Tab, page: Path) -> str:
    """Opens a page with all its details and images; returns a name for it."""
    tab.page.goto(page.as_uri())
    tab.page.evaluate("() => document.querySelectorAll('details').forEach(part => (part.open = true))")
    tab.page.wait_for_function("() => [...document.images].every(image => (image.loading = 'eager', image.complete))")
    return f"{page.parent.parent.name if page.parent.name == 'html' else page.parent.name}-{page.stem}"


def test_pages_are_complete_and_self_contained(reports, offline, album):
    pages = sorted(reports.rglob("*.html"))
    assert {page.relative_to(reports).parts[0] for page in pages} == {"smoke", "quick", "evaluate"}
    for page in pages:
        name = visit(offline, page)
        album.save(offline, name)
        for figure in offline.page.locator(".p2v-scene, .js-plotly-plot").all():
            figure.scroll_into_view_if_needed()
            offline.wait_until(lambda figure=figure: not is_blank(pixels(figure)), f"{name}: a figure is blank")
        missing = offline.page.evaluate("() => [...document.images].filter(p => !p.naturalWidth).map(p => p.src)")
        assert (name, missing, offline.external_requests(), offline.errors) == (name, [], [], [])


def test_dark_and_light_theme(reports, offline, album):
    for page in sorted(reports.rglob("*.html")):
        name, brightness = visit(offline, page), {}
        for scheme in ("dark", "light"):
            offline.page.emulate_media(color_scheme=scheme)
            brightness[scheme] = np.median(pixels(offline.page))
            if scheme == "dark":
                album.save(offline, f"{name}-dark")
        assert brightness["dark"] < 60 and brightness["light"] > 220, f"{name}: {brightness}"


def test_pages_fit_a_phone(reports, offline, album):
    offline.page.set_viewport_size({"width": 375, "height": 740})
    for page in sorted(reports.rglob("*.html")):
        name = visit(offline, page)
        album.save(offline, f"{name}-phone")
        width = offline.page.evaluate("() => document.documentElement.scrollWidth")
        assert width <= 375, f"{name} is {width} pixels wide on a phone of 375"


def is_ascending(cells: list[str]) -> bool:
    """Whether a column ascends: by the numbers at the start of its cells if all have one, else as text."""
    texts = pd.Series([cell for cell in cells if cell not in ("", "–")])
    parts = texts.str.extract(r"^([↑↓=]?) ?([-+]?[\d.]+)(?=$|[ %])")
    numbers = pd.to_numeric(parts[1]) * parts[0].map({"↓": -1}).fillna(1)
    return (texts.str.casefold() if numbers.isna().any() else numbers).is_monotonic_increasing


@pytest.mark.parametrize("device", ["mouse", "keyboard"])
def test_tables_are_sorted_by_their_headings(device, reports, offline):
    visit(offline, reports / "quick" / "index.html")
    tables = offline.page.locator(f"[id='{NOTEBOOK}'] table:has(thead button)").all()
    assert len(tables) >= 4
    for table in tables:
        heading, column = table.locator("thead th").last, table.locator("tbody tr > :last-child")
        columns = {}
        for _ in range(2):
            if device == "mouse":
                heading.get_by_role("button").click()
            else:
                heading.get_by_role("button").press("Enter")
            columns[heading.get_attribute("aria-sort")] = column.all_inner_texts()
        assert set(columns) == {"ascending", "descending"}
        assert is_ascending(columns["ascending"]) and is_ascending(columns["descending"][::-1]), columns


def test_notebook_page_contains_every_table(reports, offline):
    visit(offline, executed_page(reports))
    headings = [set(table.locator("th").all_inner_texts()) for table in offline.page.locator("table").all()]
    files = sorted((reports / "smoke" / "tables").glob(f"{NOTEBOOK}-*.csv"))
    assert files
    for file in files:
        columns = set(pd.read_csv(file, nrows=0).columns)
        assert any(columns <= heading for heading in headings), f"{file.name}: no table has all of {sorted(columns)}"


def test_labels_of_a_scene_are_inside_it(reports, offline):
    visit(offline, executed_page(reports))
    scene = offline.page.locator(".p2v-scene:has-text('300 mm')").first
    scene.scroll_into_view_if_needed()
    left, top, width, height = scene.bounding_box().values()
    for label in ("toes", "100 mm", "200 mm", "300 mm"):
        x, y, *_ = scene.get_by_text(label, exact=True).bounding_box().values()
        assert left < x < left + width and top < y < top + height, f"{label} is outside its scene"


def test_scene_on_a_notebook_page_turns(reports, offline, album):
    visit(offline, executed_page(reports))
    check_turning(offline, offline.page.locator(".p2v-scene canvas").first)
    album.save(offline, f"{NOTEBOOK}-turned")
