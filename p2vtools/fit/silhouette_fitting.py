"""Test-time optimisation through a differentiable renderer: cameras, a pose or a volume fitted to silhouettes.

As in Perspective Transformer Nets (Yan et al., NeurIPS 2016), but for a single object and without training: gradient
descent updates the cameras, the pose or the volume themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional
from torch.optim.adam import adam

from p2vlib.geometry.placement import placement_matrix
from p2vlib.geometry.projection import render_silhouettes

LOGIT_WEIGHT = 0.05
"""Weight of the mean squared change of the logits, relative to the cross entropy of the silhouettes."""

VOLUME_LEARNING_RATE = 0.1

PIVOT = (0.5, 0.15, 0.5)
"""Centre of camera rotation in the unit cube: inside the foot, so that a rotation keeps it in view."""

UPDATE_SCALE = 0.15
"""Rotation (radians), translation (cube edges) or log distance that costs as much as 0.01 of Dice overlap."""


class _Adam:
    """Adam as of `torch.optim.Adam`, with a learning rate that falls linearly to ``last`` times its start.

    The class in PyTorch imports its compiler, which takes longer than a whole fit; the function beneath it does not.
    """

    def __init__(self, parameters: Sequence[Tensor], rate: float, steps: int, last: float = 1.0) -> None:
        self.parameters, self.rate, self.steps, self.fall = list(parameters), rate, steps, 1.0 - last
        self.moments = [[torch.zeros_like(value) for value in self.parameters] for _ in range(2)]
        self.done = [torch.zeros(()) for _ in self.parameters]

    def step(self, loss: Float[Tensor, ""]) -> None:
        gradients, number = list(torch.autograd.grad(loss, self.parameters)), int(self.done[0])
        constants = dict(amsgrad=False, beta1=0.9, beta2=0.999, weight_decay=0.0, eps=1e-8, maximize=False)
        with torch.no_grad():
            adam(self.parameters, gradients, *self.moments, [], self.done, lr=self.rate, **constants)
        self.rate *= 1 - self.fall / (self.steps - number * self.fall)


class CameraUpdate(NamedTuple):
    """Change of cameras; zeros are the identity."""

    rotation: Float[Tensor, "batch views 3"]
    """About `PIVOT` in the camera frame: axis times angle, radians."""
    translation: Float[Tensor, "batch views 2"]
    """Of the cube across the image, in cube edges."""
    log_distance: Float[Tensor, "batch views"]
    """Logarithm of the factor on the distance to `PIVOT`."""
    log_focal: Float[Tensor, "batch views"]
    """Logarithm of the factor on the focal length."""


def update_cameras(cameras: Float[Tensor, "batch views 3 7"], update: CameraUpdate) -> Float[Tensor, "batch views 3 7"]:
    """Applies ``update`` to ``cameras`` (as `Captures.cameras`)."""
    intrinsics, rotation, translation = cameras.split([3, 3, 1], -1)
    pivot = cameras.new_tensor(PIVOT)[:, None]
    x, y, z = update.rotation.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    rotated = torch.linalg.matrix_exp(cross) @ rotation
    sideways = torch.cat([update.translation, torch.zeros_like(update.translation[..., :1])], -1)[..., None]
    pivot_in_camera = (rotation @ pivot + translation) * update.log_distance.exp()[..., None, None] + sideways
    focal = torch.stack([update.log_focal, update.log_focal, torch.zeros_like(update.log_focal)], -1).exp()
    scaled = torch.cat([intrinsics[..., :2, :] * focal[..., None, :], intrinsics[..., 2:, :]], -2)
    return torch.cat([scaled, rotated, pivot_in_camera - rotated @ pivot], -1)


@torch.enable_grad()
def align_cameras(
    solid: Bool[Tensor, "batch x y z"],
    masks: Float[Tensor, "batch views rows columns"],
    cameras: Float[Tensor, "batch views 3 7"],
    steps: int = 60,
    learning_rate: float = 0.01,
    size: int = 24,
) -> Float[Tensor, "batch views 3 7"]:
    """Fits each camera so that the silhouette of ``solid`` matches ``masks``.

    Minimises the Dice loss at ``size`` pixels with Adam, plus a small penalty on the update. The focal length is fixed,
    because a silhouette hardly distinguishes it from the distance.
    """
    zeros = [torch.zeros(*cameras.shape[:2], *shape, device=cameras.device) for shape in ((3,), (2,), ())]
    parameters = [value.requires_grad_() for value in zeros]
    fixed = torch.zeros_like(parameters[2])
    optimizer = _Adam(parameters, learning_rate, steps, last=0.05)
    for _ in range(steps):
        updated = update_cameras(cameras, CameraUpdate(*parameters, fixed))
        penalty = sum((value / UPDATE_SCALE).square().mean() for value in parameters)
        overlap = silhouette_overlap(solid, masks.detach(), updated, size)
        optimizer.step(1 - overlap.mean() + 0.01 * penalty)
    return update_cameras(cameras, CameraUpdate(*(value.detach() for value in parameters), fixed.detach()))


def silhouette_overlap(
    solid: Bool[Tensor, "batch x y z"],
    masks: Float[Tensor, "batch views rows columns"],
    cameras: Float[Tensor, "batch views 3 7"],
    size: int = 24,
) -> Float[Tensor, "batch views"]:
    """Dice coefficient of the silhouettes of ``solid`` with ``masks`` at ``size`` pixels."""
    target = functional.interpolate(masks, size=(size, size), mode="area")
    predicted = render_silhouettes(solid.float(), cameras, size)
    return (2 * (predicted * target).sum((2, 3)) + 1) / (predicted.sum((2, 3)) + target.sum((2, 3)) + 1)


class PosePrior(NamedTuple):
    """Mean and standard deviation of the parameters of a pose (`PoseFit`)."""

    mean: Float[Tensor, " 4"]
    deviation: Float[Tensor, " 4"]


class PoseFit(NamedTuple):
    """A solid on the floor, fitted to silhouettes from several starts."""

    parameters: Float[Tensor, "starts 4"]
    """Shift along x and z in edges of the cube of the solid, angle clockwise from above in radians, logarithm of the
    size."""
    loss: Float[Tensor, " starts"]
    overlap: Float[Tensor, " starts"]
    """Mean Dice coefficient over the views."""


def fit_pose(
    solid: Bool[Tensor, "x y z"],
    prior: PosePrior,
    masks: Float[Tensor, "1 views rows columns"],
    cameras: Float[Tensor, "1 views 3 7"],
    edge: float,
    starts: Float[Tensor, "starts 4"],
    steps: int = 30,
    learning_rate: float = 0.03,
    size: int = 24,
) -> PoseFit:
    """Fits position, direction and size of a ``solid`` on the floor to ``masks``, from all ``starts`` at once.

    Minimises, with Adam, 1 - Dice coefficient plus 0.01 times the sum of the squared deviations of the parameters from
    the mean of ``prior``, in its standard deviations. Returns the step with the lowest loss, for each start.

    Args:
        edge: edge of the cube to which ``cameras`` belong, relative to the cube of the solid.
        starts: initial values of `PoseFit.parameters`.
        size: edge of the compared silhouettes, pixels.
    """
    target = functional.interpolate(masks, size=(size, size), mode="area")
    solids, views = solid.float().expand(len(starts), -1, -1, -1), cameras.expand(len(starts), -1, -1, -1)
    parameters = starts.clone().requires_grad_()
    optimizer = _Adam([parameters], learning_rate, max(1, steps), last=0.1)
    best = PoseFit(starts.clone(), torch.full((len(starts),), torch.inf), torch.zeros(len(starts)))
    for step in range(steps + 1):
        with torch.set_grad_enabled(step < steps):
            predicted = render_silhouettes(solids, _posed_cameras(views, parameters, edge), size)
            common, total = (predicted * target).sum((2, 3)), (predicted**2 + target**2).sum((2, 3))
            overlap = ((2 * common + 1e-3) / (total + 1e-3)).mean(1)
            loss = 1 - overlap + 0.01 * ((parameters - prior.mean) / prior.deviation).square().sum(1)
        better = (loss < best.loss).detach()
        best = PoseFit(
            torch.where(better[:, None], parameters.detach(), best.parameters),
            torch.where(better, loss.detach(), best.loss),
            torch.where(better, overlap.detach(), best.overlap),
        )
        if step < steps:
            optimizer.step(loss.sum())
    return best


def _posed_cameras(
    cameras: Float[Tensor, "starts views 3 7"], parameters: Float[Tensor, "starts 4"], edge: float
) -> Float[Tensor, "starts views 3 7"]:
    """``cameras`` relative to the cube of a solid with these ``parameters`` (`PoseFit`), scaled with the solid."""
    intrinsics, rotation, translation = cameras.split([3, 3, 1], -1)
    moved = placement_matrix(torch.rad2deg(parameters[:, 2]), parameters[:, :2] / edge)[:, None]
    size = (parameters[:, 3].exp() / edge)[:, None, None, None]
    centre = cameras.new_tensor([0.5, 0.0, 0.5])[:, None]
    turned = rotation @ moved[..., :3]
    floor = turned @ centre + rotation @ moved[..., 3:] + translation
    return torch.cat([intrinsics, turned, floor / size - turned @ centre], -1)


@torch.enable_grad()
def refine_volume(
    probability: Float[Tensor, "batch x y z"],
    masks: Float[Tensor, "batch views rows columns"],
    cameras: Float[Tensor, "batch views 3 7"],
    steps: int = 30,
) -> Float[Tensor, "batch x y z"]:
    """Fits the logits of ``probability`` so that its silhouettes match ``masks`` (values in [0, 1]).

    Voxels with a probability below 0.001 are fixed.
    """
    initial = torch.logit(probability.detach(), eps=1e-4)
    is_free = probability.detach() > 1e-3
    logits = initial.clone().requires_grad_()
    optimizer = _Adam([logits], VOLUME_LEARNING_RATE, steps)
    target = masks.detach().clamp(0, 1)
    for _ in range(steps):
        predicted = render_silhouettes(torch.sigmoid(logits) * is_free, cameras, masks.shape[-1]).clamp(1e-4, 1 - 1e-4)
        silhouette_loss = functional.binary_cross_entropy(predicted, target)
        optimizer.step(silhouette_loss + LOGIT_WEIGHT * (logits - initial).square().mean())
    return (torch.sigmoid(logits) * is_free).detach()
