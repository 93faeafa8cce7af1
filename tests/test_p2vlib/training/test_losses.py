import pytest
import torch

from p2vlib import models
from p2vlib.training import losses


def loss(result: models.Reconstruction, truth: torch.Tensor, name: str = "default") -> torch.Tensor:
    batch = models.Batch(truth[:, None], None, truth)
    return losses.training_loss(torch.nn.Identity(), result, batch, name)


def test_the_loss_sums_over_the_views_and_both_volumes():
    """At p = 1/2 the cross entropy is log 2 a voxel; Dice of half a box against a box follows from its count."""
    truth = torch.zeros(1, 4, 4, 4, dtype=torch.bool)
    truth[0, :2] = True
    half = torch.full((1, 4, 4, 4), 0.5)
    once = 10 * torch.log(torch.tensor(2.0)) + 6 * (1 - (2 * 16 + 1) / (32 + 32 + 1))
    for views, terms in ((1, 1), (3, 2)):
        each = half[:, None].expand(-1, views, -1, -1, -1)
        unrefined = models.Reconstruction(half, half, each, each)
        assert loss(unrefined, truth).item() == pytest.approx(terms * once.item(), rel=1e-5)
        refined = models.Reconstruction(half.clone(), half, each, each)
        assert loss(refined, truth).item() == pytest.approx((terms + 1) * once.item(), rel=1e-5)


def test_the_published_loss_is_the_cross_entropy_of_two_volumes():
    truth, half = torch.ones(1, 4, 4, 4, dtype=torch.bool), torch.full((1, 4, 4, 4), 0.5)
    each = half[:, None].expand(-1, 3, -1, -1, -1)
    unrefined = models.Reconstruction(half, half, each, each)
    once = 10 * torch.log(torch.tensor(2.0)).item()
    assert loss(unrefined, truth, "published").item() == pytest.approx(once)
    refined = models.Reconstruction(half.clone(), half, each, each)
    assert loss(refined, truth, "published").item() == pytest.approx(2 * once)
    with pytest.raises(ValueError, match="no loss is called 'mine'; expected default or published"):
        loss(refined, truth, "mine")
