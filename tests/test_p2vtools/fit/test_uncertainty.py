"""Corrected measurements of a reconstruction, and their intervals."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from p2vlib.data.capture_folder import read_photo_set
from p2vtools.cli import main
from p2vtools.fit import pretrained, reconstruct, uncertainty
from p2vtools.fit.measure import measure_foot
from p2vtools.fit.uncertainty import CALIBRATED_SIZE, CALIBRATION_KEY, MEASURE_NAMES
from p2vtools.study import model_card


def simulated_rows(rng: np.random.Generator, feet: int, softness: float = 0.0) -> pd.DataFrame:
    """Lengths with a bias of -5 mm - ``softness`` * surface, and normal errors of half the scale."""
    scale, surface = rng.uniform(1, 4, feet), rng.uniform(3, 8, feet)
    truth = rng.normal(250, 12, feet)
    value = truth - 5 - softness * surface + 0.5 * scale * rng.normal(size=feet)
    return pd.DataFrame({"measure": "length", "value": value, "surface": surface, "scale": scale, "truth": truth})


@pytest.mark.parametrize("softness", [0.0, 2.0])
def test_calibration_recovers_bias_and_factor(softness):
    length = uncertainty.fit_calibration(simulated_rows(np.random.default_rng(1), 4000, softness))["length"]
    assert length["correction, mm"] + 5.5 * length["softness"] == pytest.approx(5.0 + 5.5 * softness, abs=0.1)
    assert length["softness"] == pytest.approx(softness, abs=0.05)
    assert length["factor"] == pytest.approx(0.5 * 1.645, abs=0.05), "90 % of normal errors"


def test_coverage_on_other_feet():
    rng, coverage = np.random.default_rng(2), []
    for _ in range(60):
        calibration = uncertainty.fit_calibration(simulated_rows(rng, 120))
        coverage.append(model_card.measure_errors(simulated_rows(rng, 80), calibration)["length"]["inside"])
    assert np.mean(coverage) == pytest.approx(0.9, abs=0.02)


def test_card_holds_the_calibration_and_its_coverage(weights):
    calibrated = set(weights.card[CALIBRATION_KEY])
    assert {"length", "ball_breadth", "ball_girth"} <= calibrated <= set(MEASURE_NAMES)
    for title, rows in weights.card["measures, mm"].items():
        assert set(rows) == {name.replace("_", " ") for name in calibrated}, title
        assert np.mean([row["inside"] for row in rows.values()]) > 0.87 and rows["length"]["inside"] > 0.87, title


def test_measurements_of_a_reconstruction(weights, right_foot):
    photo_set, truth = read_photo_set(right_foot), model_card.true_capture_measures(right_foot)
    foot = reconstruct.reconstruct(weights, photo_set, CALIBRATED_SIZE, "given")
    result = uncertainty.measure_with_intervals(weights, photo_set, foot)
    assert set(result.half_widths) == set(weights.card[CALIBRATION_KEY]) and result.measures.arch_height is None
    for name in result.half_widths:
        assert 1 < result.half_widths[name] < 25, name
        assert getattr(result.measures, name) == pytest.approx(truth[name], abs=2.5 * result.half_widths[name]), name
    coarse_foot = reconstruct.reconstruct(weights, photo_set, 32, "given")
    coarse = uncertainty.measure_with_intervals(weights, photo_set, coarse_foot)
    assert coarse.measures.length == pytest.approx(result.measures.length, abs=0.01), "measured at the same size"
    without_length = {name: row for name, row in weights.card[CALIBRATION_KEY].items() if name != "length"}
    partial = replace(weights, card={**weights.card, CALIBRATION_KEY: without_length})
    uncalibrated = uncertainty.measure_with_intervals(partial, photo_set, foot)
    assert uncalibrated.measures.length == pytest.approx(measure_foot(foot.mesh, photo_set.side)[0].length)
    assert "length" not in uncalibrated.half_widths and uncalibrated.half_widths["ball_girth"] > 1
    two_photos = photo_set.subset([0, 1])
    assert not uncertainty.measure_with_intervals(weights, two_photos, foot).half_widths
    assert not uncertainty.measure_with_intervals(weights, photo_set, foot, "noted").half_widths


def test_wrong_cameras_increase_the_uncertainty(weights, right_foot):
    photo_set, rng = read_photo_set(right_foot), np.random.default_rng(3)
    scales = []
    for degrees, metres in ((0.0, 0.0), (1.5, 0.006)):
        noisy = model_card.perturb_cameras(photo_set, degrees, metres, rng)
        foot = reconstruct.reconstruct(weights, noisy, 32, "given")
        scales.append(uncertainty.uncalibrated_measures(weights, noisy, foot).photos.mean())
    assert scales[1] > scales[0]


def test_reconstruct_command_prints_the_interval(right_foot, tmp_path, capsys):
    folder = Path(shutil.copytree(right_foot, tmp_path / "capture"))
    assert main(["reconstruct", str(folder), "--out", str(tmp_path / "foot.obj"), "--placement", "given"]) == 0
    output = capsys.readouterr().out
    assert "mm (± " in output.split("length", 1)[1].split(",", 1)[0] and "Mondopoint" in output


def test_calibrate_updates_the_card(weights, right_foot, tmp_path):
    path, rng = tmp_path / "some.safetensors", np.random.default_rng(4)
    card = {key: value for key, value in weights.card.items() if key != CALIBRATION_KEY}
    pretrained.save_pretrained(path, weights.model, card, weights.typical_foot)
    entries = model_card.calibrate_card(path, simulated_rows(rng, 120), {"others": simulated_rows(rng, 80)})
    assert json.loads(path.with_suffix(".json").read_text()) == {**card, **entries}
    calibration = pretrained.load_pretrained(path).card[CALIBRATION_KEY]
    assert calibration["length"]["correction, mm"] == pytest.approx(5, abs=0.5)
    assert abs(entries["measures, mm"]["others"]["length"]["mean"]) < 0.5
    rows = model_card.measure_captures(weights, [right_foot])
    assert rows.measure.tolist() == list(MEASURE_NAMES) and not rows.isna().any(axis=None)
    assert rows.truth.tolist() == [model_card.true_capture_measures(right_foot)[name] for name in MEASURE_NAMES]
