"""Augmentation of photos and cameras on the device, in batches; every step of the published code is an option.

Xie et al., Pix2Vox (ICCV 2019), data transforms of the published code: background, colour jitter, PCA noise, flip, one
permutation of the channels for all views. The photos of archives are cropped here, all others when they are loaded
(`dataset.load`). `DEFAULT` is the augmentation of the study, `PUBLISHED` that of the authors.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

Photos = UInt8[Tensor, "batch views 4 height width"]
Images = Float[Tensor, "batch views 3 image_height image_width"]
Boxes = Float[Tensor, "batch views 4"]
"""Crop boxes: left, top, right, bottom, pixels; they may extend beyond the photo."""

EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
"""Principal components of the colours of ImageNet (Krizhevsky et al. 2012, section 4.1), channels red, green, blue."""

CACHED_PIXELS = 2**18
"""Pixels that a CPU processes at a time, so that they stay in its cache."""

TEST_BACKGROUND = 240 / 255
"""Published: the grey background of test images."""


@dataclass(frozen=True)
class Augmentation:
    """Options. Unless one says otherwise, all views of a sample share their random numbers and stay a sequence."""

    background: tuple[float, float] = (225 / 255, 1.0)
    """Range of the grey that fills transparent pixels."""
    coloured_background: bool = False
    """Published: the channels of the background are independent."""
    sharp_alpha: bool = False
    """Published: after resizing, half-transparent pixels are opaque, which gives outlines a dark seam."""
    jitter: float = 0.4
    """Brightness, contrast and saturation are multiplied by a factor in 1 ± this."""
    grey: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    """Weights of red, green and blue in grey. Published: luma."""
    fixed_order: bool = True
    """Brightness, then contrast, then saturation. Published: in random order."""
    contrast_per_view: bool = False
    """Published: contrast is relative to the mean of each photo, which removes the change of light along a walk."""
    clip: bool = True
    """Clip to [0, 1], as a camera does. Published: no."""
    noise: float = 0.0
    """Standard deviation of the noise along the principal components of colour. Published: 0.1."""
    permutation: bool = False
    """Published: random permutation of the channels, the same in all views. Skin then has the colours of a floor."""
    flip: bool = False
    """Published: each view is flipped independently, while the volume is not, which loses left and right and the order
    of a walk."""


DEFAULT = Augmentation()

PUBLISHED = Augmentation(
    coloured_background=True,
    sharp_alpha=True,
    grey=(0.299, 0.587, 0.114),
    fixed_order=False,
    contrast_per_view=True,
    clip=False,
    noise=0.1,
    permutation=True,
    flip=True,
)
"""The authors' images are BGR, as OpenCV reads them; `p2vtools.archives.published` corrects for it."""

RECIPES = {"default": DEFAULT, "published": PUBLISHED}


def preprocess(
    photos: Photos,
    background: float | Tensor = TEST_BACKGROUND,
    sharp: bool = False,
    boxes: Boxes | None = None,
    size: int = 0,
) -> Images:
    """Images in [0, 1]: RGBA bytes composited over a uniform ``background``, cropped if there are ``boxes``.

    Args:
        sharp: pixels that are not fully transparent are opaque.
        boxes: crop boxes. Photos are cropped before compositing if ``sharp``, as published, otherwise after it, so that
            colours of transparent pixels do not bleed into outlines.
        size: edge of the cropped images, pixels.
    """
    if boxes is not None and sharp:
        values = crop_boxes(photos / 255, boxes, size)
        return torch.where(values[:, :, 3:] > 0, values[:, :, :3], background)
    alpha = photos[:, :, 3:].float() / 255
    if sharp:
        alpha = (alpha > 0).float()
    images = torch.lerp(torch.as_tensor(background, device=photos.device), photos[:, :, :3] / 255, alpha)
    return images if boxes is None else crop_boxes(images, boxes, size)


def crop_boxes(
    photos: Float[Tensor, "batch views channels height width"], boxes: Boxes, size: int
) -> Float[Tensor, "batch views channels {size} {size}"]:
    """Photos cropped to their boxes and resized bilinearly to ``size`` pixels; border pixels are repeated.

    There is no low-pass filter, as in OpenCV: for boxes much larger than ``size`` use `dataset.crop_and_resize`.
    """
    height, width = photos.shape[-2:]
    centres = (torch.arange(size, device=photos.device) + 0.5) / size
    left, top, right, bottom = boxes.flatten(0, 1).T[:, :, None]  # [batch * views, 1] each
    across = (left + (right - left) * centres) * (2 / width) - 1  # -> [batch * views, size]
    down = (top + (bottom - top) * centres) * (2 / height) - 1
    grid = torch.stack(torch.broadcast_tensors(across[:, None], down[:, :, None]), -1)  # [batch * views, size, size, 2]
    resized = functional.grid_sample(photos.flatten(0, 1), grid, padding_mode="border", align_corners=False)
    return resized.unflatten(0, photos.shape[:2])


class _Parameters(NamedTuple):
    """The random parameters of each sample of a batch, all drawn before the first pixel is processed."""

    background: Float[Tensor, "batch 1 channels 1 1"]
    factors: Float[Tensor, "batch 3"]
    """Factors of brightness, contrast and saturation."""
    steps: Int64[Tensor, "batch 3"]
    """The order in which the three are applied."""
    noise: Float[Tensor, "batch 3"]
    channels: Int64[Tensor, "batch 3"]
    flipped: Bool[Tensor, "batch views 1 1 1"]
    boxes: Boxes | None

    def map(self, function: Callable[[Tensor], Tensor]) -> _Parameters:
        """The parameters with ``function`` applied to each tensor."""
        values: list[Any] = [None if value is None else function(value) for value in self]
        return _Parameters(*values)


def augment(
    photos: Photos,
    generator: torch.Generator,
    recipe: Augmentation = DEFAULT,
    boxes: Boxes | None = None,
    size: int = 0,
) -> Images:
    """Augmented images in [0, 1] for training; all random numbers come from ``generator``.

    Brightness, contrast, saturation, noise and permutation of the channels together are one affine map of colours. A
    GPU processes the batch at once, a CPU a few samples at a time.

    Args:
        boxes: crop boxes, as of `preprocess`.
        size: edge of the cropped images, pixels.
    """
    parameters = _draw_parameters(len(photos), photos.shape[1], generator, recipe, boxes)
    if photos.is_cuda:
        parameters = parameters.map(lambda value: value.to(photos.device, non_blocking=True))
    edges = photos.shape[-2:] if boxes is None else (size, size)
    images = torch.empty(*photos.shape[:2], 3, *edges, device=photos.device)
    step = len(photos) if photos.is_cuda else max(1, CACHED_PIXELS // (photos.shape[1] * edges[0] * edges[1]))
    for row in range(0, len(photos), step):
        part = slice(row, row + step)
        selected = parameters.map(operator.itemgetter(part))
        _apply(photos[part], selected, recipe, size, images[part])
    return images


def _draw_parameters(
    batch: int, views: int, generator: torch.Generator, recipe: Augmentation, boxes: Boxes | None
) -> _Parameters:
    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(batch, *shape, generator=generator)

    def orders(shuffled: bool) -> Tensor:
        return torch.rand(batch, 3, generator=generator).argsort(1) if shuffled else torch.arange(3).expand(batch, 3)

    background = uniform(*recipe.background, 1, 3 if recipe.coloured_background else 1, 1, 1)
    factors = uniform(1 - recipe.jitter, 1 + recipe.jitter, 3)
    steps = orders(not recipe.fixed_order)
    noise = torch.zeros(batch, 3)
    if recipe.noise:
        strength = recipe.noise * torch.randn(batch, 3, generator=generator) * torch.tensor(EIGENVALUES)
        noise = strength @ torch.tensor(EIGENVECTORS).T
    flipped = torch.zeros(batch, views, 1, 1, 1, dtype=torch.bool)
    if recipe.flip:
        flipped = torch.rand(batch, views, 1, 1, 1, generator=generator) < 0.5
    if boxes is not None:  # a box with left and right exchanged gives a flipped crop
        boxes = torch.where(flipped[:, :, :, 0, 0].to(boxes.device), boxes[..., [2, 1, 0, 3]], boxes)
    return _Parameters(background, factors, steps, noise, orders(recipe.permutation), flipped, boxes)


def _apply(photos: Photos, parameters: _Parameters, recipe: Augmentation, size: int, out: Images) -> None:
    """Writes the augmented images to ``out``, without another copy of the batch."""
    images = preprocess(photos, parameters.background, recipe.sharp_alpha, parameters.boxes, size)
    colours, shift = _colour_map(images.mean(dim=(3, 4)), parameters, recipe)
    if recipe.flip and parameters.boxes is None:
        images = torch.where(parameters.flipped, images.flip(-1), images)
    mixed = out.flatten(0, 1).flatten(2)  # [batch * views, 3, height * width]
    torch.baddbmm(shift.flatten(0, 1), colours.flatten(0, 1), images.flatten(0, 1).flatten(2), out=mixed)
    if recipe.clip:
        mixed.clamp_(0, 1)


def _colour_map(
    means: Float[Tensor, "batch views 3"], parameters: _Parameters, recipe: Augmentation
) -> tuple[Float[Tensor, "batch views 3 3"], Float[Tensor, "batch views 3 1"]]:
    """The affine map ``colours x + shift`` of the colour x of a pixel, all steps in their order.

    Args:
        means: the mean colour of each photo, relative to which contrast changes.
    """
    if not recipe.contrast_per_view:
        means = means.mean(1, keepdim=True).expand_as(means)
    grey = means.new_tensor([recipe.grey])  # [1, 3]
    identity = torch.eye(3, device=means.device)
    factors = parameters.factors[:, None, :, None, None]  # [batch, 1, 3, 1, 1]
    to_grey = torch.ones_like(grey).T @ grey
    brightness, contrast, saturation = factors.unbind(2)
    by_step = [brightness * identity, contrast * identity, torch.lerp(to_grey, identity, saturation)]
    matrices = torch.stack(by_step, 1)[:, :, 0]  # [batch, 3, 3, 3]
    colours, shift = identity.expand(*means.shape[:2], 3, 3), means.new_zeros(*means.shape[:2], 3, 1)
    rows = torch.arange(len(means), device=means.device)
    for step in parameters.steps.unbind(1):
        matrix = matrices[rows, step][:, None]  # [batch, 1, 3, 3]
        level = grey @ (colours @ means[..., None] + shift)  # [batch, views, 1, 1]
        added = torch.where(step[:, None, None, None] == 1, (1 - contrast) * level, 0.0)
        colours, shift = matrix @ colours, matrix @ shift + added
    channels = parameters.channels[:, None, :, None].expand(*means.shape[:2], 3, 1)
    shift = shift + parameters.noise[:, None, :, None]
    return colours.gather(2, channels.expand(-1, -1, -1, 3)), shift.gather(2, channels)


def perturb_cameras(
    cameras: Float[Tensor, "batch views 3 7"],
    degrees: float,
    shift: float,
    generator: torch.Generator,
    share: bool = True,
) -> Float[Tensor, "batch views 3 7"]:
    """Cameras (`Camera.normalised`) with measurement errors, independent for each view.

    Args:
        degrees: standard deviation of the rotation about each axis of the camera.
        shift: standard deviation of the translation along each axis, in edges of the cube.
        share: whether each sample has a random fraction, from 0 to 1, of these standard deviations.
    """
    fraction = torch.rand(len(cameras), 1, 1, 1, generator=generator) if share else torch.ones(())
    error = (fraction * torch.randn(*cameras.shape[:2], 2, 3, generator=generator)).to(
        cameras.device, non_blocking=True
    )
    # Multiplying by the skew-symmetric matrix is the cross product with the vector of rotation.
    vectors = torch.deg2rad(degrees * error[..., :1, :]).expand(-1, -1, 3, -1)
    axes = torch.eye(3, device=vectors.device).expand_as(vectors)
    turn = torch.linalg.matrix_exp(torch.linalg.cross(vectors, axes).mT)
    intrinsics, pose = cameras[..., :3], turn @ cameras[..., 3:]
    translation = pose[..., 3:] + shift * error[..., 1, :, None]
    return torch.cat([intrinsics, pose[..., :3], translation], -1)
