"""Corrected measurements of a reconstruction, their intervals, and their record beside the mesh."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import trimesh
from PIL import Image

from p2vlib.geometry.cameras import look_at
from p2vtools.cli import main
from p2vtools.fit import reconstruct, records, uncertainty, verdict
from p2vtools.fit.measure import Measures, measure_foot
from p2vtools.fit.photo_set import PhotoSet, read_photo_set
from p2vtools.fit.placement import FootPlacement, pose_matrix
from p2vtools.fit.surface_correction import CORRECTED_MEASURES
from p2vtools.fit.uncertainty import CALIBRATED_SIZE, CALIBRATION_KEY, MEASURE_NAMES
from p2vtools.study import model_card, validation_feet


def test_factors_are_conformal_quantiles_of_the_harder_domain():
    """With 9 feet the rank is ceil(0.9 * 10) = 9, the largest error; with 19 it is 18, the second largest.

    In the other domain all errors are half as large; with both together the rank in the second case is 36: 8.5.
    """
    for feet, expected in ((9, 4.5), (19, 9.0)):
        errors = np.arange(1, feet + 1) * np.where(np.arange(feet) % 2, -1.0, 1.0)
        rows = pd.DataFrame({"value": 250 + errors, "truth": 250.0, "scale": 2.0, "measure": "length"})
        rows = rows.assign(subject=[f"p{number}" for number in range(feet)], domain="wild", **{"class": "1 photo"})
        easier = rows.assign(value=250 + errors / 2, subject="other " + rows.subject, domain="phone")
        for both in ([rows, easier], [easier, rows]):
            assert uncertainty.fit_factors(pd.concat(both))["1 photo"]["length"] == expected


def test_quantile_weighs_people_equally():
    """Nine people weigh 1/10 each: up to 0.9 all of them are needed, but of the two feet of the last one only both."""
    people = np.array([*range(9), 8])
    assert uncertainty.conformal_quantile(np.array([*range(9), 20.0]), people) == 20
    many = np.array([0] * 90 + [*range(1, 20)])  # 90 feet of one of 20 people weigh as much as one foot of another
    assert uncertainty.conformal_quantile(np.array([0.0] * 90 + [*range(1, 20)]), many) == 18


def test_intervals_cover_nine_in_ten_feet_of_other_people():
    """Simulated feet, two of each person with related errors; ideal: between 0.9 and 0.9 + 1 / 41, on average."""
    rng, covered = np.random.default_rng(0), []
    for _ in range(600):
        error = np.abs(rng.normal(size=(60, 1)) + 0.3 * rng.standard_t(4, size=(60, 2)))
        limit = uncertainty.conformal_quantile(error[:40].ravel(), np.repeat(np.arange(40), 2))
        covered.append((error[40:] <= limit).mean())
    assert 0.895 <= np.mean(covered) <= 0.93


def test_correction_is_fitted_on_other_people_than_the_factor(monkeypatch):
    """The length misses 1 mm per mm of blur of half of the people, 3 mm of the others, in pairs of people."""
    people, missing = [f"p{number}" for number in range(8)], (1, 1, 3, 3, 1, 1, 3, 3)
    common = {"surface": 2.0, "scale": 1.0}
    tables = [pd.DataFrame({"value": 250 - 2.0 * one, **common}, index=["length"]) for one in missing]
    rows = pd.DataFrame({"subject": people, "sample": people, "domain": "wild", "class": "1 photo", "fault": ""})
    rows = rows.assign(mesh="a surface", measures=tables, truth=[{"length": 250.0}] * 8)

    def corrected(feet, softness):
        value = softness["1 photo"]["length"]
        assert set(feet.subject) == set(np.array(people)[[0, 1, 4, 5] if value == 3 else [2, 3, 6, 7]])
        table = validation_feet.measure_rows(feet)
        return table.assign(value=table.value + value * table.surface)

    monkeypatch.setattr(validation_feet, "corrected_rows", corrected)
    assert validation_feet.fit_intervals(rows)["1 photo"]["length"] == {"softness": 2.0, "factor": 4.0}
    with pytest.raises(ValueError, match="2 people are too few"):
        validation_feet.fit_intervals(rows[:2])


def test_softness_is_the_median_of_missing_length_over_blur():
    table = pd.DataFrame({"measure": "length", "class": "noted", "surface": [2.0, 4.0, 5.0]})
    table = table.assign(truth=250.0, value=250.0 - np.array([2.0, 6.0, 20.0]))  # 1, 1.5 and 4 mm per mm of blur
    assert uncertainty.fit_softness(table)["noted"]["length"] == 1.5
    girths = table.assign(measure="ball_girth")
    assert uncertainty.fit_softness(girths)["noted"]["ball_girth"] == 0, "not corrected"


def test_scale_is_the_root_sum_of_squares_of_its_parts(weights, monkeypatch):
    """A length of 250 mm ± 3 by the level of the surface, ± 4 by the members, ± 12 by the photos; voxels of 10 mm."""

    def foot(metres: float, *members: float) -> reconstruct.ReconstructedFoot:
        volumes = [np.full((32,) * 3, value, np.float32) for value in (metres, *members)]
        return reconstruct.ReconstructedFoot(volumes[0], 0.4, np.eye(4), {}, np.stack(volumes[1:] or volumes))

    def measure(volume: np.ndarray, side: str, level: float) -> pd.Series:
        return pd.Series({"length": 1000 * volume[0, 0, 0] + {0.2: 3.0, 0.4: 0.0, 0.7: -3.0}[round(level, 6)]})

    halves = [foot(0.238), foot(0.262)]
    monkeypatch.setattr(uncertainty, "_measure_volume", measure)
    monkeypatch.setattr(uncertainty, "placed_photos", lambda *_: None)
    monkeypatch.setattr(uncertainty, "reconstruct", lambda *_: halves.pop())
    photo_set = PhotoSet([Image.new("RGB", (4, 4))] * 4, [], ["0", "1", "2", "3"], "left")
    row = uncertainty.uncalibrated_measures(weights, photo_set, foot(0.25, 0.246, 0.254))[0].loc["length"]
    expected = {"value": 250, "grid": 10 / 12**0.5, "surface": 3, "members": 4, "photos": 12}
    assert row.to_dict() == pytest.approx({**expected, "scale": (100 / 12 + 9 + 16 + 144) ** 0.5}, rel=1e-4)


def test_correction_and_ruler_by_hand():
    table = pd.DataFrame({"value": [240.0, 90.0, 60.0], "surface": [2.0, 1.0, 0.0]}, CORRECTED_MEASURES)
    targets = uncertainty.corrected_targets(table, dict.fromkeys(CORRECTED_MEASURES, {"softness": 1.5}))
    assert list(targets.values()) == [243.0, 91.5, 60.0]
    # 100 of 250 mm: 3 mm of its own and 2 % for the length, both 4 % larger by the ruler, and 0.4 of the ruler's 2 mm.
    measures = Measures(250.0, 100.0, 102.0, 240.0, 62.0, 65.0, 235.0)
    found = uncertainty._half_widths_by_ruler(measures, {"length": 5.0, "ball_breadth": 3.0}, 1.04)
    assert found == pytest.approx({"length": 2.0, "ball_breadth": 1.04 * 13**0.5 + 0.8})


def test_every_measurement_has_an_interval_on_the_corrected_surface(weights, right_foot):
    photo_set, truth = read_photo_set(right_foot), model_card.true_capture_measures(right_foot)
    foot = reconstruct.reconstruct(weights, photo_set, CALIBRATED_SIZE, "given")
    result = uncertainty.measure_with_intervals(weights, photo_set, foot)
    assert set(result.half_widths) == set(MEASURE_NAMES) and 0 < result.halves_iou < 1
    on_surface = vars(measure_foot(result.foot.mesh, photo_set.side)[0])
    for name, half in result.half_widths.items():
        value = getattr(result.measures, name)
        assert value == pytest.approx(on_surface[name], abs=0.01) and value == pytest.approx(truth[name], abs=2 * half)
    one_photo = uncertainty.measure_with_intervals(weights, photo_set.subset([0]), foot)
    noted = uncertainty.measure_with_intervals(weights, photo_set, foot, "noted")
    assert one_photo.half_widths["length"] > 5 and set(noted.half_widths) == set(MEASURE_NAMES)
    ruler = uncertainty.measure_with_intervals(weights, replace(photo_set, length=0.25), foot)
    assert ruler.measures.length == pytest.approx(250) and ruler.half_widths["length"] == 2
    assert measure_foot(ruler.foot.mesh, photo_set.side)[0].length == pytest.approx(250)


def test_coarse_reconstruction_has_the_length_of_the_fine_one(weights, right_foot):
    photo_set = read_photo_set(right_foot).subset([0, 2])
    lengths = []
    for size in (32, CALIBRATED_SIZE):
        foot = reconstruct.reconstruct(weights, photo_set, size, "given")
        lengths.append(uncertainty.measure_with_intervals(weights, photo_set, foot).measures.length)
    assert lengths[0] == pytest.approx(lengths[1], abs=0.05)


def test_coarse_foot_is_measured_where_it_was_found(weights, monkeypatch):
    """The finer reconstruction and both halves of the photos start from the pose of the coarse foot."""
    ball, seen = trimesh.creation.icosphere(4).apply_scale([0.125, 0.04, 0.05]).apply_translation([0, 0.04, 0]), []
    pose, volume = pose_matrix(20.0, np.array([0.03, 0.0, 0.02])), np.ones((32,) * 3, np.float32)
    placement = FootPlacement(pose, "volume", 0.9, False, 0.9, volume)
    foot = reconstruct.ReconstructedFoot(volume, 0.4, pose, {}, np.stack([volume] * 2), placement)

    def record(_, photos, size, placement, cameras="exact"):
        seen.append((photos.names[0], photos.cameras[0].position, placement, cameras))
        return replace(foot, pose=np.eye(4), placement=None)

    monkeypatch.setattr(uncertainty, "reconstruct", record)
    monkeypatch.setattr(uncertainty, "_measure_volume", lambda *_: pd.Series(250.0, MEASURE_NAMES))
    monkeypatch.setattr(uncertainty, "correct_surface", lambda *_: ball)
    cameras = [look_at((azimuth, 30.0, 0.0, 0.6, 40.0), np.zeros(3), 48, 48) for azimuth in (0, 90, 180, 270)]
    photo_set = PhotoSet([Image.new("RGB", (48, 48))] * 4, cameras, ["0", "1", "2", "3"], "left")
    for kind in ("exact", "noted"):
        uncertainty.measure_with_intervals(weights, photo_set, foot, kind)
    assert [name for name, *_ in seen] == ["0", "0", "1", "0"], "noted cameras have no halves"
    for name, position, *given in seen:
        assert np.allclose(pose @ [*position, 1], [*cameras[int(name)].position, 1]) and given == ["given", "exact"]


def test_weights_without_calibration_are_refused_before_the_work(weights, right_foot, monkeypatch):
    """Weights of the project before there were classes have ``measures`` instead, calibrated for eight photos alone."""
    monkeypatch.setattr(verdict, "reconstruct", None)
    older = {"measures": {"length": {"correction, mm": -6.0, "softness": 2.5, "factor": 1.0}}}
    noted = {CALIBRATION_KEY: {"noted": weights.card[CALIBRATION_KEY]["noted"]}}
    assert uncertainty.card_calibration(replace(weights, card=noted), "noted")["length"]["factor"] > 0
    for card, numbers, photos in ((older, range(4), "4 to 7 photos"), (noted, [0], "1 photo")):
        with pytest.raises(ValueError, match=rf"no calibration of intervals for {photos}.*p2v weights"):
            verdict.reconstruct_and_judge(replace(weights, card=card), read_photo_set(right_foot).subset(numbers))


def test_reconstruct_and_measure_print_the_same_millimetres(right_foot, tmp_path, capsys):
    out = tmp_path / "foot.obj"
    assert main(["reconstruct", str(right_foot), "--out", str(out)]) == 0
    output = capsys.readouterr().out
    assert "4 photos of a right foot; placement found" in output
    parts = ("foot.obj: ", "size: EU ", "length 2", "scale: ", "details:", "mean silhouette IoU")
    assert sorted(parts, key=output.index) == list(parts)
    printed = output.splitlines()
    assert main(["measure", str(out), "--side", "right"]) == 0
    measured = capsys.readouterr().out.splitlines()
    (line,) = [line for line in printed if line.startswith("  length")]
    assert line.count("(± ") == len(MEASURE_NAMES) == line.count(" mm") and line in measured
    assert [line for line in printed if "Mondopoint" in line] == [line for line in measured if "Mondopoint" in line]
    assert main(["measure", str(out), "--side", "left"]) == 1 and "right foot" in capsys.readouterr().err
    record = json.loads((tmp_path / "foot.json").read_text())
    assert record["side"] == "right" and record["photos"] == 4
    out.write_text(out.read_text() + "# another program was here\n")
    assert main(["measure", str(out), "--side", "right"]) == 0 and "no interval" in capsys.readouterr().out
    (tmp_path / "foot.json").write_text("{}")
    assert main(["reconstruct", str(right_foot), "--out", str(out)]) == 1 and "overwritten" in capsys.readouterr().err


@pytest.mark.parametrize("change", [{"scale": "guessed"}, {"scale": ["mat"]}, {"side": "both"}, {"reasons": None}])
def test_damaged_records_are_errors(change, tmp_path):
    foot, record = tmp_path / "foot.obj", {"side": "left", "verdict": "good", "reasons": [], "scale": "mat"}
    foot.write_text("v 0 0 0\n")
    record |= {"format": records.FORMAT, "sha256": records._digest(foot)}
    (tmp_path / "foot.json").write_text(json.dumps(record))
    assert records.read_record(foot).scale == "mat"
    (tmp_path / "foot.json").write_text(json.dumps(record | change))
    with pytest.raises(ValueError, match=r"foot.json: cannot be read .*expected a record .*: delete it"):
        records.read_record(foot)


def test_calibration_of_validation_feet(weights, right_foot):
    rows = pd.DataFrame(validation_feet.rows_of_foot(weights, right_foot, 0))
    assert rows.photos.tolist()[:3] == [1, 2, 4] and rows.fault.tolist() == ["", "", "", validation_feet.FAULTS[0]]
    assert rows.iou[:3].min() > 0.3 and rows.truth.iloc[0]["length"] > 150
    people = [rows.assign(subject=f"person-{number}") for number in range(4)]
    intervals = validation_feet.fit_intervals(pd.concat(people, ignore_index=True))
    assert set(intervals) == set(rows["class"][:3]) and set(intervals["1 photo"]) == set(MEASURE_NAMES)


def test_threshold_has_the_best_mean_iou_at_the_fine_grid(weights, tmp_path, monkeypatch):
    """A box of 64 x 32 x 16 voxels in one half as high again: (probability of the inner part, of the rest)."""
    values, position = {"first": (0.5, 0.4), "second": (0.6, 0.5)}, np.array([0.2, 0.0, 0.1])
    box = trimesh.creation.box([0.16, 0.08, 0.04], pose_matrix(0, position + [0, 0.04, 0]))
    for name in values:
        (tmp_path / name).mkdir()
        box.export(tmp_path / name / "model.obj")

    def predict(weights, photo_set, size, placement):
        volume, (inner, rest) = np.zeros((size,) * 3), values[photo_set.name]
        volume[32:96, :48, 56:72] = rest
        volume[32:96, :32, 56:72] = inner
        assert (size, placement) == (128, "given")
        return SimpleNamespace(probability=volume)

    captures = {"initial_position": position}
    monkeypatch.setattr(validation_feet, "read_photo_set", lambda path: SimpleNamespace(name=path.name, **captures))
    monkeypatch.setattr(validation_feet, "reconstruct", predict)
    folders = [tmp_path / name for name in values]
    threshold, scores = validation_feet.choose_threshold(weights, folders, workers=1)
    assert threshold == 0.45 and scores[0.4] == pytest.approx(2 / 3, abs=1e-4)
    assert (scores[0.45], scores[0.6], scores[0.65]) == pytest.approx(((1 + 2 / 3) / 2, 0.5, 0.0), abs=1e-4)


def test_feet_that_cannot_be_measured_are_kept_and_count_as_outside(weights, right_foot, monkeypatch):
    judged = SimpleNamespace(measured=None)
    monkeypatch.setattr(model_card, "reconstruct_and_judge", lambda *_: judged)
    rows = model_card.measure_capture(weights, right_foot, "a mat", np.random.default_rng(0))
    assert rows.measure.tolist() == list(MEASURE_NAMES)
    assert rows[["uncorrected", "value", "half_width"]].isna().all(axis=None) and rows.truth.gt(50).all()
    length = pd.DataFrame({"measure": "length", "truth": 250.0, "value": [251.0, 253.0, 246.0, np.nan]})
    summary = model_card.measure_errors(length.assign(uncorrected=length.value, half_width=3.0))["length"]
    assert summary["mean"] == 0 and summary["median of its size"] == 3 and summary["inside"] == 0.5
