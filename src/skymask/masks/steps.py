"""The step of mask learning, for each kind of device: one pass over W and θ.

All do the same to θ [m, d], the masked model w̃ [d] and its denominator Σ_i σ(θ_i) [d], in place:

    θ_i ← θ_i − γ · clamp(g ⊙ σ(θ_i)(1 − σ(θ_i)) ⊙ (W_i − w̃) / Σ_j σ(θ_j), ±c)
    w̃ ← Σ_i σ(θ_i) ⊙ W_i / Σ_i σ(θ_i)

with g = ∂loss/∂w̃ [d].  A coordinate depends on no other, so it is cut into columns: blocks that
stay in the cache on the CPU, one program each on a GPU.  Compiled by numba for float32 on the CPU
and by Triton on CUDA; written with torch's operations where these are missing, and for float64.
The three agree up to the last digits of σ.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from skymask.numerics.backends import installed
from skymask.numerics.column_blocks import columns_of, cuts
from skymask.numerics.out_of_memory import with_halving
from skymask.numerics.parallel import parallel_map

# columns that torch works on at a time: 100 rows of a block stay in the cache between operations
BLOCK = 4096

Step = Callable[[Tensor, Tensor, Tensor, Tensor, float, float], None]
"""Takes θ, w̃, its denominator, g, γ and c."""


def stepper(models: Tensor) -> Step:
    """The fastest step there is for ``models`` W [m, d].

    θ, w̃ and the others are float32 where ``models`` are of 16 bits, else of their dtype.
    """
    steps = {"numba": by_numba, "triton": by_triton, "torch": by_torch}
    return steps[kind_of(models)](models)


def kind_of(models: Tensor) -> str:
    """What the step for ``models`` is written with: ``numba``, ``triton`` or ``torch``."""
    if models.dtype not in (torch.float32, torch.bfloat16):
        return "torch"
    wanted = {"cpu": "numba", "cuda": "triton"}.get(models.device.type)
    return wanted if wanted is not None and installed(wanted) else "torch"


def by_torch(models: Tensor) -> Step:
    """The step written with torch's operations, for any device and dtype."""

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
            # nothing is written before all is known: if memory does not suffice, it is asked again
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
    """The step compiled by numba, for float32 and bfloat16 on the CPU."""
    # here, since loading the compiler takes a moment
    from skymask.masks import kernel_numba

    # whole tiles to each thread, so that the bits do not depend on how many there are
    blocks = cuts(models.shape[1], 32 * kernel_numba.TILE)
    rows = models.contiguous()
    if rows.dtype == torch.bfloat16:
        rows = rows.view(torch.uint16)
    held = rows.numpy()

    def step(
        theta: Tensor, masked: Tensor, weight: Tensor, gradient: Tensor, rate: float, clamp: float
    ) -> None:
        arrays = [tensor.detach().numpy() for tensor in (theta, masked, weight, gradient)]
        numbers = np.float32(rate), np.float32(clamp)
        parallel_map(
            lambda block: kernel_numba.step(held, *arrays, *numbers, block.start, block.stop),
            blocks,
        )

    return step


def by_triton(models: Tensor) -> Step:
    """The step compiled by Triton, for float32 and bfloat16 on CUDA."""
    from skymask.masks import kernel_triton

    rows = models.contiguous()

    def step(
        theta: Tensor, masked: Tensor, weight: Tensor, gradient: Tensor, rate: float, clamp: float
    ) -> None:
        kernel_triton.step(rows, theta, masked, weight, gradient, rate, clamp)

    return step
