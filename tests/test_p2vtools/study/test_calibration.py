"""Probabilities that mean what they say."""

from __future__ import annotations

import pytest
import torch

from p2vtools.study import calibration


def overconfident(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Logits that are three times too large and one too high, the truth drawn from what they should have been."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(20, 16, 16, 16, generator=generator)
    truth = torch.rand(logits.shape, generator=generator) < torch.sigmoid(logits)
    return torch.sigmoid(3 * logits + 1), truth, torch.sigmoid(logits)


def test_reliability_table_by_hand():
    volume = torch.tensor([0.05, 0.05, 0.93, 0.97, 1.0]).view(1, 1, 1, 5)
    table = calibration.reliability_table(volume, torch.tensor([False, True, True, True, False]).view(1, 1, 1, 5))
    assert table.voxels.tolist() == [2, 3] and table.occupied.tolist() == pytest.approx([0.5, 2 / 3])
    assert table.predicted.tolist() == pytest.approx([0.05, 2.9 / 3], abs=1e-6)


def test_the_fitted_line_inverts_a_distortion_of_the_logits():
    volumes, truth, right = overconfident()
    slope, offset = calibration.fit_calibration(volumes, truth)
    assert slope == pytest.approx(1 / 3, rel=0.05) and offset == pytest.approx(-1 / 3, abs=0.05)
    mended = torch.sigmoid(slope * torch.logit(volumes, eps=1e-7) + offset)
    before, after = (
        calibration.expected_calibration_error(calibration.reliability_table(v, truth)) for v in (volumes, mended)
    )
    assert before > 0.1 > 0.02 > after and torch.allclose(mended, right, atol=0.05)


def test_voxels_without_prediction_are_left_out():
    volumes, truth, _ = overconfident()
    above = torch.cat([volumes, torch.zeros_like(volumes)], 2)
    wide = torch.cat([truth, torch.ones_like(truth)], 2)
    assert calibration.fit_calibration(above, wide) == pytest.approx(calibration.fit_calibration(volumes, truth))
