"""What a training photo goes through on the device, whole batches at a time; each habit of the published code a switch.

Xie et al., Pix2Vox (ICCV 2019), the published data transforms: background, colour jitter, PCA noise, flip, one
permutation of the channels for all views; the crop comes before (`datasets.load`). `OWN` is what the study trains with,
`PUBLISHED` what the authors did.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

Photos = UInt8[Tensor, "batch views 4 height width"]
Pictures = Float[Tensor, "batch views 3 height width"]

EIGENVALUES = (0.2175, 0.0188, 0.0045)
EIGENVECTORS = ((-0.5675, 0.7192, 0.4009), (-0.5808, -0.0045, -0.8140), (-0.5836, -0.6948, 0.4203))
"""Principal axes of ImageNet's colours (Krizhevsky et al. 2012, section 4.1), channels red, green, blue."""

TEST_BACKGROUND = 240 / 255
"""Published: the grey behind a test picture."""


@dataclass(frozen=True)
class Augmentation:
    """One draw serves all views of a sample, unless a switch says otherwise: only then do they stay a sequence."""

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


def as_input(photos: Photos, background: float | Tensor = TEST_BACKGROUND, sharp: bool = False) -> Pictures:
    """RGBA bytes over a plain ``background``, in [0, 1]; ``sharp``: whatever is not quite transparent is solid."""
    values = photos.float() / 255
    alpha = values[:, :, 3:]
    if sharp:
        alpha = (alpha > 0).float()
    return values[:, :, :3] * alpha + background * (1 - alpha)


def augmented(photos: Photos, generator: torch.Generator, recipe: Augmentation = OWN) -> Pictures:
    """``photos`` as the network sees them in training, in [0, 1]; what is drawn follows from ``generator`` alone."""
    batch, views, device = len(photos), photos.shape[1], photos.device

    def uniform(low: float, high: float, channels: int = 1) -> Tensor:
        drawn = torch.rand(batch, 1, channels, 1, 1, generator=generator)
        return (low + (high - low) * drawn).to(device)

    def factor() -> Tensor:
        return uniform(1 - recipe.jitter, 1 + recipe.jitter)

    background = uniform(*recipe.background, channels=3 if recipe.coloured_background else 1)
    pictures = as_input(photos, background, recipe.sharp_alpha) * factor()
    mean = pictures.mean(dim=(2, 3, 4), keepdim=True)
    pictures = mean + (pictures - mean) * factor()
    grey = pictures.mean(dim=2, keepdim=True)
    pictures = grey + (pictures - grey) * factor()
    if recipe.noise:
        pictures = pictures + _colour_noise(batch, recipe.noise, generator).to(device)
    pictures = pictures.clamp(0, 1)
    if recipe.flip != "none":
        coins = (batch, views if recipe.flip == "each view" else 1, 1, 1, 1)
        turned = (torch.rand(coins, generator=generator) < 0.5).to(device)
        pictures = torch.where(turned, pictures.flip(-1), pictures)
    if recipe.permutation:
        orders = torch.rand(batch, 3, generator=generator).argsort(1).to(device)
        pictures = pictures.gather(2, orders[:, None, :, None, None].expand_as(pictures))
    return pictures


def _colour_noise(batch: int, deviation: float, generator: torch.Generator) -> Float[Tensor, "batch 1 3 1 1"]:
    strength = deviation * torch.randn(batch, 3, generator=generator)
    shift = (strength * torch.tensor(EIGENVALUES)) @ torch.tensor(EIGENVECTORS).T
    return shift[:, None, :, None, None]
