"""Compiled loops over the columns of a matrix."""

from typing import Any

import numpy as np

from skymask.numerics.backends import compiled

# columns that go through the network together: 100 rows of them fit into the cache near the core
TILE = 128


@compiled(nogil=True, fastmath={"nnan", "nsz"}, error_model="numpy")
def middle_mean(values: Any, steps: Any, dropped: int, means: Any, first: int, last: int) -> None:
    """Write the means of the middle values of some columns.

    Args:
        values: Matrix [n, d], float32.
        steps: Comparisons of the sorting network [steps, 2].
        dropped: Number of values dropped at each end.
        means: Results [d], float32, written in place.
        first: First column.
        last: Column after the last one.
    """
    count = values.shape[0]
    kept = count - 2 * dropped
    tile = np.zeros((count, TILE), np.float32)
    total = np.empty(TILE, np.float64)
    for start in range(first, last, TILE):
        width = min(TILE, last - start)
        for i in range(count):
            tile[i, :width] = values[i, start : start + width]
        for s in range(len(steps)):
            upper, lower = tile[steps[s, 0]], tile[steps[s, 1]]
            for k in range(TILE):
                one, two = upper[k], lower[k]
                upper[k] = min(one, two)
                lower[k] = max(one, two)
        total[:] = 0.0
        for i in range(dropped, count - dropped):
            row = tile[i]
            for k in range(TILE):
                total[k] += row[k]
        for k in range(width):
            means[start + k] = total[k] / kept


@compiled(nogil=True, fastmath={"contract", "reassoc", "nsz"}, error_model="numpy")
def squared_lengths(rows: Any, origin: Any, first: int, last: int) -> Any:
    """Return Σ_k (rows_ik − origin_k)² over some columns.

    Args:
        rows: Matrix [n, d], float32.
        origin: Origin [d], float64.
        first: First column.
        last: Column after the last one.

    Returns:
        The sums [n], float64.
    """
    sums = np.empty(len(rows), np.float64)
    centre = origin[first:last]
    for i in range(len(rows)):
        # a slice, since an index that might be negative could not go through as a vector
        row, length = rows[i, first:last], 0.0
        for k in range(len(row)):
            offset = np.float64(row[k]) - centre[k]
            length += offset * offset
        sums[i] = length
    return sums
