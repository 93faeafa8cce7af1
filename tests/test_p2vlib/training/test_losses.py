import math

import pytest
import torch

from p2vlib import models
from p2vlib.training import losses


@pytest.mark.parametrize(("name", "views", "terms"), [("default", 1, 1), ("default", 3, 2), ("published", 3, 1)])
def test_the_loss_sums_over_the_views_and_both_volumes(name, views, terms):
    """At p = 1/2 the cross entropy is log 2 a voxel; Dice of half a box against a box follows from its count.

    The published loss is the cross entropy of the volumes alone.
    """
    truth = torch.zeros(1, 4, 4, 4, dtype=torch.bool)
    truth[0, :2] = True
    half = torch.full((1, 4, 4, 4), 0.5)
    each, batch = half[:, None].expand(-1, views, -1, -1, -1), models.Batch(truth[:, None], None, truth)
    once = 10 * math.log(2) + (6 * (1 - (2 * 16 + 1) / (32 + 32 + 1)) if name == "default" else 0)
    for probability, volumes in ((half, terms), (half.clone(), terms + 1)):  # without and with a refiner
        result = models.Reconstruction(probability, half, each, each)
        loss = losses.training_loss(torch.nn.Identity(), result, batch, name)
        assert loss.item() == pytest.approx(volumes * once, rel=1e-5)
    with pytest.raises(ValueError, match="no loss is called 'mine'; expected default or published"):
        losses.training_loss(torch.nn.Identity(), result, batch, "mine")
