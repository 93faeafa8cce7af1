"""Measures of a reconstruction, corrected and with their intervals."""

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
from p2vtools.fit.uncertainty import CALIBRATED_SIZE, CALIBRATION_KEY, MEASURE_NAMES
from p2vtools.study import model_card


def made_up(rng: np.random.Generator, feet: int, softness: float = 0.0) -> pd.DataFrame:
    """Readings that are 5 mm short, and ``softness`` times their change with the surface, and off by half of their
    scales."""
    scale, surface = rng.uniform(1, 4, feet), rng.uniform(3, 8, feet)
    truth = rng.normal(250, 12, feet)
    value = truth - 5 - softness * surface + 0.5 * scale * rng.normal(size=feet)
    return pd.DataFrame({"measure": "length", "value": value, "surface": surface, "scale": scale, "truth": truth})


@pytest.mark.parametrize("softness", [0.0, 2.0])
def test_corrections_and_factors_are_those_that_were_put_in(softness):
    known = uncertainty.fit_calibration(made_up(np.random.default_rng(1), 4000, softness))["length"]
    assert known["correction, mm"] + 5.5 * known["softness"] == pytest.approx(5.0 + 5.5 * softness, abs=0.1)
    assert known["softness"] == pytest.approx(softness, abs=0.05)
    assert known["factor"] == pytest.approx(0.5 * 1.645, abs=0.05), "nine of ten normal errors"


def test_intervals_hold_for_whom_they_were_not_made():
    rng = np.random.default_rng(2)
    inside = []
    for _ in range(60):
        known = uncertainty.fit_calibration(made_up(rng, 120))
        inside.append(model_card.measure_errors(made_up(rng, 80), known)["length"]["inside"])
    assert np.mean(inside) == pytest.approx(0.9, abs=0.02)


def test_the_card_says_how_measures_are_corrected_and_how_sure_they_are(weights):
    assert set(weights.card[CALIBRATION_KEY]) == set(MEASURE_NAMES)
    for title, rows in weights.card["measures, mm"].items():
        assert set(rows) == {name.replace("_", " ") for name in MEASURE_NAMES}, title
        assert np.mean([row["inside"] for row in rows.values()]) > 0.87 and rows["length"]["inside"] > 0.87, title


def test_a_foot_is_measured_with_its_interval(weights, right_foot):
    shots, truth = read_photo_set(right_foot), model_card.true_capture_measures(right_foot)
    foot = reconstruct.reconstruct(weights, shots, CALIBRATED_SIZE, "given")
    known = uncertainty.measure_with_intervals(weights, shots, foot)
    assert set(known.half_widths) == set(MEASURE_NAMES) and known.measures.arch_height is None, (
        "its sole was never seen"
    )
    for name in MEASURE_NAMES:
        assert 1 < known.half_widths[name] < 25, name
        assert getattr(known.measures, name) == pytest.approx(truth[name], abs=2.5 * known.half_widths[name]), name
    # A coarser answer is measured at the same voxels.
    coarse = uncertainty.measure_with_intervals(weights, shots, reconstruct.reconstruct(weights, shots, 32, "given"))
    assert coarse.measures.length == pytest.approx(known.measures.length, abs=0.01)
    # Two photos tell no halves apart, and cameras noted by hand are another matter.
    few = replace(shots, photos=shots.photos[:2], cameras=shots.cameras[:2], names=shots.names[:2])
    assert not uncertainty.measure_with_intervals(weights, few, foot).half_widths
    assert not uncertainty.measure_with_intervals(weights, shots, foot, "noted").half_widths


def test_wrong_cameras_make_it_less_sure(weights, right_foot):
    shots, rng = read_photo_set(right_foot), np.random.default_rng(3)
    scales = []
    for degrees, metres in ((0.0, 0.0), (1.5, 0.006)):
        wrong = model_card.perturb_cameras(shots, degrees, metres, rng)
        foot = reconstruct.reconstruct(weights, wrong, 32, "given")
        scales.append(uncertainty.uncalibrated_measures(weights, wrong, foot).photos.mean())
    assert scales[1] > scales[0]


def test_the_command_tells_the_interval(right_foot, tmp_path, capsys):
    copy = Path(shutil.copytree(right_foot, tmp_path / "capture"))
    assert main(["reconstruct", str(copy), "--out", str(tmp_path / "foot.obj"), "--placement", "given"]) == 0
    told = capsys.readouterr().out
    assert "mm (± " in told.split("length", 1)[1].split(",", 1)[0] and "Mondopoint" in told


def test_calibrating_renews_the_card(weights, right_foot, tmp_path):
    path, rng = tmp_path / "some.safetensors", np.random.default_rng(4)
    bare = {key: value for key, value in weights.card.items() if key != CALIBRATION_KEY}
    pretrained.save_pretrained(path, weights.model, bare, weights.typical_foot)
    told = model_card.calibrate_card(path, made_up(rng, 120), {"others": made_up(rng, 80)})
    assert json.loads(path.with_suffix(".json").read_text()) == {**bare, **told}
    assert pretrained.load_pretrained(path).card[CALIBRATION_KEY]["length"]["correction, mm"] == pytest.approx(
        5, abs=0.5
    )
    assert abs(told["measures, mm"]["others"]["length"]["mean"]) < 0.5
    rows = model_card.measure_captures(weights, [right_foot])
    assert rows.measure.tolist() == list(MEASURE_NAMES) and not rows.isna().any(axis=None)
    assert rows.truth.tolist() == [model_card.true_capture_measures(right_foot)[name] for name in MEASURE_NAMES]
