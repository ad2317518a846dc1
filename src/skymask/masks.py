"""Mask learning, the heart of SkyMask: which coordinates of which model help on clean data.

Given m models W_i and a loss on the root data, every model gets a mask of logits θ_i as large as
itself.  The masked model is, per coordinate,

    w̃ = Σ_i σ(θ_i) ⊙ W_i / Σ_i σ(θ_i)

and only θ is trained.  With g = ∂loss/∂w̃ (one ordinary backward pass, [d]) the gradient is closed:

    ∂loss/∂θ_i = g ⊙ σ(θ_i)(1 − σ(θ_i)) ⊙ (W_i − w̃) / Σ_j σ(θ_j)

so no graph over [m, d] is ever built.  Source: Yan et al., ECCV 2024 (arXiv 2312.12484).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from skymask.objective import Loss

# columns worked on at a time: 100 rows of a block stay in the cache between its passes
BLOCK = 4096


def learn(
    models: Tensor,
    loss: Loss,
    *,
    learning_rate: float = 1e7,
    clamp: float = 1e-7,
    steps: int = 20,
    check_every: int = 10,
    tolerance: float = 1e-2,
    on_step: Callable[[int, float], None] | None = None,
) -> Tensor:
    """Learn one mask per model; return the logits θ [m, d], on the device of ``models``.

    θ starts at 1 and takes up to ``steps`` steps θ ← θ − γ · clamp(∇θ, ±c), with γ the
    ``learning_rate`` and c the ``clamp`` (``float("inf")`` for none).  At steps 1,
    1 + ``check_every``, … learning stops if the loss fell by less than ``tolerance`` since the
    last check, and it stops at once if the loss or its gradient is not finite.  ``on_step`` is told
    each step's index and the loss before it.

    ``models`` is [m, d], any floating dtype, and is not changed.  ``loss`` maps [d] to a scalar.
    Raises ValueError when ``models`` is not a matrix.

    >>> def loss(w):  # the second model is right, the first is wrong
    ...     return ((w - 1) ** 2).sum()
    >>> theta = learn(torch.tensor([[-1.0, -1.0], [1.0, 1.0]]), loss, clamp=1e-7)
    >>> binarise(theta).tolist()
    [[False, False], [True, True]]
    """
    if models.ndim != 2:
        raise ValueError(f"models must be a matrix [m, d], not of shape {tuple(models.shape)}")
    theta = torch.ones_like(models)
    masked, weight = combine(models, theta)
    last = float("inf")
    for step in range(steps):
        value, gradient = value_and_gradient(loss, masked)
        if on_step is not None:
            on_step(step, value)
        if not math.isfinite(value):
            break
        if step % check_every == 1 % check_every:
            if last - value < tolerance:
                break
            last = value
        for block in _blocks(models.shape[1]):
            logits, rows = theta[:, block], models[:, block]
            gate = torch.sigmoid(logits)
            slope = rows - masked[block]
            slope.mul_(gate).mul_(1 - gate).mul_(gradient[block] / weight[block])
            logits.sub_(slope.clamp_(-clamp, clamp), alpha=learning_rate)
            masked[block], weight[block] = _weighted_mean(rows, logits)
    return theta


def combine(models: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Return the masked model w̃ [d] and its denominator Σ_i σ(θ_i) [d]."""
    masked, weight = torch.empty_like(models[0]), torch.empty_like(models[0])
    for block in _blocks(models.shape[1]):
        masked[block], weight[block] = _weighted_mean(models[:, block], theta[:, block])
    return masked, weight


def binarise(theta: Tensor, threshold: float = 0.5) -> Tensor:
    """Return σ(θ) > ``threshold`` as booleans, the shape of ``theta``."""
    return torch.sigmoid(theta) > threshold


def _blocks(width: int) -> list[slice]:
    return [slice(start, min(start + BLOCK, width)) for start in range(0, width, BLOCK)]


def _weighted_mean(rows: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
    gate = torch.sigmoid(logits)
    # logits far below zero underflow; where every gate of a coordinate does, no model is preferred
    weight = gate.sum(dim=0)
    if bool((weight == 0).any()):
        gate = torch.where(weight == 0, torch.ones_like(gate), gate)
        weight = gate.sum(dim=0)
    return (gate * rows).sum(dim=0).div_(weight), weight


def value_and_gradient(loss: Loss, parameters: Tensor) -> tuple[float, Tensor]:
    """The loss at ``parameters`` [d] and its gradient [d]; a loss whose gradient is not is NaN."""
    parameters = parameters.clone().requires_grad_()
    with torch.enable_grad():
        value = loss(parameters)
        (gradient,) = torch.autograd.grad(value, parameters)
    finite = bool(gradient.isfinite().all())
    return float(value.detach()) if finite else float("nan"), gradient
