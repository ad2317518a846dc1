"""What a defense returns."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from skymask.numerics import column_blocks


@dataclass(frozen=True)
class Aggregation:
    """The outcome of one aggregation.

    ``update`` [d]: what to add to the global model, before the global learning rate.
    ``accepted`` [n] bool: the verdict per client; ``None`` for a rule that gives none.
    ``weights`` [n]: the coefficient of each Δ_i in ``update``; ``None`` where it is no linear
    combination of the updates.
    ``scores`` [n]: the figure the verdict rests on, as the rule's docstring says.
    ``coordinates`` [n + 1, 2]: SkyMask's principal coordinates of the masks, the server last.
    ``masks`` [n + 1, d] bool: SkyMask's binary masks, the server's last.
    ``state``: tensors the rule wants back next round.
    """

    update: Tensor
    accepted: Tensor | None = None
    weights: Tensor | None = None
    scores: Tensor | None = None
    coordinates: Tensor | None = None
    masks: Tensor | None = None
    state: dict[str, Tensor] = field(default_factory=dict)


def mean_of(
    updates: Tensor,
    accepted: Tensor,
    *,
    scores: Tensor | None = None,
    coordinates: Tensor | None = None,
    masks: Tensor | None = None,
    state: dict[str, Tensor] | None = None,
) -> Aggregation:
    """The plain mean of the accepted updates; zero when nobody is accepted."""
    weights = accepted.to(updates.dtype)
    weights = weights / weights.sum().clamp_min(1)
    nobody = torch.zeros_like(updates[0])
    update = column_blocks.mean(updates, accepted) if bool(accepted.any()) else nobody
    return Aggregation(update, accepted, weights, scores, coordinates, masks, state or {})


def clipping(lengths: Tensor, limit: Tensor) -> Tensor:
    """The factors min(1, limit / length) that shorten vectors of ``lengths`` [n] to ``limit``.

    >>> clipping(torch.tensor([0.0, 1.0, 4.0]), torch.tensor(2.0)).tolist()
    [1.0, 1.0, 0.5]
    """
    return torch.where(lengths > limit, limit / lengths, 1.0)


def clipped_mean(
    updates: Tensor, accepted: Tensor, limit: Tensor, *, scores: Tensor | None = None
) -> Aggregation:
    """The mean over the accepted of Δ_i · min(1, limit / ‖Δ_i‖); zero when nobody is accepted.

    >>> import torch
    >>> updates = torch.tensor([[3.0, 4.0], [0.0, 1.0], [9.0, 9.0]])
    >>> outcome = clipped_mean(updates, torch.tensor([True, True, False]), torch.tensor(2.5))
    >>> outcome.update.tolist(), outcome.weights.tolist()
    ([0.75, 1.5], [0.25, 0.5, 0.0])
    """
    weights = accepted * clipping(column_blocks.squared_lengths(updates).sqrt(), limit)
    weights = weights / accepted.sum().clamp_min(1)
    return Aggregation(column_blocks.weighted_sum(weights, updates), accepted, weights, scores)


@dataclass(frozen=True)
class Mixture:
    """Rows mixed from the updates of a round, for a defense to judge in their place.

    ``mixing`` [m, n] float64: the mixed updates are mixing · Δ, [m, d].
    ``row_of`` [n] int64: the mixed row that stands for client i; its verdict is the client's.
    """

    mixing: Tensor
    row_of: Tensor
