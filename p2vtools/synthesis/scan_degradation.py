"""What an app with LiDAR makes of a foot: its floor, its noise, its holes, its own frame and unit.

An app fuses depths on a grid and draws one surface around all that it saw, and so is it done here: foot, floor and what
stands on it become one solid, the surface strays and is smoothed, and what no camera sees is left out.
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
"""What is scanned, metres, and the app's voxels along it: 4 mm."""

NOISE = (0.002, 0.006)
"""How far depths stray, metres, standard deviation along the surface's normal, before the app smooths them."""

GRAIN = (0.002, 0.004)
"""Over what distance they stray alike, metres: standard deviation of the blur that makes noise of it."""

SMOOTHING = (2, 6)
"""How often the app smooths by halves (Laplacian), 2 to 5: as a blur of 3 to 5 mm, which takes edges with the noise."""

LEG = (0.15, 0.40)
"""Where the scan of the leg ends, metres above the floor: above the cut, and up to the knee."""

HOLES, GAPS = 0.10, 10
"""The share of the foot's surface that is missing where there are holes, and in how many places."""

TILT = 10.0
"""Most degrees by which the floor is turned against the foot."""

OVERHANG, UNSEEN = 0.03, (0.002, 0.006)
"""No camera stands under a foot: what faces down below this height, metres, is not seen where there is a floor. Without
one the scan ends at such a height: there the app cut it off the floor."""


@dataclass(frozen=True)
class ScanTruth:
    """Where the foot is in a scan, and what was done to it."""

    side: str
    to_scan: Float[np.ndarray, "4 4"]
    """From the foot's frame, metres, to the scan's coordinates."""
    unit: str
    """Of the scan's coordinates."""
    floor: str
    """``none``, ``sheet`` (its upper side alone) or ``slab`` (closed)."""
    tilt: float
    """Degrees by which the floor is turned against the sole."""
    noise: float
    """As `NOISE`."""
    holes: float
    """The share of the surface that is missing."""
    sole: bool
    """Whether it was seen."""
    leg: float
    """Metres of leg above the floor."""
    strays: int
    """Pieces that are no foot."""


def degrade_scan(foot: SyntheticFoot, rng: np.random.Generator) -> tuple[trimesh.Trimesh, ScanTruth]:
    """A scan of ``foot`` as an app exports it, and what is true of it.

    The floor is there in two of three scans. In half of these it is turned against the sole by up to `TILT`, as when
    the app lost its bearings between them, about a point under the foot: where it rises into the foot it hides it,
    and where it sinks there is a gap. Without a floor the sole is there in one of four. The whole is turned at random.
    """
    floor = str(rng.choice(["none", "sheet", "slab"]))
    tilt = float(rng.uniform(0, TILT)) if floor != "none" and rng.uniform() < 0.5 else 0.0
    sole = floor == "none" and rng.uniform() < 0.25
    leg, noise = float(rng.uniform(*LEG)), float(rng.uniform(*NOISE))
    post = floor != "none" and rng.uniform() < 0.3
    solid = voxelise(foot.leg_mesh.vertices, foot.leg_mesh.faces, ROOM, SIZE).volume
    above = np.full(solid.shape, np.inf, np.float32)
    if floor != "none":
        above = _above(foot, tilt, rng)
        solid = _with_floor(solid, above, foot, post, rng)
    vertices, faces = to_mesh(ndimage.gaussian_filter(solid.astype(np.float32), 0.8), ROOM)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    seen = _seen(mesh, above, floor, sole, leg, rng)
    holes = HOLES if rng.uniform() < 0.5 else 0.0
    if holes:
        at = mesh.triangles_center
        seen &= ~_gaps(at, seen & (_read(above, at) > 0.006), holes, rng)
    mesh.vertices += mesh.vertex_normals * _strays(vertices, noise, rng)[:, None]
    trimesh.smoothing.filter_laplacian(mesh, 0.5, int(rng.integers(*SMOOTHING)), volume_constraint=False)
    mesh.update_faces(seen)
    mesh.remove_unreferenced_vertices()
    specks = int(rng.integers(0, 6))
    mesh = trimesh.util.concatenate([mesh, *(_speck(rng) for _ in range(specks))])
    if rng.uniform() < 0.5:  # as files that repeat a vertex for every triangle
        mesh = trimesh.Trimesh(mesh.triangles.reshape(-1, 3), np.arange(mesh.faces.size).reshape(-1, 3), process=False)
    unit = str(rng.choice(list(UNITS)))
    to_scan = trimesh.transformations.random_rotation_matrix(rng.uniform(size=3))
    to_scan[:3, 3] = rng.uniform(-0.5, 0.5, 3)
    to_scan[:3] /= UNITS[unit]
    mesh.apply_transform(to_scan)
    return mesh, ScanTruth(foot.side, to_scan, unit, floor, tilt, noise, holes, sole, leg, specks + int(post))


def _above(foot: SyntheticFoot, tilt: float, rng: np.random.Generator) -> Float[np.ndarray, "x y z"]:
    """Height of every voxel above a floor that is turned by ``tilt`` degrees about a point under the foot."""
    lower, upper = foot.solid.bounds
    pivot = np.array([lower[0] + rng.uniform(0.15, 0.75) * (upper[0] - lower[0]), 0.0, (lower[2] + upper[2]) / 2])
    way, slope = rng.uniform(0, 2 * np.pi), np.deg2rad(tilt)
    normal = np.array([np.sin(slope) * np.cos(way), np.cos(slope), np.sin(slope) * np.sin(way)])
    return ((ROOM.voxel_centres(SIZE) - pivot) @ normal).astype(np.float32)


def _with_floor(
    solid: Bool[np.ndarray, "x y z"],
    above: Float[np.ndarray, "x y z"],
    foot: SyntheticFoot,
    post: bool,
    rng: np.random.Generator,
) -> Bool[np.ndarray, "x y z"]:
    """The foot on a piece of floor of any size, with the leg of a chair or table (``post``) beside it."""
    lower, upper = foot.solid.bounds[:, [0, 2]]
    x, _, z = np.moveaxis(ROOM.voxel_centres(SIZE), -1, 0)
    margin = rng.uniform(0.03, 0.10, (2, 2))
    piece = (x > lower[0] - margin[0, 0]) & (x < upper[0] + margin[0, 1])
    piece &= (z > lower[1] - margin[1, 0]) & (z < upper[1] + margin[1, 1])
    if post:
        radius = rng.uniform(0.012, 0.025)
        away = np.hypot(x - rng.uniform(lower[0], upper[0]), z - rng.choice([lower[1] - 0.07, upper[1] + 0.07]))
        solid = solid | ((away < radius) & (above < rng.uniform(0.1, 0.4)))
        piece |= away < radius + 0.02
    thick = rng.uniform(0.009, 0.025)
    return (solid & (above > 0)) | (piece & (above < 0) & (above > -thick))


def _seen(
    mesh: trimesh.Trimesh,
    above: Float[np.ndarray, "x y z"],
    floor: str,
    sole: bool,
    leg: float,
    rng: np.random.Generator,
) -> Bool[np.ndarray, " faces"]:
    """Which faces of the solid a camera sees that is held above it, and the app keeps."""
    at, up = mesh.triangles_center, mesh.face_normals[:, 1]
    seen = at[:, 1] < leg
    if floor == "none":
        return seen & (sole | (at[:, 1] > rng.uniform(*UNSEEN)))
    height = _read(above, at)
    seen &= ~((up < -0.3) & (at[:, 1] < OVERHANG) & (height > 0.003))
    return seen if floor == "slab" else seen & (height > -0.006)


def _read(volume: Float[np.ndarray, "x y z"], points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, " points"]:
    """``volume`` over `ROOM` at ``points``: the nearest voxel's."""
    places = ((points - ROOM.lower) / ROOM.edge * SIZE).astype(int).clip(0, SIZE - 1)
    return volume[tuple(places.T)]


def _strays(
    vertices: Float[np.ndarray, "vertices 3"], noise: float, rng: np.random.Generator
) -> Float[np.ndarray, " vertices"]:
    """How far each vertex strays, metres: noise in space, so that neighbours stray alike."""
    rough = rng.standard_normal((SIZE,) * 3, dtype=np.float32)
    smooth = ndimage.gaussian_filter(rough, rng.uniform(*GRAIN) * SIZE / ROOM.edge)
    places = (vertices - ROOM.lower) / ROOM.edge * SIZE - 0.5
    return noise / smooth.std() * ndimage.map_coordinates(smooth, places.T, order=1, mode="nearest").astype(float)


def _gaps(
    at: Float[np.ndarray, "faces 3"], foot: Bool[np.ndarray, " faces"], share: float, rng: np.random.Generator
) -> Bool[np.ndarray, " faces"]:
    """Which faces are in holes: round ones that take ``share`` of the ``foot``."""
    away = np.linalg.norm(at[:, None] - at[rng.choice(np.flatnonzero(foot), GAPS)], axis=2).min(1)
    return away < np.quantile(away[foot], share)


def _speck(rng: np.random.Generator) -> trimesh.Trimesh:
    """A small piece that floats somewhere around the foot."""
    speck = trimesh.creation.icosphere(subdivisions=1, radius=rng.uniform(0.002, 0.008))
    away = rng.normal(size=3)
    away[1] = abs(away[1])
    return speck.apply_translation(rng.uniform(0.2, 0.35) * away / np.linalg.norm(away))
