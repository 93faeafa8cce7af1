import pandas as pd
import pytest
import torch

from p2vlib import models
from p2vlib.config import PRESETS, from_params
from p2vlib.data import dataset
from p2vtools.study import experiments, notebook_run, system_training
from tests.pages import on_feet
from tests.test_p2vtools.study.test_experiments import trained


def test_recipes_and_the_best_blind_system_among_those_that_learned():
    config = PRESETS["quick"]
    assert system_training.system_recipe(config, "pix2vox-a-narrow", "objects") == config.pretraining
    assert system_training.system_recipe(config, "pix2vox-a-narrow", "feet-phone") == config.finetuning
    objects, feet = (system_training.system_recipe(config, "pix2vox++-a-narrow", s) for s in ("objects", "feet-phone"))
    assert (objects.steps, feet.steps) == (1231, 246), "steps take 1.3 times as long as those of 1,600 and 320"
    scratch = system_training.system_recipe(config, "unprojection", "feet-phone")
    # 1,120 steps of 24 photos take as long as both stages; here a step takes 1.25 times as long.
    assert scratch.steps == 896
    assert system_training.system_recipe(config, "psgn-narrow", "objects").views == 1
    attsets = system_training.system_recipe(config, "attsets-narrow", "objects")
    assert attsets.freeze_after_first_stage and not objects.freeze_after_first_stage
    assert set(system_training.RECIPES) <= set(config.systems)
    with torch.device("meta"):  # shapes without values
        networks = {
            name: trained(model=models.build(name)) for name in ("attsets-narrow", "psgn-narrow", "unprojection")
        }
    checks = pd.DataFrame({"network": [*networks, "psgn-narrow, objects"], "iou": [0.7, 0.6, 0.9, 0.95]})
    checks["verdict"] = ["did not learn", "learned", "learned", "learned"]
    assert system_training.best_blind(networks, checks) == "psgn-narrow"
    assert system_training.best_blind(networks, checks.assign(verdict="did not learn")) == "attsets-narrow"


def test_feet_start_from_objects_and_equal_recipes_share_their_weights(smoke, monkeypatch):
    calls = []

    def train_network(run, captures, name, training, **options):
        calls.append((training, options["variant"], options["start"], options.get("height")))
        return trained(options["variant"])

    monkeypatch.setattr(experiments, "train_network", train_network)
    run = notebook_run.NotebookRun("06_systems", from_params("quick"))
    stages = system_training.train_system(run, smoke.captures, "pix2vox-a-narrow")
    assert calls == [("objects", "main", None, None), ("feet-phone", "main", stages["objects"], None)]
    system_training.train_system(run, smoke.captures, "unprojection")
    expected = [("objects", "main-06", None, None), ("feet-phone", "main-06", None, 0.375)]
    assert calls[2:] == expected, "unprojection learns feet from scratch"
    assert stages["feet-phone"].variant == "main"


def test_gains_from_cameras_are_paired_by_foot():
    ious = {("unprojection", "main"): (0.8, 0.9), ("a", "main"): (0.7, 0.6), ("a", "uncropped"): (0.5, 0.6)}
    rows = [on_feet("06", model, values, variant=variant) for (model, variant), values in ious.items()]
    rows.append(rows[0].assign(look="studio", iou=0.0))
    gains = system_training.camera_gains(pd.concat(rows), "a", [4]).set_index("crop")
    assert gains.difference.to_dict() == pytest.approx({"cube": 0.2, "whole photo": 0.3})
    # The two differences are .1, .3 with the cube, and .3, .3 with whole photos.
    assert gains.low.to_dict() == pytest.approx({"cube": 0.1, "whole photo": 0.3})
    assert gains.loc["cube", ["unprojection", "without cameras"]].tolist() == pytest.approx([0.85, 0.65])


def test_changed_data_of_fewer_people_and_without_poses(smoke):
    few = system_training.limit_people(smoke.captures, 1)
    feet = smoke.captures.table[smoke.captures.table.dataset == "feet"]
    assert few.table[few.table.split == "train"].subject.nunique() == 1
    for split in ("validation", "test"):
        assert (few.table.split == split).sum() == (feet.split == split).sum()
    same = system_training.without_poses(smoke.captures)
    feet = experiments.training_captures(same, "feet-phone", "test")
    assert feet.cameras.flatten(0, 1).unique(dim=0).shape[0] == 1
    assert torch.equal(same.photos, smoke.captures.photos)
    assert same.digest() != smoke.captures.digest(), "weights trained on them have another provenance"


def test_floor_noise_moves_cubes_up_and_down(smoke):
    feet = dataset.load_feet(smoke.config, "phone").select(split=["validation", "test"])
    moved = system_training.with_floor_noise(feet)
    assert torch.equal(moved.photos, feet.photos) and moved.fine_truth is None and moved.table.equals(feet.table)
    tops = [solid.any(2).any(0).nonzero().max().item() for solid in moved.truth]
    assert len(set(tops)) > 1 and max(tops) < system_training.FLOOR_NOISE_HEIGHT * 32
    assert torch.equal(system_training.with_floor_noise(feet).truth, moved.truth), "the same for every network"
