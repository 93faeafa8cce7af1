from dataclasses import replace

import pytest
import torch
from torch import nn

from p2vlib import models
from p2vlib.config import PRESETS
from p2vlib.models.conv_lstm import ConvLSTM, RecurrentViews
from p2vlib.models.network import check_views
from p2vlib.models.pix2vox import ContextAwareFusion, MeanFusion

TINY = dict(image_size=32, trunk=(4, 4, 8, 8), head=((8, 1, 1), (8, 1, 1), (16, 1, 1)), decoder=(16, 8, 4, 4))
TINY |= dict(merger=(4, 2, 1), merger_stride=1, freeze_trunk=False)
"""The same classes a few channels wide: what holds for the parts holds at every width."""
REFINER = {"refiner": (4, 4, 4, 64)}

A_PARTS = dict(merger=8_571, refiner=34_880_352)
COUNTS = {
    "pix2vox-f": dict(encoder=4_658_368, decoder=2_769_368, merger=8_571, total=7_436_307, trainable=4_517_331),
    "pix2vox-a": dict(encoder=7_772_480, decoder=71_583_064, **A_PARTS, total=114_244_467, trainable=111_325_491),
    "pix2vox++-f": dict(encoder=941_888, decoder=3_883_480, merger=17_877, total=4_843_245, trainable=4_843_245),
    "pix2vox++-a": dict(
        **A_PARTS | dict(encoder=5_576_768, decoder=55_854_424, merger=17_877),
        **dict(total=96_329_421, trainable=96_329_421),
    ),
}


def tiny(name: str, **overrides: object) -> models.Pix2Vox:
    torch.manual_seed(3)
    model = models.build(name, **TINY | ({} if name.endswith("-f") else REFINER) | overrides)
    if not model.order_free:
        nn.init.normal_(model.recurrent.expansion.weight)  # it starts at zero
    return model


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def photos(batch: int, views: int, size: int = 32) -> torch.Tensor:
    return torch.rand(batch, views, 3, size, size, generator=torch.Generator().manual_seed(5))


def without_values(name: str, **overrides: object) -> models.Pix2Vox:
    with torch.device("meta"):
        return models.build(name, **overrides)


@pytest.mark.parametrize("name", COUNTS)
def test_published_parameter_counts(name: str) -> None:
    """`test_reference` tests names and shapes."""
    model = without_values(name)
    parts = {part: count(getattr(model, part)) for part in COUNTS[name] if part not in ("total", "trainable")}
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert parts | {"total": count(model), "trainable": trainable} == COUNTS[name]
    assert (model.refiner is None) == name.endswith("-f")
    if name == "pix2vox-a":
        assert models.configure(name) == models.Pix2VoxConfig()
        assert replace(models.Pix2VoxConfig(), decoder=(64, 32, 16, 8, 4)).grid == 64


def test_parameter_counts_of_the_recurrence() -> None:
    for recurrent, cells, taps in (("convlstm3d", (2048, 2, 2, 2), 3**3), ("convlstm2d", (256, 8, 8), 3**2)):
        model = without_values("pix2vox-lstm", recurrent=recurrent)
        assert model.recurrent.cells == cells
        lstm = 2 * 256 * 1024 * taps + 1024
        assert count(model.recurrent) == cells[0] * 256 + 256 + 2 * 256 + lstm + 256 * cells[0]
        assert count(model) == COUNTS["pix2vox-a"]["total"] + count(model.recurrent)


def test_every_network_of_a_scale_accepts_its_image_size() -> None:
    sizes = {(name, config.image_size) for config in PRESETS.values() for name in (*config.networks, *config.systems)}
    for name, size in sizes:
        network = without_values(name, image_size=size)  # at full size the values take gigabytes
        assert network.config.image_size == size and count(network) > 100_000, name


def test_unknown_names_and_settings_are_refused() -> None:
    for use in (models.build, models.check_names):
        with pytest.raises(ValueError, match="'pix2vox-z'; expected one of pix2vox-f, pix2vox-a"):
            use("pix2vox-z")
        with pytest.raises(ValueError, match=r"no network 'collections:Net' .*; expected package.module:ClassName"):
            use("collections:Net")
        with pytest.raises(ValueError, match="No module named 'absent_package'"):
            use("absent_package:Net")
    with pytest.raises(ValueError, match="no setting widht; it has image_size, trunk"):
        models.build("pix2vox-f", widht=3)
    with pytest.raises(ValueError, match=r"Pix2VoxConfig.recurrent is 'lstm'; expected one of identity, convlstm2d"):
        models.build("pix2vox-a-narrow", recurrent="lstm")
    with pytest.raises(ValueError, match=r"torch.nn:Linear does not take the settings image_size"):
        models.build("torch.nn:Linear", image_size=3)
    with pytest.raises(ValueError, match="expected an nn.Module with needs_cameras, order_free and forward"):
        models.build("torch.nn:Identity")
    with pytest.raises(ValueError, match="multiple of 32 pixels"):
        models.build("psgn-narrow", image_size=40)
    with pytest.raises(ValueError, match="multiple of 16 pixels, a grid of a multiple of 4 .*; found 40, 32 and 1.0"):
        models.build("unprojection", image_size=40)
    with pytest.raises(ValueError, match="unprojection needs the camera of every photo; found none"):
        models.build("unprojection")(torch.rand(1, 2, 3, 96, 96))
    assert models.configure("pix2vox-f", head=[[8, 1, 1]]).head == ((8, 1, 1),)
    assert models.configure("rays") == models.configure("unprojection")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"image_size": 32, "head": ((8, 3, 1), (8, 3, 1))}, "too small for the head"),
        ({"head": ((5, 1, 1),), "image_size": 24}, "no multiple of 8"),
        ({"merger": (4, 2)}, "has to be 1"),
        ({"trunk": "resnet34"}, "no trunk is called 'resnet34'; expected resnet18, resnet50"),
        ({"fusion": "multi-scale"}, "no fusion is called 'multi-scale'; available: context, mean"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(overrides: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny("pix2vox-f", **overrides)


def test_views_of_another_shape_or_number_are_refused() -> None:
    for number in (0, 25):
        with pytest.raises(ValueError, match=f"takes 1 to 24 views; found {number}"):
            tiny("pix2vox-f")(photos(1, number))
    expected = r"expected views \[batch, views, 3, \d+, \d+\]; found"
    for name in ("pix2vox-f-narrow", "3d-r2n2-narrow", "psgn-narrow", "unprojection"):
        with pytest.raises(ValueError, match=rf"{expected} \[1, 2, 3, 40, 40\]"):
            models.build(name)(torch.rand(1, 2, 3, 40, 40), torch.zeros(1, 2, 3, 7))
    check_views(torch.rand(1, 2, 3, 8, 8), 8)
    for shape in ((2, 3, 8, 8), (1, 2, 4, 8, 8), (1, 2, 3, 8, 9), (1, 2, 3, 9, 8)):
        with pytest.raises(ValueError, match=expected):
            check_views(torch.rand(shape), 8)


@pytest.mark.parametrize("statistics", ["fixed", "drift"])
def test_a_frozen_trunk_gets_no_gradient(statistics: str) -> None:
    model = tiny("pix2vox-f", freeze_trunk=True, trunk_statistics=statistics).train()
    before = model.encoder.vgg[1].running_mean.clone()
    model(photos(2, 2)).probability.sum().backward()
    assert all(parameter.grad is None for parameter in model.encoder.vgg.parameters())
    assert model.encoder.layer1[0].weight.grad.abs().sum() > 0
    assert torch.equal(model.encoder.vgg[1].running_mean, before) == (statistics == "fixed")


@torch.no_grad()
@pytest.mark.parametrize("cells", [(32, 2, 2, 2), (16, 4, 4)])
def test_a_state_depends_on_the_views_before_it_and_on_none_after(cells: tuple[int, ...]) -> None:
    torch.manual_seed(1)
    part = RecurrentViews(cells, 8).eval()
    nn.init.normal_(part.expansion.weight)
    features = torch.randn(1, 3, 16, 4, 4)
    other = features.clone()
    other[:, 1] += 1
    change = (part(features) - part(other)).abs().amax(dim=(0, 2, 3, 4))
    assert change[0] == 0 and change[1] > 0.1 and change[2] > 1e-3


@torch.no_grad()
def test_the_lstm_reads_the_cells_of_the_decoder() -> None:
    """A change in one cell of the decoder reaches that cell alone with kernel 1, all of them with kernel 3."""
    model = tiny("pix2vox-lstm").eval()
    cells = model.recurrent.cells
    nn.init.ones_(model.recurrent.expansion.weight)
    features = torch.randn(1, 1, *model.config.feature_shape)
    other = features.clone()
    other.view(*cells)[:, 1, 0, 1] += 1
    for kernel, reached in ((1, 1), (3, 8)):
        model.recurrent.lstm = ConvLSTM(model.recurrent.lstm.from_input.in_channels, kernel)
        updates = [(model.recurrent(value) - value).reshape(cells) for value in (features, other)]
        changed = (updates[0] - updates[1]).abs().amax(0) > 1e-5
        assert changed[1, 0, 1] and changed.sum() == reached


@torch.no_grad()
def test_conv_lstm_with_kernel_1_is_the_lstm_of_torch() -> None:
    """With one cell as well; torch's gates are ordered input, forget, candidate, output."""
    torch.manual_seed(2)
    ours, theirs = ConvLSTM(4, kernel=1), nn.LSTM(4, 4, batch_first=True)
    order = torch.cat([torch.arange(0, 8), torch.arange(12, 16), torch.arange(8, 12)])
    assert ours.from_input.bias.tolist() == [0] * 4 + [1] * 4 + [0] * 8
    theirs.weight_ih_l0.copy_(ours.from_input.weight.flatten(1)[order])
    theirs.weight_hh_l0.copy_(ours.from_state.weight.flatten(1)[order])
    theirs.bias_ih_l0.copy_(ours.from_input.bias[order])
    theirs.bias_hh_l0.zero_()
    sequence = torch.randn(2, 6, 4)
    assert torch.allclose(ours(sequence[..., None, None, None])[..., 0, 0, 0], theirs(sequence)[0], atol=1e-6)


@torch.no_grad()
def test_scores_on_a_coarser_grid_are_repeated_for_all_voxels_of_a_cell_and_mean_fusion_by_hand() -> None:
    assert MeanFusion()(torch.zeros(2, 1, 1, 1, 1), torch.tensor([0.5, 1.0]).view(1, 2, 1, 1, 1))[0].item() == 0.75
    torch.manual_seed(4)
    merger = ContextAwareFusion(3, (2, 1), 2).eval()
    _, weights = merger(torch.rand(4, 3, 8, 8, 8), torch.rand(2, 2, 8, 8, 8))
    coarse = weights[..., ::2, ::2, ::2]
    assert torch.equal(weights, coarse.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4))
    assert coarse.std() > 0 and torch.allclose(weights.sum(1), torch.ones(2, 8, 8, 8), atol=1e-6)


@torch.no_grad()
def test_with_the_identity_as_recurrence_the_lstm_is_pix2vox() -> None:
    pix2vox, ablated = tiny("pix2vox-a"), tiny("pix2vox-lstm", recurrent="identity")
    assert pix2vox.state_dict().keys() == ablated.state_dict().keys()
    assert torch.equal(pix2vox.eval()(photos(1, 3)).probability, ablated.eval()(photos(1, 3)).probability)
    for recurrent in ("convlstm2d", "convlstm3d"):  # as all of them start: the expansion of the state is zero
        start = models.build("pix2vox-lstm", **TINY, **REFINER, recurrent=recurrent).eval()
        start.load_state_dict(start.state_dict() | pix2vox.state_dict())
        assert torch.equal(start(photos(1, 3)).probability, pix2vox(photos(1, 3)).probability)
    for suffix in ("", "-narrow"):
        identity = models.configure(f"pix2vox-lstm{suffix}", recurrent="identity")
        assert identity == models.configure(f"pix2vox-a{suffix}")


@torch.no_grad()
def test_every_activation_is_channels_last_which_changes_no_value() -> None:
    """On grids wider than one cell, so that nothing is converted in between."""
    model = tiny("pix2vox-lstm").train()
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    wrong = []

    def check(name: str):
        def hook(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
            if not output.is_contiguous(memory_format=formats[output.dim()]):
                wrong.append(name)

        return hook

    kinds = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm2d, nn.BatchNorm3d, nn.MaxPool2d, nn.MaxPool3d)
    for name, module in model.named_modules():
        if isinstance(module, kinds):
            module.register_forward_hook(check(name))
    fast = model(photos(2, 2)).probability
    assert wrong == []
    plain = model.to(memory_format=torch.contiguous_format)(photos(2, 2)).probability
    assert "merger.layer1.0" in wrong and "encoder.vgg.0" in wrong
    assert torch.allclose(fast, plain, atol=1e-4)
