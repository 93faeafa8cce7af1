"""Cleans a scan: finds its unit, floor, foot, direction and side, closes the surface and cuts the leg.

LiDAR scans come with the floor fused to the foot, the leg up to the knee, no sole, and any unit and direction. No
network is involved; a template foot and its mirror image decide what is a foot, and of which side.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Bool, Float
from scipy import ndimage

from p2vlib.files import write_text
from p2vlib.geometry.frames import FOOT_CUBE_EDGE, FOOT_CUT_HEIGHT, FOOT_SYNSET, UNITS, Cube, foot_cube
from p2vlib.geometry.grids import VoxelGrid, to_mesh, voxelise, winding_numbers
from p2vtools.archives.binvox import write_binvox
from p2vtools.capture.ground_plane import GroundPlane, Plane, find_ground_plane
from p2vtools.capture.scan_files import decimate
from p2vtools.capture.shape_model import FittedShape, ShapeModel
from p2vtools.capture.template_registration import TemplateRegistration
from p2vtools.files import atomic_directory
from p2vtools.fit.measure import foot_ends

UNKNOWN_UNIT = "unknown"
"""The unit of a scan that has the size of a foot in none of `UNITS`, or in two of them."""

FOOT_LENGTHS = 0.115, 0.33
"""Lengths of the feet of people who walk, metres. The unit is in doubt if the foot has such a length in two units, as
12 cm and 12 inches."""

NO_FOOT = (
    "nothing in the scan stands like a foot on a floor{}; expected one foot, with its leg upwards to above the ankle,"
    " and little else; remove other objects in the app"
)

TYPICAL_EXTENT = 0.35
"""Longest side of a scan of a foot with some leg or floor, metres, to an order of magnitude."""

ADULT_LENGTH = 0.25
"""Foot length, metres, that is assumed where the unit is unknown."""

EXTENTS = 0.3 * 1.25 ** np.arange(5)
"""Longest sides that are tried for a scan of unknown unit, metres."""

VOXEL_SIZE, GRID_SIZE, MARGIN = 0.0025, 160, 8
"""The grid in which the surface is closed: edge of a voxel in metres, voxels a side, and layers below the floor."""

BLUR, LEVEL = 0.005, 0.42
"""Smoothing of the surface: a blur in metres, and the occupancy at which the surface lies; less than one half, because
blur shrinks convex parts. Both tuned on people of the training population (`p2vtools.synthesis.scan_degradation`)."""

BEVEL = 0.009
"""The edge of a sole rises by this height, metres, over the same width; the part that the floor hides is drawn in."""

SECOND_BLUR, MAX_SHORTENING = 0.007, 0.008
"""Smoothing by the app and by `BLUR` has shortened the toes, thin or blunt, by as much as another blur by `SECOND_BLUR`
does, metres; more than `MAX_SHORTENING` is noise. Estimated on the training population."""

FOREFOOT_SHARE = 0.3
"""The share of the foot length over which the length is given back to the toes."""


NUM_POINTS = 1500
"""Points of the scan to which the shape model is fitted."""

SOLE_HEIGHT, MIN_SOLE = 0.006, 0.002
"""A sole that stands on the floor is that close to the lowest point, metres; smallest area of one, square metres."""

MAX_SHAPE_TILT = 6.0
"""Degrees by which the fitted shape may be tilted against the floor that was found; without an error of the floor the
tilt is 2.1 degrees in the median and at most 3.9, on 22 scans of other people. Smaller turns make as many lengths worse
as better."""


@dataclass(frozen=True, eq=False)
class CleanedScan:
    """A clean foot in its own frame: metres, floor at y = 0, toes along +x, cut at 0.12 m."""

    mesh: trimesh.Trimesh
    """Watertight. Ends where the scan ends, if that is lower."""
    side: str
    to_foot: Float[np.ndarray, "4 4"]
    """From the scan's coordinates, in its unit, to the foot's frame."""
    unit: str
    """One of `UNITS`, or `UNKNOWN_UNIT`."""
    scale: str
    """Where the size comes from: ``file``, ``foot length`` or ``unknown``, as in ``subject.json``."""
    notes: list[str] = field(default_factory=list)
    """What was done, as sentences."""

    def grid(self, size: int) -> VoxelGrid:
        """The solid in the cube around the foot."""
        return voxelise(self.mesh.vertices, self.mesh.faces, foot_cube(self.mesh.bounds), size)


def clean_scan(
    mesh: trimesh.Trimesh,
    template: Bool[np.ndarray, "x y z"],
    unit: str | None = None,
    foot_length: float | None = None,
) -> CleanedScan:
    """Extracts the foot from a scan.

    Args:
        mesh: in any unit and direction, open or closed, with or without a floor.
        template: occupancy of a left foot in its cube, at any resolution (`PretrainedModel.typical_foot`).
        unit: one of `UNITS`; by default it is inferred from the size.
        foot_length: measured by a ruler, metres: the scan is scaled to it, whatever its unit.

    Raises:
        ValueError: an empty scan, a unit and a length, or nothing in the scan that stands like a foot.
    """
    if len(mesh.faces) < 20 or not np.isfinite(mesh.vertices).all():
        raise ValueError(f"a scan needs a surface with finite vertices; found {len(mesh.faces)} triangles")
    if unit and foot_length:
        raise ValueError("the scale of a scan comes from its unit or from the length of the foot: pass one of the two")
    rng, registration = np.random.default_rng(0), TemplateRegistration(template)
    scan = decimate(mesh)
    is_inside_out = _is_inside_out(scan)
    if is_inside_out:
        scan.invert()
    scale, unit, ground, notes = _find_unit(scan, unit, foot_length, registration, rng)
    if is_inside_out:
        notes.append("its triangles faced inwards and were reversed")
    ground, shape = _stand_like_shape(ground, _fit_shape(ground, registration))
    end = min(FOOT_CUT_HEIGHT, _scan_end(ground.foot))
    x, _, z = shape.to_scan[:3, 0]  # from the heel to the second toe
    to_toes = trimesh.transformations.rotation_matrix(np.arctan2(z, x), [0, 1, 0])
    occupancy, cube = _closed_occupancy(ground, shape, end), _grid_cube(ground)
    vertices, faces = to_mesh(occupancy, cube, LEVEL)
    blurred, _ = to_mesh(ndimage.gaussian_filter(occupancy, SECOND_BLUR / VOXEL_SIZE, mode="nearest"), cube, LEVEL)
    surfaces = (trimesh.transform_points(points, to_toes) for points in (vertices, blurred, shape.surface.vertices))
    foot = trimesh.Trimesh(_lengthen_toes(*surfaces), faces, process=False)
    to_foot = trimesh.transformations.translation_matrix(-foot.bounds.mean(0) * [1, 0, 1] - [0, foot.bounds[0, 1], 0])
    foot.apply_transform(to_foot)
    length = _length(foot.vertices)
    if foot_length:
        foot.apply_scale(foot_length / length)
        to_foot, length = np.diag([*[foot_length / length] * 3, 1.0]) @ to_foot, foot_length
    if not 0.10 < length < FOOT_CUBE_EDGE:
        raise ValueError(
            f"the object on the floor of the scan is {1000 * length:.0f} mm long in {unit}; expected a foot of 100 to"
            f" {1000 * FOOT_CUBE_EDGE:.0f} mm: check the unit, and that the scan shows one foot and little else"
        )
    notes.append("toes are lengthened, because apps smooth them: an exact mesh becomes 2 to 3 mm too long")
    if end < FOOT_CUT_HEIGHT:
        notes.append(f"the scan ends at {1000 * end:.0f} mm, and so does the foot")
    source = "foot length" if foot_length else "file" if unit in UNITS else "unknown"
    size = f", {1000 * length:.0f} mm long" if source != "unknown" else ""
    to_foot = to_foot @ to_toes @ ground.to_upright @ np.diag([scale] * 3 + [1.0])
    return CleanedScan(foot, shape.side, to_foot, unit, source, [*notes, *ground.notes, f"{shape.side} foot{size}"])


def _is_inside_out(scan: trimesh.Trimesh) -> bool:
    """Whether the triangles face inwards: the winding number at a closed surface is -1/2 then, and 1/2 otherwise.

    An open surface, such as a floor, counts little: it has opposite winding numbers on its two sides.
    """
    points, faces = trimesh.sample.sample_surface(scan, 500, seed=0)
    step = 0.001 * float(np.ptp(scan.vertices, axis=0).max()) * scan.face_normals[faces]
    sides = np.stack([points + step, points - step])[:, None]
    return bool(winding_numbers(scan.vertices, scan.faces, sides).mean() < -0.05)


def _find_unit(
    scan: trimesh.Trimesh,
    unit: str | None,
    foot_length: float | None,
    template: TemplateRegistration,
    rng: np.random.Generator,
) -> tuple[float, str, GroundPlane, list[str]]:
    """Metres per unit of the scan, the unit, the ground plane in metres, and notes on how the unit was found."""

    def attempt(scale: float) -> GroundPlane | None:
        return find_ground_plane(scan.copy().apply_scale(scale), template, rng)

    extent = float(np.ptp(scan.vertices, axis=0).max())
    by_size = sorted(UNITS, key=lambda name: abs(np.log(max(extent, 1e-12) * UNITS[name] / TYPICAL_EXTENT)))
    scales = [(name, UNITS[name]) for name in ([unit] if unit else by_size)]
    found = next(((name, scale, ground) for name, scale in scales if (ground := attempt(scale))), None)
    if found is None and unit is None and extent > 0:
        scales = [assumed / extent for assumed in EXTENTS]
        standing = [(UNKNOWN_UNIT, scale, ground) for scale in scales if (ground := attempt(scale))]
        found = min(standing, key=lambda attempted: attempted[2].fit.distance, default=None)
    if found is None:
        raise ValueError(NO_FOOT.format(f" in {unit}" if unit else ""))
    name, scale, ground = found
    length = template.length_of(ground.fit)
    lengths = {other: length / scale * metres for other, metres in UNITS.items()}
    possible = {name: metres for name, metres in lengths.items() if FOOT_LENGTHS[0] < metres < FOOT_LENGTHS[1]}
    in_doubt = unit is None and len(possible) > 1
    if foot_length is None and name in UNITS and not in_doubt:
        return scale, name, ground, [f"unit {name}" + ("" if unit else ", inferred from the size")]
    sizes = " or ".join(f"{1000 * metres:.0f} mm long in {other}" for other, metres in possible.items())
    doubt = f"the foot is {sizes}" if in_doubt else "the unit is unknown"
    note = f"{doubt}, so the size is unknown: pass --unit or --foot-length"
    if foot_length:
        note = f"scaled to the given length of {1000 * foot_length:.0f} mm"
    scale *= (foot_length or ADULT_LENGTH) / length
    if (ground := attempt(scale)) is None:
        raise ValueError(NO_FOOT.format(f" at a length of {1000 * (foot_length or ADULT_LENGTH):.0f} mm"))
    return scale, UNKNOWN_UNIT, ground, [note]


def _grid_cube(ground: GroundPlane) -> Cube:
    """The cube around the foot whose lowest layer stands on the floor."""
    low = ground.foot.vertices[ground.foot.vertices[:, 1] < 0.06]
    middle = (low.min(0) + low.max(0)) / 2
    edge = VOXEL_SIZE * GRID_SIZE
    return Cube((float(middle[0]) - edge / 2, 0.0, float(middle[2]) - edge / 2), edge)


def _scan_end(foot: trimesh.Trimesh) -> float:
    """The height at which a scan ends, metres; its edge is ragged."""
    return float(np.quantile(foot.vertices[:, 1], 0.99)) - 0.004


def _fit_shape(ground: GroundPlane, template: TemplateRegistration) -> FittedShape:
    """Fits the shape model to the visible surface of the foot."""
    points, faces = trimesh.sample.sample_surface(ground.foot, 2 * NUM_POINTS, seed=0)
    end = min(FOOT_CUT_HEIGHT, _scan_end(ground.foot))

    def is_visible(points: np.ndarray) -> np.ndarray:
        return np.all([points @ plane[:3] > plane[3] for plane in ground.planes], axis=0) & (points[:, 1] < end)

    seen = np.flatnonzero(is_visible(points))[:NUM_POINTS]
    start = np.linalg.inv(ground.fit.to_template) @ template.to_middle()
    return ShapeModel().fit(points[seen], ground.foot.face_normals[faces[seen]], is_visible, start)


def _stand_like_shape(ground: GroundPlane, shape: FittedShape) -> tuple[GroundPlane, FittedShape]:
    """Turns a foot whose fitted shape is tilted by more than `MAX_SHAPE_TILT` until the shape stands on the floor.

    A foot whose sole was scanned and stands on it keeps its floor: then it is the shape that does not fit.
    """
    up = shape.to_scan[:3, 1] / np.linalg.norm(shape.to_scan[:3, 1])
    tilt = float(np.rad2deg(np.arccos(min(up[1], 1.0))))
    if tilt < MAX_SHAPE_TILT:
        return ground, shape
    transform = trimesh.geometry.align_vectors(up, [0.0, 1.0, 0.0])
    transform[1, 3] = -up @ shape.to_scan[:3, 3]
    normals = [transform[:3, :3] @ plane[:3] for plane in ground.planes]
    planes = [
        np.array([*normal, plane[3] + normal @ transform[:3, 3]])
        for normal, plane in zip(normals, ground.planes, strict=True)
    ]
    notes = [*ground.notes, f"turned by {tilt:.0f} degrees, as a foot stands"]
    fit = replace(ground.fit, to_template=ground.fit.to_template @ np.linalg.inv(transform))
    foot = ground.foot.copy().apply_transform(transform)
    sole = _sole_area(ground.foot)
    if sole > MIN_SOLE and _sole_area(foot) < sole / 2:
        return ground, shape
    turned = GroundPlane(transform @ ground.to_upright, foot, [np.array([0.0, 1.0, 0.0, 0.0]), *planes], fit, notes)
    return turned, replace(
        shape, to_scan=transform @ shape.to_scan, surface=shape.surface.copy().apply_transform(transform)
    )


def _sole_area(foot: trimesh.Trimesh) -> float:
    """Area of the surface that faces down within `SOLE_HEIGHT` of the lowest point, square metres."""
    lowest = np.quantile(foot.vertices[:, 1], 0.002)
    is_sole = (foot.face_normals[:, 1] < -0.7) & (foot.triangles_center[:, 1] < lowest + SOLE_HEIGHT)
    return float(foot.area_faces[is_sole].sum())


def _closed_occupancy(ground: GroundPlane, shape: FittedShape, end: float) -> Float[np.ndarray, "x y z"]:
    """Smooth occupancy in `_grid_cube`, 0 to 1, of the foot below ``end``, with its sole and holes closed."""
    vertices, faces = _with_reflections(ground.foot, ground.planes)
    corner = np.asarray(_grid_cube(ground).lower)[[0, 2]]
    bounds = ground.foot.bounds[:, [0, 2]] + VOXEL_SIZE * np.array([[-2], [3]])
    first, last = np.clip((bounds - corner) / VOXEL_SIZE, 0, GRID_SIZE).astype(int)
    layers = round(FOOT_CUT_HEIGHT / VOXEL_SIZE) + 2 * MARGIN
    x, z = (corner[axis] + VOXEL_SIZE * (np.arange(first[axis], last[axis]) + 0.5) for axis in (0, 1))
    y = VOXEL_SIZE * (np.arange(layers) - MARGIN + 0.5)
    centres = np.stack(np.meshgrid(x, y, z, indexing="ij"), axis=-1)
    inside = winding_numbers(vertices, faces, centres)
    hidden = np.any([centres @ plane[:3] < plane[3] for plane in ground.planes], axis=0)
    inside = _extend_to_floor(inside.clip(0, 1), hidden)
    if len(ground.planes) > 1:  # a tilted floor may hide toes or a heel: the shape model fills them in
        hidden &= centres[..., 1] > 0
        inner = winding_numbers(shape.surface.vertices, shape.surface.faces, centres[hidden][:, None, None])
        inside[hidden] = np.maximum(inside[hidden], inner.ravel().clip(0, 1))
    smooth = ndimage.gaussian_filter(inside, BLUR / VOXEL_SIZE, mode="nearest")[:, MARGIN:-MARGIN]
    solid = smooth > LEVEL
    filled = np.stack([ndimage.binary_fill_holes(solid[:, layer]) for layer in range(solid.shape[1])], 1)
    pieces, count = ndimage.label(filled)
    if not count:
        raise ValueError("nothing in the scan encloses a volume above its floor; expected a foot with few holes")
    largest = pieces == 1 + int(ndimage.sum_labels(filled, pieces, np.arange(1, count + 1)).argmax())
    smooth = np.where(filled & ~solid, 1.0, smooth) * (largest | (pieces == 0))
    smooth[:, round(end / VOXEL_SIZE) :] = 0
    occupancy = np.zeros((GRID_SIZE,) * 3)
    occupancy[first[0] : last[0], : smooth.shape[1], first[1] : last[1]] = smooth
    return occupancy


def _extend_to_floor(
    inside: Float[np.ndarray, "x y z"], hidden: Bool[np.ndarray, "x y z"]
) -> Float[np.ndarray, "x y z"]:
    """Copies the lowest visible layer into the ``hidden`` voxels below it, and bevels the edge of the sole."""
    first = (~hidden).argmax(1)[:, None]
    layers = np.arange(inside.shape[1])[:, None]
    extended = np.take_along_axis(inside, np.maximum(layers, first), axis=1)
    visible = np.take_along_axis(inside, first, axis=1)[:, 0]
    to_edge = VOXEL_SIZE * ndimage.distance_transform_edt(visible > 0.5)[:, None]
    depth = VOXEL_SIZE * (first - np.maximum(layers, MARGIN))
    # Where the floor rises into the foot, the edge of the visible part is not that of the sole.
    bevelled = hidden & (first <= MARGIN + 1.5 * BEVEL / VOXEL_SIZE) & (to_edge < np.minimum(depth, BEVEL))
    return np.where(bevelled, 0.0, extended)


def _with_reflections(foot: trimesh.Trimesh, planes: list[Plane]) -> tuple[Float[np.ndarray, "vertices 3"], np.ndarray]:
    """The surface with its reflections in the ground and in the end of the leg, which close it there."""
    vertices, faces = np.asarray(foot.vertices), np.asarray(foot.faces)
    top = _scan_end(foot)
    if top < 2 * FOOT_CUT_HEIGHT:
        planes = [*planes, np.array([0.0, -1.0, 0.0, -top])]
    for plane in planes:
        vertices, faces, _ = trimesh.intersections.slice_faces_plane(vertices, faces, plane[:3], plane[:3] * plane[3])
    reflected = [vertices - 2 * (vertices @ plane[:3] - plane[3])[:, None] * plane[:3] for plane in planes]
    reversed_faces = [faces[:, ::-1] + len(vertices) * (number + 1) for number in range(len(planes))]
    return np.concatenate([vertices, *reflected]), np.concatenate([faces, *reversed_faces]).astype(np.int64)


def _length(vertices: Float[np.ndarray, "vertices 3"]) -> float:
    heel, toe = foot_ends(vertices)
    return float(toe[0] - heel[0])


def _lengthen_toes(
    vertices: Float[np.ndarray, "vertices 3"],
    blurred: Float[np.ndarray, "blurred 3"],
    fitted: Float[np.ndarray, "fitted 3"],
) -> Float[np.ndarray, "vertices 3"]:
    """Gives back the length that smoothing has taken from the toes.

    Args:
        vertices: of the closed surface, with the toes along +x.
        blurred: of the same surface, blurred once more.
        fitted: the fitted shape, whose length errs independently of that of the surface; the mean of both is taken.
    """
    length = _length(vertices)
    shortening = min(length - _length(blurred), MAX_SHORTENING) + (_length(fitted) - length) / 2
    heel, toes = vertices[:, 0].min(), vertices[:, 0].max()
    share = ((vertices[:, 0] - toes) / (FOREFOOT_SHARE * (toes - heel)) + 1).clip(0, 1)
    return vertices + max(shortening, 0.0) * share[:, None] * [1, 0, 0]


# -------------------------------------------------------------------------------------------------------------- writing


def write_model(cleaned: CleanedScan, folder: Path) -> None:
    """Writes the mesh and its grids into a capture folder."""
    cleaned.mesh.export(folder / "model.obj")
    for size in (32, 64, 128):
        write_binvox(folder / ("model.binvox" if size == 32 else f"model-{size}.binvox"), cleaned.grid(size))


def write_scan_capture(
    cleaned: CleanedScan, out: Path, write_extra: Callable[[Path], object] = lambda folder: None
) -> None:
    """Writes a capture folder without photos, completely or not at all: the mesh, its grids and what was done.

    Args:
        write_extra: writes further files into the folder, such as a picture.

    Raises:
        ValueError: ``out`` exists.
    """
    with atomic_directory(out) as folder:
        write_model(cleaned, folder)
        subject = {
            "subject": out.name,
            "taxonomy": FOOT_SYNSET,
            "side": cleaned.side,
            "metadata": "metric",
            "scale": cleaned.scale,
            "cube": asdict(foot_cube(cleaned.mesh.bounds)),
            "unit of the scan": cleaned.unit,
            "from the scan": cleaned.to_foot.tolist(),
            "notes": cleaned.notes,
        }
        write_text(folder / "subject.json", json.dumps(subject, indent=1) + "\n")
        write_extra(folder)
