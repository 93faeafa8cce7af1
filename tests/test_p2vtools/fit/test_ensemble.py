"""The ensemble of unprojection networks."""

import pytest
import torch

from p2vlib import models
from p2vlib.config import Training
from p2vlib.data import dataset
from p2vlib.training import batches
from p2vtools.fit.ensemble import Ensemble

CONFIG = models.configure("rays", encoder=(4, 4, 4, 4), features=4, volume=(4, 4, 4), height=0.375)


@pytest.fixture(scope="module")
def batch(smoke) -> batches.Batch:
    feet = dataset.load_feet(smoke.config, "phone").select(light="drift")
    return batches.sample_batch(feet, Training(batch=6, views=3), 1)


def build(members: int) -> Ensemble:
    torch.manual_seed(0)
    return Ensemble(CONFIG, members, 4).eval()


@torch.no_grad()
@pytest.mark.parametrize("members", [1, 2])
def test_prediction_is_the_mean_of_the_logits(batch, members):
    model = build(members)
    prediction = model(batch.views, batch.cameras)
    singles = [member(batch.views, batch.cameras) for member in model.members]
    logits = torch.stack([one.coarse_state.volume[:, -1] for one in singles])
    probabilities = torch.stack([one.probability[:, :, :12] for one in singles])
    assert torch.allclose(torch.sigmoid(logits), probabilities, atol=1e-5)
    assert torch.allclose(prediction.probability[:, :, :12], torch.sigmoid(logits.mean(0)), atol=1e-5)
    assert not prediction.probability[:, :, 12:].any()
    assert torch.allclose(prediction.mask_probability, torch.stack([one.mask_probability for one in singles]).mean(0))
    total = prediction.view_weights.sum(1)
    assert torch.allclose(total[total > 0], torch.ones(()), atol=1e-4)


@torch.no_grad()
def test_calibration_scales_the_logits_and_is_stored_with_the_weights(batch):
    model = build(2)
    before = torch.logit(model(batch.views, batch.cameras).probability[:, :, :12])
    model.calibrate(0.5, -0.2)
    points = torch.rand(len(batch.views), 40, 3) * torch.tensor([1.0, 0.375, 1.0])
    prediction = model(batch.views, batch.cameras, points)
    assert torch.allclose(torch.logit(prediction.probability[:, :, :12]), 0.5 * before - 0.2, atol=1e-4)
    assert prediction.point_logits.shape == (len(points), 40)
    fine = model.enlarged(prediction.coarse_state, 64, 0.5)
    assert fine.shape == (len(points), 64, 64, 64) and not fine[:, :, 24:].any()
    copy = Ensemble(CONFIG, 2, 4)
    copy.load_state_dict(model.state_dict())
    assert torch.equal(copy.eval()(batch.views, batch.cameras).probability, prediction.probability)
