"""The four published networks against an independent rewrite that uses nothing but their state dicts.

The reference below uses no class of the project: it reads weights by their published names and calls convolutions. It
follows the tables of Pix2Vox (ICCV 2019) and Pix2Vox++ (IJCV 2020), layer by layer.
"""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as f

from p2vlib import models

State = dict[str, Tensor]


def norm(x: Tensor, s: State, name: str) -> Tensor:
    values = (s[f"{name}.running_mean"], s[f"{name}.running_var"], s[f"{name}.weight"], s[f"{name}.bias"])
    return f.batch_norm(x, *values)


def conv(x: Tensor, s: State, name: str, **kwargs) -> Tensor:
    apply = f.conv2d if x.dim() == 4 else f.conv3d
    return apply(x, s[f"{name}.weight"], s.get(f"{name}.bias"), **kwargs)


def grow(x: Tensor, s: State, name: str) -> Tensor:
    return f.conv_transpose3d(x, s[f"{name}.weight"], stride=2, padding=1)


def vgg(x: Tensor, s: State) -> Tensor:
    """VGG16-bn to layer 27: pooling after the second, fourth and seventh convolution."""
    for number in (0, 3, "pool", 7, 10, "pool", 14, 17, 20, "pool", 24):
        if number == "pool":
            x = f.max_pool2d(x, 2)
        else:
            x = f.relu(norm(conv(x, s, f"encoder.vgg.{number}", padding=1), s, f"encoder.vgg.{number + 1}"))
    return x


def resnet(x: Tensor, s: State, bottleneck: bool) -> Tensor:
    """conv1, bn1, relu, pool, layer1, layer2 of a ResNet18 or ResNet50 (stride on the 3x3)."""
    top = "encoder.resnet"
    x = f.max_pool2d(f.relu(norm(conv(x, s, f"{top}.0", stride=2, padding=3), s, f"{top}.1")), 3, 2, 1)
    for layer, stride in ((4, 1), (5, 2)):
        block = 0
        while f"{top}.{layer}.{block}.conv1.weight" in s:
            name, step = f"{top}.{layer}.{block}", stride if block == 0 else 1
            if bottleneck:
                y = f.relu(norm(conv(x, s, f"{name}.conv1"), s, f"{name}.bn1"))
                y = f.relu(norm(conv(y, s, f"{name}.conv2", stride=step, padding=1), s, f"{name}.bn2"))
                y = norm(conv(y, s, f"{name}.conv3"), s, f"{name}.bn3")
            else:
                y = f.relu(norm(conv(x, s, f"{name}.conv1", stride=step, padding=1), s, f"{name}.bn1"))
                y = norm(conv(y, s, f"{name}.conv2", padding=1), s, f"{name}.bn2")
            if f"{name}.downsample.0.weight" in s:
                x = norm(conv(x, s, f"{name}.downsample.0", stride=step), s, f"{name}.downsample.1")
            x, block = f.relu(x + y), block + 1
    return x


def head(x: Tensor, s: State, name: str) -> Tensor:
    pools = {"pix2vox-f": (1, 4, 1), "pix2vox-a": (1, 3, 1)}.get(name, (1, 2, 2))
    for number, pool in enumerate(pools, start=1):
        layer = f"encoder.layer{number}"
        x = norm(conv(x, s, f"{layer}.0", padding=1 if "++" in name else 0), s, f"{layer}.1")
        x = f.relu(x) if "++" in name else f.elu(x)
        x = f.max_pool2d(x, pool) if pool > 1 else x
    return x


def reference(name: str, views: Tensor, s: State) -> tuple[Tensor, Tensor]:
    """The refined and the fused volume."""
    batch, number = views.shape[:2]
    x = views.flatten(0, 1) * 2 - 1
    x = resnet(x, s, name.endswith("a")) if "++" in name else vgg(x, s)
    x = head(x, s, name)
    x = x.reshape(batch * number, -1, 2, 2, 2)
    for layer in (1, 2, 3, 4):
        x = f.relu(norm(grow(x, s, f"decoder.layer{layer}.0"), s, f"decoder.layer{layer}.1"))
    volume = torch.sigmoid(f.conv_transpose3d(x, s["decoder.layer5.0.weight"]))
    raw = torch.cat([x, volume], 1)

    def block(y: Tensor, layer: int) -> Tensor:
        y = norm(conv(y, s, f"merger.layer{layer}.0", padding=1), s, f"merger.layer{layer}.1")
        return f.leaky_relu(y, 0.2)

    if "++" in name:
        each = [block(raw, 1)]
        for layer in (2, 3, 4):
            each.append(block(each[-1], layer))
        score = block(block(torch.cat(each, 1), 5), 6)
    else:
        score = raw
        for layer in (1, 2, 3, 4, 5):
            score = block(score, layer)
    shape = (batch, number, 32, 32, 32)
    fused = (torch.softmax(score.reshape(shape), 1) * volume.reshape(shape)).sum(1).clamp(0, 1)
    if name.endswith("f"):
        return fused, fused
    down = [fused[:, None]]
    for layer in (1, 2, 3):
        y = norm(conv(down[-1], s, f"refiner.layer{layer}.0", padding=2), s, f"refiner.layer{layer}.1")
        down.append(f.max_pool3d(f.leaky_relu(y, 0.2), 2))
    y = down[3].flatten(1)
    for layer in (4, 5):
        y = f.relu(f.linear(y, s[f"refiner.layer{layer}.0.weight"], s[f"refiner.layer{layer}.0.bias"]))
    y = down[3] + y.reshape(down[3].shape)
    y = down[2] + f.relu(norm(grow(y, s, "refiner.layer6.0"), s, "refiner.layer6.1"))
    y = down[1] + f.relu(norm(grow(y, s, "refiner.layer7.0"), s, "refiner.layer7.1"))
    return (fused + torch.sigmoid(grow(y, s, "refiner.layer8.0"))[:, 0]) / 2, fused


def with_random_statistics(model: torch.nn.Module) -> torch.nn.Module:
    """Batch norms as after a training: ones and zeros would hide a wrong order of layers."""
    generator = torch.Generator().manual_seed(5)
    ranges = {"running_mean": (-0.2, 0.2), "running_var": (0.5, 2.0), "weight": (0.5, 1.5), "bias": (-0.3, 0.3)}
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            for name, (low, high) in ranges.items():
                value = getattr(module, name).data
                value.copy_(low + (high - low) * torch.rand(value.shape, generator=generator))
    return model


@pytest.mark.parametrize("name", ["pix2vox-f", "pix2vox-a", "pix2vox++-f", "pix2vox++-a"])
def test_a_published_network_equals_its_definition(name):
    torch.manual_seed(3)
    model = with_random_statistics(models.build(name)).eval()
    views = torch.rand(1, 2, 3, 224, 224)
    with torch.no_grad():
        found = model(views)
        probability, coarse = reference(name, views, model.state_dict())
    assert coarse.std() > 0.01, "a constant volume would prove nothing"
    assert (found.coarse - coarse).abs().max() <= 1e-5
    assert (found.probability - probability).abs().max() <= 1e-5
