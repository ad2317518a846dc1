"""Sign flipping."""

from torch import Tensor

from skymask.attacks.crafting import replaced
from skymask.contracts import requires


@requires(lambda factor: factor > 0, "factor must be positive")
def sign_flip(updates: Tensor, malicious: Tensor, *, factor: float = 1.0) -> Tensor:
    """Send the negative of the honest update.

    Each attacker sends −c·Δ_i.

    Args:
        updates: Honest updates [n, d], one row per client.
        malicious: Flags of the malicious clients [n], bool.
        factor: Factor c.

    Returns:
        The updates [n, d] after the attack.

    Source: Li et al., "RSA: Byzantine-Robust Stochastic Aggregation Methods for Distributed
    Learning from Heterogeneous Datasets", AAAI 2019.
    """
    if not bool(malicious.any()):
        return updates
    return replaced(updates, malicious, -factor * updates[malicious].double())
