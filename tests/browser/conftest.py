"""One Chromium and one JupyterLab for all tests of this folder; a picture of every failure."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from p2vlib.provenance import home
from tests.browser.lab import Lab, start_lab
from tests.browser.tabs import FLAGS, Album, Tab, open_tab

if TYPE_CHECKING:
    from playwright.sync_api import Browser

CHROMIUM = shutil.which("chromium")

PICTURES = Path(".runs") / "browser"
"""Folder of the pictures of a run, in the checkout."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--docs", action="store_true", help="also write the pictures of the README into docs/")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not CHROMIUM or not find_spec("playwright"):
        reason = "Chromium or playwright is not installed; on Debian `make test-browser` as root installs both"
        for item in items:
            if Path(__file__).parent in item.path.parents:
                item.add_marker(pytest.mark.skip(reason=reason))


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
    """A new tab."""
    with open_tab(chromium) as opened:
        yield opened


@pytest.fixture(scope="session")
def album(request: pytest.FixtureRequest) -> Album:
    """Saves pictures of tabs."""
    return Album(home() / PICTURES, home() / "docs" if request.config.getoption("--docs") else None)


@pytest.fixture(scope="session")
def lab(chromium: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab on a copy of the notebooks, with default settings."""
    with start_lab(tmp_path_factory.mktemp("lab"), home() / "notebooks") as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    """Adds a picture of the tab and its console errors to the report of a failed test."""
    report = yield
    tabs = [value for value in getattr(item, "funcargs", {}).values() if isinstance(value, Tab)]
    if report.failed and call.when == "call" and tabs:
        picture = Album(home() / PICTURES).save(tabs[0], f"failed-{item.name}")
        report.sections.append(("browser", f"{picture}\n" + "\n".join(tabs[0].errors)))
    return report
