"""Comparison of two recordings made by `compare_checkouts.py`.

A recording is a folder of <part>.json and <part>.npz files, which map item names to values and arrays.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

TOLERATED = {
    "^study/metrics/06.*/psgn": "PSGN training draws from torch's global generator, which the notebook does not seed",
}
"""Pattern of items that differ between two recordings of one checkout -> reason."""
ON_OBJECTS = re.compile(
    r"^objects/|^study/metrics/(\w+/objects/|0[345]\w*/feet/[\w-]+/pix2vox)"
    r"|^study/tables/(03\w*-(?!data)|04\w*-(?!people)|05\w*-(?!sizes)|06_systems-systems)"
)
"""Items that depend on the CAD objects: the networks of notebooks 03 to 05 are trained on them first."""
ABSOLUTE, RELATIVE = 1e-5, 1e-4
"""Tolerances of "equal within float32 tolerance"."""


def read(out: Path) -> dict[str, Any]:
    """All items of a recording."""
    items: dict[str, Any] = {}
    for path in sorted(out.glob("*.json")):
        items |= json.loads(path.read_text())
        items |= dict(np.load(path.with_suffix(".npz")))
    return items


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Name and value of everything in nested dictionaries and lists; lists of numbers are one array."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{name}/{key}")
    elif isinstance(value, list) and not all(isinstance(inner, int | float) for inner in value):
        for number, inner in enumerate(value):
            yield from leaves(inner, f"{name}/{number}")
    else:
        yield name, np.asarray(value) if isinstance(value, list | int | float) else value


def verdict(a: Any, b: Any) -> tuple[str, str]:
    """How two values of an item agree, and a note on it."""
    ours, theirs = dict(leaves(a)), dict(leaves(b))
    wrong = [f"{name or 'value'} missing" for name in sorted(set(ours) ^ set(theirs))]
    exact, largest = True, 0.0
    for name in ours.keys() & theirs.keys():
        one, other = ours[name], theirs[name]
        if name.endswith(("/hash", "/text")):  # what they stand for is compared beside them
            exact = exact and (name.endswith("/text") or one == other)
        elif isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and one.shape == other.shape:
            if not np.array_equal(one, other, equal_nan=True):
                exact = False
                one, other = one.astype(np.float64), other.astype(np.float64)
                largest = max(largest, float(np.nanmax(np.abs(one - other))))
                if not np.allclose(one, other, RELATIVE, ABSOLUTE, equal_nan=True):
                    wrong.append(f"{name or 'value'} by up to {np.nanmax(np.abs(one - other)):.3g}")
        elif type(one) is not type(other) or isinstance(one, np.ndarray) or one != other:
            wrong.append(name or "value")
    if wrong:
        return "DIFFERENT", f"{len(wrong)} of {len(ours)}: " + ", ".join(sorted(wrong)[:4])
    if exact:
        return "equal bit for bit", ""
    return "equal within float32 tolerance", f"(max abs difference {largest:.3g})"


def compare(first: Path, second: Path, ignore: Iterable[str], ignore_objects: bool, verbose: bool) -> int:
    """Print one line per item, then the counts; returns the exit status."""
    ours, theirs, counts = read(first), read(second), {}
    for item in [*ours, *(item for item in theirs if item not in ours)]:
        reason = next((why for pattern, why in TOLERATED.items() if re.search(pattern, item)), "")
        missing = [str(out) for out, items in ((first, ours), (second, theirs)) if item not in items]
        status, note = ("missing", f"in {missing[0]}") if missing else verdict(ours[item], theirs[item])
        if item.startswith(tuple(ignore)) or (ignore_objects and ON_OBJECTS.search(item)):
            status = "ignored"
        elif status == "DIFFERENT" and reason:
            status, note = "tolerated", f"{note} ({reason})"
        counts[status] = counts.get(status, 0) + 1
        print(f"{item}: {status} {note}".rstrip())
        if verbose and status == "DIFFERENT" and isinstance(ours[item], dict) and "text" in ours[item]:
            print(f"--- {first}\n{ours[item]['text']}--- {second}\n{theirs[item]['text']}")
    print("; ".join(f"{count} {status}" for status, count in sorted(counts.items())))
    return int(bool(counts.get("DIFFERENT") or counts.get("missing")))
