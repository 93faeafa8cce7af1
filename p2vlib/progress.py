"""Progress reporting with tqdm: moving bars in terminals and JupyterLab, log lines elsewhere.

Files, pipes and notebooks that run in batch (``P2VLIB_BATCH=1``) keep everything that is written to them, so they get a
line every few seconds, and a saved notebook contains no widget.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Any

from tqdm.std import tqdm

DELAY, INTERVAL = 5.0, 15.0
"""Seconds before the first log line, and between two of them."""


def bar(iterable: Iterable[Any] | None = None, title: str = "", total: int | None = None, **options: Any) -> tqdm:
    """A tqdm bar over ``iterable``, or one to be advanced with ``update``.

    Args:
        options: of tqdm: ``unit`` (singular), ``unit_scale`` for bytes, ``initial``.
    """
    if _in_live_notebook():
        from tqdm.notebook import tqdm as notebook_bar

        return notebook_bar(iterable, title, total, leave=False, **options)
    if is_interactive():
        return tqdm(iterable, title, total, leave=False, dynamic_ncols=True, **options)
    lines = {"file": _LogLines(), "delay": DELAY, "mininterval": INTERVAL, "maxinterval": INTERVAL, "ascii": True}
    return tqdm(iterable, title, total, **lines, **options)


def is_interactive() -> bool:
    """Whether `bar` shows a moving bar."""
    return _in_live_notebook() or sys.stderr.isatty()


def log(line: str) -> None:
    """Prints a line, above any bars; control characters, as of a file's name, are shown as ``?``."""
    tqdm.write("".join(char if char.isprintable() or char == "\n" else "?" for char in line), file=sys.stdout)
    sys.stdout.flush()


def clock(seconds: float) -> str:
    """A duration as ``4:07`` or ``1:04:07``."""
    return tqdm.format_interval(max(0, round(seconds))).lstrip("0").rjust(4, "0")


def _in_live_notebook() -> bool:
    if os.environ.get("P2VLIB_BATCH") == "1" or "ipykernel" not in sys.modules:
        return False
    from IPython import get_ipython

    return "IPKernelApp" in getattr(get_ipython(), "config", {})


class _LogLines:
    """The states of a bar as lines on stderr."""

    def write(self, text: str) -> None:
        if state := text.strip():
            print(state, file=sys.stderr, flush=True)

    def flush(self) -> None:
        pass
