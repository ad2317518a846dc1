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
    """Average the updates with the least Krum scores.

    Krum's score of Δ_i is the sum of squared distances to its n − f − 2 nearest others. Other code
    counts a client among its own neighbours, or one neighbour more.

    Args:
        updates: Finite updates [n, d], one row per client.
        assumed_malicious: Assumed number f of malicious clients.
        m: Number of updates to average; n − f if ``None``. Not with ``iterative``.
        iterative: Select the best client, remove it, and compute the scores of the n' others again,
            by their n' − f − 2 nearest others, until 2f + 2 clients remain; average the n − 2f − 2
            selected ones.

    Returns:
        The aggregation; ``scores`` are Krum's, with ``iterative`` those of a client's last pass. Of
        equal scores the one with nearer next neighbours is less; what is equal even so is left to
        rounding.

    Raises:
        RequirementError: If n < f + 3 (n < 2f + 3 with ``iterative``), or m is out of range.

    Source: Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient
    Descent", NeurIPS 2017.

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
