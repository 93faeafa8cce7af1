"""Rays: features of the photos, brought into the cube along the cameras that took them.

Pix2Vox has to guess from a photo where it was taken. Here every voxel is projected into every photo and reads the
features there; what the views say of it is put together whatever their number and order, and a 3-D U-Net decides with
its neighbours. Kar et al., Learning a Multi-View Stereo Machine (NeurIPS 2017); Murez et al., Atlas (ECCV 2020), which
the slides name.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from .reconstruction import Reconstruction, check_views
from .weights import initialise

STRIDE = 4
"""Pixels of a photo for one of the features that voxels read."""

BESIDE_FEATURES = 5
"""What a voxel knows of a view beside its features: whether it is seen, how far off, and from where."""

BESIDE_VIEWS = 4
"""What a voxel knows beside its views: its own place, and by how many it is seen."""


@dataclass(frozen=True)
class RaysConfig:
    """Everything that makes one network of rays; the defaults learn in minutes on two processor cores."""

    image_size: int = 96
    """Height and width of the photos, pixels; a multiple of 16."""

    encoder: tuple[int, int, int] = (16, 32, 64)
    """Channels at a half, a quarter and an eighth (and a sixteenth) of the photo."""

    features: int = 16
    """Channels that a voxel reads from a photo."""

    volume: tuple[int, int, int] = (16, 32, 64)
    """Channels of the 3-D U-Net at the grid, its half and its quarter."""

    aggregation: Literal["attention", "moments"] = "attention"
    """How views are put together: mean and variance, and with attention also a mean that is weighed voxel by voxel."""

    grid: int = 32
    """Edge of the volume in voxels, a multiple of 4."""


class Sight(NamedTuple):
    """How a view sees every voxel."""

    place: Float[Tensor, "batch views voxels 2"]
    """Where in the photo, -1 to 1 from border to border."""
    seen: Bool[Tensor, "batch views voxels"]
    """Whether that is inside the photo and before the camera."""
    beside: Float[Tensor, "batch views 5 voxels"]
    """`BESIDE_FEATURES`: seen, depth from the cube's middle in its edges, direction from camera to voxel."""


def voxel_centres(size: int, device: torch.device | str = "cpu") -> Float[Tensor, "voxels 3"]:
    """Centres of the voxels of a cube of edge 1, x slowest, as a flattened volume has them."""
    line = (torch.arange(size, device=device) + 0.5) / size
    return torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)


def look(cameras: Float[Tensor, "batch views 3 7"], points: Float[Tensor, "voxels 3"]) -> Sight:
    """How ``cameras`` (`Camera.seen_from`) see ``points`` of their cube."""
    intrinsics, rotation, translation = cameras.float().split([3, 3, 1], dim=-1)
    before = rotation @ points.T + translation  # [batch, views, 3, voxels]
    depth = before[:, :, 2]
    shown = intrinsics @ before
    place = (shown[:, :, :2] / shown[:, :, 2:].clamp(min=1e-3)).transpose(2, 3)
    seen = (depth > 0.01) & (place.abs() <= 1).all(-1)
    stand = -rotation.transpose(2, 3) @ translation
    towards = functional.normalize(points.T - stand, dim=2)
    middle = rotation @ points.new_full((3, 1), 0.5) + translation
    beside = torch.cat([seen[:, :, None].float(), (depth - middle[:, :, 2])[:, :, None], towards], 2)
    return Sight(place.clamp(-2, 2), seen, beside)


class Rays(nn.Module):
    """Photos and their cameras to the occupancy of the cube that the cameras are given in.

    Each view also says for itself what is solid, from its features alone, without knowing which voxel it speaks of: the
    loss asks for it, and so the encoder learns what a foot looks like before the rest has learnt to listen.

    Raises:
        ValueError: sizes in the config that do not fit.
    """

    needs_cameras = True
    order_free = True

    def __init__(self, config: RaysConfig) -> None:
        super().__init__()
        if config.image_size % 16 or config.grid % 4:
            raise ValueError(
                f"rays need photos of a multiple of 16 pixels and a grid of a multiple of 4; found {config.image_size} "
                f"and {config.grid}"
            )
        self.config = config
        self.encoder = RaysEncoder(config.encoder, config.features)
        channels = config.features
        self.view = nn.Sequential(
            nn.Conv1d(channels + BESIDE_FEATURES, channels, 1), nn.ReLU(inplace=True), nn.Conv1d(channels, channels, 1)
        )
        self.speak = nn.Conv1d(channels, 1, 1)
        self.score = nn.Conv1d(channels, 1, 1) if config.aggregation == "attention" else None
        joined = (3 if self.score else 2) * channels
        # On a par with the voxels' places: else these, which know the mean shape, are all that is listened to.
        self.level = nn.BatchNorm1d(joined)
        self.unet = UNet3d(joined + BESIDE_VIEWS, config.volume)
        initialise(self)
        for layer in (self.speak, self.unet.head):
            nn.init.constant_(layer.bias, -3.0)  # most of a cube is empty

    def forward(
        self,
        views: Float[Tensor, "batch views 3 height width"],
        cameras: Float[Tensor, "batch views 3 7"] | None = None,
    ) -> Reconstruction:
        """``views`` in [0, 1], any number of them in any order, each with its camera (`Camera.seen_from`).

        Raises:
            ValueError: no cameras, or photos of another size than the config's.
        """
        if cameras is None:
            raise ValueError("rays need the camera of every photo; found none: Pix2Vox does without")
        check_views(views, self.config.image_size)
        batch, number = views.shape[:2]
        points = voxel_centres(self.config.grid, views.device)
        sight = look(cameras, points)
        features = self.encoder(views.flatten(0, 1)).float()  # [batch * views, 16, 24, 24]
        read = functional.grid_sample(features, sight.place.flatten(0, 1)[:, None], align_corners=False)
        read = torch.cat([read[:, :, 0], sight.beside.flatten(0, 1)], 1)  # [batch * views, 16 + 5, voxels]
        read = self.view(read)  # -> [batch * views, 16, voxels]
        volumes = torch.sigmoid(self.speak(read).float()).unflatten(0, (batch, number))  # [batch, views, 1, voxels]
        joined, weights = self._together(read.unflatten(0, (batch, number)), sight.seen)
        joined = self.level(joined)
        places = (2 * points.T - 1).expand(batch, 3, -1)
        count = sight.seen.float().mean(1, keepdim=True)
        shape = (self.config.grid,) * 3
        volume = torch.cat([joined, places, count], 1).unflatten(2, shape)  # [batch, 52, 32, 32, 32]
        # As in Pix2Vox, the sigmoid runs in float32.
        probability = torch.sigmoid(self.unet(volume).float()).squeeze(1)
        return Reconstruction(
            probability, probability, volumes.unflatten(3, shape)[:, :, 0], weights.unflatten(2, shape)
        )

    def _together(
        self, read: Float[Tensor, "batch views channels voxels"], seen: Bool[Tensor, "batch views voxels"]
    ) -> tuple[Float[Tensor, "batch joined voxels"], Float[Tensor, "batch views voxels"]]:
        """Mean and variance over the views that see a voxel, the attended mean, and each view's weight in it."""
        read = read.float()
        counted = seen.float() / seen.sum(1, keepdim=True).clamp(min=1)
        mean = (counted[:, :, None] * read).sum(1)
        # E[x^2] - E[x]^2: torch.var over views costs more than the convolutions.
        spread = ((counted[:, :, None] * read**2).sum(1) - mean**2).clamp(min=0)
        if self.score is None:
            return torch.cat([mean, spread], 1), counted
        scores = self.score(read.flatten(0, 1)).float().unflatten(0, read.shape[:2])[:, :, 0]
        weights = torch.softmax(scores.masked_fill(~seen, -1e4), 1) * seen.any(1, keepdim=True)
        attended = (weights[:, :, None] * read).sum(1)
        return torch.cat([mean, spread, attended], 1), weights


def _conv2d(channels: int, width: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(channels, width, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True))


class RaysEncoder(nn.Module):
    """A photo to a map of features at a quarter of its size, which have seen all of it.

    Strided convolutions down to a sixteenth, and the coarse maps added to the finer ones on the way back.
    """

    def __init__(self, widths: tuple[int, int, int], features: int) -> None:
        super().__init__()
        half, quarter, eighth = widths
        self.to2 = nn.Sequential(_conv2d(3, half, 2), _conv2d(half, half))
        self.to4 = nn.Sequential(_conv2d(half, quarter, 2), _conv2d(quarter, quarter))
        self.to8 = nn.Sequential(_conv2d(quarter, eighth, 2), _conv2d(eighth, eighth))
        self.to16 = nn.Sequential(_conv2d(eighth, eighth, 2), _conv2d(eighth, eighth))
        self.back = nn.Conv2d(eighth, quarter, 1)
        self.out = nn.Sequential(_conv2d(quarter, quarter), nn.Conv2d(quarter, features, 1))

    def forward(self, photos: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n features height width"]:
        """``photos`` in [0, 1]."""
        quarter = self.to4(self.to2(photos * 2 - 1))  # [n, 3, 96, 96] -> [n, 32, 24, 24]
        eighth = self.to8(quarter)  # -> [n, 64, 12, 12]
        eighth = eighth + functional.interpolate(self.to16(eighth), scale_factor=2.0)
        quarter = quarter + functional.interpolate(self.back(eighth), scale_factor=2.0)
        return self.out(quarter)  # -> [n, 16, 24, 24]


def _conv3d(channels: int, width: int) -> nn.Sequential:
    convolution = nn.Conv3d(channels, width, 3, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(width), nn.ReLU(inplace=True))


class UNet3d(nn.Module):
    """Two halvings and two doublings with skips by addition; the last map becomes one logit a voxel."""

    def __init__(self, channels: int, widths: tuple[int, int, int]) -> None:
        super().__init__()
        whole, half, quarter = widths
        self.enter = nn.Sequential(nn.Conv3d(channels, whole, 1), nn.ReLU(inplace=True), _conv3d(whole, whole))
        self.down1 = nn.Sequential(nn.Conv3d(whole, half, 2, stride=2), _conv3d(half, half))
        self.down2 = nn.Sequential(
            nn.Conv3d(half, quarter, 2, stride=2), _conv3d(quarter, quarter), _conv3d(quarter, quarter)
        )
        self.up2 = nn.ConvTranspose3d(quarter, half, 2, stride=2)
        self.join2 = _conv3d(half, half)
        self.up1 = nn.ConvTranspose3d(half, whole, 2, stride=2)
        self.join1 = _conv3d(whole, whole)
        self.head = nn.Conv3d(whole, 1, 1)

    def forward(self, volume: Float[Tensor, "batch c n n n"]) -> Float[Tensor, "batch 1 n n n"]:
        """Features of every voxel to its logit."""
        whole = self.enter(volume)  # [batch, 16, 32, 32, 32]
        half = self.down1(whole)  # -> [batch, 32, 16, 16, 16]
        half = self.join2(half + self.up2(self.down2(half)))  # -> [batch, 64, 8, 8, 8] -> [batch, 32, 16, 16, 16]
        return self.head(self.join1(whole + self.up1(half)))  # -> [batch, 1, 32, 32, 32]
