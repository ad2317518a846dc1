"""The coordinate-wise trimmed mean."""

from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Aggregation
from skymask.numerics.order_statistics import middle_mean


@requires(lambda n, f: n > 2 * f, "trimmed_mean needs n > 2 f clients")
@judges
def trimmed_mean(updates: Tensor, assumed_malicious: int) -> Aggregation:
    """Per coordinate, drop the b lowest and the b highest values and average the rest; b = f.

    ``updates`` is [n, d].  There is no verdict per client.  Raises ValueError unless n > 2 f.
    Source: Yin et al., ICML 2018.

    >>> import torch
    >>> trimmed_mean(torch.tensor([[1.0], [2.0], [6.0], [90.0]]), 1).update
    tensor([4.])
    """
    return Aggregation(middle_mean(updates, assumed_malicious))
