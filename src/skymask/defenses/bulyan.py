"""Bulyan."""

import torch
from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Aggregation
from skymask.defenses.krum_selection import repeated_krum
from skymask.numerics.distances import squared_distances
from skymask.numerics.order_statistics import midpoint_median

COLUMNS = 1 << 16
"""Coordinates averaged at a time, to limit memory."""


@requires(lambda n, f: n >= 4 * f + 3, "bulyan needs n ≥ 4 f + 3 clients")
@judges
def bulyan(updates: Tensor, assumed_malicious: int) -> Aggregation:
    """Select clients by repeated Krum, then average the values nearest to their median.

    1. Select θ = n − 2f clients one after the other: of the n' clients left, the Δ_i with the least
       sum of squared distances to its n' − f − 2 nearest others (to 1 where that is less).
    2. Per coordinate, take the mean of the β = θ − 2f selected values that are nearest to their
       median (the midpoint of the middle two if θ is even); of two equally near ones, the lower.

    Args:
        updates: Finite updates [n, d], one row per client.
        assumed_malicious: Assumed number f of malicious clients.

    Returns:
        The aggregation. The selected clients are accepted; ``scores`` are those of Krum in the last
        pass with the client. There are no ``weights``. Ties are broken as in
        :func:`~skymask.defenses.multi_krum.multi_krum`.

    Raises:
        RequirementError: If n < 4f + 3.

    In the last pass f − 1 neighbours count, so one of f equal attackers is selected then; step 2 is
    there to outvote it.

    Source: El Mhamdi et al., "The Hidden Vulnerability of Distributed Learning in Byzantium", ICML
    2018.

    >>> bulyan(torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0], [6.0], [99.0]]), 1).update
    tensor([3.])
    """
    picks = len(updates) - 2 * assumed_malicious
    accepted, scores = repeated_krum(squared_distances(updates), assumed_malicious, picks)
    kept = picks - 2 * assumed_malicious
    ordered = updates[accepted].sort(dim=0).values
    parts = [_mean_about_median(part, kept) for part in torch.split(ordered, COLUMNS, dim=1)]
    return Aggregation(torch.cat(parts), accepted, scores=scores)


def _mean_about_median(ordered: Tensor, kept: int) -> Tensor:
    """Average the ``kept`` values nearest to the median, per column of sorted values [m, d].

    They are adjacent. The run moves on by one as long as the value after it is nearer than its
    first.
    """
    values, surplus = ordered.double(), len(ordered) - kept
    middle = midpoint_median(values)
    first = (values[kept:] - middle < middle - values[:surplus]).sum(dim=0)
    run = first + torch.arange(kept, device=ordered.device)[:, None]
    return values.gather(0, run).mean(dim=0).to(ordered.dtype)
