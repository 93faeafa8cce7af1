"""The cost of the study, and what the pretrained weights are trained and tested on."""

from __future__ import annotations

import dataclasses

from p2vlib.config import PRESETS
from p2vtools.study.cost import estimate_cost
from p2vtools.study.pretraining import pretrained_config


def test_the_estimate_counts_every_training_of_the_study():
    """Nine trainings once; repeated three times, four arms make thirteen pretrainings and fourteen fine-tunings.

    Notebook 06 adds every one of nine systems twice, and unprojection six times more.
    """
    assert "33 trainings" in estimate_cost(PRESETS["quick"])
    assert "51 trainings" in estimate_cost(PRESETS["full"])


def test_the_pretrained_weights_are_tested_on_the_people_of_the_quick_scale():
    ours, quick = pretrained_config().feet, PRESETS["quick"].feet
    more = {"train": ours.train, "validation": ours.validation, "mats": True}
    assert dataclasses.replace(quick, **more) == ours
    assert ours.train > quick.train and ours.validation > quick.validation
    assert (pretrained_config().objects.train, pretrained_config().finetuning.mirror) == (0, False)
