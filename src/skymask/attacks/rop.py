"""Relocated orthogonal perturbation (ROP)."""

import math
from typing import Literal

import torch
from torch import Tensor

from skymask.attacks.crafting import known_updates, replaced, unit
from skymask.attacks.lie import hiding_deviations
from skymask.contracts import requires

State = dict[str, Tensor]


@requires(
    lambda n, f, scale: f == 0 or n - f >= (2 if scale == "sigma" else 1),
    "rop needs a benign client, two with the scale sigma",
)
@requires(
    lambda n, f, z: f == 0 or z is not None or 0 < n - (n // 2 + 1) < n - f,
    "rop has no finite z unless n ≥ 3 and f ≤ n/2: give z",
)
@requires(lambda history: 0 <= history <= 1, "history must lie in [0, 1]")
@requires(lambda pi: 0 <= pi <= 1, "pi must lie in [0, 1]")
def rop(
    updates: Tensor,
    malicious: Tensor,
    global_parameters: Tensor,
    state: State,
    *,
    history: float = 0.9,
    pi: float = 1.0,
    angle: float = 270.0,
    z: float | None = None,
    scale: Literal["one", "sigma"] = "one",
) -> tuple[Tensor, State]:
    r"""Send an update near the last step of the model, moved at a right angle to it.

    It is made for rules that keep a history, such as centered clipping. With v = w − w_prev the
    last step of the global model and r = λv + (1 − λ)μ (in the first round v = 0 and r = μ), all
    attackers send

    .. math::

        \pi v + (1 - \pi) \mu + z\, \ell \left(p \sin\varphi + \frac{r}{\lVert r\rVert} \cos\varphi
        \right)

    where p is the vector of ones less its component along r, scaled to length 1, μ the mean of the
    benign updates, and ℓ = 1: the step has the length z, which suits a clipping radius of 1 and
    updates of that size. ``scale="sigma"``, with ℓ = ‖σ‖ (ddof = 1), is our own choice for updates
    of any size.

    Where the attack pauses, w_prev is the model of the last round in which it was active.

    Args:
        updates: Honest updates [n, d], one row per client.
        malicious: Flags of the malicious clients [n], bool.
        global_parameters: Global model w [d].
        state: State of the last round, empty at first: its global model as ``previous`` [d].
        history: Weight λ of the last step in r.
        pi: Weight π of the last step in what is sent.
        angle: Angle φ to r, in degrees.
        z: Length of the step; z of :func:`~skymask.attacks.lie.lie` if ``None``. It can be 0 or
            negative if there are few attackers.
        scale: ``"one"`` or ``"sigma"`` for the factor ℓ.

    Returns:
        The updates [n, d] after the attack and the new state.

    Raises:
        RequirementError: Without a benign client (two for σ), or without ``z`` where it would be
            infinite (n < 3 or f > n/2).

    Source: Özfatura et al., "Byzantines Can Also Learn From History: Fall of Centered Clipping in
    Federated Learning", IEEE TIFS 2024.
    """
    if not bool(malicious.any()):
        return updates, state
    if z is None:
        z = hiding_deviations(len(updates), int(malicious.sum()))
    known = known_updates(updates, malicious, "full")
    mean = known.mean(dim=0)
    last, reference = torch.zeros_like(mean), mean
    if state:
        last = global_parameters.double() - state["previous"].double()
        reference = history * last + (1 - history) * mean
    along, across = unit(reference), orthogonal(reference)
    length = known.std(dim=0, correction=1).norm() if scale == "sigma" else 1.0
    radians = math.radians(angle)
    direction = math.sin(radians) * across + math.cos(radians) * along
    crafted = pi * last + (1 - pi) * mean + z * length * direction
    return replaced(updates, malicious, crafted), {"previous": global_parameters.clone()}


def orthogonal(reference: Tensor) -> Tensor:
    """Return the vector of ones less its component along a vector [d], scaled to length 1.

    It is zero where nothing but rounding remains.

    >>> orthogonal(torch.tensor([2.0, 0.0])), orthogonal(torch.tensor([3.0, 3.0]))
    (tensor([0., 1.]), tensor([0., 0.]))
    """
    ones, axis = torch.ones_like(reference), unit(reference)
    across = ones - (ones @ axis) * axis
    # of the length of the ones, √d
    return unit(across) if across.norm() > 1e-6 * ones.norm() else torch.zeros_like(across)
