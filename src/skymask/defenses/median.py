"""The coordinate-wise median."""

from torch import Tensor

from skymask.contracts import judges
from skymask.defenses.aggregation import Aggregation
from skymask.numerics.order_statistics import middle_mean


@judges
def median(updates: Tensor) -> Aggregation:
    """Per coordinate, the middle value; the midpoint of the middle two when n is even.

    ``updates`` is [n, d].  There is no verdict per client.  ``torch.median`` would take the lower
    of the middle two.  Source: Yin et al., ICML 2018.

    >>> import torch
    >>> median(torch.tensor([[1.0], [90.0], [2.0], [5.0]])).update
    tensor([3.5000])
    """
    return Aggregation(middle_mean(updates, (len(updates) - 1) // 2))
