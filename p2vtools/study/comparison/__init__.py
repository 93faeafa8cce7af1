"""Runs side by side: what got better or worse from the first to each of the others, and what they differ in.

IoU is compared test by test: the same network on the same photos of the same people or objects, at the threshold that
each run chose on validation. Intervals are over people, as everywhere. Where the data themselves differ, nothing is
compared, and that is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from p2vlib.files import write_text
from p2vtools.study.comparison.changes import incomparable_reasons, iou_changes
from p2vtools.study.comparison.page import side_by_side
from p2vtools.study.comparison.results import read_runs, settings
from p2vtools.study.comparison.text import aligned, text
from p2vtools.study.notebook_run import SMOKE_NOTE

__all__ = ["iou_changes", "compare", "read_runs", "settings", "incomparable_reasons"]


def compare(folders: Sequence[Path], out: Path | None = None) -> str:
    """Compares the first of ``folders`` (``reports/quick``, or one of a grid) with each other; returns it as text.

    Args:
        out: where to write it as one HTML page that needs nothing else.

    Raises:
        ValueError: fewer than two runs, a folder that holds none, or nothing in them that can be compared.
    """
    if len(folders) < 2:
        raise ValueError(f"{len(folders)} run to compare; name two or more folders like reports/quick")
    first, *others = read_runs(folders)
    differing = settings([first, *others])
    found = {other.name: iou_changes(first, other) for other in others}
    reasons = {other.name: incomparable_reasons(first, other) for other in others}
    if all(rows.empty for rows in found.values()):
        why = "; ".join(dict.fromkeys(reason for several in reasons.values() for reason in several))
        raise ValueError(f"{why or 'no test is in both'}; nothing is left to compare with {first.name}")
    if out:
        write_text(out, side_by_side(first, others, differing, found, reasons))
    parts = [text(first.name, name, rows, reasons[name]) for name, rows in found.items()]
    warning = [SMOKE_NOTE] if any(run.is_smoke for run in (first, *others)) else []
    return "\n\n".join([*warning, f"what differs\n{aligned(differing)}", *parts])
