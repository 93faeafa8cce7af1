"""A scan as an app gives it, made a clean solid foot: unit, floor, stray pieces, leg, holes, direction and side.

LiDAR scans come with the floor fused to the sole, the leg up to the knee, no sole, any unit and any direction. Nothing
here learns; what counts as a foot, and as which side's, is told by a typical left foot and its mirror image.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Bool, Float
from scipy import ndimage

from p2vlib.files import atomic_directory, write_text
from p2vlib.geometry.frames import FOOT_CUBE_EDGE, FOOT_CUT_HEIGHT, FOOT_SYNSET, UNITS, Cube, foot_cube
from p2vlib.geometry.grids import VoxelGrid, to_mesh, voxelise, write_binvox
from p2vtools import viewer
from p2vtools.capture.ground_plane import GroundPlane, Plane, find_ground_plane
from p2vtools.capture.scan_files import decimate
from p2vtools.capture.template_registration import TemplateRegistration
from p2vtools.fit.reconstruct import estimate_placement, pose_matrix

UNKNOWN = "unknown"
"""The unit of a scan in which no unit makes a foot of what stands."""

USUAL = 0.35
"""Metres that a scan of a foot with some leg or floor measures at most, by order of magnitude."""

LENGTH = 0.25
"""An adult's foot, metres: taken where the unit is not known."""

EDGES = 0.3 * 1.25 ** np.arange(5)
"""What a scan of unknown unit may measure along its longest side, metres."""

PITCH, ROOM, BELOW = 0.0025, 160, 8
"""The grid on which the surface is closed: voxels in metres, how many of them in a row, and how many under the floor.
"""

BLUR, LEVEL = 0.005, 0.42
"""What smooths the surface's noise: a blur in metres, and the occupancy at which the surface then lies; below one half,
since a blur takes from what bulges. Chosen on people of the training population (`capture.degrade`)."""

BEVEL = 0.009
"""The edge of a sole rises so far, metres, over as much breadth: what the floor hides of it is drawn in so far."""

TOES = 0.0055
"""What an app's smoothing and ours take from the tips of toes, metres, and `FOREFOOT`: the share of the length over
which it is given back. Both as on people of the training population."""
FOREFOOT = 0.3

DRAWN = 60_000
"""Triangles in a picture, at most."""


@dataclass(frozen=True, eq=False)
class CleanedScan:
    """A clean foot in its own frame: metres, floor at 0, toes along +x, cut at 0.12 m."""

    mesh: trimesh.Trimesh
    """Closed."""
    side: str
    to_foot: Float[np.ndarray, "4 4"]
    """From the scan's coordinates, in its unit, to the foot's."""
    unit: str
    """`UNITS`, or `UNKNOWN`."""
    notes: list[str] = field(default_factory=list)
    """What was done, in sentences."""

    def grid(self, size: int) -> VoxelGrid:
        """The solid in the foot's cube."""
        cube = foot_cube(self.mesh.bounds)
        return voxelise(self.mesh.vertices, self.mesh.faces, cube, size)


def clean_scan(
    mesh: trimesh.Trimesh, typical: Bool[np.ndarray, "x y z"], unit: str | None = None, seed: int = 0
) -> CleanedScan:
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
    scan = decimate(mesh)
    rng, like = np.random.default_rng(seed), TemplateRegistration(typical)
    scale, known, found, notes = _in_metres(scan, unit, like, rng)
    occupied = _closed(found, like)
    cube = _room(found)
    vertices, faces = to_mesh(occupied, cube, LEVEL)
    turn = _ahead(occupied, cube, found)
    foot = trimesh.Trimesh(_longer(trimesh.transform_points(vertices, turn)), faces, process=False)
    centred = trimesh.transformations.translation_matrix(-foot.bounds.mean(0) * [1, 0, 1] - [0, foot.bounds[0, 1], 0])
    foot.apply_transform(centred)
    long = float(np.ptp(foot.vertices[:, 0]))
    if not 0.10 < long < FOOT_CUBE_EDGE:
        raise ValueError(
            f"what stands in the scan is {1000 * long:.0f} mm long in {known}; expected a foot of 100 to"
            f" {1000 * FOOT_CUBE_EDGE:.0f} mm: is that the unit, and is there one foot and little else?"
        )
    told = f"{found.fit.side} foot, {1000 * long:.0f} mm long with its leg cut at {1000 * FOOT_CUT_HEIGHT:.0f} mm"
    to_foot = centred @ turn @ found.to_upright @ np.diag([scale] * 3 + [1.0])
    return CleanedScan(foot, found.fit.side, to_foot, known, [*notes, *found.notes, told])


def guessed_units(mesh: trimesh.Trimesh) -> list[str]:
    """The units in which a scan may be a foot, the likeliest by its size first."""
    extent = float(np.ptp(mesh.vertices, axis=0).max())
    return sorted(UNITS, key=lambda unit: abs(np.log(max(extent, 1e-12) * UNITS[unit] / USUAL)))


def _in_metres(
    scan: trimesh.Trimesh, unit: str | None, like: TemplateRegistration, rng: np.random.Generator
) -> tuple[float, str, GroundPlane, list[str]]:
    """Metres to one of the scan's own length, its unit, how it then stands, and what was thought of its unit."""
    for known in [unit] if unit else guessed_units(scan):
        if found := find_ground_plane(scan.copy().apply_scale(UNITS[known]), like, rng):
            return UNITS[known], known, found, [f"unit {known}" + ("" if unit else ", guessed from its size")]
    longest = float(np.ptp(scan.vertices, axis=0).max())
    if unit is None and longest > 0:
        tried = [
            (find_ground_plane(scan.copy().apply_scale(edge / longest), like, rng), edge / longest) for edge in EDGES
        ]
        tried = [(found.fit.apart, scale, found) for found, scale in tried if found]
        if tried:
            _, scale, found = min(tried, key=lambda one: one[0])
            # The typical foot lies in it at its own size: so much longer or shorter is the scan's.
            scale *= LENGTH / like.length * float(np.cbrt(np.linalg.det(found.fit.to_foot[:3, :3])))
            if found := find_ground_plane(scan.copy().apply_scale(scale), like, rng):
                told = f"its unit is not known: its foot is taken to be about {1000 * LENGTH:.0f} mm long"
                return scale, UNKNOWN, found, [told]
    raise ValueError(
        f"nothing in the scan stands like a foot on a floor{f' in {unit}' if unit else ''}; expected one foot, its leg"
        " upwards to above the ankle, and little else; cut other things off in the app"
    )


def _room(found: GroundPlane) -> Cube:
    """The cube about the foot whose lowest voxels stand on the floor."""
    low = found.foot.vertices[found.foot.vertices[:, 1] < 0.06]
    middle = (low.min(0) + low.max(0)) / 2
    edge = PITCH * ROOM
    return Cube((float(middle[0]) - edge / 2, 0.0, float(middle[2]) - edge / 2), edge)


def _closed(found: GroundPlane, like: TemplateRegistration) -> Float[np.ndarray, "x y z"]:
    """Occupancy of the foot below the cut over `_room`, 0 to 1, its sole, its holes and its noise closed and smooth."""
    from igl import fast_winding_number

    cube = _room(found)
    vertices, faces = _doubled(found.foot, found.ground)
    across = np.asarray(cube.lower)[[0, 2]]
    first, last = (
        np.clip((end - across) / PITCH, 0, ROOM).astype(int)
        for end in (found.foot.bounds[0, [0, 2]] - 2 * PITCH, found.foot.bounds[1, [0, 2]] + 3 * PITCH)
    )
    layers = round(FOOT_CUT_HEIGHT / PITCH) + 2 * BELOW
    x, z = (across[axis] + PITCH * (np.arange(first[axis], last[axis]) + 0.5) for axis in (0, 1))
    y = PITCH * (np.arange(layers) - BELOW + 0.5)
    centres = np.stack(np.meshgrid(x, y, z, indexing="ij"), axis=-1)
    inside = fast_winding_number(vertices, faces, centres.reshape(-1, 3)).reshape(centres.shape[:3])
    hidden = np.any([centres @ plane[:3] < plane[3] for plane in found.ground], axis=0)
    inside = _down_to_the_floor(inside.clip(0, 1), hidden)
    if len(found.ground) > 1:  # where a turned floor hides toes or a heel, the typical foot's are the likeliest
        inside = np.where(hidden & (centres[..., 1] > 0), np.maximum(inside, like.occupied(centres, found.fit)), inside)
    soft = ndimage.gaussian_filter(inside, BLUR / PITCH, mode="nearest")[:, BELOW:-BELOW]
    solid = soft > LEVEL
    filled = np.stack([ndimage.binary_fill_holes(solid[:, layer]) for layer in range(solid.shape[1])], 1)
    pieces, count = ndimage.label(filled)
    if not count:
        raise ValueError("nothing in the scan encloses a volume above its floor; expected a foot with few holes")
    largest = pieces == 1 + int(ndimage.sum_labels(filled, pieces, np.arange(1, count + 1)).argmax())
    soft = np.where(filled & ~solid, 1.0, soft) * (largest | (pieces == 0))
    whole = np.zeros((ROOM,) * 3)
    whole[first[0] : last[0], : soft.shape[1], first[1] : last[1]] = soft
    return whole


def _down_to_the_floor(
    inside: Float[np.ndarray, "x y z"], hidden: Bool[np.ndarray, "x y z"]
) -> Float[np.ndarray, "x y z"]:
    """Occupancy with what is ``hidden`` filled from just above it, the edge of the sole bevelled by `BEVEL`."""
    first = (~hidden).argmax(1)[:, None]
    layers = np.arange(inside.shape[1])[:, None]
    filled = np.take_along_axis(inside, np.maximum(layers, first), axis=1)
    seen = np.take_along_axis(inside, first, axis=1)[:, 0]
    edge = PITCH * ndimage.distance_transform_edt(seen > 0.5)[:, None]
    below = PITCH * (first - np.maximum(layers, BELOW))
    # Where the floor rises into the foot, little is seen of it, and the edge of that is not the sole's.
    bevelled = hidden & (first <= BELOW + 1.5 * BEVEL / PITCH) & (edge < np.minimum(below, BEVEL))
    return np.where(bevelled, 0.0, filled)


def _doubled(foot: trimesh.Trimesh, ground: list[Plane]) -> tuple[Float[np.ndarray, "vertices 3"], np.ndarray]:
    """The surface with its mirror images below the ground and above the leg's end: so it is not open there."""
    vertices, faces = np.asarray(foot.vertices), np.asarray(foot.faces)
    planes = list(ground)
    top = float(np.quantile(vertices[:, 1], 0.99)) - 0.004
    if top < 2 * FOOT_CUT_HEIGHT:
        planes.append(np.array([0.0, -1.0, 0.0, -top]))
    for plane in planes:
        vertices, faces, _ = trimesh.intersections.slice_faces_plane(vertices, faces, plane[:3], plane[:3] * plane[3])
    images = [vertices - 2 * (vertices @ plane[:3] - plane[3])[:, None] * plane[:3] for plane in planes]
    turned = [faces[:, ::-1] + len(vertices) * (number + 1) for number in range(len(images))]
    return np.concatenate([vertices, *images]), np.concatenate([faces, *turned]).astype(np.int64)


def _ahead(occupied: Float[np.ndarray, "x y z"], cube: Cube, found: GroundPlane) -> Float[np.ndarray, "4 4"]:
    """The turn that makes the toes point along +x: by the foot's principal axis, its end told by the typical foot."""
    half = ROOM // 2
    coarse = occupied.reshape(half, 2, half, 2, half, 2).mean((1, 3, 5))
    yaw, centre = estimate_placement((coarse > LEVEL).astype(np.float32), cube)
    turn = np.linalg.inv(pose_matrix(yaw, centre))
    toes = np.linalg.inv(found.fit.to_foot)[:3, 0]
    return turn if (turn[:3, :3] @ toes)[0] > 0 else np.diag([-1.0, 1, -1, 1]) @ turn


def _longer(vertices: Float[np.ndarray, "vertices 3"]) -> Float[np.ndarray, "vertices 3"]:
    """The foot with its toes as long as they were before they were smoothed."""
    first, last = vertices[:, 0].min(), vertices[:, 0].max()
    share = ((vertices[:, 0] - last) / (FOREFOOT * (last - first)) + 1).clip(0, 1)
    return vertices + TOES * share[:, None] * [1, 0, 0]


# -------------------------------------------------------------------------------------------------------------- filing


def write_model(cleaned: CleanedScan, folder: Path) -> None:
    """Writes the mesh and its grids as a capture folder has them."""
    cleaned.mesh.export(folder / "model.obj")
    for size in (32, 64, 128):
        write_binvox(folder / ("model.binvox" if size == 32 else f"model-{size}.binvox"), cleaned.grid(size))


def file_scan(cleaned: CleanedScan, scan: trimesh.Trimesh, out: Path) -> None:
    """Writes a capture folder without photos: the mesh, its grids, what was done, and a picture of before and after.

    Raises:
        ValueError: ``out`` is there already.
    """
    with atomic_directory(out) as folder:
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
        shown = [decimate(one, DRAWN) for one in (scan.copy().apply_transform(cleaned.to_foot), cleaned.mesh)]
        figure = viewer.cleaning_figure(*shown)
        figure.savefig(folder / "cleaned.png", dpi=110)
