import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from p2vlib import models, training
from p2vlib.training import acceleration, batches, losses, recipes
from p2vlib.training.recipes import resolve_epochs
from tests.test_p2vlib.training.test_training import RECIPE, build, data, same_weights, tiny

SHARED = replace(RECIPE, epochs=3, batch=2, views=2)

PROGRAM = """
import sys, torch
sys.path[:0] = {path!r}
from pathlib import Path
from tests.test_p2vlib.training.test_training import RECIPE, data, tiny
from p2vlib import training
torch.set_num_threads({threads})
training.train(tiny(), data(), data(), RECIPE, Path(sys.argv[1]), device="cpu")
"""

WORKER = """
import shutil, sys, torch
sys.path[:0] = {path!r}
from pathlib import Path
from tests.test_p2vlib.training import test_processes as here
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

PATH = [os.path.dirname(__file__), os.getcwd()]


def test_a_killed_process_resumes_bit_for_bit(tmp_path):
    """A process killed with SIGKILL as soon as its first checkpoint exists; another one continues."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    program = PROGRAM.format(path=PATH, threads=torch.get_num_threads())
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


def test_networks_trained_side_by_side_in_threads_equal_those_trained_alone(tmp_path, monkeypatch):
    """With autocast's cache of cast weights, which all threads share, they do not."""
    monkeypatch.setattr(recipes, "fast_bf16", lambda device: True)
    names, modes = ["pix2vox-lstm-narrow", "3d-r2n2-narrow"], set()

    def note_mode(part: nn.Module, inputs: object) -> None:
        if part.training:
            modes.add((torch.is_autocast_enabled("cpu"), torch.is_autocast_cache_enabled()))

    def train(name: str, model: nn.Module, folder: str) -> Path:
        next(model.children()).register_forward_pre_hook(note_mode)
        recipe = replace(RECIPE, steps=8, steps_per_epoch=8, single_view_share=0.0)
        training.train(model, data(), data(), recipe, tmp_path / folder / name, device="cpu", report=str)
        return tmp_path / folder / name / "weights.safetensors"

    alone = {name: train(name, build(name), "alone") for name in names}
    networks = {name: build(name) for name in names}
    with ThreadPoolExecutor(2) as pool:
        jobs = {name: pool.submit(train, name, networks[name], "together") for name in names}
    assert all(same_weights(alone[name], job.result()) for name, job in jobs.items())
    assert modes == {(True, False)}, "autocast, without its cache"


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory) -> tuple[Path, str]:
    """The results of training `SHARED` under torchrun with gloo in two processes, and its output.

    The folder ``stopped`` is as a training leaves it that is killed in step 4.
    """
    folder = tmp_path_factory.mktemp("together")
    script = folder / "worker.py"
    script.write_text(WORKER.format(path=PATH))
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
        with acceleration.make_accelerator("cpu").autocast():
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


def test_two_processes_end_with_the_same_weights_log_once_and_continue_in_one(two_processes):
    folder, output = two_processes
    one, two = (torch.load(folder / f"end{rank}.pt", weights_only=True) for rank in (0, 1))
    assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
    assert output.count("step     6/6") == 1
    saved = load_file(folder / "net" / "weights.safetensors")
    assert all(torch.equal(saved[f"model.{name}"], value) for name, value in one.items())
    stopped, report = folder / "stopped", []
    assert not (stopped / "weights.safetensors").exists()
    history = training.train(tiny(), data(), data(), SHARED, stopped, device="cpu", report=report.append)
    assert "continues at step 4 of 6" in report[0] and history.step.tolist() == [2, 4, 6]
