"""The search for a foot, with a network that reads the true silhouettes from the photos."""

from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional

from p2vlib.geometry.cameras import look_at
from p2vlib.geometry.frames import FOOT_CUBE, FOOT_SHARE
from p2vlib.geometry.projection import project_points, render_silhouettes, voxel_centres
from p2vlib.models import Reconstruction
from p2vtools.fit import placement
from p2vtools.fit.photo_set import PhotoSet
from p2vtools.fit.placement import describe_shift, find_foot, pose_matrix, pose_yaw

PIXELS = 160
VIEWS = ((200.0, 50.0), (310.0, 45.0), (80.0, 55.0), (20.0, 50.0))
"""Azimuth and elevation of the cameras, degrees."""


@dataclass(frozen=True, eq=False)
class Silhouettes(Reconstruction):
    mask_probability: torch.Tensor


class SilhouetteReader(nn.Module):
    """A network for white feet on black: the photos are the silhouettes, the volume is their visual hull."""

    config = SimpleNamespace(image_size=96)

    def predict_masks(self, views):
        return functional.interpolate(views.mean(2), size=(48, 48), mode="area")

    def forward(self, views, cameras):
        masks = self.predict_masks(views)
        projection = project_points(cameras, voxel_centres(32))
        inside = functional.grid_sample(masks[0][:, None], projection.uv[0][:, None], align_corners=False)[:, 0, 0]
        hull = inside.amin(0).reshape(1, 32, 32, 32).clone()
        hull[:, :, round(FOOT_SHARE * 32) :] = 0
        return Silhouettes(hull, hull, hull[:, None], torch.ones(1, len(masks[0]), 32, 32, 32), masks)


@pytest.fixture
def reader(weights):
    """Weights with this network and the typical foot that comes with the project."""
    return replace(weights, model=SilhouetteReader(), threshold=0.5)


def photograph(solid: torch.Tensor, pose: np.ndarray, side: str, count: int) -> PhotoSet:
    """White silhouettes of a ``solid`` of `FOOT_CUBE` at ``pose``, by cameras that look at the origin."""
    photos, cameras = [], []
    for azimuth, elevation in VIEWS[:count]:
        camera = look_at((azimuth, elevation, 0.0, 0.6, 60.0), np.array([0, 0.05, 0]), PIXELS, PIXELS)
        seen = replace(camera, extrinsics=camera.extrinsics @ pose).normalised(FOOT_CUBE, (0, 0, PIXELS, PIXELS))
        normalised = torch.tensor(seen, dtype=torch.float32)[None, None]
        silhouette = render_silhouettes(solid[None].float(), normalised, PIXELS)
        photos.append(Image.fromarray((255 * silhouette[0, 0].numpy()).astype(np.uint8)).convert("RGBA"))
        cameras.append(camera)
    return PhotoSet(photos, cameras, [str(number) for number in range(count)], side)


@pytest.mark.parametrize(
    ("count", "side", "yaw", "place", "millimetres"),
    [(1, "left", -40.0, (0.03, 0.045), 5), (1, "right", 15.0, (-0.02, 0.0), 5), (3, "right", 42.0, (-0.04, -0.04), 8)],
)
def test_a_foot_is_found_where_it_was_put(reader, count, side, yaw, place, millimetres):
    solid = reader.typical_foot.solid
    pose = pose_matrix(yaw, np.array([place[0], 0, place[1]]))
    photos = photograph(solid if side == "left" else solid.flip(-1), pose, side, count)
    found = find_foot(reader, photos)
    error = np.linalg.inv(pose) @ found.pose
    assert 1000 * np.hypot(error[0, 3], error[2, 3]) < millimetres and abs(pose_yaw(error)) < 3
    assert found.overlap > 0.9 and not found.at_limit


@pytest.mark.parametrize("count", [1, 3])
def test_a_start_that_is_right_is_kept(reader, count):
    found = find_foot(reader, photograph(reader.typical_foot.solid, np.eye(4), "left", count))
    assert found.method == "start" and np.array_equal(found.pose, np.eye(4))


def test_a_foot_beyond_the_limits_is_reported(reader):
    pose = pose_matrix(0.0, np.array([0.0, 0, 0.14]))
    found = find_foot(reader, photograph(reader.typical_foot.solid, pose, "left", 1))
    assert found.at_limit and np.linalg.norm(found.pose[:3, 3]) <= placement.MAX_SHIFT + 1e-6
    assert abs(pose_yaw(found.pose)) <= placement.MAX_TURN


def test_shift_is_described_in_millimetres_if_there_is_a_scale():
    pose = pose_matrix(-20.0, np.array([0.03, 0, 0.04]))
    for scale, text in (("mat", "50 mm and -20 degrees"), ("unknown", "-20 degrees")):
        assert describe_shift(PhotoSet([], [], [], scale=scale), pose) == text


def test_photos_without_a_foot(reader):
    photos = photograph(torch.zeros(32, 32, 32, dtype=torch.bool), np.eye(4), "left", 2)
    with pytest.raises(ValueError, match="no foot found in the 2 photos"):
        find_foot(reader, photos)


def test_one_photo_in_four_may_disagree_with_a_visual_hull(reader):
    solid, kept = reader.typical_foot.solid, []
    for empty in (1, 2):
        photos = photograph(solid, np.eye(4), "left", 4)
        photos.photos[:empty] = [Image.new("RGBA", (PIXELS, PIXELS), "black")] * empty
        hull = placement.foot_visual_hull(reader, photos, np.eye(4), FOOT_CUBE, 32)
        kept.append((hull > 0.5)[solid.numpy()].mean())
    assert kept[0] > 0.9 and kept[1] == 0


def test_a_leaning_leg_does_not_move_the_placement():
    """A sole of 16 x 6 voxels of 1 cm at x = 8..24, z = 13..19, and a leg above 6 cm that leans over its end."""
    volume = np.zeros((32, 32, 32))
    volume[8:24, :6, 13:19] = 1
    volume[0:8, 6:12, 8:24] = 1
    yaw, centre = placement.estimate_placement(volume, FOOT_CUBE)
    assert (yaw, *centre) == pytest.approx((0, 0, 0, 0), abs=1e-9)
