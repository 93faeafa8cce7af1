"""Figures in one style: matplotlib for pages, plotly for curves with hover labels, k3d for volumes.

Every function returns its figure; a notebook shows it as the last expression of a cell.
"""

from p2vtools.viewer.app import view, volume_scene
from p2vtools.viewer.curves import (
    camera_poses,
    histograms,
    iou_against_cost,
    iou_against_minutes,
    iou_against_views,
    iou_curves,
    reliability_diagram,
    training_curves,
)
from p2vtools.viewer.figures import (
    Panel,
    best_to_worst,
    contact_sheet,
    crop_alike,
    gallery,
    mosaic,
    panels,
    point_clouds,
    read_photos,
    slices,
)
from p2vtools.viewer.foot_figures import cleaning_figure, fit_map, landmark_figure, measurement_figure
from p2vtools.viewer.model_figures import architecture_diagram, fusion_weights_figure
from p2vtools.viewer.shading import label_agreement, render_voxels
from p2vtools.viewer.static_html import Scenes
