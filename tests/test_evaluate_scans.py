"""The table of cleaned scans and what it says in a few numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from p2vlib import config
from p2vlib.evaluate.scans import POPULATION, scans, summary, turned
from p2vlib.inference import pose_of


def test_the_people_are_nobody_elses():
    feet, objects = config.FeetData(), config.ObjectData()
    assert POPULATION not in {feet.train_seed, feet.validation_seed, feet.test_seed, objects.train_seed}


def test_a_row_says_what_was_done_and_what_came_of_it():
    rows = scans(2, workers=1)
    assert rows.side.tolist() == ["left", "right"] and rows.person.nunique() == 2
    for row in rows.to_dict("records"):
        assert not row["refused"] and row["iou"] > 0.6 and row["side right"] and row["unit right"], row
        assert abs(row["yaw error"]) < 8 and 0 <= row["tilt error"] < 8 and row["seconds"] > 0


def test_a_turn_about_the_vertical_is_yaw_whatever_the_size():
    assert turned(3 * pose_of(-12.0, np.zeros(3))) == pytest.approx((12.0, 0.0), abs=1e-5)


def test_what_is_refused_counts_as_nothing_found():
    good = {"tilt": 0.0, "floor": "none", "tilt error": 1.0, "side right": True, "unit right": True, "refused": ""}
    rows = [{**good, "case": case, "iou": 0.9, "yaw error": (-1.0) ** case} for case in range(9)]
    bad = {"iou": 0.0, "yaw error": np.nan, "side right": False, "unit right": False, "refused": "no foot"}
    table = summary(pd.DataFrame([*rows, {**good, "case": 9, **bad}])).set_index(["of", "measure"])
    assert table.loc[("all", "IoU at 64, median"), "value"] == pytest.approx(0.9)
    assert table.loc[("all", "side right, share"), "value"] == pytest.approx(0.9)
    assert table.loc[("all", "refused, share"), "value"] == pytest.approx(0.1)
    assert table.loc[("all", "yaw error, median degrees"), "value"] == pytest.approx(1.0)
    low, high = table.loc[("no floor", "side right, share"), ["low", "high"]]
    assert low < 0.9 < high <= 1 and ("floor", "side right, share") not in table.index
