"""Min-Sum attack."""

from typing import Literal

import torch
from torch import Tensor

from skymask.attacks.crafting import known_updates, perturbation_of, replaced
from skymask.contracts import requires


@requires(lambda n, f: f == 0 or n - f >= 2, "min_sum needs two benign clients")
@requires(
    lambda n, f, knowledge: knowledge == "full" or f != 1,
    "min_sum needs two malicious clients under partial knowledge",
)
@requires(lambda tolerance: tolerance > 0, "tolerance must be positive")
def min_sum(
    updates: Tensor,
    malicious: Tensor,
    *,
    perturbation: Literal["unit", "std", "sign"] = "unit",
    tolerance: float = 1e-5,
    bound: Literal["max", "min"] = "max",
    knowledge: Literal["full", "partial"] = "full",
) -> Tensor:
    r"""Move from the benign mean until the squared distances add up to the farthest client's.

    All attackers send m = μ + γp with the largest γ such that

    .. math::

        \sum_{i \in B} \lVert m - \Delta_i\rVert^2 \le
        \max_{i \in B} \sum_{j \in B} \lVert\Delta_i - \Delta_j\rVert^2

    Both sides contain Σ_{j∈B} ‖Δ_j − μ‖². The rest, divided by the number of clients in B, is ‖γp‖²
    on the left and ‖Δ_i − μ‖² on the right, hence

    .. math::

        \gamma = \max_{i \in B} \lVert\Delta_i - \mu\rVert / \lVert p\rVert

    Args:
        updates: Honest updates [n, d], one row per client.
        malicious: Flags of the malicious clients [n], bool.
        perturbation: Direction p: ``"unit"`` for −μ/‖μ‖, ``"std"`` for −σ (ddof = 1), ``"sign"``
            for −sign(μ).
        tolerance: Relative amount by which γ is smaller than its bound.
        bound: ``"min"`` takes the smallest sum on the right, as the authors' code does.
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
    lengths = (known - mean).norm(dim=1)
    reach = lengths.max() if bound == "max" else lengths.min()
    size = direction.norm()
    gamma = reach / size * (1 - tolerance) if size > 0 else torch.zeros_like(size)
    return replaced(updates, malicious, mean + gamma * direction)
