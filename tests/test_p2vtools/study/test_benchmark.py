"""The evaluation of all that leads from a phone to a shoe size: a twentieth of it, and what its tables say."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from p2vlib import config
from p2vtools.cli import main
from p2vtools.fit.measure import HALF_SIZE
from p2vtools.fit.reconstruct import pose_matrix
from p2vtools.study.benchmark import captures, meshes, run, scans, summary, walks


@pytest.fixture(scope="module")
def rows() -> dict[str, pd.DataFrame]:
    """One person on a mat by four photos, and both feet of two people."""
    parts = [captures.evaluate_capture(12, views=4)]
    parts += [meshes.evaluate_meshes(case) for case in range(2)]
    names = {name for part in parts for name in part}
    return {name: pd.concat([part[name] for part in parts if name in part]) for name in names}


def test_photos_on_a_mat_are_placed(rows):
    photos = rows["photos"]
    assert len(photos) == 4 and photos.solved.all() and (photos.board > summary.MIN_BOARD_SHARE).all()
    # Four photos calibrate a lens less well than the eight of an evaluation.
    assert photos.mm.max() < 8 and photos.degrees.max() < 0.5 and photos.focal.abs().max() < 0.01


def test_photos_become_a_foot_of_about_its_size(rows):
    fits = rows["fits"]
    assert set(fits.way) >= {"mat", "exact"} and set(fits.views) >= {1, 2, 4}
    most = fits[(fits.views == 4) & (fits.measure == "length")]
    assert (most.iou > 0.75).all() and ((most.found - most.truth).abs() < 12).all()
    one = fits[(fits.way == "mat") & (fits.views == 1)]
    assert one.iou.max() < most.iou.max()


def test_clean_meshes_are_measured_as_their_landmarks_say(rows):
    off = rows["meshes"].assign(off=lambda table: (table.found - table.truth).abs())
    lengths, girths = (off[off.measure.str.contains("girth") == which] for which in (False, True))
    assert lengths.off.median() < 0.5 and (girths.off / girths.truth).median() < 0.01


def test_the_people_are_nobody_elses():
    feet, objects = config.FeetData(), config.ObjectData()
    assert walks.SEED not in {feet.train_seed, feet.validation_seed, feet.test_seed, objects.train_seed}


def test_a_row_says_what_was_done_and_what_came_of_it():
    parts = scans.evaluate_scan(1)
    rows, fits = parts["scans"], parts["fits"].set_index("measure")
    assert abs(fits.found - fits.truth)["length"] < 15 and (fits.way == "scan").all()
    assert rows.side.tolist() == ["right"]
    for row in rows.to_dict("records"):
        assert not row["refused"] and row["iou"] > 0.6 and row["side right"] and row["unit right"], row
        assert abs(row["yaw error"]) < 8 and 0 <= row["tilt error"] < 8 and row["seconds"] > 0


def test_a_turn_about_the_vertical_is_yaw_whatever_the_size():
    assert scans.yaw_and_tilt(3 * pose_matrix(-12.0, np.zeros(3))) == pytest.approx((12.0, 0.0), abs=1e-5)


def test_rows_are_read_as_they_were_written(tmp_path):
    """Of two scans one was refused, and a file knows it as well as memory does."""
    facts = {"tilt": 0.0, "floor": "none", "yaw error": 1.0, "tilt error": 1.0, "side right": True, "unit right": True}
    rows = pd.DataFrame(
        [{**facts, "case": case, "iou": 0.9, "refused": why} for case, why in enumerate(["", "no foot"])]
    )
    for part in summary.PARTS:
        rows.to_csv(tmp_path / f"{part}.csv", index=False)
    table = scans.scan_table(summary.read_rows(tmp_path)["scans"]).set_index(["of", "measure"])
    assert table.loc[("all", "refused, share"), "value"] == 0.5
    with pytest.raises(FileNotFoundError, match="make evaluate"):
        summary.read_rows(tmp_path / "none")


def test_what_is_refused_counts_as_nothing_found():
    good = {"tilt": 0.0, "floor": "none", "tilt error": 1.0, "side right": True, "unit right": True, "refused": ""}
    rows = [{**good, "case": case, "iou": 0.9, "yaw error": (-1.0) ** case} for case in range(9)]
    bad = {"iou": 0.0, "yaw error": np.nan, "side right": False, "unit right": False, "refused": "no foot"}
    table = scans.scan_table(pd.DataFrame([*rows, {**good, "case": 9, **bad}])).set_index(["of", "measure"])
    assert table.loc[("all", "IoU at 64, median"), "value"] == pytest.approx(0.9)
    assert table.loc[("all", "side right, share"), "value"] == pytest.approx(0.9)
    assert table.loc[("all", "refused, share"), "value"] == pytest.approx(0.1)
    assert table.loc[("all", "yaw error, median degrees"), "value"] == pytest.approx(1.0)
    low, high = table.loc[("no floor", "side right, share"), ["low", "high"]]
    assert low < 0.9 < high <= 1 and ("floor", "side right, share") not in table.index


# --------------------------------------------------------------------------------------------------------------- tables


def table_of(found: list[float], truth: float = 250.0) -> pd.DataFrame:
    return pd.DataFrame({"way": "mat", "views": 8, "measure": "length", "truth": truth, "found": found})


def test_errors_are_bias_median_and_percentile():
    told = summary.error_table(table_of([251.0, 247.0, 250.0, 254.0]), ("way", "views")).iloc[0]
    assert told.people == 4 and told.bias == pytest.approx(0.5) and told["median"] == pytest.approx(2.0)
    assert told["95th percentile"] == pytest.approx(np.quantile([1, 3, 0, 4], 0.95))


def test_sizes_are_right_to_a_half_or_to_one():
    middle = 59 * HALF_SIZE
    told = summary.size_table(table_of([middle, middle + HALF_SIZE, middle - 2 * HALF_SIZE, np.nan], middle)).iloc[0]
    assert told.tolist() == [25, 50, 75]


def test_photos_are_told_by_how_much_of_the_board_they_show():
    photos = pd.DataFrame({"board": [0.1, 0.4, 0.6, 0.9], "solved": [False, True, True, False], "mat": "a3"})
    photos = photos.assign(mm=[np.nan, 1, 3, np.nan], degrees=0.1, focal=[np.nan, 0.001, -0.002, np.nan])
    told = summary.pose_table(photos)
    assert told.loc["30 % and more", "solved, %"] == pytest.approx(200 / 3)
    assert told.loc["under 30 %", "solved, %"] == 0 and told.loc["30 % and more", "centre, median mm"] == 2
    assert told.loc["30 % and more", "focal length, largest error %"] == pytest.approx(0.2)


# ------------------------------------------------------------------------------------------------------------ the whole


def test_an_evaluation_goes_on_where_it_was_stopped(tmp_path, monkeypatch, capsys):
    """Cases that were done are read again; the page and the rows are those of all cases."""
    monkeypatch.setattr(run, "home", lambda: tmp_path)
    monkeypatch.setattr(run, "CASES", {"meshes": 2})
    monkeypatch.setattr(run.summary, "PARTS", ("meshes",))
    monkeypatch.setattr(
        run.summary, "summary_tables", lambda rows: {"Measuring": summary.error_table(rows["meshes"], ("measure",))}
    )
    first = run.run_benchmark(0.5, tmp_path / "half", workers=1)
    kept = sorted((tmp_path / ".runs" / "evaluate").rglob("*.json"))
    assert len(kept) == 1 and "| length |" in (first / "README.md").read_text()
    before = kept[0].stat().st_mtime_ns
    whole = run.run_benchmark(1.0, tmp_path / "whole", workers=1)
    assert kept[0].stat().st_mtime_ns == before and len(pd.read_csv(whole / "meshes.csv").case.unique()) == 2
    assert main(["evaluate", "--share", "0"]) == 1
    assert "share is 0.0; expected above 0 and at most 1" in capsys.readouterr().err
