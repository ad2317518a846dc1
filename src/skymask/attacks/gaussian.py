"""Gaussian noise attack."""

import torch
from torch import Tensor

from skymask.attacks.crafting import replaced
from skymask.contracts import requires


@requires(lambda sigma: sigma > 0, "sigma must be positive")
def gaussian(
    updates: Tensor, malicious: Tensor, *, generator: torch.Generator, sigma: float = 0.1
) -> Tensor:
    """Send Gaussian noise in place of the updates.

    Each coordinate of each attacker is an independent draw from N(0, σ²).

    Args:
        updates: Honest updates [n, d], one row per client.
        malicious: Flags of the malicious clients [n], bool.
        generator: Random numbers, on the CPU.
        sigma: Standard deviation σ, in units of the updates (200 in the paper).

    Returns:
        The updates [n, d] after the attack.

    Source: Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient
    Descent", NeurIPS 2017.
    """
    if not bool(malicious.any()):
        return updates
    shape = (int(malicious.sum()), updates.shape[1])
    noise = torch.randn(shape, generator=generator, dtype=torch.float64).to(updates.device)
    return replaced(updates, malicious, sigma * noise)
