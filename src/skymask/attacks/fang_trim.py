"""Attack of Fang et al. on the trimmed mean."""

from typing import Literal

import torch
from torch import Tensor

from skymask.attacks.crafting import beyond_extremes, draws_against, known_updates, replaced
from skymask.contracts import requires


@requires(
    lambda n, f, knowledge: n - f >= 1 if knowledge == "full" else f != 1,
    "fang_trim needs a benign client, or two malicious ones under partial knowledge",
)
@requires(lambda b: b > 1, "b must be greater than 1")
def fang_trim(
    updates: Tensor,
    malicious: Tensor,
    *,
    generator: torch.Generator,
    b: float = 2.0,
    knowledge: Literal["full", "partial"] = "full",
) -> Tensor:
    r"""Send values just beyond the benign extremes, against the benign direction.

    With s = sign(Σ_{i∈B} Δ_i), hi = max_B Δ and lo = min_B Δ, each attacker draws each coordinate
    uniformly from

    .. math::

        \begin{cases}
        \left[lo/b, lo\right] \text{ if } lo > 0, \text{ else } \left[b\,lo, lo\right]
        & \text{where } s > 0 \\
        \left[hi, b\,hi\right] \text{ if } hi > 0, \text{ else } \left[hi, hi/b\right]
        & \text{where } s < 0
        \end{cases}

    and keeps the benign mean where s = 0.

    Args:
        updates: Honest updates [n, d], one row per client.
        malicious: Flags of the malicious clients [n], bool.
        generator: Random numbers, on the CPU.
        b: Factor between the two ends of an interval, > 1.
        knowledge: ``"partial"`` takes s, μ and σ from the attackers' own honest updates and draws
            from [μ − 4σ, μ − 3σ] where s > 0 and from [μ + 3σ, μ + 4σ] where s < 0.

    Returns:
        The updates [n, d] after the attack.

    Raises:
        RequirementError: Without a benign client, or with one malicious client under partial
            knowledge.

    Source: Fang et al., "Local Model Poisoning Attacks to Byzantine-Robust Federated Learning",
    USENIX Security 2020.
    """
    if not bool(malicious.any()):
        return updates
    known = known_updates(updates, malicious, knowledge)
    mean = known.mean(dim=0)
    if knowledge == "full":
        below, above = beyond_extremes(known, b)
    else:
        deviation = known.std(dim=0, correction=1)
        below = mean - 4 * deviation, mean - 3 * deviation
        above = mean + 3 * deviation, mean + 4 * deviation
    draws = draws_against(mean, below, above, int(malicious.sum()), generator)
    return replaced(updates, malicious, draws)
