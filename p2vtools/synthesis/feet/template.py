"""One lower leg as the same triangles for everyone: smoothed, closed at the knee, with a foot's regions."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import igl
import numpy as np
import scipy.sparse
import torch
import trimesh

from p2vtools.synthesis.feet.legs import bone_weights, leg_model

ANNY_TO_WORLD = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])
"""anny is z up, faces -y and has its left on +x; the world is y up, faces +x and has its right on +z. No mirror."""


@dataclass(frozen=True, eq=False)
class LegTemplate:
    """A leg after one Loop subdivision. Regions are ``[vertices]``, 0 outside to 1 inside, if they say nothing else."""

    smooth: scipy.sparse.csr_matrix
    """``[vertices, model vertices]``: from the model's vertices to the subdivided ones and the middle of the cap."""
    faces: np.ndarray
    """``[faces, 3]``: a closed surface, normals outwards."""
    toes: np.ndarray
    """``[5, vertices]``: how far each toe's bones move a vertex, big toe first."""
    is_foot: np.ndarray
    """Bool: moved by the foot and the toes rather than by the shank."""
    tripod: np.ndarray
    """``[3, vertices]``, bool: undersides of the heel, of the ball of the big toe and of that of the small toe."""
    arch: np.ndarray
    """The hollow of the sole between heel and ball, deepest on the side of the big toe."""
    nails: np.ndarray
    """The toenails."""
    redness: np.ndarray
    """Toes, and whatever is near the floor: where blood shows through the skin."""


def pose_legs(phenotypes: dict[str, float], changes: dict[str, float], pose: dict[str, np.ndarray]) -> np.ndarray:
    """anny's vertices of both legs in the world's axes, ``[model vertices, 3]``, metres.

    ``pose`` turns and shifts bones: ``[4, 4]`` by name, in anny's axes.
    """
    bones = {bone: torch.from_numpy(matrix)[None] for bone, matrix in pose.items()}
    with torch.inference_mode():
        made = leg_model()(phenotype_kwargs=phenotypes, local_changes_kwargs=changes, pose_parameters=bones or None)
    return made["vertices"][0].numpy() @ ANNY_TO_WORLD.T


@functools.cache
def leg_template(side: str) -> LegTemplate:
    """The template of one ``side``, made once in a process."""
    model, letter = leg_model(), side[0].upper()
    vertices = pose_legs({}, {}, {})
    is_side = vertices[:, 2] < 0 if side == "left" else vertices[:, 2] > 0
    faces = model.faces.numpy()
    faces = (np.cumsum(is_side) - 1)[faces[is_side[faces].all(axis=1)]]
    # Loop subdivision is linear in the vertices, so that its matrix serves every person.
    smooth, faces = igl.loop_matrix(faces, int(is_side.sum()))
    smooth = smooth.tocsr()
    cap, middle = _cap(faces, smooth)
    faces = np.vstack([faces, cap])
    smooth = scipy.sparse.vstack([smooth, middle]).tocsr() @ scipy.sparse.identity(len(is_side), format="csr")[is_side]

    def weight(*bones: str) -> np.ndarray:
        return smooth @ bone_weights(model, tuple(f"{bone}.{letter}" for bone in bones)).numpy()

    toes = np.stack([weight(*(f"toe{toe}-{joint}" for joint in (1, 2, 3))) for toe in range(1, 6)])
    tips = np.stack([weight("toe1-2"), *(weight(f"toe{toe}-3") for toe in range(2, 6))])
    is_foot = weight("foot") + toes.sum(axis=0) > 0.5
    rest = smooth @ vertices
    tripod, arch = _sole(rest, is_foot, toes)
    height = rest[:, 1] - rest[:, 1].min()
    return LegTemplate(
        smooth=smooth,
        faces=faces,
        toes=toes,
        is_foot=is_foot,
        tripod=tripod,
        arch=arch,
        nails=_nails(rest, trimesh.Trimesh(rest, faces, process=False).vertex_normals, tips),
        redness=np.clip(0.6 * toes.sum(axis=0) + np.exp(-height / 0.02), 0, 1),
    )


def _cap(faces: np.ndarray, smooth: scipy.sparse.csr_matrix) -> tuple[np.ndarray, scipy.sparse.csr_matrix]:
    """Triangles from the open border to a new vertex in its middle, and that vertex's row of ``smooth``."""
    edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    ring = edges[trimesh.grouping.group_rows(np.sort(edges, axis=1), require_count=1)]
    cap = np.column_stack([ring[:, ::-1], np.full(len(ring), smooth.shape[0])])
    return cap, scipy.sparse.csr_matrix(smooth[ring[:, 0]].mean(axis=0))


def _sole(rest: np.ndarray, is_foot: np.ndarray, toes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the foot stands on and what it does not: `Template.tripod` and `Template.arch`."""
    heel, toe = rest[is_foot][rest[is_foot, 0].argmin()], rest[toes[1].argmax()]
    ahead = (toe - heel)[[0, 2]] / np.linalg.norm((toe - heel)[[0, 2]])
    along, aside = (rest - heel)[:, [0, 2]] @ ahead, (rest - heel)[:, [0, 2]] @ [-ahead[1], ahead[0]]
    length = along[is_foot].max()
    along, inwards = along / length, aside / length * np.sign(np.average(aside, weights=toes[0]))
    height = (rest[:, 1] - rest[is_foot, 1].min()) / length
    is_sole = is_foot & (height < 0.12) & (toes.max(axis=0) < 0.5)
    is_ball = is_sole & (along > 0.6)
    tripod = np.stack([is_sole & (along < 0.25), is_ball & (inwards > 0), is_ball & (inwards < -0.06)])
    between = np.clip(1 - ((along - 0.45) / 0.22) ** 2, 0, 1) ** 2
    arch = is_foot * between * np.exp(-height / 0.08) / (1 + np.exp(-(inwards - 0.04) / 0.03))
    return tripod, arch / arch.max()


def _nails(rest: np.ndarray, normals: np.ndarray, tips: np.ndarray) -> np.ndarray:
    """The upward front of each toe's last bone, fading at its edge."""
    nails = np.zeros(len(rest))
    for tip in tips:
        on_tip = tip > 0.5
        lower, upper = rest[on_tip, 0].min(), rest[on_tip, 0].max()
        along = (rest[:, 0] - lower) / (upper - lower)
        nails = np.maximum(
            nails, on_tip * np.clip((along - 0.45) / 0.1, 0, 1) * np.clip((normals[:, 1] - 0.55) / 0.15, 0, 1)
        )
    return nails
