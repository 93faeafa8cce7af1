"""Measures of a foot, and the shoe sizes that they mean.

Of a surface in the foot's own frame: metres, y up, the floor at 0, toes along +x. Definitions follow ISO 7250-1 and
Witana et al. (Foot measurements from 3-D scans, Int. J. Industrial Ergonomics 2006); each says its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import trimesh
from jaxtyping import Float
from scipy.spatial import ConvexHull

from .conventions import SIDES

HEEL_HEIGHT = 0.06
"""Length and breadths are taken below this height: higher up the calf leans out behind the heel."""

BALL = (0.55, 0.80)
"""Between which shares of the length the foot is broadest."""

JOINTS = {"inner": (0.60, 0.80), "outer": (0.50, 0.74)}
"""Where the heads of the first and of the fifth metatarsal stand out, as shares of the length."""

HEEL_AT, INSTEP_AT = 0.16, 0.50
"""Shares of the length, from the heel, at which heel breadth and instep are taken."""

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
    """From the rearmost point of the heel to the longest toe, along the axis."""
    ball_breadth: float
    """The largest breadth between 55 and 80 % of the length, square to the axis (ISO 7250-1, foot breadth)."""
    ball_width: float
    """Between the heads of the first and of the fifth metatarsal, aslant."""
    ball_girth: float
    """Around the ball, in the upright plane through both heads, as a tape lies: over hollows."""
    heel_breadth: float
    """At 16 % of the length from the heel."""
    instep_height: float
    """The highest point at half of the length."""
    instep_girth: float
    """Around the foot at half of the length, square to the axis, as a tape lies."""

    def items(self) -> list[tuple[str, float]]:
        """Name and millimetres, longest first."""
        return [(field.name.replace("_", " "), getattr(self, field.name)) for field in fields(self)]


@dataclass(frozen=True, eq=False)
class Marks:
    """Where measures were taken, metres, to be drawn on the foot."""

    heel: Float[np.ndarray, " 3"]
    toe: Float[np.ndarray, " 3"]
    inner: Float[np.ndarray, " 3"]
    """The head of the first metatarsal."""
    outer: Float[np.ndarray, " 3"]
    """The head of the fifth."""
    ball: Float[np.ndarray, "ball_points 3"]
    """The tape around the ball, closed."""
    instep: Float[np.ndarray, "instep_points 3"]
    """The tape around the instep, closed."""


def measure(mesh: trimesh.Trimesh, side: str) -> tuple[Measures, Marks]:
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

    def at(first: float, last: float) -> np.ndarray:
        """Points of the surface between two shares of the length, also where no vertex is."""
        steps = np.linspace(first, last, 26)
        found = [_section(mesh, heel[0] + share * length) for share in steps]
        found = np.concatenate([part for part in found if len(part)] or [np.zeros((0, 3))])
        return found[found[:, 1] < HEEL_HEIGHT]

    ball, rear = at(*BALL), at(HEEL_AT, HEEL_AT)
    inner, outer = (at(*JOINTS[name]) for name in ("inner", "outer"))
    middle = _section(mesh, heel[0] + INSTEP_AT * length)
    if not all(map(len, (ball, rear, inner, outer, middle))):
        raise ValueError("the surface has gaps where ball, heel or instep should be; expected a closed foot")
    inner, outer = inner[(inwards * inner[:, 2]).argmax()], outer[(inwards * outer[:, 2]).argmin()]
    across = np.cross((outer - inner) * [1, 0, 1], [0.0, 1.0, 0.0])
    ball_tape = _tape(_cut(mesh, inner, across))
    instep_tape = _tape(middle)
    measures = Measures(
        length=length,
        ball_breadth=np.ptp(ball[:, 2]),
        ball_width=float(np.linalg.norm((outer - inner)[[0, 2]])),
        ball_girth=_around(ball_tape),
        heel_breadth=np.ptp(rear[:, 2]),
        instep_height=middle[:, 1].max(),
        instep_girth=_around(instep_tape),
    )
    measures = Measures(**{name: 1000 * float(value) for name, value in vars(measures).items()})
    return measures, Marks(heel, toe, inner, outer, ball_tape, instep_tape)


def _section(mesh: trimesh.Trimesh, x: float) -> Float[np.ndarray, "points 3"]:
    return _cut(mesh, np.array([x, 0.0, 0.0]), np.array([1.0, 0.0, 0.0]))


def _cut(mesh: trimesh.Trimesh, point: np.ndarray, normal: np.ndarray) -> Float[np.ndarray, "points 3"]:
    """Where a plane meets the edges of the surface."""
    lines = trimesh.intersections.mesh_plane(mesh, normal, point)
    return lines.reshape(-1, 3)


def _tape(points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "around 3"]:
    """The convex outline of points in an upright plane, closed: how a tape lies around them."""
    level = points[:, [0, 2]] - points[:, [0, 2]].mean(0)
    along = np.linalg.svd(level, full_matrices=False)[2][0]
    flat = np.stack([level @ along, points[:, 1]], 1)
    around = ConvexHull(flat).vertices
    return points[[*around, around[0]]]


def _around(tape: Float[np.ndarray, "around 3"]) -> float:
    return float(np.linalg.norm(np.diff(tape, axis=0), axis=1).sum())


# ---------------------------------------------------------------------------------------------------------------- sizes


def sizes(length: float, width: float | None = None) -> dict[str, str]:
    """Shoe sizes for a foot ``length`` mm long (and ``width`` mm wide at the ball): system -> size.

    Mondopoint first (ISO 9407: the foot itself); the others by the formula that is most used, since makers differ: EU =
    1.5 (cm + 1.5); UK = inches x 3 - 23; US men = UK + 1, women = UK + 2.5; children's scale of the UK begins 13 sizes
    lower. Within a tenth of a step of the middle between two sizes both are named.

    Raises:
        ValueError: a length of no foot.
    """
    if not 90 <= length <= 350:
        raise ValueError(f"a foot is 90 to 350 mm long; found {length:.0f}")
    english = 3 * length / 25.4 - 23
    told = {
        "Mondopoint": _between(length / MONDOPOINT_STEP, 1.0, lambda step: f"{step * MONDOPOINT_STEP:.0f}"),
        "EU": _between((length + TOE_ROOM) / EU_STEP, 1.0, lambda step: f"{step:.0f}"),
    }
    if width is not None:
        told["Mondopoint"] += f"/{width:.0f}"
    if english < 1:
        return told | {"UK children": _between(english + 13, 0.5, _halves)}
    return told | {
        "UK": _between(english, 0.5, _halves),
        "US men": _between(english + 1, 0.5, _halves),
        "US women": _between(english + 2.5, 0.5, _halves),
    }


def _halves(size: float) -> str:
    return f"{size:.1f}".removesuffix(".0")


def _between(size: float, step: float, name: Callable[[float], str]) -> str:
    """The nearest step, or both where ``size`` is about the middle of two."""
    lower = np.floor(size / step + 1e-9) * step
    share = (size - lower) / step
    if abs(share - 0.5) < 0.1:
        return f"between {name(lower)} and {name(lower + step)}"
    return name(lower if share < 0.5 else lower + step)
