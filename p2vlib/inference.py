"""From a capture folder to a solid foot: photos and cameras in, an occupied cube about the foot out.

Nobody knows where in a real capture the foot stands and where its toes point. The silhouettes that the network sees in
the photos carve a rough solid first; the cube is set about it, and once more about what the network then finds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional

from .augmentation import as_input
from .cameras import Camera, look_at, read_cameras, read_metadata
from .conventions import FOOT_CUBE_EDGE, FOOT_SHARE, SIDES, Cube
from .datasets import cropped, mirrored, mirrored_cameras, spread
from .files import write_atomically
from .folders import open_picture
from .grids import VoxelGrid, to_mesh, write_binvox
from .models import Reconstruction
from .shipped import Weights
from .sight import look, silhouettes, voxel_centres

MOST_VIEWS = 24
"""More photos than this add little; of more, as many evenly spaced ones are taken."""

PICTURES = (".jpg", ".jpeg", ".png", ".heic", ".heif")

LARGEST_PHOTO = 64_000_000
"""Pixels of a photo that is still decoded; phones make up to 50 million."""

KEPT = 1024
"""Pixels of a photo's longer side that are kept: at 96 to the cube, more are never looked at."""

SEARCHED = 1.35
"""Edge of the cube in which the foot is looked for at first, in edges of its own."""

SIZES = (32, 64, 128)

CORRECTION = "length correction, mm"
"""What the card calls that by which lengths come out short: tips of toes are thinner than a voxel."""

FORMATS = (".obj", ".stl", ".glb", ".ply", ".binvox")

FOOT_CUBE = Cube((-FOOT_CUBE_EDGE / 2, 0.0, -FOOT_CUBE_EDGE / 2), FOOT_CUBE_EDGE)
"""The cube about a foot in the foot's own frame: toes along +x, the floor at 0."""


@dataclass(frozen=True, eq=False)
class Shots:
    """A capture as it was taken: photos upright and at most `KEPT` pixels large, their cameras in the world's frame."""

    photos: list[Image.Image]
    cameras: list[Camera]
    names: list[str]
    side: str
    start: np.ndarray
    """Where the foot is first looked for: a point of the floor, ``[3]``, metres."""


@dataclass(frozen=True, eq=False)
class Foot:
    """A reconstructed foot, in its own frame: `FOOT_CUBE`."""

    probability: Float32[np.ndarray, "x y z"]
    threshold: float
    pose: Float[np.ndarray, "4 4"]
    """From the foot's frame to that of the cameras, metres: a turn about the vertical and a shift over the floor."""
    correction: float
    """What is added to the extent of the surface to give the length, metres: chosen on validation people."""
    agreement: dict[str, float]
    """Photo -> IoU of the solid's silhouette with the one that the network sees in the photo."""

    @property
    def solid(self) -> Bool[np.ndarray, "x y z"]:
        """What is occupied."""
        return self.probability >= self.threshold

    @property
    def certainty(self) -> float:
        """The share of the solid's voxels, and of as many beside it, of which the network is sure to nine in ten."""
        near = self.probability > 0.1
        return float((self.probability[near] >= 0.9).sum() / max(1, near.sum()))

    @property
    def length(self) -> float:
        """Longest extent along the foot's axis, of the surface between the voxels, corrected, metres."""
        vertices, _ = to_mesh(self.probability, FOOT_CUBE, self.threshold)
        return float(np.ptp(vertices[:, 0])) + self.correction


def read_shots(folder: Path, side: str | None = None) -> Shots:
    """The photos and cameras of a capture folder.

    The photos are those that ``renderings.txt`` names, or all in the folder (or its ``rendering``) by name. Cameras
    come from ``cameras.json``, or from ``rendering_metadata.txt``, whose rows look at the middle of the foot. The side
    is that of ``subject.json`` unless it is given.

    Raises:
        ValueError: no photos, one that cannot be read or is too large, cameras that do not fit, no side.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: no such folder; expected a capture folder with photos and their cameras")
    inside = folder / "rendering" if (folder / "rendering").is_dir() else folder
    listing = inside / "renderings.txt"
    if listing.is_file():
        names = listing.read_text().split()
    else:
        names = sorted(path.name for path in inside.iterdir() if path.suffix.lower() in PICTURES)
    if not names:
        raise ValueError(f"{inside}: no photos; expected pictures ({', '.join(PICTURES)}) of one foot from all sides")
    subject = _subject(folder)
    side = side or subject.get("side")
    if side not in SIDES:
        raise ValueError(f"{folder}: which foot is it? No side is in its subject.json; say --side left or --side right")
    cameras_file = next((path for path in (folder / "cameras.json", inside / "cameras.json") if path.is_file()), None)
    known = read_cameras(cameras_file) if cameras_file else None
    rows = None if known else read_metadata(inside / "rendering_metadata.txt", len(names)) if _rows(inside) else None
    if known is None and rows is None:
        raise ValueError(f"{folder}: no cameras; expected cameras.json, or rendering_metadata.txt with a row a photo")
    if known is not None and len(known) != len(names):
        raise ValueError(f"{cameras_file}: {len(known)} cameras for {len(names)} photos; expected one a photo")
    chosen = spread(len(names), min(len(names), MOST_VIEWS))
    target = _middle(subject)
    photos, cameras = [], []
    for number in chosen:
        path = inside / names[number]
        photo = _read_photo(path, inside)
        camera = known[number] if known else look_at(rows[number], target, *photo.size)
        if abs(camera.width * photo.height - camera.height * photo.width) > 0.01 * camera.width * photo.height:
            found = f"{photo.width} x {photo.height} pixels upright"
            raise ValueError(f"{path}: {found}; its camera was told {camera.width} x {camera.height}: another shape")
        photo.thumbnail((KEPT, KEPT), reducing_gap=2.0)
        photos.append(photo.convert("RGBA"))
        cameras.append(_scaled(camera, *photo.size))
    start = target * [1, 0, 1] if rows or "cube" in subject else _aim(cameras)
    return Shots(photos, cameras, [names[number] for number in chosen], side, start)


def _rows(inside: Path) -> bool:
    return (inside / "rendering_metadata.txt").is_file()


def _subject(folder: Path) -> dict:
    path = folder / "subject.json"
    if not path.is_file():
        return {}
    try:
        subject = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error}); expected a capture's description") from None
    return subject if isinstance(subject, dict) else {}


def _middle(subject: dict) -> np.ndarray:
    """Where metadata rows look: the middle of the cube that the capture tells, or of one about the origin."""
    try:
        return Cube(tuple(map(float, subject["cube"]["lower"])), float(subject["cube"]["edge"])).centre
    except (KeyError, TypeError, ValueError):
        return FOOT_CUBE.centre


def _read_photo(path: Path, inside: Path) -> Image.Image:
    """The photo, upright as its EXIF says, at little more than `KEPT` pixels where the format allows it."""
    if path.resolve().parent != inside.resolve() or not path.is_file():
        raise ValueError(f"{path}: missing; expected the photo that renderings.txt names beside it")
    if path.suffix.lower() in (".heic", ".heif"):
        try:
            from pillow_heif import register_heif_opener
        except ImportError:
            raise ValueError(
                f"{path}: reading HEIC needs the package pillow-heif; install it or save as JPEG"
            ) from None
        register_heif_opener()
    picture = open_picture(path, path.read_bytes(), LARGEST_PHOTO, KEPT)
    return ImageOps.exif_transpose(picture)


def _scaled(camera: Camera, width: int, height: int) -> Camera:
    scale = np.diag([width / camera.width, height / camera.height, 1.0])
    return Camera(scale @ camera.intrinsics, camera.extrinsics, width, height)


def _aim(cameras: list[Camera]) -> np.ndarray:
    """The point of the floor under where the cameras look: nearest to all of their axes, or on the floor for one."""
    stands = np.stack([camera.position for camera in cameras])
    axes = np.stack([camera.extrinsics[2, :3] for camera in cameras])
    if len(cameras) == 1:
        if axes[0, 1] >= -1e-3:
            return np.zeros(3)
        return (stands[0] - axes[0] * stands[0, 1] / axes[0, 1]) * [1, 0, 1]
    away = np.eye(3) - axes[:, :, None] * axes[:, None]
    point = np.linalg.lstsq(away.sum(0), (away @ stands[:, :, None]).sum(0)[:, 0], rcond=None)[0]
    return point * [1, 0, 1]


# ------------------------------------------------------------------------------------------------------------ placement


def pose_of(yaw: float, place: np.ndarray) -> Float[np.ndarray, "4 4"]:
    """From the frame of a foot that stands at ``place`` (metres) with its toes ``yaw`` degrees clockwise of +x."""
    cos, sin = np.cos(np.deg2rad(yaw)), np.sin(np.deg2rad(yaw))
    pose = np.eye(4)
    pose[:3, :3] = [[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]]
    pose[:3, 3] = place
    return pose


def stance(weight: Float[np.ndarray, "x y z"], cube: Cube) -> tuple[float, np.ndarray] | None:
    """Which way a rough solid points (degrees clockwise of +x, within 90) and the middle of its box over the floor.

    The direction is the principal axis seen from above: on 600 training feet it stands -0.03 degrees from where the
    toes point, standard deviation 0.85, and the middle within 0.5 mm, 1.6. None: there is too little of it.

    Args:
        weight: occupied above one half.
    """
    if (weight > 0.5).sum() < 10:
        return None
    points = cube.voxel_centres(len(weight))[weight > 0.5][:, [0, 2]]
    away = points - points.mean(0)
    _, axes = np.linalg.eigh(away.T @ away)
    axis = axes[:, -1] * np.sign(axes[0, -1] or 1.0)
    along = np.stack([axis, [-axis[1], axis[0]]])  # x and z of the frame that is turned with it
    turned = points @ along.T
    middle = (turned.min(0) + turned.max(0)) / 2 @ along
    return float(np.rad2deg(np.arctan2(axis[1], axis[0]))), np.array([middle[0], 0.0, middle[1]])


def _ask(
    weights: Weights, shots: Shots, pose: np.ndarray, cube: Cube
) -> tuple[Reconstruction, Float[Tensor, "1 views 3 7"]]:
    """What the network says of ``cube`` in the frame of ``pose``, and the cameras it is told; a right foot mirrored."""
    size = weights.model.config.image_size
    photos, seen = [], []
    for photo, camera, name in zip(shots.photos, shots.cameras, shots.names, strict=True):
        own = replace(camera, extrinsics=camera.extrinsics @ pose)
        try:
            box = own.box(cube, FOOT_SHARE * cube.edge)
        except ValueError as error:
            raise ValueError(f"{name}: {error}; where it was taken from does not fit the others, or nothing") from None
        if box[2] < 0 or box[3] < 0 or box[0] > photo.width or box[1] > photo.height:
            raise ValueError(f"{name}: its camera does not see the foot's place at all; check the row of this photo")
        photos.append(cropped(photo, box, size))
        seen.append(own.seen_from(cube, box))
    pictures = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2)[None]
    cameras = torch.tensor(np.stack(seen), dtype=torch.float32)[None]
    right = torch.tensor([shots.side == "right"])
    pictures, _ = mirrored(pictures, torch.zeros(1, 1, 1, 1, dtype=torch.bool), right)
    cameras = mirrored_cameras(cameras, right)
    with torch.no_grad():
        return weights.model(as_input(pictures), cameras), cameras


def _carved(said: Reconstruction, cameras: Float[Tensor, "1 views 3 7"], size: int) -> Float[np.ndarray, "x y z"]:
    """A visual hull of the silhouettes that the network sees, forgiving one photo in four."""
    sight = look(cameras, voxel_centres(size))
    read = functional.grid_sample(said.masks[0][:, None], sight.place[0][:, None], align_corners=False)[:, 0, 0]
    told = torch.where(sight.seen[0], read, torch.nan)
    hull = torch.nan_to_num(torch.nanquantile(told, 0.25, dim=0)).reshape((size,) * 3)
    hull[:, round(FOOT_SHARE * size) :] = 0
    return hull.numpy()


def find(weights: Weights, shots: Shots) -> Float[np.ndarray, "4 4"]:
    """The pose of the foot: carved roughly from silhouettes first, then twice from what the network makes of it.

    Raises:
        ValueError: nothing that looks like a foot is seen where the cameras look.
    """
    pose = pose_of(0.0, shots.start)
    for rough in (True, True, False, False):
        edge = FOOT_CUBE_EDGE * (SEARCHED if rough else 1.0)
        cube = Cube((-edge / 2, 0.0, -edge / 2), edge)
        said, cameras = _ask(weights, shots, pose, cube)
        volume = _carved(said, cameras, 48) if rough else said.probability[0].numpy() / weights.threshold / 2
        if shots.side == "right":
            volume = volume[:, :, ::-1]
        found = stance(volume, cube)
        if found is None:
            raise ValueError(
                f"no foot is seen where the {len(shots.photos)} cameras look; expected one on the floor at y = 0,"
                " within 4 cm and 30 degrees of the middle: check the cameras, or say --placement given"
            )
        yaw, middle = found
        pose = pose @ pose_of(yaw, middle)
    return pose


def reconstruct(
    weights: Weights,
    shots: Shots,
    size: int = 32,
    placement: str = "found",
    report: Callable[[str], object] = lambda line: None,
) -> Foot:
    """The foot in ``shots``.

    Args:
        size: edge of the volume in voxels: at 64 and 128 the network is asked again near its surface at half of it.
        placement: ``found``, or ``given``: the foot stands where the capture says, toes along +x.
        report: is told what is done.

    Raises:
        ValueError: cameras that do not see the foot, or no foot to be seen.
    """
    if size not in SIZES:
        raise ValueError(f"size is {size}; expected one of {', '.join(map(str, SIZES))}")
    began = time.perf_counter()
    pose = find(weights, shots) if placement == "found" else pose_of(0.0, shots.start)
    said, cameras = _ask(weights, shots, pose, FOOT_CUBE)
    yaw = np.rad2deg(np.arctan2(pose[2, 0], pose[0, 0]))
    shift = pose[:3, 3] - shots.start
    report(
        f"{len(shots.photos)} photos of a {shots.side} foot; placement {placement}: "
        f"{np.hypot(*shift[[0, 2]]) * 1000:.0f} mm and {yaw:+.0f} degrees from where the capture looks for it"
    )
    volume = said.probability if size == 32 else weights.model.enlarged(said.known, size, weights.threshold)
    volume = volume[0]
    agreement = _agreement(said, cameras, weights.threshold)
    names = shots.names
    if shots.side == "right":
        volume = volume.flip(-1)
        names = [names[0], *names[:0:-1]]  # mirrored photos come in the other order
    correction = weights.card.get(CORRECTION, 0.0) / 1000
    foot = Foot(volume.numpy(), weights.threshold, pose, correction, dict(zip(names, agreement, strict=True)))
    if not foot.solid.any():
        raise ValueError(
            "the network sees no foot in these photos: nothing is occupied; check photos, side and cameras"
        )
    report(f"{time.perf_counter() - began:.1f} s at {size}^3")
    return foot


def _agreement(said: Reconstruction, cameras: Float[Tensor, "1 views 3 7"], threshold: float) -> list[float]:
    solid = (said.probability >= threshold).float()
    drawn = silhouettes(solid, cameras, said.masks.shape[-1])[0] > 0.5
    seen = said.masks[0] > 0.5
    hit, union = (drawn & seen).sum((1, 2)), (drawn | seen).sum((1, 2))
    return (hit / union.clamp(min=1)).tolist()


def check_target(path: Path) -> None:
    """Says before the work whether `write` knows the ending of ``path``.

    Raises:
        ValueError: an unknown ending.
    """
    if path.suffix.lower() not in FORMATS:
        found = path.suffix or "a file without ending"
        raise ValueError(f"{path}: cannot write {found}; expected {', '.join(FORMATS)}")


def write(foot: Foot, path: Path) -> None:
    """Writes the foot as a mesh or a grid, by the ending of ``path``: metres, and millimetres in ``.stl``.

    Raises:
        ValueError: an unknown ending.
        OSError: it cannot be written.
    """
    check_target(path)
    ending = path.suffix.lower()
    if ending == ".binvox":
        write_binvox(path, VoxelGrid(foot.solid, FOOT_CUBE))
        return
    import trimesh

    vertices, faces = to_mesh(foot.probability, FOOT_CUBE, foot.threshold)
    mesh = trimesh.Trimesh(vertices * (1000 if ending == ".stl" else 1), faces, process=False)
    write_atomically(path, lambda partial: mesh.export(partial))
