"""Evaluation of reconstructions: IoU at every threshold of the protocol."""

from __future__ import annotations

from p2vlib.evaluation.iou import (
    CAPTURE_COLUMNS,
    SHUFFLED_ORDERS,
    best_threshold,
    evaluate,
    iou_at,
    iter_predictions,
    metric_rows,
    predict,
    score_volumes,
    view_orders,
)
