"""Operations on the columns of a matrix in blocks.

A block of columns of a matrix [n, d] stays in the cache. On the CPU torch's threads take the
blocks, each with one thread. The blocks, and the order in which they are summed, do not depend on
the number of threads.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from skymask.numerics.backends import installed
from skymask.numerics.out_of_memory import with_halving
from skymask.numerics.parallel import parallel_map

# columns of a block; a GPU has no such cache, there the block limits the memory of copies
COLUMNS = {"cpu": 4096, "cuda": 1 << 16}
# partial sums; a sum uses no more threads than this
LANES = 8


def columns_of(device: torch.device) -> int:
    """Return the number of columns of a block on ``device``."""
    return COLUMNS.get(device.type, COLUMNS["cuda"])


def cuts(width: int, size: int) -> list[slice]:
    """Cut ``width`` columns into slices of ``size``, of which the last may be shorter.

    >>> cuts(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return [slice(start, min(start + size, width)) for start in range(0, width, size)]


def fill(out: Tensor, values: Callable[[slice], Tensor]) -> Tensor:
    """Set ``out[..., block] = values(block)`` for every block of its last axis.

    A block that does not fit into the device's memory is computed in halves.

    Args:
        out: Tensor [..., d] to fill.
        values: Function of a slice of columns that returns their values [..., columns].

    Returns:
        ``out``.
    """

    def work(block: slice) -> None:
        out[..., block] = values(block)

    parallel_map(
        lambda block: with_halving(work, block, "columns"),
        cuts(out.shape[-1], columns_of(out.device)),
        out.device,
    )
    return out


def total(width: int, device: torch.device, part: Callable[[slice], Tensor]) -> Tensor:
    """Sum a function over the blocks of the columns.

    Args:
        width: Number of columns, at least one.
        device: Device of the parts.
        part: Function of a slice of columns; its results have one shape.

    Returns:
        Σ part(block).
    """
    blocks = cuts(width, columns_of(device))

    def lane(blocks: list[slice]) -> Tensor:
        result = part(blocks[0])
        for block in blocks[1:]:
            result = result + part(block)
        return result

    share = -(-len(blocks) // LANES)
    lanes = [blocks[k : k + share] for k in range(0, len(blocks), share)]
    sums = parallel_map(lane, lanes, device)
    result = sums[0]
    for other in sums[1:]:
        result = result + other
    return result


def mean(rows: Tensor, chosen: Tensor | None = None) -> Tensor:
    """Average rows.

    Args:
        rows: Rows [n, d].
        chosen: Flags of the rows to average [n], bool, at least one; all rows if ``None``.

    Returns:
        The mean [d], of the dtype of ``rows``.
    """
    count = len(rows) if chosen is None else int(chosen.sum())
    if chosen is None or count == len(rows):
        return rows.mean(dim=0)
    # a sum of 16-bit rows overflows where their mean does not
    if 2 * count < len(rows) or torch.finfo(rows.dtype).bits < 32:
        return rows[chosen].mean(dim=0)
    # reading the other rows too is cheaper than copying these
    return (chosen.to(rows.dtype) @ rows).div_(count)


def weighted_sum(weights: Tensor, rows: Tensor) -> Tensor:
    """Multiply ``weights`` [n] or [m, n] with ``rows`` [n, d] in float64.

    Args:
        weights: Weights [n] or [m, n].
        rows: Rows [n, d].

    Returns:
        The sums [d] or [m, d], of the dtype of ``rows``.
    """
    out = rows.new_empty(*weights.shape[:-1], rows.shape[1])
    weights = weights.double()
    return fill(out, lambda block: (weights @ rows[:, block].double()).to(rows.dtype))


def squared_lengths(rows: Tensor, origin: Tensor | None = None) -> Tensor:
    """Return Σ_k (rows_ik − origin_k)² for each row.

    Args:
        rows: Rows [n, d].
        origin: Origin [d]; zero if ``None``.

    Returns:
        The squared lengths [n], float64.
    """
    width = rows.shape[1]
    if rows.device.type == "cpu" and rows.dtype == torch.float32 and installed("numba"):
        from skymask.numerics import kernels

        values = rows.detach().numpy()
        centre = np.zeros(width) if origin is None else origin.detach().double().numpy()
        return total(
            width,
            rows.device,
            lambda block: torch.from_numpy(
                kernels.squared_lengths(values, centre, block.start, block.stop)
            ),
        )

    def part(block: slice) -> Tensor:
        values = rows[:, block].double()
        if origin is not None:
            values = values - origin[block]
        return values.square().sum(dim=1)

    return total(width, rows.device, part)
