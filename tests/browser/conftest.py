"""One Chromium and one JupyterLab for all tests of this folder; a picture of every failure."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from p2vlib.provenance import home
from tests.browser.lab import Lab, lab_in
from tests.browser.tabs import FLAGS, Album, Tab, open_tab

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = shutil.which("chromium")

PICTURES = Path(".runs") / "browser"
"""Where the pictures of a run are kept, below the checkout."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--docs", action="store_true", help="also write the pictures that the README shows into docs/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not CHROMIUM or not find_spec("playwright"):
        why = "there is no Chromium or no playwright here; on Debian `make test-browser` as root installs both"
        for item in items:
            item.add_marker(pytest.mark.skip(reason=why))


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium, which draws WebGL without a graphics card."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Browser) -> Iterator[Tab]:
    """A tab of its own."""
    with open_tab(chromium) as opened:
        yield opened


@pytest.fixture(scope="session")
def album(request: pytest.FixtureRequest) -> Album:
    """Keeps pictures of what was seen."""
    return Album(home() / PICTURES, home() / "docs" if request.config.getoption("--docs") else None)


@pytest.fixture(scope="session")
def lab(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab on a copy of the notebooks, with nobody's settings."""
    with lab_in(tmp_path_factory.mktemp("lab"), home() / "notebooks") as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    """A test that fails shows what its tab showed."""
    report = yield
    tabs = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Tab)]
    if report.failed and call.when == "call" and tabs:
        seen = tabs[0]
        shot = Album(home() / PICTURES).keep(seen, f"failed-{item.name}")
        report.sections.append(("what the browser showed", f"{shot}\n" + "\n".join(seen.complaints())))
    return report
