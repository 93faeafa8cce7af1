"""A browser tab that records console errors and requests, and pictures of it."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from p2vlib.files import write_bytes

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Locator, Page

FLAGS = """
--no-sandbox --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync
--use-angle=swiftshader --enable-unsafe-swiftshader
""".split()
"""Chromium as root, with WebGL but without a graphics card, and without requests of its own."""

TIMEOUT = 60
"""Seconds to wait for what takes one on an idle machine."""


@dataclass
class Tab:
    """A page, its console errors and the addresses that it requested."""

    page: Page
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._record)
        self.page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def _record(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url', '')})")

    def external_requests(self) -> list[str]:
        """The requested addresses outside the page's own files."""
        return [url for url in self.requests if not url.startswith(("file:", "data:", "blob:", "about:"))]

    def wait_until(self, condition: Callable[[], bool], message: str, seconds: float = TIMEOUT) -> None:
        """Waits for ``condition``.

        Raises:
            AssertionError: it does not hold in time; with ``message``.
        """
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{message} after {seconds} s"
            self.page.wait_for_timeout(100)


@contextlib.contextmanager
def open_tab(browser: Browser, width: int = 1280, height: int = 900) -> Iterator[Tab]:
    """A tab of the size of a laptop's screen, or of a phone if it is narrow, without cookies and cache."""
    size, is_phone = {"width": width, "height": height}, width < 500
    context = browser.new_context(viewport=size, is_mobile=is_phone, has_touch=is_phone, accept_downloads=True)
    context.set_default_timeout(1000 * TIMEOUT)
    yield Tab(context.new_page())
    context.close()


def pixels(element: Locator | Page) -> np.ndarray:
    """A screenshot of ``element``, ``[height, width, 3]`` uint8."""
    return np.asarray(Image.open(io.BytesIO(element.screenshot())).convert("RGB"))


def is_blank(picture: np.ndarray) -> bool:
    """Whether a picture has hardly more than a background colour, and so no shaded surface."""
    return len(np.unique(picture.reshape(-1, 3), axis=0)) < 50


def drag(tab: Tab, element: Locator, pixels: float = 150, steps: int = 8) -> None:
    """Drags from the centre of ``element`` to the right."""
    element.scroll_into_view_if_needed()
    box = element.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.page.mouse.move(x, y)
    tab.page.mouse.down()
    tab.page.mouse.move(x + pixels, y, steps=steps)
    tab.page.mouse.up()


def check_turning(tab: Tab, canvas: Locator) -> None:
    """Checks that a scene is drawn, and turns when dragged."""
    tab.wait_until(lambda: not is_blank(pixels(canvas)), "the scene is blank")
    before = pixels(canvas).astype(int)
    drag(tab, canvas)
    tab.wait_until(lambda: (abs(before - pixels(canvas)).max(-1) > 24).mean() > 0.01, "the scene does not turn")
    assert not is_blank(pixels(canvas))


@dataclass(frozen=True)
class Album:
    """Pictures of a run as PNG in ``folder``, and smaller ones for the documentation in ``docs``."""

    folder: Path
    docs: Path | None = None

    def save(self, tab: Tab, name: str, *, document: str = "") -> Path:
        """Saves a picture of the tab, also as ``document`` where that is given."""
        path, content = self.folder / f"{name}.png", tab.page.screenshot()
        write_bytes(path, content)
        if document and self.docs:
            buffer = io.BytesIO()
            Image.open(io.BytesIO(content)).convert("RGB").save(buffer, "webp", quality=80, method=6)
            write_bytes(self.docs / f"{document}.webp", buffer.getvalue())
        return path
