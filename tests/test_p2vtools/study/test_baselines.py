"""The mean shape of the training data."""

from __future__ import annotations

import pytest

from p2vtools.study import baselines
from tests.test_p2vlib.evaluation.test_evaluation import captures


def test_mean_shape_by_hand():
    train, test = captures(4), captures(2)
    rows = baselines.score_mean_shape(train, test, by="side", views=(1, 8))
    # Left feet: boxes of 8 and 16 slices; voxels in one of two have probability .5, which is >= every threshold.
    left = rows[(rows["sample"] == "s0") & (rows.views == 8)]
    assert left.iou.tolist() == pytest.approx([8 / 16] * 4) and len(rows) == 2 * 2 * 4


def test_a_side_without_training_captures_is_refused():
    with pytest.raises(ValueError, match="right"):
        baselines.score_mean_shape(captures(4).select(side="left"), captures(2), by="side")
