"""Krum."""

from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Aggregation, mean_of
from skymask.defenses.krum_selection import least_scores
from skymask.numerics.distances import neighbour_sums, squared_distances


@requires(lambda n, f: n >= f + 3, "krum needs n ≥ f + 3 clients")
@judges
def krum(updates: Tensor, assumed_malicious: int) -> Aggregation:
    """Keep the update with the least sum of squared distances to its nearest others.

    The n − f − 2 nearest others count.

    Args:
        updates: Finite updates [n, d], one row per client.
        assumed_malicious: Assumed number f of malicious clients.

    Returns:
        The aggregation; one client is accepted, and ``scores`` are the sums. Of equal scores the
        one with nearer next neighbours is less; what is equal even so is left to rounding.

    Raises:
        RequirementError: If n < f + 3.

    Source: Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient
    Descent", NeurIPS 2017.

    >>> import torch
    >>> krum(torch.tensor([[0.0], [1.0], [1.5], [9.0]]), 1).scores.tolist()
    [1.0, 0.25, 0.25, 56.25]
    """
    distances = squared_distances(updates)
    scores = neighbour_sums(distances, len(updates) - assumed_malicious - 2)
    accepted = least_scores(scores, distances.sort(dim=1).values, 1)
    return mean_of(updates, accepted, scores=scores)
