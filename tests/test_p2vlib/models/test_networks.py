"""What holds for every network, a few channels wide."""

import pytest
import torch
from torch import nn

from p2vlib import models
from p2vlib.training.losses import training_loss
from tests.test_p2vlib.training.test_training import DEVICES, SMALL_NETWORKS, build, data_with_cameras

FUSION = {"merger", "recurrent", "score"}
"""Parts that a single view may give no gradient."""


def build_drawn(name: str) -> nn.Module:
    """A network whose recurrence changes something from the start."""
    model = build(name, seed=3)
    if name == "pix2vox-lstm-narrow":
        nn.init.normal_(model.recurrent.expansion.weight)  # it starts at zero
    return model


def photos(views: int) -> torch.Tensor:
    return torch.rand(2, views, 3, 32, 32, generator=torch.Generator().manual_seed(5))


def cameras(model: nn.Module, views: int, device: str = "cpu") -> torch.Tensor | None:
    return data_with_cameras().cameras[:2, torch.arange(views) % 4].to(device) if model.needs_cameras else None


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("views", [1, 3])
@pytest.mark.parametrize("name", SMALL_NETWORKS)
def test_a_training_step_reduces_the_loss_and_reaches_every_parameter(name, views, device):
    model, inputs = build_drawn(name).to(device).train(), photos(views).to(device).requires_grad_()
    known, optimizer = cameras(model, views, device), torch.optim.Adam(model.parameters(), 1e-2)
    truth = torch.zeros(2, 32, 32, 32, dtype=torch.bool, device=device)
    truth[:, 4:28, :12, 10:20] = True
    losses = []
    for _ in range(2):
        optimizer.zero_grad()
        batch = models.Batch(inputs, known, truth, known, generator=torch.Generator().manual_seed(0))
        losses.append(training_loss(model, model(inputs, known), batch))
        losses[-1].backward()
        optimizer.step()
    assert losses[1] < losses[0]
    used = 1 if name == "psgn-narrow" else views
    assert inputs.grad.flatten(2).any(2).tolist() == [[view < used for view in range(views)]] * 2
    gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
    # The gradient of a bias before a norm is zero but for rounding.
    unreached = {
        k for k, gradient in gradients.items() if gradient is None or not (gradient.any() or k.endswith("bias"))
    }
    unreached -= {"score.bias"}  # the camera-aware network does not use it: a softmax would cancel it
    assert {key.partition(".")[0] for key in unreached} <= (FUSION if views == 1 else set()), unreached
    assert all(gradient is None or gradient.isfinite().all() for gradient in gradients.values())


@torch.no_grad()
@pytest.mark.parametrize("name", SMALL_NETWORKS)
def test_any_number_of_views_gives_weights_that_sum_to_one_and_order_free_networks_ignore_their_order(name):
    model = build_drawn(name).train()
    for module in model.modules():  # statistics of the data, so that untrained volumes differ from view to view
        if isinstance(module, (nn.BatchNorm2d, nn.BatchNorm3d)):
            module.momentum = 1.0
    model(photos(3), cameras(model, 3))
    model.eval()
    for views in (1, 2, 24):
        result = model(photos(views), cameras(model, views))
        assert result.view_weights.shape == (2, views, 32, 32, 32)
        assert result.probability.shape == result.coarse.shape == (2, 32, 32, 32)
        assert torch.allclose(result.view_weights.sum(1), torch.ones(2, 32, 32, 32), atol=1e-5)
        assert result.probability.min() >= 0 and result.probability.max() <= 1
        if views == 1:
            assert torch.equal(result.coarse, result.per_view_occupancy[:, 0])
    with torch.autocast("cpu", torch.bfloat16):
        result = model(photos(2), cameras(model, 2))
    volumes = (result.probability, result.coarse, result.per_view_occupancy, result.view_weights)
    assert {volume.dtype for volume in volumes} == {torch.float32}
    views, known, order = photos(4), cameras(model, 4), [2, 0, 3, 1]
    straight, permuted = model(views, known), model(views[:, order], None if known is None else known[:, order])
    assert model.order_free == bool((straight.coarse - permuted.coarse).abs().max() < 1e-5)
    if model.order_free:
        assert torch.allclose(straight.view_weights[:, order], permuted.view_weights, atol=1e-5)
