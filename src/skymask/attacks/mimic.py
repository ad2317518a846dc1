"""Mimic: all attackers copy one benign client, so that it outweighs the others."""

import torch
from torch import Tensor

from skymask.attacks.crafting import sent
from skymask.contracts import requires
from skymask.numerics.pca import principal_coordinates

State = dict[str, Tensor]


@requires(lambda n, f: n - f >= 1, "mimic needs a benign client")
@requires(lambda warm_up: warm_up >= 1, "warm_up must be at least 1")
def mimic(
    updates: Tensor, malicious: Tensor, state: State, *, warm_up: int = 10
) -> tuple[Tensor, State]:
    """All attackers send the update Δ_i of one benign client i, that with the largest z·Δ_i.

    z is the direction in which the benign updates differ most.  In round 1 it is their first
    principal component, pointing to the client farthest out (of two equally far, one or the
    other).  In round t + 1, up to round ``warm_up``, with μ the mean of all benign updates so far,

        z ← (t·z + u/‖u‖) / (t + 1),   u = Σ_{i∈B} ⟨Δ_i − μ, z⟩ (Δ_i − μ)

    and z is scaled to length 1 again.  In each of these rounds i is chosen anew; from then on it
    stays the last one chosen, whatever it sends.  The authors' code does the same, but begins with
    u/‖u‖ for a random z.  An update whose length is not finite is not chosen and teaches nothing;
    a round with no other does not count.

    ``updates`` is [n, d], ``malicious`` bool [n].  ``state`` holds the ``rounds`` t [1] int64, z
    as ``direction`` and μ as ``mean``, [d] float64; after the warm-up only the ``target`` i [1]
    int64.  Raises ValueError without a benign client.  Source: Karimireddy et al., ICLR 2022.
    """
    if not bool(malicious.any()):
        return updates, state
    squares = updates.double().square().sum(dim=1)
    rows = torch.nonzero(~malicious & squares.isfinite()).flatten()
    if "target" in state:
        target = state["target"]
    elif len(rows) == 0:
        target = torch.nonzero(~malicious)[0]
    else:
        benign = updates[rows].double()
        state = _learned(benign, state)
        target = rows[(benign @ state["direction"]).argmax()][None]
        if int(state["rounds"]) >= warm_up:
            state = {"target": target}
    return sent(updates, malicious, updates[target][0]), state


def _learned(benign: Tensor, state: State) -> State:
    """The state one round on, from the ``benign`` updates [m, d] of this round."""
    now = benign.mean(dim=0)
    if not state:
        coordinates, _ = principal_coordinates(benign, 1)
        direction = _unit(coordinates[:, 0] @ (benign - now))
        rounds = torch.ones(1, dtype=torch.int64, device=benign.device)
        return {"rounds": rounds, "mean": now, "direction": direction}
    rounds, direction = state["rounds"], state["direction"]
    mean = (rounds * state["mean"] + now) / (rounds + 1)
    offsets = benign - mean
    step = _unit((offsets @ direction) @ offsets)
    direction = _unit((rounds * direction + step) / (rounds + 1))
    return {"rounds": rounds + 1, "mean": mean, "direction": direction}


def _unit(vector: Tensor) -> Tensor:
    length = vector.norm()
    return vector / length if length > 0 else vector
