"""ByzMean attack."""

from torch import Tensor

from skymask.attacks.crafting import known_updates, replaced
from skymask.contracts import requires


@requires(lambda n, f: f == 0 or n - f >= 2, "byzmean needs two benign clients")
def byzmean(updates: Tensor, malicious: Tensor, *, z: float = 0.5) -> Tensor:
    r"""Make the mean of all updates what an attack wants, whatever it takes.

    The wanted mean is a = μ − zσ, as in :func:`~skymask.attacks.lie.lie`, with μ and σ (ddof = 1)
    over the benign updates. The first m_1 = ⌊f/2⌋ attackers send a, the other m_2 send

    .. math:: \frac{(n - m_1)\, a - \sum_{i \in B} \Delta_i}{m_2}

    so that the mean of all n updates is a. The code of LASA, which also has this attack, sums over
    all clients and does not reach it.

    Args:
        updates: Honest updates [n, d], one row per client.
        malicious: Flags of the malicious clients [n], bool.
        z: Number of standard deviations.

    Returns:
        The updates [n, d] after the attack.

    Raises:
        RequirementError: With fewer than two benign clients.

    Source: Xu et al., "Byzantine-robust Federated Learning through Collaborative Malicious Gradient
    Filtering", ICDCS 2022.
    """
    attackers = int(malicious.sum())
    if attackers == 0:
        return updates
    known = known_updates(updates, malicious, "full")
    wanted = known.mean(dim=0) - z * known.std(dim=0, correction=1)
    few = attackers // 2
    others = ((len(updates) - few) * wanted - known.sum(dim=0)) / (attackers - few)
    crafted = others.repeat(attackers, 1)
    crafted[:few] = wanted
    return replaced(updates, malicious, crafted)
