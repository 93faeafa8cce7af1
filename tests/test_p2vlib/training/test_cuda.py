"""What only a GPU shows; elsewhere these tests are skipped."""

from dataclasses import replace

import pytest
import torch

from p2vlib import training
from p2vlib.training import acceleration, loop
from tests.test_p2vlib.training.test_training import RECIPE, SMALL_NETWORKS, build, data, data_with_cameras, tiny

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with CUDA")


@pytest.mark.parametrize("name", sorted(set(SMALL_NETWORKS) - {"psgn-narrow"}))
def test_no_training_step_waits_for_the_gpu(name):
    """But those of PSGN, which draws its random input from the photos."""
    model = build(name)
    samples = (data_with_cameras() if model.needs_cameras else data()).to("cuda")
    accelerator = acceleration.make_accelerator("cuda")
    network, optimizer, _ = loop._prepare(accelerator, model, RECIPE, compiled=False)
    drawn = list(loop._batches(accelerator, model, samples, replace(RECIPE, steps=4), range(4)))
    losses = [loop.training_step(accelerator, network, optimizer, drawn[0], RECIPE, 0)]
    torch.cuda.set_sync_debug_mode("error")
    try:
        losses += [loop.training_step(accelerator, network, optimizer, drawn[step], RECIPE, step) for step in (1, 2, 3)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.stack(losses).isfinite().all()


@pytest.mark.parametrize("name", SMALL_NETWORKS)
def test_a_training_on_the_gpu_has_about_the_losses_of_the_cpu(name, tmp_path):
    histories = []
    for device in ("cpu", "cuda"):
        model = build(name)
        samples = data_with_cameras() if model.needs_cameras else data()
        histories.append(training.train(model, samples, samples, RECIPE, tmp_path / device, device=device))
    assert histories[0].loss.to_numpy() == pytest.approx(histories[1].loss.to_numpy(), rel=0.05)


def test_a_compiled_network_and_float16_learn(tmp_path, monkeypatch):
    recipe = replace(RECIPE, steps=60, batch=4, steps_per_epoch=30, mirror=False, learning_rate=3e-3)
    compiled = training.train(tiny(), data(), data(), recipe, tmp_path / "compiled", device="cuda", compiled=True)
    monkeypatch.setattr(acceleration, "precision", lambda device: "float16")
    scaled = training.train(tiny(), data(), data(), recipe, tmp_path / "float16", device="cuda")
    for history in (compiled, scaled):
        assert history.loss.iloc[1] < 0.7 * history.loss.iloc[0] and history.validation_iou.iloc[1] > 0.5
