"""Values near the median of all clients."""

from torch import Tensor

from skymask.numerics.order_statistics import midpoint_median


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
    distances = (values.double() - midpoint_median(values)).abs()
    deviation = values.double().std(correction=0)
    # below this the values differ by rounding only
    rounding = 1e-9 * values.double().abs().max()
    return (distances < limit * deviation) | (deviation <= rounding)
