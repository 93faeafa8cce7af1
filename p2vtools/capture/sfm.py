"""Structure from motion: pycolmap on the photos of a capture, its points in the capture's frame, and a solid of them.

Schönberger and Frahm, Structure-from-Motion Revisited (CVPR 2016). Smooth skin has no features, so what registers the
photos is the floor: where it is plain, or the photos are few or small, there is no model, and that is an answer too.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from p2vlib.geometry.cameras import Camera
from p2vlib.geometry.frames import Cube

if TYPE_CHECKING:
    import pycolmap

MIN_REGISTERED = 3
"""Photos that have to be registered: fewer camera places do not say how the model lies in the world."""

RESTARTS = 5

FLOOR_HEIGHT = 0.006
"""Points below this height are the floor's, metres."""

MAX_CIRCUMRADIUS = 0.03
"""Largest circumradius of a tetrahedron that counts as solid, metres: wider gaps between points stay open."""


@dataclass(frozen=True, eq=False)
class SparseModel:
    """What structure from motion found."""

    points: Float[np.ndarray, "points 3"]
    """In the frame of the cameras that it was aligned to, metres; none where it failed."""
    registered: tuple[int, ...]
    """Which of the photos."""
    error: float
    """Median distance of the registered cameras from where they are known to be, metres; NaN where it failed."""
    seconds: float


def run_sfm(photos: list[bytes], cameras: list[Camera], threads: int = 1) -> SparseModel:
    """Features, matching and incremental mapping of ``photos`` (file contents, JPEG or PNG), focal lengths known.

    The model is turned, moved and scaled to the places of ``cameras``; where they look is found, not told.
    """
    import trimesh

    began = time.perf_counter()
    focal = cameras[0].intrinsics
    model = map_photos(photos, "PINHOLE", [focal[0, 0], focal[1, 1], focal[0, 2], focal[1, 2]], threads=threads)
    if model is None:
        return SparseModel(np.zeros((0, 3)), (), float("nan"), time.perf_counter() - began)
    images = sorted((image for image in model.images.values() if image.has_pose), key=lambda image: image.name)
    registered = tuple(photo_index(image) for image in images)
    found = np.stack([image.projection_center() for image in images])
    known = np.stack([cameras[number].position for number in registered])
    to_world, there, _ = trimesh.registration.procrustes(found, known, reflection=False)
    points = np.stack([point.xyz for point in model.points3D.values()])
    error = float(np.median(np.linalg.norm(there - known, axis=1)))
    return SparseModel(trimesh.transform_points(points, to_world), registered, error, time.perf_counter() - began)


def photo_index(image: pycolmap.Image) -> int:
    """Which of the photos that were `mapped` it is."""
    return int(Path(image.name).stem)


def map_photos(
    photos: list[bytes], lens: str, parameters: list[float], refine: bool = False, threads: int = 1
) -> pycolmap.Reconstruction | None:
    """The model that registers most of the ``photos`` and explains most in them; None where it is fewer than `FEWEST`.

    Args:
        photos: contents of JPEG or PNG files of one size.
        lens: COLMAP's name of a camera model, ``parameters`` its numbers, the same for all photos.
        refine: whether they are only where the search begins. With a floor alone a photo can then be taken for its
            mirror image, which explains less of what it shows: mapping is begun `TRIES` times.
    """
    import pycolmap

    pycolmap.logging.minloglevel = 3  # its failures are a result here
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = [f"{number:04d}.{'png' if b'PNG' in photo[:4] else 'jpg'}" for number, photo in enumerate(photos)]
        for file, photo in zip(names, photos, strict=True):
            (folder / file).write_bytes(photo)
        reading = pycolmap.ImageReaderOptions()
        reading.camera_model = lens
        reading.camera_params = ",".join(map(str, parameters))
        extraction = pycolmap.FeatureExtractionOptions()
        extraction.num_threads = threads
        extraction.sift.max_num_features = 4000
        extraction.sift.peak_threshold = 0.002
        extraction.sift.estimate_affine_shape = True  # of a floor seen at a slant: twice as many points
        matching = pycolmap.FeatureMatchingOptions()
        matching.num_threads = threads
        mapping = pycolmap.IncrementalPipelineOptions()
        mapping.num_threads = threads
        mapping.min_num_matches = 8
        mapping.ba_refine_focal_length = refine
        mapping.mapper.init_min_num_inliers = 30
        mapping.mapper.init_min_tri_angle = 4.0
        mapping.mapper.abs_pose_min_num_inliers = 12
        database, cpu = folder / "database.db", pycolmap.Device.cpu
        pycolmap.extract_features(
            database,
            folder,
            image_names=names,
            camera_mode=pycolmap.CameraMode.SINGLE,
            reader_options=reading,
            extraction_options=extraction,
            device=cpu,
        )
        pycolmap.match_exhaustive(database, matching_options=matching, device=cpu)
        models = []
        for seed in range(RESTARTS) if refine else [mapping.random_seed]:
            mapping.random_seed = seed
            found = pycolmap.incremental_mapping(database, folder, folder / f"models{seed}", options=mapping)
            models += found.values()
    best = max(models, key=lambda model: (model.num_reg_images(), model.compute_num_observations()), default=None)
    return None if best is None or best.num_reg_images() < MIN_REGISTERED else best


def alpha_shape(
    points: Float[np.ndarray, "points 3"], cube: Cube, size: int = 32, height: float = 1.0
) -> Bool[np.ndarray, "x y z"]:
    """The alpha shape (Edelsbrunner and Mücke 1994) of the points in ``cube`` and above the floor, as a solid grid.

    A voxel is occupied where its centre lies in a Delaunay tetrahedron whose circumsphere is smaller than `ALPHA`. What
    is above the share ``height`` of the cube is left out. Too few points enclose nothing.
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
    kept = (radius < MAX_CIRCUMRADIUS) & ~flat
    layers = round(height * size)
    where = mesh.find_simplex(cube.voxel_centres(size)[:, :layers].reshape(-1, 3))
    solid[:, :layers] = (kept[where] & (where >= 0)).reshape(size, layers, size)
    return solid
