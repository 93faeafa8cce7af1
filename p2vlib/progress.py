"""How far long work is: a bar that moves in a terminal and in JupyterLab, plain lines where nothing can move.

A file, a pipe and the page of a batch run keep all that they are sent, so they get a line every few seconds instead,
and a notebook that is saved keeps no widget that nobody serves: a live bar goes when its work is done.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from typing import Any

from tqdm.std import tqdm

OFTEN, SELDOM = 5.0, 30.0
"""Seconds between two plain lines, at first and of work that has lasted long."""


def bar(work: Iterable[Any] | None = None, title: str = "", total: int | None = None, **facts: Any) -> tqdm | Lines:
    """``work`` as it is, shown while it is walked through; without it ``update`` says how much is done.

    Args:
        facts: as `tqdm` takes them: ``unit`` of one thing in the singular, ``unit_scale`` for bytes, ``initial``.
    """
    if _in_live_notebook():
        from tqdm.notebook import tqdm as widget

        return widget(work, title, total, leave=False, **facts)
    if is_interactive():
        return tqdm(work, title, total, dynamic_ncols=True, leave=False, **facts)
    return Lines(work, title, total, **facts)


def is_interactive() -> bool:
    """Whether `bar` is one that moves, and lines of one's own would only repeat what it shows."""
    return _in_live_notebook() or sys.stderr.isatty()


def log(line: str) -> None:
    """Prints a line, above the bars where there are any."""
    tqdm.write(line, file=sys.stdout)
    sys.stdout.flush()


class Board:
    """A line for each of several works: redrawn in a terminal, printed anew every few seconds where nothing moves."""

    def __init__(self) -> None:
        self.moves = sys.stdout.isatty()
        self.shown: list[str] = []
        self.began = self.due = time.monotonic()

    def show(self, lines: Sequence[str], last: bool = False) -> None:
        """Shows ``lines``, as many each time; where nothing moves, those that changed and only when it is time."""
        now = time.monotonic()
        if self.moves:
            width = shutil.get_terminal_size().columns - 1
            up = f"\x1b[{len(self.shown)}F" if self.shown else ""
            print(up + "".join(f"\x1b[2K{line[:width]}\n" for line in lines), end="", flush=True)
        elif last or now >= self.due:
            self.due = now + min(SELDOM, max(OFTEN, (now - self.began) / 10))
            before = self.shown or [""] * len(lines)
            for old, line in zip(before, lines, strict=True):
                if old != line:
                    print(line, flush=True)
        else:
            return
        self.shown = list(lines)


def clock(seconds: float) -> str:
    """``4:07``, or ``1:04:07``: a time as on a watch."""
    return tqdm.format_interval(max(0, round(seconds))).lstrip("0").rjust(4, "0")


def _in_live_notebook() -> bool:
    """Whether somebody sees the output of this cell while it is made."""
    if os.environ.get("P2VLIB_BATCH") == "1" or "ipykernel" not in sys.modules:
        return False
    from IPython import get_ipython

    return "IPKernelApp" in getattr(get_ipython(), "config", {})


class Lines:
    """What `tqdm` offers, as plain lines on stderr; none for work that is done before the first is due."""

    def __init__(
        self,
        work: Iterable[Any] | None,
        title: str,
        total: int | None = None,
        unit: str = "it",
        unit_scale: bool = False,
        initial: int = 0,
    ) -> None:
        self.work, self.title, self.unit, self.initial = work, title, unit, initial
        self.total = len(work) if total is None and isinstance(work, Sized) else total
        self.amount = tqdm.format_sizeof if unit_scale else "{:,}".format
        self.scale = unit_scale
        self.done, self.told, self.began = initial, initial, time.monotonic()
        self.due = self.began + OFTEN

    def __iter__(self) -> Iterator[Any]:
        with self:
            for thing in self.work:
                yield thing
                self.update()

    def __enter__(self) -> Lines:
        return self

    def __exit__(self, *_: object) -> None:
        if self.told > self.initial and self.done > self.told:
            self._tell()

    def update(self, number: int = 1) -> None:
        """So many more are done."""
        self.done += number
        now = time.monotonic()
        if now >= self.due:
            self._tell()
            self.due = now + min(SELDOM, max(OFTEN, (now - self.began) / 10))

    def _tell(self) -> None:
        rate = (self.done - self.initial) / (time.monotonic() - self.began)
        told = self.amount(self.done)
        if self.total:
            told += f" of {self.amount(self.total)}, {clock((self.total - self.done) / rate)} left"
        if self.scale:
            told += f", {self.amount(rate)}{self.unit}/s"
        else:
            told += f", {rate:.1f} {self.unit}/s" if rate >= 1 else f", {1 / rate:.1f} s/{self.unit}"
        print(f"{self.title}: {told}", file=sys.stderr, flush=True)
        self.told = self.done
