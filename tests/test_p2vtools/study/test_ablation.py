from dataclasses import replace

import pytest
import torch
from torch import nn

from p2vlib import models
from p2vtools.study import ablation, experiments, notebook_run
from tests.test_p2vlib.evaluation.test_evaluation import captures
from tests.test_p2vtools.study.test_experiments import trained


def test_arms_are_trained_from_one_start_with_equal_seeds(home, monkeypatch):
    calls, start, run, feet = {}, trained(), notebook_run.begin("05"), captures()

    def train_network(run, captures, name, training, *, variant, start, **options):
        calls[name, variant] = (run, captures, training, start, *options.values())
        return trained(variant)

    monkeypatch.setattr(ablation, "train_network", train_network)
    networks = ablation.train_arms(run, feet, ablation.ablation_arms(run.config), "feet-phone", start, 2)
    given, lstm = (run, feet, "feet-phone", start), "pix2vox-lstm-narrow"
    expected = {}
    for seed, end in enumerate(("", "-seed1")):
        expected["pix2vox-a-narrow", f"main{end}"] = expected[lstm, f"main{end}"] = (*given, "clockwise", seed)
        expected[lstm, f"shuffled-training{end}"] = (*given, "shuffled", seed)
        expected[lstm, f"convlstm2d{end}"] = (*given, "clockwise", seed, "convlstm2d")
    assert calls == expected
    assert networks["3-D LSTM, shuffled, seed 1"].variant == "shuffled-training-seed1" and len(networks) == 8


def test_in_the_control_the_same_photos_in_reverse_order_show_the_turned_foot():
    feet = captures(4)
    feet.photos[:, :, :3] = 100
    feet.truth[:] = False
    feet.truth[0, 3, 1, 5] = True
    control = ablation.order_control(feet, 2)
    assert control.photos[:, :, 0, 0, 0].tolist() == [[10, 100]] * 4 + [[100, 10]] * 4
    assert torch.equal(control.photos[:4, :, 3], feet.photos[:, :2, 3]), "opaque as before"
    assert control.truth[0].nonzero().tolist() == [[3, 1, 5]] and control.truth[4].nonzero().tolist() == [[28, 1, 26]]
    assert control.table["sample"].is_unique and control.table.subject.tolist() == 2 * feet.table.subject.tolist()
    assert feet.photos[:, :, :3].unique().tolist() == [100], "the captures themselves are not changed"
    assert len(experiments.training_captures(control, "feet-control", "test")) == 8


def test_update_sizes_are_relative_to_the_features():
    class Half(nn.Module):
        """Adds half of the features of the first photo, three quarters of those of later ones."""

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            factors = torch.full((1, features.shape[1], 1, 1, 1), 1.75)
            factors[:, 0] = 1.5
            return features * factors

    network = models.build("pix2vox-lstm-narrow", trunk=(4, 4, 4, 4), image_size=96)
    network.recurrent = Half()
    free = models.build("pix2vox-f-narrow", trunk=(4, 4, 4, 4))
    feet = captures(2)
    feet = replace(feet, photos=torch.randint(0, 255, (2, 4, 4, 96, 96), dtype=torch.uint8))
    networks = {"LSTM": trained(model=network), "Pix2Vox": trained(model=free)}
    sizes = ablation.update_sizes(networks, feet, 3)
    assert sizes.network.tolist() == ["LSTM"], "Pix2Vox has no recurrence"
    assert sizes.iloc[0, 1:].tolist() == pytest.approx([0.5, 0.75, 0.75])
