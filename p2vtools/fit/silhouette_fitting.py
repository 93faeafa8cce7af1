"""Test-time optimisation through a differentiable renderer: cameras, a pose or a volume fitted to silhouettes.

As in Perspective Transformer Nets (Yan et al., NeurIPS 2016), but for a single object and without training: gradient
descent updates the cameras, the pose or the volume themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional
from torch.optim.adam import adam

from p2vlib.geometry.placement import Cameras, placement_matrix
from p2vlib.geometry.projection import render_silhouettes

Solids = Bool[Tensor, "batch x y z"]

Masks = Float[Tensor, "batch views rows columns"]
"""Silhouettes in the photos, in [0, 1]."""

PIXELS = 24
"""Edge of the silhouettes to which cameras are aligned, pixels."""

LOGIT_WEIGHT = 0.05
"""Weight of the mean squared change of the logits, relative to the cross entropy of the silhouettes."""

VOLUME_LEARNING_RATE = 0.1

PIVOT = (0.5, 0.15, 0.5)
"""Centre of camera rotation in the unit cube: inside the foot, so that a rotation keeps it in view."""

UPDATE_SCALE = 0.15
"""Rotation (radians), translation (cube edges) or log distance that costs as much as 0.01 of Dice overlap."""


@torch.enable_grad()
def _minimise(
    loss: Callable[[], Float[Tensor, ""]], parameters: list[Tensor], steps: int, rate: float, last: float = 1.0
) -> None:
    """Adam as of `torch.optim.Adam`, with a learning rate that falls linearly to ``last`` times its start.

    The class in PyTorch imports its compiler, which takes longer than a whole fit; the function beneath it does not.
    """
    moments = [[torch.zeros_like(value) for value in parameters] for _ in range(2)]
    done, fall = [torch.zeros(()) for _ in parameters], 1.0 - last
    constants = dict(amsgrad=False, beta1=0.9, beta2=0.999, weight_decay=0.0, eps=1e-8, maximize=False)
    for step in range(steps):
        gradients = list(torch.autograd.grad(loss(), parameters))
        with torch.no_grad():
            adam(parameters, gradients, *moments, [], done, lr=rate, **constants)
        rate *= 1 - fall / (steps - step * fall)


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


def no_update(cameras: Cameras) -> CameraUpdate:
    """The identity for ``cameras``."""
    shapes: tuple[tuple[int, ...], ...] = ((3,), (2,), (), ())
    return CameraUpdate(*(torch.zeros(*cameras.shape[:2], *shape, device=cameras.device) for shape in shapes))


def pivot_in_camera(cameras: Cameras) -> Float[Tensor, "batch views 3 1"]:
    """`PIVOT` in the frame of each camera."""
    return cameras[..., 3:6] @ cameras.new_tensor(PIVOT)[:, None] + cameras[..., 6:]


def update_cameras(cameras: Cameras, update: CameraUpdate) -> Cameras:
    """Applies ``update`` to ``cameras`` (as `Captures.cameras`)."""
    intrinsics, rotation, _ = cameras.split([3, 3, 1], -1)
    x, y, z = update.rotation.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    rotated = torch.linalg.matrix_exp(cross) @ rotation
    sideways = torch.cat([update.translation, torch.zeros_like(update.translation[..., :1])], -1)[..., None]
    moved_pivot = pivot_in_camera(cameras) * update.log_distance.exp()[..., None, None] + sideways
    focal = torch.stack([update.log_focal, update.log_focal, torch.zeros_like(update.log_focal)], -1).exp()
    scaled = torch.cat([intrinsics[..., :2, :] * focal[..., None, :], intrinsics[..., 2:, :]], -2)
    return torch.cat([scaled, rotated, moved_pivot - rotated @ cameras.new_tensor(PIVOT)[:, None]], -1)


def align_cameras(solid: Solids, masks: Masks, cameras: Cameras, steps: int, learning_rate: float) -> Cameras:
    """Fits each camera so that the silhouette of ``solid`` matches ``masks``.

    Minimises the Dice loss with Adam, plus a small penalty on the update. The focal length is fixed, because a
    silhouette hardly distinguishes it from the distance.
    """
    *moving, fixed = no_update(cameras)
    parameters = [value.requires_grad_() for value in moving]

    def loss() -> Float[Tensor, ""]:
        updated = update_cameras(cameras, CameraUpdate(*parameters, fixed))
        penalty = sum((value / UPDATE_SCALE).square().mean() for value in parameters)
        return 1 - silhouette_overlap(solid, masks.detach(), updated).mean() + 0.01 * penalty

    _minimise(loss, parameters, steps, learning_rate, last=0.05)
    return update_cameras(cameras, CameraUpdate(*(value.detach() for value in parameters), fixed))


def silhouette_overlap(solid: Solids, masks: Masks, cameras: Cameras) -> Float[Tensor, "batch views"]:
    """Dice coefficient of the silhouettes of ``solid`` with ``masks`` at `PIXELS`."""
    target = functional.interpolate(masks, size=(PIXELS, PIXELS), mode="area")
    predicted = render_silhouettes(solid.float(), cameras, PIXELS)
    return (2 * (predicted * target).sum((2, 3)) + 1) / (predicted.sum((2, 3)) + target.sum((2, 3)) + 1)


Prior = tuple[Float[Tensor, " 4"], Float[Tensor, " 4"]]
"""Mean and standard deviation of `PoseFit.parameters`."""


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
    prior: Prior,
    masks: Float[Tensor, "1 views rows columns"],
    cameras: Float[Tensor, "1 views 3 7"],
    edge: float,
    starts: Float[Tensor, "starts 4"],
    steps: int,
    learning_rate: float,
    size: int,
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
    mean, deviation = prior
    parameters = starts.clone().requires_grad_()
    best = PoseFit(starts.clone(), torch.full((len(starts),), torch.inf), torch.zeros(len(starts)))

    def loss_of_all() -> Float[Tensor, ""]:
        nonlocal best
        predicted = render_silhouettes(solids, _posed_cameras(views, parameters, edge), size)
        common, total = (predicted * target).sum((2, 3)), (predicted**2 + target**2).sum((2, 3))
        overlap = ((2 * common + 1e-3) / (total + 1e-3)).mean(1)
        loss = 1 - overlap + 0.01 * ((parameters - mean) / deviation).square().sum(1)
        better = loss.detach() < best.loss
        best = PoseFit(
            torch.where(better[:, None], parameters.detach(), best.parameters),
            torch.where(better, loss.detach(), best.loss),
            torch.where(better, overlap.detach(), best.overlap),
        )
        return loss.sum()

    _minimise(loss_of_all, [parameters], steps, learning_rate, last=0.1)
    with torch.no_grad():
        loss_of_all()
    return best


def _posed_cameras(cameras: Cameras, parameters: Float[Tensor, "batch 4"], edge: float) -> Cameras:
    """``cameras`` relative to the cube of a solid with these ``parameters`` (`PoseFit`), scaled with the solid."""
    intrinsics, rotation, translation = cameras.split([3, 3, 1], -1)
    moved = placement_matrix(torch.rad2deg(parameters[:, 2]), parameters[:, :2] / edge)[:, None]
    size = (parameters[:, 3].exp() / edge)[:, None, None, None]
    centre = cameras.new_tensor([0.5, 0.0, 0.5])[:, None]
    turned = rotation @ moved[..., :3]
    floor = turned @ centre + rotation @ moved[..., 3:] + translation
    return torch.cat([intrinsics, turned, floor / size - turned @ centre], -1)


def refine_volume(
    probability: Float[Tensor, "batch x y z"], masks: Masks, cameras: Cameras, steps: int = 30
) -> Float[Tensor, "batch x y z"]:
    """Fits the logits of ``probability`` so that its silhouettes match ``masks``.

    Voxels with a probability below 0.001 are fixed.
    """
    initial = torch.logit(probability.detach(), eps=1e-4)
    is_free = probability.detach() > 1e-3
    logits = initial.clone().requires_grad_()
    target = masks.detach().clamp(0, 1)

    def loss() -> Float[Tensor, ""]:
        predicted = render_silhouettes(torch.sigmoid(logits) * is_free, cameras, masks.shape[-1]).clamp(1e-4, 1 - 1e-4)
        silhouette_loss = functional.binary_cross_entropy(predicted, target)
        return silhouette_loss + LOGIT_WEIGHT * (logits - initial).square().mean()

    _minimise(loss, [logits], steps, VOLUME_LEARNING_RATE)
    return (torch.sigmoid(logits) * is_free).detach()
