"""The pages of the report, copied elsewhere and opened from disk without a network."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from p2vlib.provenance import home
from tests.browser.tabs import Album, Tab, check_turning, is_blank, pixels

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


def check_themes_and_width(tab: Tab, page: Path, album: Album) -> None:
    """The page is dark or light as the system, and fits a phone."""
    name, brightness, size = visit(tab, page), {}, tab.page.viewport_size
    for scheme in ("dark", "light"):
        tab.page.emulate_media(color_scheme=scheme)
        brightness[scheme] = np.median(pixels(tab.page))
        album.save(tab, f"{name}-{scheme}")
    assert brightness["dark"] < 60 and brightness["light"] > 220, f"{name}: {brightness}"
    tab.page.set_viewport_size({"width": 375, "height": 740})
    visit(tab, page)
    album.save(tab, f"{name}-phone")
    width = tab.page.evaluate("() => document.documentElement.scrollWidth")
    assert width <= 375, f"{name} is {width} pixels wide on a phone of 375"
    tab.page.set_viewport_size(size)


def test_pages_are_complete_and_self_contained_and_fit_theme_and_phone(reports, offline, album):
    pages = sorted(reports.rglob("*.html"))
    assert {page.relative_to(reports).parts[0] for page in pages} == {"smoke", "quick", "evaluate"}
    for page in pages:
        name = visit(offline, page)
        for figure in offline.page.locator(".p2v-scene, .js-plotly-plot").all():
            figure.scroll_into_view_if_needed()
            offline.wait_until(lambda figure=figure: not is_blank(pixels(figure)), f"{name}: a figure is blank")
        missing = offline.page.evaluate("() => [...document.images].filter(p => !p.naturalWidth).map(p => p.src)")
        assert (name, missing, offline.external_requests(), offline.errors) == (name, [], [], [])
        check_themes_and_width(offline, page, album)


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


def test_a_scene_on_a_notebook_page_contains_its_labels_and_turns(reports, offline, album):
    visit(offline, executed_page(reports))
    scene = offline.page.locator(".p2v-scene:has-text('300 mm')").first
    scene.scroll_into_view_if_needed()
    left, top, width, height = scene.bounding_box().values()
    for label in ("toes", "100 mm", "200 mm", "300 mm"):
        x, y, *_ = scene.get_by_text(label, exact=True).bounding_box().values()
        assert left < x < left + width and top < y < top + height, f"{label} is outside its scene"
    check_turning(offline, offline.page.locator(".p2v-scene canvas").first)
    album.save(offline, f"{NOTEBOOK}-turned")
