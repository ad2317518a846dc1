"""Federated averaging."""

from typing import Literal

import torch
from torch import Tensor

from skymask.contracts import judges
from skymask.defenses.aggregation import Aggregation, mean_of


@judges
def fedavg(
    updates: Tensor,
    samples: Tensor | None = None,
    *,
    weighting: Literal["uniform", "samples"] = "uniform",
) -> Aggregation:
    """The mean of the updates: Σ_i Δ_i / n, or Σ_i s_i Δ_i / Σ_i s_i with ``weighting="samples"``.

    ``updates`` is [n, d], ``samples`` the clients' sample counts s [n].  Everybody is accepted.
    Raises ValueError when sample counts are wanted and none, or none above zero, are given.
    Source: McMahan et al., AISTATS 2017.

    >>> fedavg(torch.tensor([[1.0], [4.0]]), torch.tensor([2, 1]), weighting="samples").update
    tensor([2.])
    """
    accepted = torch.ones(len(updates), dtype=torch.bool, device=updates.device)
    if weighting == "uniform":
        return mean_of(updates, accepted)
    if samples is None or not bool(samples.sum() > 0):
        raise ValueError("fedavg: weighting 'samples' needs the clients' sample counts")
    weights = samples.to(updates) / samples.sum()
    return Aggregation(weights @ updates, accepted, weights)
