"""Training: the loop, its recipes, batches and losses, and checkpoints."""

from __future__ import annotations

from p2vlib.training.checkpoints import training_provenance
from p2vlib.training.loop import train
from p2vlib.training.recipes import learning_rate, recipe_summary
