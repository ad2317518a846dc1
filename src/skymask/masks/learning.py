"""Mask learning, the heart of SkyMask: which coordinates of which model help on clean data.

Given m models W_i and a loss on the root data, every model gets a mask of logits θ_i as large as
itself.  The masked model is, per coordinate,

    w̃ = Σ_i σ(θ_i) ⊙ W_i / Σ_i σ(θ_i)

and only θ is trained.  With g = ∂loss/∂w̃ (one ordinary backward pass, [d]) the gradient is closed:

    ∂loss/∂θ_i = g ⊙ σ(θ_i)(1 − σ(θ_i)) ⊙ (W_i − w̃) / Σ_j σ(θ_j)

so no graph over [m, d] is ever built, and a step is one pass over W and θ (see
:mod:`skymask.masks.steps`).  Besides these two, memory holds w̃, Σ_i σ(θ_i) and g, of [d].
Source: Yan et al., ECCV 2024 (arXiv 2312.12484).
"""

import math
from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor

from skymask.masks.steps import Step, stepper
from skymask.models.functional import Loss, SampleLoss
from skymask.numerics.parallel import parallel_map_only


def learn_masks(
    models: Tensor,
    loss: Loss,
    *,
    learning_rate: float = 1e7,
    clamp: float = 1e-7,
    steps: int = 20,
    check_every: int = 10,
    tolerance: float = 1e-2,
    origin: Tensor | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> Tensor:
    """Learn one mask per model; return the logits θ [m, d], on the device of ``models``.

    θ starts at 1 and takes up to ``steps`` steps θ ← θ − γ · clamp(∇θ, ±c), with γ the
    ``learning_rate`` and c the ``clamp`` (``float("inf")`` for none).  At steps 1,
    1 + ``check_every``, … learning stops if the loss fell by less than ``tolerance`` since the
    last check, and it stops at once if the loss or its gradient is not finite.  ``on_step`` is told
    each step's index and the loss before it.

    ``models`` is [m, d], any floating dtype, and is not changed; of 16 bits they take half the
    memory, and θ is float32 all the same.  ``loss`` maps [d], θ's dtype, to a scalar.  With an
    ``origin`` w [d], ``models`` are the W_i − w, which lose fewer digits and need no copy where
    updates are at hand.
    Raises ValueError when ``models`` is not a matrix.

    >>> def loss(w):  # the second model is right, the first is wrong
    ...     return ((w - 1) ** 2).sum()
    >>> theta = learn_masks(torch.tensor([[-1.0, -1.0], [1.0, 1.0]]), loss, clamp=1e-7)
    >>> binarise(theta).tolist()
    [[False, False], [True, True]]
    """
    if models.ndim != 2:
        raise ValueError(f"models must be a matrix [m, d], not of shape {tuple(models.shape)}")
    # where the loss leaves the work to torch's threads, these stay
    alone = isinstance(loss, SampleLoss) and loss.shared_out
    with parallel_map_only() if alone else nullcontext():
        theta = models.new_ones(models.shape, dtype=_working(models.dtype))
        step = stepper(models)
        masked, weight = _combined(models, theta, step)
        last = float("inf")
        for index in range(steps):
            place = masked if origin is None else masked + origin
            value, gradient = value_and_gradient(loss, place)
            if on_step is not None:
                on_step(index, value)
            if not math.isfinite(value):
                break
            if index % check_every == 1 % check_every:
                if last - value < tolerance:
                    break
                last = value
            step(theta, masked, weight, gradient, learning_rate, clamp)
    return theta


def combine(models: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
    """Return the masked model w̃ [d] and its denominator Σ_i σ(θ_i) [d].

    Where every gate of a coordinate underflows, no model is preferred: w̃ is their mean there.
    """
    return _combined(models, theta.contiguous(), stepper(models))


def _combined(models: Tensor, theta: Tensor, step: Step) -> tuple[Tensor, Tensor]:
    masked, weight = torch.zeros_like(theta[0]), torch.ones_like(theta[0])
    # a step of length zero leaves θ as it is
    step(theta, masked, weight, torch.zeros_like(masked), 0.0, 0.0)
    return masked, weight


def _working(dtype: torch.dtype) -> torch.dtype:
    """What θ and w̃ are computed in: the dtype of the models, but not less than float32."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def binarise(theta: Tensor, threshold: float = 0.5) -> Tensor:
    """Return σ(θ) > ``threshold`` as booleans, the shape of ``theta``."""
    return torch.sigmoid(theta) > threshold


def value_and_gradient(loss: Loss, parameters: Tensor) -> tuple[float, Tensor]:
    """The loss at ``parameters`` [d] and its gradient [d]; a loss whose gradient is not is NaN.

    A :class:`skymask.models.functional.SampleLoss` knows both; any other is differentiated.
    """
    if isinstance(loss, SampleLoss):
        value, gradient = loss.value_and_gradient(parameters)
    else:
        # shares its memory, which changes only once the gradient is known
        parameters = parameters.detach().requires_grad_()
        with torch.enable_grad():
            value = loss(parameters)
            (gradient,) = torch.autograd.grad(value, parameters)
    finite = bool(gradient.isfinite().all())
    return float(value.detach()) if finite else float("nan"), gradient
