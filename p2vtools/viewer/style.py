"""One look: colours that colour-blind readers tell apart (Okabe and Ito), light backgrounds, readable type."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from typing import Any

import matplotlib
from matplotlib.figure import Figure

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#555555")
"""Okabe and Ito's colours, most legible first; lines take them in this order."""

INK, FAINTER, FAINT, PAPER = "#222222", "#7a808a", "#c9ced6", "#ffffff"
SOLID = "#b9c2cf"
AGREEMENT = {"hit": SOLID, "missed": "#0072B2", "invented": "#E69F00"}
"""Voxels in truth and prediction, in the truth alone, in the prediction alone."""

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


def study_style(make: Callable[..., Figure]) -> Callable[..., Figure]:
    """Lets ``make`` draw in the study's style and leaves the reader's own settings alone."""

    @functools.wraps(make)
    def wrapper(*arguments: Any, **options: Any) -> Figure:
        with matplotlib.rc_context(STYLE):
            return make(*arguments, **options)

    return wrapper


def new_figure(width: float, height: float) -> Figure:
    """An empty figure in inches. pyplot makes it, so that Jupyter knows how to draw it, and forgets it at once, so
    that it is drawn once."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(width, height))
    plt.close(figure)
    return figure


def use_plotly_style() -> None:
    """Sets plotly to the study's look, and so that its figures live on in exported pages without a network.

    In a batch run they are kept as what they show: the report's pages bring the script that draws it, once for all.
    """
    import plotly.graph_objects as go
    import plotly.io as pio

    batch = os.environ.get("P2VLIB_BATCH") == "1"
    pio.renderers.default = "plotly_mimetype" if batch else "plotly_mimetype+notebook"
    look = go.layout.Template(pio.templates["plotly_white"])
    look.layout.colorway = PALETTE
    look.layout.font = {"size": 13, "color": INK}
    look.layout.margin = {"l": 60, "r": 20, "t": 30, "b": 50}
    pio.templates["p2vlib"] = look
    pio.templates.default = "p2vlib"
