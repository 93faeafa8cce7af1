"""A cube that is moved about a foot: photos, cameras and truth move together, and none of them away from the others."""

from dataclasses import replace

import pytest
import torch

from p2vlib.config import Training, from_params
from p2vlib.data import dataset
from p2vlib.data.augmentation import crop_boxes
from p2vlib.geometry import placement
from p2vlib.geometry.frames import FOOT_SHARE
from p2vlib.geometry.projection import project_points, render_silhouettes, voxel_centres
from p2vlib.training import batches


@pytest.fixture(scope="module")
def feet(smoke) -> dataset.Captures:
    """Studio looks, whose transparency says where the foot is; left and right."""
    return dataset.load_feet(from_params("smoke"), "studio")


def test_whole_photos_crop_to_those_loaded_cropped(feet, smoke):
    known = smoke.captures.select(dataset="feet", look="studio", cube="metric")
    assert known.table.equals(feet.table) and torch.equal(known.truth, feet.truth)
    assert torch.equal(known.cameras, feet.cameras)
    shown = crop_boxes(feet.photos.float(), feet.boxes, 96)
    away, next_one = ((shown - photos).abs().mean() for photos in (known.photos, known.photos.roll(1, 1)))
    assert away < next_one / 4, "the same pictures but for the way of resizing"
    assert (feet.fine_truth[:, 1::3, 1::3, 1::3] != feet.truth[:, :, :12]).float().mean() < 1e-3


def test_the_identity_changes_nothing_and_points_project_to_the_same_pixels(feet):
    still = placement.placement_matrix(torch.zeros(len(feet)), torch.zeros(len(feet), 2))
    assert torch.allclose(placement.move_cameras(feet.cameras, still), feet.cameras, atol=1e-6)
    assert (placement.resample_truth(feet.fine_truth, still, 32) != feet.truth).float().mean() < 1e-3
    boxes = placement.projected_boxes(feet.cameras, feet.boxes, FOOT_SHARE)
    assert torch.allclose(boxes, feet.boxes, atol=1e-3)
    assert torch.allclose(placement.recrop(feet.cameras, feet.boxes, boxes), feet.cameras, atol=1e-4)
    move = placement.placement_matrix(torch.full((len(feet),), 20.0), torch.tensor([[0.1, -0.05]]).expand(len(feet), 2))
    points = voxel_centres(8, 3)
    there = points @ move[0, :, :3].T + move[0, :, 3]
    moved = placement.move_cameras(feet.cameras, move)
    assert torch.allclose(project_points(moved, points).uv, project_points(feet.cameras, there).uv, atol=1e-4)
    boxes = placement.projected_boxes(moved, feet.boxes, FOOT_SHARE)
    seen = project_points(placement.recrop(moved, feet.boxes, boxes), points).uv
    pixels = boxes[..., None, :2] + (seen + 1) / 2 * (boxes[..., None, 2:] - boxes[..., None, :2])
    before = project_points(feet.cameras, there).uv
    known = feet.boxes[..., None, :2] + (before + 1) / 2 * (feet.boxes[..., None, 2:] - feet.boxes[..., None, :2])
    assert torch.allclose(pixels, known, atol=0.02)
    assert move[0, :, :3] @ torch.tensor([1.0, 0, 0]) @ torch.tensor([0.0, 0, 1]) > 0, "+x goes towards +z"


def test_the_moved_truth_projects_onto_the_silhouette(feet):
    generator = torch.Generator().manual_seed(1)
    move = placement.sample_placements(len(feet), 10.0, 0.03, generator)
    truth, cameras = placement.resample_truth(feet.fine_truth, move, 32), placement.move_cameras(feet.cameras, move)
    boxes = placement.projected_boxes(cameras, feet.boxes, FOOT_SHARE)
    cameras = placement.recrop(cameras, feet.boxes, boxes)
    alpha = crop_boxes(feet.photos[:, :, 3:].float() / 255, boxes, 96)[:, :, 0]
    for row, solid in enumerate(truth):
        assert abs(int(solid.sum()) / int(feet.truth[row].sum()) - 1) < 0.06, "no part of it is lost"
        place = project_points(cameras[row][None], voxel_centres(32)[solid.flatten()]).uv[0]
        pixels = ((place + 1) / 2 * 96).long().clamp(0, 95)
        for view, where in enumerate(pixels):
            assert (alpha[row, view, where[:, 1], where[:, 0]] > 0.5).float().mean() > 0.97


def test_in_a_lifted_cube_the_foot_is_lower_and_complete(feet):
    zeros = torch.zeros(len(feet))
    for voxels in (-2, 1):
        lift = placement.placement_matrix(zeros, torch.zeros(len(feet), 2), zeros + voxels / 32)
        truth, cameras, boxes = placement.move_cube(feet.fine_truth, feet.cameras, feet.boxes, lift, 32, 2 / 32)
        known = feet.truth.roll(-voxels, 2)
        if voxels > 0:
            known[:, :, 32 - voxels :] = False  # what the cube has left below itself
        assert (truth != known).float().mean() < 1e-3
        moved = placement.move_cameras(feet.cameras, lift)
        least = placement.projected_boxes(moved, feet.boxes, FOOT_SHARE)
        assert (boxes[..., 3] - boxes[..., 1] > least[..., 3] - least[..., 1]).all(), "room above is shown"
        point = torch.tensor([[0.5, 0.1, 0.5]])
        there = project_points(feet.cameras, point + torch.tensor([0.0, voxels / 32, 0.0])).uv
        assert torch.allclose(project_points(placement.move_cameras(feet.cameras, lift), point).uv, there, atol=1e-4)
        assert torch.allclose(
            placement.recrop(cameras, boxes, feet.boxes), placement.move_cameras(feet.cameras, lift), atol=1e-4
        )


def test_a_batch_has_moved_cubes_and_true_cameras(feet):
    recipe = Training(batch=8, views=4, single_view_share=0.0, mirror=False, placement_noise=(5.0, 0.03))
    batch = batches.sample_batch(feet, recipe, 3)
    assert batch.views.shape[2:] == (3, 96, 96) and batch.views.shape[:2] == batch.cameras.shape[:2]
    assert not torch.equal(batch.cameras, batch.true_cameras)
    assert not any(torch.equal(truth, known) for truth in batch.truth for known in feet.truth)
    again = batches.sample_batch(feet, recipe, 3)
    assert torch.equal(again.views, batch.views) and torch.equal(again.truth, batch.truth)
    level, lifted = (
        placement.sample_placements(99, 4.0, 0.02, torch.Generator().manual_seed(2), lift) for lift in (0.0, 0.03)
    )
    assert (level[:, 1, 3] == 0).all() and lifted[:, 1, 3].std() == pytest.approx(0.03, rel=0.2)
    assert lifted[:, 1, 3].abs().max() <= placement.MAX_DEVIATIONS * 0.03
    recipe = Training(batch=8, views=4, single_view_share=0.0, mirror=False, lift_noise=0.03)
    assert not any(
        torch.equal(truth, known) for truth in batches.sample_batch(feet, recipe, 3).truth for known in feet.truth
    )


def test_close_crops_show_the_foot_larger_and_the_same_pixels(feet):
    recipe = Training(batch=16, views=4, single_view_share=0.0, mirror=False, placement_noise=(4.0, 0.02))
    whole, close = (batches.sample_batch(feet, replace(recipe, close_crops=share), 1) for share in (0.0, 1.0))
    assert torch.equal(whole.truth, close.truth)
    outside, points = ~close.truth.flatten(1)[:, None, :, None], voxel_centres(close.truth.shape[-1])
    edges = []
    for batch in (whole, close):
        uv = project_points(batch.true_cameras, points).uv
        edges.append((uv.masked_fill(outside, -9.0).amax(2) - uv.masked_fill(outside, 9.0).amin(2)).amax(-1))
    smallest, largest = (2 / margin for margin in reversed(batches.CLOSE_MARGINS))
    assert (edges[1] > smallest - 1e-3).all() and (edges[1] < largest + 1e-3).all() and (edges[1] > edges[0]).any()
    # The background of a studio photo is white, and a foot is not: the crops moved together with the cameras.
    silhouettes = render_silhouettes(close.truth.float(), close.true_cameras, 96) > 0.5
    brightness = close.views.mean(2)
    assert brightness[silhouettes].mean() < brightness[~silhouettes].mean() - 0.2
