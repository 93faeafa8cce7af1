"""Measurements of a foot in millimetres, and shoe sizes.

The input is a surface in the frame of the foot: metres, y up, floor at y = 0, toes along +x. Definitions follow Lee,
Lin and Wang (Comparing 3D foot scanning with conventional measurement methods, J. Foot and Ankle Research 7:44, 2014)
unless a field names another source. The tests compare them with `p2vtools.synthesis.feet.landmarks`, an independent
implementation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.spatial import ConvexHull, QhullError

from p2vlib.geometry.frames import FOOT_CUT_HEIGHT, SIDES

Point = Float[np.ndarray, " 3"]
Segments = Float[np.ndarray, "segments 2 3"]

HEEL_HEIGHT = 0.045
"""Heel and ball are measured below this height, metres; above it the calf reaches behind the heel."""

TOE_HEIGHT = 0.08
"""Toes are below this height, metres, also those of a foot that bears no weight."""

END_MARGIN, FLAT_TOP, FLAT_WIDTH = 0.004, 0.0001, 0.03
"""A surface ends where its scan ended if it ends this far below `FOOT_CUT_HEIGHT` with a flat top: the vertices this
close to its end extend over this width, metres. Sections that reach to within the margin of the end are incomplete."""

PAD_HEIGHT = 0.03
"""Heel breadth is measured below this height, metres; above it the ankle is wider in two feet of five."""

METATARSALS = {"first": (0.62, 0.80), "fifth": (0.55, 0.71)}
"""Ranges, as fractions of the length, that contain the metatarsal heads but not the toes."""

HEEL_POSITION, INSTEP_POSITION = 0.16, 0.50
"""Fractions of the length, from the heel, at which heel breadth, instep and arch are measured."""

ARCH_POSITION = 0.25
"""Fraction of the breadth, from the inner edge, at which the arch is measured."""

FLAT_SOLE = 0.0015
"""Arch height, metres, below which a sole counts as flat or not scanned."""

MONDOPOINT_STEP = 5.0
"""Step of ISO 9407 sizes, mm of foot length."""

EU_STEP = 20 / 3
"""Step of EU sizes (Paris point), mm."""

TOE_ROOM = 15.0
"""Toe allowance of EU sizes, mm: EU = 1.5 (length + 15 mm) in centimetres."""

HALF_SIZE = 25.4 / 6
"""Half a UK or US size, mm."""


@dataclass(frozen=True)
class Measures:
    """Measurements in millimetres. Breadths are perpendicular to the foot axis, widths are not."""

    length: float
    """From the rearmost heel point (pternion) to the tip of the longest toe, along the axis (Lee et al.)."""
    ball_breadth: float
    """Between the most prominent points of the first and fifth metatarsal heads, perpendicular to the axis (Lee et al.,
    foot breadth horizontal)."""
    ball_width: float
    """Between the same two points, in the floor plane (Lee et al., foot breadth diagonal)."""
    ball_girth: float | None
    """Convex girth of the vertical section through both points, as a tape measures it (Witana et al. 2006). None, as
    for the instep: the scan ended below the top of the section."""
    heel_breadth: float
    """Breadth of the heel pad at 16 % of the length from the heel (Lee et al., heel breadth)."""
    instep_height: float | None
    """Highest point at half of the length (Williams and McClay 2000, dorsum height)."""
    instep_girth: float | None
    """Convex girth of the section perpendicular to the axis at half of the length."""
    arch_height: float | None = None
    """Height of the sole at half of the length, a quarter of the breadth from its inner edge: soft tissue, as Hawes et
    al. 1992 but at a fixed position. None: the sole is flat there, or was not scanned. Photos from above do not show
    the sole, so in a reconstruction the value is the prediction of the network."""

    def items(self) -> list[tuple[str, float]]:
        """Name and millimetres of each available measurement."""
        values = [(field.name.replace("_", " "), getattr(self, field.name)) for field in fields(self)]
        return [(name, value) for name, value in values if value is not None]

    @property
    def not_reached(self) -> list[str]:
        """Names of the measures above the end of the scan."""
        names = ("ball_girth", "instep_height", "instep_girth")
        return [name.replace("_", " ") for name in names if getattr(self, name) is None]


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Where the measurements were taken, metres."""

    heel: Point
    toe: Point
    first_metatarsal: Point
    fifth_metatarsal: Point
    heel_edges: Float[np.ndarray, "2 3"]
    """Both ends of the heel breadth, smaller z first."""
    ball_tape: Float[np.ndarray, "ball_points 3"]
    """Closed outline of the ball girth."""
    instep_tape: Float[np.ndarray, "instep_points 3"]
    """Closed outline of the instep girth."""
    arch: Point | None
    """Point of the sole; None where `Measures.arch_height` is."""


def measure_foot(mesh: trimesh.Trimesh, side: str) -> tuple[Measures, Landmarks]:
    """Measures a foot and returns where.

    Args:
        mesh: surface in the frame of the foot, metres.
        side: ``left`` or ``right``.

    Raises:
        ValueError: unknown side, or not a foot in this frame and unit.
    """
    if side not in SIDES:
        raise ValueError(f"side is {side!r}; expected left or right")
    points = np.asarray(mesh.vertices)
    low = points[points[:, 1] < HEEL_HEIGHT] if len(points) else points
    if len(low) < 10 or not 0.08 < np.ptp(low[:, 0]) < 0.40:
        found = (
            f"{1000 * np.ptp(low[:, 0]):.0f} mm along x" if len(low) >= 10 else f"{len(low)} vertices near the floor"
        )
        raise ValueError(f"expected a foot 80 to 400 mm long, in metres, floor at y = 0, toes along +x; found {found}")
    heel, toe = foot_ends(points)
    length = toe[0] - heel[0]
    inwards = 1.0 if side == "left" else -1.0  # the inner side of a left foot is its right side, +z

    def section_at(share: float) -> Segments:
        return _section(mesh, np.array([heel[0] + share * length, 0.0, 0.0]), np.array([1.0, 0.0, 0.0]))

    def points_between(start: float, end: float) -> Float[np.ndarray, "points 3"]:
        """Vertices between two fractions of the length, and the sections at both."""
        share = (low[:, 0] - heel[0]) / length
        ends = np.concatenate([section_at(start), section_at(end)]).reshape(-1, 3)
        return np.concatenate([low[(share >= start) & (share <= end)], ends[ends[:, 1] < HEEL_HEIGHT]])

    inner, outer = points_between(*METATARSALS["first"]), points_between(*METATARSALS["fifth"])
    instep, pad = section_at(INSTEP_POSITION), section_at(HEEL_POSITION).reshape(-1, 3)
    pad = pad[pad[:, 1] < PAD_HEIGHT]
    if not all(map(len, (inner, outer, instep[instep[..., 1] < HEEL_HEIGHT], pad))):
        raise ValueError("the surface has gaps at the ball, heel or instep; expected a closed foot")
    first, fifth = inner[(inwards * inner[:, 2]).argmax()], outer[(inwards * outer[:, 2]).argmin()]
    normal = np.cross((fifth - first) * [1, 0, 1], [0.0, 1.0, 0.0])
    ball = _section(mesh, first, normal)
    try:
        ball_tape, instep_tape = _tape(ball), _tape(instep)
    except QhullError:
        raise ValueError("the surface is flat at the ball or instep; expected a closed foot") from None
    end = _scan_end(points) - END_MARGIN
    has_ball, has_instep = (part[..., 1].max() < end for part in (ball, instep))
    arch = _arch(instep, inwards)
    metres = {
        "length": length,
        "ball_breadth": abs(fifth - first)[2],
        "ball_width": np.linalg.norm((fifth - first)[[0, 2]]),
        "ball_girth": polyline_length(ball_tape) if has_ball else None,
        "heel_breadth": np.ptp(pad[:, 2]),
        "instep_height": instep[..., 1].max() if has_instep else None,
        "instep_girth": polyline_length(instep_tape) if has_instep else None,
        "arch_height": None if arch is None else arch[1],
    }
    measures = {name: None if value is None else 1000 * float(value) for name, value in metres.items()}
    heel_edges = pad[[pad[:, 2].argmin(), pad[:, 2].argmax()]]
    return Measures(**measures), Landmarks(heel, toe, first, fifth, heel_edges, ball_tape, instep_tape, arch)


def foot_ends(points: Float[np.ndarray, "points 3"]) -> tuple[Point, Point]:
    """The rearmost point of the heel and the foremost of the toes, in the frame of the foot, metres."""
    heel = np.where(points[:, 1] < HEEL_HEIGHT, points[:, 0], np.inf).argmin()
    toe = np.where(points[:, 1] < TOE_HEIGHT, points[:, 0], -np.inf).argmax()
    return points[heel], points[toe]


def _scan_end(points: Float[np.ndarray, "points 3"]) -> float:
    """The height at which the scan of a foot ended, metres; infinity if it ended above `FOOT_CUT_HEIGHT`."""
    end = points[:, 1].max()
    is_cut = end < FOOT_CUT_HEIGHT - END_MARGIN and np.ptp(points[points[:, 1] > end - FLAT_TOP, 0]) > FLAT_WIDTH
    return float(end) if is_cut else np.inf


def _section(mesh: trimesh.Trimesh, point: Point, normal: Point) -> Segments:
    """Section of the foot by a plane, without the leg, which may lean into it."""
    lines = trimesh.intersections.mesh_plane(mesh, normal, point)
    return lines[lines[..., 1].max(1, initial=0) < FOOT_CUT_HEIGHT + 1e-6]


def _arch(section: Segments, inwards: float) -> Point | None:
    """The lowest point of a section at `ARCH_POSITION`; None where the sole is flat or open."""
    z = section[..., 2]
    low = z[section[..., 1] < HEEL_HEIGHT] * inwards
    place = inwards * (low.max() - ARCH_POSITION * np.ptp(low))
    crossing = section[(z.min(1) <= place) & (z.max(1) > place)]
    if not len(crossing):
        return None
    share = (place - crossing[:, 0, 2]) / (crossing[:, 1, 2] - crossing[:, 0, 2])
    points = crossing[:, 0] + share[:, None] * (crossing[:, 1] - crossing[:, 0])
    lowest = points[points[:, 1].argmin()]
    return lowest if lowest[1] > FLAT_SOLE else None


def _tape(section: Segments) -> Float[np.ndarray, "around 3"]:
    """Convex hull of a vertical section as a closed outline: a tape bridges hollows."""
    points = section.reshape(-1, 3)
    level = points[:, [0, 2]] - points[:, [0, 2]].mean(0)
    axis = np.linalg.svd(level, full_matrices=False)[2][0]
    around = ConvexHull(np.stack([level @ axis, points[:, 1]], 1)).vertices
    return points[[*around, around[0]]]


def polyline_length(points: Float[np.ndarray, "points 3"]) -> float:
    """Length of the line through ``points``, in their unit."""
    return float(np.linalg.norm(np.diff(points, axis=0), axis=1).sum())


# ---------------------------------------------------------------------------------------------------------------- sizes


def shoe_sizes(length: float, ball_breadth: float | None = None, margin: float = 0.0) -> dict[str, str]:
    """Shoe sizes by system for a foot ``length`` ± ``margin`` mm long and ``ball_breadth`` mm wide.

    Mondopoint (ISO 9407) describes the foot itself. The others are the most common formulas; manufacturers differ:
    EU = 1.5 (cm + 1.5); UK = 3 inches - 23; US men = UK + 1, US women = UK + 2.5; children's UK sizes start 13 lower.
    The size is the nearest one. If the interval length ± ``margin`` spans several sizes, "(A to B possible)" follows.
    The margin is at least a tenth of a size.

    Raises:
        ValueError: a length outside 90 to 350 mm.

    Example:
        >>> shoe_sizes(250)["EU"], shoe_sizes(261, margin=2)["Mondopoint"]
        ('40', '260 (260 to 265 possible)')
    """
    if not 90 <= length <= 350:
        raise ValueError(f"a foot is 90 to 350 mm long; found {length:.0f}")
    uk = 3 * length / 25.4 - 23
    sizes = {
        "Mondopoint": _nearest(length, margin, MONDOPOINT_STEP, lambda step: f"{step * MONDOPOINT_STEP:.0f}"),
        "EU": _nearest(length + TOE_ROOM, margin, EU_STEP, lambda step: f"{step:.0f}"),
    }
    if ball_breadth is not None:
        size, *possible = sizes["Mondopoint"].split(" ", 1)
        sizes["Mondopoint"] = " ".join([f"{size}/{ball_breadth:.0f}", *possible])
    is_adult = uk >= 0.75  # children's sizes end with 13.5, adults' begin with 1
    systems = {"UK": (0.0, 13.0), "US men": (1.0, 13.0), "US women": (2.5, 11.5)}
    for system, (offset, to_other) in (systems if is_adult else {"UK children": (13.0, -13.0)}).items():

        def label(step: float, to_other: float = to_other) -> str:
            is_own, other = (step >= 2, "children's") if is_adult else (step < 28, "adult")
            return f"{step / 2:g}" if is_own else f"{other} {step / 2 + to_other:g}"

        sizes[system] = _nearest(HALF_SIZE * 2 * (uk + offset), margin, HALF_SIZE, label)
    return sizes


def _nearest(length: float, margin: float, step: float, label: Callable[[float], str]) -> str:
    """Label of the step nearest to ``length`` (mm), then the first and the last within ``margin`` if they differ."""
    room = max(margin / step, 0.1)
    lower, nearest, upper = (np.floor(length / step + 0.5 + sign * room + 1e-9) for sign in (-1, 0, 1))
    return label(nearest) + ("" if lower == upper else f" ({label(lower)} to {label(upper)} possible)")
