import numpy as np
import pytest
import torch
from torch import nn

from p2vlib import models
from p2vtools import viewer
from p2vtools.viewer.model_figures import pix2vox_layers


def texts(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize("name", ["pix2vox-f-narrow", "pix2vox-a-narrow", "pix2vox-lstm-narrow"])
@torch.no_grad()
def test_layers_have_the_shapes_of_the_network(name):
    """The expected shapes are recorded in a forward pass."""
    network, shapes = models.build(name).eval(), set()

    def record(module: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        if isinstance(output, torch.Tensor) and output.dim() >= 4:
            shapes.add((output.shape[1], output.shape[2], output.dim() - 2))

    for module in network.modules():
        module.register_forward_hook(record)
    size = network.config.image_size
    network(torch.rand(1, 2, 3, size, size))
    drawn = {
        (layer.channels, layer.edge, layer.axes)
        for layers in pix2vox_layers(network.config).values()
        for layer in layers
        if layer.operation not in ("data", "fully connected", "recurrence")
    }
    assert drawn <= shapes, drawn - shapes


def test_architecture_diagram_of_the_published_networks():
    accurate = texts(viewer.architecture_diagram(models.configure("pix2vox-a"), "Pix2Vox-A"))
    assert {"3 × 224²", "512 × 26²", "256 × 8²", "2048 × 2³", "9 × 32³", "2048", "128 × 4³"} <= set(accurate)
    fast = texts(viewer.architecture_diagram(models.configure("pix2vox-f")))
    assert "128 × 4²" in fast and "2048" not in fast, "no refiner"
    with pytest.raises(ValueError, match="VGG16 trunk"):
        viewer.architecture_diagram(models.configure("pix2vox-a", trunk="resnet50"))


def test_fusion_weights_figure():
    occupancy = torch.zeros(1, 3, 32, 32, 32)
    occupancy[..., 4:28, 0:8, 8:24] = 0.9
    weights = torch.tensor([0.7, 0.3, 0.0]).reshape(1, 3, 1, 1, 1).expand_as(occupancy)
    fused = (weights * occupancy).sum(1)
    photos = torch.full((3, 4, 24, 24), 90, dtype=torch.uint8)
    figure = viewer.fusion_weights_figure(photos, models.Reconstruction(fused, fused, occupancy, weights))
    pictures = [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]
    assert len(pictures) == 10, "photo, volume and weight of each view; the fused volume"

    def mean_colour(picture: np.ndarray) -> np.ndarray:
        return picture[picture[..., 3] > 200, :3].mean(0)

    strong, none = mean_colour(pictures[2]), mean_colour(pictures[8])
    assert strong[0] > 2 * strong[2] and none[2] > 2 * none[0], "yellow and blue ends of the colour map"
