"""Adding a capture to a shared data set, in the folder layout of ShapeNet.

``<tree>/ShapeNetRendering/05563266/<subject>-<side>/`` is the capture folder, ``<tree>/ShapeNetVox32/05563266/…`` holds
its grid if it has a model, and ``<tree>/taxonomy.json`` lists the splits. Photos are encoded from their pixels again,
so that no place, serial number or comment remains, and cropped above the knee. ``subject.json`` is written again, too.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float

from p2vlib.files import FileError, read_json, write_bytes, write_text
from p2vlib.geometry.cameras import Camera
from p2vlib.geometry.frames import FOOT_CUBE_EDGE, FOOT_SYNSET, SIDES, Cube, foot_cube
from p2vlib.geometry.grids import VoxelGrid, voxelise
from p2vtools.archives.binvox import read_binvox
from p2vtools.archives.capture_folder import read_subject, write_capture
from p2vtools.archives.photo_files import encode_photo
from p2vtools.archives.shapenet import RENDERINGS, SPLITS, VOXELS, read_taxonomy
from p2vtools.capture.capture_writer import clockwise_order, metadata_row
from p2vtools.capture.mat_capture import MAX_PHOTO_SIDE
from p2vtools.capture.scan_files import read_scan
from p2vtools.files import atomic_directory, ensure_absent, file_lock
from p2vtools.fit.photo_set import PhotoSet, read_photo_set

TAXONOMY_FILE, LOCK = "taxonomy.json", ".lock"

LICENCES = ("CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC0-1.0")
"""Accepted licences; the first is the default."""

KNEE_HEIGHT = 0.45
LEG_RADIUS = FOOT_CUBE_EDGE / 2
"""Height and radius of the cylinder around a foot that remains in its photos, metres.

The knees of anny's adults are at 0.46 to 0.54 m. Those of its school children, one person in seven, begin at 0.33 m, so
that part of the thigh of the smallest remains."""

GRID_SIZE = 32
"""Voxels a side of the grids in the tree (``ShapeNetVox32``)."""

SUBJECT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,39}")


@dataclass(frozen=True)
class Submission:
    """The person, side, terms and place of a capture that is added to a data set.

    Raises:
        ValueError: no consent, an id that could identify the person, an unknown side or licence.
    """

    tree: Path
    subject: str | None
    """A pseudonymous id."""
    side: str
    consent: str | None
    """Must be ``yes``."""
    licence: str = LICENCES[0]

    def __post_init__(self) -> None:
        if self.consent != "yes":
            raise ValueError(
                "not submitted: a data set is public, so the person in the photos, or who is responsible for a child,"
                " must agree first; then pass --consent yes"
            )
        if not self.subject or not SUBJECT_ID.fullmatch(self.subject):
            raise ValueError(
                f"subject is {self.subject!r}; expected an id of 1 to 40 letters, digits and dashes that does not"
                " identify the person: neither name nor e-mail"
            )
        if self.side not in SIDES:
            raise ValueError(f"side is {self.side!r}; expected left or right")
        if self.licence not in LICENCES:
            raise ValueError(f"licence is {self.licence!r}; expected one of {', '.join(LICENCES)}")

    @property
    def name(self) -> str:
        """Name of the capture in the tree."""
        return f"{self.subject}-{self.side}"

    @property
    def split(self) -> str:
        """``train`` for eight in ten people; depends on the subject only, so both feet are always in one split."""
        share = int(hashlib.sha256(self.subject.encode()).hexdigest(), 16) % 10
        return {0: "test", 1: "validation"}.get(share, "train")

    @property
    def folder(self) -> Path:
        """The capture folder in the tree."""
        return self.tree / RENDERINGS / FOOT_SYNSET / self.name

    @property
    def voxels(self) -> Path:
        """The folder of its grid."""
        return self.tree / VOXELS / FOOT_SYNSET / self.name

    def finish_interrupted(self) -> bool:
        """Finishes the submission of this foot if it was interrupted; returns whether it was.

        Raises:
            ValueError: the tree already has this foot of this person, or its taxonomy is not readable.
        """
        if self._is_unlisted():
            with file_lock(self.tree / LOCK):
                if self._is_unlisted():  # and is not just being submitted by another process
                    self.publish()
                    return True
        ensure_absent(self.folder)
        ensure_absent(self.voxels)
        return False

    def _is_unlisted(self) -> bool:
        path = self.tree / TAXONOMY_FILE
        is_listed = path.is_file() and self.name in {*read_taxonomy(path)["object"]}
        return self.folder.is_dir() and not is_listed

    def publish(self) -> None:
        """Copies the grid of the capture in the tree to its place and adds the capture to its split."""
        grid, path = self.folder / "model.binvox", self.tree / TAXONOMY_FILE
        if grid.is_file():
            write_bytes(self.voxels / grid.name, grid.read_bytes())
        taxonomy = read_json(path, "expected a list of categories", list) if path.is_file() else []
        feet = next((entry for entry in taxonomy if entry["taxonomy_id"] == FOOT_SYNSET), None)
        if feet is None:
            feet = {"taxonomy_id": FOOT_SYNSET, "taxonomy_name": "foot", "train": [], "val": [], "test": []}
            taxonomy.append(feet)
        feet[SPLITS[self.split]].append(self.name)
        write_text(path, json.dumps(taxonomy, indent=1) + "\n")


def submit_capture(capture: Path, submission: Submission, report: Callable[[str], object] = lambda line: None) -> Path:
    """Adds the capture folder ``capture`` to a data set; returns its new folder.

    Raises:
        ValueError: an unreadable capture, or one of the other side or without a scale; a camera that does not show the
            leg; a model that is not a foot; or the data set already has this foot.
    """
    if submission.finish_interrupted():
        return submission.folder
    original = read_subject(capture)
    if original.get("side", submission.side) != submission.side:
        found = f"subject.json says it is a {original['side']} foot"
        raise FileError(capture, found, f"it cannot be submitted as a {submission.side} one")
    photo_set = read_photo_set(capture, submission.side, MAX_PHOTO_SIDE)
    if not photo_set.metric:
        raise ValueError(
            f"{capture}: the scale of its cameras is {photo_set.scale}; expected metres, as from photos on a mat or a"
            ' sheet. If they were noted by hand in metres, add "scale": "noted" to subject.json'
        )
    mesh, grid = _read_model(capture)
    x, _, z = photo_set.initial_position
    cube = grid.cube if grid else Cube((x - FOOT_CUBE_EDGE / 2, 0.0, z - FOOT_CUBE_EDGE / 2), FOOT_CUBE_EDGE)
    subject = {
        "subject": submission.subject,
        "side": submission.side,
        "look": "phone",
        "metadata": "metric",
        "scale": photo_set.scale,
        "split": submission.split,
        "taxonomy": FOOT_SYNSET,
        "made": f"photos, cameras: {original.get('cameras', 'noted')}"[:80],
        "licence": submission.licence,
        "consent": {"given": "yes", "filed": datetime.date.today().isoformat()},
        "cube": asdict(cube),
        **({"voxels": "occupied where the centre is inside"} if grid else {}),
    }
    photos, cameras = _crop_photos(photo_set, cube, report)
    rows = [metadata_row(camera, cube.centre) for camera in cameras]
    with file_lock(submission.tree / LOCK):
        with atomic_directory(submission.folder) as folder:
            write_capture(folder, photos, rows, cameras, subject, grid, mesh)
        submission.publish()
    return submission.folder


def _read_model(capture: Path) -> tuple[str | None, VoxelGrid | None]:
    """The solid of a capture, if it has one: an OBJ file without colours and names, and the grid."""
    path = capture / "model.obj"
    if path.is_file():
        scan = read_scan(path)
        mesh = trimesh.Trimesh(scan.vertices, scan.faces, process=False)
        try:
            grid = voxelise(mesh.vertices, mesh.faces, foot_cube(mesh.bounds), GRID_SIZE)
        except ValueError as error:
            raise FileError(path, str(error), "expected a foot, in metres, on the floor") from None
        return trimesh.exchange.obj.export_obj(mesh, include_normals=False, include_color=False, digits=6), grid
    path = capture / "model.binvox"
    if path.is_file():
        grid = read_binvox(path)
        if grid.size != GRID_SIZE:
            raise FileError(path, f"a grid of {grid.size}^3", f"expected {GRID_SIZE}^3, or a model.obj")
        return None, grid
    return None, None


def _crop_photos(
    photo_set: PhotoSet, cube: Cube, report: Callable[[str], object]
) -> tuple[dict[str, bytes], list[Camera]]:
    """The photos below the knee in clockwise order, file name -> content, and their cameras."""
    photos, cameras = {}, []
    for index in clockwise_order([metadata_row(camera, cube.centre) for camera in photo_set.cameras]):
        photo, camera, name = photo_set.photos[index], photo_set.cameras[index], photo_set.names[index]
        box = below_knee_box(camera, cube.centre * [1, 0, 1])
        if box[0] >= box[2] or box[1] >= box[3]:
            raise FileError(name, "its camera does not show the leg below the knee", "check the cameras")
        if box != (0, 0, camera.width, camera.height):
            report(f"{name}: cropped above the knee")
        suffix, kind, mode = ("png", "PNG", "RGBA") if name.lower().endswith(".png") else ("jpg", "JPEG", "RGB")
        photos[f"{len(photos):02d}.{suffix}"] = encode_photo(np.asarray(photo.convert(mode).crop(box)), kind, 95)
        cameras.append(crop_camera(camera, box))
    return photos, cameras


def crop_camera(camera: Camera, box: tuple[int, int, int, int]) -> Camera:
    """The camera of the part ``box`` (left, top, right, bottom, pixels) of its image."""
    intrinsics = camera.intrinsics.astype(float)
    intrinsics[:2] -= np.outer(box[:2], intrinsics[2])
    return Camera(intrinsics, camera.extrinsics, box[2] - box[0], box[3] - box[1])


def below_knee_box(camera: Camera, position: Float[np.ndarray, "3"]) -> tuple[int, int, int, int]:
    """Box (left, top, right, bottom, pixels) of a photo without what is above the knee of a foot at ``position``.

    The knee is the upper rim of a cylinder on the floor; the photo is cut at the rim's highest point, on the side of
    the photo that is up. Where the rim reaches beyond the photo, the box is the whole photo.
    """
    box = [0, 0, camera.width, camera.height]
    angle = np.linspace(0, 2 * np.pi, 36, endpoint=False)
    rim = np.column_stack([LEG_RADIUS * np.cos(angle), np.full(36, KNEE_HEIGHT), LEG_RADIUS * np.sin(angle)])
    pixels = camera.project(position + rim)
    if (pixels[:, 2] <= 0).any():  # part of the rim is behind the camera: the leg leaves the photo below the knee
        return tuple(box)
    low, high = camera.project(np.stack([position, position + [0, 0.05, 0]]))[:, :2]
    axis = int(np.abs(high - low).argmax())
    if high[axis] < low[axis]:
        box[axis] = int(np.clip(np.floor(pixels[:, axis].min()), 0, box[axis + 2]))
    else:
        box[axis + 2] = int(np.clip(np.ceil(pixels[:, axis].max()), 0, box[axis + 2]))
    return tuple(box)
