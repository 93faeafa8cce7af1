"""Simulated scans of feet by LiDAR apps: floor, noise, holes, and the app's own frame and unit.

Like the apps, which fuse depth maps in a voxel grid and extract one surface, it joins foot, floor and objects on the
floor in a voxel grid, adds noise to the extracted surface, smooths it, and removes what no camera sees.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trimesh
from jaxtyping import Bool, Float
from scipy import ndimage

from p2vlib.geometry.frames import UNITS, Cube
from p2vlib.geometry.grids import to_mesh, voxelise
from p2vtools.synthesis.feet.foot import SyntheticFoot

ROOM, SIZE = Cube((-0.27, -0.08, -0.27), 0.54), 135
"""The scanned volume, metres, and its voxels per edge: 4 mm each."""

NOISE = (0.002, 0.006)
"""Standard deviation of the noise along the surface normal before smoothing, metres."""

NOISE_SCALE = (0.002, 0.004)
"""Standard deviation of the Gaussian filter that correlates the noise in space, metres."""

SMOOTHING = (2, 6)
"""Iterations of Laplacian smoothing, 2 to 5: like a blur of 3 to 5 mm, which also rounds edges."""

LEG = (0.15, 0.40)
"""Height of the upper end of the scan, metres: above the cut, and up to the knee."""

HOLES, HOLE_COUNT = 0.10, 10
"""Missing share of the foot's surface in a scan with holes, and their number."""

TILT = 10.0
"""Largest angle between floor and sole, degrees."""

OVERHANG = 0.03
"""With a floor, surfaces that face down below this height are invisible to every camera, metres."""

CUT_HEIGHT = (0.002, 0.006)
"""Without a floor, the app cuts the foot off the floor at this height, metres."""


Heights = Float[np.ndarray, "x y z"]
"""Height of every voxel above the floor, metres."""

Solid = Bool[np.ndarray, "x y z"]


@dataclass(frozen=True)
class ScanTruth:
    """Ground truth of a simulated scan."""

    side: str
    to_scan: Float[np.ndarray, "4 4"]
    """From the foot's frame, metres, to the coordinates of the scan."""
    unit: str
    """Of the coordinates of the scan."""
    floor: str
    """``none``, ``sheet`` (only the upper side) or ``slab`` (closed)."""
    tilt: float
    """Angle between floor and sole, degrees."""
    noise: float
    """As `NOISE`."""
    holes: float
    """Missing share of the surface."""
    sole: bool
    """Whether the sole was scanned."""
    leg: float
    """Height of the upper end, metres."""
    strays: int
    """Number of pieces that do not belong to the foot."""


def degrade_scan(foot: SyntheticFoot, rng: np.random.Generator) -> tuple[trimesh.Trimesh, ScanTruth]:
    """Simulates a scan of ``foot`` as exported by an app, with its ground truth.

    Two of three scans have a floor. Half of these floors are tilted against the sole by up to `TILT` about a point
    under the foot, as if the app had lost tracking: the floor hides the foot on one side and leaves a gap on the other.
    Without a floor, one scan in four has the sole. Orientation and unit are random.
    """
    floor = str(rng.choice(["none", "sheet", "slab"]))
    tilt = float(rng.uniform(0, TILT)) if floor != "none" and rng.uniform() < 0.5 else 0.0
    sole = floor == "none" and rng.uniform() < 0.25
    leg, noise = float(rng.uniform(*LEG)), float(rng.uniform(*NOISE))
    has_post = floor != "none" and rng.uniform() < 0.3
    solid = voxelise(foot.leg_mesh.vertices, foot.leg_mesh.faces, ROOM, SIZE).volume
    height = np.full(solid.shape, np.inf, np.float32)
    if floor != "none":
        height = _height_above_floor(foot, tilt, rng)
        solid = _add_floor(solid, height, foot, has_post, rng)
    vertices, faces = to_mesh(ndimage.gaussian_filter(solid.astype(np.float32), 0.8), ROOM)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    visible = _visible_faces(mesh, height, floor, sole, leg, rng)
    holes = HOLES if rng.uniform() < 0.5 else 0.0
    if holes:
        centres = mesh.triangles_center
        on_foot = visible & (_sample_voxels(height, centres) > 0.006)
        middles = centres[rng.choice(np.flatnonzero(on_foot), HOLE_COUNT)]
        distance = np.linalg.norm(centres[:, None] - middles, axis=2).min(1)
        visible &= distance >= np.quantile(distance[on_foot], holes)
    mesh.vertices += mesh.vertex_normals * _surface_noise(vertices, noise, rng)[:, None]
    trimesh.smoothing.filter_laplacian(mesh, 0.5, int(rng.integers(*SMOOTHING)), volume_constraint=False)
    mesh.update_faces(visible)
    mesh.remove_unreferenced_vertices()
    specks = int(rng.integers(0, 6))
    mesh = trimesh.util.concatenate([mesh, *(_speck(rng) for _ in range(specks))])
    if rng.uniform() < 0.5:  # some formats repeat a vertex for every triangle
        mesh = trimesh.Trimesh(mesh.triangles.reshape(-1, 3), np.arange(mesh.faces.size).reshape(-1, 3), process=False)
    unit = str(rng.choice(list(UNITS)))
    to_scan = trimesh.transformations.random_rotation_matrix(rng.uniform(size=3))
    to_scan[:3, 3] = rng.uniform(-0.5, 0.5, 3)
    to_scan[:3] /= UNITS[unit]
    mesh.apply_transform(to_scan)
    strays = specks + int(has_post)
    return mesh, ScanTruth(foot.side, to_scan, unit, floor, tilt, noise, holes, sole, leg, strays)


def _height_above_floor(foot: SyntheticFoot, tilt: float, rng: np.random.Generator) -> Heights:
    """Height of every voxel above a floor tilted by ``tilt`` degrees about a point under the foot, metres."""
    lower, upper = foot.solid.bounds
    pivot = np.array([lower[0] + rng.uniform(0.15, 0.75) * (upper[0] - lower[0]), 0.0, (lower[2] + upper[2]) / 2])
    azimuth, slope = rng.uniform(0, 2 * np.pi), np.deg2rad(tilt)
    normal = np.array([np.sin(slope) * np.cos(azimuth), np.cos(slope), np.sin(slope) * np.sin(azimuth)])
    return ((ROOM.voxel_centres(SIZE) - pivot) @ normal).astype(np.float32)


def _add_floor(solid: Solid, height: Heights, foot: SyntheticFoot, has_post: bool, rng: np.random.Generator) -> Solid:
    """Adds a rectangle of floor under the foot and, with ``has_post``, the leg of a chair or table."""
    lower, upper = foot.solid.bounds[:, [0, 2]]
    x, _, z = np.moveaxis(ROOM.voxel_centres(SIZE), -1, 0)
    margin = rng.uniform(0.03, 0.10, (2, 2))
    floor = (x > lower[0] - margin[0, 0]) & (x < upper[0] + margin[0, 1])
    floor &= (z > lower[1] - margin[1, 0]) & (z < upper[1] + margin[1, 1])
    if has_post:
        radius = rng.uniform(0.012, 0.025)
        distance = np.hypot(x - rng.uniform(lower[0], upper[0]), z - rng.choice([lower[1] - 0.07, upper[1] + 0.07]))
        solid = solid | ((distance < radius) & (height < rng.uniform(0.1, 0.4)))
        floor |= distance < radius + 0.02
    thickness = rng.uniform(0.009, 0.025)
    return (solid & (height > 0)) | (floor & (height < 0) & (height > -thickness))


def _visible_faces(
    mesh: trimesh.Trimesh, height: Heights, floor: str, sole: bool, leg: float, rng: np.random.Generator
) -> Bool[np.ndarray, " faces"]:
    """The faces that a camera above the floor sees and that the app exports."""
    centres, up = mesh.triangles_center, mesh.face_normals[:, 1]
    visible = centres[:, 1] < leg
    if floor == "none":
        return visible & (sole | (centres[:, 1] > rng.uniform(*CUT_HEIGHT)))
    above = _sample_voxels(height, centres)
    visible &= ~((up < -0.3) & (centres[:, 1] < OVERHANG) & (above > 0.003))
    return visible if floor == "slab" else visible & (above > -0.006)


def _sample_voxels(height: Heights, points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, " points"]:
    """The heights at the voxels nearest to ``points``."""
    indices = ((points - ROOM.lower) / ROOM.edge * SIZE).astype(int).clip(0, SIZE - 1)
    return height[tuple(indices.T)]


def _surface_noise(
    vertices: Float[np.ndarray, "vertices 3"], noise: float, rng: np.random.Generator
) -> Float[np.ndarray, " vertices"]:
    """Displacement of each vertex along its normal, metres, correlated in space."""
    white = rng.standard_normal((SIZE,) * 3, dtype=np.float32)
    smooth = ndimage.gaussian_filter(white, rng.uniform(*NOISE_SCALE) * SIZE / ROOM.edge)
    indices = (vertices - ROOM.lower) / ROOM.edge * SIZE - 0.5
    return noise / smooth.std() * ndimage.map_coordinates(smooth, indices.T, order=1, mode="nearest").astype(float)


def _speck(rng: np.random.Generator) -> trimesh.Trimesh:
    """A small piece that floats near the foot."""
    speck = trimesh.creation.icosphere(subdivisions=1, radius=rng.uniform(0.002, 0.008))
    direction = rng.normal(size=3)
    direction[1] = abs(direction[1])
    return speck.apply_translation(rng.uniform(0.2, 0.35) * direction / np.linalg.norm(direction))
