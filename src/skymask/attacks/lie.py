"""The attack "a little is enough" (LIE)."""

from statistics import NormalDist
from typing import Literal

from torch import Tensor

from skymask.attacks.crafting import known_updates, replaced
from skymask.contracts import requires


@requires(
    lambda n, f, knowledge: f == 0 or (n - f >= 2 if knowledge == "full" else f >= 2),
    "lie needs two benign clients, or two malicious ones under partial knowledge",
)
@requires(
    lambda n, f, z: f == 0 or z is not None or 0 < n - (n // 2 + 1) < n - f,
    "lie has no finite z unless n ≥ 3 and f ≤ n/2: give z",
)
def lie(
    updates: Tensor,
    malicious: Tensor,
    *,
    z: float | None = None,
    knowledge: Literal["full", "partial"] = "full",
) -> Tensor:
    r"""Send the benign mean, moved by as many standard deviations as stay unnoticed.

    All attackers send μ − zσ. Unless ``z`` is given,

    .. math::

        z = \Phi^{-1}\left(\frac{n - f - s}{n - f}\right), \quad s = \lfloor n/2 + 1 \rfloor - f

    with Φ the distribution function of the standard normal: s benign clients, which form a majority
    with the attackers, are expected to lie farther out. With few attackers z can be 0 or negative.

    Args:
        updates: Honest updates [n, d], one row per client.
        malicious: Flags of the malicious clients [n], bool.
        z: Number of standard deviations; computed as above if ``None``.
        knowledge: ``"full"`` takes μ and σ (ddof = 1) over the benign updates, ``"partial"`` over
            the attackers' own honest ones.

    Returns:
        The updates [n, d] after the attack.

    Raises:
        RequirementError: With fewer than two known updates, or without ``z`` where it would be
            infinite (n < 3 or f > n/2).

    Source: Baruch et al., "A Little Is Enough: Circumventing Defenses For Distributed Learning",
    NeurIPS 2019.
    """
    if not bool(malicious.any()):
        return updates
    known = known_updates(updates, malicious, knowledge)
    if z is None:
        z = hiding_deviations(len(updates), int(malicious.sum()))
    crafted = known.mean(dim=0) - z * known.std(dim=0, correction=1)
    return replaced(updates, malicious, crafted)


def hiding_deviations(n: int, f: int) -> float:
    """Return the default z of :func:`lie` for n clients, f of them malicious.

    The paper's example:

    >>> round(hiding_deviations(50, 24), 2)
    1.43
    """
    supporters = n // 2 + 1 - f
    return NormalDist().inv_cdf((n - f - supporters) / (n - f))
