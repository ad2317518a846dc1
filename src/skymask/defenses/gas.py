"""Gradient splitting (GAS)."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from skymask.contracts import call, judges, requires
from skymask.defenses.aggregation import Aggregation, mean_of
from skymask.defenses.bulyan import bulyan
from skymask.defenses.krum import krum
from skymask.defenses.krum_selection import least_scores
from skymask.defenses.median import median
from skymask.defenses.trimmed_mean import trimmed_mean
from skymask.numerics import column_blocks

BASES: dict[str, Callable[..., Aggregation]] = {
    "median": median,
    "trimmed_mean": trimmed_mean,
    "krum": krum,
    "bulyan": bulyan,
}


@requires(
    lambda n, f, base: base != "bulyan" or n >= 4 * f + 3, "base bulyan needs n ≥ 4 f + 3 clients"
)
@requires(lambda n, f, base: base != "krum" or n >= f + 3, "base krum needs n ≥ f + 3 clients")
@requires(lambda n, f: n > 2 * f, "gas needs n > 2 f clients")
@requires(lambda parts: parts >= 1, "parts must be at least 1")
@judges
def gas(
    updates: Tensor,
    assumed_malicious: int,
    generator: torch.Generator,
    *,
    parts: int = 1000,
    base: Literal["median", "trimmed_mean", "krum", "bulyan"] = "bulyan",
) -> Aggregation:
    r"""Split the coordinates at random, and keep the clients near a robust rule's result in each.

    A random permutation of the coordinates is cut into p parts of nearly equal size (no more than
    d). With a_c what the ``base`` rule makes of part c, the score of a client is
    :math:`\sum_c \lVert \Delta_{i,c} - a_c \rVert`. The n − f clients with the least scores are
    accepted and averaged.

    Args:
        updates: Finite updates [n, d], one row per client.
        assumed_malicious: Assumed number f of malicious clients.
        generator: Random numbers, on the CPU.
        parts: Number p of parts.
        base: The rule in each part.

    Returns:
        The aggregation; ``scores`` as above.

    The authors' "Bulyan" is another rule than :func:`~skymask.defenses.bulyan.bulyan`: it selects
    by one pass of Krum and clamps f. With the other rules GAS is defined for more attackers.

    Source: Liu et al., "Byzantine-Robust Learning on Heterogeneous Data via Gradient Splitting",
    ICML 2023.
    """
    n, width = updates.shape
    order = torch.randperm(width, generator=generator).to(updates.device)
    scores = torch.zeros(n, dtype=torch.float64, device=updates.device)
    offers = {"assumed_malicious": lambda: assumed_malicious}
    for chosen in torch.tensor_split(order, min(parts, width)):
        part = updates[:, chosen]
        result = call(BASES[base], {**offers, "updates": lambda: part}, {}).update  # noqa: B023
        scores += column_blocks.squared_lengths(part, result).sqrt()
    accepted = least_scores(scores, scores[:, None], n - assumed_malicious)
    return mean_of(updates, accepted, scores=scores)
