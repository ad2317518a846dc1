"""Centred clipping."""

import torch
from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Aggregation
from skymask.numerics import column_blocks
from skymask.numerics.clipping import clipping


@requires(lambda tau: tau > 0, "tau must be positive")
@requires(lambda steps: steps >= 1, "steps must be at least 1")
@judges
def centered_clipping(
    updates: Tensor, state: dict[str, Tensor], *, tau: float = 10.0, steps: int = 1
) -> Aggregation:
    r"""Move from the last aggregate by the mean of the clipped differences to it.

    .. math::

        v \leftarrow v + \frac{1}{n} \sum_i (\Delta_i - v)
        \min\left(1, \frac{\tau}{\lVert\Delta_i - v\rVert}\right)

    v starts at the aggregate of the last round, and at zero in the first round.

    Args:
        updates: Finite updates [n, d], one row per client.
        state: State of the last round, empty at first: ``centre`` [d], the dtype of the updates.
        tau: Largest length τ of a difference, in units of the updates.
        steps: Number of steps.

    Returns:
        The aggregation, without verdicts, and without weights since the update also depends on v.

    Source: Karimireddy, He & Jaggi, "Learning from History for Byzantine Robust Optimization", ICML
    2021 (there on the clients' momentum, here on updates).

    >>> far = torch.tensor([[0.0, 2.0], [30.0, 40.0]])
    >>> centered_clipping(far, {}, tau=10.0).update
    tensor([3., 5.])
    """
    n = len(updates)
    centre = state["centre"].double() if state else updates.new_zeros(updates.shape[1]).double()
    limit = centre.new_tensor(tau)
    wide = torch.promote_types(updates.dtype, torch.float32)
    for _ in range(steps):
        factors = clipping(column_blocks.squared_lengths(updates, centre).sqrt(), limit) / n
        moved = factors.to(wide) @ updates.to(wide)
        centre = (1 - factors.sum()) * centre + moved
    update = centre.to(updates.dtype)
    return Aggregation(update, state={"centre": update.clone()})
