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
    reliability_diagram,
    slices,
)
from p2vtools.viewer.foot_figures import cleaning_figure, fit_map, landmark_figure, measurement_figure
from p2vtools.viewer.interactive import camera_poses, iou_curves, training_curves, volume_scene
from p2vtools.viewer.shading import label_agreement, render_voxels
from p2vtools.viewer.static_html import Scenes

__all__ = [
    "Panel",
    "Scenes",
    "label_agreement",
    "cleaning_figure",
    "best_to_worst",
    "camera_poses",
    "contact_sheet",
    "fit_map",
    "gallery",
    "histograms",
    "training_curves",
    "iou_against_cost",
    "iou_against_views",
    "iou_curves",
    "landmark_figure",
    "measurement_figure",
    "mosaic",
    "panels",
    "reliability_diagram",
    "render_voxels",
    "slices",
    "view",
    "volume_scene",
]
