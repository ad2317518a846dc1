"""Work on the columns of a matrix [n, d], a block that stays in the cache at a time.

On the CPU torch's threads take a block after the other, each with one thread; the blocks, and the
order in which they are summed, do not depend on how many there are.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from skymask.numerics.backends import installed
from skymask.numerics.out_of_memory import with_halving
from skymask.numerics.parallel import parallel_map

# columns of a block; on a GPU, which has no such cache, what bounds the memory of copies
COLUMNS = {"cpu": 4096, "cuda": 1 << 16}
# partial sums; no more threads than that have a part in a sum
LANES = 8


def columns_of(device: torch.device) -> int:
    """Columns of a block on ``device``."""
    return COLUMNS.get(device.type, COLUMNS["cuda"])


def cuts(width: int, size: int) -> list[slice]:
    """The slices of ``size`` that make up ``width``, the last may be shorter.

    >>> cuts(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    return [slice(start, min(start + size, width)) for start in range(0, width, size)]


def fill(out: Tensor, values: Callable[[slice], Tensor]) -> Tensor:
    """Set ``out[..., block] = values(block)`` for every block of its last axis; return it.

    A block for which the device's memory does not suffice is done in halves.
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
    """Σ part(block) over the blocks of ``width`` columns, at least one; parts are of one shape."""
    blocks = cuts(width, columns_of(device))

    def lane(blocks: list[slice]) -> Tensor:
        found = part(blocks[0])
        for block in blocks[1:]:
            found = found + part(block)
        return found

    share = -(-len(blocks) // LANES)
    lanes = [blocks[k : k + share] for k in range(0, len(blocks), share)]
    sums = parallel_map(lane, lanes, device)
    found = sums[0]
    for other in sums[1:]:
        found = found + other
    return found


def mean(rows: Tensor, chosen: Tensor | None = None) -> Tensor:
    """The mean of ``rows`` [n, d], or of those that are ``chosen`` bool [n], at least one, [d]."""
    count = len(rows) if chosen is None else int(chosen.sum())
    if chosen is None or count == len(rows):
        return rows.mean(dim=0)
    if 2 * count < len(rows):
        return rows[chosen].mean(dim=0)
    # to read the others too is cheaper than to copy these
    return (chosen.to(rows.dtype) @ rows).div_(count)


def weighted_sum(weights: Tensor, rows: Tensor) -> Tensor:
    """``weights`` [n] or [m, n] times ``rows`` [n, d], computed in float64, of the rows' dtype."""
    out = rows.new_empty(*weights.shape[:-1], rows.shape[1])
    weights = weights.double()
    return fill(out, lambda block: (weights @ rows[:, block].double()).to(rows.dtype))


def squared_lengths(rows: Tensor, origin: Tensor | None = None) -> Tensor:
    """Σ_k (rows_ik − origin_k)² of ``rows`` [n, d], float64 [n]."""
    width = rows.shape[1]
    if rows.device.type == "cpu" and rows.dtype == torch.float32 and installed("numba"):
        from skymask.numerics import kernels

        held = rows.detach().numpy()
        centre = np.zeros(width) if origin is None else origin.detach().double().numpy()
        return total(
            width,
            rows.device,
            lambda block: torch.from_numpy(
                kernels.squared_lengths(held, centre, block.start, block.stop)
            ),
        )

    def part(block: slice) -> Tensor:
        values = rows[:, block].double()
        if origin is not None:
            values = values - origin[block]
        return values.square().sum(dim=1)

    return total(width, rows.device, part)
