"""Adaptive attack on FLTrust."""

from collections.abc import Callable

import torch
from torch import Tensor

from skymask.attacks.crafting import beyond_extremes, draws_against, known_updates, replaced
from skymask.contracts import requires


@requires(lambda n, f: n - f >= 1, "fltrust_adaptive needs a benign client")
@requires(lambda gamma: gamma > 0, "gamma must be positive")
@requires(lambda eta: eta > 0, "eta must be positive")
@requires(lambda steps: steps >= 1, "steps must be at least 1")
@requires(lambda passes: passes >= 1, "passes must be at least 1")
def fltrust_adaptive(
    updates: Tensor,
    malicious: Tensor,
    *,
    generator: torch.Generator,
    gamma: float = 0.1,
    eta: float = 0.1,
    steps: int = 10,
    passes: int = 10,
) -> Tensor:
    r"""Turn the attackers' updates so that FLTrust's aggregate moves far against the benign mean.

    With unit vectors e = μ/‖μ‖ and e_i = Δ_i/‖Δ_i‖, the trust c(x) = ReLU(x·e) and s = sign(μ), the
    attackers maximise over unit vectors e'_j the clean aggregate less the attacked one,

    .. math::

        h = s \cdot \left( \frac{\sum_i c(e_i)\, e_i}{\sum_i c(e_i)} -
        \frac{\sum_{i \in B} c(e_i)\, e_i + \sum_j c(e'_j)\, e'_j}
        {\sum_{i \in B} c(e_i) + \sum_j c(e'_j)} \right)

    The server's Δ_0 is unknown to them; the benign mean μ takes its place. They start from a draw
    of :func:`~skymask.attacks.fang_trim.fang_trim` (b = 2), scaled to length 1. In each of
    ``passes`` passes each attacker takes ``steps`` zeroth-order steps, with u ~ N(0, I/2) and the
    other vectors fixed, each followed by scaling to length 1:

    .. math::

        e'_j \leftarrow e'_j + \eta\, \frac{h(e'_j + \gamma u) - h(e'_j)}{\gamma}\, u

    Large d makes such steps go astray, so an attacker keeps the best vector of its turn, the first
    one included: h never decreases. A start opposed to μ has no trust, h is flat there, and the
    vector may stay. The attackers send e'_j ‖μ‖; FLTrust rescales it anyway.

    Args:
        updates: Honest updates [n, d], one row per client.
        malicious: Flags of the malicious clients [n], bool.
        generator: Random numbers, on the CPU.
        gamma: Step γ of the finite difference, in units of the unit vectors.
        eta: Step size η, in units of the unit vectors.
        steps: Steps of an attacker per pass.
        passes: Passes over the attackers.

    Returns:
        The updates [n, d] after the attack.

    Raises:
        RequirementError: Without a benign client.

    Source: Cao et al., "FLTrust: Byzantine-robust Federated Learning via Trust Bootstrapping", NDSS
    2021.
    """
    if not bool(malicious.any()):
        return updates
    benign = known_updates(updates, malicious, "full")
    mean = benign.mean(dim=0)
    vectors = _unit(
        draws_against(mean, *beyond_extremes(benign, 2.0), int(malicious.sum()), generator)
    )
    reference, sign = _unit(mean), mean.sign()

    def shares(rows: Tensor) -> Tensor:
        """Return what unit vectors [..., d] add to Σ c and to s·Σ c x, [..., 2]."""
        trust = (rows @ reference).clamp_min(0)
        return torch.stack([trust, trust * (rows @ sign)], dim=-1)

    honest, crafted = shares(_unit(benign)).sum(dim=0), shares(vectors)
    for _ in range(passes):
        for j in range(len(vectors)):
            others = honest + crafted.sum(dim=0) - crafted[j]

            def objective(vector: Tensor, others: Tensor = others) -> Tensor:
                trust, along = others + shares(vector)
                # h but for the clean aggregate, which is the same for all
                return torch.where(trust > 0, -along / trust, 0.0)

            vectors[j] = _best_on_path(objective, vectors[j], generator, gamma, eta, steps)
            crafted[j] = shares(vectors[j])
    return replaced(updates, malicious, vectors * mean.norm())


def _best_on_path(
    objective: Callable[[Tensor], Tensor],
    vector: Tensor,
    generator: torch.Generator,
    gamma: float,
    eta: float,
    steps: int,
) -> Tensor:
    """Return the best unit vector [d] on a path of zeroth-order steps from ``vector``."""
    value = objective(vector)
    best, best_value = vector, value
    for _ in range(steps):
        noise = torch.randn(len(vector), generator=generator, dtype=torch.float64) * 0.5**0.5
        noise = noise.to(vector.device)
        slope = (objective(vector + gamma * noise) - value) / gamma
        vector = _unit(vector + eta * slope * noise)
        value = objective(vector)
        if bool(value > best_value):
            best, best_value = vector, value
    return best


def _unit(rows: Tensor) -> Tensor:
    """Scale rows [..., d] to length 1; a zero row stays."""
    lengths = rows.norm(dim=-1, keepdim=True)
    return torch.where(lengths > 0, rows / lengths.clamp_min(1e-300), 0.0)
