"""Compiled loops over a block of columns, for :mod:`skymask.blocks`."""

from typing import Any

import numpy as np

from skymask.compiled import compiled


@compiled(nogil=True, fastmath={"contract", "reassoc", "nsz"}, error_model="numpy")
def squared_lengths(rows: Any, origin: Any, first: int, last: int) -> Any:
    """Σ_k (rows_ik − origin_k)² over the columns ``first`` to ``last``, float64 [n]."""
    found = np.empty(len(rows), np.float64)
    centre = origin[first:last]
    for i in range(len(rows)):
        # a slice, since an index that might be negative could not go through as a vector
        row, length = rows[i, first:last], 0.0
        for k in range(len(row)):
            offset = np.float64(row[k]) - centre[k]
            length += offset * offset
        found[i] = length
    return found
