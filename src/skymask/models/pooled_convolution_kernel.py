"""Compiled loops of the pooled convolution, on images [N, H, W, C]."""

from typing import Any

import numpy as np

from skymask.numerics.backends import compiled

F = np.float32
# no value of the window is positive: the four places are 0 to 3, row by row
OFF = np.uint8(4)

_loops = compiled(nogil=True, fastmath={"contract", "nsz"}, error_model="numpy")


@_loops
def pool(outputs: Any, pooled: Any, places: Any) -> None:
    """Pool each 2 × 2 window: write its largest value, at least 0, and the position of that value.

    Of equal values the first counts; a NaN is larger than everything.

    Args:
        outputs: Outputs of the convolution, float32 [N, H, W, C].
        pooled: Written: float32 [N, H // 2, W // 2, C].
        places: Written: position in the window, uint8, or OFF.
    """
    count, rows, columns, channels = pooled.shape
    for n in range(count):
        for i in range(rows):
            for j in range(columns):
                upper, lower = outputs[n, 2 * i], outputs[n, 2 * i + 1]
                first, second = upper[2 * j], upper[2 * j + 1]
                third, fourth = lower[2 * j], lower[2 * j + 1]
                values, where = pooled[n, i, j], places[n, i, j]
                for c in range(channels):
                    best, place = first[c], np.uint8(0)
                    if second[c] > best or second[c] != second[c]:
                        best, place = second[c], np.uint8(1)
                    if third[c] > best or third[c] != third[c]:
                        best, place = third[c], np.uint8(2)
                    if fourth[c] > best or fourth[c] != fourth[c]:
                        best, place = fourth[c], np.uint8(3)
                    positive = not (best <= F(0))
                    values[c] = best if positive else F(0)
                    where[c] = place if positive else OFF


@_loops
def unpool(gradient: Any, places: Any, spread: Any) -> None:
    """Write each entry of ``gradient`` to its position of the window in ``spread``, 0 elsewhere.

    Args:
        gradient: Gradient of the pooled outputs, float32 [N, H // 2, W // 2, C].
        places: Positions that ``pool`` wrote.
        spread: Written: gradient of the outputs, float32 [N, H, W, C].
    """
    count, rows, columns, channels = gradient.shape
    spread[:, 2 * rows :] = F(0)
    spread[:, :, 2 * columns :] = F(0)
    for n in range(count):
        for i in range(rows):
            for j in range(columns):
                values, where = gradient[n, i, j], places[n, i, j]
                for place in range(4):
                    target = spread[n, 2 * i + (place >> 1), 2 * j + (place & 1)]
                    for c in range(channels):
                        target[c] = values[c] if where[c] == place else F(0)


@_loops
def backward(
    images: Any, places: Any, gradient: Any, weight: Any, d_weight: Any, d_bias: Any, d_images: Any
) -> None:
    """Compute the gradients of a 3 × 3 convolution from those of its pooled outputs.

    Only one position of four, and that only where it is positive, passes a gradient on, so that
    most of a dense convolution would multiply by zero.

    Args:
        images: Inputs, float32 [N, H, W, C].
        places: Positions that ``pool`` wrote.
        gradient: Gradient of the pooled outputs, float32 [N, H', W', O].
        weight: Weights, float32 [O, 3, R]: the 3 C numbers of a row, padded with zeros to R.
        d_weight: Added to: gradient of the weights [O, 3, R].
        d_bias: Added to: gradient of the bias [O].
        d_images: Written: gradient of the inputs [N, H, W, C].
    """
    count, height, width, channels = images.shape
    outputs, _, row = weight.shape
    size, line = height * width * channels, width * channels
    rows, columns = gradient.shape[1], gradient.shape[2]
    # copies with padding after the last row, since R numbers are read at a time
    image, back = np.zeros(size + row, F), np.zeros(size + row, F)
    values, starts = np.empty(rows * columns, F), np.empty(rows * columns, np.int64)
    for n in range(count):
        image[:size] = images[n].reshape(size)
        back[:] = F(0)
        for o in range(outputs):
            active = 0
            for i in range(rows):
                for j in range(columns):
                    place = places[n, i, j, o]
                    values[active] = gradient[n, i, j, o]
                    starts[active] = (2 * i + (place >> 1)) * line + (
                        2 * j + (place & 1)
                    ) * channels
                    active += 1 if place < OFF else 0
            for t in range(active):
                d_bias[o] += values[t]
            for k in range(3):
                slope, own = d_weight[o, k], weight[o, k]
                t = 0
                while t + 4 <= active:
                    v0, v1, v2, v3 = values[t], values[t + 1], values[t + 2], values[t + 3]
                    p0 = image[starts[t] + k * line : starts[t] + k * line + row]
                    p1 = image[starts[t + 1] + k * line : starts[t + 1] + k * line + row]
                    p2 = image[starts[t + 2] + k * line : starts[t + 2] + k * line + row]
                    p3 = image[starts[t + 3] + k * line : starts[t + 3] + k * line + row]
                    for s in range(row):
                        slope[s] += v0 * p0[s] + v1 * p1[s] + v2 * p2[s] + v3 * p3[s]
                    t += 4
                while t < active:
                    value = values[t]
                    p0 = image[starts[t] + k * line : starts[t] + k * line + row]
                    for s in range(row):
                        slope[s] += value * p0[s]
                    t += 1
                for t in range(active):
                    value = values[t]
                    p0 = back[starts[t] + k * line : starts[t] + k * line + row]
                    for s in range(row):
                        p0[s] += value * own[s]
        d_images[n] = back[:size].reshape(height, width, channels)
