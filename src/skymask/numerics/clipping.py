"""Vectors shortened to a limit."""

import torch
from torch import Tensor

from skymask.numerics import column_blocks


def clipping(lengths: Tensor, limit: Tensor) -> Tensor:
    """Return the factors min(1, limit / length) that shorten vectors to a limit.

    Args:
        lengths: Lengths of the vectors [n].
        limit: Largest length, a scalar.

    Returns:
        The factors [n].

    >>> clipping(torch.tensor([0.0, 1.0, 4.0]), torch.tensor(2.0)).tolist()
    [1.0, 1.0, 0.5]
    """
    return torch.where(lengths > limit, limit / lengths, 1.0)


def shortened(rows: Tensor, factors: Tensor) -> Tensor:
    """Multiply rows by factors that may be too small for float32.

    Args:
        rows: Rows [n, d].
        factors: Factors [n].

    Returns:
        The products [n, d]; ``rows`` itself where all factors are 1.

    >>> shortened(torch.tensor([[2e38], [4.0]]), torch.tensor([1e-38, 0.5])).round().tolist()
    [[2.0], [2.0]]
    """
    if bool((factors == 1).all()):
        return rows
    scale = factors.double()[:, None]
    return column_blocks.fill(
        torch.empty_like(rows),
        lambda block: (rows[:, block].double() * scale).to(rows.dtype),
    )
