"""Divide and conquer (DnC)."""

import torch
from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Aggregation, mean_of
from skymask.numerics.pca import principal_coordinates


@requires(lambda n, f, removed: n > round(removed * f), "dnc must not remove all n clients")
@requires(lambda n, f: n >= f, "dnc needs n ≥ f clients")
@requires(lambda iterations: iterations >= 1, "iterations must be at least 1")
@requires(lambda subsample: subsample >= 1, "subsample must be at least 1")
@requires(lambda removed: removed >= 0, "removed must not be negative")
@judges
def dnc(
    updates: Tensor,
    assumed_malicious: int,
    generator: torch.Generator,
    *,
    iterations: int = 5,
    subsample: int = 10_000,
    removed: float = 1.0,
) -> Aggregation:
    """Drop the updates that stand out along the top singular vector, on random coordinates.

    ``iterations`` times, take ``subsample`` random coordinates (all if d is less), centre the
    updates there, and drop the c·f (rounded) clients with the largest squared projection on the top
    right singular vector. Clients that are never dropped are accepted.

    Args:
        updates: Finite updates [n, d], one row per client.
        assumed_malicious: Assumed number f of malicious clients.
        generator: Random numbers, on the CPU.
        iterations: Number of iterations r.
        subsample: Number of coordinates b in an iteration.
        removed: Factor c.

    Returns:
        The aggregation; ``scores`` count how often a client was dropped. The update is the mean of
        the accepted, zero if there are none. Updates that are all equal are kept; which of several
        equal projections counts as larger is left to rounding.

    Raises:
        RequirementError: If n ≤ c·f, or a parameter is out of range.

    Source: Shejwalkar & Houmansadr, "Manipulating the Byzantine: Optimizing Model Poisoning Attacks
    and Defenses for Federated Learning", NDSS 2021.
    """
    n, d = updates.shape
    scores = torch.zeros(n, dtype=torch.float64, device=updates.device)
    for _ in range(iterations):
        chosen = torch.randperm(d, generator=generator)[:subsample].to(updates.device)
        # the coordinates along the first component are the projections on the top singular vector
        squares = principal_coordinates(updates[:, chosen], 1)[0].flatten().square()
        dropped = squares.topk(round(removed * assumed_malicious)).indices
        scores[dropped] += squares[dropped] > 0
    return mean_of(updates, scores == 0, scores=scores)
