import dataclasses

import numpy as np
import pandas as pd

from p2vlib.config import PRESETS
from p2vlib.data.dataset import Captures
from p2vlib.evaluation import score_volumes
from p2vtools.study import pretraining
from p2vtools.study.baselines import score_mean_shape
from p2vtools.study.pretraining import pretrained_config
from tests.test_p2vlib.evaluation.test_evaluation import captures


def test_the_pretrained_weights_are_tested_on_the_people_of_the_quick_scale():
    ours, quick = pretrained_config().feet, PRESETS["quick"].feet
    more = {"train": ours.train, "validation": ours.validation, "mats": True, "wild_train": ours.wild_train}
    assert dataclasses.replace(quick, **more) == ours
    assert ours.wild_train > ours.train > quick.train and ours.validation > quick.validation
    assert (pretrained_config().objects.train, pretrained_config().finetuning.mirror) == (0, False)


def test_no_test_person_is_trained_calibrated_or_given_a_threshold_on(smoke, tmp_path, monkeypatch):
    """Which splits each step gets, in order: six trainings of the members, then the steps of `finish`."""
    feet, used = captures(12), {"train": [], "predict": [], "evaluate": [], "mean foot": []}
    feet = dataclasses.replace(feet, table=feet.table.assign(split=np.repeat(["train", "validation", "test"], 4)))

    def record(step: str, *data: Captures) -> None:
        used[step].append([*(set(one.table.split).pop() for one in data if one.table.split.nunique() == 1)])

    def train(model, *arguments, start=None):
        record("train", *arguments[:2])
        return pd.DataFrame({"seconds": [60.0]})

    def predict(model, data, views):
        record("predict", data)
        return data.truth.float()

    def evaluate(model, data, views):
        record("evaluate", data)
        return pd.concat([score_volumes(data, data.truth.float(), number) for number in views])

    def mean_foot(*arguments):
        record("mean foot", *arguments[:2])
        return score_mean_shape(*arguments)

    monkeypatch.setattr(pretraining, "build_collection", lambda config: None)
    monkeypatch.setattr(pretraining.dataset, "load_feet", lambda *_: feet)
    monkeypatch.setattr(pretraining, "train", train)
    monkeypatch.setattr(pretraining.evaluation, "predict", predict)
    monkeypatch.setattr(pretraining.evaluation, "evaluate", evaluate)
    monkeypatch.setattr(pretraining.baselines, "score_mean_shape", mean_foot)
    monkeypatch.setattr(pretraining.calibration, "fit_calibration", lambda *_: (1.0, 0.0))
    pretraining.train_pretrained(smoke.config, tmp_path / "weights.safetensors", tmp_path / "work")
    assert used == {
        "train": [["train", "validation"]] * 7,
        "predict": [["validation"], ["test"]],
        "evaluate": [["validation"], ["test"]],
        "mean foot": [["train", "validation"], ["train", "test"]],
    }
