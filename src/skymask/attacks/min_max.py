"""Min-Max attack."""

from typing import Literal

import torch
from torch import Tensor

from skymask.attacks.crafting import known_updates, perturbation_of, replaced
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
    r"""Move from the benign mean as far as the benign updates are from each other.

    All attackers send m = μ + γp with the largest γ such that

    .. math::

        \max_{i \in B} \lVert m - \Delta_i\rVert \le
        \max_{i,j \in B} \lVert\Delta_i - \Delta_j\rVert

    Each benign client bounds γ by the root of a quadratic equation, so no search is needed.

    Args:
        updates: Honest updates [n, d], one row per client.
        malicious: Flags of the malicious clients [n], bool.
        perturbation: Direction p: ``"unit"`` for −μ/‖μ‖, ``"std"`` for −σ (ddof = 1), ``"sign"``
            for −sign(μ).
        tolerance: Relative amount by which γ is smaller than its bound.
        knowledge: ``"partial"`` takes the attackers' own honest updates for B.

    Returns:
        The updates [n, d] after the attack.

    Raises:
        RequirementError: With fewer than two benign clients, or with one malicious client under
            partial knowledge.

    Source: Shejwalkar & Houmansadr, "Manipulating the Byzantine: Optimizing Model Poisoning Attacks
    and Defenses for Federated Learning", NDSS 2021.
    """
    if not bool(malicious.any()):
        return updates
    known = known_updates(updates, malicious, knowledge)
    mean = known.mean(dim=0)
    direction = perturbation_of(known, mean, perturbation)
    limit = squared_distances(known).max()
    gamma = _largest_step(known - mean, direction, limit) * (1 - tolerance)
    return replaced(updates, malicious, mean + gamma * direction)


def _largest_step(offsets: Tensor, direction: Tensor, limit: Tensor) -> Tensor:
    """Return the largest γ ≥ 0 with ‖γp − o_i‖² ≤ limit for each row o_i.

    It is the smallest of the upper roots.
    """
    square = direction @ direction
    if square == 0:
        return torch.zeros_like(square)
    along = offsets @ direction
    slack = limit - offsets.square().sum(dim=1)
    roots = (along + (along.square() + square * slack).clamp_min(0).sqrt()) / square
    return roots.min().clamp_min(0)
