import pytest
import torch

from p2vlib import models
from p2vlib.models.attsets import AttentionPooling
from p2vlib.models.r2n2 import ConvGRU, _unpool


def test_published_parameter_count():
    with torch.device("meta"):
        model = models.build("3d-r2n2")
    assert sum(parameter.numel() for parameter in model.parameters()) == 35_968_706


@pytest.mark.parametrize("name", ["3d-r2n2-narrow", "attsets-narrow"])
def test_batch_norms_let_different_photos_give_different_volumes(name):
    spread = {}
    for norm in (False, True):
        torch.manual_seed(0)
        model, photos = models.build(name, norm=norm).train(), torch.rand(8, 1, 3, 96, 96)
        with torch.no_grad():
            volumes = model(photos * torch.rand(8, 1, 3, 1, 1)).probability
        spread[norm] = (volumes.std(0).mean() / volumes.std()).item()
    assert spread[True] > 0.3 > spread[False]


def test_a_gru_by_hand():
    """With zero kernels and a state of zero: u = s(xu), h' = u tanh(xc); a closed gate keeps the state."""
    torch.manual_seed(1)
    gru, features = ConvGRU(3, 2), torch.rand(1, 1, 3)
    for layer in (gru.gates, gru.candidate):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    inputs = gru.from_input(features[:, 0]).unflatten(1, (6, 4, 4, 4))
    assert torch.allclose(gru(features), torch.sigmoid(inputs[:, :2]) * torch.tanh(inputs[:, 4:]), atol=1e-6)
    torch.nn.init.zeros_(gru.from_input.weight)
    torch.nn.init.constant_(gru.gates.bias, -30.0)
    assert gru(torch.rand(1, 5, 3)).abs().max() < 1e-6


def test_attsets_and_unpooling_by_hand():
    # Scores of zero give the mean; a score far above the others gives its view all the weight.
    attention, features = AttentionPooling(2), torch.tensor([[[1.0, 4.0], [3.0, 0.0]]])
    torch.nn.init.zeros_(attention.score.weight)
    assert attention(features)[0].tolist() == [[2.0, 2.0]]
    attention.score.weight.data = torch.tensor([[50.0, 0.0], [0.0, 50.0]])
    pooled, weights = attention(features)
    assert torch.allclose(pooled, torch.tensor([[3.0, 4.0]])) and torch.allclose(weights.sum(1), torch.ones(1, 2))
    grid = torch.arange(1.0, 9).reshape(1, 1, 2, 2, 2)
    grown = _unpool(grid)
    assert grown.shape == (1, 1, 4, 4, 4) and torch.equal(grown[..., ::2, ::2, ::2], grid)
    assert grown.sum() == grid.sum()
