"""A scan as an app gives it, made a clean solid foot: unit, floor, stray pieces, leg, holes, direction and side.

LiDAR scans come with the floor fused to the sole, the leg up to the knee, no sole, any unit and any direction. Nothing
here learns; what counts as a foot's side is told by a typical left foot and its mirror image.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Bool, Float
from scipy import ndimage

from .. import viewer
from ..conventions import FOOT_CUBE_EDGE, FOOT_CUT_HEIGHT, FOOT_SHARE, FOOT_SYNSET, Cube, foot_cube
from ..files import whole_folder, write_text
from ..grids import VoxelGrid, iou, read_binvox, to_mesh, voxelise, write_binvox
from ..inference import pose_of, stance
from ..shots import FOOT_CUBE

SCANS = (".obj", ".glb", ".ply", ".stl", ".off", ".binvox")

LARGEST_SCAN = 512 * 2**20
"""Bytes."""

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001}

USUAL = 0.35
"""Metres that a scan of a foot with some leg or floor measures at most, by order of magnitude."""

THICK = 0.006
"""A floor is believed to be so thick, metres: what is lower is floor or sole."""

SLAB = 0.025
"""Thickest slab of floor that is fused to a foot, metres."""

SAMPLES, FACETS = 6000, 150

ROOM = 0.40
"""Edge of the cube in which the foot is looked for, metres; and voxels along it."""
FINE = 160


@dataclass(frozen=True, eq=False)
class Cleaned:
    """A clean foot in its own frame: metres, floor at 0, toes along +x, cut at 0.12 m."""

    mesh: trimesh.Trimesh
    """Closed."""
    side: str
    to_foot: Float[np.ndarray, "4 4"]
    """From the scan's coordinates, in its unit, to the foot's."""
    unit: str
    notes: list[str] = field(default_factory=list)
    """What was done, in sentences."""

    def grid(self, size: int) -> VoxelGrid:
        """The solid in the foot's cube."""
        cube = foot_cube(self.mesh.bounds)
        return voxelise(self.mesh.vertices, self.mesh.faces, cube, size)


def guessed_unit(mesh: trimesh.Trimesh) -> str:
    """The unit in which a scan is most likely a foot."""
    extent = float(np.ptp(mesh.vertices, axis=0).max())
    return min(UNITS, key=lambda unit: abs(np.log(extent * UNITS[unit] / USUAL)))


def clean(mesh: trimesh.Trimesh, typical: Bool[np.ndarray, "x y z"], unit: str | None = None, seed: int = 0) -> Cleaned:
    """The foot in a scan.

    Args:
        mesh: any unit, any direction, open or closed, a floor or none.
        typical: a left foot in its cube, at any size (`rough.Typical`).
        unit: m, cm or mm, where it is known.

    Raises:
        ValueError: an empty scan, an unknown unit, or nothing in it that stands like a foot.
    """
    if len(mesh.faces) < 20 or not np.isfinite(mesh.vertices).all():
        raise ValueError(f"a scan needs a surface of finite points; found {len(mesh.faces)} triangles")
    if unit is not None and unit not in UNITS:
        raise ValueError(f"unit is {unit!r}; expected one of {', '.join(UNITS)}")
    known = unit or guessed_unit(mesh)
    notes = [f"unit {known}" + ("" if unit else ", guessed from its size")]
    scaled = np.diag([UNITS[known]] * 3 + [1.0])
    scan = mesh.copy().apply_transform(scaled)
    up = _standing(scan, np.random.default_rng(seed))
    scan.apply_transform(up)
    scan, left = _without_floor(scan)
    notes += left
    place = scan.vertices[scan.vertices[:, 1] < 0.06]
    middle = (place.min(0) + place.max(0)) / 2 * [1, 0, 1]
    cube = Cube(tuple(middle - [ROOM / 2, 0, ROOM / 2]), ROOM)
    solid = _solid(scan, cube)
    found = stance(solid.astype(np.float32), cube)
    if found is None:
        raise ValueError("nothing in the scan stands like a foot on a floor; expected one foot, its leg upwards")
    yaw, centre = found
    turn = np.linalg.inv(pose_of(yaw, centre))
    if _toes_behind(solid, cube, turn):
        turn = np.diag([-1.0, 1, -1, 1]) @ turn
    vertices, faces = to_mesh(_smooth(solid), cube, 0.5)
    foot = trimesh.Trimesh(vertices, faces, process=False).apply_transform(turn)
    settled = np.eye(4)
    settled[:3, 3] = -foot.bounds.mean(0) * [1, 0, 1] - [0, foot.bounds[0, 1], 0]
    foot.apply_transform(settled)
    long = float(np.ptp(foot.vertices[:, 0]))
    if not 0.10 < long < FOOT_CUBE_EDGE:
        raise ValueError(
            f"what stands in the scan is {1000 * long:.0f} mm long in {known}; expected a foot of 100 to"
            f" {1000 * FOOT_CUBE_EDGE:.0f} mm: is that the unit, and is there one foot and little else?"
        )
    side = side_of(foot, typical)
    notes.append(f"{side} foot, {1000 * long:.0f} mm long with its leg cut at 120 mm")
    return Cleaned(foot, side, settled @ turn @ up @ scaled, known, notes)


def _standing(scan: trimesh.Trimesh, rng: np.random.Generator) -> Float[np.ndarray, "4 4"]:
    """Turns and moves a scan until its floor, or the sole where there is none, is y = 0.

    A scan can rest on the facets of its convex hull. It stands like a foot on the one from which it is long and narrow
    low down and compact higher up; of those the flattest is taken. Above a slab of floor that is its upper side.
    """
    points, at = trimesh.sample.sample_surface(scan, SAMPLES, seed=int(rng.integers(2**31)))
    normals = scan.face_normals[at]
    hull = trimesh.convex.convex_hull(points)
    groups = [np.array([n]) for n in np.argsort(-hull.area_faces)[:FACETS]] + list(hull.facets)
    directions = [-np.average(hull.face_normals[group], axis=0, weights=hull.area_faces[group]) for group in groups]
    best, score, level = None, -np.inf, 0.0
    for again in range(3):
        if again and best is not None:  # around the best one: a rim where the sole is missing is not flat
            directions = best + rng.normal(scale=0.10 / again, size=(80, 3))
        for direction in directions:
            up = direction / np.linalg.norm(direction)
            height = points @ up
            here = _level(height, normals @ up)
            value = _like_a_foot(points, up, height - here)
            if value > score:
                best, score, level = up, value, here
    if best is None:
        raise ValueError("nothing in the scan stands like a foot on a floor; expected one foot, its leg upwards")
    up = best
    for _ in range(3):  # the plane through what lies in it
        plane = points[np.abs(points @ up - level) < THICK / 2]
        if len(plane) < 0.04 * len(points):
            break
        centre = plane.mean(0)
        fitted = np.linalg.svd(plane - centre, full_matrices=False)[2][2]
        up = fitted * np.sign(fitted @ up)
        level = centre @ up
    turn = trimesh.geometry.align_vectors(up, [0.0, 1.0, 0.0])
    turn[1, 3] = -level
    return turn


def _level(height: np.ndarray, facing: np.ndarray) -> float:
    """Where the floor is along a direction: its upper side if there is one near the bottom, or the bottom itself."""
    bottom = float(np.quantile(height, 0.002))
    flat = (facing > 0.9) & (height - bottom < SLAB)
    if flat.mean() < 0.08:
        return bottom
    count, edges = np.histogram(height[flat], bins=np.arange(bottom - 0.002, bottom + SLAB + 0.002, 0.002))
    top = int(count.argmax())
    return float(edges[top] + 0.001)


def _like_a_foot(points: np.ndarray, up: np.ndarray, height: np.ndarray) -> float:
    """How much a scan stands like a foot in this direction; minus infinity: not at all."""
    across = np.linalg.svd(up[None])[2][1:]
    low, high = (points[(height > a) & (height < b)] @ across.T for a, b in ((0.008, 0.03), (0.085, 0.115)))
    if len(low) < 40 or len(high) < 15 or (height < -SLAB).mean() > 0.03:
        return -np.inf
    long, broad = _extents(low)
    leg, depth = _extents(high)
    if not (0.10 < long < 0.36 and 0.04 < broad < 0.16 and leg < 0.20 and depth > 0.03):
        return -np.inf
    # Standing flat, more of its surface is near the floor than tilted about heel or toes.
    return float(min(long / broad, 3.0) / 3 - leg / depth / 3 + 8 * (height < 0.025).mean())


def _extents(flat: Float[np.ndarray, "points 2"]) -> tuple[float, float]:
    """Along the principal axis and across it, without the outermost points."""
    centred = flat - flat.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2]
    low, high = np.quantile(centred @ axes.T, (0.02, 0.98), axis=0)
    return tuple((high - low).tolist())


def _without_floor(scan: trimesh.Trimesh) -> tuple[trimesh.Trimesh, list[str]]:
    """What is above the floor, in its largest piece."""
    above = scan.vertices[:, 1] > THICK
    kept = scan.submesh([np.flatnonzero(above[scan.faces].any(1))], append=True)
    flat = 1 - kept.area / scan.area
    pieces = trimesh.graph.connected_components(kept.face_adjacency, nodes=np.arange(len(kept.faces)))
    if not len(pieces):
        raise ValueError("the scan is all floor; expected a foot on it")
    largest = max(pieces, key=lambda piece: kept.area_faces[piece].sum())
    # Pieces that holes have cut off the foot are near it and are part of it.
    corners = kept.triangles[largest].reshape(-1, 3)
    lower, upper = corners.min(0) - 0.01, corners.max(0) + 0.01
    near = [piece for piece in pieces if _within(kept.triangles[piece].reshape(-1, 3), lower, upper)]
    foot = kept.submesh([np.concatenate(near)], append=True)
    notes = [f"{flat:.0%} of the surface was floor or sole"]
    if stray := len(pieces) - len(near):
        notes.append(f"{stray} stray piece{'s' * (stray > 1)} dropped")
    return foot, notes


def _within(points: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> bool:
    return bool(((points >= lower) & (points <= upper)).all())


def _solid(scan: trimesh.Trimesh, cube: Cube) -> Bool[np.ndarray, "x y z"]:
    """The foot below the cut on a fine grid, its sole and its holes closed."""
    solid = voxelise(scan.vertices, scan.faces, cube, FINE).volume
    # The sole is where the floor was: what is solid just above it goes down to it.
    first = int(np.ceil(1.5 * THICK * FINE / ROOM))
    solid[:, :first] = solid[:, first : first + 1]
    solid[:, round(FOOT_CUT_HEIGHT * FINE / ROOM) :] = False
    solid = np.stack([ndimage.binary_fill_holes(solid[:, layer]) for layer in range(FINE)], 1)
    pieces, count = ndimage.label(solid)
    if not count:
        raise ValueError("nothing in the scan encloses a volume above its floor; expected a foot with few holes")
    sizes = ndimage.sum_labels(solid, pieces, np.arange(1, count + 1))
    return pieces == 1 + int(np.argmax(sizes))


def _smooth(solid: Bool[np.ndarray, "x y z"]) -> Float[np.ndarray, "x y z"]:
    """Occupancy over which the surface has no steps: half a voxel of blur."""
    return ndimage.gaussian_filter(solid.astype(np.float32), 0.8)


def _toes_behind(solid: Bool[np.ndarray, "x y z"], cube: Cube, turn: Float[np.ndarray, "4 4"]) -> bool:
    """Whether the leg, which stands over the heel, is on the side where the toes should be."""
    there = trimesh.transform_points(cube.voxel_centres(len(solid))[solid], turn)
    high = there[:, 1] > 0.7 * there[:, 1].max()
    return bool(there[high, 0].mean() > 0)


def side_of(foot: trimesh.Trimesh, typical: Bool[np.ndarray, "x y z"]) -> str:
    """Left, if the foot at the typical one's length agrees more with it than with its mirror image."""
    size = len(typical)
    wanted = typical.any((1, 2)).sum() / size * FOOT_CUBE.edge
    vertices = foot.vertices * wanted / np.ptp(foot.vertices[:, 0])
    here = voxelise(vertices, foot.faces, FOOT_CUBE, size).volume
    here[:, round(FOOT_SHARE * size) :] = False
    beside = [np.roll(here, shift, axis=2) for shift in (-1, 0, 1)]
    scores = {"left": typical, "right": typical[:, :, ::-1]}
    return max(scores, key=lambda side: max(iou(one, scores[side]) for one in beside))


# -------------------------------------------------------------------------------------------------------------- filing


def read_scan(path: Path) -> trimesh.Trimesh:
    """A scan's surface: OBJ, GLB, PLY, STL, OFF, or the shell of a `.binvox`.

    Raises:
        ValueError: no such file, a kind that is not read, or one without a surface.
    """
    if not path.is_file():
        raise ValueError(f"{path}: no such file; expected a scan ({', '.join(SCANS)})")
    if path.suffix.lower() not in SCANS:
        raise ValueError(f"{path}: cannot read {path.suffix or 'a file without ending'}; expected {', '.join(SCANS)}")
    if path.stat().st_size > LARGEST_SCAN:
        raise ValueError(f"{path}: {path.stat().st_size / 2**20:.0f} MiB; at most {LARGEST_SCAN / 2**20:.0f} are read")
    if path.suffix.lower() == ".binvox":
        grid = read_binvox(path)
        # A shell is filled: what cannot be reached from outside is inside.
        vertices, faces = to_mesh(_smooth(ndimage.binary_fill_holes(grid.volume)), grid.cube, 0.5)
        return trimesh.Trimesh(vertices, faces, process=False)
    try:
        scan = trimesh.load_mesh(path, process=False)
    except Exception as error:
        raise ValueError(f"{path}: not a mesh that can be read ({error}); expected {', '.join(SCANS)}") from None
    if not isinstance(scan, trimesh.Trimesh) or not len(scan.faces):
        raise ValueError(f"{path}: holds no triangles; a point cloud has to be meshed by the app that made it")
    scan.merge_vertices()
    return scan


def write_model(cleaned: Cleaned, folder: Path) -> None:
    """Writes the mesh and its grids as a capture folder has them."""
    cleaned.mesh.export(folder / "model.obj")
    for size in (32, 64, 128):
        write_binvox(folder / ("model.binvox" if size == 32 else f"model-{size}.binvox"), cleaned.grid(size))


def file_scan(cleaned: Cleaned, scan: trimesh.Trimesh, out: Path) -> None:
    """Writes a capture folder without photos: the mesh, its grids, what was done, and a picture of before and after.

    Raises:
        ValueError: ``out`` is there already.
    """
    with whole_folder(out) as folder:
        write_model(cleaned, folder)
        cube = foot_cube(cleaned.mesh.bounds)
        subject = {
            "subject": out.name,
            "taxonomy": FOOT_SYNSET,
            "side": cleaned.side,
            "metadata": "metric",
            "cube": {"lower": list(cube.lower), "edge": cube.edge},
            "unit of the scan": cleaned.unit,
            "from the scan": cleaned.to_foot.tolist(),
            "notes": cleaned.notes,
        }
        write_text(folder / "subject.json", json.dumps(subject, indent=1) + "\n")
        figure = viewer.before_and_after(scan.copy().apply_transform(cleaned.to_foot), cleaned.mesh)
        figure.savefig(folder / "cleaned.png", dpi=110)
