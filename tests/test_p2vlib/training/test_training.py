import copy
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate.utils import AutocastKwargs
from safetensors.torch import load_file
from torch import nn

from p2vlib import models, training
from p2vlib.config import RECIPES, Training
from p2vlib.data.dataset import Captures
from p2vlib.geometry.cameras import look_at
from p2vlib.geometry.frames import FOOT_CUBE
from p2vlib.models import Reconstruction
from p2vlib.training import acceleration, batches, checkpoints, loop, recipes
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
    "pix2vox-lstm-narrow": {**SMALL, "refiner": (2, 2, 2, 4), "mixing": True},
    "3d-r2n2-narrow": SMALL_R2N2,
    "attsets-narrow": SMALL_R2N2,
    "psgn-narrow": dict(image_size=32, encoder=(4, 4, 8, 8), hidden=16, decoder=(4, 4)),
    "unprojection": dict(image_size=32, encoder=(4, 4, 8, 8), features=4, volume=(4, 4, 8)),
}


def build(name: str, seed: int = 0, **overrides: object) -> nn.Module:
    torch.manual_seed(seed)
    return models.build(name, **SMALL_NETWORKS[name] | overrides)


def tiny(seed: int = 0) -> models.Pix2Vox:
    return build("pix2vox-f-narrow", seed)


def data() -> Captures:
    boxes = captures(4, views=4)
    return replace(boxes, photos=boxes.photos.repeat_interleave(4, 3).repeat_interleave(4, 4))


def walk(views: int = 4) -> torch.Tensor:
    """Cameras clockwise around the cube of a foot, each cut to its box, ``[1, views, 3, 7]``."""
    cameras = []
    for view in range(views):
        camera = look_at((360 * view / views + 10, 40 + 3 * view, 5.0, 0.6, 50.0), np.array([0, 0.05, 0]), 128, 128)
        cameras.append(camera.normalised(FOOT_CUBE, camera.crop_box(FOOT_CUBE)))
    return torch.tensor(np.stack(cameras), dtype=torch.float32)[None]


def data_with_cameras() -> Captures:
    """`data`, seen by the cameras of a `walk`."""
    return replace(data(), cameras=walk().expand(4, -1, -1, -1))


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


def test_a_step_is_clipped_and_weights_decay(tmp_path):
    """Plain gradient descent moves the weights by the rate times the norm of the gradient; AdamW shrinks them first."""
    torch.manual_seed(0)
    model, accelerator = MeanColour(), acceleration.make_accelerator("cpu")
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


@pytest.fixture
def kill_in_step_3(monkeypatch, tmp_path) -> Callable[..., None]:
    """Calls a function that trains in a folder, which is then as a kill between two checkpoints leaves it."""

    def run(train: Callable, folder: str, *arguments: object) -> None:
        step = loop.training_step

        def killed(*given) -> torch.Tensor:
            if given[-1] == 3:  # a kill leaves nothing of what is written from here on
                shutil.copytree(tmp_path / folder, tmp_path / "killed")
                raise KeyboardInterrupt
            return step(*given)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(loop, "training_step", killed)
            train(folder, *arguments)
        shutil.rmtree(tmp_path / folder)
        (tmp_path / "killed").rename(tmp_path / folder)

    return run


@pytest.mark.parametrize("name", SMALL_NETWORKS)
def test_each_network_trains_reproducibly_and_resumes_bit_for_bit(name, tmp_path, kill_in_step_3):
    """Trained whole, and killed between two checkpoints and continued; the global random state differs each time.

    A network that needs no cameras is killed with them and trained whole without them.
    """

    def train(folder: str, samples: Captures) -> Path:
        model = build(name)
        torch.manual_seed(len(folder))
        training.train(model, samples, samples, replace(RECIPE, steps=4), tmp_path / folder, device="cpu")
        return tmp_path / folder / "weights.safetensors"

    kill_in_step_3(train, "continued", data_with_cameras())
    assert [path.name for path in (tmp_path / "continued").glob("*.safetensors")] == ["checkpoint.safetensors"]
    whole = train("whole", data_with_cameras() if build(name).needs_cameras else data())
    assert same_weights(whole, train("continued", data_with_cameras()))


def test_the_registry_has_no_narrow_network_that_is_not_tested():
    assert {name for name in models.names() if name.endswith("-narrow")} | {"unprojection"} == set(SMALL_NETWORKS)


def test_the_moving_average_resumes_bit_for_bit_and_is_the_result(tmp_path, kill_in_step_3):
    """A decay of 2 ** -30 keeps the last weights; .5 gives others, also after a kill between two checkpoints."""

    def train(folder: str, decay: float) -> dict[str, torch.Tensor]:
        model, recipe = tiny(), replace(RECIPE, average_decay=decay)
        training.train(model, data(), data(), recipe, tmp_path / folder, device="cpu", report=str)
        stored = load_file(tmp_path / folder / "weights.safetensors")
        assert all(torch.equal(stored[f"model.{name}"], value) for name, value in model.state_dict().items())
        assert not any(module.training for module in model.modules()), "also of weights that were finished before"
        return dict(model.named_parameters())

    results = {name: train(name, decay) for name, decay in (("off", 0.0), ("last", 2**-30), ("whole", 0.5))}
    kill_in_step_3(train, "continued", 0.5)
    results["continued"] = train("continued", 0.5)
    train("off", 0.0)
    assert all(torch.allclose(results["off"][name], results["last"][name], atol=1e-6) for name in results["off"])
    assert any(not torch.allclose(results["off"][name], results["whole"][name]) for name in results["off"])
    assert all(torch.equal(results["whole"][name], results["continued"][name]) for name in results["whole"])


def test_a_batch_in_parts_has_the_gradient_of_the_whole_also_prefetched():
    recipe = replace(RECIPE, batch=4, views=1, gradient_clip=0.0, mirror=False)
    torch.manual_seed(0)
    model, accelerator, gradients = MeanColour(), acceleration.make_accelerator("cpu"), []
    ((whole,),) = loop._batches(accelerator, model, data(), recipe, [0])
    parts = [whole._replace(views=whole.views[part::2], truth=whole.truth[part::2]) for part in (0, 1)]
    optimizer = recipes.adamw(model, replace(recipe, learning_rate=0.0))
    optimizer.register_step_pre_hook(lambda *_: gradients.append(model.layer.weight.grad.clone()))
    for several in ([whole], parts):
        loop.training_step(accelerator, model, optimizer, several, replace(recipe, learning_rate=0.0), 0)
    assert torch.allclose(*gradients, rtol=0.02, atol=1e-6) and gradients[0].abs().max() > 1e-5
    (drawn,) = loop._batches(accelerator, model, data(), replace(recipe, accumulation=2), [0])
    assert torch.equal(torch.cat([batch.truth for batch in drawn]).sum(0), whole.truth.sum(0))
    assert list(batches.prefetch(map(str, range(4)))) == ["0", "1", "2", "3"]
    with pytest.raises(ZeroDivisionError):
        list(batches.prefetch(1 // number for number in (1, 0)))


def test_fine_tuning_starts_from_the_given_weights(tmp_path):
    recipe = replace(RECIPE, learning_rate=1e-12, weight_decay=0.0, steps=1)
    model, expected = tiny(1), tiny(2)
    checkpoints.save(tmp_path / "start", expected, {}, pd.DataFrame())
    training.train(model, data(), data(), recipe, tmp_path / "net", start=tmp_path / "start", device="cpu")
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


def test_accelerate_leaves_the_network_and_the_environment_as_they_were(tmp_path, monkeypatch):
    """It skips an object that it prepared before, and leaves its autocast in the forward pass. To compare options with
    their defaults it empties the environment: other threads would crash, or lose variables."""
    emptied = []
    monkeypatch.setattr(type(os.environ), "clear", lambda self: emptied.append(self), raising=False)
    assert AutocastKwargs(cache_enabled=False).to_kwargs() == {"cache_enabled": False} and emptied
    emptied.clear()
    network, restored, views = tiny(), tiny(), torch.rand(1, 2, 3, 32, 32)
    for name in ("first", "second"):
        training.train(network, data(), data(), RECIPE, tmp_path / name)
        assert not {"_is_accelerate_prepared", "_original_forward"} & set(vars(network))
    assert not emptied
    checkpoints.load_weights(restored, tmp_path / "second" / "weights.safetensors")
    with torch.no_grad():
        assert torch.equal(network.cpu().eval()(views).probability, restored.eval()(views).probability)


def test_an_infinite_loss_and_query_points_without_a_point_head_are_errors(tmp_path):
    for changes, message in (
        (dict(learning_rate=1e30, gradient_clip=1e30), "lower the learning rate"),
        (dict(point_samples=8), "Pix2Vox has no query_points; expected a network with a point head"),
    ):
        with pytest.raises(ValueError, match=message):
            training.train(tiny(), data(), data(), replace(RECIPE, **changes), tmp_path, device="cpu")


@pytest.mark.parametrize(
    ("name", "views", "trained"),
    [
        ("pix2vox-a-narrow", 2, {"merger", "refiner"}),
        ("attsets-narrow", 2, {"merger"}),
        ("pix2vox-f-narrow", 1, set()),  # a single view gives its fusion no gradient
    ],
)
def test_the_second_stage_trains_fusion_and_refiner_alone(name, views, trained, tmp_path):
    recipe = replace(RECIPES["published"], epochs=4, single_view_share=0.5, batch=2, views=views, seed=1)
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
        kinds = child.named_parameters() if part in ("merger", "refiner") else child.state_dict().items()
        same = [torch.equal(value, before[key]) for key, value in kinds if "num_batches" not in key]
        changed |= set() if all(same) else {part}
    assert changed == trained
    assert all(parameter.requires_grad for parameter in whole.parameters()), "another training trains all of it"
