"""Records of reconstructed feet: how a foot was made, its measurements with their intervals, and its verdict.

The record of ``foot.obj`` is ``foot.json`` in the same folder. It holds the SHA-256 of the file it describes, so a mesh
that was changed later is recognised.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from p2vlib.files import FileError, read_json, reading, write_text
from p2vlib.geometry.frames import SIDES
from p2vtools.fit.photo_set import SCALES
from p2vtools.fit.verdict import JudgedFoot

FORMAT = "p2v reconstruction"
"""Value of the key ``format`` of every record."""


@dataclass(frozen=True)
class Record:
    """The content of a record that `measure` needs."""

    side: str
    """left or right."""
    half_widths: dict[str, float]
    """Measurement -> half of its interval, mm, or share of the length if ``scale`` is unknown."""
    verdict: str
    """good, doubtful or not usable."""
    reasons: list[str]
    scale: str
    """Where the scale comes from, a key of `photo_set.SCALES`."""


def check_record_path(path: Path) -> None:
    """Checks, before a reconstruction starts, that the record of ``path`` will not overwrite another JSON file.

    Raises:
        ValueError: there is a file at the path of the record that is not a record.
    """
    beside = _record_path(path)
    if beside.is_file() and _read_content(path) is None:
        raise ValueError(f"{beside}: exists, is not a record of p2v and would be overwritten; pass another --out")


def write_record(judged: JudgedFoot, path: Path, cameras: str, weights: str) -> Record:
    """Writes the record of the foot that was written to ``path``, and returns it.

    Args:
        cameras: ``exact`` or ``noted``.
        weights: commit of the weights, from their card.
    """
    photo_set, measured = judged.photo_set, judged.measured
    content: dict[str, Any] = {
        "format": FORMAT,
        "file": path.name,
        "sha256": _digest(path),
        "side": photo_set.side,
        "verdict": judged.verdict.level,
        "reasons": judged.verdict.reasons,
        "photos": len(photo_set.photos),
        "left out": list(judged.left_out),
        "cameras": cameras,
        "weights": weights,
        "scale": photo_set.scale,
    }
    if measured:
        unit, digits = (1.0, 2) if photo_set.has_scale else (measured.measures.length, 4)
        values = {name: getattr(measured.measures, name) for name in measured.half_widths}
        for title, numbers in (("measures", values), ("half widths", measured.half_widths)):
            key = f"{title}, {_unit(photo_set.scale)}"
            content[key] = {name: round(value / unit, digits) for name, value in numbers.items()}
    write_text(_record_path(path), json.dumps(content, indent=1) + "\n")
    return _to_record(path, content)


def read_record(path: Path) -> Record | None:
    """The record of the foot in the file ``path``; None: there is none, or the file has changed since."""
    content = _read_content(path)
    return None if content is None or content.get("sha256") != _digest(path) else _to_record(path, content)


def was_without_scale(path: Path) -> bool:
    """Whether the scale of the foot in the file ``path`` was unknown, also if the file has changed since."""
    content = _read_content(path)
    return content is not None and _to_record(path, content).scale == "unknown"


def _to_record(path: Path, content: dict[str, Any]) -> Record:
    with reading(_record_path(path), "expected a record as `p2v reconstruct` writes it: delete it"):
        scale = content.get("scale", "unknown")
        half_widths = content.get(f"half widths, {_unit(scale)}", {})
        half_widths = {name: float(value) for name, value in half_widths.items()}
        if content["side"] not in SIDES or scale not in SCALES:
            raise ValueError(f"side {content['side']!r}, scale {scale!r}")
        return Record(content["side"], half_widths, content["verdict"], [*map(str, content["reasons"])], scale)


def _unit(scale: str) -> str:
    return "share of the length" if scale == "unknown" else "mm"


def _record_path(path: Path) -> Path:
    return path.with_suffix(".json")


def _read_content(path: Path) -> dict[str, Any] | None:
    """The content of the record of the foot in the file ``path``; None: there is none."""
    try:
        content = read_json(_record_path(path), "expected a record")
    except (OSError, FileError):
        return None
    return content if content.get("format") == FORMAT else None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
