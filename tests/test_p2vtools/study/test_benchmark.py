import numpy as np
import pandas as pd
import pytest

from p2vlib import config
from p2vtools.__main__ import main
from p2vtools.fit.measure import HALF_SIZE
from p2vtools.fit.placement import pose_matrix
from p2vtools.study.benchmark import captures, run, scans, summary, walks

CLEANED = {"tilt": 0.0, "floor": "none", "tilt error": 1.0, "side right": True, "unit right": True, "refused": ""}
REFUSED = {"iou": 0.0, "yaw error": np.nan, "side right": False, "unit right": False, "refused": "no foot"}


@pytest.fixture(scope="module")
def rows() -> dict[str, pd.DataFrame]:
    """One person on a mat and on a plain sheet, in four grainier photos each, of which one or all are used.

    It stays the same person when new people are drawn.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(walks, "SEED", 221152481)
        patch.setattr(walks, "SHEETS", ("a4",))
        patch.setattr(captures, "VIEWS", (1, 4))
        patch.setattr(walks, "SAMPLES", 2)
        return captures.evaluate_capture(12, views=4)


def test_a_mat_gives_accurate_cameras_and_captures_give_feet_of_about_the_true_size(rows):
    photos, fits = rows["photos"], rows["fits"]
    assert photos.solved.all() and photos.mat.tolist() == ["a3"] * 4 + ["plain a4"] * 4
    assert (photos.board[:4] > summary.MIN_BOARD_SHARE).all() and photos.board[4:].isna().all()
    # Four photos calibrate the lens less accurately than the eight of the benchmark.
    assert photos.mm.max() < 8 and photos.degrees.max() < 0.5 and photos.focal.abs().max() < 0.01
    assert photos[:4].mm.max() < 4 and photos[:4].degrees.max() < 0.3
    used = {way: part.views.unique().tolist() for way, part in fits.groupby("way")}
    assert used == {"mat": [1, 4], "exact": [1, 4], "tracking": [4], "noted": [4], "sheet": [1, 4]}
    lengths = fits[fits.measure == "length"].set_index(["way", "views"])
    four = lengths.loc[[("mat", 4), ("sheet", 4), ("exact", 4), ("tracking", 4)]]
    assert (four.iou > 0.75).all() and ((four.found - four.truth).abs() < 12).all()
    assert four.verdict.isin(["good", "doubtful"]).all()
    assert lengths.iou["mat", 1] < four.iou.max() and lengths.within["noted", 4] > four.within.max()


def test_walk_does_not_share_the_random_stream_of_the_person(monkeypatch):
    """A person that takes more random numbers leaves cameras, mat and lens as they are."""
    monkeypatch.setattr(walks, "render_phone_photos", lambda *_: [])
    before, sample = walks.render_walk(3, 2), walks.sample_population
    monkeypatch.setattr(walks, "sample_population", lambda seed, *_, **options: sample(seed + 1, 1, **options))
    after = walks.render_walk(3, 2)
    assert before.foot.length != after.foot.length
    assert all(np.array_equal(a.extrinsics, b.extrinsics) for a, b in zip(before.cameras, after.cameras, strict=True))
    assert np.array_equal(before.to_mat, after.to_mat) and before.lens.distortion == after.lens.distortion
    shared = np.random.default_rng([walks.SEED, 3])
    shared = walks.sample_phone_trajectory(shared, 2, np.array([0.0, 0.05, 0.0]), pixels=walks.WIDTH)
    assert not np.allclose(shared.cameras[0].extrinsics, before.cameras[0].extrinsics)


def test_left_and_right_feet_stand_on_every_paper(monkeypatch):
    monkeypatch.setattr(walks, "render_phone_photos", lambda *_: [])
    for plain, papers in ((False, walks.PAPERS), (True, walks.SHEETS)):
        seen = {(walk.foot.side, walk.paper) for walk in (walks.render_walk(case, 1, plain) for case in range(8))}
        assert len(seen) == 2 * len(papers), "each side on each paper"


def test_measures_of_clean_meshes_agree_with_landmarks():
    rows = pd.concat([scans.evaluate_meshes(case)["meshes"] for case in range(2)])
    error, is_girth = (rows.found - rows.truth).abs(), rows.measure.str.contains("girth")
    assert error[~is_girth].median() < 0.5 and (error / rows.truth)[is_girth].median() < 0.01


def test_people_of_the_benchmark_occur_in_no_split():
    for data in (config.FeetData(), config.ObjectData()):
        assert len({walks.SEED, data.train_seed, data.validation_seed, data.test_seed}) == 4


def test_scan_is_cleaned_compared_and_measured():
    parts = scans.evaluate_scan(1)
    (row,), fits = parts["scans"].to_dict("records"), parts["fits"].set_index("measure")
    assert abs(fits.found - fits.truth)["length"] < 15 and (fits.way == "scan").all()
    assert row["side"] == "right" and not row["refused"] and row["iou"] > 0.6 and row["side right"], row
    assert scans.yaw_and_tilt(3 * pose_matrix(-12.0, np.zeros(3))) == pytest.approx((12.0, 0.0), abs=1e-5), "any scale"
    assert row["unit right"] and abs(row["yaw error"]) < 8 and 0 <= row["tilt error"] < 8 and row["seconds"] > 0, row


def test_rows_of_scans_that_were_not_refused_survive_the_file(tmp_path):
    rows = pd.DataFrame([{**CLEANED, "case": case, "iou": 0.9, "yaw error": 1.0} for case in (0, 1)])
    rows["refused"] = ["", "x"]
    for part in summary.PARTS:
        rows.to_csv(tmp_path / f"{part}.csv", index=False)
    table = scans.scan_table(summary.read_rows(tmp_path)["scans"]).set_index(["of", "measure"])
    assert table.loc[("all", "refused, share"), "value"] == 0.5
    with pytest.raises(FileNotFoundError, match="make evaluate"):
        summary.read_rows(tmp_path / "none")


def test_refused_scans_count_as_failures():
    rows = [{**CLEANED, "case": case, "iou": 0.9, "yaw error": (-1.0) ** case} for case in range(9)]
    table = scans.scan_table(pd.DataFrame([*rows, {**CLEANED, "case": 9, **REFUSED}])).set_index(["of", "measure"])
    expected = {"IoU at 64, median": 0.9, "side right, share": 0.9, "refused, share": 0.1}
    for title, value in (expected | {"yaw error, median degrees": 1.0}).items():
        assert table.loc[("all", title), "value"] == pytest.approx(value), title
    low, high = table.loc[("no floor", "side right, share"), ["low", "high"]]
    assert low < 0.9 < high <= 1 and ("floor", "side right, share") not in table.index


def length_rows(found: list[float], truth: float = 250.0) -> pd.DataFrame:
    rows = pd.DataFrame({"way": "mat", "views": 8, "measure": "length", "truth": truth, "found": found})
    return rows.assign(verdict="good")


def test_error_table_and_coverage_of_what_was_found():
    row = summary.error_table(length_rows([251.0, 247.0, 250.0, 254.0]), ("way", "views")).iloc[0]
    assert row.feet == 4 and row.bias == pytest.approx(0.5) and row["median"] == pytest.approx(2.0)
    assert row["95th percentile"] == pytest.approx(np.quantile([1, 3, 0, 4], 0.95))
    fits = length_rows([251.0, 249.0, np.nan]).assign(within=[2.0, 0.5, 2.0])
    assert summary.interval_coverage(fits).tolist() == [0.5]


def test_size_table_counts_refused_people_as_wrong():
    """The nearest size of 59.4 half sizes is 59, that of 59.6 is 60. The fifth foot is not usable, two are good."""
    rows = length_rows([size * HALF_SIZE for size in (59.4, 59.6, 57.4, np.nan, 59.4)], 59.4 * HALF_SIZE)
    rows = rows.assign(verdict=["good", "doubtful", "good", "not usable", "not usable"])
    table = summary.size_table(rows)
    assert table.iloc[0].tolist() == [20, 40, 60, 40, 40, 50, 50]
    assert summary.error_table(rows, ("way",)).feet.tolist() == [3]
    earlier = summary.size_table(rows.assign(verdict=np.nan)).iloc[0]
    assert earlier.tolist()[:4] == [40, 60, 80, 20] and earlier.iloc[4:].isna().all()


def test_pose_table_groups_photos_by_visible_share_of_the_board():
    photos = pd.DataFrame({"board": [0.0, 0.3, 0.6, 1.0], "solved": [False, True, True, False], "mat": "a3"})
    photos = photos.assign(mm=[np.nan, 1, 3, np.nan], degrees=0.1, focal=[np.nan, 0.001, -0.002, np.nan])
    table = summary.pose_table(photos)
    assert table.loc["30 % and more", "solved, %"] == pytest.approx(200 / 3)
    assert table.photos["under 30 %"] == table.photos["30-50 %"] == table.photos["over 70 %"] == 1
    assert table.loc["under 30 %", "solved, %"] == 0 and table.loc["30 % and more", "centre, median mm"] == 2
    assert table.loc["30 % and more", "focal length, largest error %"] == pytest.approx(0.2)


def test_interrupted_benchmark_continues(tmp_path, monkeypatch, capsys):
    """A second run reads the finished cases; its rows and page cover all cases."""
    monkeypatch.setattr(run, "home", lambda: tmp_path)
    monkeypatch.setattr(run, "CASES", {"meshes": 2})
    monkeypatch.setattr(run.summary, "PARTS", ("meshes",))
    tables = lambda rows: {"Measures": summary.error_table(rows["meshes"], ("measure",))}  # noqa: E731
    monkeypatch.setattr(run.summary, "summary_tables", tables)
    half = run.run_benchmark(0.5, tmp_path / "half", workers=1)
    (finished,) = (tmp_path / ".runs" / "evaluate" / (digest := run.design_digest([run.__name__]))).rglob("*.json")
    page = (half / "README.md").read_text()
    assert "| length |" in page and f"design {digest}, 50% of its cases" in page
    before = finished.stat().st_mtime_ns
    whole = run.run_benchmark(1.0, tmp_path / "whole", workers=1)
    assert finished.stat().st_mtime_ns == before and len(pd.read_csv(whole / "meshes.csv").case.unique()) == 2
    assert main(["evaluate", "--share", "0"]) == 1
    assert "share is 0.0; expected above 0 and at most 1" in capsys.readouterr().err
