"""Medians and means of the middle values of columns.

Sorting each column alone takes branches that no processor predicts. A network of compare-exchange
steps is the same for all columns, so vector instructions process many columns at once.
"""

from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skymask.numerics import column_blocks
from skymask.numerics.backends import installed
from skymask.numerics.parallel import parallel_map


def middle_mean(rows: Tensor, dropped: int) -> Tensor:
    """Average each column without its least and largest values.

    With ``dropped`` = (n − 1) // 2 that is the median, the midpoint of the middle two if n is even.

    Args:
        rows: Rows [n, d] without NaN.
        dropped: Number of values dropped at each end.

    Returns:
        The means [d], summed in float64, of the dtype of ``rows``.

    Raises:
        ValueError: If no value is left, or ``dropped`` is negative.

    >>> middle_mean(torch.tensor([[1.0], [90.0], [2.0], [5.0]]), 1)
    tensor([3.5000])
    """
    if not 0 <= dropped < len(rows) / 2:
        raise ValueError(f"dropped must lie in [0, n / 2), not {dropped} with n = {len(rows)}")
    if rows.dtype == torch.float32 and rows.device.type == "cpu" and installed("numba"):
        return _by_network(rows, dropped)

    def of_block(block: slice) -> Tensor:
        ordered = rows[:, block].sort(dim=0).values
        return ordered[dropped : len(rows) - dropped].double().mean(dim=0).to(rows.dtype)

    return column_blocks.fill(torch.empty_like(rows[0]), of_block)


def _by_network(rows: Tensor, dropped: int) -> Tensor:
    from skymask.numerics import kernels

    steps = network(len(rows), dropped)
    result = torch.empty_like(rows[0])
    values, means = rows.contiguous().numpy(), result.numpy()

    def work(block: slice) -> None:
        kernels.middle_mean(values, steps, dropped, means, block.start, block.stop)

    parallel_map(work, column_blocks.cuts(len(result), 32 * kernels.TILE))
    return result


@cache
def network(count: int, dropped: int = 0) -> npt.NDArray[np.int64]:
    """Return a network of comparisons that sorts, Batcher's merge exchange.

    Comparisons that cannot influence the positions from ``dropped`` to count − ``dropped`` are left
    out: the other positions then hold the right values in any order.

    Args:
        count: Number of values to sort.
        dropped: Number of positions at each end that need not be sorted.

    Returns:
        Pairs i < j [steps, 2], int64: each step exchanges two values so that i has the lesser.

    Source: Knuth, The Art of Computer Programming 3, algorithm 5.2.2 M.

    >>> network(4).tolist()
    [[0, 2], [1, 3], [0, 1], [2, 3], [1, 2]]
    >>> len(network(100)), len(network(100, 49))
    (1077, 889)
    """
    steps: list[tuple[int, int]] = []
    top = 1 << max((count - 1).bit_length() - 1, 0)
    size = top if count > 1 else 0
    while size:
        step, rest, apart = top, 0, size
        while True:
            steps += [(i, i + apart) for i in range(count - apart) if i & size == rest]
            if step == size:
                break
            apart, step, rest = step - size, step >> 1, size
        size >>= 1
    needed = set(range(dropped, count - dropped))
    kept = []
    for i, j in reversed(steps):
        if i in needed or j in needed:
            kept.append((i, j))
            needed |= {i, j}
    return np.array(kept[::-1], dtype=np.int64).reshape(-1, 2)


def midpoint_median(values: Tensor) -> Tensor:
    """Return the median over the first axis, the midpoint of the middle two for even n.

    ``torch.median`` would take the lower of the two.

    Args:
        values: Values [n, ...].

    Returns:
        The median [...], float64.

    >>> midpoint_median(torch.tensor([4.0, 1.0, 2.0, 9.0])).item()
    3.0
    """
    n = len(values)
    return values.sort(dim=0).values[(n - 1) // 2 : n // 2 + 1].double().mean(dim=0)
