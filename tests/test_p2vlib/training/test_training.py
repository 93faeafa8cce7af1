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

from p2vlib import models, training
from p2vlib.config import RECIPES, Training
from p2vlib.training import batches, checkpoints, loop, losses
from p2vlib.training.recipes import frozen_parts, resolve_epochs
from tests.test_p2vlib.evaluation.test_evaluation import captures

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
RECIPE = Training(steps=6, batch=2, views=2, steps_per_epoch=2, single_view_share=0.34)


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


@pytest.mark.parametrize("device", DEVICES)
def test_it_learns(device, tmp_path):
    recipe = replace(RECIPE, steps=60, batch=4, steps_per_epoch=30, mirror=False, learning_rate=3e-3)
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
from tests.test_p2vlib.training.test_training import RECIPE, data, tiny
from p2vlib import training
torch.set_num_threads({threads})
training.train(tiny(), data(), data(), RECIPE, Path(sys.argv[1]), device="cpu")
"""


def test_killed_in_the_middle_it_ends_with_the_same_weights_bit_for_bit(tmp_path):
    """A real process, killed with SIGKILL as soon as its first checkpoint is there; another goes on."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    program = PROGRAM.format(path=[os.path.dirname(__file__), os.getcwd()], threads=torch.get_num_threads())
    process = subprocess.Popen([sys.executable, "-c", program, killed], stdout=subprocess.DEVNULL)
    end = time.monotonic() + 300
    while not (killed / "checkpoint.safetensors").is_file() and time.monotonic() < end:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "weights.safetensors").exists(), "it was too fast to be killed in the middle"
    said: list[str] = []
    for folder in (killed, whole):
        training.train(tiny(), data(), data(), RECIPE, folder, device="cpu", report=said.append)
    assert "continues at step" in said[0]
    assert same_weights(whole / "weights.safetensors", killed / "weights.safetensors")


def test_what_is_finished_is_loaded_and_what_is_stale_begins_anew(tmp_path):
    said: list[str] = []
    first = training.train(tiny(), data(), data(), RECIPE, tmp_path, device="cpu", report=said.append)
    again = training.train(tiny(1), data(), data(), RECIPE, tmp_path, device="cpu", report=said.append)
    assert again.equals(first) and "loaded finished weights" in said[-1]
    training.train(tiny(), data(), data(), replace(RECIPE, views=1), tmp_path, device="cpu", report=said.append)
    assert any("another views; moved the older weights" in line for line in said)
    back = training.train(tiny(1), data(), data(), RECIPE, tmp_path, device="cpu", report=said.append)
    assert back.equals(first) and "loaded finished weights" in said[-1], "a trial with other settings costs no training"


def test_fine_tuning_begins_with_the_given_weights(tmp_path):
    training.train(tiny(), data(), data(), RECIPE, tmp_path / "first", device="cpu")
    still = replace(RECIPE, learning_rate=1e-12, weight_decay=0.0, steps=1)
    start = tmp_path / "first" / "weights.safetensors"
    model, begun = tiny(1), tiny(2)
    training.train(model, data(), data(), still, tmp_path / "second", start=start, device="cpu")
    checkpoints.load_weights(begun, start)
    for tuned, first in zip(model.parameters(), begun.parameters(), strict=True):
        assert torch.allclose(tuned, first, atol=1e-6)


def test_a_truncated_checkpoint_names_itself(tmp_path):
    training.train(tiny(), data(), data(), RECIPE, tmp_path, device="cpu")
    path = tmp_path / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a complete safetensors file") as caught:
        training.train(tiny(), data(), data(), RECIPE, tmp_path, device="cpu")
    assert str(path) in str(caught.value)


def test_weights_of_another_network_are_refused(tmp_path):
    training.train(tiny(), data(), data(), RECIPE, tmp_path, device="cpu")
    with pytest.raises(ValueError, match="another network"):
        checkpoints.load_weights(models.build("pix2vox-f-narrow"), tmp_path / "weights.safetensors")


def test_a_loss_that_is_no_number_stops(tmp_path):
    with pytest.raises(ValueError, match="lower the learning rate"):
        training.train(
            tiny(), data(), data(), replace(RECIPE, learning_rate=1e30, gradient_clip=1e30), tmp_path, device="cpu"
        )


@pytest.mark.parametrize(("schedule", "first", "last"), [("cosine", 1 / 3, 0.0), ("step", 1.0, 0.5)])
def test_schedules(schedule, first, last):
    recipe = replace(RECIPE, steps=100, schedule=schedule, learning_rate=1.0)
    rates = [training.learning_rate(recipe, step) for step in range(100)]
    assert rates[0] == pytest.approx(first) and max(rates) <= 1 and rates[-1] == pytest.approx(last, abs=0.01)


# ------------------------------------------------------------------------------------------------------- as published


def published(captures: int) -> Training:
    return resolve_epochs(RECIPES["published"], captures)


def test_the_published_recipe_is_counted_in_passes():
    recipe = published(30_643)
    assert recipe.steps_per_epoch == 479 and recipe.steps == 350 * 479
    rates = [training.learning_rate(recipe, epoch * 479) for epoch in (0, 149, 150, 249, 250, 349)]
    assert rates == [1e-3, 1e-3, 5e-4, 5e-4, 1e-3, 1e-3]
    held = [frozen_parts(tiny(), recipe, epoch * 479) for epoch in (0, 249, 250, 349)]
    assert held == [(), (), *[("encoder", "recurrent", "decoder")] * 2]


def test_cameras_mean_nothing_to_a_network_that_needs_none(tmp_path):
    told = replace(data(), cameras=torch.rand(4, 4, 3, 7))
    for name, learnt in (("without", data()), ("with", told)):
        training.train(tiny(), learnt, data(), RECIPE, tmp_path / name, device="cpu")
    assert same_weights(*(tmp_path / name / "weights.safetensors" for name in ("without", "with")))
    assert told.digest() != data().digest() != replace(told, cameras=2 * told.cameras).digest()


def test_in_the_second_stage_only_fusion_and_refiner_learn(tmp_path):
    def small() -> models.Pix2Vox:
        torch.manual_seed(0)
        shape = dict(image_size=32, trunk=(4, 4, 8, 8), head=((8, 1, 1),), decoder=(16, 8, 8, 4), mixing=False)
        return models.build("pix2vox-a-narrow", **shape, refiner=(2, 2, 2, 4))

    recipe = replace(RECIPES["published"], epochs=4, single_view_share=0.5, batch=2, views=2)
    whole = small()
    history = training.train(whole, data(), data(), recipe, tmp_path / "whole", device="cpu")
    assert history.step.tolist() == [2, 4, 6, 8]
    first = small()
    training.train(
        first,
        data(),
        data(),
        replace(recipe, epochs=2, freeze_after_first_stage=False, single_view_share=1.0),
        tmp_path / "first",
    )
    for part, stays in {"encoder": True, "decoder": True, "merger": False, "refiner": False}.items():
        pairs = zip(getattr(whole, part).state_dict().items(), getattr(first, part).state_dict().values(), strict=True)
        same = all(torch.equal(one, two) for (name, one), two in pairs if "num_batches" not in name)
        assert same == stays, part


def test_a_held_step_with_one_view_and_no_refiner_teaches_nothing(tmp_path):
    """It once stopped the whole training: in F only the fusion learns then, and one view gives it nothing to weigh."""
    recipe = replace(RECIPES["published"], epochs=4, single_view_share=0.5, batch=2, views=1)
    whole, first = tiny(), tiny()
    training.train(whole, data(), data(), recipe, tmp_path / "whole", device="cpu")
    training.train(
        first,
        data(),
        data(),
        replace(recipe, epochs=2, freeze_after_first_stage=False, single_view_share=1.0),
        tmp_path / "first",
    )
    assert all(torch.equal(one, two) for one, two in zip(whole.parameters(), first.parameters(), strict=True))


# -------------------------------------------------------------------------------------------------- several processes

WORKER = """
import sys, torch
sys.path[:0] = {path!r}
from pathlib import Path
from dataclasses import replace
from tests.test_p2vlib.training import test_training as here
from p2vlib.training import loop
torch.set_num_threads(1)
folder, stop = Path(sys.argv[1]), int(sys.argv[2])
step = loop.training_step
def watched(accelerator, network, optimizer, captures, recipe, number):
    if number == stop:
        sys.exit(0)
    if number == 0:
        grads = {{}}
        clip = accelerator.clip_grad_norm_
        def kept(*arguments):
            model = accelerator.unwrap_model(network)
            grads.update({{n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}})
            return clip(*arguments)
        accelerator.clip_grad_norm_ = kept
        loss = step(accelerator, network, optimizer, captures, recipe, number)
        torch.save(grads, folder / f"grads{{accelerator.process_index}}.pt")
        return loss
    return step(accelerator, network, optimizer, captures, recipe, number)
loop.training_step = watched
model = here.tiny()
loop.train(model, here.data(), here.data(), here.SHARED, folder / "net", device="cpu")
import torch.distributed as d
torch.save(model.state_dict(), folder / f"end{{d.get_rank() if d.is_initialized() else 0}}.pt")
"""

SHARED = replace(RECIPE, epochs=3, batch=2, views=2)


def run_together(folder: Path, processes: int, stop: int = -1) -> str:
    """Trains `SHARED` under torchrun with gloo; ``stop``: ends before that step, as if it had been killed."""
    folder.mkdir(exist_ok=True)
    script = folder / "worker.py"
    script.write_text(WORKER.format(path=[os.path.dirname(__file__), os.getcwd()]))
    launch = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", "--standalone"]
    done = subprocess.run([*launch, script, folder, str(stop)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def together(tmp_path_factory) -> tuple[Path, str]:
    """The outcome of two processes, and what they said."""
    folder = tmp_path_factory.mktemp("together")
    return folder, run_together(folder, 2)


def test_two_processes_average_the_gradients_of_their_halves(together):
    recipe, halves, cores = resolve_epochs(SHARED, len(data())), [], torch.get_num_threads()
    torch.set_num_threads(1)  # as each of the two had: sums in another order would differ by more than the two do
    for share in ((0, 2), (1, 2)):
        model = models.to_fast_layout(tiny()).train()
        batch = batches.sample_batch(data(), recipe, 0, share)
        with loop._accelerator("cpu").autocast():
            result = model(batch.views)
        losses.training_loss(model, result, batch).backward()
        halves.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    torch.set_num_threads(cores)
    for rank in (0, 1):
        found = torch.load(together[0] / f"grads{rank}.pt", weights_only=True)
        assert found.keys() >= halves[0].keys()
        for name, gradient in halves[0].items():
            wanted = (gradient + halves[1][name]) / 2
            assert (found[name] - wanted).abs().max() <= 1e-5 * max(1, wanted.abs().max()), name


def test_two_processes_end_with_the_same_weights_and_speak_once(together):
    folder, said = together
    one, two = (torch.load(folder / f"end{rank}.pt", weights_only=True) for rank in (0, 1))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert said.count("step     6/6") == 1
    kept = load_file(folder / "net" / "weights.safetensors")
    assert all(torch.equal(kept[f"model.{name}"], value) for name, value in one.items())


def test_a_checkpoint_of_two_processes_goes_on_in_one(tmp_path):
    run_together(tmp_path, 2, stop=4)
    assert (tmp_path / "net" / "checkpoint.safetensors").is_file()
    said: list[str] = []
    history = training.train(tiny(), data(), data(), SHARED, tmp_path / "net", device="cpu", report=said.append)
    assert "continues at step 4 of 6" in said[0] and history.step.tolist() == [2, 4, 6]
