"""Coordinate-wise median."""

from torch import Tensor

from skymask.contracts import judges
from skymask.defenses.aggregation import Aggregation
from skymask.numerics.order_statistics import middle_mean


@judges
def median(updates: Tensor) -> Aggregation:
    """Take the median of each coordinate.

    It is the midpoint of the middle two values if n is even; ``torch.median`` would take the lower.

    Args:
        updates: Finite updates [n, d], one row per client.

    Returns:
        The aggregation, without verdicts.

    Source: Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates",
    ICML 2018.

    >>> import torch
    >>> median(torch.tensor([[1.0], [90.0], [2.0], [5.0]])).update
    tensor([3.5000])
    """
    return Aggregation(middle_mean(updates, (len(updates) - 1) // 2))
