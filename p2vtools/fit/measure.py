"""Measures of a foot, and the shoe sizes that they mean.

Of a surface in the foot's own frame: metres, y up, the floor at 0, toes along +x. Definitions are those of Lee, Lin and
Wang (Comparing 3D foot scanning with conventional measurement methods, J. Foot and Ankle Research 7:44, 2014) where
they have one; each says its own. They are tested against `p2vtools.synthesis.feet.landmarks`, which knows nothing of
this module.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.spatial import ConvexHull

from p2vlib.geometry.frames import FOOT_CUT_HEIGHT, SIDES

HEEL_HEIGHT = 0.045
"""Length and the ball are taken below this height, metres: higher up the calf leans out behind the heel."""

PAD_HEIGHT = 0.03
"""The heel's breadth is taken below this height, metres: higher up the ankle is broader, in two feet of five."""

JOINTS = {"inner": (0.62, 0.80), "outer": (0.55, 0.71)}
"""Where the heads of the first and of the fifth metatarsal stand out, as shares of the length: before the toes."""

HEEL_AT, INSTEP_AT = 0.16, 0.50
"""Shares of the length, from the heel, at which heel breadth, instep and arch are taken."""

ARCH_AT = 0.25
"""Where across the foot the arch is taken: so much of the breadth from the inner edge."""

FLAT = 0.0015
"""A sole that is no higher than this under the arch is flat, or nobody has seen it, metres."""

MONDOPOINT_STEP = 5.0
"""ISO 9407: sizes are lengths of the foot in steps of 5 mm."""

EU_STEP = 20 / 3
"""Paris points: two thirds of a centimetre."""

TOE_ROOM = 15.0
"""By which a shoe of size EU is longer than its foot: EU = 1.5 (length + 15 mm) in centimetres."""

HALF_SIZE = 25.4 / 6
"""Half of an English or American size, mm."""


@dataclass(frozen=True)
class Measures:
    """Millimetres; what is broad is square to the foot's axis unless it says otherwise."""

    length: float
    """From the rearmost point of the heel (pternion) to the tip of the longest toe, along the axis (Lee et al.)."""
    ball_breadth: float
    """Between the most prominent points of the first and the fifth metatarsal's head, square to the axis (Lee et al.,
    foot breadth horizontal)."""
    ball_width: float
    """Between the same two points, aslant, over the floor (Lee et al., foot breadth diagonal)."""
    ball_girth: float
    """Around the ball, in the upright plane through both points, as a tape lies: over hollows (Witana et al. 2006)."""
    heel_breadth: float
    """Of the heel's pad, at 16 % of the length from the heel (Lee et al., heel breadth)."""
    instep_height: float
    """The highest point at half of the length (Williams and McClay 2000, dorsum height)."""
    instep_girth: float
    """Around the foot at half of the length, square to the axis, as a tape lies."""
    arch_height: float | None = None
    """Of the sole above the floor at half of the length, a quarter of the breadth from its inner edge: the soft arch
    (as Hawes et al. 1992, but at a fixed place), not the bone's. None: the sole is flat there, as where no scan saw it;
    photos from above leave it to the network's guess."""

    def items(self) -> list[tuple[str, float]]:
        """Name and millimetres of what could be measured."""
        found = [(field.name.replace("_", " "), getattr(self, field.name)) for field in fields(self)]
        return [(name, value) for name, value in found if value is not None]


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Where measures were taken, metres, to be drawn on the foot."""

    heel: Float[np.ndarray, " 3"]
    toe: Float[np.ndarray, " 3"]
    inner: Float[np.ndarray, " 3"]
    """The head of the first metatarsal."""
    outer: Float[np.ndarray, " 3"]
    """The head of the fifth."""
    rear: Float[np.ndarray, "2 3"]
    """The heel's edges, least z first."""
    ball: Float[np.ndarray, "ball_points 3"]
    """The tape around the ball, closed."""
    instep: Float[np.ndarray, "instep_points 3"]
    """The tape around the instep, closed."""
    arch: Float[np.ndarray, " 3"] | None
    """The sole above the floor; None: it is flat."""


def measure_foot(mesh: trimesh.Trimesh, side: str) -> tuple[Measures, Landmarks]:
    """Measures a foot whose surface is ``mesh``, and says where.

    Raises:
        ValueError: an unknown side, or a surface that is no foot in this frame and unit.
    """
    if side not in SIDES:
        raise ValueError(f"side is {side!r}; expected left or right")
    points = np.asarray(mesh.vertices)
    low = points[points[:, 1] < HEEL_HEIGHT] if len(points) else points
    if len(low) < 10 or not 0.08 < np.ptp(low[:, 0]) < 0.40:
        found = f"{1000 * np.ptp(low[:, 0]):.0f} mm along x" if len(low) else "nothing near the floor"
        raise ValueError(f"a foot is 80 to 400 mm long, in metres, on the floor y = 0, toes along +x; found {found}")
    heel, toe = low[low[:, 0].argmin()], low[low[:, 0].argmax()]
    length = toe[0] - heel[0]
    inwards = 1.0 if side == "left" else -1.0  # a left foot has its inner side on its right, which is +z

    def at(share: float) -> Float[np.ndarray, "segments 2 3"]:
        return _section(mesh, np.array([heel[0] + share * length, 0.0, 0.0]), np.array([1.0, 0.0, 0.0]))

    def joint(first: float, last: float) -> Float[np.ndarray, "points 3"]:
        """What can stand out farthest between two shares of the length: vertices there, and the edges of both cuts."""
        along = (low[:, 0] - heel[0]) / length
        ends = np.concatenate([at(first), at(last)]).reshape(-1, 3)
        return np.concatenate([low[(along >= first) & (along <= last)], ends[ends[:, 1] < HEEL_HEIGHT]])

    inner, outer, middle = joint(*JOINTS["inner"]), joint(*JOINTS["outer"]), at(INSTEP_AT)
    rear = at(HEEL_AT).reshape(-1, 3)
    rear = rear[rear[:, 1] < PAD_HEIGHT]
    if not all(map(len, (inner, outer, middle, rear))):
        raise ValueError("the surface has gaps where ball, heel or instep should be; expected a closed foot")
    inner, outer = inner[(inwards * inner[:, 2]).argmax()], outer[(inwards * outer[:, 2]).argmin()]
    across = np.cross((outer - inner) * [1, 0, 1], [0.0, 1.0, 0.0])
    ball_tape, instep_tape = _tape(_section(mesh, inner, across)), _tape(middle)
    arch = _arch(middle, inwards)
    measures = Measures(
        length=length,
        ball_breadth=abs(outer - inner)[2],
        ball_width=np.linalg.norm((outer - inner)[[0, 2]]),
        ball_girth=_around(ball_tape),
        heel_breadth=np.ptp(rear[:, 2]),
        instep_height=middle[..., 1].max(),
        instep_girth=_around(instep_tape),
        arch_height=None if arch is None else arch[1],
    )
    measures = {name: None if value is None else 1000 * float(value) for name, value in vars(measures).items()}
    edges = rear[[rear[:, 2].argmin(), rear[:, 2].argmax()]]
    return Measures(**measures), Landmarks(heel, toe, inner, outer, edges, ball_tape, instep_tape, arch)


def _section(
    mesh: trimesh.Trimesh, point: Float[np.ndarray, " 3"], normal: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, "segments 2 3"]:
    """Where a plane meets the foot's triangles; not the leg's, which may lean into it."""
    lines = trimesh.intersections.mesh_plane(mesh, normal, point)
    return lines[lines[..., 1].max(1, initial=0) < FOOT_CUT_HEIGHT + 1e-6]


def _arch(middle: Float[np.ndarray, "segments 2 3"], inwards: float) -> Float[np.ndarray, " 3"] | None:
    """The point of the sole `ARCH_AT` from the inner edge of a section; None: it is flat there, or open."""
    aside = middle[..., 2]
    low = aside[middle[..., 1] < HEEL_HEIGHT] * inwards
    place = inwards * (low.max() - ARCH_AT * np.ptp(low))
    above = middle[(aside.min(1) <= place) & (aside.max(1) > place)]
    if not len(above):
        return None
    share = (place - above[:, 0, 2]) / (above[:, 1, 2] - above[:, 0, 2])
    crossed = above[:, 0] + share[:, None] * (above[:, 1] - above[:, 0])
    lowest = crossed[crossed[:, 1].argmin()]
    return lowest if lowest[1] > FLAT else None


def _tape(section: Float[np.ndarray, "segments 2 3"]) -> Float[np.ndarray, "around 3"]:
    """The convex outline of a section by an upright plane, closed: how a tape lies around it."""
    points = section.reshape(-1, 3)
    level = points[:, [0, 2]] - points[:, [0, 2]].mean(0)
    along = np.linalg.svd(level, full_matrices=False)[2][0]
    flat = np.stack([level @ along, points[:, 1]], 1)
    around = ConvexHull(flat).vertices
    return points[[*around, around[0]]]


def _around(tape: Float[np.ndarray, "around 3"]) -> float:
    return float(np.linalg.norm(np.diff(tape, axis=0), axis=1).sum())


# ---------------------------------------------------------------------------------------------------------------- sizes


def shoe_sizes(length: float, width: float | None = None, within: float = 0.0) -> dict[str, str]:
    """Shoe sizes for a foot ``length`` mm long, give or take ``within`` (and ``width`` mm wide at the ball), by system.

    Mondopoint first (ISO 9407: the foot itself); the others by the formula that is most used, since makers differ: EU =
    1.5 (cm + 1.5); UK = inches x 3 - 23; US men = UK + 1, women = UK + 2.5; children's scale of the UK begins 13 sizes
    lower. Where the interval spans two sizes or more, its ends are named; it is a tenth of a step at least.

    Raises:
        ValueError: a length of no foot.
    """
    if not 90 <= length <= 350:
        raise ValueError(f"a foot is 90 to 350 mm long; found {length:.0f}")
    english = 3 * length / 25.4 - 23
    told = {
        "Mondopoint": _between(length, within, MONDOPOINT_STEP, lambda step: f"{step * MONDOPOINT_STEP:.0f}"),
        "EU": _between(length + TOE_ROOM, within, EU_STEP, lambda step: f"{step:.0f}"),
    }
    if width is not None:
        told["Mondopoint"] += f"/{width:.0f}"
    scales = {"UK": 0.0, "US men": 1.0, "US women": 2.5} if english >= 1 else {"UK children": 13.0}
    for system, further in scales.items():
        told[system] = _between(HALF_SIZE * 2 * (english + further), within, HALF_SIZE, _half)
    return told


def _half(steps: float) -> str:
    return f"{steps / 2:.1f}".removesuffix(".0")


def _between(length: float, within: float, step: float, name: Callable[[float], str]) -> str:
    """The step that ``length`` is nearest to (mm), or the outermost two of those that it may be nearest to."""
    room = max(within / step, 0.1)
    lower, upper = (np.floor(length / step + 0.5 + way * room + 1e-9) for way in (-1, 1))
    return name(lower) if lower == upper else f"between {name(lower)} and {name(upper)}"
