"""Networks of rays asked together."""

from __future__ import annotations

import pytest
import torch

from p2vlib import models, training
from p2vlib.data import dataset
from p2vlib.training import batches
from p2vtools.fit.ensemble import Ensemble

TINY = models.configure("rays", encoder=(4, 4, 4, 4), features=4, volume=(4, 4, 4), height=0.375)


@pytest.fixture(scope="module")
def batch(smoke) -> batches.Batch:
    feet = dataset.load_feet(smoke.config, "phone").select(light="drift")
    return batches.sample_batch(feet, training.Training(batch=6, views=3), 1)


def build(members: int) -> Ensemble:
    torch.manual_seed(0)
    return Ensemble(TINY, members, 4).eval()


@torch.no_grad()
def test_the_answer_is_the_mean_of_the_members_logits(batch):
    model = build(2)
    said = model(batch.views, batch.cameras)
    alone = [member(batch.views, batch.cameras) for member in model.members]
    logits = torch.stack([torch.logit(one.probability[:, :, :12]) for one in alone]).mean(0)
    assert torch.allclose(said.probability[:, :, :12], torch.sigmoid(logits), atol=1e-5)
    assert not said.probability[:, :, 12:].any()
    assert torch.allclose(said.mask_probability, (alone[0].mask_probability + alone[1].mask_probability) / 2)
    assert torch.allclose(said.view_weights.sum(1)[said.view_weights.sum(1) > 0], torch.ones(()), atol=1e-4)


@torch.no_grad()
def test_one_member_is_that_network(batch):
    model = build(1)
    said, alone = model(batch.views, batch.cameras), model.members[0](batch.views, batch.cameras)
    assert torch.allclose(said.probability, alone.probability, atol=1e-6)


@torch.no_grad()
def test_it_is_calibrated_as_a_whole_and_the_finer_answer_with_it(batch):
    model = build(2)
    before = torch.logit(model(batch.views, batch.cameras).probability[:, :, :12])
    model.calibrate(0.5, -0.2)
    points = torch.rand(len(batch.views), 40, 3) * torch.tensor([1.0, 0.375, 1.0])
    said = model(batch.views, batch.cameras, points)
    assert torch.allclose(torch.logit(said.probability[:, :, :12]), 0.5 * before - 0.2, atol=1e-4)
    assert said.point_logits.shape == (len(points), 40)
    large = model.enlarged(said.coarse_state, 64, 0.5)
    assert large.shape == (len(points), 64, 64, 64) and not large[:, :, 24:].any()
    again = Ensemble(TINY, 2, 4)
    again.load_state_dict(model.state_dict())
    assert torch.equal(again.eval()(batch.views, batch.cameras).probability, said.probability), "it is kept with it"
