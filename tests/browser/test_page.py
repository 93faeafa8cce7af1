"""The page of `p2v app`, from the file chooser to the saved foot, on a phone and on a laptop."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import trimesh

from p2vlib.provenance import home
from p2vtools.study.benchmark.walks import Walk, render_walk
from p2vtools.synthesis.feet.landmarks import true_measures
from tests.browser.tabs import Tab, check_turning, open_tab

SECONDS = 300
"""Time limit of what takes seconds on an idle machine."""


@pytest.fixture(scope="module")
def walk() -> Walk:
    """Photos of a left foot on a mat."""
    return render_walk(0, 8)


@pytest.fixture(scope="module")
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The temporary folder of the server."""
    return tmp_path_factory.mktemp("temporary")


@pytest.fixture(scope="module")
def address(temporary: Path) -> Iterator[str]:
    """The address of the page; in the end Ctrl-C ends the server, which leaves nothing behind."""
    command = [sys.executable, "-m", "p2vtools", "app", "--no-browser"]
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, env=environment, cwd=home(), stdout=subprocess.PIPE, text=True) as server:
        yield re.search(r"http://127\.0\.0\.1:\d+/\?token=\S+", server.stdout.readline())[0]
        server.send_signal(signal.SIGINT)
        assert server.wait(60) == 0
    assert list(temporary.iterdir()) == []


def choose(tab: Tab, *files: Path) -> None:
    with tab.page.expect_file_chooser() as chooser:
        tab.page.get_by_role("button", name="Choose photos").click()
    chooser.value.set_files(files)


def visits(temporary: Path) -> list[Path]:
    return list(temporary.glob("p2v-app-*/visit-*"))


@pytest.mark.parametrize(("device", "width", "height"), [("phone", 390, 844), ("laptop", 1280, 800)])
def test_from_the_file_chooser_to_the_saved_foot(
    device, width, height, chromium, address, walk, temporary, album, tmp_path
):
    photos = sorted(walk.write(tmp_path / "photos").iterdir())
    (tmp_path / "notes.txt").write_text("no photo", encoding="utf-8")
    with open_tab(chromium, width, height) as tab:
        tab.page.context.set_default_timeout(1000 * SECONDS)
        tab.page.goto(address)
        good, alerts = tab.page.locator("figcaption.p2v-good"), tab.page.get_by_role("alert")
        choose(tab, *photos[:5], tmp_path / "notes.txt")
        tab.wait_until(lambda: alerts.count() == 1, "the wrong file is not refused", SECONDS)
        assert alerts.inner_text() == "notes.txt: not a readable image; expected PNG, JPEG, WebP or HEIC"
        assert good.all_inner_texts() == [f"✓ {number}" for number in range(1, 6)]
        assert tab.page.get_by_text("without a photo").count() > 0
        choose(tab, *photos[5:])
        tab.wait_until(lambda: good.count() == 8, "not all photos arrive", SECONDS)
        album.save(tab, f"page-{device}-photos")
        tab.page.get_by_role("button", name="Reconstruct the foot").click()
        tab.page.locator(".p2v-verdict h3").wait_for()
        canvas = tab.page.locator(".p2v-page canvas").first
        check_turning(tab, canvas)
        tab.page.locator(".p2v-verdict").scroll_into_view_if_needed()
        album.save(tab, f"page-{device}-result", document="page" if device == "phone" else "")
        with tab.page.expect_download() as download:
            tab.page.get_by_role("button", name="Save the foot as OBJ").click()
        download.value.save_as(tmp_path / "foot.obj")
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
        length = 1000 * trimesh.load_mesh(tmp_path / "foot.obj").extents[0]
        assert length == pytest.approx(true_measures(walk.foot)["length"], abs=12)
        site = address.partition("?")[0]
        assert [url for url in tab.external_requests() if not url.startswith(site)] == []
        assert tab.errors == []
        assert len(visits(temporary)) == 1
        tab.page.close(run_before_unload=True)
    with open_tab(chromium) as tab:
        tab.wait_until(lambda: not visits(temporary), "the photos remain after the page was closed")


def test_nobody_enters_without_the_token(address):
    answer = requests.get(address.partition("?")[0], timeout=60)
    assert answer.status_code == 403 and answer.text.startswith("This address has no valid token: open the one")
