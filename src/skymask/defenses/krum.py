"""Krum."""

from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Aggregation, mean_of
from skymask.defenses.krum_selection import least_scores
from skymask.numerics.distances import neighbour_sums, squared_distances


@requires(lambda n, f: n >= f + 3, "krum needs n ≥ f + 3 clients")
@judges
def krum(updates: Tensor, assumed_malicious: int) -> Aggregation:
    """Keep the Δ_i with the least sum of squared distances to its n − f − 2 nearest others.

    ``updates`` is [n, d].  The ``scores`` are those sums; the one kept client is accepted.  Of
    equal scores the one whose next neighbours are nearer counts as less; what is equal even so is
    left to rounding.  Raises ValueError unless n ≥ f + 3.
    Source: Blanchard et al., NeurIPS 2017.

    >>> import torch
    >>> krum(torch.tensor([[0.0], [1.0], [1.5], [9.0]]), 1).scores.tolist()
    [1.0, 0.25, 0.25, 56.25]
    """
    distances = squared_distances(updates)
    scores = neighbour_sums(distances, len(updates) - assumed_malicious - 2)
    accepted = least_scores(scores, distances.sort(dim=1).values, 1)
    return mean_of(updates, accepted, scores=scores)
