"""Bulyan."""

import torch
from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Aggregation
from skymask.defenses.krum_selection import repeated_krum
from skymask.numerics.distances import squared_distances
from skymask.numerics.order_statistics import midpoint_median

COLUMNS = 1 << 16
"""Coordinates that are averaged at a time, for the sake of memory."""


@requires(lambda n, f: n >= 4 * f + 3, "bulyan needs n ≥ 4 f + 3 clients")
@judges
def bulyan(updates: Tensor, assumed_malicious: int) -> Aggregation:
    """Pick θ = n − 2f clients by repeated Krum, then average what is nearest to their median.

    1. θ times: of the n' clients left, pick the Δ_i with the least sum of squared distances to its
       n' − f − 2 nearest others among them (to 1 where that is less), and remove it.
    2. Per coordinate, the mean of the β = θ − 2f values of the picked that are nearest to their
       median (the midpoint of the middle two when θ is even); of two equally near, the lower.

    ``updates`` is [n, d].  Accepted are the θ picked; the ``scores`` are Krum's in the last pass
    that saw the client.  Equal scores are told apart by the next neighbours, as in Multi-Krum.
    The last pick rests on f − 1 neighbours, so that one of f equal attackers is picked then; step
    2 is there to outvote it.  Raises ValueError unless n ≥ 4f + 3.
    Source: El Mhamdi et al., ICML 2018.

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
    """Per column of sorted values [m, d], the mean of the ``kept`` that are nearest to the median.

    They lie side by side.  As long as the value that follows them is nearer than the first of
    them, the run moves on by one.
    """
    values, surplus = ordered.double(), len(ordered) - kept
    middle = midpoint_median(values)
    first = (values[kept:] - middle < middle - values[:surplus]).sum(dim=0)
    run = first + torch.arange(kept, device=ordered.device)[:, None]
    return values.gather(0, run).mean(dim=0).to(ordered.dtype)
