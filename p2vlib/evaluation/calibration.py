"""Whether a probability means what it says, and how to make it do so.

Niculescu-Mizil and Caruana, Predicting Good Probabilities with Supervised Learning (ICML 2005): reliability, and a line
through the logits (Platt scaling), which changes no order and with it no shape.
"""

from __future__ import annotations

import pandas as pd
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

Volumes = Float[Tensor, "captures x y z"]
"""Occupancies in [0, 1]."""
Truth = Bool[Tensor, "captures x y z"]


def reliability_table(volumes: Volumes, truth: Truth, bins: int = 10) -> pd.DataFrame:
    """How often a voxel that is given a probability is occupied, by tenths of the probability.

    Columns: predicted (the mean in its bin), occupied, voxels. A calibrated network has the first two equal.
    """
    values, solid = volumes.detach().flatten().cpu(), truth.flatten().cpu()
    place = (values * bins).long().clamp(max=bins - 1)
    count = torch.bincount(place, minlength=bins)
    mean, share = (torch.bincount(place, weights=x.double(), minlength=bins) / count for x in (values, solid))
    table = pd.DataFrame({"predicted": mean.numpy(), "occupied": share.numpy(), "voxels": count.numpy()})
    return table[table.voxels > 0].reset_index(drop=True)


def expected_calibration_error(table: pd.DataFrame) -> float:
    """How far what is predicted is from what is occupied, the mean over the voxels of undecided bins (`reliability`).

    Undecided: between the first tenth and the last. Nearly all voxels of a cube are surely empty, and would hide it.
    """
    undecided = table[table.predicted.between(0.1, 0.9)]
    return float(((undecided.predicted - undecided.occupied).abs() * undecided.voxels).sum() / undecided.voxels.sum())


@torch.enable_grad()
def fit_calibration(volumes: Volumes, truth: Truth) -> tuple[float, float]:
    """Slope and offset that make ``sigmoid(slope * logit + offset)`` most likely (`Rays.calibrate`).

    To be fitted on validation people. What is exactly zero was never asked and does not count.
    """
    volumes = volumes.detach()
    told = volumes > 0
    logits, solid = torch.logit(volumes[told].cpu().double(), eps=1e-7), truth[told].cpu().double()
    line = torch.tensor([1.0, 0.0], dtype=torch.double, requires_grad=True)
    optimizer = torch.optim.LBFGS([line], max_iter=50, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(line[0] * logits + line[1], solid)
        loss.backward()
        return loss

    optimizer.step(closure)
    slope, offset = line.detach().tolist()
    return slope, offset
