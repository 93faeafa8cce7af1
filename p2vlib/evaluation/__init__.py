"""Metrics of reconstructions: IoU, F-score and surface distances, bootstrap intervals over subjects, metric files."""

from __future__ import annotations

from p2vlib.evaluation.intervals import (
    best_median_worst,
    bootstrap_interval,
    class_and_sample_means,
    iou_by_threshold,
    paired_difference,
    rank_samples,
    summarise,
    unpaired_difference,
)
from p2vlib.evaluation.iou import (
    CAPTURE_COLUMNS,
    SHUFFLED_ORDERS,
    best_threshold,
    dataset_visual_hulls,
    evaluate,
    iou_at,
    iter_predictions,
    mean_shape_volumes,
    metric_rows,
    predict,
    score_mean_shape,
    score_volumes,
    view_orders,
    visual_hull,
)
from p2vlib.evaluation.surfaces import f_score, f_score_rows, surface_distances
