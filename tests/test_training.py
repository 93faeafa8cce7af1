"""Training: it learns, it goes on after a kill as if nothing had happened, and it refuses what it was not made from."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from test_evaluation import captures

from p2vlib import models, training
from p2vlib.config import Training

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
RECIPE = Training(steps=6, batch=2, views=2, epoch=2, single_view=0.34)


def tiny(seed: int = 0) -> models.Pix2Vox:
    torch.manual_seed(seed)
    return models.build(
        "pix2vox-f-narrow", image_size=32, trunk=(4, 4, 8, 8), head=((8, 1, 1),), decoder=(16, 8, 8, 4), mixing=False
    )


def data():
    boxes = captures(4, views=4)
    return replace(boxes, photos=boxes.photos.repeat_interleave(4, 3).repeat_interleave(4, 4))


def same_weights(first: Path, second: Path) -> bool:
    """Whether two files hold the same tensors bit for bit."""
    one, two = load_file(first), load_file(second)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_the_loss_asks_every_view_and_both_volumes():
    """At p = 1/2 the cross entropy is log 2 a voxel; Dice of half a box against a box follows from its count."""
    truth = torch.zeros(1, 4, 4, 4, dtype=torch.bool)
    truth[0, :2] = True
    half = torch.full((1, 4, 4, 4), 0.5)
    once = 10 * torch.log(torch.tensor(2.0)) + 6 * (1 - (2 * 16 + 1) / (32 + 32 + 1))
    for views, terms in ((1, 1), (3, 2)):
        each = half[:, None].expand(-1, views, -1, -1, -1)
        unrefined = models.Reconstruction(half, half, each, each)
        assert training.loss_of(unrefined, truth).item() == pytest.approx(terms * once.item(), rel=1e-5)
        refined = models.Reconstruction(half.clone(), half, each, each)
        assert training.loss_of(refined, truth).item() == pytest.approx((terms + 1) * once.item(), rel=1e-5)


@pytest.mark.parametrize("device", DEVICES)
def test_it_learns(device, tmp_path):
    recipe = replace(RECIPE, steps=60, batch=4, epoch=30, mirror=False, learning_rate=3e-3)
    history = training.train(tiny(), data(), data(), recipe, tmp_path / "net", device=device)
    assert history.step.tolist() == [30, 60] and history.loss.iloc[1] < 0.7 * history.loss.iloc[0]
    assert history.validation_iou.iloc[1] > 0.5


def test_the_same_recipe_gives_the_same_weights(tmp_path):
    for name in ("one", "two"):
        training.train(tiny(), data(), data(), RECIPE, tmp_path / name, device="cpu")
    training.train(tiny(), data(), data(), replace(RECIPE, seed=1), tmp_path / "other", device="cpu")
    one, two, other = (tmp_path / name / "weights.safetensors" for name in ("one", "two", "other"))
    assert same_weights(one, two) and not same_weights(one, other)


PROGRAM = """
import sys, torch
sys.path[:0] = {path!r}
from pathlib import Path
from test_training import RECIPE, data, tiny
from p2vlib import training
torch.set_num_threads(2)
training.train(tiny(), data(), data(), RECIPE, Path(sys.argv[1]), device="cpu")
"""


def test_killed_in_the_middle_it_ends_with_the_same_weights_bit_for_bit(tmp_path):
    """A real process, killed with SIGKILL as soon as its first checkpoint is there, then started again."""
    command = [sys.executable, "-c", PROGRAM.format(path=[os.path.dirname(__file__), os.getcwd()])]
    subprocess.run([*command, tmp_path / "whole"], check=True, capture_output=True, timeout=300)
    process = subprocess.Popen([*command, tmp_path / "killed"], stdout=subprocess.DEVNULL)
    checkpoint = tmp_path / "killed" / "checkpoint.safetensors"
    end = time.monotonic() + 300
    while not checkpoint.is_file() and time.monotonic() < end:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "weights.safetensors").exists(), "it was too fast to be killed in the middle"
    again = subprocess.run([*command, tmp_path / "killed"], check=True, capture_output=True, text=True, timeout=300)
    assert "goes on at step" in again.stdout
    assert same_weights(tmp_path / "whole" / "weights.safetensors", tmp_path / "killed" / "weights.safetensors")


def test_what_is_finished_is_loaded_and_what_is_stale_begins_anew(tmp_path):
    said: list[str] = []
    first = training.train(tiny(), data(), data(), RECIPE, tmp_path, device="cpu", report=said.append)
    again = training.train(tiny(1), data(), data(), RECIPE, tmp_path, device="cpu", report=said.append)
    assert again.equals(first) and "trained before" in said[-1]
    training.train(tiny(), data(), data(), replace(RECIPE, views=1), tmp_path, device="cpu", report=said.append)
    assert any("another views; begins anew" in line for line in said)


def test_fine_tuning_begins_with_the_given_weights(tmp_path):
    training.train(tiny(), data(), data(), RECIPE, tmp_path / "first", device="cpu")
    still = replace(RECIPE, learning_rate=1e-12, weight_decay=0.0, steps=1)
    start = tmp_path / "first" / "weights.safetensors"
    model, begun = tiny(1), tiny(2)
    training.train(model, data(), data(), still, tmp_path / "second", start=start, device="cpu")
    training.load_weights(begun, start)
    for tuned, first in zip(model.parameters(), begun.parameters(), strict=True):
        assert torch.allclose(tuned, first, atol=1e-6)


def test_a_truncated_checkpoint_names_itself(tmp_path):
    training.train(tiny(), data(), data(), RECIPE, tmp_path, device="cpu")
    path = tmp_path / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a whole safetensors file") as caught:
        training.train(tiny(), data(), data(), RECIPE, tmp_path, device="cpu")
    assert str(path) in str(caught.value)


def test_weights_of_another_network_are_refused(tmp_path):
    training.train(tiny(), data(), data(), RECIPE, tmp_path, device="cpu")
    with pytest.raises(ValueError, match="another network"):
        training.load_weights(models.build("pix2vox-f-narrow"), tmp_path / "weights.safetensors")


def test_a_loss_that_is_no_number_stops(tmp_path):
    with pytest.raises(ValueError, match="lower the learning rate"):
        training.train(tiny(), data(), data(), replace(RECIPE, learning_rate=1e30, clip=1e30), tmp_path, device="cpu")


def test_a_batch_follows_from_seed_and_step():
    photos, truth = training.draw(data(), RECIPE, 3)
    again, _ = training.draw(data(), RECIPE, 3)
    other, _ = training.draw(data(), RECIPE, 4)
    assert torch.equal(photos, again) and (photos.shape != other.shape or not torch.equal(photos, other))
    assert photos.shape[2] == 3 and truth.dtype == torch.bool


def test_one_photo_first_then_several():
    counts = [training.draw(data(), replace(RECIPE, steps=30), step)[0].shape[1] for step in range(30)]
    assert set(counts[:10]) == {1} and set(counts[11:]) == {1, 2}


def test_clockwise_batches_stay_clockwise_and_shuffled_ones_do_not():
    numbered = data()
    numbered.photos[:, :, :3] = torch.arange(4, dtype=torch.uint8)[None, :, None, None, None] * 40
    recipe = replace(RECIPE, views=4, single_view=0.0, mirror=False, batch=1)
    rising = {"clockwise": 0, "shuffled": 0}
    for order in rising:
        for step in range(30):
            photos, _ = training.draw(numbered, replace(recipe, order=order), step)
            rising[order] += bool((photos.mean((0, 2, 3, 4)).diff() >= 0).all())
    assert rising["clockwise"] == 30 and rising["shuffled"] < 25


@pytest.mark.parametrize(("schedule", "last"), [("cosine", 0.0), ("step", 0.5)])
def test_schedules(schedule, last):
    recipe = replace(RECIPE, steps=100, schedule=schedule, learning_rate=1.0)
    rates = [training.learning_rate(recipe, step) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 3) and max(rates) <= 1 and rates[-1] == pytest.approx(last, abs=0.01)
