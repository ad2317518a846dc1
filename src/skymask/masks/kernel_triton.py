"""Step of mask learning on a GPU, compiled by Triton.

One kernel reads W and θ once and writes θ once. Each program has a block of columns and loops over
the models; its sums stay in registers. Imported only where Triton is installed.
"""

from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

# columns of a program: 100 models × a small model must still make programs for every processor
COLUMNS = 128


@triton.jit  # type: ignore[untyped-decorator, unused-ignore]
def _step(  # type: ignore[no-untyped-def]  # noqa: ANN202
    models,  # noqa: ANN001
    theta,  # noqa: ANN001
    masked,  # noqa: ANN001
    weight,  # noqa: ANN001
    gradient,  # noqa: ANN001
    size,  # noqa: ANN001
    width,  # noqa: ANN001
    rate,  # noqa: ANN001
    clamp,  # noqa: ANN001
    columns: tl.constexpr,
):
    places = tl.program_id(0).to(tl.int64) * columns + tl.arange(0, columns)
    inside = places < width
    shift = tl.load(masked + places, mask=inside, other=0.0)
    scale = tl.load(gradient + places, mask=inside, other=0.0)
    scale = scale / tl.load(weight + places, mask=inside, other=1.0)
    total = tl.zeros([columns], dtype=tl.float32)
    mean = tl.zeros([columns], dtype=tl.float32)
    plain = tl.zeros([columns], dtype=tl.float32)
    for _ in range(size):
        row = tl.load(models + places, mask=inside, other=0.0).to(tl.float32)
        logit = tl.load(theta + places, mask=inside, other=0.0)
        gate = tl.sigmoid(logit)
        slope = (row - shift) * (gate * (1.0 - gate)) * scale
        logit -= rate * tl.minimum(tl.maximum(slope, -clamp), clamp)
        tl.store(theta + places, logit, mask=inside)
        gate = tl.sigmoid(logit)
        total += gate
        mean += gate * row
        plain += row
        models += width
        theta += width
    # where every gate of a coordinate underflows to zero, no model is preferred
    none = total == 0.0
    mean = tl.where(none, plain, mean)
    total = tl.where(none, size.to(tl.float32), total)
    tl.store(weight + places, total, mask=inside)
    tl.store(masked + places, mean / total, mask=inside)


def step(
    models: Tensor,
    theta: Tensor,
    masked: Tensor,
    weight: Tensor,
    gradient: Tensor,
    rate: float,
    clamp: float,
) -> None:
    """Take a step of mask learning, in place.

    Args:
        models: Models W [m, d], float32 or bfloat16, contiguous like the others.
        theta: Mask logits θ [m, d], float32, written.
        masked: Masked model w̃ [d], float32, written.
        weight: Its denominator Σ_i σ(θ_i) [d], float32, written.
        gradient: Gradient of the loss at w̃ [d], float32.
        rate: Learning rate γ.
        clamp: Bound c of the mask gradient.
    """
    size, width = models.shape
    # the launch goes to the current device, which need not be that of the tensors; on a CPU it is
    # interpreted
    with torch.cuda.device(models.device) if models.is_cuda else nullcontext():
        _step[(triton.cdiv(width, COLUMNS),)](
            models, theta, masked, weight, gradient, size, width, rate, clamp, columns=COLUMNS
        )
