"""How views are put together: one alone, two by hand, and on a coarser grid."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from p2vlib.models.pix2vox import ContextAwareFusion, MeanFusion


@torch.no_grad()
def test_fusion_by_hand() -> None:
    merger = ContextAwareFusion(1, (1,)).eval()
    convolution, norm, _ = merger.layer1
    nn.init.dirac_(convolution.weight)
    convolution.bias.zero_()
    norm.eps = 0.0
    raw = torch.tensor([0.0, 3.0]).log1p().view(2, 1, 1, 1, 1)  # scores 0 and ln 4: weights .2 and .8
    volumes = torch.tensor([[0.5, 1.0]]).view(1, 2, 1, 1, 1)
    fused, weights = merger(raw, volumes)
    assert weights.flatten().tolist() == pytest.approx([0.2, 0.8])
    assert fused.item() == pytest.approx(0.2 * 0.5 + 0.8 * 1.0)
    assert MeanFusion()(raw, volumes)[0].item() == pytest.approx(0.75)


@torch.no_grad()
def test_scores_of_a_coarser_grid_count_for_all_their_voxels() -> None:
    torch.manual_seed(4)
    merger = ContextAwareFusion(3, (2, 1), 2).eval()
    _, weights = merger(torch.rand(4, 3, 8, 8, 8), torch.rand(2, 2, 8, 8, 8))
    coarse = weights[..., ::2, ::2, ::2]
    assert torch.equal(weights, coarse.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4))
    assert coarse.std() > 0 and torch.allclose(weights.sum(1), torch.ones(2, 8, 8, 8), atol=1e-6)
