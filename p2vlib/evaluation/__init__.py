"""Metrics of reconstructions: IoU, baselines, and bootstrap intervals over subjects."""

from __future__ import annotations

from p2vlib.evaluation.intervals import (
    bootstrap_interval,
    paired_difference,
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
