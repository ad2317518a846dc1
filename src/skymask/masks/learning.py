r"""Mask learning: which coordinates of which model help on clean data.

Given m models W_i and a loss on the root data, every model gets a mask of logits θ_i of its own
size. Only θ is trained. The masked model is, per coordinate,

.. math::

    \tilde{w} = \frac{\sum_i \sigma(\theta_i) \odot W_i}{\sum_i \sigma(\theta_i)}

With g = ∂loss/∂w̃ [d] from one ordinary backward pass, the mask gradient has a closed form,

.. math::

    \frac{\partial\, loss}{\partial \theta_i} = g \odot \sigma(\theta_i) (1 - \sigma(\theta_i))
    \odot \frac{W_i - \tilde{w}}{\sum_j \sigma(\theta_j)}

so no graph over [m, d] is built, and a step is one pass over W and θ (see
:mod:`skymask.masks.steps`). Apart from these two, memory holds w̃, Σ_i σ(θ_i) and g, each [d].
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
    r"""Learn one mask per model.

    θ starts at 1. A step is

    .. math:: \theta \leftarrow \theta - \gamma \cdot \mathrm{clamp}(\nabla_\theta, \pm c)

    Learning also ends, at once, if the loss or its gradient is not finite.

    Args:
        models: Models W [m, d], any floating dtype; 16 bits take half the memory. Not changed.
        loss: Function of parameters [d], of the dtype of θ, that returns a scalar.
        learning_rate: Learning rate γ.
        clamp: Bound c of the gradient; ``float("inf")`` for none.
        steps: Largest number of steps.
        check_every: Steps between two checks of the loss, at steps 1, 1 + ``check_every``, …
        tolerance: Learning ends if the loss fell by less than this since the last check.
        origin: Origin w [d]. If given, ``models`` are the W_i − w, which have more precise digits
            and need no copy of the updates.
        on_step: Called with each step's index and the loss before it.

    Returns:
        The logits θ [m, d], at least float32, on the device of ``models``.

    Raises:
        ValueError: If ``models`` is not a matrix.

    >>> def loss(w):  # the second model is right, the first is wrong
    ...     return ((w - 1) ** 2).sum()
    >>> theta = learn_masks(torch.tensor([[-1.0, -1.0], [1.0, 1.0]]), loss, clamp=1e-7)
    >>> binarise(theta).tolist()
    [[False, False], [True, True]]
    """
    if models.ndim != 2:
        raise ValueError(f"models must be a matrix [m, d], not of shape {tuple(models.shape)}")
    # a loss that is not distributed keeps torch's threads
    distributed = isinstance(loss, SampleLoss) and loss.shared_out
    with parallel_map_only() if distributed else nullcontext():
        theta = models.new_ones(models.shape, dtype=_working(models.dtype))
        step = stepper(models)
        masked, weight = _combined(models, theta, step)
        last = float("inf")
        for index in range(steps):
            parameters = masked if origin is None else masked + origin
            value, gradient = value_and_gradient(loss, parameters)
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
    """Return the masked model and its denominator.

    Where every gate of a coordinate underflows, no model is preferred: w̃ is their mean there.

    Args:
        models: Models W [m, d].
        theta: Mask logits θ [m, d].

    Returns:
        The masked model w̃ [d] and Σ_i σ(θ_i) [d].
    """
    return _combined(models, theta.contiguous(), stepper(models))


def _combined(models: Tensor, theta: Tensor, step: Step) -> tuple[Tensor, Tensor]:
    masked, weight = torch.zeros_like(theta[0]), torch.ones_like(theta[0])
    # a step of length zero leaves θ as it is
    step(theta, masked, weight, torch.zeros_like(masked), 0.0, 0.0)
    return masked, weight


def _working(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype of θ and w̃: that of the models, but not less than float32."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype


def binarise(theta: Tensor, threshold: float = 0.5) -> Tensor:
    """Turn mask logits into binary masks.

    Args:
        theta: Mask logits θ, of any shape.
        threshold: Threshold τ, in (0, 1).

    Returns:
        σ(θ) > τ, bool, of the shape of ``theta``.
    """
    return torch.sigmoid(theta) > threshold


def value_and_gradient(loss: Loss, parameters: Tensor) -> tuple[float, Tensor]:
    """Return the loss at some parameters and its gradient.

    A :class:`.SampleLoss` computes both; any other loss is differentiated.

    Args:
        loss: Function of parameters [d] that returns a scalar.
        parameters: Parameters [d].

    Returns:
        The loss, NaN if its gradient is not finite, and the gradient [d].
    """
    if isinstance(loss, SampleLoss):
        value, gradient = loss.value_and_gradient(parameters)
    else:
        # shares memory with the caller's tensor, which changes only after the gradient is computed
        parameters = parameters.detach().requires_grad_()
        with torch.enable_grad():
            value = loss(parameters)
            (gradient,) = torch.autograd.grad(value, parameters)
    finite = bool(gradient.isfinite().all())
    return float(value.detach()) if finite else float("nan"), gradient
