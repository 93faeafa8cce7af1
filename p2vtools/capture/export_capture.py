"""Transforms an `Export` to the frame of the foot and writes it as a capture folder.

With a mesh, the cleaned foot in it gives the frame. Otherwise the floor is fitted to points near where the cameras
look, and the foot on it is found from the silhouettes that the pretrained network predicts in the photos.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float, UInt8
from PIL import Image

from p2vlib.geometry.cameras import Camera
from p2vlib.geometry.frames import FOOT_CUBE
from p2vtools.capture.app_exports import WITHOUT_MAT, Export, Frame
from p2vtools.capture.capture_writer import (
    WrittenCapture,
    clockwise_order,
    metadata_row,
    turn_upright,
    write_foot_capture,
)
from p2vtools.capture.charuco import sharpness, undistort
from p2vtools.capture.ground_plane import fit_plane, random_planes
from p2vtools.capture.mat_capture import MAX_FRAMES, MAX_PHOTO_SIDE
from p2vtools.capture.scan_cleaning import CleanedScan, clean_scan, write_model
from p2vtools.fit.photo_set import (
    DEFAULT_PHOTO_SIDE,
    LENGTH_KEY,
    MAX_VIEWS,
    PhotoSet,
    common_target,
    matches_aspect,
    photo_set_from_arrays,
)
from p2vtools.fit.placement import SEARCH_SCALE, estimate_placement, foot_visual_hull, pose_matrix, scaled_cube
from p2vtools.fit.pretrained import PretrainedModel
from p2vtools.fit.reconstruct import reconstruct

CROP_RADIUS, CROP_HEIGHT = 0.28, 0.45
"""Cylinder about the point where the cameras look, within which a mesh belongs to the foot, metres."""

LEG_SHARE = 0.7
"""The part of a visual hull above this share of its height is the leg, which stands over the heel."""

FLOOR_TOLERANCE = 0.012
"""Points this close to a plane count as its inliers, as a share of the camera distance: 6 mm at half a metre."""

MIN_POINTS, MIN_INLIERS = 40, 0.15
"""Points near the foot that are needed to find a floor, and the share of them that lies in it."""

COS_TILT, COS_TILT_WITHOUT_GRAVITY = np.cos(np.deg2rad(10)), np.cos(np.deg2rad(50))
"""Cosine of the largest angle between the normal of a floor and up, by gravity or by the mean of the cameras."""

TRIALS, MAX_SAMPLES = 800, 3000
"""RANSAC trials for the floor, and points that take part."""

DISTANCES = 0.8, 6.0
"""Range of the median distance of cameras without a scale from the foot, in foot lengths: 0.2 to 1.5 m at 250 mm."""

MIN_AGREEMENT = 0.75
"""Mean silhouette IoU of the reconstruction below which cameras without a scale are refused. Rendered walks that were
placed right have 0.84 and more, and one that was placed 160 mm wrong has 0.68."""

DISTANCE_WITHOUT_SCALE = 0.55
"""Assumed distance of cameras without a scale from the foot, metres, until the foot is found."""

LENGTH_WITHOUT_SCALE = 0.25
"""Foot length, metres, to which cameras without a scale are scaled, so that the foot looks like those of the training
data."""


def capture_from_export(
    export: Export,
    side: str,
    out: Path,
    weights: PretrainedModel,
    length: float | None = None,
    report: Callable[[str], object] = lambda line: None,
) -> WrittenCapture:
    """Writes a capture folder ``out`` with photos and cameras, and with the scan and the clean foot if there is a mesh.

    Cameras without a scale are scaled until the foot has the usual length; their scale stays unknown. A foot ``length``
    measured with a ruler gives them a scale: it is stored, and the reconstructed foot is scaled to it.

    Args:
        length: millimetres from heel to longest toe (`check_foot_length`), only for an export without a scale.
        report: receives lines about the progress.

    Raises:
        ValueError: an existing ``out``, an unnecessary length, no floor, no foot in the mesh or in the photos, or
            cameras without a scale that do not agree with the photos (`check_cameras`).
    """
    if length is not None and export.metric:
        raise ValueError(f"{export.app} gives metres; omit the foot length, it is measured")
    scale = "tracking" if export.metric else "unknown" if length is None else "foot length"
    cleaned = scan = None
    if export.mesh is not None:
        cleaned, scan = _clean_mesh(export, weights)
        to_foot = cleaned.to_foot
    else:
        to_foot = find_floor(export)
    frames = _select_frames(export, to_foot, report)
    photos = [_upright_photo(export, frame, transform_camera(frame.camera, to_foot)) for frame in frames]
    pictures, cameras = [picture for picture, _ in photos], [camera for _, camera in photos]
    names = [frame.name for frame in frames]
    if cleaned is None:
        photo_set = photo_set_from_arrays(pictures, cameras, names, side, scale=scale)
        foot_length = LENGTH_WITHOUT_SCALE if length is None else length / 1000
        from_floor = np.linalg.inv(find_foot(weights, photo_set, foot_length))
        cameras, to_foot = [transform_camera(camera, from_floor) for camera in cameras], from_floor @ to_foot
        if not export.metric:
            placed = [transform_camera(camera, from_floor) for camera in photo_set.cameras]
            check_cameras(weights, replace(photo_set, cameras=placed), foot_length, export.app)
    order = clockwise_order([metadata_row(camera, FOOT_CUBE.centre) for camera in cameras])
    names, pictures, cameras = ([values[index] for index in order] for values in (names, pictures, cameras))
    notes = [*export.notes, *([] if cleaned is None else cleaned.notes)]
    if cleaned is not None and cleaned.side != side:
        notes.append(f"looks like a {cleaned.side} foot; stored as {side}, as requested")
    facts = {"cameras": export.app, "from the export": to_foot.tolist()}
    if length is not None:
        facts[LENGTH_KEY] = length

    def write_scan(folder: Path) -> None:
        if cleaned is not None:
            trimesh.Trimesh(scan.vertices, scan.faces, process=False).export(folder / "scan.obj")
            write_model(cleaned, folder)

    return write_foot_capture(out, side, scale, names, pictures, cameras, facts, notes=notes, write_extra=write_scan)


def transform_camera(camera: Camera, to_world: Float[np.ndarray, "4 4"]) -> Camera:
    """The camera in another world, to which the similarity transform ``to_world`` leads."""
    extrinsics = camera.extrinsics @ np.linalg.inv(to_world)
    extrinsics[:3] *= np.cbrt(np.linalg.det(to_world[:3, :3]))
    return replace(camera, extrinsics=extrinsics)


# ------------------------------------------------------------------------------------------- position and scale of foot


def _look_at_point(cameras: Sequence[Camera]) -> tuple[Float[np.ndarray, "3"], float]:
    """The point where most cameras look, and their median distance from it.

    Some photos of a walk show something else, so the worse half of the cameras is ignored.
    """
    chosen = np.arange(len(cameras))
    for _ in range(4):
        point = common_target([cameras[number] for number in chosen])
        offsets = np.stack([camera.position - point for camera in cameras])
        axes = np.stack([camera.extrinsics[2, :3] for camera in cameras])
        from_axis = np.linalg.norm(np.cross(offsets, axes), axis=1)
        chosen = np.argsort(from_axis)[: max(2, (len(cameras) + 1) // 2)]
    return point, float(np.median(np.linalg.norm(offsets[chosen], axis=1)))


def _clean_mesh(export: Export, weights: PretrainedModel) -> tuple[CleanedScan, trimesh.Trimesh]:
    """The clean foot where the cameras look, and the mesh around it in the frame of the foot."""
    point, _ = _look_at_point([frame.camera for frame in export.frames])
    offsets = export.mesh.triangles_center - point
    height = offsets @ export.up
    radius = np.linalg.norm(offsets - height[:, None] * export.up, axis=1)
    near = np.flatnonzero((radius < CROP_RADIUS) & (height < CROP_HEIGHT))
    if not len(near):
        raise ValueError(f"{export.app}: its mesh is empty where the cameras look; is it of the same scan?")
    scan = export.mesh.submesh([near], append=True, repair=False)
    cleaned = clean_scan(scan, weights.typical_foot.solid.numpy(), "m")
    if (cleaned.to_foot[:3, :3] @ export.up)[1] < COS_TILT:
        raise ValueError(
            f"{export.app}: the foot found in its mesh does not stand upright; is one foot in the middle of the scan,"
            " on the floor?"
        )
    return cleaned, scan.apply_transform(cleaned.to_foot)


def find_floor(export: Export) -> Float[np.ndarray, "4 4"]:
    """The transform from the world of the export to one with the floor at y = 0 and the look-at point above the origin.

    The floor is the plane with most points near the foot (RANSAC, Fischler and Bolles 1981) among those that are level
    by gravity or, where that is unknown, below the cameras. Cameras without a scale get a distance of
    `DISTANCE_WITHOUT_SCALE`.

    Raises:
        ValueError: too few points, or no plane in them.
    """
    cameras = [frame.camera for frame in export.frames]
    target, distance = _look_at_point(cameras)
    near = export.points[np.linalg.norm(export.points - target, axis=1) < 1.5 * distance]
    plane = _fit_floor(near, cameras, export.up, FLOOR_TOLERANCE * distance, np.random.default_rng(0))
    if plane is None:
        reasons = "; ".join([f"{len(near)} points near the foot and no plane in them", *export.notes])
        raise ValueError(
            f"no floor found ({reasons}); export with mesh or depth, or photograph the foot on a sheet of paper"
        )
    up, level = plane
    to_floor = trimesh.geometry.align_vectors(up, [0.0, 1.0, 0.0])
    to_floor[:3, 3] = -to_floor[:3, :3] @ (target - (target @ up - level) * up)
    return to_floor if export.metric else np.diag([*[DISTANCE_WITHOUT_SCALE / distance] * 3, 1.0]) @ to_floor


def _fit_floor(
    points: np.ndarray, cameras: Sequence[Camera], up: np.ndarray | None, tolerance: float, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "3"], float] | None:
    """Normal and level of the floor."""
    if len(points) < MIN_POINTS:
        return None
    rotations = np.stack([camera.extrinsics[:3, :3] for camera in cameras])
    positions = np.stack([camera.position for camera in cameras])
    # Without gravity: the mean viewing direction points down, and the mean up direction of the photos leans back.
    expected_up = -rotations[:, 1:].sum((0, 1)) if up is None else up
    expected_up = expected_up / np.linalg.norm(expected_up)
    sample = points[rng.permutation(len(points))[:MAX_SAMPLES]]
    normals, lengths, base = random_planes(sample, rng, TRIALS)
    normals /= lengths[:, None] + 1e-12
    normals *= np.where(normals @ expected_up < 0, -1, 1)[:, None]
    levels = (normals * base).sum(1)
    possible = normals @ expected_up > (COS_TILT_WITHOUT_GRAVITY if up is None else COS_TILT)
    possible &= (positions @ normals.T > levels).mean(0) > 0.9
    inliers = np.where(possible, (np.abs(sample @ normals.T - levels) < tolerance).mean(0), 0)
    if inliers.max() < MIN_INLIERS:
        return None
    normal, level = normals[inliers.argmax()], levels[inliers.argmax()]
    for _ in range(3):
        normal, level = fit_plane(points[np.abs(points @ normal - level) < tolerance], normal)
    return normal, level


def find_foot(weights: PretrainedModel, photo_set: PhotoSet, length: float) -> Float[np.ndarray, "4 4"]:
    """The pose of the foot, at any yaw, in a world whose floor is y = 0: from the frame of the foot to that world.

    The pose follows from the visual hull of the predicted silhouettes; the leg stands over the heel. If the cameras are
    not metric, the pose includes the scale at which the foot is ``length`` metres long.

    Raises:
        ValueError: no foot where the cameras look.
    """
    cube, pose = scaled_cube(SEARCH_SCALE), np.eye(4)
    for _ in range(2 if photo_set.metric else 4):
        cameras = [transform_camera(camera, np.linalg.inv(pose)) for camera in photo_set.cameras]
        hull = foot_visual_hull(weights, replace(photo_set, cameras=cameras), np.eye(4), cube)
        found = estimate_placement(hull, cube)
        if found is None:
            raise ValueError(
                f"no foot found where the {len(photo_set.photos)} cameras look; expected one bare foot in the middle of"
                " most photos: is it the export of another scan?"
            )
        step = pose_matrix(*found)
        points = trimesh.transform_points(cube.voxel_centres(len(hull))[hull > 0.5], np.linalg.inv(step))
        if points[points[:, 1] > LEG_SHARE * points[:, 1].max(), 0].mean() > 0:
            step = step @ np.diag([-1.0, 1, -1, 1])
        if not photo_set.metric:
            step[:3, :3] *= np.ptp(points[:, 0]) / length
        pose = pose @ step
    return pose


def check_cameras(weights: PretrainedModel, photo_set: PhotoSet, length: float, app: str) -> None:
    """Checks cameras that nothing but matched features has placed, with the foot at the origin.

    Wrong matches between the tiles of a floor give cameras that agree with each other but not with the foot: the visual
    hull is then small, so the cameras are far away, and the reconstruction has not the silhouettes in the photos.

    Args:
        length: of the foot at the scale of the cameras, metres.

    Raises:
        ValueError: wrong cameras.
    """
    distance = float(np.median([np.linalg.norm(camera.position) for camera in photo_set.cameras])) / length
    agreement = statistics.fmean(reconstruct(weights, photo_set).silhouette_iou.values())
    problems = []
    if not DISTANCES[0] <= distance <= DISTANCES[1]:
        problems.append(
            f"they are {distance:.1f} foot lengths from the foot, expected {DISTANCES[0]} to {DISTANCES[1]}"
        )
    if agreement < MIN_AGREEMENT:
        problems.append(f"the silhouettes of the foot agree to {agreement:.2f}, expected {MIN_AGREEMENT:.2f}")
    if problems:
        cause = "tiles and other repeated patterns are matched wrongly, or the foot moved"
        raise ValueError(f"{app}: its cameras are wrong ({'; '.join(problems)}): {cause}; {WITHOUT_MAT}")


# --------------------------------------------------------------------------------------------------------------- photos


def _select_frames(export: Export, to_foot: Float[np.ndarray, "4 4"], report: Callable[[str], object]) -> list[Frame]:
    """At most `MAX_VIEWS` of the photos that show the position of the foot: the sharpest from each direction."""
    candidates = []
    for frame in export.frames:
        camera = transform_camera(frame.camera, to_foot)
        across, down, depth = camera.project(FOOT_CUBE.centre[None])[0]
        if depth > 0 and 0 < across < camera.width and 0 < down < camera.height:
            candidates.append((metadata_row(camera, FOOT_CUBE.centre)[0], frame))
    report(f"{len(candidates)} of {len(export.frames)} photos show the position of the foot")
    if not candidates:
        raise ValueError(
            f"none of {len(export.frames)} photos shows the position of the foot; were all taken around one foot on "
            f"the floor? {WITHOUT_MAT}"
        )
    if len(candidates) <= MAX_VIEWS:
        return [frame for _, frame in candidates]
    best: dict[int, tuple[float, Frame]] = {}
    for azimuth, frame in candidates[:: -(-len(candidates) // MAX_FRAMES)]:
        sector, value = int(azimuth * MAX_VIEWS / 360) % MAX_VIEWS, frame.sharpness
        if value is None:
            small = export.open_photo(frame.name, DEFAULT_PHOTO_SIDE).convert("RGB")
            small.thumbnail((DEFAULT_PHOTO_SIDE, DEFAULT_PHOTO_SIDE), reducing_gap=2.0)
            value = sharpness(np.asarray(small))
        if sector not in best or value > best[sector][0]:
            best[sector] = value, frame
    return [frame for _, frame in best.values()]


def _upright_photo(export: Export, frame: Frame, camera: Camera) -> tuple[UInt8[np.ndarray, "height width 3"], Camera]:
    """The undistorted photo, and its ``camera``, both turned by quarters until up is up.

    Phones store photos as the sensor lies, along the device, however that is held.
    """
    photo = export.open_photo(frame.name, MAX_PHOTO_SIDE).convert("RGB")
    if not matches_aspect(camera, *photo.size):
        found, expected = f"{photo.width} x {photo.height}", f"{camera.width} x {camera.height}"
        raise ValueError(f"{frame.name}: {found} pixels, but its camera has {expected}: another aspect ratio")
    photo.thumbnail((MAX_PHOTO_SIDE, MAX_PHOTO_SIDE), Image.Resampling.LANCZOS, reducing_gap=2.0)
    camera, picture = camera.resized(*photo.size), np.asarray(photo)
    if frame.distortion.any():
        picture = undistort(picture, camera, frame.distortion)
    return turn_upright(picture, camera)
