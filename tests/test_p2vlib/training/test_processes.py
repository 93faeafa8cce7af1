import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn

from p2vlib import models, training
from p2vlib.training import acceleration, batches, loop, losses, recipes
from p2vlib.training.recipes import resolve_epochs
from tests.test_p2vlib.training.test_training import RECIPE, build, data, same_weights, tiny

SHARED = replace(RECIPE, epochs=3, batch=2, views=2)


def train_until_killed(folder: Path, threads: int) -> None:
    """Trains, and is killed with SIGKILL in step 3, between two checkpoints."""
    torch.set_num_threads(threads)
    step = loop.training_step

    def killed_step(*arguments: object) -> torch.Tensor:
        if arguments[-1] == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(*arguments)

    loop.training_step = killed_step
    training.train(tiny(), data(), data(), RECIPE, folder, device="cpu")


def train_shared(folder: Path) -> None:
    """What each process of torchrun does: trains `SHARED`, and stores the first gradients and the last weights.

    The folder ``stopped`` is as a training leaves it that is killed in step 4.
    """
    torch.set_num_threads(1)
    model, rank, step, clip = tiny(), os.environ["RANK"], loop.training_step, Accelerator.clip_grad_norm_

    def copied_step(*arguments: object) -> torch.Tensor:
        if arguments[-1] == 4 and rank == "0":
            shutil.copytree(folder / "net", folder / "stopped")
        return step(*arguments)

    def stored_clip(*arguments: object) -> torch.Tensor | None:
        gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
        if not (path := folder / f"grads{rank}.pt").exists():
            torch.save(gradients, path)
        return clip(*arguments)

    loop.training_step, Accelerator.clip_grad_norm_ = copied_step, stored_clip
    history = training.train(model, data(), data(), SHARED, folder / "net", device="cpu")
    torch.save(model.state_dict(), folder / f"end{rank}.pt")
    (folder / f"losses{rank}").write_text(str(history.loss.tolist()))


def test_a_killed_process_resumes_bit_for_bit(tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    arguments = (killed, torch.get_num_threads())
    process = multiprocessing.get_context("spawn").Process(target=train_until_killed, args=arguments)
    process.start()
    process.join(300)
    assert process.exitcode == -signal.SIGKILL and not (killed / "weights.safetensors").exists()
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
    """The results of `train_shared` under torchrun with gloo in two processes, and its output."""
    folder = tmp_path_factory.mktemp("together")
    launch = "-m torch.distributed.run --nproc-per-node=2 --standalone -m tests.test_p2vlib.training.test_processes"
    command = [sys.executable, *launch.split(), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=Path(__file__).parents[3])
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
    assert (folder / "losses0").read_text() == (folder / "losses1").read_text(), "means over both halves of the batches"
    saved = load_file(folder / "net" / "weights.safetensors")
    assert all(torch.equal(saved[f"model.{name}"], value) for name, value in one.items())
    stopped, report = folder / "stopped", []
    assert not (stopped / "weights.safetensors").exists()
    history = training.train(tiny(), data(), data(), SHARED, stopped, device="cpu", report=report.append)
    assert "continues at step 4 of 6" in report[0] and history.step.tolist() == [2, 4, 6]


if __name__ == "__main__":
    train_shared(Path(sys.argv[1]))
