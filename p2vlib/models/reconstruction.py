"""What every network returns."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float32
from torch import Tensor

from p2vlib.models.point_head import CoarseState


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """Occupancies of one batch, always float32, whatever precision the network ran in; axes ``[x, y, z]``.

    The training loss sums over ``volumes``, ``coarse`` and ``probability``.
    """

    probability: Float32[Tensor, "batch x y z"]
    """The answer: occupancy in [0, 1]; the same tensor as ``coarse`` in a network without a refiner."""

    coarse: Float32[Tensor, "batch x y z"]
    """The fused volume before the refiner, in [0, 1]."""

    volumes: Float32[Tensor, "batch spoken x y z"]
    """What each view says for itself, in [0, 1], before the fusion; the answer itself where none does."""

    scores: Float32[Tensor, "batch views x y z"]
    """How much each view counts in each voxel; adds up to one over the views."""

    masks: Float32[Tensor, "batch views rows columns"] | None = None
    """The silhouette that each photo is thought to show, in [0, 1]; None where nothing of the kind is asked."""

    points: Float32[Tensor, "batch points 3"] | None = None
    """Points of the surface in the unit cube, where these are what is learnt; None: the volumes are."""

    near: Float32[Tensor, "batch asked"] | None = None
    """Logits of occupancy at the points that were asked for, where the network has a finer head."""

    known: CoarseState | None = None
    """What a finer head needs to be asked at more points."""


def check_views(views: Tensor, size: int) -> None:
    """What every network asks of its photos.

    Raises:
        ValueError: not ``[batch, views, 3, size, size]``.
    """
    if views.dim() != 5 or views.shape[2:] != (3, size, size):
        raise ValueError(f"expected views [batch, views, 3, {size}, {size}]; found {list(views.shape)}")
