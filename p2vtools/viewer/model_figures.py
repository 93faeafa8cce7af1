"""Diagrams: the architecture of a network from its config, and the weights of its fusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from jaxtyping import UInt8
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Polygon
from torch import Tensor

from p2vlib.models import Pix2VoxConfig, Reconstruction
from p2vlib.models.pix2vox import SEED_EDGE
from p2vtools.viewer.figures import crop_alike, mosaic
from p2vtools.viewer.shading import WEIGHT_COLOURS, label_weights, render_voxels
from p2vtools.viewer.style import FAINTER, INK, PALETTE, SOLID, hide_axes, new_figure, study_style

COLOURS = {
    "data": SOLID,
    "VGG16 trunk": PALETTE[0],
    "convolution": PALETTE[4],
    "recurrence": PALETTE[3],
    "transposed convolution": PALETTE[2],
    "3-D convolution": PALETTE[5],
    "fully connected": PALETTE[1],
}
"""Operation -> colour of its output."""


@dataclass(frozen=True)
class Layer:
    """The output of one layer: ``channels`` maps of ``edge`` cells along each of ``axes`` axes."""

    operation: str
    """A key of `COLOURS`."""
    channels: int
    edge: int
    axes: int

    @property
    def shape(self) -> str:
        """For example ``8 x 32³``, or ``2048`` for a vector."""
        return f"{self.channels} × {self.edge}{'²' if self.axes == 2 else '³'}" if self.axes else f"{self.channels}"


def pix2vox_layers(config: Pix2VoxConfig) -> dict[str, list[Layer]]:
    """The layers of each part of the network, its input first, for one photo of ``config.image_size`` pixels.

    Raises:
        ValueError: a network with another trunk than VGG16.
    """
    if isinstance(config.trunk, str):
        raise ValueError(f"the diagram shows networks with a VGG16 trunk; found {config.trunk!r}")
    edge, grid = config.image_size, config.grid
    encoder = [Layer("data", 3, edge, 2)]
    for block, width in enumerate(config.trunk):
        encoder.append(Layer("VGG16 trunk", width, edge // 2**block, 2))
    edge = encoder[-1].edge
    for width, kernel, pool in config.head:
        edge = (edge if config.padded_head else edge - kernel + 1) // pool
        encoder.append(Layer("convolution", width, edge, 2))
    if config.mixing:
        encoder.append(Layer("fully connected", encoder[-1].channels, edge, 2))
    channels = config.seed_shape[0]
    if config.recurrent == "convlstm2d":
        encoder.append(Layer("recurrence", encoder[-1].channels, edge, 2))
    elif config.recurrent == "convlstm3d":
        encoder.append(Layer("recurrence", channels, SEED_EDGE, 3))
    decoder = [Layer("data", channels, SEED_EDGE, 3)]
    for number, width in enumerate(config.decoder, start=1):
        decoder.append(Layer("transposed convolution", width, SEED_EDGE * 2**number, 3))
    decoder.append(Layer("transposed convolution", 1, grid, 3))
    parts = {"encoder, for each photo": encoder, "decoder, for each photo": decoder}
    if config.fusion == "context":
        fusion = [Layer("data", config.decoder[-1] + 1, grid, 3)]
        fusion += [Layer("3-D convolution", width, grid // config.merger_stride, 3) for width in config.merger]
        parts["context-aware fusion: scores of each photo"] = [*fusion, Layer("data", 1, grid, 3)]
    if config.refiner:
        *widths, bottleneck = config.refiner
        halved = [grid // 2, grid // 4, grid // 8]
        down = [Layer("3-D convolution", width, edge, 3) for width, edge in zip(widths, halved, strict=True)]
        linear = [Layer("fully connected", bottleneck, 1, 0), Layer("fully connected", widths[2], halved[2], 3)]
        up = [Layer("transposed convolution", w, e, 3) for w, e in ((widths[1], halved[1]), (widths[0], halved[0]))]
        result = Layer("transposed convolution", 1, grid, 3)
        parts["refiner"] = [Layer("data", 1, grid, 3), *down, *linear, *up, result]
    return parts


@study_style
def architecture_diagram(config: Pix2VoxConfig, title: str = "") -> Figure:
    """The architecture as boxes and arrows, one row for each part (Xie et al. 2019, figures 2 to 4).

    A box is the output of a layer: its height grows with the edge of the map or volume, its width with the channels.

    Raises:
        ValueError: as `pix2vox_layers`.
    """
    parts = pix2vox_layers(config)
    figure = new_figure(11, 2.6 * len(parts) + 0.9)
    grid = figure.subplots(len(parts), 1, squeeze=False)[:, 0]
    ends = []
    for axes, (part, layers) in zip(grid, parts.items(), strict=True):
        boxes = _draw_layers(axes, layers)
        ends.append(boxes[-1][1])
        axes.set_title(part, loc="left", color=INK)
        if part.startswith("context"):
            middle = (boxes[-2][1] + boxes[-1][0]) / 2
            axes.text(middle, 1.6, "softmax over views,\nweighted sum", ha="center", fontsize=8, color=FAINTER)
        if part == "refiner":
            for start, end in ((0, 8), (1, 7), (2, 6), (3, 5)):
                (left, right, height), (other, far, _) = boxes[start], boxes[end]
                _draw_arrow(axes, ((left + right) / 2, height), ((other + far) / 2, height), curve=-0.12)
    for axes in grid:
        axes.set_xlim(-0.4, max(ends) + 0.4)
    used = {layer.operation for layers in parts.values() for layer in layers} - {"data"}
    handles = [matplotlib.patches.Patch(color=COLOURS[name], label=name) for name in COLOURS if name in used]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    figure.suptitle(title)
    return figure


def _draw_layers(axes: Axes, layers: Sequence[Layer]) -> list[tuple[float, float, float]]:
    """Draws boxes from left to right, joined by arrows; returns left end, right end and height of each."""
    boxes, left = [], 0.0
    for layer in layers:
        width, height = 0.12 + 0.09 * np.log2(layer.channels), 0.3 + 0.24 * np.log2(layer.edge)
        depth = 0.3 * height if layer.axes else 0.1
        base = np.array(to_rgb(COLOURS[layer.operation]))
        front = np.array([[0, 0], [width, 0], [width, height], [0, height]])
        top = np.array([[0, height], [depth, height + depth], [width + depth, height + depth], [width, height]])
        side = np.array([[width, 0], [width + depth, depth], [width + depth, height + depth], [width, height]])
        for face, shade in ((front, 1.0), (top, 1.12), (side, 0.85)):
            tone = (shade * base).clip(0, 1)
            axes.add_patch(Polygon(face + [left, -height / 2], facecolor=tone, edgecolor="white"))
        axes.text(left + width / 2, -height / 2 - 0.15, layer.shape, ha="center", va="top", fontsize=8, color=INK)
        if boxes:
            _draw_arrow(axes, (boxes[-1][1], 0.0), (left, 0.0))
        boxes.append((left, left + width + depth, height / 2 + depth))
        left += width + depth + 0.6
    axes.set(ylim=(-1.6, 2.4), aspect="equal")
    hide_axes(axes)
    return boxes


def _draw_arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], curve: float = 0.0) -> None:
    style = {"arrowstyle": "-|>", "mutation_scale": 9, "color": FAINTER, "connectionstyle": f"arc3,rad={curve}"}
    axes.add_patch(FancyArrowPatch(start, end, linewidth=1.0, shrinkA=1, shrinkB=1, **style))


@study_style
def fusion_weights_figure(
    photos: UInt8[Tensor, "views channels height width"],
    reconstruction: Reconstruction,
    threshold: float = 0.5,
) -> Figure:
    """How the views are fused, a row for each: its photo, its own volume, its weights, and the fused volume.

    The weights are drawn on the voxels of the fused volume; they sum to 1 over the views.

    Args:
        photos: of the sample, as in `Captures.photos`, in the order of the views.
        reconstruction: output of a network with a volume for each view; the first sample of the batch is drawn.
        threshold: occupancy from which a voxel is drawn.

    Raises:
        ValueError: another number of photos, or a network without a volume for each view.
    """
    occupancy, weights, fused = (
        tensor[0].detach().float().cpu().numpy()
        for tensor in (reconstruction.per_view_occupancy, reconstruction.view_weights, reconstruction.coarse)
    )
    top = min(1.0, 2 / len(photos))
    pictures = [render_voxels(fused >= threshold)]
    for volume, weight in zip(occupancy, weights, strict=True):
        pictures.append(render_voxels(volume >= threshold))
        pictures.append(render_voxels(*label_weights(fused >= threshold, weight, top)))
    fused_picture, *pictures = crop_alike(pictures)
    figure = new_figure(9, 1.6 * len(photos) + 0.8)
    grid = figure.add_gridspec(len(photos), 4, width_ratios=(1, 1, 1, 1.6))
    for row, (photo, *pair) in enumerate(zip(photos, pictures[::2], pictures[1::2], strict=True)):
        cells = [mosaic([[photo.permute(1, 2, 0).cpu().numpy()]]), *pair]
        for column, title in enumerate(("photo", "volume of this view", "weight of this view")):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(cells[column], interpolation="antialiased")
            axes.set_title(title if row == 0 else "")
            axes.set_ylabel(f"view {row + 1}" if column == 0 else "")
            hide_axes(axes)
    axes = figure.add_subplot(grid[:, 3])
    axes.imshow(fused_picture, interpolation="antialiased")
    axes.set_title("fused volume: sum of weight × volume")
    hide_axes(axes)
    scale = ScalarMappable(Normalize(0, top), matplotlib.colormaps[WEIGHT_COLOURS])
    style = {"orientation": "horizontal", "shrink": 0.8, "extend": "max" if top < 1 else "neither"}
    figure.colorbar(scale, ax=axes, label=f"weight [1]; uniform: {1 / len(photos):.2f}", **style)
    return figure
