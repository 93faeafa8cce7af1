"""Calibration of occupancy probabilities: how well they match frequencies, and how to correct them.

Niculescu-Mizil and Caruana, Predicting Good Probabilities with Supervised Learning (ICML 2005): reliability tables, and
Platt scaling, a linear map of the logits. It keeps the order of the voxels by probability, and so every surface.
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
    """Predicted probability and observed frequency of occupancy, by bins of the probability.

    Columns: predicted (the mean of the bin), occupied, voxels. The first two are equal for a calibrated network.

    >>> volumes = torch.full((1, 2, 2, 2), 0.25)
    >>> reliability_table(volumes, volumes > 1).to_dict("records")
    [{'predicted': 0.25, 'occupied': 0.0, 'voxels': 8}]
    """
    values, solid = volumes.detach().flatten().cpu(), truth.flatten().cpu()
    index = (values * bins).long().clamp(max=bins - 1)
    count = torch.bincount(index, minlength=bins)
    mean, share = (torch.bincount(index, weights=x.double(), minlength=bins) / count for x in (values, solid))
    table = pd.DataFrame({"predicted": mean.numpy(), "occupied": share.numpy(), "voxels": count.numpy()})
    return table[table.voxels > 0].reset_index(drop=True)


def expected_calibration_error(table: pd.DataFrame) -> float:
    """Mean difference between predicted and observed occupancy over the voxels predicted between 0.1 and 0.9.

    The other voxels are left out: nearly all voxels of a cube are empty with certainty and would hide the rest.

    Args:
        table: a `reliability_table`.

    >>> table = pd.DataFrame({"predicted": [0.05, 0.4, 0.6], "occupied": [0.0, 0.5, 0.2], "voxels": [90, 5, 15]})
    >>> round(expected_calibration_error(table), 3)
    0.325
    """
    uncertain = table[table.predicted.between(0.1, 0.9)]
    return float(((uncertain.predicted - uncertain.occupied).abs() * uncertain.voxels).sum() / uncertain.voxels.sum())


@torch.enable_grad()
def fit_calibration(volumes: Volumes, truth: Truth) -> tuple[float, float]:
    """Slope and offset for which ``sigmoid(slope * logit + offset)`` is most likely; pass validation data.

    Voxels with probability exactly 0 were not predicted (the upper part of a foot's cube) and are left out.

    >>> volumes = torch.linspace(0.1, 0.9, 8).view(1, 2, 2, 2)
    >>> slope, offset = fit_calibration(volumes, torch.tensor([0, 0, 1, 0, 1, 0, 1, 1]).view(1, 2, 2, 2) > 0)
    >>> abs(offset) < 1e-6
    True
    """
    volumes = volumes.detach()
    was_predicted = volumes > 0
    logits = torch.logit(volumes[was_predicted].cpu().double(), eps=1e-7)
    solid = truth[was_predicted].cpu().double()
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
