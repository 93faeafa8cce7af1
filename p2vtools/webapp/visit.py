"""The photos or the export of one visitor, in a temporary folder, and what is computed from them."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from p2vlib.geometry.cameras import Row
from p2vtools.archives.photo_files import PHOTO_SUFFIXES, read_photo
from p2vtools.capture.app_exports import read_export
from p2vtools.capture.capture_writer import WrittenCapture, capture_advice, is_blurred
from p2vtools.capture.charuco import MIN_PHOTOS, detect_board, recognise_mat, sharpness
from p2vtools.capture.export_capture import capture_from_export
from p2vtools.capture.mat_capture import MAX_PHOTO_SIDE, MAX_PHOTOS, approximate_row, capture_on_mat
from p2vtools.capture.sanity_checks import photo_problems
from p2vtools.capture.sheet_capture import approximate_row as approximate_row_on_sheet
from p2vtools.capture.sheet_capture import capture_on_sheet
from p2vtools.fit import pretrained
from p2vtools.fit.photo_set import read_photo_set
from p2vtools.fit.reconstruct import write_foot
from p2vtools.fit.verdict import JudgedFoot, reconstruct_and_judge
from p2vtools.synthesis.mat import Mat, get_mat

FOLDER_VARIABLE = "P2VLIB_APP_FOLDER"
"""Environment variable with the folder in which the temporary folders are; default: that of the system."""

NO_SHEET = "shows no white sheet: lay it flat on a floor of another colour, and keep all of it in the picture"

THUMBNAIL = 144
"""Longer side of the small pictures on the page, pixels."""


@dataclass(frozen=True, eq=False)
class CheckedPhoto:
    """One photo of a foot on a mat or a sheet of paper."""

    number: int
    path: Path
    digest: str
    thumbnail: Image.Image
    sharpness: float
    row: Row | None
    """Where it was taken from, approximately; None: the mat or the sheet was not found."""
    problem: str
    """Why it was not found."""


@dataclass(frozen=True, eq=False)
class Result:
    """A foot that was reconstructed."""

    written: WrittenCapture
    judged: JudgedFoot
    warnings: list[str]
    """What is wrong with the photos, one sentence each."""


class Visit:
    """The files of one visitor; they are deleted with the object, and when the process ends."""

    photos: list[CheckedPhoto]
    export: Path | None
    """The zip that an app exported."""
    export_name: str
    """Its original name."""
    result: Result | None
    paper: str | None = None
    """The plain sheet on which the foot stands, a key of `sheet_detection.PAPERS`; None: a printed mat."""
    side: str = "left"
    _mat: Mat | None

    def __init__(self) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="p2v-visit-", dir=os.environ.get(FOLDER_VARIABLE))
        self.folder = Path(self._temporary.name)
        self.clear()

    def clear(self) -> None:
        """Deletes everything that the visitor has brought, and what was computed from it."""
        for path in self.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.photos, self.export, self.export_name, self.result, self._mat = [], None, "", None, None

    # -------------------------------------------------------------------------------------------------------- photos

    def add_photo(self, name: str, path: Path) -> None:
        """Checks the photo in the file ``path`` and keeps a copy.

        Raises:
            ValueError: not a photo, one of which there is a copy already, or too many photos; nothing has changed.
        """
        if len(self.photos) >= MAX_PHOTOS:
            raise ValueError(f"{MAX_PHOTOS} photos are enough")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        if digest in {photo.digest for photo in self.photos}:
            raise ValueError("is already there")
        suffix = Path(name).suffix.lower()
        number = 1 + max((photo.number for photo in self.photos), default=0)
        kept = self.folder / f"photo {number}{suffix if suffix in PHOTO_SUFFIXES else '.jpg'}"
        shutil.copy(path, kept)
        try:
            self.photos.append(self._check(number, kept, digest))
        except ValueError as error:
            (reason,) = self._clean([str(error)])
            kept.unlink()
            raise ValueError(reason) from None

    def _check(self, number: int, path: Path, digest: str) -> CheckedPhoto:
        photo, focal = read_photo(path, MAX_PHOTO_SIDE)
        thumbnail = photo.convert("RGB")
        picture = np.asarray(thumbnail)
        thumbnail.thumbnail((THUMBNAIL, THUMBNAIL))
        if self.paper:
            row = approximate_row_on_sheet(picture, self.paper, focal, self.side, pretrained.load_pretrained())
            problem = "" if row else NO_SHEET
            return CheckedPhoto(number, path, digest, thumbnail, sharpness(picture), row, problem)
        seen = recognise_mat(picture)
        mat = self._mat or seen or get_mat("a4")
        found, row, problem = detect_board(path.name, picture, mat), None, ""
        if len(found.ids) >= mat.min_corners:
            row, self._mat = approximate_row(found, mat), mat
        elif seen and seen != mat:
            problem = "shows another mat than the photos before"
        elif "mirror" in found.problem:
            problem = found.problem
        elif seen or len(found.ids):
            problem = "shows too little of the mat: keep most of it in the picture"
        else:
            problem = "shows no mat: lay the printed mat flat under the foot, in good light"
        return CheckedPhoto(number, path, digest, thumbnail, found.sharpness, row, problem)

    def choose_surface(self, paper: str | None, side: str) -> None:
        """Sets `paper` and `side`; photos that are there are checked again if they look at another surface now."""
        before = self.paper, self.side if self.paper else None
        self.paper, self.side = paper, side
        if before != (paper, side if paper else None):
            self._mat = None
            self.photos = [self._check(photo.number, photo.path, photo.digest) for photo in self.photos]

    def problems(self) -> list[str]:
        """What is wrong with each photo; empty for those that are used."""
        sharpnesses = [photo.sharpness for photo in self.photos if photo.row]
        blurred = "is blurred: hold the phone still"
        return [photo.problem or (blurred if is_blurred(photo.sharpness, sharpnesses) else "") for photo in self.photos]

    def used_photos(self) -> list[CheckedPhoto]:
        """The photos without a problem."""
        return [photo for photo, problem in zip(self.photos, self.problems(), strict=True) if not problem]

    def advice(self) -> list[str]:
        """What to photograph next, one sentence each; empty if nothing is missing."""
        used = self.used_photos()
        rows, sharpnesses = [photo.row for photo in used], [photo.sharpness for photo in used]
        return capture_advice(rows, [str(photo.number) for photo in used], sharpnesses) if used else []

    def add_export(self, name: str, path: Path) -> None:
        """Keeps a copy of the export of an app in the file ``path``, in place of one that was there.

        Raises:
            ValueError: not a zip; nothing has changed.
        """
        with path.open("rb") as stream:
            if stream.read(4) != b"PK\x03\x04":
                raise ValueError("is not a zip; choose the file that the app exported")
        self.export = Path(shutil.copy(path, self.folder / "export.zip"))
        self.export_name = name

    # --------------------------------------------------------------------------------------------------------- result

    @property
    def has_enough_photos(self) -> bool:
        """Whether the photos are enough for a reconstruction."""
        return len(self.used_photos()) >= MIN_PHOTOS

    def reconstruct(self, side: str, ruler: float, app: str | None, report: Callable[[str], object]) -> Result:
        """Reconstructs and judges the foot; an earlier `result` stays if this fails.

        Args:
            ruler: measured length of the ruler on the mat, mm.
            app: the app that exported `export`; None: photos on a mat or a sheet.

        Raises:
            ValueError: no foot can be reconstructed, or the disk is full.
        """
        try:
            out, weights = Path(tempfile.mkdtemp(dir=self.folder)) / f"foot-{side}", pretrained.load_pretrained()
            report("The cameras are computed …")
            if app:
                written = capture_from_export(read_export(app, self.export), side, out, weights)
            else:
                written = self._capture_photos(side, ruler, out)
            report("The foot is reconstructed …")
            judged = reconstruct_and_judge(weights, read_photo_set(out))
            report("The photos are checked …")
            warnings = self._clean(photo_problems(out, side, weights))
            warnings += [f"{Path(name).stem} was left out: {reason}" for name, reason in written.rejected.items()]
            verdict = judged.verdict
            reasons, advice = (_name_photos(lines, written.names) for lines in (verdict.reasons, verdict.advice))
            judged = replace(judged, verdict=replace(verdict, reasons=reasons, advice=advice))
            self.result = Result(written, judged, _name_photos(warnings, written.names))
        except (ValueError, OSError) as error:
            raise ValueError(*self._clean([str(getattr(error, "strerror", None) or error)])) from error
        return self.result

    def _capture_photos(self, side: str, ruler: float, out: Path) -> WrittenCapture:
        photos = out.parent / "photos"
        photos.mkdir(parents=True)
        for photo in self.used_photos():
            shutil.copy(photo.path, photos)
        if self.paper:
            return capture_on_sheet(photos, self.paper, side, out, pretrained.load_pretrained())
        return capture_on_mat(photos, self._mat, side, out, ruler=ruler)

    def _clean(self, sentences: list[str]) -> list[str]:
        """Sentences without the paths of temporary folders."""
        names = sorted({str(path) for path in self.folder.rglob("*")}, key=len, reverse=True)
        for name in [*names, str(self.folder)]:
            sentences = [sentence.replace(f"{name}: ", "").replace(name, Path(name).name) for sentence in sentences]
        return sentences

    def saved(self, kind: str) -> tuple[str, bytes]:
        """Name and content of a file: the foot (``obj``, ``stl``), or its capture folder (``zip``)."""
        folder = self.result.written.folder
        if kind == "zip":
            path = Path(shutil.make_archive(str(folder.parent / folder.name), "zip", folder.parent, folder.name))
        else:
            path = folder.parent / f"{folder.name}.{kind}"
            write_foot(self.result.judged.foot, path)
        return path.name, path.read_bytes()


def _name_photos(sentences: list[str], names: list[str]) -> list[str]:
    """Sentences that call the photos of a capture folder, ``00.jpg``, by the ``names`` that the page shows."""
    for number, name in enumerate(names):
        sentences = [sentence.replace(f"{number:02d}.jpg", Path(name).stem) for sentence in sentences]
    return sentences
