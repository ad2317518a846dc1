"""Mimic attack."""

import torch
from torch import Tensor

from skymask.attacks.crafting import replaced, unit
from skymask.contracts import requires
from skymask.numerics.pca import principal_coordinates

State = dict[str, Tensor]


@requires(lambda n, f: n - f >= 1, "mimic needs a benign client")
@requires(lambda warm_up: warm_up >= 1, "warm_up must be at least 1")
def mimic(
    updates: Tensor, malicious: Tensor, state: State, *, warm_up: int = 10
) -> tuple[Tensor, State]:
    r"""Copy the update of one benign client, so that it outweighs the others.

    All attackers send the Δ_i with the largest z·Δ_i, where z is the direction in which the benign
    updates differ most. In round 1 it is their first principal component, pointing to the farthest
    client (one of two equally far ones). In round t + 1, up to round ``warm_up``, with μ the mean
    of all benign updates so far,

    .. math::

        z \leftarrow \frac{t z + u / \lVert u\rVert}{t + 1}, \quad
        u = \sum_{i \in B} \langle \Delta_i - \mu, z \rangle (\Delta_i - \mu)

    and z is scaled to length 1. In each of these rounds i is chosen again; afterwards it stays the
    last one chosen. The authors' code does the same, but begins with u/‖u‖ for a random z. An
    update whose norm is not finite is neither chosen nor used; a round without any other does not
    count.

    Args:
        updates: Honest updates [n, d], one row per client.
        malicious: Flags of the malicious clients [n], bool.
        state: State of the last round, empty at first: ``rounds`` t [1] int64, z as ``direction``
            and μ as ``mean``, [d] float64; after the warm-up only the ``target`` i [1] int64.
        warm_up: Rounds in which the copied client is chosen.

    Returns:
        The updates [n, d] after the attack and the new state.

    Raises:
        RequirementError: Without a benign client.

    Source: Karimireddy et al., "Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing",
    ICLR 2022.
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
        state = _next_state(benign, state)
        target = rows[(benign @ state["direction"]).argmax()][None]
        if int(state["rounds"]) >= warm_up:
            state = {"target": target}
    return replaced(updates, malicious, updates[target][0]), state


def _next_state(benign: Tensor, state: State) -> State:
    """Update the state with the ``benign`` updates [m, d] of this round."""
    now = benign.mean(dim=0)
    if not state:
        coordinates, _ = principal_coordinates(benign, 1)
        direction = unit(coordinates[:, 0] @ (benign - now))
        rounds = torch.ones(1, dtype=torch.int64, device=benign.device)
        return {"rounds": rounds, "mean": now, "direction": direction}
    rounds, direction = state["rounds"], state["direction"]
    mean = (rounds * state["mean"] + now) / (rounds + 1)
    offsets = benign - mean
    step = unit((offsets @ direction) @ offsets)
    direction = unit((rounds * direction + step) / (rounds + 1))
    return {"rounds": rounds + 1, "mean": mean, "direction": direction}
