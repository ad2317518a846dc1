"""Attack of Fang et al. on Krum."""

import math

import torch
from torch import Tensor

from skymask.attacks.crafting import known_updates, replaced
from skymask.contracts import requires
from skymask.numerics.distances import neighbour_sums, squared_distances


@requires(lambda n, f: f == 0 or n >= 2 * f + 2, "fang_krum needs n ≥ 2 f + 2 clients")
@requires(lambda threshold: threshold > 0, "threshold must be positive")
def fang_krum(updates: Tensor, malicious: Tensor, *, threshold: float = 1e-5) -> Tensor:
    r"""Send one step against the benign direction, as long as Krum still selects it.

    All f attackers send −λs with s = sign(Σ_{i∈B} Δ_i). λ starts at

    .. math::

        \lambda_0 = \frac{\min_{i \in B} \sum_{l \in N_i} \lVert\Delta_i - \Delta_l\rVert}
        {(n - 2f - 1)\sqrt{d}} + \frac{\max_{i \in B} \lVert\Delta_i\rVert}{\sqrt{d}}

    with N_i the n − f − 2 benign clients nearest to i, and is halved until Krum, with its n − f − 2
    neighbours among all n clients, prefers an attacker to every benign client, or until λ is below
    ``threshold``; that λ is sent.

    Args:
        updates: Honest updates [n, d], one row per client.
        malicious: Flags of the malicious clients [n], bool.
        threshold: Value of λ at which the search ends, in units of the updates.

    Returns:
        The updates [n, d] after the attack.

    Raises:
        RequirementError: If n < 2f + 2.

    Source: Fang et al., "Local Model Poisoning Attacks to Byzantine-Robust Federated Learning",
    USENIX Security 2020.
    """
    attackers = int(malicious.sum())
    if attackers == 0:
        return updates
    n, d = updates.shape
    benign = known_updates(updates, malicious, "full")
    sign = benign.mean(dim=0).sign()
    lengths = benign.square().sum(dim=1)
    between = squared_distances(benign)
    nearest = neighbour_sums(between.sqrt(), n - attackers - 2).min()
    bound = nearest / ((n - 2 * attackers - 1) * math.sqrt(d)) + (lengths.max() / d).sqrt()

    # the crafted vector's squared distance to Δ_i is ‖Δ_i‖² + 2λ s·Δ_i + λ²‖s‖²
    along, square = benign @ sign, sign @ sign
    distances = torch.zeros(n, n, dtype=torch.float64, device=updates.device)
    distances[attackers:, attackers:] = between

    def picked(step: float) -> bool:
        to_benign = (lengths + 2 * step * along + step**2 * square).clamp_min(0)
        distances[:attackers, attackers:] = to_benign
        distances[attackers:, :attackers] = to_benign[:, None]
        scores = neighbour_sums(distances, n - attackers - 2)
        return bool(scores[0] < scores[attackers:].min())

    step = float(bound)
    while math.isfinite(step) and step >= threshold and not picked(step):
        step /= 2
    return replaced(updates, malicious, -step * sign)
