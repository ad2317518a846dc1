r"""Step of mask learning for each kind of device.

All versions change θ [m, d], the masked model w̃ [d] and its denominator Σ_i σ(θ_i) [d] in place:

.. math::

    \theta_i \leftarrow \theta_i - \gamma \cdot \mathrm{clamp}\left(g \odot \sigma(\theta_i)
    (1 - \sigma(\theta_i)) \odot \frac{W_i - \tilde{w}}{\sum_j \sigma(\theta_j)}, \pm c\right),
    \quad \tilde{w} \leftarrow \frac{\sum_i \sigma(\theta_i) \odot W_i}{\sum_i \sigma(\theta_i)}

with g = ∂loss/∂w̃ [d]. Coordinates are independent, so they are processed in blocks of columns:
blocks that stay in the cache on the CPU, one program each on a GPU. The step is compiled by numba
for float32 on the CPU and by Triton on CUDA, and written with torch's operations where these are
missing and for float64. The three agree up to the last digits of σ.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from skymask.numerics.backends import installed
from skymask.numerics.column_blocks import columns_of, cuts
from skymask.numerics.out_of_memory import with_halving
from skymask.numerics.parallel import parallel_map

# columns of a block on the CPU: 100 rows of it stay in the cache between operations
BLOCK = 4096

Step = Callable[[Tensor, Tensor, Tensor, Tensor, float, float], None]
"""A function of θ, w̃, its denominator, g, γ and c."""


def stepper(models: Tensor) -> Step:
    """Return the fastest available step for ``models``.

    Args:
        models: Models W [m, d].

    Returns:
        The step. θ, w̃ and the others are float32 for models of 16 bits, else of the models' dtype.
    """
    steps = {"numba": by_numba, "triton": by_triton, "torch": by_torch}
    return steps[kind_of(models)](models)


def kind_of(models: Tensor) -> str:
    """Return the backend of the step for ``models``: ``numba``, ``triton`` or ``torch``."""
    if models.dtype not in (torch.float32, torch.bfloat16):
        return "torch"
    wanted = {"cpu": "numba", "cuda": "triton"}.get(models.device.type)
    return wanted if wanted is not None and installed(wanted) else "torch"


def by_torch(models: Tensor) -> Step:
    """Return the step in torch's operations, for any device and dtype of ``models`` [m, d]."""

    def step(
        theta: Tensor, masked: Tensor, weight: Tensor, gradient: Tensor, rate: float, clamp: float
    ) -> None:
        def in_block(block: slice) -> None:
            logits, rows = theta[:, block], models[:, block].to(theta.dtype)
            gate = torch.sigmoid(logits)
            slope = rows - masked[block]
            slope.mul_(gate).mul_(1 - gate).mul_(gradient[block] / weight[block])
            torch.sub(logits, slope.clamp_(-clamp, clamp), alpha=rate, out=slope)
            gate = torch.sigmoid(slope)
            total = gate.sum(dim=0)
            # where every gate of a coordinate underflows to zero, no model is preferred
            if bool((total == 0).any()):
                gate = torch.where(total == 0, torch.ones_like(gate), gate)
                total = gate.sum(dim=0)
            mean = (gate * rows).sum(dim=0).div_(total)
            # nothing is written before all is computed: if memory runs out, the block is repeated
            logits.copy_(slope)
            weight[block] = total
            masked[block] = mean

        device = models.device
        size = BLOCK if device.type == "cpu" else columns_of(device)
        parallel_map(
            lambda block: with_halving(in_block, block, "columns of masks"),
            cuts(models.shape[1], size),
            device,
        )

    return step


def by_numba(models: Tensor) -> Step:
    """Return the step compiled by numba, for float32 and bfloat16 ``models`` [m, d] on the CPU."""
    # imported here, since loading the compiler takes a moment
    from skymask.masks import kernel_numba

    # whole tiles per thread, so that the bits do not depend on their number
    blocks = cuts(models.shape[1], 32 * kernel_numba.TILE)
    rows = models.contiguous()
    if rows.dtype == torch.bfloat16:
        rows = rows.view(torch.uint16)
    array = rows.numpy()

    def step(
        theta: Tensor, masked: Tensor, weight: Tensor, gradient: Tensor, rate: float, clamp: float
    ) -> None:
        arrays = [tensor.detach().numpy() for tensor in (theta, masked, weight, gradient)]
        numbers = np.float32(rate), np.float32(clamp)
        parallel_map(
            lambda block: kernel_numba.step(array, *arrays, *numbers, block.start, block.stop),
            blocks,
        )

    return step


def by_triton(models: Tensor) -> Step:
    """Return the step compiled by Triton, for float32 and bfloat16 ``models`` [m, d] on CUDA."""
    from skymask.masks import kernel_triton

    rows = models.contiguous()

    def step(
        theta: Tensor, masked: Tensor, weight: Tensor, gradient: Tensor, rate: float, clamp: float
    ) -> None:
        kernel_triton.step(rows, theta, masked, weight, gradient, rate, clamp)

    return step
