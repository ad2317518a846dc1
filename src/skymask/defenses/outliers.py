"""Values near the median of all clients."""

from torch import Tensor

from skymask.numerics.order_statistics import midpoint_median

# values that differ by less, relative to the largest, may be equal ones rounded to float32
EQUAL = 1e-6
# below this, relative to it, a distance from the median may be exactly the limit
TIE = 1e-9


def near_median(values: Tensor, limit: float) -> Tensor:
    """Flag values within some standard deviations of their median.

    Args:
        values: Values [n].
        limit: Number of standard deviations (ddof = 0); a value at exactly this distance is out.

    Returns:
        The flags [n], bool; all true where the values are equal up to rounding.

    >>> import torch
    >>> near_median(torch.tensor([1.0, 2.0, 3.0, 9.0]), 1.0).tolist()
    [True, True, True, False]
    """
    values = values.double()
    distances = (values - midpoint_median(values)).abs()
    deviation = values.std(correction=0)
    return (distances < limit * deviation * (1 - TIE)) | (deviation <= EQUAL * values.abs().max())
