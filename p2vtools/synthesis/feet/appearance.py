"""Appearance of a foot in the domain ``wild``: skin of any tone with marks, or a sock."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trimesh
from scipy.spatial import cKDTree

from p2vtools.synthesis.colours import MONK_TONES, monk_tone
from p2vtools.synthesis.feet.leg_canvas import LegCanvas, leg_canvas
from p2vtools.synthesis.feet.population import Person
from p2vtools.synthesis.feet.skin import MARKS, POLISH, paint_skin
from p2vtools.synthesis.feet.socks import Sock, is_covered, paint_sock, sample_sock

SOCK_SHARE = 0.22
"""Share of the feet that wear a sock."""

SOCK_OFFSET = 0.0015
"""Largest distance of the surface of a sock from that of the foot, metres."""

SKIN_REFLECTANCES = ((0.60, 0.41, 0.32), (0.38, 0.22, 0.14), (0.055, 0.033, 0.024))
"""Linear RGB of light, middle and dark skin."""


@dataclass(frozen=True)
class Appearance:
    """Everything that determines how a foot is painted: the same appearance gives the same colours."""

    seed: int
    """Seed of everything that is sampled during painting."""
    tone: tuple[float, float, float]
    """Mean colour of the skin, linear RGB."""
    texture: float
    """Selects a photographic skin, if there are any: 0 the first, 1 the last."""
    marks: frozenset[str]
    """Keys of `MARKS`, and ``"polish"``."""
    sock: Sock | None


def sample_appearance(rng: np.random.Generator, person: Person) -> Appearance:
    """Samples the appearance of a foot of ``person``; children have no hair, tattoos or visible veins.

    The tone is uniform over the whole Monk scale, independent of ``person.skin``, the tone in the other domains.
    """
    seed, texture = int(rng.integers(2**32)), float(rng.uniform())
    # The geometric mean of the Monk scale and of reflectances: its swatches are lighter and less red than skin.
    position = rng.uniform(0, len(MONK_TONES) - 1)
    skin = [np.interp(position, [0, 4.5, 9], channel) for channel in zip(*SKIN_REFLECTANCES, strict=True)]
    tone = np.sqrt(monk_tone(position) * skin) * rng.normal(1, 0.04, 3) * rng.uniform(0.85, 1.1)
    shares = {**MARKS, "polish": POLISH}
    draws = rng.random(len(shares))
    marks = {mark for mark, draw, share in zip(shares, draws, shares.values(), strict=True) if draw < share}
    if person.is_child:
        marks -= {"hair", "tattoo", "veins"}
    sock = sample_sock(rng) if rng.random() < SOCK_SHARE else None
    if sock is None:
        rng.random()  # unused; keeps the random stream of the existing data
    return Appearance(seed, tuple(np.clip(tone, 0.008, 0.9).tolist()), texture, frozenset(marks), sock)


def paint(leg_mesh: trimesh.Trimesh, side: str, appearance: Appearance) -> trimesh.Trimesh:
    """Paints a leg: the same surface with finer faces, smooth normals and the vertex attribute ``albedo`` (linear RGB).

    Under a sock the surface is smoothed and moves by at most `SOCK_OFFSET`, never below the floor, and cloth closes
    the gaps between neighbouring toes, as four more components of the mesh.

    Args:
        leg_mesh: with the vertices of the template of ``side``, metres.
    """
    canvas = leg_canvas(side)
    rng = np.random.default_rng([appearance.seed, side == "right"])
    vertices = canvas.division @ np.asarray(leg_mesh.vertices)
    normals = _unit(canvas.division @ np.asarray(leg_mesh.vertex_normals))
    albedo = paint_skin(canvas, rng, np.array(appearance.tone), appearance.texture, appearance.marks)
    if appearance.sock:
        is_sock = is_covered(canvas, appearance.sock)[:, None]
        sock = paint_sock(canvas, appearance.sock, np.random.default_rng(appearance.seed))
        albedo = np.where(is_sock, sock, albedo)
        moved, smooth = _wrap(canvas, vertices, normals)
        vertices, normals = np.where(is_sock, moved, vertices), np.where(is_sock, smooth, normals)
    painted = trimesh.Trimesh(vertices, canvas.faces, vertex_normals=normals, process=False)
    painted.vertex_attributes["albedo"] = np.clip(albedo, 0.004, 0.92).astype(np.float32)
    return _close_gaps(painted, canvas) if appearance.sock else painted


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _wrap(canvas: LegCanvas, vertices: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Surface and normals of cloth over the leg, both smoothed between the toes."""
    target, smooth = vertices + 0.0007 * normals, normals
    toes = np.clip(canvas.toes.sum(axis=0), 0, 1)[:, None]
    for _ in range(8):
        target = target + toes * (canvas.neighbours @ target - target)
        smooth = smooth + toes * (canvas.neighbours @ smooth - smooth)
    shift = target - vertices
    shift *= np.minimum(1, SOCK_OFFSET / np.maximum(np.linalg.norm(shift, axis=1, keepdims=True), 1e-12))
    moved = vertices + shift
    moved[:, 1] = np.maximum(moved[:, 1], np.minimum(vertices[:, 1], vertices[:, 1].min() + 1e-6))
    return moved, _unit(smooth)


def _close_gaps(painted: trimesh.Trimesh, canvas: LegCanvas) -> trimesh.Trimesh:
    """Adds the cloth that closes the gaps between the toes: the convex hulls of neighbouring toes, 0.5 mm larger."""
    parts, floor = [painted], painted.vertices[:, 1].min()
    for pair in (canvas.toes[:-1] + canvas.toes[1:]) > 0.6:
        pair = np.flatnonzero(pair)
        _, first = np.unique(np.round(canvas.position[pair] / 3), axis=0, return_index=True)
        hull = trimesh.convex.convex_hull(painted.vertices[pair[first]])
        vertices, faces, fields = hull.vertices, hull.faces, {"normals": hull.vertex_normals}
        for _ in range(2):
            vertices, faces, fields = trimesh.remesh.subdivide(vertices, faces, vertex_attributes=fields)
        nearest = pair[cKDTree(painted.vertices[pair]).query(vertices)[1]]
        normals = _unit(_unit(fields["normals"]) + 0.5 * painted.vertex_normals[nearest])
        vertices = np.maximum(vertices + 0.0005 * normals, [-np.inf, floor, -np.inf])
        cloth = trimesh.Trimesh(vertices, faces, vertex_normals=normals, process=False)
        cloth.vertex_attributes["albedo"] = painted.vertex_attributes["albedo"][nearest]
        parts.append(cloth)
    return trimesh.util.concatenate(parts)
