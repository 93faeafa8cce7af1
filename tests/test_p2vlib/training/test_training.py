"""The training loop: it learns, resumes bit for bit, and keeps trainings that run at the same time apart."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from p2vlib import models, training
from p2vlib.config import RECIPES, Training
from p2vlib.data.dataset import Captures
from p2vlib.models import Reconstruction
from p2vlib.training import batches, checkpoints, loop, losses, recipes
from p2vlib.training.recipes import resolve_epochs
from tests.test_p2vlib.evaluation.test_evaluation import captures

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
RECIPE = Training(steps=6, batch=2, views=2, steps_per_epoch=2, single_view_share=0.34)
SMALL = dict(image_size=32, trunk=(4, 4, 8, 8), head=((8, 1, 1),), decoder=(16, 8, 8, 4), mixing=False)
SMALL_R2N2 = dict(image_size=32, encoder=(4, 4, 8, 8, 8, 8), features=16, decoder=(8, 8, 4, 4))
SMALL_NETWORKS = {
    "pix2vox-f-narrow": SMALL,
    "pix2vox-a-narrow": {**SMALL, "refiner": (2, 2, 2, 4)},
    "pix2vox++-f-narrow": {**SMALL, "trunk": "resnet18"},
    "pix2vox++-a-narrow": {**SMALL, "trunk": "resnet50", "refiner": (2, 2, 2, 4)},
    "pix2vox-lstm-narrow": {**SMALL, "refiner": (2, 2, 2, 4)},
    "3d-r2n2-narrow": SMALL_R2N2,
    "attsets-narrow": SMALL_R2N2,
    "psgn-narrow": dict(image_size=32, encoder=(4, 4, 8, 8), hidden=16, decoder=(4, 4)),
    "unprojection": dict(image_size=32, encoder=(4, 4, 8, 8), features=4, volume=(4, 4, 8)),
}


def build(name: str, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return models.build(name, **SMALL_NETWORKS[name])


def tiny(seed: int = 0) -> models.Pix2Vox:
    return build("pix2vox-f-narrow", seed)


def data() -> Captures:
    boxes = captures(4, views=4)
    return replace(boxes, photos=boxes.photos.repeat_interleave(4, 3).repeat_interleave(4, 4))


def data_with_cameras() -> Captures:
    """`data`, seen by four cameras at a distance of two edges that look at the centre of the cube."""
    angle = torch.arange(4) * torch.pi / 2
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros(4)
    rotation = torch.stack([sin, zero, -cos, zero, zero - 1, zero, -cos, zero, -sin], -1).unflatten(-1, (3, 3))
    translation = torch.tensor([0.0, 0.0, 2.0])[:, None] - rotation @ torch.full((3, 1), 0.5)
    intrinsics = torch.diag(torch.tensor([2.0, 2.0, 1.0])).expand(4, 3, 3)
    return replace(data(), cameras=torch.cat([intrinsics, rotation, translation], -1).expand(4, -1, -1, -1))


def same_weights(first: Path, second: Path) -> bool:
    """Whether two files hold the same tensors bit for bit."""
    one, two = load_file(first), load_file(second)
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("device", DEVICES)
def test_loss_decreases_and_validation_iou_rises(device, tmp_path):
    recipe = replace(RECIPE, steps=60, batch=4, steps_per_epoch=30, mirror=False, learning_rate=3e-3)
    history = training.train(tiny(), data(), data(), recipe, tmp_path / "net", device=device)
    assert history.step.tolist() == [30, 60] and history.loss.iloc[1] < 0.7 * history.loss.iloc[0]
    assert history.validation_iou.iloc[1] > 0.5


class MeanColour(nn.Module):
    """The smallest network that meets `models.Network`: a linear layer on the mean colour of a photo."""

    needs_cameras, order_free = False, True

    def __init__(self, image_size: int = 32) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 32**3)

    def forward(self, views: torch.Tensor, cameras: torch.Tensor | None = None) -> Reconstruction:
        volumes = torch.sigmoid(self.layer(views.mean((-2, -1))).float()).unflatten(-1, (32, 32, 32))
        fused = volumes.mean(1)
        return Reconstruction(fused, fused, volumes, torch.full_like(volumes, 1 / volumes.shape[1]))


def test_any_module_that_meets_the_protocol_trains_by_its_name(tmp_path):
    name = f"{__name__}:MeanColour"
    models.check_names(name, "pix2vox-a", "rays")
    torch.manual_seed(0)
    model = models.build(name, image_size=32)
    recipe = replace(RECIPE, steps=40, batch=4, views=1, steps_per_epoch=20, mirror=False, learning_rate=0.03)
    history = training.train(model, data(), data(), recipe, tmp_path / "net", device="cpu")
    assert history.loss.iloc[1] < 0.9 * history.loss.iloc[0]
    report: list[str] = []
    training.train(models.build(name), data(), data(), recipe, tmp_path / "net", device="cpu", report=report.append)
    assert "loaded finished weights" in report[0]


def test_a_step_is_clipped_and_weights_decay(tmp_path):
    """Plain gradient descent moves the weights by the rate times the norm of the gradient; AdamW shrinks them first."""
    torch.manual_seed(0)
    model, accelerator = MeanColour(), loop._accelerator("cpu")
    start = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
    one_step = copy.deepcopy(model)
    groups = [{"params": list(one_step.parameters()), "part": "layer", "share": 0.5}]
    network, optimizer = accelerator.prepare(one_step, torch.optim.SGD(groups, 1.0))
    recipe = replace(RECIPE, steps=1, steps_per_epoch=1, learning_rate=2.0, gradient_clip=1e-3)
    loop.training_step(accelerator, network, optimizer, [batches.sample_batch(data(), recipe, 0)], recipe, 0)
    moved = torch.nn.utils.parameters_to_vector(network.parameters()) - start
    assert moved.norm().item() == pytest.approx(2.0 * 0.5 * 1e-3, rel=1e-2)
    ends = []
    for decay in (0.0, 0.5):
        trained, decayed = copy.deepcopy(model), replace(recipe, learning_rate=0.01, weight_decay=decay)
        training.train(trained, data(), data(), decayed, tmp_path / str(decay), device="cpu", report=str)
        ends.append(torch.nn.utils.parameters_to_vector(trained.parameters()).detach())
    start[model.layer.weight.numel() :] = 0  # biases do not decay
    assert torch.allclose(ends[0] - ends[1], 0.01 * 0.5 * start, atol=1e-6)
    shares = {
        group["part"]: group["share"] for group in recipes.adamw(tiny(), replace(RECIPE, fusion_rate=0.1)).param_groups
    }
    assert shares == {"encoder": 1.0, "decoder": 1.0, "merger": 0.1}


@pytest.mark.parametrize(("recipe_views", "photos", "watched"), [(2, 12, 2), (24, 12, 8), (8, 4, 4)])
def test_validation_uses_the_views_of_the_recipe_at_most_eight(recipe_views, photos, watched, tmp_path, monkeypatch):
    used = []
    scores = pd.DataFrame({"threshold": [0.3], "iou": [0.5]})
    monkeypatch.setattr(loop, "evaluate", lambda model, captures, views: used.append(views) or scores)
    recipe = replace(RECIPE, steps=1, steps_per_epoch=1, views=recipe_views)
    training.train(MeanColour(), data(), captures(2, photos), recipe, tmp_path, device="cpu", report=str)
    assert used == [(watched,)]


# ------------------------------------------------------------------------------------------ determinism and resuming


@pytest.fixture
def stop_in_step_3(monkeypatch) -> Callable[..., None]:
    """Calls a function that trains, and stops it between two checkpoints."""

    def run(train: Callable, *arguments: object) -> None:
        step = loop.training_step

        def stopped(*given) -> torch.Tensor:
            if given[-1] == 3:
                raise KeyboardInterrupt
            return step(*given)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(loop, "training_step", stopped)
            train(*arguments)

    return run


@pytest.mark.parametrize("name", SMALL_NETWORKS)
def test_each_network_trains_reproducibly_and_resumes_bit_for_bit(name, tmp_path, stop_in_step_3):
    """Trained whole, and stopped between two checkpoints and continued; the global random state differs each time."""
    samples = data_with_cameras()

    def train(folder: str) -> Path:
        model = build(name)
        torch.manual_seed(len(folder))
        training.train(model, samples, samples, RECIPE, tmp_path / folder, device="cpu")
        return tmp_path / folder / "weights.safetensors"

    stop_in_step_3(train, "stopped")
    assert (tmp_path / "stopped" / "checkpoint.safetensors").is_file()
    assert same_weights(train("whole"), train("stopped"))


def test_the_registry_has_no_narrow_network_that_is_not_tested():
    narrow = {name for name in models.names() if name.endswith("-narrow")}
    assert narrow | {"unprojection"} == set(SMALL_NETWORKS)


def test_trained_network_predicts_as_the_saved_weights_do(tmp_path):
    """Training in bfloat16 leaves no autocast in the forward pass of the network."""
    network, restored, views = tiny(), tiny(), torch.rand(1, 2, 3, 32, 32)
    training.train(network, data(), data(), RECIPE, tmp_path, device="cpu")
    checkpoints.load_weights(restored, tmp_path / "weights.safetensors")
    with torch.no_grad():
        assert torch.equal(network.eval()(views).probability, restored.eval()(views).probability)


PROGRAM = """
import sys, torch
sys.path[:0] = {path!r}
from pathlib import Path
from tests.test_p2vlib.training.test_training import RECIPE, data, tiny
from p2vlib import training
torch.set_num_threads({threads})
training.train(tiny(), data(), data(), RECIPE, Path(sys.argv[1]), device="cpu")
"""


def test_a_killed_process_resumes_bit_for_bit(tmp_path):
    """A process killed with SIGKILL as soon as its first checkpoint exists; another one continues."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    program = PROGRAM.format(path=[os.path.dirname(__file__), os.getcwd()], threads=torch.get_num_threads())
    process = subprocess.Popen([sys.executable, "-c", program, killed], stdout=subprocess.DEVNULL)
    end = time.monotonic() + 300
    while not (killed / "checkpoint.safetensors").is_file() and time.monotonic() < end:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "weights.safetensors").exists(), "it was too fast to be killed in the middle"
    report: list[str] = []
    for folder in (killed, whole):
        training.train(tiny(), data(), data(), RECIPE, folder, device="cpu", report=report.append)
    assert "continues at step" in report[0]
    assert same_weights(whole / "weights.safetensors", killed / "weights.safetensors")


def test_the_moving_average_resumes_bit_for_bit_and_is_the_result(tmp_path, stop_in_step_3):
    """A decay of 2 ** -30 keeps the last weights; .5 gives others, also after a stop between two checkpoints."""

    def train(folder: str, decay: float) -> dict[str, torch.Tensor]:
        model, recipe = tiny(), replace(RECIPE, average_decay=decay)
        training.train(model, data(), data(), recipe, tmp_path / folder, device="cpu", report=str)
        stored = load_file(tmp_path / folder / "weights.safetensors")
        assert all(torch.equal(stored[f"model.{name}"], value) for name, value in model.state_dict().items())
        return dict(model.named_parameters())

    results = {name: train(name, decay) for name, decay in (("off", 0.0), ("last", 2**-30), ("whole", 0.5))}
    stop_in_step_3(train, "stopped", 0.5)
    results["stopped"] = train("stopped", 0.5)
    assert all(torch.allclose(results["off"][name], results["last"][name], atol=1e-6) for name in results["off"])
    assert any(not torch.allclose(results["off"][name], results["whole"][name]) for name in results["off"])
    assert all(torch.equal(results["whole"][name], results["stopped"][name]) for name in results["whole"])


def test_a_batch_in_parts_has_the_gradient_of_the_whole():
    recipe = replace(RECIPE, batch=4, views=1, gradient_clip=0.0, mirror=False)
    torch.manual_seed(0)
    model, accelerator, gradients = MeanColour(), loop._accelerator("cpu"), []
    (whole,) = loop._batches(accelerator, model, data(), recipe, 0)
    parts = [whole._replace(views=whole.views[part::2], truth=whole.truth[part::2]) for part in (0, 1)]
    optimizer = recipes.adamw(model, replace(recipe, learning_rate=0.0))
    optimizer.register_step_pre_hook(lambda *_: gradients.append(model.layer.weight.grad.clone()))
    for several in ([whole], parts):
        loop.training_step(accelerator, model, optimizer, several, replace(recipe, learning_rate=0.0), 0)
    assert torch.allclose(*gradients, rtol=0.02, atol=1e-6) and gradients[0].abs().max() > 1e-5
    drawn = loop._batches(accelerator, model, data(), replace(recipe, accumulation=2), 0)
    assert torch.equal(torch.cat([batch.truth for batch in drawn]).sum(0), whole.truth.sum(0))


def test_biases_and_norms_have_no_weight_decay():
    groups = recipes.adamw(tiny(), RECIPE).param_groups
    decayed = {group["weight_decay"]: {value.dim() > 1 for value in group["params"]} for group in groups}
    assert decayed == {RECIPE.weight_decay: {True}, 0.0: {False}}


def test_prefetched_batches_are_the_same():
    assert list(batches.prefetch(map(str, range(4)))) == ["0", "1", "2", "3"]
    with pytest.raises(ZeroDivisionError):
        list(batches.prefetch(1 // number for number in (1, 0)))


def test_seed_changes_the_weights(tmp_path):
    for seed in (0, 1):
        training.train(tiny(), data(), data(), replace(RECIPE, seed=seed), tmp_path / str(seed), device="cpu")
    assert not same_weights(*(tmp_path / str(seed) / "weights.safetensors" for seed in (0, 1)))


def test_networks_trained_side_by_side_in_threads_equal_those_trained_alone(tmp_path, monkeypatch):
    """With autocast's cache of cast weights, which all threads share, they do not."""
    monkeypatch.setattr(recipes, "fast_bf16", lambda device: True)
    names, cached = ["pix2vox-lstm-narrow", "3d-r2n2-narrow"], set()

    def train(name: str, model: nn.Module, folder: str) -> Path:
        model.register_forward_pre_hook(lambda one, _: cached.add(one.training and torch.is_autocast_cache_enabled()))
        recipe = replace(RECIPE, steps=8, steps_per_epoch=8, single_view_share=0.0)
        training.train(model, data(), data(), recipe, tmp_path / folder / name, device="cpu", report=str)
        return tmp_path / folder / name / "weights.safetensors"

    alone = {name: train(name, build(name), "alone") for name in names}
    for repeat in range(2):
        networks = {name: build(name) for name in names}
        with ThreadPoolExecutor(2) as pool:
            jobs = {name: pool.submit(train, name, networks[name], str(repeat)) for name in names}
        assert all(same_weights(alone[name], job.result()) for name, job in jobs.items())
    assert cached == {False}


# ---------------------------------------------------------------------------------------------------- loading, refusal


def test_fine_tuning_starts_from_the_given_weights(tmp_path):
    training.train(tiny(), data(), data(), RECIPE, tmp_path / "first", device="cpu")
    tiny_steps = replace(RECIPE, learning_rate=1e-12, weight_decay=0.0, steps=1)
    start = tmp_path / "first" / "weights.safetensors"
    model, expected = tiny(1), tiny(2)
    training.train(model, data(), data(), tiny_steps, tmp_path / "second", start=start, device="cpu")
    checkpoints.load_weights(expected, start)
    for tuned, first in zip(model.parameters(), expected.parameters(), strict=True):
        assert torch.allclose(tuned, first, atol=1e-6)


def test_pix2vox_is_continued_as_pix2vox_lstm(tmp_path):
    small = SMALL_NETWORKS["pix2vox-lstm-narrow"]
    pix2vox, lstm = models.build("pix2vox-a-narrow", **small), models.build("pix2vox-lstm-narrow", **small)
    own = {name: value.clone() for name, value in lstm.state_dict().items()}
    checkpoints.save(tmp_path / "w", pix2vox, {}, pd.DataFrame())
    checkpoints.load_start(lstm, tmp_path / "w")
    for name, value in lstm.state_dict().items():
        assert torch.equal(value, own[name] if name.startswith("recurrent.") else pix2vox.state_dict()[name])
    with pytest.raises(ValueError, match="another network"):
        checkpoints.load_weights(lstm, tmp_path / "w")
    del pix2vox.refiner
    checkpoints.save(tmp_path / "w", pix2vox, {}, pd.DataFrame())
    with pytest.raises(ValueError, match="another network"):
        checkpoints.load_start(lstm, tmp_path / "w")


def test_the_same_object_can_train_twice(tmp_path):
    """Accelerate skips an object that it prepared before: the second training would not be on the GPU."""
    network = tiny()
    for name in ("first", "second"):
        training.train(network, data(), data(), RECIPE, tmp_path / name)
        assert not {"_is_accelerate_prepared", "_original_forward"} & set(vars(network))


def test_an_infinite_loss_stops_the_training(tmp_path):
    recipe = replace(RECIPE, learning_rate=1e30, gradient_clip=1e30)
    with pytest.raises(ValueError, match="lower the learning rate"):
        training.train(tiny(), data(), data(), recipe, tmp_path, device="cpu")


def test_a_network_without_cameras_does_not_depend_on_them(tmp_path):
    for name, samples in (("without", data()), ("with", data_with_cameras())):
        training.train(tiny(), samples, data(), RECIPE, tmp_path / name, device="cpu")
    assert same_weights(*(tmp_path / name / "weights.safetensors" for name in ("without", "with")))


def test_query_points_need_a_network_with_a_point_head(tmp_path):
    with pytest.raises(ValueError, match="Pix2Vox has no query_points; expected a network with a point head"):
        training.train(tiny(), data(), data(), replace(RECIPE, point_samples=8), tmp_path, device="cpu")


# ---------------------------------------------------------------------------------------------------------- two stages


@pytest.mark.parametrize(
    ("name", "trained"), [("pix2vox-a-narrow", {"merger", "refiner"}), ("attsets-narrow", {"merger"})]
)
def test_the_second_stage_trains_fusion_and_refiner_alone(name, trained, tmp_path):
    recipe = replace(RECIPES["published"], epochs=4, single_view_share=0.5, batch=2, views=2, seed=1)
    one_stage = replace(recipe, epochs=2, freeze_after_first_stage=False, single_view_share=1.0, schedule="step")
    noise = torch.randint(256, data().photos.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    samples = replace(data(), photos=noise)  # views that are alike would give attention no gradient
    whole, first = build(name), build(name)
    history = training.train(whole, samples, samples, recipe, tmp_path / "whole", device="cpu")
    assert history.step.tolist() == [2, 4, 6, 8]
    training.train(first, samples, samples, one_stage, tmp_path / "first", device="cpu")
    changed = set()
    for part, child in whole.named_children():
        before = first.get_submodule(part).state_dict()
        values = {key: value for key, value in child.state_dict().items() if "num_batches" not in key}
        changed |= {part} if any(not torch.equal(value, before[key]) for key, value in values.items()) else set()
    assert changed == trained


def test_a_second_stage_with_one_view_and_no_refiner_changes_nothing(tmp_path):
    """In F only the fusion could train then, and a single view gives it no gradient."""
    recipe = replace(RECIPES["published"], epochs=4, single_view_share=0.5, batch=2, views=1)
    one_stage = replace(recipe, epochs=2, freeze_after_first_stage=False, single_view_share=1.0)
    whole, first = tiny(), tiny()
    training.train(whole, data(), data(), recipe, tmp_path / "whole", device="cpu")
    training.train(first, data(), data(), one_stage, tmp_path / "first", device="cpu")
    assert all(torch.equal(one, two) for one, two in zip(whole.parameters(), first.parameters(), strict=True))


# --------------------------------------------------------------------------------------------------- several processes

WORKER = """
import shutil, sys, torch
sys.path[:0] = {path!r}
from pathlib import Path
from tests.test_p2vlib.training import test_training as here
from p2vlib.training import loop
torch.set_num_threads(1)
folder = Path(sys.argv[1])
step = loop.training_step
def recorded(accelerator, network, optimizer, captures, recipe, number):
    if number == 4 and accelerator.is_main_process:
        shutil.copytree(folder / "net", folder / "stopped")
    if number == 0:
        grads = {{}}
        clip = accelerator.clip_grad_norm_
        def keep(*arguments):
            model = accelerator.unwrap_model(network)
            grads.update({{n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}})
            return clip(*arguments)
        accelerator.clip_grad_norm_ = keep
        loss = step(accelerator, network, optimizer, captures, recipe, number)
        torch.save(grads, folder / f"grads{{accelerator.process_index}}.pt")
        return loss
    return step(accelerator, network, optimizer, captures, recipe, number)
loop.training_step = recorded
model = here.tiny()
loop.train(model, here.data(), here.data(), here.SHARED, folder / "net", device="cpu")
import torch.distributed as d
torch.save(model.state_dict(), folder / f"end{{d.get_rank()}}.pt")
"""

SHARED = replace(RECIPE, epochs=3, batch=2, views=2)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory) -> tuple[Path, str]:
    """The results of training `SHARED` under torchrun with gloo in two processes, and its output.

    The folder ``stopped`` is as a training leaves it that is killed in step 4.
    """
    folder = tmp_path_factory.mktemp("together")
    script = folder / "worker.py"
    script.write_text(WORKER.format(path=[os.path.dirname(__file__), os.getcwd()]))
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    done = subprocess.run([*launch, script, folder], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done.stdout


def test_two_processes_average_the_gradients_of_their_halves(two_processes):
    recipe, halves, cores = resolve_epochs(SHARED, len(data())), [], torch.get_num_threads()
    torch.set_num_threads(1)  # as in each process: another order of summation would differ more than the two do
    for share in ((0, 2), (1, 2)):
        model = models.to_fast_layout(tiny()).train()
        batch = batches.sample_batch(data(), recipe, 0, share)
        with loop._accelerator("cpu").autocast():
            result = model(batch.views)
        losses.training_loss(model, result, batch).backward()
        halves.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    torch.set_num_threads(cores)
    for rank in (0, 1):
        found = torch.load(two_processes[0] / f"grads{rank}.pt", weights_only=True)
        assert found.keys() >= halves[0].keys()
        for name, gradient in halves[0].items():
            mean = (gradient + halves[1][name]) / 2
            assert (found[name] - mean).abs().max() <= 1e-5 * max(1, mean.abs().max()), name


def test_two_processes_end_with_the_same_weights_and_log_once(two_processes):
    folder, output = two_processes
    one, two = (torch.load(folder / f"end{rank}.pt", weights_only=True) for rank in (0, 1))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert output.count("step     6/6") == 1
    saved = load_file(folder / "net" / "weights.safetensors")
    assert all(torch.equal(saved[f"model.{name}"], value) for name, value in one.items())


def test_a_checkpoint_of_two_processes_continues_in_one(two_processes):
    stopped, report = two_processes[0] / "stopped", []
    assert not (stopped / "weights.safetensors").exists()
    history = training.train(tiny(), data(), data(), SHARED, stopped, device="cpu", report=report.append)
    assert "continues at step 4 of 6" in report[0] and history.step.tolist() == [2, 4, 6]
