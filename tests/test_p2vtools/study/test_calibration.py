import pytest
import torch

from p2vtools.study import calibration, systems
from tests.test_p2vlib.evaluation.test_evaluation import captures
from tests.test_p2vtools.study.test_experiments import trained


def test_reliability_table_by_hand():
    volume = torch.tensor([0.05, 0.05, 0.93, 0.97, 1.0]).view(1, 1, 1, 5)
    table = calibration.reliability_table(volume, torch.tensor([False, True, True, True, False]).view(1, 1, 1, 5))
    assert table.voxels.tolist() == [2, 3] and table.occupied.tolist() == pytest.approx([0.5, 2 / 3])
    assert table.predicted.tolist() == pytest.approx([0.05, 2.9 / 3], abs=1e-6)


def test_the_fitted_line_inverts_a_distortion_of_the_logits_without_voxels_outside():
    """Logits that are three times too large and one too high, the truth drawn from what they should have been."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(20, 16, 16, 16, generator=generator)
    volumes, right = torch.sigmoid(3 * logits + 1), torch.sigmoid(logits)
    truth = torch.rand(logits.shape, generator=generator) < right
    slope, offset = calibration.fit_calibration(volumes, truth)
    assert slope == pytest.approx(1 / 3, rel=0.05) and offset == pytest.approx(-1 / 3, abs=0.05)
    mended = torch.sigmoid(slope * torch.logit(volumes, eps=1e-7) + offset)
    before, after = (
        calibration.expected_calibration_error(calibration.reliability_table(v, truth)) for v in (volumes, mended)
    )
    assert before > 0.1 > 0.02 > after and torch.allclose(mended, right, atol=0.05)
    above = torch.cat([volumes, torch.zeros_like(volumes)], 2)
    wide = torch.cat([truth, torch.ones_like(truth)], 2)
    assert calibration.fit_calibration(above, wide) == pytest.approx((slope, offset))


def test_probabilities_of_the_systems_are_calibrated_on_validation(monkeypatch):
    fitted, test, validation = [], captures(2), captures(4)
    test.photos[:, :, :3], validation.photos[:, :, :3] = 100, 150
    monkeypatch.setattr(systems.calibration, "fit_calibration", lambda _, truth: fitted.append(truth) or (1.0, 0.0))
    tables, _, errors = systems.calibration_report({"n": trained()}, test, validation, 4)
    assert len(fitted) == 1 and fitted[0] is validation.truth
    assert set(tables) == set(errors) == {"n", "n, calibrated"} and tables["n"].voxels.sum() == 2 * 32**3
