"""Multi-Krum."""

from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Aggregation, mean_of
from skymask.defenses.krum_selection import least_scores, repeated_krum
from skymask.numerics.distances import neighbour_sums, squared_distances


@requires(
    lambda n, f, iterative: n >= (2 * f + 3 if iterative else f + 3),
    "multi_krum needs n ≥ f + 3 clients, n ≥ 2 f + 3 if it is iterative",
)
@requires(lambda n, m: m is None or 1 <= m <= n, "m must lie between 1 and n")
@requires(lambda m, iterative: m is None or not iterative, "m has no meaning if iterative")
@judges
def multi_krum(
    updates: Tensor,
    assumed_malicious: int,
    *,
    m: int | None = None,
    iterative: bool = False,
) -> Aggregation:
    """The mean of the ``m`` updates with the least Krum scores; m = n − f unless given.

    Krum's score of Δ_i is the sum of squared distances to its n − f − 2 nearest others, one pass
    for all.  ``iterative`` picks the best, removes it and rescores those left, n' of them, by
    their n' − f − 2 nearest others, until 2 f + 2 remain; the mean is that of the n − 2 f − 2
    picked.  ``updates`` is [n, d].  The ``scores`` are Krum's, with ``iterative`` those of the
    last pass that saw the client.  Of equal scores the one whose next neighbours are nearer
    counts as less; what is equal even so is left to rounding.

    Other code counts a client among its own neighbours, or one neighbour more.  Raises ValueError
    unless n ≥ f + 3 (n ≥ 2 f + 3 if iterative) and 1 ≤ m ≤ n, and for m with ``iterative``.
    Source: Blanchard et al., NeurIPS 2017.

    >>> import torch
    >>> multi_krum(torch.tensor([[0.0], [1.0], [2.0], [9.0], [3.0]]), 1, m=3).update
    tensor([2.])
    """
    n, f = len(updates), assumed_malicious
    distances = squared_distances(updates)
    if iterative:
        accepted, scores = repeated_krum(distances, f, n - 2 * f - 2)
    else:
        scores = neighbour_sums(distances, n - f - 2)
        accepted = least_scores(scores, distances.sort(dim=1).values, n - f if m is None else m)
    return mean_of(updates, accepted, scores=scores)
