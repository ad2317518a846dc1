"""The upper bound of every table."""

from torch import Tensor

from skymask.contracts import judges
from skymask.defenses.aggregation import Aggregation, mean_of


@judges
def oracle(updates: Tensor, malicious: Tensor) -> Aggregation:
    """The mean of the benign updates, Σ_{i∈B} Δ_i / |B|: what a server that knows M would do.

    ``updates`` is [n, d], ``malicious`` bool [n].
    """
    return mean_of(updates, ~malicious)
