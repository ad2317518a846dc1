"""Federated averaging."""

from typing import Literal

import torch
from torch import Tensor

from skymask.contracts import RequirementError, judges
from skymask.defenses.aggregation import Aggregation, mean_of


@judges
def fedavg(
    updates: Tensor,
    samples: Tensor | None = None,
    *,
    weighting: Literal["uniform", "samples"] = "uniform",
) -> Aggregation:
    """Average the updates.

    The update is Σ_i Δ_i / n, or Σ_i s_i Δ_i / Σ_i s_i with ``weighting="samples"``.

    Args:
        updates: Finite updates [n, d], one row per client.
        samples: Sample counts s of the clients [n]; needed with ``weighting="samples"``.
        weighting: ``"uniform"`` or ``"samples"``.

    Returns:
        The aggregation; all clients are accepted.

    Raises:
        RequirementError: If sample counts are needed and there are none above zero, or negative
            ones.

    Source: McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized
    Data", AISTATS 2017.

    >>> fedavg(torch.tensor([[1.0], [4.0]]), torch.tensor([2, 1]), weighting="samples").update
    tensor([2.])
    """
    accepted = torch.ones(len(updates), dtype=torch.bool, device=updates.device)
    if weighting == "uniform":
        return mean_of(updates, accepted)
    if samples is None or bool((samples < 0).any()) or not bool(samples.sum() > 0):
        raise RequirementError(
            "fedavg: weighting 'samples' needs the clients' sample counts, none of them negative"
        )
    counts = samples.to(updates.device, torch.float64)
    # counts can exceed the range of 16 bits
    weights = (counts / counts.sum()).to(updates.dtype)
    return Aggregation(weights @ updates, accepted, weights)
