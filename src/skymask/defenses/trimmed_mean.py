"""Coordinate-wise trimmed mean."""

from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Aggregation
from skymask.numerics.order_statistics import middle_mean


@requires(lambda n, f: n > 2 * f, "trimmed_mean needs n > 2 f clients")
@judges
def trimmed_mean(updates: Tensor, assumed_malicious: int) -> Aggregation:
    """Drop the f lowest and the f highest values of each coordinate and average the others.

    Args:
        updates: Finite updates [n, d], one row per client.
        assumed_malicious: Number f of values dropped at each end.

    Returns:
        The aggregation, without verdicts.

    Raises:
        RequirementError: If n ≤ 2f.

    Source: Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates",
    ICML 2018.

    >>> import torch
    >>> trimmed_mean(torch.tensor([[1.0], [2.0], [6.0], [90.0]]), 1).update
    tensor([4.])
    """
    return Aggregation(middle_mean(updates, assumed_malicious))
