"""PSGN: predicts a cloud of points on the surface from one photo, or several plausible clouds.

Fan et al., A Point Set Generation Network for 3D Object Reconstruction from a Single Image (CVPR 2017): an encoder with
two branches, fully connected layers for intricate structures and transposed convolutions for large smooth surfaces,
256 and 768 points, trained with the Chamfer distance. The layers follow the paper's description; the widths are a
config.

A photo does not determine what it does not show. The paper's conditional sampler therefore has a random input, and its
min-of-N loss trains, of several clouds of a photo, only the one nearest to the truth, so the others may differ from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from p2vlib.models.feature_sampling import convolution
from p2vlib.models.network import Batch, Reconstruction, check_views, initialise_weights

FC_POINTS = 256
"""Points of the fully connected branch; the convolutional one gives a map of 24 x 32 more."""

GRID = 32

CLOSING_RADIUS = 5
"""Voxels by which the cloud is dilated before its inside is filled, and eroded afterwards. Chosen on validation
objects, whose predicted clouds have gaps."""

UPSAMPLING = 2
"""Times by which the grid is refined for erosion, whose depth is otherwise known to half a voxel only."""

CHAMFER_WEIGHT = 1e4
"""The unit is a hundredth of the cube's edge squared; with larger ones weight decay would outweigh the loss."""

SAMPLER_SCALE = 0.2
"""Initial size of the random input relative to the features of a photo."""


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

    random: int = 16
    """Length of the random input."""

    guesses: int = 2
    """Clouds of a photo in training, the N of the min-of-N loss."""


@dataclass(frozen=True, eq=False)
class PointReconstruction(Reconstruction):
    """A cloud of points, and the solid that it encloses; in training the solid is left empty."""

    points: Float[Tensor, "batch points 3"]
    """Points of the surface, in the unit cube."""

    guesses: Float[Tensor, "batch guesses points 3"]
    """In training several clouds, each from another random input; else ``points``, those of the input zero."""


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
        self.sampler = nn.Linear(config.random, flat, bias=False)
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
            self.sampler.weight *= SAMPLER_SCALE

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
        random = torch.zeros(len(views), 1, self.config.random)
        if self.training:  # a function of the photos, so that a training that continues draws what it would have drawn
            generator = torch.Generator().manual_seed(int((views[:, 0] * 255).long().sum()))
            random = torch.randn(len(views), self.config.guesses, self.config.random, generator=generator)
        guesses = self.sample(views, random)
        points = guesses[:, 0]
        solid = points.new_zeros(len(points), GRID, GRID, GRID)
        if not self.training:
            filled = np.stack([fill_point_cloud(cloud) for cloud in points.detach().cpu().numpy()])
            solid = torch.from_numpy(filled).to(points)
        weights = solid.new_zeros(len(points), views.shape[1], GRID, GRID, GRID)
        weights[:, 0] = 1.0
        return PointReconstruction(solid, solid, solid[:, None], weights, points, guesses)

    def sample(
        self, views: Float[Tensor, "batch views 3 height width"], random: Float[Tensor, "batch guesses random"]
    ) -> Float[Tensor, "batch guesses 1024 3"]:
        """The cloud in the unit cube for each ``random`` input, normally distributed, and the first of the photos."""
        features = self.encoder(views[:, 0] * 2 - 1).flatten(1)[:, None] + self.sampler(random.to(views))
        features = features.flatten(0, 1)  # [batch * guesses, 1152]
        grown = self.smooth(functional.relu(self.start(features)).unflatten(1, (-1, 6, 8)))
        points = torch.cat([self.loose(features).unflatten(1, (-1, 3)), grown.flatten(2).transpose(1, 2)], 1)
        return torch.sigmoid(points.float()).unflatten(0, random.shape[:2])  # [batch, guesses, 256 + 768, 3]

    def loss(self, result: PointReconstruction, batch: Batch) -> Float[Tensor, ""]:
        """The Chamfer distance of the nearest guess to as many points sampled from the true surface (min-of-N)."""
        surface = sample_surface(batch.truth, result.points.shape[1], batch.generator)
        distances = [chamfer_distance(guess, surface) for guess in result.guesses.unbind(1)]
        return torch.stack(distances).amin(0).mean() * CHAMFER_WEIGHT


def fill_point_cloud(points: Float[np.ndarray, "points 3"]) -> Float[np.ndarray, "x y z"]:
    """The solid that a cloud in the unit cube encloses, as probabilities: dilated, filled, and eroded.

    A morphological closing with hole filling in between; gaps of up to twice `CLOSING_RADIUS` voxels are closed. Noise
    of the points moves the dilated surface outwards by an unknown length, so the depth of the erosion is left open: at
    the threshold .35 it is `CLOSING_RADIUS`, and each tenth more erodes by another fifth of a voxel.
    """
    from scipy import ndimage, spatial

    margin, reach = CLOSING_RADIUS + 1, (CLOSING_RADIUS + 1) / GRID
    line = (np.arange(-margin, GRID + margin) + 0.5) / GRID
    centres = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1)
    distances, _ = spatial.KDTree(points).query(centres, distance_upper_bound=reach)
    fine = ndimage.zoom(distances.clip(max=reach), UPSAMPLING, order=1, mode="nearest", grid_mode=True)
    filled = ndimage.binary_fill_holes(fine <= CLOSING_RADIUS / GRID)
    inner = slice(margin * UPSAMPLING, -margin * UPSAMPLING)
    depth = ndimage.distance_transform_edt(filled)[inner, inner, inner] / UPSAMPLING - CLOSING_RADIUS
    depth = depth.reshape((GRID, UPSAMPLING) * 3).mean((1, 3, 5))
    return np.clip(0.35 + 0.5 * depth, 0, 1)


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
    forth, back = nearest_points(points.detach(), others), nearest_points(others, points.detach())
    first = (points - others.gather(1, forth.expand(-1, -1, 3))).square().sum(2)
    return first.mean(1) + (others - points.gather(1, back.expand(-1, -1, 3))).square().sum(2).mean(1)


def nearest_points(points: Float[Tensor, "batch n 3"], others: Float[Tensor, "batch m 3"]) -> Int[Tensor, "batch n 1"]:
    """Index of the point of ``others`` that is nearest to each of ``points``: by a tree, on a GPU by all distances."""
    if points.is_cuda:
        return torch.cdist(points, others).argmin(2)[..., None]
    from scipy.spatial import KDTree

    pairs = zip(points.numpy(), others.numpy(), strict=True)
    return torch.from_numpy(np.stack([KDTree(other).query(cloud)[1] for cloud, other in pairs]))[..., None]
