"""A tab of the browser that is watched, and the pictures that are kept of it."""

from __future__ import annotations

import contextlib
import io
import re
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
"""How Chromium draws WebGL on a machine without a graphics card, as root, and calls nobody."""

PATIENCE = 60
"""Seconds to wait for what a free machine does in one: others may be busy on this one."""

HARMLESS: dict[str, str] = {}
"""Pattern -> why an error of the console that matches it is none of ours."""


@dataclass
class Tab:
    """A page with what its console said and which addresses it asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._listen)
        self.page.on("pageerror", lambda error: self.said.append(f"uncaught: {error}"))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def _listen(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.said.append(f"{message.text} ({message.location.get('url', '')})")

    def complaints(self) -> list[str]:
        """What the console said that is an error, less what is `HARMLESS`."""
        return [line for line in self.said if not any(re.search(pattern, line) for pattern in HARMLESS)]

    def left(self) -> list[str]:
        """The addresses outside the page's own files that were asked for."""
        return [url for url in self.asked if not url.startswith(("file:", "data:", "blob:", "about:"))]

    def until(self, holds: Callable[[], bool], otherwise: str, seconds: float = PATIENCE) -> None:
        """Waits until ``holds``, while the page goes on.

        Raises:
            AssertionError: it does not in that time; says what is then so.
        """
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"{otherwise} after {seconds} s"
            self.page.wait_for_timeout(100)


@contextlib.contextmanager
def open_tab(browser: Browser) -> Iterator[Tab]:
    """A tab of a laptop's size, with no cookies and no cache."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.set_default_timeout(1000 * PATIENCE)
    yield Tab(context.new_page())
    context.close()


def pixels(seen: Locator | Page) -> np.ndarray:
    """What ``seen`` shows, ``[height, width, 3]`` uint8."""
    return np.asarray(Image.open(io.BytesIO(seen.screenshot())).convert("RGB"))


def changed(before: np.ndarray, after: np.ndarray) -> float:
    """The share of pixels that look otherwise."""
    return float((np.abs(before.astype(int) - after).max(axis=-1) > 24).mean())


def blank(seen: np.ndarray) -> bool:
    """Whether a picture has hardly more than a ground colour: no shaded surface."""
    return len(np.unique(seen.reshape(-1, 3), axis=0)) < 50


def drag(tab: Tab, seen: Locator) -> None:
    """From the middle of what is seen 150 pixels to the right, with the left button down."""
    seen.scroll_into_view_if_needed()
    box = seen.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.page.mouse.move(x, y)
    tab.page.mouse.down()
    tab.page.mouse.move(x + 150, y, steps=8)
    tab.page.mouse.up()


@dataclass(frozen=True)
class Album:
    """Pictures of a run as PNG in ``folder``, and those for readers, made small, in ``docs``."""

    folder: Path
    docs: Path | None = None

    def keep(self, tab: Tab, name: str, *, as_document: str = "") -> Path:
        """A picture of what the tab shows now; for readers as well, where it has a name among the documents."""
        target = self.folder / f"{name}.png"
        content = tab.page.screenshot()
        write_bytes(target, content)
        if as_document and self.docs:
            with Image.open(io.BytesIO(content)) as whole:
                small = io.BytesIO()
                whole.convert("RGB").save(small, "webp", quality=80, method=6)
            write_bytes(self.docs / f"{as_document}.webp", small.getvalue())
        return target
