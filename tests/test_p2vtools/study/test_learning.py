import math

import pandas as pd
import pytest
import torch

from p2vlib.models import Reconstruction
from p2vtools.study import learning
from p2vtools.study.notebook_run import begin
from tests.test_p2vlib.evaluation.test_evaluation import FirstPhoto, captures


def test_tables_and_answers_show_who_did_not_learn(home, capsys):
    run = begin("05_x", "x")
    verdicts = {"Pix2Vox": "learned", "LSTM": "did not learn"}
    rows = [(one, one.lower(), "objects", "main", 0.5, 0.4, 0.8, 0.1, verdict) for one, verdict in verdicts.items()]
    run.save_checks(pd.DataFrame(rows, columns=learning.COLUMNS))
    marked = run.save_table(pd.DataFrame({"effect": ["LSTM - Pix2Vox", "LSTM-2"], "iou": [0.1, 0.2]}), "t", "c")
    assert marked.effect.tolist() == ["LSTM (did not learn) - Pix2Vox", "LSTM-2"]
    by_columns = pd.DataFrame({"model": ["lstm", "lstm"], "training": ["objects", "feet-phone"]})
    assert run.save_table(by_columns, "u", "c").model.tolist() == ["lstm (did not learn)", "lstm"]
    assert learning.mark_unlearned(marked, run.checks).equals(marked), "marked once"
    run.answer("Pix2Vox is best.", "Pix2Vox")
    assert "Pix2Vox is best." in (run.folder / "parts" / "05_x.json").read_text()
    run.answer("LSTM is better.", "Pix2Vox", "LSTM")
    answer = (run.folder / "parts" / "05_x.json").read_text()
    assert "No answer: LSTM did not learn" in answer and "better" not in answer


def test_what_is_made_from_a_network_that_did_not_learn_is_in_no_ranking():
    check = {"notebook": "06", "model": "unprojection", "training": "feet-phone", "variant": "main"}
    kept = [{"model": "psgn"}, {"training": "objects"}, {"notebook": "05"}, {"variant": "shipped"}]
    rows = pd.DataFrame([check | change for change in [{}, {"variant": "main-steady"}, {"model": "rendering"}, *kept]])
    checks = pd.DataFrame([check | {"verdict": learning.DID_NOT_LEARN}])
    assert learning.drop_unlearned(rows, checks).index.tolist() == [3, 4, 5, 6]


class BoxOfFirstPhoto(FirstPhoto):
    """Reads the row of `captures` in its first photo, and predicts its box; with one photo, one layer too short."""

    def forward(self, views: torch.Tensor, cameras: torch.Tensor | None = None) -> Reconstruction:
        rows = (views[:, 0].float().mean((1, 2, 3)) * 255 / 20).round().long().tolist()
        volume = torch.zeros(len(rows), 32, 32, 32)
        for place, row in enumerate(rows):
            volume[place, : self.length(row) - (views.shape[1] == 1), :8, :8] = 1
        return Reconstruction(volume, volume, volume[:, None], volume[:, None])

    def length(self, row: int) -> int:
        return 8 + 4 * row


class OneBox(BoxOfFirstPhoto):
    """Predicts the same box for all photos."""

    def length(self, row: int) -> int:
        return 20


def test_a_network_learned_if_it_exceeds_the_mean_shape_and_its_answers_change():
    """Boxes of 8, 12, 16, 20, 24 and 28 layers, each compared with the one after the next."""
    validation, lengths = captures(6), (8, 12, 16, 20, 24, 28)
    found = learning.check_learning(BoxOfFirstPhoto(), validation, 0.9, (1, 4))
    assert found["iou"] == 1 and found["learned"]
    assert found["answers"] == pytest.approx((8 / 16 + 12 / 20 + 16 / 24 + 20 / 28 + 8 / 24 + 12 / 28) / 6)
    assert found["range"] == pytest.approx(sum(1 / length for length in lengths) / 6)
    assert not learning.check_learning(BoxOfFirstPhoto(), validation, 1.0, (1, 4))["learned"], "not above the mean"
    two = learning.check_learning(BoxOfFirstPhoto(), captures(2), 0.9, (1, 4))
    assert two["answers"] == pytest.approx(8 / 12) and two["learned"], "of two captures each with the other"
    once = learning.check_learning(BoxOfFirstPhoto(), validation, 0.9, (4,))
    assert math.isnan(once["range"]) and once["learned"], "one number of photos tells nothing of others"
    constant = learning.check_learning(OneBox(), validation, 0.1, (2, 4))
    assert constant["answers"] == 1 and constant["range"] == 0 and constant["iou"] > 0.6 and not constant["learned"]
