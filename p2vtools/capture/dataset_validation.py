"""Validation of a data set of feet: every capture by itself (`capture_checks`), then all captures together."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from p2vlib import progress
from p2vlib.files import FileError
from p2vlib.geometry.frames import FOOT_SYNSET
from p2vtools.archives.shapenet import RENDERINGS, SPLITS, VOXELS, read_taxonomy
from p2vtools.capture.capture_checks import check_capture
from p2vtools.capture.duplicates import duplicate_photos, duplicate_solids
from p2vtools.capture.submission import TAXONOMY_FILE
from p2vtools.fit.pretrained import PretrainedModel


@dataclass(frozen=True, eq=False)
class ValidationReport:
    """Captures and problems of a data set."""

    table: pd.DataFrame
    """One row per capture: capture, subject, side, photos, cameras, model, licence, consent, verdict."""
    problems: list[str]
    """One sentence per problem."""


def validate_dataset(tree: Path, weights: PretrainedModel) -> ValidationReport:
    """Checks every capture in ``tree``: a data set as `submit_capture` makes it, or a folder of capture folders.

    Args:
        weights: used to tell left from right: from a solid with the typical foot, else from the photos with the
            network, which takes some seconds per capture.

    Raises:
        ValueError: no captures.
    """
    folders = list_captures(tree)
    reports = [check_capture(folder, tree, weights) for folder in progress.bar(folders, "captures", unit="capture")]
    duplicates = duplicate_photos([photo for report in reports for photo in report.photos])
    duplicates += duplicate_solids([report.solid for report in reports if report.solid])
    by_name = {report.name: report for report in reports}
    for name in (name for duplicate in duplicates for name in set(duplicate.captures)):
        by_name[name].duplicates += 1
    problems = [problem for report in reports for problem in report.problems]
    problems += [duplicate.message for duplicate in duplicates] + _check_tree(tree, folders)
    return ValidationReport(pd.DataFrame([report.row for report in reports]), problems)


def list_captures(tree: Path) -> list[Path]:
    """The capture folders in a data set or in a folder of them, with unfinished ones; or ``tree`` itself if it is one.

    Raises:
        ValueError: no captures.
    """
    inside = tree / RENDERINGS / FOOT_SYNSET
    inside = inside if inside.is_dir() else tree
    if not inside.is_dir():
        raise FileError(tree, "no such folder", "expected a data set of feet, or a folder of capture folders")
    if (inside / "rendering").is_dir():
        return [inside]
    folders = sorted(path for path in inside.iterdir() if path.is_dir())
    folders = [path for path in folders if not path.name.startswith(".") or ".partial." in path.name]
    if not folders:
        raise FileError(tree, "no captures", f"expected {RENDERINGS}/{FOOT_SYNSET}, or capture folders")
    return folders


def _check_tree(tree: Path, folders: list[Path]) -> list[str]:
    """Captures that the taxonomy lacks or has in two splits, entries and grids without a capture."""
    if not (tree / RENDERINGS / FOOT_SYNSET).is_dir():
        return []
    names, path = {folder.name for folder in folders if not folder.name.startswith(".")}, tree / TAXONOMY_FILE
    try:
        feet = [category for category in read_taxonomy(path) if category.synset == FOOT_SYNSET]
    except (ValueError, OSError) as error:
        return [str(error)]
    entries = [(name, split) for category in feet for split in SPLITS for name in getattr(category, split)]
    listed, people = {name for name, _ in entries}, defaultdict(set)
    problems = [f"{path}: lacks {name}" for name in sorted(names - listed)]
    problems += [f"{path}: lists {name}, which does not exist" for name in sorted(listed - names)]
    for name, split in entries:
        people[name.rpartition("-")[0]].add(split)
    problems += [
        f"{path}: {person} is in {' and '.join(sorted(found))}; one person belongs in one split"
        for person, found in sorted(people.items())
        if len(found) > 1
    ]
    grids = tree / VOXELS / FOOT_SYNSET
    unmatched = sorted({folder.name for folder in grids.iterdir()} - names) if grids.is_dir() else []
    return problems + [f"{grids / name}: a grid without its capture" for name in unmatched]
