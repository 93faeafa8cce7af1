"""Plausibility of a capture: left or right from its solid or its photos, and one foot in one place in all photos."""

from __future__ import annotations

import statistics
from pathlib import Path

import numpy as np
import trimesh

from p2vlib.geometry.frames import FOOT_CUBE, FOOT_SHARE, SIDES
from p2vlib.geometry.grids import VoxelGrid, voxelise
from p2vtools.fit.photo_set import read_photo_set
from p2vtools.fit.pretrained import PretrainedModel
from p2vtools.fit.reconstruct import reconstruct
from p2vtools.fit.uncertainty import photo_class
from p2vtools.fit.verdict import VERDICT_KEY, typical_iou

SIDE_LENGTH = 0.25
"""Length to which a surface is scaled before its side is recognised, metres."""


def side_of_mesh(mesh: trimesh.Trimesh, weights: PretrainedModel) -> str:
    """``left`` or ``right`` for a surface in metres with its toes along +x, at any position; see `side_of_grid`."""
    vertices = mesh.vertices - mesh.bounds.mean(axis=0) * [1, 0, 1]
    grid = voxelise(vertices * SIDE_LENGTH / np.ptp(vertices[:, 0]), mesh.faces, FOOT_CUBE)
    grid.volume[:, round(FOOT_SHARE * len(grid.volume)) :] = False
    return side_of_grid(grid, weights)


def side_of_grid(grid: VoxelGrid, weights: PretrainedModel) -> str:
    """``left`` or ``right`` for a solid with its toes along +x: the typical foot of that side is more similar."""
    return max(SIDES, key=lambda side: typical_iou(grid.volume, weights.typical_foot, side))


def photo_problems(folder: Path, side: str, weights: PretrainedModel) -> list[str]:
    """Whether the photos of a capture with exact cameras show a ``side`` foot that did not move; empty if they do.

    The foot is reconstructed as a left and as a right one. The wrong side gives silhouettes that fit no photo well, so
    the better fit, ignoring the worst quarter of the photos, is the side. The photos show one foot in one place if
    their mean silhouette IoU is not below the limit ``agreement`` in the card of the weights, which depends on the
    number of photos (`study.verdict_limits`); without such a limit this is not checked.
    """
    agreement = {}
    for candidate in SIDES:
        try:
            agreement[candidate] = reconstruct(weights, read_photo_set(folder, candidate)).silhouette_iou
        except ValueError as error:
            return [f"{folder}: {error}"]
    best = {candidate: sorted(ious.values())[len(ious) // 4 :] for candidate, ious in agreement.items()}
    detected = max(SIDES, key=lambda candidate: statistics.fmean(best[candidate]))
    ious = agreement[detected]
    mean, worst = statistics.fmean(ious.values()), min(ious, key=ious.get)
    limits = weights.card.get(VERDICT_KEY, {}).get("classes", {}).get(photo_class(len(ious)), {})
    expected = limits.get("agreement") or 0.0
    if mean < expected:
        found = f"silhouettes agree to {mean:.2f} with one foot in one place, least in {worst} ({ious[worst]:.2f})"
        advice = "did the foot move, or are there photos of two feet? Take them again"
        return [f"{folder}: {found}; expected {expected:.2f}: {advice}"]
    if detected != side:
        found = f"labelled as a {side} foot; its photos show a {detected} one"
        return [f"{folder}: {found}: was the side swapped?"]
    return []
