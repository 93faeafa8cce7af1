"""One capture folder of a foot, looked at closely: files, photos, cameras, solid, side, licence and consent."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from scipy import ndimage

from p2vlib.data.capture_folder import PHOTO_SUFFIXES, open_photo
from p2vlib.data.shapenet import VOXELS
from p2vlib.geometry.cameras import Camera, Row, look_at, read_cameras, read_metadata
from p2vlib.geometry.frames import FOOT_CUBE, FOOT_CUT_HEIGHT, FOOT_SYNSET, SIDES, Cube
from p2vlib.geometry.grids import VoxelGrid, read_binvox
from p2vtools.capture.duplicates import PhotoFingerprint, SolidFingerprint, fingerprint_solid, normalised_thumbnail
from p2vtools.capture.sanity_checks import photo_problems, side_of_grid
from p2vtools.capture.submission import GRID_SIZE, SUBJECT_ID
from p2vtools.fit.pretrained import PretrainedModel

MAX_TEXT_BYTES = 2**20
MAX_FILE_BYTES = 64 * 2**20
"""Bytes of lists and descriptions, and of pictures and grids, that are read."""

MAX_GRID = 256
"""Voxels a side of a grid that is looked at."""

MIN_VISIBLE = 0.5
"""Share of the place of a foot in a photo that has to be inside it."""

LENGTH = (0.10, 0.32)
BREADTH = (0.04, 0.16)
HEIGHT = (0.04, FOOT_CUT_HEIGHT)
"""Metres that a foot measures, cut off above."""

MATRICES = "in full"
"""How the table calls cameras with their matrices, which were measured or made; others were noted by hand."""

HARMLESS_SEGMENTS = {"APP0", "APP14"}
"""Parts of a JPEG that say how its colours are stored and nothing else."""


@dataclass
class CaptureReport:
    """One capture, and what is wrong with it."""

    name: str
    subject: str = "?"
    side: str = "?"
    photos: list[PhotoFingerprint] = field(default_factory=list)
    cameras: str = "none"
    model: str = "none"
    solid: SolidFingerprint | None = None
    licence: str = "none"
    consent: str = "none"
    problems: list[str] = field(default_factory=list)
    duplicates: int = 0
    """With how many others it shares something."""

    @property
    def row(self) -> dict[str, object]:
        """Of the table."""
        count = len(self.problems) + self.duplicates
        return {
            "capture": self.name,
            "subject": self.subject,
            "side": self.side,
            "photos": len(self.photos),
            "cameras": self.cameras,
            "model": self.model,
            "licence": self.licence,
            "consent": self.consent,
            "verdict": f"{count} problem{'s' * (count > 1)}" if count else "good",
        }

    @contextmanager
    def collect_problems(self) -> Iterator[None]:
        """What cannot be read is a problem, and the next check goes on."""
        try:
            yield
        except (ValueError, OSError) as error:
            self.problems.append(str(error))


def check_capture(folder: Path, tree: Path, weights: PretrainedModel) -> CaptureReport:
    """One capture by itself."""
    found = CaptureReport(folder.name)
    if folder.name.startswith("."):
        found.problems.append(f"{folder}: left by a run that was stopped; remove it")
        return found
    told = {}
    with found.collect_problems():
        told = _described(folder, found)
    cube, grid = FOOT_CUBE, None
    if "cube" in told:
        with found.collect_problems():
            cube = _cube(folder, told["cube"])
    with found.collect_problems():
        _photos(folder, found, cube)
    with found.collect_problems():
        grid = _grid(folder, tree, cube, found)
    if found.side in SIDES and not found.problems:
        if grid is None:
            # Of cameras noted by hand nothing can be concluded.
            found.problems += photo_problems(folder, found.side, weights) if found.cameras == MATRICES else []
        elif side_of_grid(grid, weights) not in (found.side, None):
            other = next(side for side in SIDES if side != found.side)
            sentence = f"told to be a {found.side} foot; by its solid it is a {other} one: was the side swapped?"
            found.problems.append(f"{folder}: {sentence}")
    return found


def _text(path: Path) -> str:
    """A small text that is there.

    Raises:
        ValueError: missing, or too large.
    """
    if not path.is_file():
        raise ValueError(f"{path}: missing")
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise ValueError(
            f"{path}: {path.stat().st_size / 2**20:.0f} MiB; at most {MAX_TEXT_BYTES / 2**20:.0f} are read"
        )
    return path.read_text(errors="replace")


def _described(folder: Path, found: CaptureReport) -> dict:
    """What ``subject.json`` tells, and what it should."""
    path = folder / "subject.json"
    try:
        told = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: not JSON ({error}); expected a capture's description") from None
    if not isinstance(told, dict):
        raise ValueError(f"{path}: not a description; expected a JSON object with subject, side, licence, consent")
    subject, side = told.get("subject"), told.get("side")
    if isinstance(subject, str) and SUBJECT_ID.fullmatch(subject):
        found.subject = subject
    else:
        found.problems.append(f"{path}: subject is {subject!r}; expected an id of letters, digits and dashes")
    if side in SIDES:
        found.side = side
    else:
        found.problems.append(f"{path}: side is {side!r}; expected left or right")
    if side in SIDES and not folder.name.endswith(f"-{side}"):
        found.problems.append(f"{folder}: told to be a {side} foot; expected a folder named {subject}-{side}")
    if isinstance(told.get("licence"), str):
        found.licence = told["licence"]
    else:
        found.problems.append(f"{path}: no licence; nobody may use this capture")
    consent = told.get("consent")
    if isinstance(consent, dict) and consent.get("given") == "yes":
        found.consent = f"yes, {consent.get('filed', '?')}"
    elif "recipe" in told:
        found.consent = "nobody's foot"  # generated from a seed
    else:
        found.problems.append(f"{path}: no consent; ask the person, or remove the capture")
    return told


def _cube(folder: Path, told: object) -> Cube:
    try:
        return Cube(tuple(map(float, told["lower"])), float(told["edge"]))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'subject.json'}: its cube is none ({error}); expected lower and edge") from None


# ------------------------------------------------------------------------------------------------- photos and cameras


def _photos(folder: Path, found: CaptureReport, cube: Cube) -> None:
    """Pictures, their list, their metadata and their cameras."""
    inside = folder / "rendering"
    names = _text(inside / "renderings.txt").split()
    if not names:
        raise ValueError(f"{inside / 'renderings.txt'}: names no photo")
    beside = {path.name for path in inside.iterdir() if path.suffix.lower() in PHOTO_SUFFIXES}
    if more := sorted(beside - set(names)):
        found.problems.append(f"{inside}: {', '.join(more)} not listed in renderings.txt; list or remove")
    with found.collect_problems():
        _text(inside / "rendering_metadata.txt")
        rows = read_metadata(inside / "rendering_metadata.txt", len(names))
        found.cameras = "rows"
    known = None
    if (folder / "cameras.json").is_file():
        _text(folder / "cameras.json")
        known, found.cameras = read_cameras(folder / "cameras.json"), MATRICES
        if len(known) != len(names):
            raise ValueError(f"{folder / 'cameras.json'}: {len(known)} cameras for {len(names)} photos")
    for number, name in enumerate(names):
        with found.collect_problems():
            size = _photo(inside, name, found)
            if found.cameras != "none":
                _check_camera(inside / name, known[number] if known else rows[number], size, cube)


def _photo(inside: Path, name: str, found: CaptureReport) -> tuple[int, int]:
    """Notes a photo and what its file tells beside it; returns its size when it is upright."""
    path = inside / name
    if path.resolve().parent != inside.resolve() or not path.is_file():
        raise ValueError(f"{path}: missing; renderings.txt names it")
    if path.stat().st_size > MAX_FILE_BYTES:
        raise ValueError(
            f"{path}: {path.stat().st_size / 2**20:.0f} MiB; at most {MAX_FILE_BYTES / 2**20:.0f} are read"
        )
    picture, content = open_photo(path, 0), path.read_bytes()
    if more := extra_content(content):
        found.problems.append(f"{path}: tells more than a picture ({', '.join(more)}); file it anew, without")
    upright = ImageOps.exif_transpose(picture)
    digest = hashlib.sha256(content).hexdigest()
    found.photos.append(PhotoFingerprint(found.name, found.subject, name, digest, normalised_thumbnail(upright)))
    return upright.size


def extra_content(content: bytes) -> list[str]:
    """What the file of a picture holds beside the picture: EXIF, comments, texts, and what comes after its end."""
    with Image.open(io.BytesIO(content)) as picture:
        parts = [name for name, part in getattr(picture, "applist", []) if name not in HARMLESS_SEGMENTS]
        words = [name for name in ("exif", "xmp", "comment", "photoshop") if name in picture.info]
        words += list(getattr(picture, "text", {}))
        end = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}.get(picture.format, b"")
    return sorted({*parts, *words, *([] if content.endswith(end) else ["more after its end"])})


def _check_camera(path: Path, told: Camera | Row, size: tuple[int, int], cube: Cube) -> None:
    """Whether a camera fits its picture and sees the place of the foot.

    Raises:
        ValueError: it does not.
    """
    width, height = size
    try:
        camera = told if isinstance(told, Camera) else look_at(told, cube.centre, width, height)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not camera.matches_aspect(width, height):
        raise ValueError(f"{path}: {width} x {height} pixels; its camera takes {camera.width} x {camera.height}")
    try:
        left, top, right, bottom = camera.crop_box(cube, FOOT_CUT_HEIGHT)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    shown = max(0.0, min(right, camera.width) - max(left, 0)) * max(0.0, min(bottom, camera.height) - max(top, 0))
    share = shown / ((right - left) * (bottom - top))
    if not share >= MIN_VISIBLE:  # nor where a number is none
        raise ValueError(
            f"{path}: its camera sees {share:.0%} of the place where the foot stands; expected {MIN_VISIBLE:.0%}"
        )


# -------------------------------------------------------------------------------------------------------------- solids


def _grid(folder: Path, tree: Path, cube: Cube, found: CaptureReport) -> VoxelGrid | None:
    """The solid in the capture and, where the tree has one, beside it."""
    own, beside = folder / "model.binvox", tree / VOXELS / FOOT_SYNSET / folder.name / "model.binvox"
    grids = []
    for path in (own, beside):
        if path.is_file():
            if path.stat().st_size > MAX_FILE_BYTES:
                raise ValueError(f"{path}: {path.stat().st_size / 2**20:.0f} MiB; at most {MAX_FILE_BYTES / 2**20:.0f}")
            grids.append(read_binvox(path))
            if grids[-1].size > MAX_GRID:
                raise ValueError(
                    f"{path}: a grid of {grids[-1].size}^3; at most {MAX_GRID}^3, and {GRID_SIZE}^3 in a tree"
                )
    if not grids:
        return None
    if len(grids) == 2 and not np.array_equal(grids[0].volume, grids[1].volume):
        found.problems.append(f"{beside}: another solid than {own}")
    if not np.allclose([*grids[0].cube.lower, grids[0].cube.edge], [*cube.lower, cube.edge], atol=1e-4):
        found.problems.append(f"{own}: lies in another cube than subject.json tells")
    found.problems += [f"{own if own.is_file() else beside}: {reason}" for reason in solid_problems(grids[0])]
    found.model, found.solid = f"{grids[0].size}^3", fingerprint_solid(found.name, grids[0].volume)
    return grids[0]


def solid_problems(grid: VoxelGrid) -> list[str]:
    """Why a solid is no foot that stands on the floor with its toes along +x; nothing for one that is."""
    if not grid.volume.any():
        return ["empty; expected a solid foot"]
    places = grid.cube.voxel_centres(grid.size)[grid.volume]
    lower, upper = places.min(0) - grid.pitch / 2, places.max(0) + grid.pitch / 2
    long, high, broad = upper - lower
    told = []
    for name, value, (least, most) in (("long", long, LENGTH), ("high", high, HEIGHT), ("broad", broad, BREADTH)):
        if not least - grid.pitch <= value <= most + grid.pitch:
            told.append(
                f"{1000 * value:.0f} mm {name}; expected {1000 * least:.0f} to {1000 * most:.0f}, in metres, toes to +x"
            )
    if abs(lower[1]) > 1.5 * grid.pitch:
        told.append(f"its sole is {1000 * lower[1]:.0f} mm above the floor; expected y = 0")
    pieces, count = ndimage.label(grid.volume)
    largest = np.bincount(pieces.ravel())[1:].max() / grid.volume.sum()
    if largest < 0.98:
        told.append(f"in {count} pieces, {largest:.0%} in the largest; expected one")
    hollow = ndimage.binary_fill_holes(grid.volume).sum() / grid.volume.sum() - 1
    if hollow > 0.01:
        told.append(f"hollow, by {hollow:.0%} of its volume; expected a solid: fill it")
    top = places[places[:, 1] > lower[1] + 0.7 * high]
    if top[:, 0].mean() > (lower[0] + upper[0]) / 2:
        told.append("its leg stands over the toes; expected toes to +x")
    return told
