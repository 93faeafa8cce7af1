"""Figures in one look: matplotlib for pages, plotly for curves with hover, k3d for volumes. Returns, never shows.

Every function returns its figure; a notebook shows it by naming it last in a cell. Axes carry units, backgrounds are
light, colours are the same everywhere: `style` is the one place for them.
"""

from p2vtools.viewer.app import view
from p2vtools.viewer.figures import (
    Panel,
    best_to_worst,
    contact_sheet,
    gallery,
    histograms,
    iou_against_cost,
    iou_against_views,
    mosaic,
    panels,
    reliability,
    slices,
)
from p2vtools.viewer.foot_figures import before_and_after, fit_map, landmarks, measured
from p2vtools.viewer.interactive import camera_poses, history, iou_curves, volumes
from p2vtools.viewer.shading import agreement, render
from p2vtools.viewer.static_html import Scenes

__all__ = [
    "Panel",
    "Scenes",
    "agreement",
    "before_and_after",
    "best_to_worst",
    "camera_poses",
    "contact_sheet",
    "fit_map",
    "gallery",
    "histograms",
    "history",
    "iou_against_cost",
    "iou_against_views",
    "iou_curves",
    "landmarks",
    "measured",
    "mosaic",
    "panels",
    "reliability",
    "render",
    "slices",
    "view",
    "volumes",
]
