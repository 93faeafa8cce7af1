"""PSGN: one photo to a cloud of points on the surface.

Fan et al., A Point Set Generation Network for 3D Object Reconstruction from a Single Image (CVPR 2017): an encoder with
two branches, fully connected layers for what is intricate and transposed convolutions for large smooth surfaces, 256
and 768 points. Learnt by the Chamfer distance. The layers follow the paper's description; their widths are a config.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from p2vlib.models.initialisation import initialise_weights
from p2vlib.models.reconstruction import Reconstruction, check_views

LOOSE, SMOOTH = 256, 768
"""Points of the fully connected branch and of the convolutional one, which is a map of 24 x 32 of them."""

GRID = 32

CLOSED = 2
"""Voxels by which the cloud is thickened before its inside is filled, and thinned afterwards."""


@dataclass(frozen=True)
class PSGNConfig:
    """Everything that makes one PSGN."""

    image_size: int = 192
    """Height and width of the photos, pixels; halved by all blocks of the encoder but the first."""

    encoder: tuple[int, ...] = (16, 32, 64, 128, 256, 512)
    """Channels of the encoder; every block but the first halves the map."""

    hidden: int = 2048
    """Width of the fully connected branch."""

    decoder: tuple[int, int] = (128, 64)
    """Channels of the convolutional branch at 12 x 16 and at 24 x 32 points."""


class PSGN(nn.Module):
    """The first photo to 1,024 points of the unit cube, and to the solid that they enclose.

    It sees one photo; further ones are not looked at. In training no solid is made, and `Reconstruction.points` is what
    the loss asks for.
    """

    needs_cameras = False
    order_free = False

    def __init__(self, config: PSGNConfig) -> None:
        super().__init__()
        if config.image_size % 2 ** (len(config.encoder) - 1):
            raise ValueError(f"PSGN needs photos of a multiple of {2 ** (len(config.encoder) - 1)} pixels")
        self.config = config
        blocks, channels = [], 3
        for number, width in enumerate(config.encoder):
            blocks += [_convolution(channels, width, 1 if number == 0 else 2), _convolution(width, width)]
            channels = width
        self.encoder = nn.Sequential(*blocks)
        edge = config.image_size // 2 ** (len(config.encoder) - 1)
        flat = channels * edge**2
        self.loose = nn.Sequential(
            nn.Linear(flat, config.hidden), nn.ReLU(inplace=True), nn.Linear(config.hidden, 3 * LOOSE)
        )
        first, second = config.decoder
        self.start = nn.Linear(flat, first * 6 * 8)
        self.smooth = nn.Sequential(
            nn.ConvTranspose2d(first, first, 4, 2, 1), nn.BatchNorm2d(first), nn.ReLU(inplace=True),
            nn.ConvTranspose2d(first, second, 4, 2, 1), nn.BatchNorm2d(second), nn.ReLU(inplace=True),
            nn.Conv2d(second, 3, 3, padding=1),
        )  # fmt: skip
        initialise_weights(self)
        with torch.no_grad():  # points that begin in one heap are slow to spread
            self.loose[-1].bias.uniform_(-1, 1)

    def forward(
        self,
        views: Float[Tensor, "batch views 3 height width"],
        cameras: Float[Tensor, "batch views rows columns"] | None = None,
    ) -> Reconstruction:
        """``views`` in [0, 1]; the first of each sample counts.

        Raises:
            ValueError: photos of another size than the config's.
        """
        check_views(views, self.config.image_size)
        features = self.encoder(views[:, 0] * 2 - 1).flatten(1)
        grown = self.smooth(functional.relu(self.start(features)).unflatten(1, (-1, 6, 8)))
        points = torch.cat([self.loose(features).unflatten(1, (-1, 3)), grown.flatten(2).transpose(1, 2)], 1)
        points = torch.sigmoid(points.float())  # [batch, 256 + 768, 3]
        solid = points.new_zeros(len(points), GRID, GRID, GRID)
        if not self.training:
            filled = np.stack([enclosed(cloud) for cloud in points.detach().cpu().numpy()])
            solid = torch.from_numpy(filled).to(points)
        scores = solid.new_zeros(len(points), views.shape[1], GRID, GRID, GRID)
        scores[:, 0] = 1.0
        return Reconstruction(solid, solid, solid[:, None], scores, points=points)


def _convolution(channels: int, width: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True))


def enclosed(points: Float[np.ndarray, "points 3"], size: int = GRID) -> Bool[np.ndarray, "size size size"]:
    """The solid that a cloud in the unit cube encloses: thickened until it is closed, filled, and thinned again.

    A morphological closing with a filling in between; holes of up to twice `CLOSED` voxels are bridged.
    """
    from scipy import ndimage

    margin = CLOSED + 1
    cells = np.clip((points * size).astype(int), 0, size - 1) + margin
    cloud = np.zeros((size + 2 * margin,) * 3, bool)
    cloud[tuple(cells.T)] = True
    ball = ndimage.iterate_structure(ndimage.generate_binary_structure(3, 1), CLOSED)
    filled = ndimage.binary_fill_holes(ndimage.binary_dilation(cloud, ball))
    inner = slice(margin, margin + size)
    return ndimage.binary_erosion(filled, ball)[inner, inner, inner]


def surface_points(
    truth: Bool[Tensor, "batch x y z"], number: int, generator: torch.Generator | None = None
) -> Float[Tensor, "batch number 3"]:
    """Points drawn evenly from the faces between occupied and empty voxels, in the unit cube.

    Raises:
        ValueError: a volume without a surface.
    """
    size = truth.shape[-1]
    padded = functional.pad(truth.float(), (1,) * 6)
    drawn = []
    for volume in padded:
        faces = []
        for axis in range(3):
            step = volume.diff(dim=axis).nonzero().float()  # the face lies between a cell and the next along the axis
            middle = step + 0.5
            middle[:, axis] = step[:, axis] + 1
            faces.append((middle - 1) / size)
        faces = torch.cat(faces)
        if not len(faces):
            raise ValueError("a volume without a surface: it is empty")
        picked = torch.randint(len(faces), (number,), generator=generator).to(faces.device)
        drawn.append(faces[picked])
    return torch.stack(drawn)


def chamfer(points: Float[Tensor, "batch n 3"], others: Float[Tensor, "batch m 3"]) -> Float[Tensor, " batch"]:
    """Mean squared distance to the nearest point of the other cloud, both ways added (equation 1 of the paper)."""
    away = torch.cdist(points, others).square()
    return away.amin(2).mean(1) + away.amin(1).mean(1)
