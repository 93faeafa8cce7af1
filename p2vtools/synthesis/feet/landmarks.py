"""Anatomical landmarks and true measures of synthetic feet, from vertices with the same indices in everyone.

The module is independent of `p2vtools.fit.measure`, which is tested against it. A landmark is the most prominent point
of a region (Lee, Lin and Wang, J. Foot and Ankle Research 7:44, 2014): the candidates are the vertices of the template
that are most prominent in any of 900 feet (populations 5 and 6, 450 people). On the heads of the metatarsals, vertices
moved by the bones of the toes are excluded. In people of wide variety other vertices may be more prominent: a foot can
be a millimetre longer.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int
from scipy.spatial import ConvexHull, cKDTree

from p2vtools.synthesis.feet.legs import leg_template

if TYPE_CHECKING:
    from p2vtools.synthesis.feet.foot import SyntheticFoot

LANDMARK_VERTICES: dict[str, tuple[int, ...]] = {
    "pternion": (435, 446, 2143, 2147, 2206, 2208, 2209, 2269, 2270, 3428),
    "toe 1": (233, 234, 252, 274, 738, 752, 1908, 1911, 1946, 1947, 1948, 3646, 3647, 3650, 3700, 3701, 3770, 3773),
    "toe 2": (318, 319, 1095, 1097, 2850, 2851, 2852, 3801, 3802, 3803, 3805, 3806, 3808, 4324, 4325, 4329),
    "toe 3": (
        *(469, 470, 481, 1039, 1111, 2366, 2379, 2383, 3942, 3943, 3945, 3946, 3947, 3948, 3949, 3950),
        *(4330, 4365, 4375, 5104),
    ),
    "toe 4": (
        *(599, 600, 611, 1058, 1071, 1088, 2588, 2605, 3388, 3390, 4176, 4177, 4178, 4179, 4180, 4181, 4182),
        *(4336, 4337, 5125, 5127),
    ),
    "toe 5": (1142, 1244, 1249, 4613, 4635, 4723, 4850, 4852, 4853, 4854, 4855, 4856, 4895),
    "first metatarsal": (372, 831, 1263, 2119, 3735, 4417, 4474, 4970),
    "fifth metatarsal": (1265, 2781, 3890, 4470, 4472, 4988, 4989, 5014),
    "heel, inner": (
        *(885, 886, 887, 888, 922, 930, 1981, 2009, 2275, 3036, 3120, 3173, 3625),
        *(5032, 5033, 5034, 5035, 5036, 5037, 5038, 5039, 5040),
    ),
    "heel, outer": (
        *(913, 914, 968, 980, 1001, 1003, 1004, 1005, 1006, 2930, 3056, 3099, 3100, 3101, 3160, 3163, 3205, 3207),
        *(3208, 3209, 3210, 3211, 3212, 3259, 3315, 3316, 3331, 3332, 3333, 3337, 3338, 3372),
    ),
}
"""Vertex indices in the left leg's template. The last two are regions: the heel pad near 16 % of the length."""

TOES = tuple(f"toe {number}" for number in range(1, 6))

HEEL_POSITION, INSTEP_POSITION, ARCH_POSITION = 0.16, 0.50, 0.25
"""Positions of the measured sections of heel and instep, as shares of the length; of the arch, as a share of the
breadth from the inner side."""

SIDE_HEIGHT, PAD_HEIGHT = 0.045, 0.03
"""Breadths at the instep and of the heel pad are taken below these heights, metres: the ankle leans out above."""


@functools.cache
def landmark_vertices(side: str) -> dict[str, Int[np.ndarray, " vertices"]]:
    """`LANDMARK_VERTICES` in the template of ``side``.

    anny's legs are mirror images of each other whose vertices are ordered differently.
    """
    indices = {name: np.array(listed) for name, listed in LANDMARK_VERTICES.items()}
    if side == "left":
        return indices
    distances, mirrored = cKDTree(leg_template("right").rest).query(leg_template("left").rest * [1, 1, -1])
    if distances.max() > 1e-6:
        raise ValueError(f"anny's legs are not mirror images: vertices differ by up to {1000 * distances.max():.3f} mm")
    return {name: mirrored[listed] for name, listed in indices.items()}


def find_landmarks(foot: SyntheticFoot) -> dict[str, Float[np.ndarray, "points 3"]]:
    """The landmarks of a foot, metres: one point per name, and two closed outlines, ``ball`` and ``instep``.

    The points of heel, instep and arch are intersections of mesh edges with the plane of the measure.
    """
    vertices, regions, edges = np.asarray(foot.leg_mesh.vertices), landmark_vertices(foot.side), _edges(foot.side)
    forwards, inwards = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0 if foot.side == "left" else -1.0])

    def farthest(points: np.ndarray, direction: np.ndarray) -> np.ndarray:
        return points[[(points @ direction).argmax()]]

    marks = {"pternion": farthest(vertices[regions["pternion"]], -forwards)}
    marks |= {name: farthest(vertices[regions[name]], forwards) for name in TOES}
    inner = marks["first metatarsal"] = farthest(vertices[regions["first metatarsal"]], inwards)
    outer = marks["fifth metatarsal"] = farthest(vertices[regions["fifth metatarsal"]], -inwards)
    heel = marks["pternion"][0]
    length = max(marks[name][0, 0] for name in TOES) - heel[0]
    rear, middle = heel + HEEL_POSITION * length * forwards, heel + INSTEP_POSITION * length * forwards
    for name, direction in (("heel, inner", inwards), ("heel, outer", -inwards)):
        points = _intersect(vertices, edges[np.isin(edges, regions[name]).all(1)], rear, forwards)
        marks[name] = farthest(points[points[:, 1] < PAD_HEIGHT], direction)
    across = np.cross((outer - inner)[0] * [1, 0, 1], [0.0, 1.0, 0.0])
    marks["ball"] = _convex_outline(_intersect(vertices, edges, inner[0], across))
    instep = _intersect(vertices, edges, middle, forwards)
    marks["instep"] = _convex_outline(instep)
    marks["instep, top"] = instep[[instep[:, 1].argmax()]]
    sole = _intersect(vertices, edges[_is_sole(foot.side)[edges].all(1)], middle, forwards)
    sole = sole[sole[:, 2].argsort()]
    low = instep[instep[:, 1] < SIDE_HEIGHT] @ inwards
    z = inwards[2] * (low.max() - ARCH_POSITION * np.ptp(low))
    marks["arch"] = np.array([[middle[0], np.interp(z, sole[:, 2], sole[:, 1]), z]])
    return marks


def true_measures(foot: SyntheticFoot) -> dict[str, float]:
    """True measures of a foot in millimetres, named as in `p2vtools.fit.measure.Measures`."""
    marks = find_landmarks(foot)
    inner, outer = marks["first metatarsal"][0], marks["fifth metatarsal"][0]
    measures = {
        "length": max(marks[name][0, 0] for name in TOES) - marks["pternion"][0, 0],
        "ball_breadth": abs(inner - outer)[2],
        "ball_width": np.hypot(*(inner - outer)[[0, 2]]),
        "ball_girth": _perimeter(marks["ball"]),
        "heel_breadth": abs(marks["heel, inner"] - marks["heel, outer"])[0, 2],
        "instep_height": marks["instep, top"][0, 1],
        "instep_girth": _perimeter(marks["instep"]),
        "arch_height": marks["arch"][0, 1],
    }
    return {name: 1000 * float(value) for name, value in measures.items()}


@functools.cache
def _edges(side: str) -> Int[np.ndarray, "edges 2"]:
    """The edges of the template between vertices of the foot."""
    leg = leg_template(side)
    # jaxtyping does not accept igl's integer type (long long).
    faces = leg.faces[leg.is_foot[leg.faces].all(1)].astype(np.int64)
    return np.unique(np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)


@functools.cache
def _is_sole(side: str) -> Bool[np.ndarray, " vertices"]:
    """Whether a vertex of the foot faces down in the template at rest."""
    leg = leg_template(side)
    normals = trimesh.Trimesh(leg.rest, leg.faces, process=False).vertex_normals
    return leg.is_foot & (normals[:, 1] < -0.1)


def _intersect(
    vertices: Float[np.ndarray, "vertices 3"],
    edges: Int[np.ndarray, "edges 2"],
    point: Float[np.ndarray, " 3"],
    normal: Float[np.ndarray, " 3"],
) -> Float[np.ndarray, "points 3"]:
    """Intersections of the edges with the plane through ``point``."""
    distance = (vertices - point) @ normal
    edges = edges[(distance[edges] >= 0).sum(1) == 1]
    first, last = distance[edges].T[..., None]
    return (vertices[edges[:, 0]] * last - vertices[edges[:, 1]] * first) / (last - first)


def _convex_outline(points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "hull 3"]:
    """The closed convex hull of points in a vertical plane."""
    offsets = points - points[0]
    axis = offsets[np.hypot(offsets[:, 0], offsets[:, 2]).argmax()] * [1, 0, 1]
    hull = ConvexHull(np.stack([offsets @ axis / np.linalg.norm(axis), points[:, 1]], 1)).vertices
    return points[[*hull, hull[0]]]


def _perimeter(outline: Float[np.ndarray, "points 3"]) -> float:
    return float(np.linalg.norm(np.diff(outline, axis=0), axis=1).sum())
