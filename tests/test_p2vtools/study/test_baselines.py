from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from p2vtools.study import baselines
from tests.test_p2vlib.evaluation.test_evaluation import captures


def test_mean_shape_by_hand():
    train, test = captures(4), captures(2)
    rows = baselines.score_mean_shape(train, test, by="side", views=(1, 8))
    # Left feet: boxes of 8 and 16 slices; voxels in one of two have probability .5, which is >= every threshold.
    left = rows[(rows["sample"] == "s0") & (rows.views == 8)]
    assert left.iou.tolist() == pytest.approx([8 / 16] * 4) and len(rows) == 2 * 2 * 4
    with pytest.raises(ValueError, match="right"):
        baselines.score_mean_shape(captures(4).select(side="left"), captures(2), by="side")


def test_threshold_of_the_mean_shape_is_also_chosen_on_training_samples_left_out(monkeypatch):
    """Four left feet of 10 layers and one of 20, in one validation person of 20 layers and in themselves.

    The ten additional layers have the probability 1/5. They are right for the validation person, up to a threshold of
    .2; left out, the four feet have them with a probability of 1/4: wrong at a threshold of .2, and right above.
    """
    template = captures(2).rows(np.array([0]))
    truth = torch.zeros(5, 32, 32, 32, dtype=torch.bool)
    truth[:, :10], truth[4, :20] = True, True
    table = pd.concat([template.table] * 5, ignore_index=True).assign(sample=list("abcde"), subject=list("abcde"))
    train = replace(template, table=table, photos=template.photos.expand(5, -1, -1, -1, -1), truth=truth)
    validation = train.rows(np.array([4]))
    assert baselines.mean_shape_threshold(train, validation, "side") == 0.3
    monkeypatch.setattr(baselines, "MIN_VALIDATION", 1)
    assert baselines.mean_shape_threshold(train, validation, "side") == 0.2
