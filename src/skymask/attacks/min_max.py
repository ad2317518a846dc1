"""Min-Max: as far from the benign mean as the benign updates are from each other."""

from typing import Literal

import torch
from torch import Tensor

from skymask.attacks.crafting import known_updates, perturbation_of, sent
from skymask.contracts import requires
from skymask.numerics.distances import squared_distances


@requires(lambda n, f: f == 0 or n - f >= 2, "min_max needs two benign clients")
@requires(
    lambda n, f, knowledge: knowledge == "full" or f != 1,
    "min_max needs two malicious clients under partial knowledge",
)
@requires(lambda tolerance: tolerance > 0, "tolerance must be positive")
def min_max(
    updates: Tensor,
    malicious: Tensor,
    *,
    perturbation: Literal["unit", "std", "sign"] = "unit",
    tolerance: float = 1e-5,
    knowledge: Literal["full", "partial"] = "full",
) -> Tensor:
    """All attackers send m = μ + γp with the largest γ such that

        max_{i∈B} ‖m − Δ_i‖ ≤ max_{i,j∈B} ‖Δ_i − Δ_j‖

    p is −μ/‖μ‖ (``unit``), −σ (``std``) or −sign(μ) (``sign``); μ and σ are the benign updates'
    mean and standard deviation (ddof = 1) per coordinate.  γ is exact up to ``tolerance``,
    relative: each benign client bounds it by the root of a quadratic, so no search is needed.
    ``knowledge="partial"`` takes the attackers' own honest updates for B throughout.
    ``updates`` is [n, d], ``malicious`` bool [n].  Raises ValueError with fewer than two benign
    clients, or one malicious client under partial knowledge.  Source: Shejwalkar & Houmansadr,
    NDSS 2021.
    """
    if not bool(malicious.any()):
        return updates
    known = known_updates(updates, malicious, knowledge)
    mean = known.mean(dim=0)
    direction = perturbation_of(known, mean, perturbation)
    limit = squared_distances(known).max()
    gamma = _largest_step(known - mean, direction, limit) * (1 - tolerance)
    return sent(updates, malicious, mean + gamma * direction)


def _largest_step(offsets: Tensor, direction: Tensor, limit: Tensor) -> Tensor:
    """The largest γ ≥ 0 with ‖γp − o_i‖² ≤ limit for each row o_i: the least of the upper roots."""
    square = direction @ direction
    if square == 0:
        return torch.zeros_like(square)
    along = offsets @ direction
    slack = limit - offsets.square().sum(dim=1)
    roots = (along + (along.square() + square * slack).clamp_min(0).sqrt()) / square
    return roots.min().clamp_min(0)
