import numpy as np
import pytest
import torch

from p2vlib import models
from p2vlib.models.psgn import chamfer_distance, fill_point_cloud, sample_surface
from tests.test_p2vlib.training.test_training import build


def ball(radius: float = 0.3, size: int = 32, shift: float = 0.0) -> np.ndarray:
    line = (np.arange(size) + 0.5) / size - 0.5
    x, y, z = np.meshgrid(line - shift, line, line, indexing="ij")
    return x**2 + y**2 + z**2 < radius**2


def test_chamfer_by_hand_of_points_on_the_surface():
    one = torch.tensor([[[0.0, 0, 0], [1, 0, 0]]])
    two = torch.tensor([[[0.0, 0, 0], [1, 0, 2], [0, 0, 1]]])
    # Forth: 0 and min(4, 1 + 1, 1) = 1, mean 1/2; back: 0, 4, 1, mean 5/3.
    assert chamfer_distance(one, two).item() == pytest.approx(0.5 + 5 / 3)
    assert chamfer_distance(one, one).item() == 0.0
    truth = torch.from_numpy(ball())[None]
    points = sample_surface(truth, 4000, torch.Generator().manual_seed(0))[0] - 0.5
    radius = points.norm(dim=1)
    assert radius.min() > 0.27 and radius.max() < 0.33
    for axis in range(3):
        assert abs(points[:, axis].mean()) < 0.01
    with pytest.raises(ValueError, match="without a surface"):
        sample_surface(torch.zeros(1, 4, 4, 4, dtype=torch.bool), 5)


def test_a_cloud_on_a_sphere_is_filled_to_the_ball():
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(1024, 3))
    points = 0.5 + 0.3 * direction / np.linalg.norm(direction, axis=1, keepdims=True)
    probability, truth = fill_point_cloud(points), ball()
    solid = probability >= 0.35
    assert (solid & truth).sum() / (solid | truth).sum() > 0.95
    assert (probability >= 0.5).sum() < solid.sum() < (probability >= 0.2).sum() and probability.max() <= 1
    assert (fill_point_cloud(points[:3]) >= 0.35).sum() <= 20, "three points enclose nothing"


@torch.no_grad()
def test_it_reads_the_first_photo_alone_and_fills_the_cloud_only_when_it_predicts():
    model, views = build("psgn-narrow").train(), torch.rand(2, 3, 3, 32, 32)
    result = model(views)
    assert result.points.shape == (2, 1024, 3) and not result.probability.any()
    model.eval()
    first, alone = model(views).probability, model(views[:, :1]).probability
    assert torch.equal(first, alone)
    assert first.min() >= 0 and first.max() <= 1


def test_the_nearest_of_several_clouds_is_trained():
    model = build("psgn-narrow", guesses=3).train()
    views, truth = torch.rand(1, 1, 3, 32, 32), torch.from_numpy(ball())[None]
    result = model(views)
    assert result.guesses.shape == (1, 3, 1024, 3) and not torch.equal(result.guesses[:, 0], result.guesses[:, 1])
    assert torch.equal(result.guesses, model(views).guesses), "the random input is a function of the photos"
    result.guesses.retain_grad()
    batch = models.Batch(views, None, truth, generator=torch.Generator().manual_seed(0))
    model.loss(result, batch).backward()
    surface = sample_surface(truth, 1024, torch.Generator().manual_seed(0))
    nearest = min(range(3), key=lambda n: chamfer_distance(result.guesses[:, n], surface).item())
    assert [bool(grad.any()) for grad in result.guesses.grad[0]] == [n == nearest for n in range(3)]
    with torch.no_grad():
        alone = model.eval()(views)
    assert torch.equal(alone.guesses[:, 0], alone.points) and alone.guesses.shape[1] == 1
