"""Training: the loop, its batches and losses, checkpoints."""

from __future__ import annotations

from p2vlib.training.loop import learning_rate, origin, train

__all__ = ["learning_rate", "origin", "train"]
