"""Step of mask learning on the CPU, compiled by numba.

It is one pass over W and θ. Imported only where masks are learned, since the compiler takes a
moment to load.
"""

from typing import Any

import numpy as np
from numba import njit

from skymask.numerics.backends import compiled

# columns per inner loop of a thread; a multiple of every vector's width
TILE = 256

F = np.float32
# 2^f on [−1/2, 1/2] as 1 + f (C1 + f (C2 + …)), to 2e-7: the polynomial of least relative error
C1, C2, C3 = F(0.693147), F(0.24022242), F(0.055507336)
C4, C5 = F(0.009671513), F(0.0013264727)
LOG2_E, ONE, LARGEST = F(1.4426950408889634), F(1), F(126)
# added to a float32 below 2^22, leaves its whole part in the lowest bits
ROUNDER, SIXTEEN, MANTISSA, UNIT = F(1.5 * 2**23), np.int32(16), np.int32(23), np.int32(127 << 23)


@njit(inline="always")
def _sigmoid(x: Any) -> Any:
    """Return 1 / (1 + 2^(−x log₂ e)) to a relative 3e-7; the power is bounded by 2^±126."""
    power = min(max(-x * LOG2_E, -LARGEST), LARGEST)
    whole = F(power + ROUNDER)
    f = power - (whole - ROUNDER)
    square = f * f
    mantissa = (ONE + f * C1) + square * ((C2 + f * C3) + square * (C4 + f * C5))
    exponent = np.int32((whole.view(np.int32) << MANTISSA) + UNIT).view(np.float32)
    return ONE / (ONE + mantissa * exponent)


@njit(inline="always")
def _float32(value: Any) -> Any:
    """Return a float32 as it is, and a uint16 as the upper half of one, which is a bfloat16."""
    if isinstance(value, np.uint16):
        return np.int32(np.int32(value) << SIXTEEN).view(np.float32)
    return value


# sums may use fused operations but must not be reordered: the order of the models counts
@compiled(nogil=True, fastmath={"contract", "nsz"}, error_model="numpy")
def step(
    models: Any,
    theta: Any,
    masked: Any,
    weight: Any,
    gradient: Any,
    learning_rate: Any,
    clamp: Any,
    first: int,
    last: int,
) -> None:
    """Take a step of mask learning in some columns, in place.

    Args:
        models: Models W [m, d], float32, or bfloat16 as uint16.
        theta: Mask logits θ [m, d], float32, written.
        masked: Masked model w̃ [d], float32, written.
        weight: Its denominator Σ_i σ(θ_i) [d], float32, written.
        gradient: Gradient of the loss at w̃ [d], float32.
        learning_rate: Learning rate γ.
        clamp: Bound c of the mask gradient.
        first: First column, a multiple of TILE.
        last: Column after the last one.
    """
    size = models.shape[0]
    scale, shift = np.empty(TILE, F), np.empty(TILE, F)
    total, mean = np.empty(TILE, F), np.empty(TILE, F)
    for start in range(first, last, TILE):
        width = min(TILE, last - start)
        for k in range(width):
            scale[k] = gradient[start + k] / weight[start + k]
            shift[k] = masked[start + k]
            total[k] = F(0)
            mean[k] = F(0)
        for i in range(size):
            logits = theta[i, start : start + width]
            rows = models[i, start : start + width]
            for k in range(width):
                row = _float32(rows[k])
                gate = _sigmoid(logits[k])
                slope = (row - shift[k]) * (gate * (ONE - gate)) * scale[k]
                logit = logits[k] - learning_rate * min(max(slope, -clamp), clamp)
                gate = _sigmoid(logit)
                logits[k] = logit
                total[k] += gate
                mean[k] += gate * row
        for k in range(width):
            weight[start + k] = total[k]
            masked[start + k] = mean[k] / total[k]
