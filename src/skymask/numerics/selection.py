"""Selection of a share of the entries of a vector."""

import math

import torch
from torch import Tensor

# a product such as 0.29 · 100 is a little less than an integer, or more
ROUNDING = 1e-9


def rounded_down(share: float, total: int) -> int:
    """Return ⌊share · total⌋, where a product that is an integer up to rounding counts as one.

    >>> rounded_down(0.29, 100), rounded_down(0.299, 100)
    (29, 29)
    """
    return math.floor(share * total + ROUNDING)


def rounded_up(share: float, total: int) -> int:
    """Return ⌈share · total⌉, where a product that is an integer up to rounding counts as one.

    >>> rounded_up(0.07, 100), rounded_up(0.071, 100)
    (7, 8)
    """
    return math.ceil(share * total - ROUNDING)


def smallest(values: Tensor, count: int) -> Tensor:
    """Flag the smallest values, the first of equal ones.

    ``torch.topk`` leaves open which of equal ones it takes, and sorting is more work.

    Args:
        values: Values [d].
        count: Number of values, from 0 to d.

    Returns:
        The flags [d], bool.

    >>> smallest(torch.tensor([2, 1, 2, 0, 2]), 3).tolist()
    [True, True, False, True, False]
    """
    if count == 0:
        return torch.zeros_like(values, dtype=torch.bool)
    limit = values.kthvalue(count).values
    flags = values < limit
    equal = torch.nonzero(values == limit).flatten()
    flags[equal[: count - int(flags.sum())]] = True
    return flags


def largest(values: Tensor, count: int) -> Tensor:
    """Flag the entries with the largest absolute values, the first of equal ones.

    Args:
        values: Values [d].
        count: Number of entries, from 0 to d.

    Returns:
        The flags [d], bool.

    >>> largest(torch.tensor([1.0, -3.0, 2.0, 2.0]), 2).tolist()
    [False, True, True, False]
    """
    return smallest(-values.abs(), count)
