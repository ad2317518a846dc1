"""Steps that several attacks on updates share."""

import torch
from torch import Tensor

Interval = tuple[Tensor, Tensor]
"""Start [d] and end [d] of an interval per coordinate."""


def known_updates(updates: Tensor, malicious: Tensor, knowledge: str) -> Tensor:
    """Return the honest updates that the attackers know.

    Args:
        updates: Honest updates [n, d].
        malicious: Flags of the malicious clients [n], bool.
        knowledge: ``"full"`` for the updates of the benign clients, ``"partial"`` for the
            attackers' own.

    Returns:
        The known updates [m, d], float64.

    >>> rows, flags = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([False, True, False])
    >>> known_updates(rows, flags, "full").tolist(), known_updates(rows, flags, "partial").tolist()
    ([[1.0], [3.0]], [[2.0]])
    """
    return updates[~malicious if knowledge == "full" else malicious].double()


def replaced(updates: Tensor, malicious: Tensor, crafted: Tensor) -> Tensor:
    """Copy ``updates`` [n, d] and set the f malicious rows to ``crafted``, [f, d] or [d] for all.

    >>> flags = torch.tensor([True, False, True])
    >>> replaced(torch.zeros(3, 1), flags, torch.ones(1)).flatten().tolist()
    [1.0, 0.0, 1.0]
    """
    attacked = updates.clone()
    attacked[malicious] = crafted.to(updates.dtype)
    return attacked


def perturbation_of(known: Tensor, mean: Tensor, kind: str) -> Tensor:
    """Return the direction p in which Min-Max and Min-Sum leave the benign mean.

    Args:
        known: Known honest updates [m, d], float64.
        mean: Their mean μ [d], float64.
        kind: ``"unit"`` for −μ/‖μ‖, ``"std"`` for −σ (ddof = 1), ``"sign"`` for −sign(μ).

    Returns:
        The direction [d], float64.

    >>> rows = torch.tensor([[3.0, -1.0], [5.0, -1.0]], dtype=torch.float64)
    >>> perturbation_of(rows, rows.mean(dim=0), "sign").tolist()
    [-1.0, 1.0]
    """
    if kind == "std":
        return -known.std(dim=0, correction=1)
    if kind == "sign":
        return -mean.sign()
    return -unit(mean)


def unit(vector: Tensor) -> Tensor:
    """Scale ``vector`` [d] to length 1; a zero vector stays."""
    length = vector.norm()
    return vector / length if length > 0 else vector


def beyond_extremes(known: Tensor, b: float) -> tuple[Interval, Interval]:
    """Return the intervals from which Fang-Trim draws under full knowledge.

    With hi and lo the largest and the smallest value of a coordinate, the interval below is [lo/b,
    lo] if lo > 0, else [b·lo, lo]; the interval above is [hi, b·hi] if hi > 0, else [hi, hi/b].

    Args:
        known: Known honest updates [m, d].
        b: Factor between the two ends of an interval, > 1.

    Returns:
        The interval below and the interval above, each as its two ends [d].

    >>> below, above = beyond_extremes(torch.tensor([[1.0], [3.0]]), 2.0)
    >>> [end.item() for end in (*below, *above)]
    [0.5, 1.0, 3.0, 6.0]
    """
    low, high = known.amin(dim=0), known.amax(dim=0)
    below = torch.where(low > 0, low / b, low * b), low
    return below, (high, torch.where(high > 0, high * b, high / b))


def draws_against(
    mean: Tensor, below: Interval, above: Interval, count: int, generator: torch.Generator
) -> Tensor:
    """Draw each coordinate uniformly on the side opposed to the sign of the mean.

    Args:
        mean: Mean of the known updates [d]. Where it is 0 it is returned unchanged.
        below: Interval for coordinates with a positive mean.
        above: Interval for coordinates with a negative mean.
        count: Number of draws per coordinate.
        generator: Random numbers, on the CPU.

    Returns:
        The draws [count, d], float64.
    """
    sign = mean.sign()
    start = torch.where(sign > 0, below[0], torch.where(sign < 0, above[0], mean))
    end = torch.where(sign > 0, below[1], torch.where(sign < 0, above[1], mean))
    draws = torch.rand((count, len(mean)), generator=generator, dtype=torch.float64)
    return start + draws.to(mean.device) * (end - start)
