"""Validation of a data set of feet: every capture by itself, then all captures together."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from PIL import Image
from scipy import ndimage

from p2vlib import progress
from p2vlib.files import FileError, read_json
from p2vlib.geometry.cameras import Camera, Row, look_at
from p2vlib.geometry.frames import FOOT_CUBE, FOOT_CUT_HEIGHT, FOOT_SYNSET, SIDES, Cube
from p2vlib.geometry.grids import VoxelGrid
from p2vtools.archives.binvox import read_binvox
from p2vtools.archives.camera_files import read_cameras, read_metadata
from p2vtools.archives.capture_folder import listed_photo, read_names
from p2vtools.archives.photo_files import PHOTO_SUFFIXES, read_photo
from p2vtools.archives.shapenet import RENDERINGS, VOXELS, read_taxonomy
from p2vtools.capture.duplicates import (
    PhotoFingerprint,
    duplicate_photos,
    duplicate_solids,
    normalised_thumbnail,
    solid_digests,
)
from p2vtools.capture.sanity_checks import photo_problems, side_of_grid
from p2vtools.capture.submission import GRID_SIZE, SUBJECT_ID, TAXONOMY_FILE
from p2vtools.fit.photo_set import matches_aspect
from p2vtools.fit.pretrained import PretrainedModel

MAX_GRID = 256
"""Largest accepted grid, voxels a side."""

MIN_VISIBLE = 0.5
"""Share of the foot that must be inside a photo."""

FOOT_BOX = np.array([0.26, FOOT_CUT_HEIGHT, 0.10])
"""Extents of the foot, metres, in the middle of the cube of a capture without a solid."""

EXTENTS = {"long": (0.10, 0.32), "high": (0.04, FOOT_CUT_HEIGHT), "broad": (0.04, 0.16)}
"""Plausible size of a foot along x, y and z, metres."""

MATRICES = "in full"
"""Value of the table's ``cameras`` column for ``cameras.json``: measured or rendered. Others were noted by hand."""

HARMLESS_SEGMENTS = {"APP0", "APP14"}
"""JPEG segments that describe how colours are stored, and nothing else."""


@dataclass
class CaptureReport:
    """Content and problems of one capture."""

    name: str
    subject: str = "?"
    side: str = "?"
    photos: list[PhotoFingerprint] = field(default_factory=list)
    cameras: str = "none"
    model: str = "none"
    solid: list[str] = field(default_factory=list)
    """`solid_digests`, if there is a model."""
    licence: str = "none"
    consent: str = "none"
    problems: list[str] = field(default_factory=list)
    duplicates: int = 0
    """Number of other captures with which it shares a photo or solid."""

    @property
    def row(self) -> dict[str, object]:
        """Row of the table of `ValidationReport`."""
        count = len(self.problems) + self.duplicates
        columns = ("subject", "side", "photos", "cameras", "model", "licence", "consent")
        values = {name: getattr(self, name) for name in columns} | {"photos": len(self.photos)}
        return {"capture": self.name, **values, "verdict": f"{count} problem{'s' * (count > 1)}" if count else "good"}

    @contextmanager
    def collect_problems(self) -> Iterator[None]:
        """Turns an error into a problem, so that the next check can run."""
        try:
            yield
        except Exception as error:
            is_sentence = isinstance(error, ValueError | OSError)
            self.problems.append(str(error) if is_sentence else f"{self.name}: cannot be checked ({error!r})")


def check_capture(folder: Path, tree: Path, weights: PretrainedModel) -> CaptureReport:
    """Checks one capture by itself.

    Args:
        tree: the data set, which may hold the grid of the capture as well.
        weights: used to tell left from right.
    """
    report = CaptureReport(folder.name)
    if folder.name.startswith("."):
        report.problems.append(f"{folder}: left by an interrupted run; remove it")
        return report
    cube, grid = FOOT_CUBE, None
    with report.collect_problems():
        cube = _check_subject(folder, report)
    with report.collect_problems():
        grid = _check_grid(folder, tree, cube, report)
    with report.collect_problems():
        _check_photos(folder, report, cube, _points_of_foot(grid, cube))
    if report.side in SIDES and not report.problems:
        if grid is None and report.cameras == MATRICES:  # cameras noted by hand are too inexact for this check
            report.problems += photo_problems(folder, report.side, weights)
        elif grid is not None and side_of_grid(grid, weights) != report.side:
            other = next(side for side in SIDES if side != report.side)
            claim = f"labelled as a {report.side} foot; its solid is a {other} one"
            report.problems.append(f"{folder}: {claim}: was the side swapped?")
    return report


def _check_subject(folder: Path, report: CaptureReport) -> Cube:
    """Checks ``subject.json``; returns its cube."""
    path = folder / "subject.json"
    content = read_json(path, "expected a JSON object with subject, side, licence, consent")
    if not content:
        raise FileError(path, "no entries", "expected a JSON object with subject, side, licence, consent")
    subject, side, licence, consent = (content.get(key) for key in ("subject", "side", "licence", "consent"))
    if isinstance(subject, str) and SUBJECT_ID.fullmatch(subject):
        report.subject = subject
    else:
        report.problems.append(f"{path}: subject is {subject!r}; expected an id of letters, digits and dashes")
    if side not in SIDES:
        report.problems.append(f"{path}: side is {side!r}; expected left or right")
    else:
        report.side = side
        if not folder.name.endswith(f"-{side}"):
            report.problems.append(f"{folder}: labelled as a {side} foot; expected a folder named {subject}-{side}")
    if isinstance(licence, str):
        report.licence = licence
    else:
        report.problems.append(f"{path}: no licence; this capture may not be used")
    if isinstance(consent, dict) and consent.get("given") == "yes":
        report.consent = f"yes, {consent.get('filed', '?')}"
    elif "recipe" in content:
        report.consent = "synthetic"
    else:
        report.problems.append(f"{path}: no consent; ask the person, or remove the capture")
    if "cube" not in content:
        return FOOT_CUBE
    try:
        return Cube(tuple(map(float, content["cube"]["lower"])), float(content["cube"]["edge"]))
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(path, f"invalid cube ({error})", "expected lower and edge") from None


# ------------------------------------------------------------------------------------------------- photos and cameras


def _points_of_foot(grid: VoxelGrid | None, cube: Cube) -> Float[np.ndarray, "points 3"]:
    """The centres of the solid's voxels, metres, or points of a box of the size of a foot."""
    if grid is not None and grid.volume.any():
        return grid.cube.voxel_centres(grid.size)[grid.volume]
    lower = cube.centre - FOOT_BOX / 2
    lower[1] = cube.lower[1]
    return lower + (np.indices((10, 10, 10)).reshape(3, -1).T + 0.5) / 10 * FOOT_BOX


def _check_photos(folder: Path, report: CaptureReport, cube: Cube, foot: Float[np.ndarray, "points 3"]) -> None:
    """Checks photos, their list, their metadata and their cameras, which have to show the points of the ``foot``."""
    rendering = folder / "rendering"
    names = read_names(rendering / "renderings.txt")
    found = {path.name for path in rendering.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES}
    if unlisted := sorted(found - set(names)):
        report.problems.append(f"{rendering}: {', '.join(unlisted)} not listed in renderings.txt; list or remove")
    cameras: list[Camera] | list[Row] | None = None
    with report.collect_problems():
        cameras, report.cameras = read_metadata(rendering / "rendering_metadata.txt", len(names)), "rows"
    path = folder / "cameras.json"
    if path.is_file():
        cameras, report.cameras = read_cameras(path), MATRICES
        if len(cameras) != len(names):
            raise ValueError(f"{path}: {len(cameras)} cameras for {len(names)} photos")
    for index, name in enumerate(names):
        with report.collect_problems():
            size = _check_photo(rendering, name, report)
            if cameras is not None:
                _check_camera(rendering / name, cameras[index], size, cube, foot)


def _check_photo(rendering: Path, name: str, report: CaptureReport) -> tuple[int, int]:
    """Checks a photo and what its file contains besides the pixels; returns its upright width and height."""
    path = listed_photo(rendering, name)
    photo, content = read_photo(path)[0], path.read_bytes()
    if extra := extra_content(content):
        report.problems.append(f"{path}: contains more than pixels ({', '.join(extra)}); save it without")
    digest = hashlib.sha256(content).hexdigest()
    report.photos.append(PhotoFingerprint(report.name, report.subject, name, digest, normalised_thumbnail(photo)))
    return photo.size


def extra_content(content: bytes) -> list[str]:
    """What an image file contains besides its pixels: EXIF, comments, texts, and bytes after its end."""
    with Image.open(io.BytesIO(content)) as image:
        segments = [name for name, _ in getattr(image, "applist", []) if name not in HARMLESS_SEGMENTS]
        entries = [name for name in ("exif", "xmp", "comment", "photoshop") if name in image.info]
        entries += list(getattr(image, "text", {}))
        end = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}.get(image.format, b"")
    return sorted({*segments, *entries, *([] if content.endswith(end) else ["bytes after its end"])})


def _check_camera(
    path: Path, camera: Camera | Row, size: tuple[int, int], cube: Cube, foot: Float[np.ndarray, "points 3"]
) -> None:
    """Checks that the camera has the aspect ratio of its photo and shows the points of the ``foot``.

    Raises:
        ValueError: it does not.
    """
    width, height = size
    try:
        camera = camera if isinstance(camera, Camera) else look_at(camera, cube.centre, width, height)
        if not matches_aspect(camera, width, height):
            raise ValueError(f"{width} x {height} pixels; its camera has {camera.width} x {camera.height}")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    pixels = camera.project(foot)
    inside = ((pixels[:, :2] >= 0) & (pixels[:, :2] <= [camera.width, camera.height])).all(1) & (pixels[:, 2] > 0)
    if (share := inside.mean()) < MIN_VISIBLE:
        raise FileError(path, f"its camera shows {share:.0%} of the foot", f"expected at least {MIN_VISIBLE:.0%}")


# -------------------------------------------------------------------------------------------------------------- solids


def _check_grid(folder: Path, tree: Path, cube: Cube, report: CaptureReport) -> VoxelGrid | None:
    """Checks the grid in the capture folder and in the voxel folder of the tree, where they exist."""
    paths = [folder / "model.binvox", tree / VOXELS / FOOT_SYNSET / folder.name / "model.binvox"]
    grids = {}
    for path in filter(Path.is_file, paths):
        grids[path] = grid = read_binvox(path)
        if grid.size > MAX_GRID:
            raise FileError(path, f"a grid of {grid.size}^3", f"the limit is {MAX_GRID}^3, and {GRID_SIZE}^3 in a tree")
    if not grids:
        return None
    (path, grid), *copies = grids.items()
    report.problems += [
        f"{other}: differs from {path}" for other, copy in copies if not np.array_equal(copy.volume, grid.volume)
    ]
    if not np.allclose([*grid.cube.lower, grid.cube.edge], [*cube.lower, cube.edge], atol=1e-4):
        report.problems.append(f"{path}: its cube differs from that of subject.json")
    report.problems += [f"{path}: {problem}" for problem in solid_problems(grid)]
    report.model, report.solid = f"{grid.size}^3", solid_digests(grid.volume)
    return grid


def solid_problems(grid: VoxelGrid) -> list[str]:
    """Why a solid is not a foot on the floor with its toes along +x; empty for a plausible foot."""
    if not grid.volume.any():
        return ["empty; expected a solid foot"]
    centres = grid.cube.voxel_centres(grid.size)[grid.volume]
    lower, upper = centres.min(0) - grid.pitch / 2, centres.max(0) + grid.pitch / 2
    problems = []
    for (name, (least, most)), value in zip(EXTENTS.items(), upper - lower, strict=True):
        if not least - grid.pitch <= value <= most + grid.pitch:
            expected = f"{1000 * least:.0f} to {1000 * most:.0f}, in metres, toes to +x"
            problems.append(f"{1000 * value:.0f} mm {name}; expected {expected}")
    if abs(lower[1]) > 1.5 * grid.pitch:
        problems.append(f"its sole is {1000 * lower[1]:.0f} mm above the floor; expected y = 0")
    labels, count = ndimage.label(grid.volume)
    largest = np.bincount(labels.ravel())[1:].max() / grid.volume.sum()
    if largest < 0.98:
        problems.append(f"in {count} pieces, {largest:.0%} in the largest; expected one")
    hollow = ndimage.binary_fill_holes(grid.volume).sum() / grid.volume.sum() - 1
    if hollow > 0.01:
        problems.append(f"hollow, by {hollow:.0%} of its volume; expected a solid: fill it")
    top = centres[centres[:, 1] > lower[1] + 0.7 * (upper - lower)[1]]
    if top[:, 0].mean() > (lower[0] + upper[0]) / 2:
        problems.append("its leg stands over the toes; expected toes to +x")
    return problems


# ------------------------------------------------------------------------------------------------------- whole data set


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
    duplicates += duplicate_solids({report.name: report.solid for report in reports if report.solid})
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
        taxonomy = read_taxonomy(path)
    except (ValueError, OSError) as error:
        return [str(error)]
    feet = taxonomy[taxonomy["synset"] == FOOT_SYNSET]
    listed, people = {*feet["object"]}, feet["object"].map(lambda name: name.rpartition("-")[0])
    problems = [f"{path}: lacks {name}" for name in sorted(names - listed)]
    problems += [f"{path}: lists {name}, which does not exist" for name in sorted(listed - names)]
    problems += [
        f"{path}: {person} is in {' and '.join(sorted(found))}; one person belongs in one split"
        for person, found in feet["split"].groupby(people).unique().items()
        if len(found) > 1
    ]
    grids = tree / VOXELS / FOOT_SYNSET
    unmatched = sorted({folder.name for folder in grids.glob("*/")} - names)  # without files, as macOS adds them
    return problems + [f"{grids / name}: a grid without its capture" for name in unmatched]
