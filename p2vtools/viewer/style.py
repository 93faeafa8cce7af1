"""Style of all figures: a palette for colour-blind readers (Okabe and Ito), light backgrounds, readable fonts."""

from __future__ import annotations

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#555555")
"""Okabe and Ito's colours, in the order in which lines use them."""

INK, FAINTER, FAINT, PAPER = "#222222", "#7a808a", "#c9ced6", "#ffffff"
SOLID = "#b9c2cf"
AGREEMENT = {"hit": SOLID, "missed": "#0072B2", "invented": "#E69F00"}
"""Colours of voxels in truth and prediction, in the truth only, and in the prediction only."""

STYLE = {
    "figure.dpi": 110,
    "figure.facecolor": PAPER,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.labelsize": 10,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
    "grid.color": "#e6e9ee",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
}

study_style = matplotlib.rc_context(STYLE)
"""Decorator: draws in `STYLE` and leaves the user's own matplotlib settings unchanged."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches. pyplot creates it, so that Jupyter can display it, and closes it, so that Jupyter
    does not display it twice."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(width, height))
    plt.close(figure)
    return figure


def hide_axes(axes: Axes) -> None:
    """Removes ticks, grid and frame, but keeps the labels."""
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(False)
