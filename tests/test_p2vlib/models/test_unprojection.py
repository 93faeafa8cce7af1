from dataclasses import replace

import numpy as np
import pytest
import torch

from p2vlib import evaluation
from p2vlib.data.augmentation import perturb_cameras
from p2vlib.data.dataset import mirror_cameras, mirror_views
from p2vlib.geometry.cameras import look_at
from p2vlib.geometry.frames import FOOT_CUBE, FOOT_SHARE
from p2vlib.geometry.projection import project_points, render_silhouettes, voxel_centres
from p2vlib.models import Batch
from p2vlib.models.feature_sampling import silhouette_consensus
from p2vtools.study import baselines
from tests.test_p2vlib.training.test_training import build, walk


def test_points_are_projected_as_the_camera_projects_them_if_they_are_visible():
    camera = look_at((30.0, 45.0, 10.0, 0.6, 50.0), np.array([0.02, 0.05, 0.01]), 128, 96)
    box = (5.0, -7.0, 110.0, 98.0)
    points = voxel_centres(4)
    projection = project_points(
        torch.tensor(camera.normalised(FOOT_CUBE, box), dtype=torch.float32)[None, None], points
    )
    projected = camera.project(np.array(FOOT_CUBE.lower) + FOOT_CUBE.edge * points.numpy())
    (x, y), (left, top, right, bottom) = projected[:, :2].T, box
    expected = np.stack([2 * (x - left) / (right - left) - 1, 2 * (y - top) / (bottom - top) - 1], 1)
    assert np.allclose(projection.uv[0, 0], expected, atol=1e-4)
    middle = camera.project(np.array([[0.0, 0.16, 0.0]]))[0, 2]
    assert np.allclose(projection.ray_features[0, 0, 1], (projected[:, 2] - middle) / FOOT_CUBE.edge, atol=1e-4)
    towards = np.array(FOOT_CUBE.lower) + FOOT_CUBE.edge * points.numpy() - camera.position
    directions = projection.ray_features[0, 0, 2:].T
    assert np.allclose(directions, towards / np.linalg.norm(towards, axis=1, keepdims=True), atol=1e-4)
    assert np.array_equal(projection.visible[0, 0], (np.abs(expected) <= 1).all(1))
    behind, shifted = walk(1), walk(1)
    behind[..., 6] -= behind.new_tensor([0, 0, 3.0])  # the cube behind the camera
    shifted[..., 0, 2] += 1.0
    shares = [project_points(cameras, voxel_centres(4)).visible.float().mean() for cameras in (behind, shifted)]
    assert shares[0] == 0 and 0.2 < shares[1] < 0.8


def test_cameras_are_mirrored_with_their_photos():
    """The mirror image of a point is projected to the mirrored position of the mirrored photo, in reversed order."""
    cameras, points = walk(), voxel_centres(4)
    mirrored = mirror_cameras(cameras, torch.tensor([True]))
    mirrored_points = points * torch.tensor([1.0, 1, -1]) + torch.tensor([0.0, 0, 1])
    uv, mirrored_uv = project_points(cameras, points).uv[0], project_points(mirrored, mirrored_points).uv[0]
    order = [0, 3, 2, 1]
    photos = torch.arange(4, dtype=torch.uint8)[None, :, None, None, None].expand(1, 4, 4, 2, 2)
    views, _ = mirror_views(photos, torch.zeros(1, 2, 2, 2, dtype=torch.bool), torch.tensor([True]))
    assert views[0, :, 0, 0, 0].tolist() == order
    assert torch.allclose(mirrored_uv, uv[order] * torch.tensor([-1.0, 1]), atol=1e-4)
    assert torch.linalg.det(mirrored[..., 3:6]).flatten().tolist() == pytest.approx([1.0] * 4, abs=1e-5)
    assert torch.equal(mirror_cameras(cameras, torch.tensor([False])), cameras)


def test_camera_noise_has_the_given_standard_deviations():
    cameras = walk().expand(3000, -1, -1, -1)
    generator = torch.Generator().manual_seed(1)
    same = perturb_cameras(cameras, 0.0, 0.0, generator)
    assert torch.allclose(same, cameras, atol=1e-6)
    moved = perturb_cameras(cameras, 2.0, 0.01, generator)
    turn = moved[..., 3:6] @ cameras[..., 3:6].transpose(2, 3)
    angle = torch.rad2deg(torch.acos(((turn.diagonal(dim1=2, dim2=3).sum(-1) - 1) / 2).clamp(-1, 1)))
    # Three axes, times the mean square of a uniform share, a third.
    assert angle.square().mean().sqrt() == pytest.approx(2.0, rel=0.05)
    centres = [-(c[..., 3:6].transpose(2, 3) @ c[..., 6:]) for c in (cameras, moved)]
    assert (centres[1] - centres[0]).std() == pytest.approx(0.01 / 3**0.5, rel=0.05)
    assert torch.allclose(turn @ turn.transpose(2, 3), torch.eye(3), atol=1e-5)


def test_silhouette_consensus_is_the_mean_and_the_minimum_over_visible_views():
    logits = torch.tensor([[[4.0], [-8.0], [-40.0]]])
    visible = torch.tensor([[[True], [True], [False]]])
    mean, least = silhouette_consensus(logits, visible)[0, :, 0].tolist()
    one, two = np.tanh(1.0), np.tanh(-2.0)
    assert mean == pytest.approx((one + two) / 2) and least == pytest.approx(two)


@torch.no_grad()
def test_attention_gives_no_weight_to_views_that_do_not_see_a_voxel():
    model, cameras = build("unprojection").eval(), walk(3)
    cameras[:, 1, 0, 2] += 1.0  # half of the cube is outside the second photo
    visible = project_points(cameras, voxel_centres(32)).visible.unflatten(2, (32, 32, 32))
    weights = model(torch.rand(1, 3, 3, 32, 32), cameras).view_weights
    assert 0.2 < visible[0, 1].float().mean() < 0.8 and weights[visible].min() > 0
    assert weights[~visible].max() == 0


def test_silhouettes_are_those_of_the_true_cameras():
    model, cameras = build("unprojection"), walk(2)
    views, truth = torch.rand(2, 2, 3, 32, 32), torch.rand(2, 32, 32, 32) > 0.9
    batch = Batch(views, cameras.roll(1, 1).expand(2, -1, -1, -1), truth, cameras.expand(2, -1, -1, -1))
    result = model(batch.views, batch.cameras)
    expected = render_silhouettes(truth.float(), batch.true_cameras, result.mask_probability.shape[-1]) > 0.5
    terms = model.loss_terms(result, batch, lambda probability, silhouettes, space: silhouettes)
    assert torch.equal(terms["silhouettes"], expected)
    assert not torch.equal(expected, expected.roll(1, 1)), "the noisy cameras would give others"


@pytest.mark.parametrize("aggregation", ["attention", "moments", "mean"])
def test_the_result_depends_on_neither_order_nor_repetition_of_views(aggregation):
    model, cameras = build("unprojection", aggregation=aggregation).eval(), walk(5)
    views = torch.rand(1, 5, 3, 32, 32)
    order = torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        one = model(views, cameras)
        two = model(views[:, order], cameras[:, order])
        twice = model(views.repeat(1, 2, 1, 1, 1), cameras.repeat(1, 2, 1, 1))
        for number in (1, 24):
            some = torch.arange(number) % 5
            assert model(views[:, some], cameras[:, some]).probability.shape == (1, 32, 32, 32)
    assert torch.allclose(one.probability, two.probability, atol=1e-5)
    assert torch.allclose(one.probability, twice.probability, atol=1e-5)
    assert torch.allclose(one.view_weights[:, order], two.view_weights, atol=1e-5)
    assert torch.allclose(one.view_weights.sum(1), (one.view_weights.sum(1) > 0).float(), atol=1e-5)


def test_a_visual_hull_contains_the_truth_and_shrinks_with_more_views(smoke):
    feet = smoke.captures.select(dataset="feet", look="studio", cube="metric")
    hulls = {number: baselines.dataset_visual_hulls(feet, number, FOOT_SHARE) for number in (1, 4)}
    for hull in hulls.values():
        assert (hull & feet.truth).sum() > 0.98 * feet.truth.sum()
        assert not hull[:, :, 12:].any()
    assert hulls[4].sum() < 0.8 * hulls[1].sum()
    four = evaluation.iou_at(hulls[4].float(), feet.truth, (0.5,)).mean()
    assert evaluation.iou_at(hulls[1].float(), feet.truth, (0.5,)).mean() < four and four > 0.5
    with pytest.raises(ValueError, match="needs silhouettes; these photos are opaque"):
        baselines.dataset_visual_hulls(smoke.captures.select(dataset="feet", look="phone"), 2)
    with pytest.raises(ValueError, match="with known cameras"):
        baselines.dataset_visual_hulls(replace(feet, cameras=None), 2)
