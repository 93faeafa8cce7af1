"""Training: the loop, its batches and losses, checkpoints."""

from __future__ import annotations

from p2vlib.training.loop import learning_rate, train, training_provenance

__all__ = ["learning_rate", "training_provenance", "train"]
