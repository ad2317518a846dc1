"""Centred clipping."""

from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Aggregation, clipping
from skymask.numerics import column_blocks


@requires(lambda tau: tau > 0, "tau must be positive")
@requires(lambda steps: steps >= 1, "steps must be at least 1")
@judges
def centered_clipping(
    updates: Tensor, state: dict[str, Tensor], *, tau: float = 10.0, steps: int = 1
) -> Aggregation:
    """Move from the last aggregate v by the mean of the clipped differences to it.

        v ← v + (1/n) Σ_i (Δ_i − v) · min(1, τ / ‖Δ_i − v‖),   ``steps`` times

    v starts at the aggregate of the last round, which is the ``state`` (``centre`` [d], the dtype
    of the updates), and at zero in the first round.  ``updates`` is [n, d]; τ is a length in the
    space of the updates.  No verdict per client, and no weights, since the aggregate also depends
    on v.  Raises ValueError unless τ > 0 and steps ≥ 1.
    Source: Karimireddy, He & Jaggi, ICML 2021 (there on the clients' momentum, here on updates).

    >>> import torch
    >>> far = torch.tensor([[0.0, 2.0], [30.0, 40.0]])
    >>> centered_clipping(far, {}, tau=10.0).update
    tensor([3., 5.])
    """
    n = len(updates)
    centre = state["centre"].double() if state else updates.new_zeros(updates.shape[1]).double()
    limit = centre.new_tensor(tau)
    for _ in range(steps):
        factors = clipping(column_blocks.squared_lengths(updates, centre).sqrt(), limit) / n
        moved = factors.to(updates.dtype) @ updates
        centre = (1 - factors.sum()) * centre + moved
    update = centre.to(updates.dtype)
    return Aggregation(update, state={"centre": update.clone()})
