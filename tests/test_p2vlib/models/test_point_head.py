from dataclasses import replace

import pytest
import torch

from p2vlib import models, training
from p2vlib.config import Training
from p2vlib.data import dataset
from p2vlib.geometry import placement
from p2vlib.geometry.frames import FOOT_SHARE
from p2vlib.models.point_head import boundary_voxels, sample_coarse, sample_near_surface
from p2vlib.training import batches
from p2vtools.fit.ensemble import Ensemble

TINY = {"encoder": (4, 4, 4, 4), "features": 4, "volume": (4, 4, 4), "height": FOOT_SHARE}


@pytest.fixture(scope="module")
def feet(smoke) -> dataset.Captures:
    return dataset.load_feet(smoke.config, "phone").select(light="drift")


@pytest.fixture(scope="module")
def recipe(smoke):
    return replace(
        smoke.config.finetuning, placement_noise=(4.0, 0.025), point_samples=256, batch=8, single_view_share=0.0
    )


def build():
    torch.manual_seed(0)
    return Ensemble(models.configure("unprojection", **TINY), 1, 4)


def test_query_points_are_near_the_surface_with_the_occupancy_of_the_resampled_truth(feet, recipe):
    batch = batches.sample_batch(feet, recipe, 3, query_points=sample_near_surface)
    assert batch.points.shape == (*batch.inside.shape, 3) and batch.inside.shape[1] == 256
    assert 0.2 < batch.inside.float().mean() < 0.8
    voxels = (batch.points * 32).long()
    assert (batch.points[..., 1] < FOOT_SHARE).all()
    boundary = boundary_voxels(batch.truth)
    for solid, near, indices, inside in zip(batch.truth, boundary, voxels, batch.inside, strict=True):
        x, y, z = indices.unbind(1)
        assert near[x, y, z].all()
        assert (solid[x, y, z] == inside).float().mean() > 0.7, "most points are on the side of their voxel's centre"
    moves = placement.sample_placements(len(feet), 10.0, 0.05, torch.Generator().manual_seed(0))
    truth = placement.resample_truth(feet.fine_truth, moves, 32)
    layers = round(32 * FOOT_SHARE)
    centres = placement.voxel_centres(32, layers).expand(len(feet), -1, 3)
    inside = placement.occupancy_at(feet.fine_truth, moves, centres).view(len(feet), 32, layers, 32)
    # At the floor and at the cut the finer grid ends half a voxel outside the outermost centres.
    assert torch.equal(inside[:, :, 1:-1], truth[:, :, 1 : layers - 1])


def test_only_the_head_trains_and_needs_a_fine_truth(feet, recipe, tmp_path):
    learn, validation = (feet.select(split=split) for split in ("train", "validation"))
    model, recipe = build(), replace(recipe, steps=20, steps_per_epoch=5)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    history = training.train(model, learn, validation, recipe, tmp_path, report=str)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) != name.startswith("point_head.") or "num_batches" in name, name
    assert history.loss.iloc[-1] < history.loss.iloc[0]
    with pytest.raises(ValueError, match="query points need captures with a fine truth"):
        training.train(build(), replace(learn, fine_truth=None), validation, recipe, tmp_path)


def test_it_starts_as_the_interpolated_coarse_logit(feet):
    model, batch = build().eval(), batches.sample_batch(feet, Training(batch=4, views=2), 0)
    points = torch.rand(len(batch.views), 50, 3) * torch.tensor([1.0, FOOT_SHARE, 1.0])
    with torch.no_grad():
        result = model(batch.views, batch.cameras, points)
    assert torch.allclose(result.point_logits, sample_coarse(result.coarse_state, points)[:, -1], atol=1e-5)
    centre = (torch.tensor([[[5, 3, 9]]]) + 0.5) / 32
    exact = torch.logit(result.probability[0, 5, 3, 9]).item()
    sampled = sample_coarse(result.coarse_state, centre.expand(len(batch.views), 1, 3))
    assert sampled[0, -1, 0] == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize("size", [64, 128])
def test_the_head_is_only_evaluated_near_the_surface(feet, size):
    """A head that always returns 9 shows where it was evaluated."""
    model, batch = build().eval(), batches.sample_batch(feet, Training(batch=4, views=2), 0)
    with torch.no_grad():
        state = model(batch.views, batch.cameras).coarse_state
    state = state._replace(volume=state.volume.clone())
    state.volume[:, -1] = batch.truth[:, :, :12] * 8.0 - 4.0
    queried = []
    model.point_head.forward = lambda maps, part, points: queried.append(points) or torch.full(points.shape[:2], 9.0)
    large = model.enlarged(state, size, 0.5)
    assert large.shape == (len(batch.views), size, size, size) and not large[:, :, round(FOOT_SHARE * size) :].any()
    changed = large == torch.sigmoid(torch.tensor(9.0))
    assert 0.001 < changed.float().mean() < 0.1
    assert sum(points.shape[1] for points in queried) < 0.15 * large.numel()
