"""A capture filed in a data set that others can add to, in the tree of the slides and of ShapeNet.

``<tree>/ShapeNetRendering/05563266/<person>-<side>/`` is the capture folder, ``<tree>/ShapeNetVox32/05563266/…`` holds
its grid where it has a model, and ``<tree>/taxonomy.json`` says who is in which split. Pictures are written anew from
their pixels alone, so that no place, serial number or maker's note comes along, and are cut above the knee. Of what the
capture told of itself only that is kept which says how it was made.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float
from PIL import Image

from p2vlib.data.capture_folder import PhotoSet, read_photo_set, read_subject
from p2vlib.data.shapenet import RENDERINGS, SPLITS, VOXELS, read_taxonomy
from p2vlib.files import atomic_directory, ensure_absent, write_text
from p2vlib.geometry.cameras import Camera, write_cameras, write_metadata
from p2vlib.geometry.frames import FOOT_CUBE_EDGE, FOOT_SYNSET, SIDES, Cube, foot_cube
from p2vlib.geometry.grids import VoxelGrid, read_binvox, voxelise, write_binvox
from p2vtools.capture.capture_writer import clockwise_order, metadata_row
from p2vtools.capture.mat_capture import MAX_PHOTO_SIDE
from p2vtools.capture.scan_files import read_scan

TAXONOMY_FILE = "taxonomy.json"

LICENCES = ("CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC0-1.0")
"""Under which photos of people are filed; the first unless another is told."""

KNEE_HEIGHT = 0.45
LEG_RADIUS = FOOT_CUBE_EDGE / 2
"""Height and radius of the cylinder about a foot that stays in its photos, metres.

The knees of anny's adults are at 0.46 to 0.54 m; those of its school children, one person in seven, begin at 0.33 m, so
that of the smallest some thigh can be seen."""

GRID_SIZE = 32
"""Voxels a side in the tree, whose name says so."""

SUBJECT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,39}")


@dataclass(frozen=True)
class Submission:
    """Who is filed where, and on which terms.

    Raises:
        ValueError: no consent, an id that could tell who it is, an unknown side or licence.
    """

    tree: Path
    subject: str | None
    """An id that means nothing to others."""
    side: str
    consent: str | None
    """Must be ``yes``."""
    licence: str = LICENCES[0]

    def __post_init__(self) -> None:
        if self.consent != "yes":
            raise ValueError(
                "not filed: others may see and use what is in a data set, so the person in the photos, or who answers"
                " for a child, has to agree to that first; say --consent yes once they have"
            )
        if not self.subject or not SUBJECT_ID.fullmatch(self.subject):
            raise ValueError(
                f"subject is {self.subject!r}; expected an id of 1 to 40 letters, digits and dashes that says nothing"
                " of the person: neither name nor e-mail"
            )
        if self.side not in SIDES:
            raise ValueError(f"side is {self.side!r}; expected left or right")
        if self.licence not in LICENCES:
            raise ValueError(f"licence is {self.licence!r}; expected one of {', '.join(LICENCES)}")

    @property
    def name(self) -> str:
        """Of the capture in the tree."""
        return f"{self.subject}-{self.side}"

    @property
    def split(self) -> str:
        """Train for eight people in ten: both feet of a person in one split, and there they stay as the tree grows."""
        share = int(hashlib.sha256(self.subject.encode()).hexdigest(), 16) % 10
        return {0: "test", 1: "validation"}.get(share, "train")

    @property
    def folder(self) -> Path:
        """The capture folder in the tree."""
        return self.tree / RENDERINGS / FOOT_SYNSET / self.name

    @property
    def voxels(self) -> Path:
        """The folder of the grid."""
        return self.tree / VOXELS / FOOT_SYNSET / self.name

    def ensure_absent(self) -> None:
        """Says before the work that nothing is written over, and that the tree's taxonomy is one.

        Raises:
            ValueError: this foot of this person is there already, or the taxonomy cannot be read.
        """
        ensure_absent(self.folder)
        ensure_absent(self.voxels)
        if (self.tree / TAXONOMY_FILE).is_file():
            read_taxonomy(self.tree / TAXONOMY_FILE)


def submit_capture(capture: Path, filing: Submission, report: Callable[[str], object] = lambda line: None) -> Path:
    """Files the capture folder ``capture``; returns where.

    Raises:
        ValueError: a capture that cannot be read or is told to be of the other side, a camera that does not see the
            leg, a model that is no foot, or one that is filed already.
    """
    filing.ensure_absent()
    told = read_subject(capture)
    if told.get("side", filing.side) != filing.side:
        raise ValueError(f"{capture}: is told to be a {told['side']} foot; it cannot be filed as a {filing.side} one")
    shots = read_photo_set(capture, filing.side, MAX_PHOTO_SIDE)
    if not shots.metric:
        raise ValueError(f"{capture}: its photos have no scale, and a data set is in metres; take them on the mat")
    mesh, grid = _model(capture)
    x, _, z = shots.initial_position
    cube = grid.cube if grid else Cube((x - LEG_RADIUS, 0.0, z - LEG_RADIUS), FOOT_CUBE_EDGE)
    subject = {
        "subject": filing.subject,
        "side": filing.side,
        "look": "phone",
        "metadata": "metric",
        "split": filing.split,
        "taxonomy": FOOT_SYNSET,
        "made": f"photos, cameras: {told.get('cameras', 'noted')}"[:80],
        "licence": filing.licence,
        "consent": {"given": "yes", "filed": datetime.date.today().isoformat()},
        "cube": asdict(cube),
    }
    with ExitStack() as whole:
        if grid:
            voxels = whole.enter_context(atomic_directory(filing.voxels))
            write_binvox(voxels / "model.binvox", grid)
            subject["voxels"] = "occupied where the centre is inside"
        folder = whole.enter_context(atomic_directory(filing.folder))
        _write_photos(folder, shots, cube, report)
        if grid:
            write_binvox(folder / "model.binvox", grid)
        if mesh:
            text = trimesh.exchange.obj.export_obj(mesh, include_normals=False, include_color=False, digits=6)
            write_text(folder / "model.obj", text)
        write_text(folder / "subject.json", json.dumps(subject, indent=1) + "\n")
    _list(filing)
    return filing.folder


def _model(capture: Path) -> tuple[trimesh.Trimesh | None, VoxelGrid | None]:
    """The solid of a capture that has one: its mesh without colours and names, and its grid."""
    if (capture / "model.obj").is_file():
        scan = read_scan(capture / "model.obj")
        mesh = trimesh.Trimesh(scan.vertices, scan.faces, process=False)
        try:
            return mesh, voxelise(mesh.vertices, mesh.faces, foot_cube(mesh.bounds), GRID_SIZE)
        except ValueError as error:
            raise ValueError(f"{capture / 'model.obj'}: {error}; expected a foot, in metres, on the floor") from None
    if (capture / "model.binvox").is_file():
        grid = read_binvox(capture / "model.binvox")
        if grid.size != GRID_SIZE:
            raise ValueError(
                f"{capture / 'model.binvox'}: a grid of {grid.size}^3; expected {GRID_SIZE}^3, or a model.obj"
            )
        return None, grid
    return None, None


def _write_photos(folder: Path, shots: PhotoSet, cube: Cube, report: Callable[[str], object]) -> None:
    """Photos, their list, metadata and cameras, clockwise as in every capture folder."""
    rendering = folder / "rendering"
    rendering.mkdir()
    order = clockwise_order([metadata_row(camera, cube.centre) for camera in shots.cameras])
    names, cameras = [], []
    for number, at in enumerate(order):
        photo, camera, before = shots.photos[at], shots.cameras[at], shots.names[at]
        box = below_knee_box(camera, cube.centre * [1, 0, 1])
        if box[0] >= box[2] or box[1] >= box[3]:
            raise ValueError(f"{before}: its camera sees nothing of the leg below the knee; check the cameras")
        if box != (0, 0, camera.width, camera.height):
            report(f"{before}: cut above the knee")
        ending = ".png" if before.lower().endswith(".png") else ".jpg"
        names.append(f"{number:02d}{ending}")
        cameras.append(camera.cropped(box))
        # Pixels alone: a picture that was opened brings comments and profiles along.
        pixels = Image.fromarray(np.asarray(photo.convert("RGBA" if ending == ".png" else "RGB").crop(box)))
        pixels.save(rendering / names[-1], **({} if ending == ".png" else {"quality": 95}))
    write_text(rendering / "renderings.txt", "\n".join(names) + "\n")
    write_metadata(rendering / "rendering_metadata.txt", [metadata_row(camera, cube.centre) for camera in cameras])
    write_cameras(folder / "cameras.json", cameras)


def below_knee_box(camera: Camera, place: Float[np.ndarray, "3"]) -> tuple[int, int, int, int]:
    """The box (left, top, right, bottom, pixels) that is left of a picture without what is above the knee.

    The knee is the upper rim of a cylinder about ``place`` on the floor; the picture ends at its highest point, on the
    side of the picture that is up. Where the rim reaches beyond the picture, all of it stays.
    """
    box = [0, 0, camera.width, camera.height]
    angle = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    rim = place + np.column_stack([LEG_RADIUS * np.cos(angle), np.full(36, KNEE_HEIGHT), LEG_RADIUS * np.sin(angle)])
    shown = camera.project(rim)
    if (shown[:, 2] <= 0).any():  # the leg passes beside the camera: it leaves the picture before its knee
        return tuple(box)
    low, high = camera.project(np.stack([place, place + [0, 0.05, 0]]))[:, :2]
    axis = int(np.abs(high - low).argmax())
    if high[axis] < low[axis]:
        box[axis] = int(np.clip(np.floor(shown[:, axis].min()), 0, box[axis + 2]))
    else:
        box[axis + 2] = int(np.clip(np.ceil(shown[:, axis].max()), 0, box[axis + 2]))
    return tuple(box)


def _list(filing: Submission) -> None:
    """Adds the capture to its split in the tree's taxonomy, whose other categories stay as they are."""
    path = filing.tree / TAXONOMY_FILE
    taxonomy = json.loads(path.read_text()) if path.is_file() else []
    feet = next((entry for entry in taxonomy if entry["taxonomy_id"] == FOOT_SYNSET), None)
    if feet is None:
        feet = {"taxonomy_id": FOOT_SYNSET, "taxonomy_name": "foot", "train": [], "val": [], "test": []}
        taxonomy.append(feet)
    feet[SPLITS[filing.split]].append(filing.name)
    write_text(path, json.dumps(taxonomy, indent=1) + "\n")
