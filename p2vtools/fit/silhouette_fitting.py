"""Differentiable rendering: a volume, or the cameras, changed until silhouettes agree with those seen in the photos.

As in Perspective Transformer Nets (Yan et al., NeurIPS 2016), but at test time and on one object: nothing is learnt,
the volume or the cameras themselves are what the gradient changes.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from p2vlib.geometry.projection import render_silhouettes

FAITH = 0.05
"""Weight of staying with the network's logits, in mean squares, beside the silhouettes' cross entropy."""

RATE = 0.1


MIDDLE = (0.5, 0.15, 0.5)
"""About which cameras are turned, in the unit cube: where a foot is, so that a turn does not push it out of sight."""

EXPECTED = 0.15
"""Turns (radians), shifts (edges) and stretches of the distance that cost as much as a hundredth of the overlap."""


class CameraUpdate(NamedTuple):
    """How cameras differ from others: all zeros change nothing."""

    turn: Float[Tensor, "batch views 3"]
    """About `MIDDLE`, an axis times an angle in radians, in the camera's frame."""
    shift: Float[Tensor, "batch views 2"]
    """Of the cube across the picture, in its edges."""
    stretch: Float[Tensor, "batch views"]
    """Logarithm of the factor on the distance from `MIDDLE`."""
    focal: Float[Tensor, "batch views"]
    """Logarithm of the factor on the focal length."""


def update_cameras(cameras: Float[Tensor, "batch views 3 7"], by: CameraUpdate) -> Float[Tensor, "batch views 3 7"]:
    """``cameras`` (`Camera.normalised`) after a `Change`."""
    intrinsics, rotation, translation = cameras.split([3, 3, 1], -1)
    middle = cameras.new_tensor(MIDDLE)[:, None]
    x, y, z = by.turn.unbind(-1)
    none = torch.zeros_like(x)
    cross = torch.stack([none, -z, y, z, none, -x, -y, x, none], -1).unflatten(-1, (3, 3))
    turned = torch.linalg.matrix_exp(cross) @ rotation
    aside = torch.cat([by.shift, torch.zeros_like(by.shift[..., :1])], -1)[..., None]
    away = (rotation @ middle + translation) * by.stretch.exp()[..., None, None] + aside
    focal = torch.stack([by.focal, by.focal, torch.zeros_like(by.focal)], -1).exp()[..., None, :]
    scaled = torch.cat([intrinsics[..., :2, :] * focal, intrinsics[..., 2:, :]], -2)
    return torch.cat([scaled, turned, away - turned @ middle], -1)


@torch.enable_grad()
def align_cameras(
    solid: Bool[Tensor, "batch x y z"],
    masks: Float[Tensor, "batch views rows columns"],
    cameras: Float[Tensor, "batch views 3 7"],
    steps: int = 60,
    rate: float = 0.01,
    size: int = 24,
) -> Float[Tensor, "batch views 3 7"]:
    """``cameras`` after ``steps`` of Adam towards those from which ``solid`` shows as in ``masks``, each by itself.

    Overlap (Dice) at ``size`` pixels is what counts, with a slight pull back to where the cameras were. The focal
    length stays: in a silhouette it can hardly be told from the distance.
    """
    seen = functional.interpolate(masks.detach(), size=(size, size), mode="area")
    zeros = [torch.zeros(*cameras.shape[:2], *more, device=cameras.device) for more in ((3,), (2,), ())]
    free = [value.requires_grad_() for value in zeros]
    still = torch.zeros_like(free[2])
    optimizer = torch.optim.Adam(free, rate)
    slower = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, steps)
    for _ in range(steps):
        shown = render_silhouettes(solid.float(), update_cameras(cameras, CameraUpdate(*free, still)), size)
        hit = (shown * seen).sum((2, 3))
        dice = (2 * hit + 1) / (shown.sum((2, 3)) + seen.sum((2, 3)) + 1)
        pull = sum((value / EXPECTED).square().mean() for value in free)
        loss = (1 - dice).mean() + 0.01 * pull
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        slower.step()
    return update_cameras(cameras, CameraUpdate(*(value.detach() for value in free), still.detach()))


@torch.enable_grad()
def refine_volume(
    probability: Float[Tensor, "batch x y z"],
    masks: Float[Tensor, "batch views rows columns"],
    cameras: Float[Tensor, "batch views 3 7"],
    steps: int = 30,
) -> Float[Tensor, "batch x y z"]:
    """``probability`` after ``steps`` of Adam on its logits towards ``masks`` seen by ``cameras``.

    What was surely empty (below a thousandth) stays so; the masks may be uncertain, in [0, 1].
    """
    begun = torch.logit(probability.detach(), eps=1e-4)
    free = probability.detach() > 1e-3
    logits = begun.clone().requires_grad_()
    optimizer = torch.optim.Adam([logits], RATE)
    for _ in range(steps):
        shown = render_silhouettes(torch.sigmoid(logits) * free, cameras, masks.shape[-1]).clamp(1e-4, 1 - 1e-4)
        loss = (
            functional.binary_cross_entropy(shown, masks.detach().clamp(0, 1))
            + FAITH * (logits - begun).square().mean()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (torch.sigmoid(logits) * free).detach()
