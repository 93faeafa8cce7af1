"""Probabilities that mean what they say."""

from __future__ import annotations

import pytest
import torch

from p2vlib import calibration, models


def overconfident(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits that are three times too large and one too high, the truth drawn from what they should have been."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(20, 16, 16, 16, generator=generator)
    truth = torch.rand(logits.shape, generator=generator) < torch.sigmoid(logits)
    return torch.sigmoid(3 * logits + 1), truth, torch.sigmoid(logits)


def test_reliability_counts_by_tenths():
    volume = torch.tensor([0.05, 0.05, 0.93, 0.97, 1.0]).view(1, 1, 1, 5)
    table = calibration.reliability(volume, torch.tensor([False, True, True, True, False]).view(1, 1, 1, 5))
    assert table.voxels.tolist() == [2, 3] and table.occupied.tolist() == pytest.approx([0.5, 2 / 3])
    assert table.predicted.tolist() == pytest.approx([0.05, 2.9 / 3], abs=1e-6)


def test_the_line_is_the_one_that_makes_them_true():
    volumes, truth, right = overconfident()
    slope, offset = calibration.fitted(volumes, truth)
    assert slope == pytest.approx(1 / 3, rel=0.05) and offset == pytest.approx(-1 / 3, abs=0.05)
    mended = torch.sigmoid(slope * torch.logit(volumes, eps=1e-7) + offset)
    before, after = (calibration.expected_error(calibration.reliability(v, truth)) for v in (volumes, mended))
    assert before > 0.1 > 0.02 > after and torch.allclose(mended, right, atol=0.05)


def test_what_was_never_asked_does_not_count():
    volumes, truth, _ = overconfident()
    above = torch.cat([volumes, torch.zeros_like(volumes)], 2)
    wide = torch.cat([truth, torch.ones_like(truth)], 2)
    assert calibration.fitted(above, wide) == pytest.approx(calibration.fitted(volumes, truth))


def test_a_calibrated_network_says_so_itself():
    torch.manual_seed(0)
    model = models.build("rays", encoder=(4, 4, 4, 4), features=4, volume=(4, 4, 4)).eval()
    views = torch.rand(1, 2, 3, 96, 96)
    cameras = torch.eye(3, 7).expand(1, 2, 3, 7).clone()
    cameras[..., :3, 3:6] = torch.eye(3)
    cameras[..., :2, 6], cameras[..., 2, 6] = -0.5, 2.0
    before = torch.logit(model(views, cameras).probability)
    model.calibrate(0.5, 0.25)
    assert torch.allclose(torch.logit(model(views, cameras).probability), 0.5 * before + 0.25, atol=1e-4)
