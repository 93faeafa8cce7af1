"""What is wrong in a data set of feet: every capture looked at by itself (`checks`), then all of them side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from p2vlib import progress
from p2vlib.data.shapenet import RENDERINGS, SPLITS, VOXELS, read_taxonomy
from p2vlib.geometry.frames import FOOT_SYNSET
from p2vtools.capture.capture_checks import check_capture
from p2vtools.capture.duplicates import duplicate_photos, duplicate_solids
from p2vtools.capture.submission import TAXONOMY_FILE
from p2vtools.fit.pretrained import PretrainedModel


@dataclass(frozen=True, eq=False)
class ValidationReport:
    """What is wrong in a data set."""

    table: pd.DataFrame
    """A row for each capture: capture, subject, side, photos, cameras, model, licence, consent, verdict."""
    problems: list[str]
    """A sentence for each; nothing where all is well."""


def validate_dataset(tree: Path, weights: PretrainedModel) -> ValidationReport:
    """Looks at every capture in ``tree``, a tree as `filing` makes it or a folder of capture folders.

    Args:
        weights: tell left from right: a solid by the typical foot, else photos by the network, some seconds a capture.

    Raises:
        ValueError: there is no capture.
    """
    folders = list_captures(tree)
    checked = [check_capture(folder, tree, weights) for folder in progress.bar(folders, "captures", unit="capture")]
    repeats = duplicate_photos([photo for one in checked for photo in one.photos])
    repeats += duplicate_solids([one.solid for one in checked if one.solid])
    by_name = {one.name: one for one in checked}
    for name in (name for repeat in repeats for name in set(repeat.captures)):
        by_name[name].duplicates += 1
    problems = [problem for one in checked for problem in one.problems]
    problems += [repeat.message for repeat in repeats] + _tree(tree, folders)
    return ValidationReport(pd.DataFrame([one.row for one in checked]), problems)


def list_captures(tree: Path) -> list[Path]:
    """The capture folders in a tree of feet, or in a folder of them, or the one that it is.

    Raises:
        ValueError: there is none.
    """
    inside = tree / RENDERINGS / FOOT_SYNSET
    inside = inside if inside.is_dir() else tree
    if not inside.is_dir():
        raise ValueError(f"{tree}: no such folder; expected a data set of feet, or a folder of capture folders")
    if (inside / "rendering").is_dir():
        return [inside]
    folders = sorted(path for path in inside.iterdir() if path.is_dir() and _is_ours(path.name))
    if not folders:
        raise ValueError(f"{tree}: holds no capture; expected {RENDERINGS}/{FOOT_SYNSET}, or capture folders")
    return folders


def _is_ours(name: str) -> bool:
    """Whether a folder is a capture, or what is left of one."""
    return not name.startswith(".") or ".partial." in name


def _tree(tree: Path, folders: list[Path]) -> list[str]:
    """What is wrong with the tree itself: captures that its taxonomy lacks or has twice, grids without photos."""
    if not (tree / RENDERINGS / FOOT_SYNSET).is_dir():
        return []
    names = {folder.name for folder in folders if not folder.name.startswith(".")}
    try:
        feet = [category for category in read_taxonomy(tree / TAXONOMY_FILE) if category.synset == FOOT_SYNSET]
    except (ValueError, OSError) as error:
        return [str(error)]
    splits = {split: set(getattr(one, split)) for one in feet for split in SPLITS}
    listed = set().union(*splits.values())
    told = [f"{tree / TAXONOMY_FILE}: lacks {name}" for name in sorted(names - listed)]
    told += [f"{tree / TAXONOMY_FILE}: lists {name}, which is not there" for name in sorted(listed - names)]
    people: dict[str, set[str]] = {}
    for split, members in splits.items():
        for name in members:
            people.setdefault(name.rpartition("-")[0], set()).add(split)
    told += [
        f"{tree / TAXONOMY_FILE}: {person} is in {' and '.join(sorted(where))}; one person belongs in one split"
        for person, where in sorted(people.items())
        if len(where) > 1
    ]
    grids = tree / VOXELS / FOOT_SYNSET
    lonely = sorted({path.name for path in grids.iterdir()} - names) if grids.is_dir() else []
    return told + [f"{grids / name}: a grid without its capture" for name in lonely]
