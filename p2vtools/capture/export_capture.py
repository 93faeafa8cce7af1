"""Photos whose cameras are known in some other frame, brought into the foot's own and filed as a capture folder.

Where there is a mesh, the cleaned foot in it says where the foot stands (`clean`). Else the floor is found in points
near where the cameras look, and the foot on it by the silhouettes that the project's network sees in the photos.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float, UInt8
from PIL import Image

from p2vlib.data.photo_set import FOOT_CUBE, KEPT, MOST_VIEWS, RULER, PhotoSet, common_target, photo_set_from_arrays
from p2vlib.files import ensure_absent
from p2vlib.geometry.cameras import Camera
from p2vlib.geometry.frames import FOOT_CUBE_EDGE, SIDES, Cube
from p2vtools.capture.app_exports import Export, Frame
from p2vtools.capture.capture_writer import WrittenCapture, clockwise_order, metadata_row, write_capture
from p2vtools.capture.charuco import sharpness, undistort
from p2vtools.capture.ground_plane import through
from p2vtools.capture.mat_capture import MAX_FRAMES, MAX_PHOTO_SIDE
from p2vtools.capture.scan_cleaning import CleanedScan, clean_scan, write_model
from p2vtools.fit.pretrained import PretrainedModel
from p2vtools.fit.reconstruct import SEARCH_SCALE, estimate_placement, foot_visual_hull, pose_matrix

AROUND, ABOVE = 0.28, 0.45
"""Radius about where the cameras look and height over it within which a mesh is the foot's, metres."""

LEG = 0.7
"""Share of a carved foot's height above which it is leg, which stands over the heel."""

FLAT = 0.012
"""How far from a plane its points may be, in distances of the cameras: 6 mm for a phone half a metre away."""

FEWEST_POINTS, LEAST_SHARE = 40, 0.15
"""Points near the foot among which a floor is looked for, and the share of them that lies in it."""

UPRIGHT, LEANING = np.cos(np.deg2rad(10)), np.cos(np.deg2rad(50))
"""Cosine of how far a floor's normal may be from up as gravity says, or as the cameras together do."""

TRIALS, SAMPLE = 800, 3000

USUAL = 0.55
"""Metres from the foot at which cameras without a scale are thought to stand, until the foot is seen."""

TYPICAL = 0.25
"""Metres: how long a foot without a scale is made, so that it looks to the network as the feet that it knows."""


def capture_from_export(
    export: Export,
    side: str,
    out: Path,
    weights: PretrainedModel,
    length: float | None = None,
    report: Callable[[str], object] = lambda line: None,
) -> WrittenCapture:
    """Files an export as a capture folder ``out``: photos, cameras, and where there is a mesh the scan and clean foot.

    Cameras without a scale are scaled until the foot is as long as feet usually are, and ``subject.json`` says ``scale:
    unknown``. The one known object that gives them a scale is the foot itself: its ``length`` as a ruler says is kept,
    and the reconstructed foot is made as long as that. It is what a person without a mat can measure best, and the one
    length that a size depends on most.

    Args:
        length: millimetres from heel to longest toe; only where the export has no scale.

    Raises:
        ValueError: an unknown side, a target that is there, a length that is none or not needed, nothing that tells the
            floor, no foot in the mesh or in the photos.
    """
    if side not in SIDES:
        raise ValueError(f"side is {side!r}; expected left or right: which foot is in the photos?")
    ensure_absent(out)
    check_length(length)
    if length is not None and export.metric:
        raise ValueError(f"{export.app} exports metres; leave the foot's length away, it is measured")
    cleaned = scan = None
    if export.mesh is not None:
        cleaned, scan = _in_mesh(export, weights)
        to_foot = cleaned.to_foot
    else:
        to_foot = on_floor(export)
    frames = _chosen(export, to_foot, report)
    photos = [_upright(export, frame, moved(frame.camera, to_foot)) for frame in frames]
    pictures, cameras = [picture for picture, _ in photos], [camera for _, camera in photos]
    if cleaned is None:
        shots = photo_set_from_arrays(pictures, cameras, [frame.name for frame in frames], side, metric=export.metric)
        settled = np.linalg.inv(facing(weights, shots, (length or 1000 * TYPICAL) / 1000))
        cameras, to_foot = [moved(camera, settled) for camera in cameras], settled @ to_foot
    order = clockwise_order([metadata_row(camera, FOOT_CUBE.centre) for camera in cameras])
    names, pictures, cameras = ([part[n] for n in order] for part in ([f.name for f in frames], pictures, cameras))
    notes = [*export.notes, *([] if cleaned is None else cleaned.notes)]
    if cleaned is not None and cleaned.side != side:
        notes.append(f"looks like a {cleaned.side} foot; filed as {side}, as told")
    told = {"cameras": export.app, "from the export": to_foot.tolist()}
    if not export.metric:
        told |= {"scale": "unknown", **({} if length is None else {RULER: length})}
        notes.append("no scale" if length is None else f"scaled by the foot's length, {length:.0f} mm")

    def more(folder: Path) -> None:
        if cleaned is not None:
            trimesh.Trimesh(scan.vertices, scan.faces, process=False).export(folder / "scan.obj")
            write_model(cleaned, folder)

    return write_capture(out, side, names, pictures, cameras, told, notes=notes, write_extra=more)


def check_length(length: float | None) -> None:
    """Says before the work whether a foot can be ``length`` mm long.

    Raises:
        ValueError: it cannot.
    """
    if length is not None and not 90 <= length <= 350:
        raise ValueError(f"a foot is 90 to 350 mm long; found {length:.0f}")


def moved(camera: Camera, to_world: Float[np.ndarray, "4 4"]) -> Camera:
    """``camera`` in another world, to which ``to_world`` turns, shifts and scales its own."""
    extrinsics = camera.extrinsics @ np.linalg.inv(to_world)
    extrinsics[:3] *= np.cbrt(np.linalg.det(to_world[:3, :3]))
    return replace(camera, extrinsics=extrinsics)


# ------------------------------------------------------------------------------------------------------ where it stands


def _middle(cameras: Sequence[Camera]) -> tuple[Float[np.ndarray, "3"], float]:
    """Where the better half of the cameras looks, and how far away they are in the middle.

    On a walk some look elsewhere.
    """
    kept = np.arange(len(cameras))
    for _ in range(4):
        point = common_target([cameras[number] for number in kept])
        away = np.stack([camera.position - point for camera in cameras])
        axes = np.stack([camera.extrinsics[2, :3] for camera in cameras])
        beside = np.linalg.norm(np.cross(away, axes), axis=1)
        kept = np.argsort(beside)[: max(2, (len(cameras) + 1) // 2)]
    return point, float(np.median(np.linalg.norm(away[kept], axis=1)))


def _in_mesh(export: Export, weights: PretrainedModel) -> tuple[CleanedScan, trimesh.Trimesh]:
    """The clean foot in the mesh where the cameras look, and the mesh around it in the foot's frame."""
    point, _ = _middle([frame.camera for frame in export.frames])
    away = export.mesh.triangles_center - point
    height = away @ export.up
    flat = np.linalg.norm(away - height[:, None] * export.up, axis=1)
    kept = np.flatnonzero((flat < AROUND) & (height < ABOVE))
    if not len(kept):
        raise ValueError(f"{export.app}: its mesh has nothing where the cameras look; is it of the same scan?")
    scan = export.mesh.submesh([kept], append=True, repair=False)
    cleaned = clean_scan(scan, weights.typical_foot.solid.numpy(), "m")
    if (cleaned.to_foot[:3, :3] @ export.up)[1] < UPRIGHT:
        raise ValueError(f"{export.app}: what looks like a foot in its mesh does not stand upright; is one foot in the"
                         " middle of the scan, on the floor?")  # fmt: skip
    return cleaned, scan.apply_transform(cleaned.to_foot)


def on_floor(export: Export, seed: int = 0) -> Float[np.ndarray, "4 4"]:
    """From the export's world to one with the floor at y = 0 and the origin under where the cameras look.

    The floor is the plane near the foot with most points (RANSAC, Fischler and Bolles 1981) that lies as gravity says,
    or where that is not known, under the cameras. Cameras without a scale are set `USUAL` metres from the foot.

    Raises:
        ValueError: too few points, or no plane in them.
    """
    cameras = [frame.camera for frame in export.frames]
    middle, distance = _middle(cameras)
    near = export.points[np.linalg.norm(export.points - middle, axis=1) < 1.5 * distance]
    plane = _plane(near, cameras, export.up, FLAT * distance, np.random.default_rng(seed))
    if plane is None:
        told = "; ".join([f"{len(near)} points near the foot and no plane in them", *export.notes])
        raise ValueError(
            f"nothing tells where the floor is ({told}); export it with its mesh or its depth, or photograph the foot"
            " on the mat"
        )
    up, level = plane
    to_floor = trimesh.geometry.align_vectors(up, [0.0, 1.0, 0.0])
    to_floor[:3, 3] = -to_floor[:3, :3] @ (middle - (middle @ up - level) * up)
    return to_floor if export.metric else np.diag([*[USUAL / distance] * 3, 1.0]) @ to_floor


def _plane(
    points: np.ndarray, cameras: Sequence[Camera], up: np.ndarray | None, flat: float, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "3"], float] | None:
    """Normal and level of the floor."""
    if len(points) < FEWEST_POINTS:
        return None
    turns = np.stack([camera.extrinsics[:3, :3] for camera in cameras])
    stands = np.stack([camera.position for camera in cameras])
    # Together cameras look down, and their own up leans back as much as they do.
    towards = -turns[:, 1:].sum((0, 1)) if up is None else up
    towards = towards / np.linalg.norm(towards)
    some = points[rng.permutation(len(points))[:SAMPLE]]
    corners = some[rng.integers(len(some), size=(TRIALS, 3))]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
    normals *= np.where(normals @ towards < 0, -1, 1)[:, None]
    levels = (normals * corners[:, 0]).sum(1)
    possible = normals @ towards > (LEANING if up is None else UPRIGHT)
    possible &= (stands @ normals.T > levels).mean(0) > 0.9
    score = np.where(possible, (np.abs(some @ normals.T - levels) < flat).mean(0), 0)
    if score.max() < LEAST_SHARE:
        return None
    normal, level = normals[score.argmax()], levels[score.argmax()]
    for _ in range(3):  # the plane through what lies in it
        normal, level = through(points[np.abs(points @ normal - level) < flat], normal)
    return normal, level


def facing(weights: PretrainedModel, shots: PhotoSet, long: float) -> Float[np.ndarray, "4 4"]:
    """From the foot's frame to that of cameras which only know the floor; the foot may point anywhere.

    The silhouettes that the network sees are carved; the leg stands over the heel. Where the cameras are not metric,
    the foot's frame is scaled until it is ``long`` metres long.

    Raises:
        ValueError: no foot is seen where the cameras look.
    """
    edge = FOOT_CUBE_EDGE * SEARCH_SCALE
    cube, pose = Cube((-edge / 2, 0.0, -edge / 2), edge), np.eye(4)
    for _ in range(2 if shots.metric else 4):
        around = replace(shots, cameras=[moved(camera, np.linalg.inv(pose)) for camera in shots.cameras])
        carved = foot_visual_hull(weights, around, np.eye(4), cube)
        found = estimate_placement(carved, cube)
        if found is None:
            raise ValueError(
                f"no foot is seen where the {len(shots.photos)} cameras look; expected one bare foot in the middle of"
                " most photos: is it the export of another scan?"
            )
        turn = pose_matrix(*found)
        points = trimesh.transform_points(cube.voxel_centres(len(carved))[carved > 0.5], np.linalg.inv(turn))
        if points[points[:, 1] > LEG * points[:, 1].max(), 0].mean() > 0:
            turn = turn @ np.diag([-1.0, 1, -1, 1])
        if not shots.metric:
            turn[:3, :3] *= np.ptp(points[:, 0]) / long
        pose = pose @ turn
    return pose


# --------------------------------------------------------------------------------------------------------------- photos


def _chosen(export: Export, to_foot: Float[np.ndarray, "4 4"], report: Callable[[str], object]) -> list[Frame]:
    """Of the photos that show where the foot stands at most `MOST_VIEWS`, the sharpest one from every direction."""
    seeing = []
    for frame in export.frames:
        camera = moved(frame.camera, to_foot)
        across, down, depth = camera.project(FOOT_CUBE.centre[None])[0]
        if depth > 0 and 0 < across < camera.width and 0 < down < camera.height:
            seeing.append((metadata_row(camera, FOOT_CUBE.centre)[0], frame))
    report(f"{len(seeing)} of {len(export.frames)} photos show where the foot stands")
    if not seeing:
        raise ValueError(f"none of {len(export.frames)} photos shows where the foot stands; is it all of one scan?")
    if len(seeing) <= MOST_VIEWS:
        return [frame for _, frame in seeing]
    best: dict[int, tuple[float, Frame]] = {}
    for azimuth, frame in seeing[:: -(-len(seeing) // MAX_FRAMES)]:
        sector, value = int(azimuth * MOST_VIEWS / 360) % MOST_VIEWS, frame.sharpness
        if value is None:
            small = export.picture(frame.name, KEPT).convert("RGB")
            small.thumbnail((KEPT, KEPT), reducing_gap=2.0)
            value = sharpness(np.asarray(small))
        if sector not in best or value > best[sector][0]:
            best[sector] = value, frame
    return [frame for _, frame in best.values()]


def _upright(export: Export, frame: Frame, camera: Camera) -> tuple[UInt8[np.ndarray, "height width 3"], Camera]:
    """The photo without its lens's distortion, turned by quarters until up is up, and its ``camera`` turned with it.

    A phone's sensor lies along the device, whichever way that is held.
    """
    photo = export.picture(frame.name, MAX_PHOTO_SIDE).convert("RGB")
    if not camera.takes(*photo.size):
        found = f"{photo.width} x {photo.height} pixels"
        raise ValueError(f"{frame.name}: {found}; its camera was told {camera.width} x {camera.height}: another shape")
    photo.thumbnail((MAX_PHOTO_SIDE, MAX_PHOTO_SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    camera, picture = camera.resized(*photo.size), np.asarray(photo)
    if frame.distortion.any():
        picture = undistort(picture, camera, frame.distortion)
    for _ in range(3):
        right, down, _ = camera.extrinsics[:3, 1]
        if -down >= abs(right):
            break
        picture, camera = np.rot90(picture, -1), _turned(camera)
    return np.ascontiguousarray(picture), camera


def _turned(camera: Camera) -> Camera:
    """The camera of its picture when that is turned a quarter clockwise."""
    (fx, _, cx), (_, fy, cy), _ = camera.intrinsics
    intrinsics = np.array([[fy, 0, camera.height - cy], [0, fx, cx], [0, 0, 1]])
    quarter = np.array([[0.0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    return Camera(intrinsics, quarter @ camera.extrinsics, camera.height, camera.width)
