"""What the pretrained weights are trained and tested on."""

from __future__ import annotations

import dataclasses

from p2vlib.config import PRESETS
from p2vtools.study.pretraining import pretrained_config


def test_the_pretrained_weights_are_tested_on_the_people_of_the_quick_scale():
    ours, quick = pretrained_config().feet, PRESETS["quick"].feet
    more = {"train": ours.train, "validation": ours.validation, "mats": True}
    assert dataclasses.replace(quick, **more) == ours
    assert ours.train > quick.train and ours.validation > quick.validation
    assert (pretrained_config().objects.train, pretrained_config().finetuning.mirror) == (0, False)
