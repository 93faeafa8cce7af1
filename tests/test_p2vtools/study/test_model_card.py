from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from p2vlib.geometry.cameras import look_at
from p2vlib.provenance import data_folder
from p2vtools.fit.photo_set import PhotoSet
from p2vtools.fit.pretrained import pretrained_path
from p2vtools.study import model_card, validation_feet


def test_the_card_is_fitted_on_one_foot_of_each_validation_person(home, monkeypatch):
    config, used = model_card.Config(), {}
    feet = data_folder("feet", config.scale)
    for domain in ("phone", "mat", "wild"):
        for person in ("train-0000", "validation-0000", "validation-0001", "test-0000"):
            for side in ("left", "right"):
                (feet / domain / f"person-{person}-{side}").mkdir(parents=True)

    class Measured(Exception):
        """The fit is complete."""

    def measure(weights, folders, *_, **__) -> None:
        used["measured"] = folders
        raise Measured

    monkeypatch.setattr(model_card.pretrained, "load_pretrained", lambda path: None)
    monkeypatch.setattr(model_card.pretrained, "update_card", lambda *_: None)
    steps = {
        "choose_threshold": lambda _, folders: (used.update(threshold=folders) or 0.4, {}),
        "reconstruct_validation_feet": lambda _, folders: used.update(fitted=folders),
        "calibrate": lambda *_: {},
    }
    for name, step in steps.items():
        monkeypatch.setattr(validation_feet, name, step)
    monkeypatch.setattr(model_card, "measure_captures", measure)
    with pytest.raises(Measured):
        model_card.complete_card(Path("weights"), config)
    validation = ["phone/person-validation-0000-left", "phone/person-validation-0001-right"]
    validation += [path.replace("phone", "wild") for path in validation]
    assert [str(path.relative_to(feet)) for path in used["threshold"]] == validation
    assert used["fitted"] == used["threshold"]
    assert [path.name for path in used["measured"]] == ["person-test-0000-left", "person-test-0000-right"]


def test_summaries_and_rows_by_hand(tmp_path):
    feet = pd.DataFrame({"sample": list("abcd"), "subject": list("ppqq"), "iou": [0.4, 0.6, 0.4, 0.6]})
    feet = feet.assign(**{"iou at 128": feet.iou, "found": feet.iou, "degrees": [-3.0, 1, 2, 2], "mm": 5.0})
    summary = model_card.summarise_reconstruction(feet.assign(**{"seconds": 1.0, "seconds at 128": 2.0}))
    assert summary["iou"] == [0.5, 0.5, 0.5], "both people have the same mean"
    assert summary["placed wrong, median degrees"] == 2 and summary["feet"] == 4
    lengths = pd.DataFrame({"measure": "length", "truth": 250.0, "uncorrected": [247.0, 249.0], "half_width": 2.0})
    errors = model_card.measure_errors(lengths.assign(value=[251.0, 247.0]))["length"]
    expected = {"uncorrected, mean": -2, "mean": -1, "median of its size": 2, "inside": 0.5}
    assert {name: errors[name] for name in expected} == expected
    rows = pd.DataFrame({"sample": ["a"], "iou": [0.123456]})
    file = model_card.save_rows(tmp_path / "w.safetensors", model_card.RECONSTRUCTIONS, rows)
    assert file == tmp_path / "w-reconstructions.csv" and file.read_text() == "sample,iou\na,0.1235\n"


def test_noise_of_the_cameras_is_in_metres():
    cameras = [look_at((azimuth, 40.0, 0.0, 0.6, 50.0), np.zeros(3), 64, 64) for azimuth in range(300)]
    photo_set = PhotoSet([], cameras, [], "left")
    noisy = validation_feet.perturb_cameras(photo_set, 0.0, 0.003, np.random.default_rng(0))
    moved = [camera.position - other.position for camera, other in zip(cameras, noisy.cameras, strict=True)]
    assert np.std(moved) == pytest.approx(0.003, rel=0.1)


def test_the_card_is_computed_from_the_rows_of_single_feet(weights):
    path = pretrained_path()
    rows = pd.read_csv(path.with_name(f"{path.stem}-{model_card.MEASURES}.csv"))
    settings = dict(iter(rows.groupby("setting")))
    card = weights.card["measures, mm"]
    assert {title: model_card.measure_errors(part) for title, part in settings.items()} == card
    for part in settings.values():
        length = part[part.measure == "length"]
        assert length["sample"].is_unique and length.subject.nunique() == len(length) / 2
