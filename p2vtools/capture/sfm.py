"""Structure from motion with pycolmap: poses of photos without a mat, and a solid from the sparse points.

Schönberger and Frahm, Structure-from-Motion Revisited (CVPR 2016). Smooth skin has no features, so photos are
registered by the features of the floor: on a plain floor, or with few or small photos, there is no model.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from p2vlib.geometry.cameras import Camera
from p2vlib.geometry.frames import Cube
from p2vtools.archives.photo_files import encode_photo
from p2vtools.capture.app_exports import WITHOUT_MAT, Export
from p2vtools.capture.app_formats.colmap import frames_from_model
from p2vtools.capture.charuco import DEFAULT_FOCAL
from p2vtools.capture.mat_capture import read_photos

if TYPE_CHECKING:
    import pycolmap

MIN_REGISTERED = 3
"""Photos that must be registered; fewer camera positions do not determine the pose of the model."""

MIN_PROVEN, MIN_ANGLE = 6, 8.0
"""Of photos without a mat, so many and at least half must be registered, and half of the points must be seen under at
least this angle, degrees, between two photos; rays that are nearly parallel determine no distance."""

MAX_PHOTOS = 40
"""Photos matched with each other by `read_photos_without_mat`; of more, evenly spaced ones are used."""

RESTARTS = 5

FLOOR_HEIGHT = 0.006
"""Points below this height belong to the floor, metres."""

MAX_CIRCUMRADIUS = 0.03
"""Largest circumradius of a tetrahedron of the alpha shape, metres; wider gaps between points stay open."""


@dataclass(frozen=True, eq=False)
class SparseModel:
    """Result of structure from motion."""

    points: Float[np.ndarray, "points 3"]
    """In the frame of the given cameras, metres; empty without a model."""
    registered: tuple[int, ...]
    """Indices of the registered photos."""
    error: float
    """Median distance of the registered cameras from their given positions, metres; NaN without a model."""
    seconds: float


def run_sfm(photos: list[bytes], cameras: list[Camera]) -> SparseModel:
    """Features, matching and incremental mapping of ``photos`` (contents of JPEG or PNG files).

    Intrinsics are those of ``cameras``. The model is aligned to their positions by a similarity transform; their
    rotations are not used.
    """
    import trimesh

    start = time.perf_counter()
    parameters = [tuple(camera.intrinsics[[0, 1, 0, 1], [0, 1, 2, 2]].tolist()) for camera in cameras]
    model = map_photos(photos, "PINHOLE", parameters)
    if model is None:
        return SparseModel(np.zeros((0, 3)), (), float("nan"), time.perf_counter() - start)
    images = sorted((image for image in model.images.values() if image.has_pose), key=lambda image: image.name)
    registered = tuple(_photo_index(image.name) for image in images)
    estimated = np.stack([image.projection_center() for image in images])
    given = np.stack([cameras[index].position for index in registered])
    to_world, aligned, _ = trimesh.registration.procrustes(estimated, given, reflection=False)
    points = np.stack([point.xyz for point in model.points3D.values()])
    error = float(np.median(np.linalg.norm(aligned - given, axis=1)))
    return SparseModel(trimesh.transform_points(points, to_world), registered, error, time.perf_counter() - start)


def read_photos_without_mat(source: Path, report: Callable[[str], object] = lambda line: None) -> Export:
    """The photos in the folder ``source`` with cameras from structure from motion, without a scale.

    Raises:
        ValueError: no or too few photos, photos that do not overlap, or a model that is not certain.
    """
    pictures, focals = read_photos(source, MAX_PHOTOS, report)
    names = list(pictures)
    if len(names) < MIN_PROVEN:
        raise ValueError(f"{source}: too few photos ({len(names)}), expected at least {MIN_PROVEN}; {WITHOUT_MAT}")
    report(f"matching {len(names)} photos with each other")
    photos = [encode_photo(picture, quality=95) for picture in pictures.values()]
    parameters = []
    for name, picture in pictures.items():
        height, width = picture.shape[:2]
        parameters.append(((focals[name] or DEFAULT_FOCAL) * max(width, height), width / 2, height / 2, 0.0))
    model = map_photos(photos, "SIMPLE_RADIAL", parameters, refine=True, threads=os.cpu_count() or 1)
    if model is None:
        raise ValueError(
            f"{source}: none of {len(names)} photos could be matched with the others: smooth skin and a plain floor"
            f" have no features, or the photos do not overlap; {WITHOUT_MAT}"
        )
    check_model(model, len(names), source)
    frames, points = frames_from_model(model)
    frames = [replace(frame, name=names[_photo_index(frame.name)]) for frame in frames]
    for name in sorted(pictures.keys() - {frame.name for frame in frames}):
        report(f"{name}: rejected, it could not be matched with the other photos")
    return Export(
        "structure from motion", frames, lambda name, side: Image.fromarray(pictures[name]), None, False, points=points
    )


def check_model(model: pycolmap.Reconstruction, photos: int, source: Path) -> None:
    """Checks that enough of the ``photos`` in ``source`` are in the model, and that they determine its points.

    Raises:
        ValueError: they do not.
    """
    registered, needed = model.num_reg_images(), max(MIN_PROVEN, -(-photos // 2))
    if registered < needed:
        found = f"only {registered} of {photos} photos could be matched with each other, expected at least {needed}"
        raise ValueError(f"{source}: {found}; {WITHOUT_MAT}")
    centres, cosines = {key: image.projection_center() for key, image in model.images.items() if image.has_pose}, []
    for point in model.points3D.values():
        rays = np.stack([centres[element.image_id] for element in point.track.elements]) - point.xyz
        rays /= np.linalg.norm(rays, axis=1, keepdims=True)
        cosines.append((rays @ rays.T).min())
    angle = float(np.rad2deg(np.arccos(np.clip(np.median(cosines), -1, 1))))
    if angle < MIN_ANGLE:
        found = f"the photos differ too little: most points are seen under {angle:.1f} degrees between two of them"
        raise ValueError(f"{source}: {found}, expected at least {MIN_ANGLE:.0f}; {WITHOUT_MAT}")


def map_photos(
    photos: list[bytes], camera_model: str, parameters: list[tuple[float, ...]], refine: bool = False, threads: int = 1
) -> pycolmap.Reconstruction | None:
    """The model with the most registered photos, then most observations; None with fewer than `MIN_REGISTERED` photos.

    Args:
        photos: contents of JPEG or PNG files.
        camera_model: COLMAP's name of the camera model of all photos.
        parameters: those of the model for each photo. Photos with equal ones are of one lens, and of one size.
        refine: whether the parameters are initial values only. Then, on a floor alone, a mirrored pose can fit a photo,
            with fewer observations; mapping is restarted `RESTARTS` times to avoid it.
    """
    import pycolmap

    pycolmap.logging.minloglevel = 3  # failures are results here
    # With affine shapes twice as many points are found on a floor seen at a slant.
    features = {"max_num_features": 4000, "peak_threshold": 0.002, "estimate_affine_shape": True}
    mapping = pycolmap.IncrementalPipelineOptions(
        num_threads=threads,
        min_num_matches=8,
        ba_refine_focal_length=refine,
        mapper={"init_min_num_inliers": 30, "init_min_tri_angle": 4.0, "abs_pose_min_num_inliers": 12},
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        database, cpu = folder / "database.db", pycolmap.Device.cpu
        names = [f"{index:04d}.{'png' if b'PNG' in photo[:4] else 'jpg'}" for index, photo in enumerate(photos)]
        for file, photo in zip(names, photos, strict=True):
            (folder / file).write_bytes(photo)
        for lens in dict.fromkeys(parameters):
            pycolmap.extract_features(
                database,
                folder,
                image_names=[file for file, other in zip(names, parameters, strict=True) if other == lens],
                camera_mode=pycolmap.CameraMode.SINGLE,
                reader_options={"camera_model": camera_model, "camera_params": ",".join(map(str, lens))},
                extraction_options={"num_threads": threads, "sift": features},
                device=cpu,
            )
        pycolmap.match_exhaustive(database, matching_options={"num_threads": threads}, device=cpu)
        models = []
        for seed in range(RESTARTS) if refine else [mapping.random_seed]:
            mapping.random_seed = seed
            models += pycolmap.incremental_mapping(database, folder, folder / f"models{seed}", options=mapping).values()
    best = max(models, key=lambda model: (model.num_reg_images(), model.compute_num_observations()), default=None)
    return None if best is None or best.num_reg_images() < MIN_REGISTERED else best


def _photo_index(name: str) -> int:
    """Index of the photo that `map_photos` wrote as the file ``name``."""
    return int(Path(name).stem)


def alpha_shape(
    points: Float[np.ndarray, "points 3"], cube: Cube, size: int = 32, height: float = 1.0
) -> Bool[np.ndarray, "x y z"]:
    """Solid grid of the alpha shape (Edelsbrunner and Mücke 1994) of the points in ``cube`` and above the floor.

    A voxel is occupied where its centre lies in a Delaunay tetrahedron with a circumradius below `MAX_CIRCUMRADIUS`.
    Too few points enclose nothing.

    Args:
        size: voxels a side.
        height: share of the cube's height above which all voxels are empty.
    """
    from scipy.spatial import Delaunay, QhullError

    solid = np.zeros((size,) * 3, bool)
    lower = np.asarray(cube.lower)
    inside = ((points > lower) & (points < lower + cube.edge)).all(1) & (points[:, 1] > FLOOR_HEIGHT)
    if inside.sum() < 5:
        return solid
    try:
        mesh = Delaunay(points[inside])
    except QhullError:  # all in one plane
        return solid
    corners = mesh.points[mesh.simplices]
    edges = corners[:, 1:] - corners[:, :1]
    flat = np.abs(np.linalg.det(edges)) < 1e-15
    edges[flat] = np.eye(3)
    radius = np.linalg.norm(np.linalg.solve(2 * edges, (edges**2).sum(2)[..., None])[..., 0], axis=1)
    in_shape = (radius < MAX_CIRCUMRADIUS) & ~flat
    layers = round(height * size)
    simplices = mesh.find_simplex(cube.voxel_centres(size)[:, :layers].reshape(-1, 3))
    solid[:, :layers] = (in_shape[simplices] & (simplices >= 0)).reshape(size, layers, size)
    return solid
