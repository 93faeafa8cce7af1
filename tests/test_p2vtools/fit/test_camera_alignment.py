"""Simulated camera errors, and the alignment of cameras measured by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from p2vlib.config import from_params
from p2vlib.data import dataset
from p2vlib.evaluation import iou_at
from p2vtools.fit import camera_alignment
from p2vtools.fit.silhouette_fitting import no_update, update_cameras
from tests.test_p2vtools.fit.test_silhouette_fitting import ball


@pytest.fixture(scope="module")
def feet(smoke) -> dataset.Captures:
    return dataset.load_feet(from_params("smoke"), "phone").select(light="drift")


def rotation_degrees(captures: dataset.Captures, other: dataset.Captures) -> torch.Tensor:
    """Angle between the rotations of corresponding cameras."""
    relative = captures.cameras[..., 3:6] @ other.cameras[..., 3:6].transpose(2, 3)
    return torch.rad2deg(torch.acos(((relative.diagonal(dim1=2, dim2=3).sum(-1) - 1) / 2).clamp(-1, 1)))


def test_camera_noise_has_its_standard_deviation(smoke):
    feet = smoke.captures.select(dataset="feet", look="phone", cube="metric")
    noisy = [camera_alignment.add_camera_noise(feet, 1.0, 0.003, seed) for seed in range(30)]
    degrees = torch.stack([rotation_degrees(captures, feet) for captures in noisy])
    assert degrees.square().mean().sqrt() == pytest.approx(3**0.5, rel=0.1), "1 degree about each of three axes"
    assert (degrees > 0.05).float().mean() > 0.99, "in every view"


def test_noted_cameras_err_within_bounds_and_photos_are_recropped(feet):
    cameras = camera_alignment.note_by_hand(feet.cameras, torch.Generator().manual_seed(0), focal_error=0.3)
    noted = camera_alignment.recrop_captures(feet, cameras)
    degrees = rotation_degrees(noted, feet)
    assert 2 < degrees.mean() < 12 and degrees.max() < 17.5
    unchanged = camera_alignment.recrop_captures(feet, feet.cameras)
    assert torch.allclose(unchanged.boxes, feet.boxes, atol=1e-2)
    assert not torch.allclose(noted.boxes, feet.boxes, atol=5)


def test_alignment_recovers_part_of_the_loss(feet, weights):
    test, train = feet.select(split="test"), feet.select(split=["train", "validation"])
    table = camera_alignment.alignment_table(weights.model, test, train, weights.threshold, {"known": 0.0})
    (row,) = table.to_dict("records")
    assert row["rough"] < row["realigned"] < row["true cameras"], row
    assert row["realigned, best scale"] >= row["realigned"] - 1e-6 and 0 < row["won back"] < 1


def test_a_camera_on_the_opposite_side_is_found(feet, weights):
    """As in the slides: one photo is from the other side, and the noted focal length is 1.4 times too long."""
    one = feet.select(split="test").rows(np.arange(1))
    turned = camera_alignment._orbit(one.cameras[:, :1], math.pi)
    noted = torch.cat([turned, one.cameras[:, 1:]], 1)
    noted[..., :2, :2] *= 1.4
    captures = replace(one, cameras=noted)
    (aligned,) = camera_alignment.find_cameras(weights.model, captures, weights.typical_foot, weights.threshold, [0.3])
    degrees = rotation_degrees(aligned, one)[0]
    assert degrees[0] < 40 and degrees.median() < 25, degrees


def test_rescaling_shrinks_towards_the_prior(feet):
    """Cameras aligned 10 % nearer than noted: the foot is larger, by less where the focal length is uncertain."""
    update = no_update(feet.cameras)
    update = update._replace(log_distance=update.log_distance - 0.1)
    aligned = replace(feet, cameras=update_cameras(feet.cameras, update))
    spread, floor = camera_alignment.typical_foot(feet).spread, torch.tensor(camera_alignment.FLOOR_CENTRE)[:, None]
    factors = {}
    for focal_error in (0.0, 0.3):
        rescaled = camera_alignment.rescale_to_prior(aligned, feet, spread, focal_error)
        after, before = (-one.cameras[..., 3:6].mT @ one.cameras[..., 6:] for one in (rescaled, aligned))
        ratio = (after - floor).norm(dim=2) / (before - floor).norm(dim=2)
        assert (ratio.max() - ratio.min()) < 1e-3, "one factor for all cameras, about the centre of the floor"
        factors[focal_error] = ratio.mean().item()
    assert 1.02 < factors[0.0] < 1.105 and 1.0 < factors[0.3] < factors[0.0]


def test_rescale_to_truth_finds_the_scale():
    small, large = ball((0.5, 0.0, 0.5), 0.2), ball((0.5, 0.0, 0.5), 0.24)
    scaled = camera_alignment.rescale_to_truth(small.float(), large, 0.5)
    assert iou_at(scaled, large, (0.5,)) > 0.9 > iou_at(small.float(), large, (0.5,)) + 0.2
