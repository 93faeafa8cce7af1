"""How large a report may be that somebody carries along and opens anywhere."""

from __future__ import annotations

from pathlib import Path

PAGE = 8
"""Megabytes (10^6 bytes) that a page may have."""

FOLDER = 60
"""Megabytes that all may have together."""


def check_sizes(folder: Path) -> None:
    """Looks at every file of a report.

    Raises:
        ValueError: a page has more than `PAGE` megabytes, or all files together have more than `FOLDER`.
    """
    sizes = {path: path.stat().st_size / 1e6 for path in folder.rglob("*") if path.is_file()}
    for path, size in sizes.items():
        if path.suffix == ".html" and size > PAGE:
            raise ValueError(f"{path}: has {size:.1f} MB, and a page may have {PAGE}; show fewer pictures or volumes")
    if sum(sizes.values()) > FOLDER:
        largest = max(sizes, key=sizes.__getitem__)
        raise ValueError(
            f"{folder}: has {sum(sizes.values()):.0f} MB, and may have {FOLDER}; the largest is "
            f"{largest.relative_to(folder)} with {sizes[largest]:.1f}"
        )
