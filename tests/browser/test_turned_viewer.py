"""The viewer in JupyterLab, moved by hand: what it then tells is what the library computes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from p2vlib.data.capture_folder import read_photo_set
from p2vlib.geometry.frames import FOOT_CUBE
from p2vlib.geometry.grids import iou, read_binvox, voxelise
from p2vtools.fit import reconstruct
from tests.browser.lab import Lab
from tests.browser.tabs import Tab, blank, changed, drag, open_tab, pixels

NAME = "viewer.ipynb"
SOURCE = """
from p2vlib import runs, viewer

viewer.view(runs.data_folder("feet", "smoke") / "phone" / "person-test-0000-right")
"""


@pytest.fixture(scope="module")
def shown(chromium, lab: Lab, right_foot: Path) -> Iterator[Tab]:
    """The viewer of a right foot, from its photos alone."""
    lab.write(NAME, SOURCE)
    with open_tab(chromium) as tab:
        lab.open(tab, NAME)
        lab.run_all(tab, 60)
        tab.until(lambda: told(tab) is not None, "the viewer tells no IoU")
        yield tab
        lab.close()


@pytest.fixture(scope="module")
def expected(weights, right_foot: Path) -> Callable[[float], str]:
    """Threshold -> the IoU of that foot, as the library reconstructs it from its folder."""
    foot = reconstruct.reconstruct(weights, read_photo_set(right_foot), 32)
    mesh = trimesh.load_mesh(right_foot / "model.obj", process=False).apply_transform(np.linalg.inv(foot.pose))
    truth = voxelise(np.asarray(mesh.vertices), np.asarray(mesh.faces), FOOT_CUBE, 32).volume
    return lambda threshold: f"{iou(foot.probability >= threshold, truth):.3f}"


def told(tab: Tab) -> str | None:
    """The IoU in the viewer's line."""
    found = re.search(r"IoU (\d\.\d{3})", tab.page.locator(".p2v-line").inner_text())
    return found[1] if found else None


def threshold(tab: Tab) -> float:
    """Where its slider says that it stands; `aria-valuenow` has one decimal only."""
    return float(tab.page.locator(".p2v-threshold .widget-readout").inner_text())


def test_the_threshold_is_moved_by_mouse(shown, expected, album):
    before = threshold(shown), told(shown)
    assert before[1] == expected(before[0])
    handle = shown.page.locator(".p2v-threshold").get_by_role("slider")
    box = handle.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    shown.page.mouse.move(x, y)
    shown.page.mouse.down()
    shown.page.mouse.move(x + 40, y, steps=5)
    shown.page.mouse.up()
    assert threshold(shown) > before[0] + 0.1
    shown.until(lambda: told(shown) == expected(threshold(shown)), f"IoU {told(shown)} as before")
    assert told(shown) != before[1]


def test_the_threshold_is_moved_by_keyboard(shown, expected):
    before = threshold(shown), told(shown)
    handle = shown.page.locator(".p2v-threshold").get_by_role("slider")
    handle.focus()
    for _ in range(15):
        shown.page.keyboard.press("ArrowLeft")
    shown.until(lambda: threshold(shown) < before[0] - 0.1, f"the slider still stands at {before[0]}")
    shown.until(lambda: told(shown) == expected(threshold(shown)), f"IoU {told(shown)} as before")
    assert told(shown) != before[1]


CONTROLS = "sample network views order resolution shown threshold photo cameras floor slices format file save".split()
"""In the order in which the tab key goes through them."""


def test_every_control_is_reached_by_the_tab_key(shown):
    shown.page.locator(".p2v-sample select").focus()
    reached = []
    for _ in range(2 * len(CONTROLS)):  # the number beside a slider is reached as well
        reached.append(shown.page.evaluate("document.activeElement.closest('[class*=p2v-]')?.className ?? ''"))
        shown.page.keyboard.press("Tab")
    found = dict.fromkeys(name for classes in reached for name in CONTROLS if f"p2v-{name}" in classes.split())
    assert list(found) == CONTROLS


def test_who_goes_by_keyboard_sees_where_he_is(shown):
    shown.page.locator(".p2v-network select").focus()
    shown.page.keyboard.press("Tab")
    outline = "getComputedStyle(document.activeElement).outline"
    for _ in CONTROLS:
        assert "solid 2px" in shown.page.evaluate(outline), shown.page.evaluate("document.activeElement.outerHTML")
        shown.page.keyboard.press("Tab")


def test_lists_and_boxes_are_changed_by_keyboard(shown):
    names = shown.page.locator(".p2v-photos figcaption")
    before = names.all_inner_texts()
    order = shown.page.locator(".p2v-order select")
    # JupyterLab keeps the arrow keys for its cells unless a list is open; a letter goes to the list.
    order.press("s")
    shown.until(lambda: names.all_inner_texts() != before, f"the photos still stand as {before}")
    assert sorted(name.split(", ")[1] for name in names.all_inner_texts()) == ["00.jpg", "01.jpg", "02.jpg", "03.jpg"]
    order.press("Alt+ArrowDown")
    shown.page.keyboard.press("ArrowUp")
    shown.page.keyboard.press("Enter")
    shown.until(lambda: names.all_inner_texts() == before, "the photos do not go back to their order")
    cuts = shown.page.locator(".p2v-cuts")
    assert not cuts.is_visible()
    box = shown.page.locator(".p2v-slices input")
    box.press("Space")
    shown.until(cuts.is_visible, "no slices are shown")
    box.press("Space")
    shown.until(lambda: not cuts.is_visible(), "the slices stay")


SCROLLING = """() => [...document.querySelectorAll('.p2v-viewer, .p2v-viewer *')].filter(part => {
  const style = getComputedStyle(part), wide = part.scrollWidth > part.clientWidth;
  return wide && /auto|scroll/.test(style.overflowX)
    || part.scrollHeight > part.clientHeight && /auto|scroll/.test(style.overflowY);
}).map(part => part.className)"""
"""What has a scroll bar."""


def test_a_slice_is_moved_by_the_slider_above_it(shown):
    shown.page.locator(".p2v-slices input").press("Space")
    cuts = shown.page.locator(".p2v-cuts")
    shown.until(cuts.is_visible, "no slices are shown")
    picture = cuts.bounding_box()
    for place, axis in enumerate("zyx"):  # side, above, front
        handle = shown.page.locator(f".p2v-slice-{axis}").get_by_role("slider")
        handle.scroll_into_view_if_needed()
        box, before = handle.bounding_box(), cuts.get_attribute("src")
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        assert int(3 * (x - picture["x"]) / picture["width"]) == place, f"{axis} is not above its cut"
        shown.page.mouse.move(x, y)
        shown.page.mouse.down()
        shown.page.mouse.move(x + 25, y, steps=5)
        shown.page.mouse.up()
        shown.until(lambda before=before: cuts.get_attribute("src") != before, f"{axis} moves no cut")
    assert shown.page.evaluate(SCROLLING) == []
    shown.page.locator(".p2v-slices input").press("Space")


def test_a_narrow_window_has_the_controls_above_the_scene(shown):
    def box(name: str) -> dict:
        return shown.page.locator(name).bounding_box()

    wide = shown.page.viewport_size
    assert box(".p2v-sample")["x"] + box(".p2v-sample")["width"] < box(".p2v-scenes")["x"]
    shown.page.set_viewport_size({"width": 1000, "height": 900})
    shown.until(lambda: box(".p2v-save")["y"] < box(".p2v-scenes")["y"], "the controls stay beside the scene")
    assert box(".p2v-scenes")["width"] > 500 and shown.page.evaluate(SCROLLING) == []
    shown.page.set_viewport_size(wide)


def test_a_drag_turns_the_scene(shown, album):
    shown.page.locator(".p2v-viewer").scroll_into_view_if_needed()
    canvas = shown.page.locator(".p2v-scenes canvas").first
    shown.until(lambda: not blank(pixels(canvas)), "the scene is blank")
    album.keep(shown, "viewer", as_document="viewer")
    before = pixels(canvas)
    drag(shown, canvas)
    shown.until(lambda: changed(before, pixels(canvas)) > 0.01, "the scene does not turn")
    turned = pixels(canvas)
    assert not blank(turned) and changed(before, turned) > 0.01
    album.keep(shown, "viewer-turned")


def saved(tab: Tab, lab: Lab, ending: str) -> Path:
    """The file that the button wrote, once the viewer says so."""
    tab.page.locator(".p2v-format select").select_option(ending)
    tab.page.get_by_role("button", name="Save what is seen").click()
    path = lab.folder / "saved" / f"person-test-0000-right{ending}"
    said = tab.page.locator(".p2v-saved")
    tab.until(lambda: f"{path.name}: written" in said.inner_text(), f"{path.name} is not told to be written")
    return path


@pytest.mark.parametrize("ending", [".obj", ".stl", ".glb", ".ply"])
def test_the_button_saves_a_mesh_that_trimesh_opens(ending, shown, lab):
    line = shown.page.locator(".p2v-line").inner_text()
    length = float(re.search(r"length (\d+)\smm", line)[1]) / (1 if ending == ".stl" else 1000)
    mesh = trimesh.load_mesh(saved(shown, lab, ending))
    assert len(mesh.faces) > 1000
    assert mesh.extents[0] == pytest.approx(length, rel=0.1), "it is as long as was told, within a voxel or two"


def test_the_button_saves_a_picture_a_grid_and_a_page_that_turns(shown, lab, tab):
    with Image.open(saved(shown, lab, ".png")) as picture:
        assert not blank(np.asarray(picture.convert("RGB")))
    assert read_binvox(saved(shown, lab, ".binvox")).volume.any()
    page = saved(shown, lab, ".html")
    tab.page.context.set_offline(True)
    tab.page.goto(page.as_uri())
    canvas = tab.page.locator(".p2v-scene canvas").first
    tab.until(lambda: not blank(pixels(canvas)), "the saved page is blank")
    before = pixels(canvas)
    drag(tab, canvas)
    tab.until(lambda: changed(before, pixels(canvas)) > 0.01, "the saved page does not turn")
    assert (tab.left(), tab.complaints()) == ([], [])


def test_nothing_was_complained_of(shown):
    assert shown.complaints() == []
