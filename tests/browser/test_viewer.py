"""The viewer in JupyterLab, by mouse and keyboard: it displays what the library computes."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from p2vlib.geometry.frames import FOOT_CUBE
from p2vlib.geometry.grids import iou, voxelise
from p2vtools.fit.photo_set import read_photo_set
from p2vtools.fit.reconstruct import reconstruct
from tests.browser.lab import Lab
from tests.browser.tabs import Tab, check_turning, drag, is_blank, open_tab

NAME = "viewer.ipynb"
SOURCE = """
from p2vlib.provenance import data_folder
from p2vtools import viewer

viewer.view(data_folder("feet", "smoke") / "phone" / "person-test-0000-right")
"""

CONTROLS = "sample network views order resolution mode threshold photo cameras floor slices format file save".split()
"""In the order of the tab key."""

SCROLL_BARS = """() => [...document.querySelectorAll('.p2v-viewer, .p2v-viewer *')].filter(part => {
  const style = getComputedStyle(part), wide = part.scrollWidth > part.clientWidth;
  return wide && /auto|scroll/.test(style.overflowX)
    || part.scrollHeight > part.clientHeight && /auto|scroll/.test(style.overflowY);
}).map(part => part.className)"""


@pytest.fixture(scope="module")
def viewer_tab(chromium, lab: Lab, right_foot: Path) -> Iterator[Tab]:
    """The viewer of a right foot."""
    lab.write(NAME, SOURCE)
    with open_tab(chromium) as tab:
        lab.open(tab, NAME)
        lab.run_all(tab, 60)
        tab.wait_until(lambda: displayed_iou(tab) is not None, "no IoU is displayed")
        yield tab
        lab.close()
        assert tab.errors == []


@pytest.fixture(scope="module")
def expected_iou(weights, right_foot: Path) -> Callable[[float], str]:
    """Threshold -> IoU of the foot as the library reconstructs it."""
    foot = reconstruct(weights, read_photo_set(right_foot), 32)
    mesh = trimesh.load_mesh(right_foot / "model.obj", process=False).apply_transform(np.linalg.inv(foot.pose))
    truth = voxelise(np.asarray(mesh.vertices), np.asarray(mesh.faces), FOOT_CUBE, 32).volume
    return lambda threshold: f"{iou(foot.probability >= threshold, truth):.3f}"


def displayed_iou(tab: Tab) -> str | None:
    match = re.search(r"IoU (\d\.\d{3})", tab.page.locator(".p2v-line").inner_text())
    return match[1] if match else None


def displayed_threshold(tab: Tab) -> float:
    """`aria-valuenow` has one decimal only."""
    return float(tab.page.locator(".p2v-threshold .widget-readout").inner_text())


@pytest.mark.parametrize(("device", "sign"), [("mouse", 1), ("keyboard", -1)])
def test_threshold(viewer_tab, expected_iou, device, sign):
    line = viewer_tab.page.locator(".p2v-line")
    before, text, score = displayed_threshold(viewer_tab), line.inner_text(), displayed_iou(viewer_tab)
    assert score == expected_iou(before)
    handle = viewer_tab.page.locator(".p2v-threshold").get_by_role("slider")
    if device == "mouse":
        drag(viewer_tab, handle, pixels=40, steps=5)
    else:
        handle.focus()
        for _ in range(15):
            viewer_tab.page.keyboard.press("ArrowLeft")
    tab = viewer_tab
    tab.wait_until(lambda: sign * (displayed_threshold(tab) - before) > 0.1, f"the threshold is still {before}")
    # The volume changes with the threshold, the rounded IoU may not.
    tab.wait_until(lambda: line.inner_text() != text, f"the line is still {text}")
    tab.wait_until(lambda: displayed_iou(tab) == expected_iou(displayed_threshold(tab)), f"IoU is still {score}")


def test_tab_key_reaches_every_control_and_shows_its_focus(viewer_tab):
    viewer_tab.page.locator(".p2v-sample select").focus()
    classes, outlines = [], []
    for _ in range(2 * len(CONTROLS)):  # the number beside a slider is reached as well
        classes.append(viewer_tab.page.evaluate("document.activeElement.closest('[class*=p2v-]')?.className ?? ''"))
        outlines.append(viewer_tab.page.evaluate("getComputedStyle(document.activeElement).outline"))
        viewer_tab.page.keyboard.press("Tab")
    reached = dict.fromkeys(name for one in classes for name in CONTROLS if f"p2v-{name}" in one.split())
    assert list(reached) == CONTROLS
    assert all("solid 2px" in outline for outline in outlines[1 : len(CONTROLS)]), outlines


def test_lists_and_check_boxes_by_keyboard(viewer_tab):
    captions = viewer_tab.page.locator(".p2v-photos figcaption")
    before = captions.all_inner_texts()
    order = viewer_tab.page.locator(".p2v-order select")
    # JupyterLab handles the arrow keys unless a list is open; letters go to the list.
    order.press("s")
    viewer_tab.wait_until(lambda: captions.all_inner_texts() != before, f"the photos are still in order {before}")
    names = sorted(caption.split(", ")[1] for caption in captions.all_inner_texts())
    assert names == ["00.jpg", "01.jpg", "02.jpg", "03.jpg"]
    order.press("Alt+ArrowDown")
    viewer_tab.page.keyboard.press("ArrowUp")
    viewer_tab.page.keyboard.press("Enter")
    viewer_tab.wait_until(lambda: captions.all_inner_texts() == before, "the photos do not return to their order")
    cuts, box = viewer_tab.page.locator(".p2v-cuts"), viewer_tab.page.locator(".p2v-slices input")
    assert not cuts.is_visible()
    box.press("Space")
    viewer_tab.wait_until(cuts.is_visible, "the slices do not appear")
    box.press("Space")
    viewer_tab.wait_until(lambda: not cuts.is_visible(), "the slices do not disappear")


def test_slice_sliders_are_above_their_pictures(viewer_tab):
    viewer_tab.page.locator(".p2v-slices input").press("Space")
    cuts = viewer_tab.page.locator(".p2v-cuts")
    viewer_tab.wait_until(cuts.is_visible, "the slices do not appear")
    picture = cuts.bounding_box()
    for column, axis in enumerate("zyx"):  # side, above, front
        handle = viewer_tab.page.locator(f".p2v-slice-{axis}").get_by_role("slider")
        handle.scroll_into_view_if_needed()
        box, before = handle.bounding_box(), cuts.get_attribute("src")
        x = box["x"] + box["width"] / 2
        assert int(3 * (x - picture["x"]) / picture["width"]) == column, f"{axis} is not above its slice"
        handle.press("ArrowRight")  # a mouse may miss the handle where the page still grows
        viewer_tab.wait_until(lambda before=before: cuts.get_attribute("src") != before, f"{axis} moves no slice")
    assert viewer_tab.page.evaluate(SCROLL_BARS) == []
    viewer_tab.page.locator(".p2v-slices input").press("Space")


def test_controls_are_above_the_scene_in_a_narrow_window(viewer_tab):
    def box(name: str) -> dict:
        return viewer_tab.page.locator(name).bounding_box()

    size = viewer_tab.page.viewport_size
    assert box(".p2v-sample")["x"] + box(".p2v-sample")["width"] < box(".p2v-scenes")["x"]
    viewer_tab.page.set_viewport_size({"width": 1000, "height": 900})
    viewer_tab.wait_until(lambda: box(".p2v-save")["y"] < box(".p2v-scenes")["y"], "the controls stay on the left")
    assert box(".p2v-scenes")["width"] > 500 and viewer_tab.page.evaluate(SCROLL_BARS) == []
    viewer_tab.page.set_viewport_size(size)


def test_scene_turns(viewer_tab):
    viewer_tab.page.locator(".p2v-viewer").scroll_into_view_if_needed()
    check_turning(viewer_tab, viewer_tab.page.locator(".p2v-scenes canvas").first)


def save(tab: Tab, lab: Lab, extension: str) -> Path:
    """Presses the button; the file that it wrote."""
    tab.page.locator(".p2v-format select").select_option(extension)
    tab.page.get_by_role("button", name="Save the view").click()
    path, message = lab.folder / "saved" / f"person-test-0000-right{extension}", tab.page.locator(".p2v-saved")
    tab.wait_until(lambda: f"{path.name}: written" in message.inner_text(), f"{path.name} is not reported")
    return path


def test_saved_picture_and_page(viewer_tab, lab, tab):
    """The other formats are tested without a browser."""
    with Image.open(save(viewer_tab, lab, ".png")) as picture:
        assert not is_blank(np.asarray(picture.convert("RGB")))
    page = save(viewer_tab, lab, ".html")
    tab.page.context.set_offline(True)
    tab.page.goto(page.as_uri())
    check_turning(tab, tab.page.locator(".p2v-scene canvas").first)
    assert (tab.external_requests(), tab.errors) == ([], [])
