"""Cameras measured by hand: their errors, and what silhouettes put right."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from p2vlib.config import from_params
from p2vlib.data import dataset
from p2vlib.evaluation import iou_at
from p2vlib.geometry.projection import project_points, render_silhouettes
from p2vtools.fit import camera_alignment
from p2vtools.fit.pretrained import load_pretrained
from p2vtools.fit.silhouette_fitting import CameraUpdate, align_cameras, update_cameras
from tests.test_p2vtools.fit.test_silhouette_fitting import ball, walk


@pytest.fixture(scope="module")
def feet(smoke) -> dataset.Captures:
    return dataset.load_feet(from_params("smoke"), "phone").select(light="drift")


def none(views: int = 6) -> CameraUpdate:
    return CameraUpdate(
        torch.zeros(1, views, 3), torch.zeros(1, views, 2), torch.zeros(1, views), torch.zeros(1, views)
    )


def test_no_change_changes_nothing_and_a_turn_keeps_the_middle_in_its_place():
    cameras, middle = walk(), torch.tensor([[0.5, 0.15, 0.5]])
    assert torch.allclose(update_cameras(cameras, none()), cameras, atol=1e-6)
    turned = update_cameras(cameras, none()._replace(turn=0.3 * torch.ones(1, 6, 3)))
    assert torch.allclose(project_points(turned, middle).uv, project_points(cameras, middle).uv, atol=1e-4)
    farther = update_cameras(cameras, none()._replace(stretch=torch.full((1, 6), 0.2)))
    assert torch.allclose(project_points(farther, middle).uv, project_points(cameras, middle).uv, atol=1e-4), (
        "along its ray"
    )
    assert torch.linalg.det(turned[..., 3:6]).flatten().tolist() == pytest.approx([1.0] * 6, abs=1e-4)


def test_a_longer_focal_length_shows_more():
    cameras, solid = walk(), ball((0.5, 0.3, 0.5), 0.15).float()
    longer = update_cameras(cameras, none()._replace(focal=torch.full((1, 6), 0.2)))
    area = [render_silhouettes(solid, which, 48).sum().item() for which in (cameras, longer)]
    assert area[1] / area[0] == pytest.approx(1.2218**2, rel=0.1)


def test_cameras_find_back_to_where_a_solid_shows_as_it_does():
    solid = ball((0.55, 0.3, 0.5), 0.15) | ball((0.4, 0.2, 0.65), 0.1)
    cameras = walk()
    masks = render_silhouettes(solid.float(), cameras, 48)
    torch.manual_seed(0)
    wrong = none()._replace(turn=0.1 * torch.randn(1, 6, 3), shift=0.06 * torch.randn(1, 6, 2))
    begun = update_cameras(cameras, wrong)
    found = align_cameras(solid, masks, begun, steps=40, rate=0.02)
    point = torch.tensor([[0.55, 0.3, 0.5], [0.4, 0.2, 0.65]])
    off = [
        (project_points(which, point).uv - project_points(cameras, point).uv).norm(dim=-1).mean()
        for which in (begun, found)
    ]
    assert off[1] < 0.35 * off[0]


def test_notes_err_as_told_and_are_cut_where_they_think(feet):
    wrong = camera_alignment.noted_cameras(feet, focal=0.3)
    turn = wrong.cameras[..., 3:6] @ feet.cameras[..., 3:6].transpose(2, 3)
    angle = torch.rad2deg(torch.acos(((turn.diagonal(dim1=2, dim2=3).sum(-1) - 1) / 2).clamp(-1, 1)))
    assert 2 < angle.mean() < 12 and angle.max() < 17.5
    known = camera_alignment.recrop_captures(feet, feet.cameras)
    assert torch.allclose(known.boxes, feet.boxes, atol=1e-2) and not torch.allclose(wrong.boxes, feet.boxes, atol=5)


def test_the_photos_put_rough_cameras_right(feet):
    weights = load_pretrained()
    test = feet.select(split="test")
    others = feet.select(split=["train", "validation"])
    (row,) = camera_alignment.alignment_table(weights.model, test, others, weights.threshold, {"known": 0.0}).to_dict(
        "records"
    )
    assert row["rough"] < row["realigned"] < row["true cameras"], row
    assert row["realigned, best scale"] >= row["realigned"] - 1e-6 and 0 < row["won back"] < 1


def test_a_foot_that_shows_as_from_nearer_is_larger(feet):
    """As far as lengths are known to differ more than the mean of so many noted distances errs."""
    zero = none(feet.cameras.shape[1])
    step = zero.stretch.expand(len(feet), -1) - 0.1
    nearer = CameraUpdate(*(value.expand(len(feet), *value.shape[1:]) for value in zero))._replace(stretch=step)
    aligned_to_mean = replace(feet, cameras=update_cameras(feet.cameras, nearer))
    factors = {}
    for focal in (0.0, 0.3):
        found = camera_alignment.rescale_to_prior(
            aligned_to_mean, feet, camera_alignment.typical_foot(feet).spread, focal
        )
        place, before = (-one[..., 3:6].mT @ one[..., 6:] for one in (found.cameras, aligned_to_mean.cameras))
        floor = torch.tensor(camera_alignment.FLOOR)[:, None]
        ratio = (place - floor).norm(dim=2) / (before - floor).norm(dim=2)
        assert (ratio.max() - ratio.min()) < 1e-3, "all cameras by the same factor, away from where the foot stands"
        factors[focal] = ratio.mean().item()
    assert 1.02 < factors[0.0] < 1.105 and 1.0 < factors[0.3] < factors[0.0], "a focal length nobody knows tells less"


def test_the_best_scale_is_found():
    small, large = ball((0.5, 0.0, 0.5), 0.2), ball((0.5, 0.0, 0.5), 0.24)
    scaled = camera_alignment.rescale_to_truth(small.float(), large, 0.5)
    assert iou_at(scaled, large, (0.5,)) > 0.9 > iou_at(small.float(), large, (0.5,)) + 0.2


def test_noise_is_in_every_view_and_as_large_as_told(smoke):
    feet = smoke.captures.select(dataset="feet", look="phone", cube="metric")
    turns = []
    for seed in range(30):
        noisy = camera_alignment.add_camera_noise(feet, 1.0, 0.003, seed)
        turn = noisy.cameras[..., 3:6] @ feet.cameras[..., 3:6].transpose(2, 3)
        turns.append(torch.acos(((turn.diagonal(dim1=2, dim2=3).sum(-1) - 1) / 2).clamp(-1, 1)))
    degrees = torch.rad2deg(torch.stack(turns))
    assert degrees.square().mean().sqrt() == pytest.approx(3**0.5, rel=0.1)
    assert (degrees > 0.05).float().mean() > 0.99
