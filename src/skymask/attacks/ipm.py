"""Inner product manipulation (IPM)."""

from typing import Literal

from torch import Tensor

from skymask.attacks.crafting import known_updates, replaced
from skymask.contracts import requires


@requires(lambda n, f, knowledge: knowledge == "partial" or n - f >= 1, "ipm needs a benign client")
@requires(lambda epsilon: epsilon > 0, "epsilon must be positive")
def ipm(
    updates: Tensor,
    malicious: Tensor,
    *,
    epsilon: float = 0.5,
    knowledge: Literal["full", "partial"] = "full",
) -> Tensor:
    """Send the negative benign mean, scaled, so that the aggregate points away from it.

    All attackers send −εμ.

    Args:
        updates: Honest updates [n, d], one row per client.
        malicious: Flags of the malicious clients [n], bool.
        epsilon: Factor ε.
        knowledge: ``"full"`` takes μ over the benign updates, ``"partial"`` over the attackers' own
            honest ones.

    Returns:
        The updates [n, d] after the attack.

    Raises:
        RequirementError: Without a benign client under full knowledge.

    Source: Xie et al., "Fall of Empires: Breaking Byzantine-tolerant SGD by Inner Product
    Manipulation", UAI 2019.
    """
    if not bool(malicious.any()):
        return updates
    mean = known_updates(updates, malicious, knowledge).mean(dim=0)
    return replaced(updates, malicious, -epsilon * mean)
