"""What a training photo goes through on the device, whole batches at a time; each habit of the published code a switch.

Xie et al., Pix2Vox (ICCV 2019), the published data transforms: background, colour jitter, PCA noise, flip, one
permutation of the channels for all views. The embedded photos were cut before (`datasets.load`), those of an archive
are cut here. `OWN` is what the study trains with, `PUBLISHED` what the authors did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor
from torch.nn import functional

Photos = UInt8[Tensor, "batch views 4 height width"]
Pictures = Float[Tensor, "batch views 3 shown_height shown_width"]
Boxes = Float[Tensor, "batch views 4"]
"""Left, top, right and bottom of what a photo is cut to, pixels; it may reach beyond the photo."""

EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
"""Principal axes of ImageNet's colours (Krizhevsky et al. 2012, section 4.1), channels red, green, blue."""

CACHED_PIXELS = 2**18
"""Pixels that a CPU works on at a time."""

TEST_BACKGROUND = 240 / 255
"""Published: the grey behind a test picture."""


@dataclass(frozen=True)
class Augmentation:
    """One draw serves all views of a sample, unless a switch says otherwise: only then do they stay a sequence."""

    loose: bool = False
    """Published where a box is known, on Pix3D: see `loosened`. On ShapeNet none was given, and their random crop
    became a centre crop: see `shapenet.load`."""

    background: tuple[float, float] = (225 / 255, 1.0)
    """Range of the grey that fills what is transparent."""

    coloured_background: bool = False
    """Published: each channel of the background is drawn by itself."""

    sharp_alpha: bool = False
    """Published: after the resizing, half-transparent pixels count as solid, so outlines carry a dark seam."""

    jitter: float = 0.4
    """Brightness, contrast and saturation are multiplied by 1 ± this."""

    grey: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    """What of red, green and blue makes grey. Published: as the eye sees it."""

    steps_in_order: bool = True
    """Brightness, then contrast, then saturation. Published: in an order drawn for each sample."""

    contrast_of_each: bool = False
    """Published: contrast turns about each photo's own mean, and with it the light that a walk drifts through."""

    clip: bool = True
    """To [0, 1], as any camera does. Published: not."""

    noise: float = 0.0
    """Standard deviation of the noise along the principal axes of colour. Published: 0.1."""

    permutation: bool = False
    """Published: the three channels are shuffled, the same way in all views. Skin then looks like floor."""

    flip: Literal["none", "joint", "each view"] = "none"
    """Published: each view is mirrored by a coin of its own, while the volume is not: left and right, and the order of
    a walk, are lost. `joint` mirrors all views of a sample, and is right for symmetric things alone."""


DEFAULT = Augmentation()

PUBLISHED = Augmentation(
    coloured_background=True,
    sharp_alpha=True,
    grey=(0.299, 0.587, 0.114),
    steps_in_order=False,
    contrast_of_each=True,
    clip=False,
    noise=0.1,
    permutation=True,
    flip="each view",
)
"""Their pictures stayed blue first, as OpenCV reads them; that is put right where their weights are loaded."""

RECIPES = {"default": DEFAULT, "published": PUBLISHED}


def augmentation_recipe(name: str) -> Augmentation:
    """The augmentation that a configuration calls ``name``.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in RECIPES:
        raise ValueError(f"no augmentation is called {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]


def preprocess(
    photos: Photos,
    background: float | Tensor = TEST_BACKGROUND,
    sharp: bool = False,
    boxes: Boxes | None = None,
    size: int = 0,
) -> Pictures:
    """RGBA bytes over a plain ``background``, in [0, 1]; ``sharp``: whatever is not quite transparent is solid.

    Where ``boxes`` are given the photos are cut to them and resized to ``size`` pixels: before the background where
    outlines are sharp, as published, and otherwise after it, so that what is transparent lends no colour to an outline.
    """
    if boxes is not None and sharp:
        values = crop_boxes(photos / 255, boxes, size)
        return torch.where(values[:, :, 3:] > 0, values[:, :, :3], background)
    alpha = photos[:, :, 3:].float() / 255
    if sharp:
        alpha = (alpha > 0).float()
    pictures = torch.lerp(torch.as_tensor(background, device=photos.device), photos[:, :, :3] / 255, alpha)
    return pictures if boxes is None else crop_boxes(pictures, boxes, size)


def crop_boxes(
    photos: Float[Tensor, "batch views channels height width"], boxes: Boxes, size: int
) -> Float[Tensor, "batch views channels {size} {size}"]:
    """Every photo cut to its own box and resized bilinearly, all at once; beyond a border its last pixel goes on.

    Nothing is smoothed first, as OpenCV does it: a box of much more than ``size`` pixels belongs to a resizing that
    averages (`datasets.load`).
    """
    height, width = photos.shape[-2:]
    middles = (torch.arange(size, device=photos.device) + 0.5) / size
    left, top, right, bottom = boxes.flatten(0, 1).T[:, :, None]  # [batch * views, 1] each
    across = (left + (right - left) * middles) * (2 / width) - 1  # -> [batch * views, size]
    down = (top + (bottom - top) * middles) * (2 / height) - 1
    # Pairs of every x with every y: as the sum of a real and an imaginary row they are written in one go.
    none = torch.zeros_like(across)
    pairs = torch.complex(across, none)[:, None] + torch.complex(none, down)[:, :, None]
    grid = torch.view_as_real(pairs)  # [batch * views, size, size, 2]
    pictures = photos.flatten(0, 1)
    resized = functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    return resized.unflatten(0, photos.shape[:2])


def jitter_boxes(boxes: Boxes, generator: torch.Generator) -> Boxes:
    """The published random crop: .8 to 1.2 times the box's longer side; each edge .4 to .6 of that from its middle."""
    drawn = torch.rand(*boxes.shape[:2], 5, generator=generator).to(boxes.device)
    lower, upper = boxes[..., :2], boxes[..., 2:]
    edge = (upper - lower).amax(-1, keepdim=True) * (0.8 + 0.4 * drawn[..., :1])
    away = edge * (0.4 + 0.2 * drawn[..., 1:]) * boxes.new_tensor([-1, -1, 1, 1])
    return ((lower + upper) / 2).repeat(1, 1, 2) + away


class _Draw(NamedTuple):
    """What was drawn for each sample of a batch: all of it before the first pixel is touched."""

    background: Float[Tensor, "batch 1 channels 1 1"]
    factors: Float[Tensor, "batch 3"]
    """Of brightness, contrast and saturation."""
    steps: Int64[Tensor, "batch 3"]
    """Which of the three comes first, second and third."""
    noise: Float[Tensor, "batch 3"]
    channels: Int64[Tensor, "batch 3"]
    flipped: Bool[Tensor, "batch coins 1 1 1"]
    boxes: Boxes | None


def augment(
    photos: Photos,
    generator: torch.Generator,
    recipe: Augmentation = DEFAULT,
    boxes: Boxes | None = None,
    size: int = 0,
) -> Pictures:
    """``photos`` as the network sees them in training, in [0, 1]; what is drawn follows from ``generator`` alone.

    ``boxes`` and ``size`` are those of `as_input`. Brightness, contrast, saturation, noise and the shuffled channels
    are one affine map of a pixel's colour. A GPU takes the batch at once; a CPU takes a few samples at a time, so that
    their pictures stay in its cache.
    """
    draw = _drawn(len(photos), photos.shape[1], generator, recipe, boxes)
    if photos.is_cuda:
        draw = _Draw(*(value if value is None else value.to(photos.device) for value in draw))
    edges = photos.shape[-2:] if boxes is None else (size, size)
    pictures = torch.empty(*photos.shape[:2], 3, *edges, device=photos.device)
    step = len(photos) if photos.is_cuda else max(1, CACHED_PIXELS // (photos.shape[1] * edges[0] * edges[1]))
    for row in range(0, len(photos), step):
        part = slice(row, row + step)
        some = _Draw(*(value if value is None else value[part] for value in draw))
        _change(photos[part], some, recipe, size, pictures[part])
    return pictures


def _drawn(batch: int, views: int, generator: torch.Generator, recipe: Augmentation, boxes: Boxes | None) -> _Draw:
    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(batch, *shape, generator=generator)

    def orders(shuffled: bool) -> Tensor:
        return torch.rand(batch, 3, generator=generator).argsort(1) if shuffled else torch.arange(3).expand(batch, 3)

    background = uniform(*recipe.background, 1, 3 if recipe.coloured_background else 1, 1, 1)
    if boxes is not None and recipe.loose:
        boxes = jitter_boxes(boxes, generator)
    factors = uniform(1 - recipe.jitter, 1 + recipe.jitter, 3)
    steps = orders(not recipe.steps_in_order)
    noise = torch.zeros(batch, 3)
    if recipe.noise:
        strength = recipe.noise * torch.randn(batch, 3, generator=generator) * torch.tensor(EIGENVALUES)
        noise = strength @ torch.tensor(EIGENVECTORS).T
    flipped = torch.zeros(batch, 1, 1, 1, 1, dtype=torch.bool)
    if recipe.flip != "none":
        flipped = torch.rand(batch, views if recipe.flip == "each view" else 1, 1, 1, 1, generator=generator) < 0.5
    if boxes is not None:  # a box whose left and right change places is cut out mirrored
        boxes = torch.where(flipped[:, :, :, 0, 0].to(boxes.device), boxes[..., [2, 1, 0, 3]], boxes)
        flipped = torch.zeros_like(flipped)
    return _Draw(background, factors, steps, noise, orders(recipe.permutation), flipped, boxes)


def _change(photos: Photos, draw: _Draw, recipe: Augmentation, size: int, out: Pictures) -> None:
    """Fills ``out``; every fresh block of memory costs a walk through it, so the last step writes where it belongs."""
    pictures = preprocess(photos, draw.background, recipe.sharp_alpha, draw.boxes, size)
    colours, shift = _colours(pictures.mean(dim=(3, 4)), draw, recipe)
    if draw.flipped.any():
        pictures = torch.where(draw.flipped, pictures.flip(-1), pictures)
    mixed = out.flatten(0, 1).flatten(2)  # [batch * views, 3, height * width]
    torch.baddbmm(shift.flatten(0, 1), colours.flatten(0, 1), pictures.flatten(0, 1).flatten(2), out=mixed)
    if recipe.clip:
        mixed.clamp_(0, 1)


def _colours(
    means: Float[Tensor, "batch views 3"], draw: _Draw, recipe: Augmentation
) -> tuple[Float[Tensor, "batch views 3 3"], Float[Tensor, "batch views 3 1"]]:
    """What the steps come to, in the order drawn: ``colours x + shift`` for the colour x of a pixel.

    Args:
        means: the mean colour of each photo, about which contrast turns.
    """
    if not recipe.contrast_of_each:
        means = means.mean(1, keepdim=True).expand_as(means)
    grey = means.new_tensor([recipe.grey])  # [1, 3]
    same = torch.eye(3, device=means.device)
    factors = draw.factors[:, None, :, None, None]  # [batch, 1, 3, 1, 1]
    to_grey = torch.ones_like(grey).T @ grey
    brighter, stronger, paler = factors.unbind(2)
    kinds = torch.stack([brighter * same, stronger * same, torch.lerp(to_grey, same, paler)], 1)[:, :, 0]
    colours, shift = same.expand(*means.shape[:2], 3, 3), means.new_zeros(*means.shape[:2], 3, 1)
    rows = torch.arange(len(means), device=means.device)
    for step in draw.steps.unbind(1):
        kind = kinds[rows, step][:, None]  # [batch, 1, 3, 3]
        level = grey @ (colours @ means[..., None] + shift)  # [batch, views, 1, 1]
        added = torch.where(step[:, None, None, None] == 1, (1 - stronger) * level, 0.0)
        colours, shift = kind @ colours, kind @ shift + added
    channels = draw.channels[:, None, :, None].expand(*means.shape[:2], 3, 1)
    shift = shift + draw.noise[:, None, :, None]
    return colours.gather(2, channels.expand(-1, -1, -1, 3)), shift.gather(2, channels)


def perturb_cameras(
    cameras: Float[Tensor, "batch views 3 7"],
    degrees: float,
    shift: float,
    generator: torch.Generator,
    share: bool = True,
) -> Float[Tensor, "batch views 3 7"]:
    """Cameras (`Camera.normalised`) as somebody measured them, each with an error of its own.

    Some measure well and some do not: each sample has a share of the error, drawn evenly between none and all of it,
    unless ``share`` is off.

    Args:
        degrees: largest standard deviation of the turn about each axis of the camera.
        shift: largest standard deviation of its place along each axis, in edges of the cube.
    """
    part = torch.rand(len(cameras), 1, 1, 1, generator=generator) if share else torch.ones(())
    drawn = (part * torch.randn(*cameras.shape[:2], 2, 3, generator=generator)).to(cameras.device)
    turn = torch.linalg.matrix_exp(_cross(torch.deg2rad(degrees * drawn[..., 0, :])))
    intrinsics, pose = cameras[..., :3], turn @ cameras[..., 3:]
    moved = pose[..., 3:] + shift * drawn[..., 1, :, None]
    return torch.cat([intrinsics, pose[..., :3], moved], -1)


def _cross(vectors: Float[Tensor, "batch views 3"]) -> Float[Tensor, "batch views 3 3"]:
    """The matrices that multiply as the cross product with ``vectors`` does."""
    x, y, z = vectors.unbind(-1)
    none = torch.zeros_like(x)
    rows = [torch.stack(row, -1) for row in ((none, -z, y), (z, none, -x), (-y, x, none))]
    return torch.stack(rows, -2)
