"""PSGN: predicts a cloud of points on the surface from one photo.

Fan et al., A Point Set Generation Network for 3D Object Reconstruction from a Single Image (CVPR 2017): an encoder with
two branches, fully connected layers for intricate structures and transposed convolutions for large smooth surfaces,
256 and 768 points, trained with the Chamfer distance. The layers follow the paper's description; the widths are a
config.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from p2vlib.models.feature_sampling import convolution
from p2vlib.models.network import Batch, Reconstruction, check_views, initialise_weights

FC_POINTS = 256
"""Points of the fully connected branch; the convolutional one gives a map of 24 x 32 more."""

GRID = 32

CLOSING_RADIUS = 2
"""Voxels by which the cloud is dilated before its inside is filled, and eroded afterwards."""

CHAMFER_WEIGHT = 1e4
"""The unit is a hundredth of the cube's edge squared; with larger ones weight decay would outweigh the loss."""


@dataclass(frozen=True)
class PSGNConfig:
    """The architecture of one PSGN."""

    image_size: int = 192
    """Height and width of the photos, pixels; halved by all blocks of the encoder but the first."""

    encoder: tuple[int, ...] = (16, 32, 64, 128, 256, 512)
    """Channels of the encoder; every block but the first halves the map."""

    hidden: int = 2048
    """Width of the fully connected branch."""

    decoder: tuple[int, int] = (128, 64)
    """Channels of the convolutional branch at 12 x 16 and at 24 x 32 points."""


@dataclass(frozen=True, eq=False)
class PointReconstruction(Reconstruction):
    """A cloud of points, and the solid that it encloses; in training the solid is left empty."""

    points: Float[Tensor, "batch points 3"]
    """Points of the surface, in the unit cube."""


class PSGN(nn.Module):
    """Predicts 1,024 points in the unit cube, and the solid that they enclose, from the first photo alone."""

    needs_cameras = False
    order_free = False

    def __init__(self, config: PSGNConfig) -> None:
        super().__init__()
        if config.image_size % 2 ** (len(config.encoder) - 1):
            raise ValueError(f"PSGN needs photos of a multiple of {2 ** (len(config.encoder) - 1)} pixels")
        self.config = config
        blocks, channels = [], 3
        for number, width in enumerate(config.encoder):
            blocks += [convolution(channels, width, 1 if number == 0 else 2), convolution(width, width)]
            channels = width
        self.encoder = nn.Sequential(*blocks)
        edge = config.image_size // 2 ** (len(config.encoder) - 1)
        flat = channels * edge**2
        self.loose = nn.Sequential(
            nn.Linear(flat, config.hidden), nn.ReLU(inplace=True), nn.Linear(config.hidden, 3 * FC_POINTS)
        )
        first, second = config.decoder
        self.start = nn.Linear(flat, first * 6 * 8)
        self.smooth = nn.Sequential(
            nn.ConvTranspose2d(first, first, 4, 2, 1), nn.BatchNorm2d(first), nn.ReLU(inplace=True),
            nn.ConvTranspose2d(first, second, 4, 2, 1), nn.BatchNorm2d(second), nn.ReLU(inplace=True),
            nn.Conv2d(second, 3, 3, padding=1),
        )  # fmt: skip
        initialise_weights(self)
        with torch.no_grad():  # points that start in one place are slow to spread
            self.loose.get_parameter("2.bias").uniform_(-1, 1)

    def forward(
        self,
        views: Float[Tensor, "batch views 3 height width"],
        cameras: Float[Tensor, "batch views rows columns"] | None = None,
    ) -> PointReconstruction:
        """``views`` in [0, 1]; only the first of each sample is used.

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
            filled = np.stack([fill_point_cloud(cloud) for cloud in points.detach().cpu().numpy()])
            solid = torch.from_numpy(filled).to(points)
        weights = solid.new_zeros(len(points), views.shape[1], GRID, GRID, GRID)
        weights[:, 0] = 1.0
        return PointReconstruction(solid, solid, solid[:, None], weights, points)

    def loss(self, result: PointReconstruction, batch: Batch) -> Float[Tensor, ""]:
        """The Chamfer distance to as many points sampled from the true surface, instead of a loss of volumes."""
        surface = sample_surface(batch.truth, result.points.shape[1], batch.generator)
        return chamfer_distance(result.points, surface).mean() * CHAMFER_WEIGHT


def fill_point_cloud(points: Float[np.ndarray, "points 3"]) -> Bool[np.ndarray, "x y z"]:
    """The solid that a cloud in the unit cube encloses: dilated, filled, and eroded.

    A morphological closing with hole filling in between; gaps of up to twice `CLOSING_RADIUS` voxels are closed.
    """
    from scipy import ndimage

    margin = CLOSING_RADIUS + 1
    cells = np.clip((points * GRID).astype(int), 0, GRID - 1) + margin
    cloud = np.zeros((GRID + 2 * margin,) * 3, bool)
    cloud[tuple(cells.T)] = True
    ball = ndimage.iterate_structure(ndimage.generate_binary_structure(3, 1), CLOSING_RADIUS)
    filled = ndimage.binary_fill_holes(ndimage.binary_dilation(cloud, ball))
    inner = slice(margin, margin + GRID)
    return ndimage.binary_erosion(filled, ball)[inner, inner, inner]


def sample_surface(
    truth: Bool[Tensor, "batch x y z"], number: int, generator: torch.Generator | None = None
) -> Float[Tensor, "batch number 3"]:
    """Centres of faces between occupied and empty voxels, drawn uniformly with replacement, in the unit cube.

    Raises:
        ValueError: a volume without a surface.
    """
    size = truth.shape[-1]
    padded = functional.pad(truth.float(), (1,) * 6)
    samples = []
    for volume in padded:
        centres = []
        for axis in range(3):
            cells = volume.diff(dim=axis).nonzero().float()  # the face is between a cell and the next along the axis
            middle = cells + 0.5
            middle[:, axis] = cells[:, axis] + 1
            centres.append((middle - 1) / size)
        faces = torch.cat(centres)
        if not len(faces):
            raise ValueError("a volume without a surface: it is empty")
        chosen = torch.randint(len(faces), (number,), generator=generator).to(faces.device)
        samples.append(faces[chosen])
    return torch.stack(samples)


def chamfer_distance(points: Float[Tensor, "batch n 3"], others: Float[Tensor, "batch m 3"]) -> Float[Tensor, " batch"]:
    """Mean squared distance to the nearest point of the other cloud, summed over both directions (equation 1)."""
    squared = torch.cdist(points, others).square()
    return squared.amin(2).mean(1) + squared.amin(1).mean(1)
