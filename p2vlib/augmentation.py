"""What a training photo goes through on the device, whole batches at a time; each habit of the published code a switch.

Xie et al., Pix2Vox (ICCV 2019), the published data transforms: background, colour jitter, PCA noise, flip, one
permutation of the channels for all views. The embedded photos were cut before (`datasets.load`), those of an archive
are cut here. `OWN` is what the study trains with, `PUBLISHED` what the authors did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.nn import functional

Photos = UInt8[Tensor, "batch views 4 height width"]
Pictures = Float[Tensor, "batch views 3 shown_height shown_width"]
Boxes = Float[Tensor, "batch views 4"]
"""Left, top, right and bottom of what a photo is cut to, pixels; it may reach beyond the photo."""

EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
"""Principal axes of ImageNet's colours (Krizhevsky et al. 2012, section 4.1), channels red, green, blue."""

TEST_BACKGROUND = 240 / 255
"""Published: the grey behind a test picture."""


@dataclass(frozen=True)
class Augmentation:
    """One draw serves all views of a sample, unless a switch says otherwise: only then do they stay a sequence."""

    loose: bool = False
    """Published where a box is known, on Pix3D: the crop is a fifth larger or smaller and stands off by a tenth. On
    ShapeNet none was given, and their random crop became a centre crop: see `shapenet.load`."""

    background: tuple[float, float] = (225 / 255, 1.0)
    """Range of the grey that fills what is transparent."""

    coloured_background: bool = False
    """Published: each channel of the background is drawn by itself."""

    sharp_alpha: bool = False
    """Published: after the resizing, half-transparent pixels count as solid, so outlines carry a dark seam."""

    jitter: float = 0.4
    """Brightness, contrast and saturation are multiplied by 1 ± this."""

    noise: float = 0.0
    """Standard deviation of the noise along the principal axes of colour. Published: 0.1."""

    permutation: bool = False
    """Published: the three channels are shuffled, the same way in all views. Skin then looks like floor."""

    flip: Literal["none", "joint", "each view"] = "none"
    """Published: each view is mirrored by a coin of its own, while the volume is not: left and right, and the order of
    a walk, are lost. `joint` mirrors all views of a sample, and is right for symmetric things alone."""


OWN = Augmentation()

PUBLISHED = Augmentation(
    coloured_background=True,
    sharp_alpha=True,
    noise=0.1,
    permutation=True,
    flip="each view",
)
"""Their pictures stayed blue first, as OpenCV reads them; that is put right where their weights are loaded."""

RECIPES = {"own": OWN, "published": PUBLISHED}


def named(name: str) -> Augmentation:
    """The augmentation that a configuration calls ``name``.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in RECIPES:
        raise ValueError(f"no augmentation is called {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]


def as_input(
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
        values = cut(photos.float(), boxes, size)
        return torch.where(values[:, :, 3:] > 0, values[:, :, :3] / 255, background)
    alpha = photos[:, :, 3:].float() / 255
    if sharp:
        alpha = (alpha > 0).float()
    pictures = torch.lerp(torch.as_tensor(background, device=photos.device), photos[:, :, :3] / 255, alpha)
    return pictures if boxes is None else cut(pictures, boxes, size)


def cut(
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
    grid = torch.stack([across[:, None].expand(-1, size, -1), down[:, :, None].expand(-1, -1, size)], -1)
    pictures = photos.flatten(0, 1)
    resized = functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    return resized.unflatten(0, photos.shape[:2])


def loosened(boxes: Boxes, generator: torch.Generator) -> Boxes:
    """The published random crop: a square of .8 to 1.2 times the longer side of the box, its middle off by a tenth."""
    drawn = torch.rand(*boxes.shape[:2], 3, generator=generator).to(boxes.device)
    lower, upper = boxes[..., :2], boxes[..., 2:]
    edge = (upper - lower).amax(-1, keepdim=True) * (0.8 + 0.4 * drawn[..., :1])
    corner = (lower + upper) / 2 - edge * (0.4 + 0.2 * drawn[..., 1:])
    return torch.cat([corner, corner + edge], -1)


class _Draw(NamedTuple):
    """What was drawn for each sample of a batch: all of it before the first pixel is touched."""

    background: Float[Tensor, "batch 1 channels 1 1"]
    colours: Float[Tensor, "batch 3 3"]
    to_mean: Float[Tensor, "batch 1 1"]
    noise: Float[Tensor, "batch 3 1"]
    flipped: Bool[Tensor, "batch coins 1 1 1"]
    boxes: Boxes | None


def augmented(
    photos: Photos, generator: torch.Generator, recipe: Augmentation = OWN, boxes: Boxes | None = None, size: int = 0
) -> Pictures:
    """``photos`` as the network sees them in training, in [0, 1]; what is drawn follows from ``generator`` alone.

    ``boxes`` and ``size`` are those of `as_input`. Brightness, contrast, saturation, noise and the shuffled channels
    are one affine map of a pixel's colour. A GPU takes the batch at once; a CPU takes sample by sample, so that the
    pictures of one stay in its cache.
    """
    draw = _drawn(len(photos), photos.shape[1], generator, recipe, boxes)
    if photos.is_cuda:
        draw = _Draw(*(value if value is None else value.to(photos.device) for value in draw))
    edges = photos.shape[-2:] if boxes is None else (size, size)
    pictures = torch.empty(*photos.shape[:2], 3, *edges, device=photos.device)
    step = len(photos) if photos.is_cuda else 1
    for row in range(0, len(photos), step):
        part = slice(row, row + step)
        some = _Draw(*(value if value is None else value[part] for value in draw))
        _change(photos[part], some, recipe, size, pictures[part])
    return pictures


def _drawn(batch: int, views: int, generator: torch.Generator, recipe: Augmentation, boxes: Boxes | None) -> _Draw:
    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(batch, *shape, generator=generator)

    def factor() -> Tensor:
        return uniform(1 - recipe.jitter, 1 + recipe.jitter, 1, 1)

    background = uniform(*recipe.background, 1, 3 if recipe.coloured_background else 1, 1, 1)
    if boxes is not None and recipe.loose:
        boxes = loosened(boxes, generator)
    brightness, contrast, saturation = factor(), factor(), factor()
    colours = brightness * contrast * torch.lerp(torch.full((3, 3), 1 / 3), torch.eye(3), saturation)
    noise = torch.zeros(batch, 3, 1)
    if recipe.noise:
        strength = recipe.noise * torch.randn(batch, 3, generator=generator) * torch.tensor(EIGENVALUES)
        noise = (strength @ torch.tensor(EIGENVECTORS).T)[:, :, None]
    flipped = torch.zeros(batch, 1, 1, 1, 1, dtype=torch.bool)
    if recipe.flip != "none":
        flipped = torch.rand(batch, views if recipe.flip == "each view" else 1, 1, 1, 1, generator=generator) < 0.5
    if recipe.permutation:
        orders = torch.rand(batch, 3, 1, generator=generator).argsort(1)
        colours, noise = colours.gather(1, orders.expand(batch, 3, 3)), noise.gather(1, orders)
    return _Draw(background, colours, brightness * (1 - contrast), noise, flipped, boxes)


def _change(photos: Photos, draw: _Draw, recipe: Augmentation, size: int, out: Pictures) -> None:
    """Fills ``out``; every fresh block of memory costs a walk through it, so the last step writes where it belongs."""
    pictures = as_input(photos, draw.background, recipe.sharp_alpha, draw.boxes, size)
    shift = draw.to_mean * pictures.mean(dim=(1, 2, 3, 4)).view(-1, 1, 1) + draw.noise  # contrast turns about the mean
    if draw.flipped.any():
        pictures = torch.where(draw.flipped, pictures.flip(-1), pictures)
    colours, shift = (value.repeat_interleave(photos.shape[1], 0) for value in (draw.colours, shift))
    mixed = out.flatten(0, 1).flatten(2)  # [batch * views, 3, height * width]
    torch.baddbmm(shift, colours, pictures.flatten(0, 1).flatten(2), out=mixed).clamp_(0, 1)


def jittered(
    cameras: Float[Tensor, "batch views 3 7"], degrees: float, shift: float, generator: torch.Generator
) -> Float[Tensor, "batch views 3 7"]:
    """Cameras (`Camera.seen_from`) as somebody measured them, each with an error of its own.

    Args:
        degrees: standard deviation of the turn about each axis of the camera.
        shift: standard deviation of its place along each axis, in edges of the cube.
    """
    drawn = torch.randn(*cameras.shape[:2], 2, 3, generator=generator).to(cameras.device)
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
