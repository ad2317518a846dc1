"""PoisonedFL: the same direction in every round."""

import math
from statistics import NormalDist

import torch
from torch import Tensor

from skymask.attacks.crafting import replaced, unit
from skymask.contracts import requires

State = dict[str, Tensor]

SHRINK, LEAST = 0.7, 0.5
"""What c is multiplied by where the attack does not succeed, and the least c."""


@requires(lambda factor: factor > 0, "factor must be positive")
@requires(lambda interval: interval >= 1, "interval must be at least 1")
def poisonedfl(
    updates: Tensor,
    malicious: Tensor,
    global_parameters: Tensor,
    generator: torch.Generator,
    state: State,
    *,
    factor: float = 8.0,
    interval: int = 50,
) -> tuple[Tensor, State]:
    r"""Push the model in one random direction for the whole run, without any data.

    In their first round the attackers draw signs s and send 0. Afterwards, with g = w − w_prev the
    last step of the global model and k what they sent last, all send

    .. math::

        \Delta = c\, \lVert g\rVert \frac{u}{\lVert u\rVert} \odot s, \quad
        u = \left| g - \frac{\lVert g\rVert}{\lVert k\rVert} k \right|

    so that the coordinates in which the benign clients outweighed them get more. Every E rounds
    they compare the signs of w − w_{E rounds ago} (of w, where it is 0) with s. If fewer than d/2 +
    Φ⁻¹(0.99) √d / 2 agree, which a random model would exceed in one of a hundred cases, c is
    multiplied by 0.7, but not below 0.5. The authors' code has this limit as a table for four sizes
    of models.

    Rounds are those of the attack: where it pauses, w_prev and k are those of the last round in
    which it was active.

    Args:
        updates: Honest updates [n, d], one row per client; only their shape matters.
        malicious: Flags of the malicious clients [n], bool.
        global_parameters: Global model w [d].
        generator: Random numbers, on the CPU.
        state: State of the last round, empty at first: s as ``signs`` [d] int8, w_prev as
            ``previous`` [d], k as ``sent`` [d], w of E rounds ago as ``earlier`` [d], c as
            ``factor`` [1] float64, and ``rounds`` [1] int64.
        factor: Initial c.
        interval: Number E of rounds between two comparisons.

    Returns:
        The updates [n, d] after the attack and the new state.

    Raises:
        RequirementError: A parameter is out of range.

    Source: Xie, Fang & Gong, "Model Poisoning Attacks to Federated Learning via Multi-Round
    Consistency", CVPR 2025.
    """
    if not bool(malicious.any()):
        return updates, state
    w = global_parameters
    if not state:
        signs = 2 * torch.randint(0, 2, (len(w),), generator=generator, dtype=torch.int8) - 1
        crafted = torch.zeros_like(updates[0])
        c, rounds, earlier = factor, 0, w.clone()
    else:
        signs, earlier = state["signs"], state["earlier"]
        c, rounds = float(state["factor"]), int(state["rounds"])
        if rounds % interval == 0:
            if not aligned(w, earlier, signs) and SHRINK * c >= LEAST:
                c *= SHRINK
            earlier = w.clone()
        step = w.double() - state["previous"].double()
        length = step.norm()
        distance = (step - length * unit(state["sent"].double())).abs()
        crafted = (c * length * unit(distance) * signs).to(updates.dtype)
    return replaced(updates, malicious, crafted), {
        "signs": signs.to(w.device),
        "previous": w.clone(),
        "sent": crafted,
        "earlier": earlier,
        "factor": torch.tensor([c], dtype=torch.float64, device=w.device),
        "rounds": torch.tensor([rounds + 1], device=w.device),
    }


def aligned(parameters: Tensor, earlier: Tensor, signs: Tensor) -> bool:
    """Return whether the model has moved along the signs more than by chance.

    Args:
        parameters: Global model w [d].
        earlier: Global model some rounds ago [d].
        signs: Signs of the attack [d].
    """
    moved = parameters - earlier
    moved = torch.where(moved == 0, parameters, moved)
    return int((moved.sign() == signs).sum()) >= agreement(len(signs))


def agreement(d: int) -> float:
    """Return the 99 % quantile of the number of equal signs among d random ones.

    The authors' model for Fashion-MNIST:

    >>> round(agreement(139960))
    70415
    """
    return d / 2 + NormalDist().inv_cdf(0.99) * math.sqrt(d) / 2
