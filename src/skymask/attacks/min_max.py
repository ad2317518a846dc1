"""Min-Max: as far from the benign mean as the benign updates are from each other."""

from typing import Literal

import torch
from torch import Tensor

from skymask.contracts import requires
from skymask.geometry import squared_distances


@requires(lambda n, f: n - f >= 2, "min_max needs two benign clients")
@requires(lambda tolerance: tolerance > 0, "tolerance must be positive")
def min_max(
    updates: Tensor,
    malicious: Tensor,
    *,
    perturbation: Literal["unit", "std", "sign"] = "unit",
    tolerance: float = 1e-5,
) -> Tensor:
    """All attackers send m = μ + γp with the largest γ such that

        max_{i∈B} ‖m − Δ_i‖ ≤ max_{i,j∈B} ‖Δ_i − Δ_j‖

    p is −μ/‖μ‖ (``unit``), −σ (``std``) or −sign(μ) (``sign``); μ and σ are the benign updates'
    mean and standard deviation (ddof = 1) per coordinate.  γ is exact up to ``tolerance``,
    relative: each benign client bounds it by the root of a quadratic, so no search is needed.
    ``updates`` is [n, d], ``malicious`` bool [n].  Raises ValueError with fewer than two benign
    clients.  Source: Shejwalkar & Houmansadr, NDSS 2021.
    """
    benign = updates[~malicious].double()
    mean = benign.mean(dim=0)
    direction = _direction(benign, mean, perturbation)
    limit = squared_distances(benign).max()
    gamma = _largest_step(benign - mean, direction, limit) * (1 - tolerance)
    attacked = updates.clone()
    attacked[malicious] = (mean + gamma * direction).to(updates.dtype)
    return attacked


def _direction(benign: Tensor, mean: Tensor, perturbation: str) -> Tensor:
    if perturbation == "std":
        return -benign.std(dim=0, correction=1)
    if perturbation == "sign":
        return -mean.sign()
    length = mean.norm()
    return -mean / length if length > 0 else -mean


def _largest_step(offsets: Tensor, direction: Tensor, limit: Tensor) -> Tensor:
    """The largest γ ≥ 0 with ‖γp − o_i‖² ≤ limit for each row o_i: the least of the upper roots."""
    square = direction @ direction
    if square == 0:
        return torch.zeros_like(square)
    along = offsets @ direction
    slack = limit - offsets.square().sum(dim=1)
    roots = (along + (along.square() + square * slack).clamp_min(0).sqrt()) / square
    return roots.min().clamp_min(0)
