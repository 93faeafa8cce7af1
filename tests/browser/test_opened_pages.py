"""The report's pages, carried away and opened from a disk without a network."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from p2vlib.provenance import home
from tests.browser.tabs import Tab, blank, changed, drag, pixels

NOTEBOOK = "05_lstm_ablation"


@pytest.fixture(scope="module")
def stick(chromium, tmp_path_factory) -> Path:
    """The reports of this checkout, notebook 05 among them, carried to where nothing else lies."""
    command = [sys.executable, "-m", "p2vtools", "study", "--scale", "smoke", "--only", NOTEBOOK[:2]]
    made = subprocess.run(command, capture_output=True, text=True, cwd=home())
    assert made.returncode == 0, made.stderr
    stick = tmp_path_factory.mktemp("stick")
    for run in ("smoke", "quick", "evaluate"):
        shutil.copytree(home() / "reports" / run, stick / run)
    return stick


@pytest.fixture
def offline(tab: Tab) -> Tab:
    """A tab that has no network."""
    tab.page.context.set_offline(True)
    return tab


def visit(tab: Tab, page: Path) -> str:
    """Opens a page and waits until its pictures are there; returns its name among the reports."""
    tab.page.goto(page.as_uri())
    tab.page.wait_for_function(
        "() => [...document.images].every(picture => (picture.loading = 'eager', picture.complete))"
    )
    return f"{page.parent.parent.name if page.parent.name == 'html' else page.parent.name}-{page.stem}"


def test_pages_show_all_they_have_and_ask_nobody(stick, offline, album):
    pages = sorted(stick.rglob("*.html"))
    assert {page.parent.name for page in pages} >= {"smoke", "quick", "html"}
    for page in pages:
        name = visit(offline, page)
        album.keep(offline, name, as_document="report" if name == "quick-index" else "")
        for drawn in offline.page.locator(".p2v-scene, .js-plotly-plot").all():
            drawn.scroll_into_view_if_needed()
            offline.until(lambda drawn=drawn: not blank(pixels(drawn)), f"{name}: something drawn is blank")
        lost = offline.page.evaluate("() => [...document.images].filter(p => !p.naturalWidth).map(p => p.src)")
        assert (name, lost, offline.left(), offline.complaints()) == (name, [], [], [])


def test_pages_are_dark_where_the_reader_likes_it_dark(stick, offline, album):
    for page in sorted(stick.rglob("*.html")):
        name = visit(offline, page)
        brightness = {}
        for scheme in ("dark", "light"):
            offline.page.emulate_media(color_scheme=scheme)
            brightness[scheme] = np.median(pixels(offline.page))
            if scheme == "dark":
                album.keep(offline, f"{name}-dark")
        assert brightness["dark"] < 60 and brightness["light"] > 220, f"{name}: {brightness}"


def test_pages_fit_a_phone(stick, offline, album):
    offline.page.set_viewport_size({"width": 375, "height": 740})
    for page in sorted(stick.rglob("*.html")):
        name = visit(offline, page)
        album.keep(offline, f"{name}-phone")
        wide = offline.page.evaluate("() => document.documentElement.scrollWidth")
        assert wide <= 375, f"{name} is {wide} pixels wide on a phone of 375"


def as_sorted(cells: list[str]) -> bool:
    """Whether they go up: by the numbers that they begin with, where all of those that say anything do."""
    told = pd.Series([cell for cell in cells if cell not in ("", "–")])
    parts = told.str.extract(r"^([↑↓=]?) ?([-+]?[\d.]+)(?=$|[ %])")
    numbers = pd.to_numeric(parts[1]) * parts[0].map({"↓": -1}).fillna(1)
    return (told.str.casefold() if numbers.isna().any() else numbers).is_monotonic_increasing


@pytest.mark.parametrize("way", ["mouse", "keyboard"])
def test_tables_are_sorted_by_their_headings(way, stick, offline):
    visit(offline, stick / "quick" / f"{NOTEBOOK}.html")
    tables = offline.page.locator("table:has(thead button)").all()
    assert len(tables) >= 4
    for table in tables:
        last = table.locator("thead th").last
        column = table.locator("tbody tr > :last-child")
        directions = {}
        for _ in range(2):
            if way == "mouse":
                last.get_by_role("button").click()
            else:
                last.get_by_role("button").press("Enter")
            directions[last.get_attribute("aria-sort")] = column.all_inner_texts()
        assert set(directions) == {"ascending", "descending"}
        assert as_sorted(directions["ascending"]) and as_sorted(directions["descending"][::-1]), directions


def test_the_page_of_a_notebook_shows_every_table(stick, offline):
    visit(offline, stick / "smoke" / f"html/{NOTEBOOK}.html")
    shown = [set(table.locator("th").all_inner_texts()) for table in offline.page.locator("table").all()]
    files = sorted((stick / "smoke" / "tables").glob(f"{NOTEBOOK}-*.csv"))
    assert files
    for file in files:
        columns = set(pd.read_csv(file, nrows=0).columns)
        assert any(columns <= headings for headings in shown), f"{file.name}: no table has all of {sorted(columns)}"


def test_the_scale_of_a_still_scene_can_be_read(stick, offline):
    visit(offline, stick / "smoke" / f"html/{NOTEBOOK}.html")
    scene = offline.page.locator(".p2v-scene:has-text('300 mm')").first
    scene.scroll_into_view_if_needed()
    left, top, width, height = scene.bounding_box().values()
    for word in ("toes", "100 mm", "200 mm", "300 mm"):
        x, y, *_ = scene.get_by_text(word, exact=True).bounding_box().values()
        assert left < x < left + width and top < y < top + height, f"{word} stands outside of its scene"


def test_the_volume_on_the_page_of_a_notebook_turns(stick, offline, album):
    visit(offline, stick / "smoke" / f"html/{NOTEBOOK}.html")
    canvas = offline.page.locator(".p2v-scene canvas").first
    offline.until(lambda: not blank(pixels(canvas)), "a canvas is blank")
    before = pixels(canvas)
    drag(offline, canvas)
    offline.until(lambda: changed(before, pixels(canvas)) > 0.01, "the volume does not turn")
    turned = pixels(canvas)
    assert not blank(turned) and changed(before, turned) > 0.01
    album.keep(offline, f"{NOTEBOOK}-turned")
