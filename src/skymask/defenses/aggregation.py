"""Results of defenses, and the means they share."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from skymask.numerics import column_blocks
from skymask.numerics.clipping import clipping


@dataclass(frozen=True)
class Aggregation:
    """The result of one aggregation.

    Attributes:
        update: What to add to the global model before the global learning rate [d].
        accepted: The verdict per client [n], or per client and layer [n, layers], bool; ``None``
            for a rule without verdicts.
        weights: The coefficient of each Δ_i in ``update`` [n], or of its part in each layer
            [n, layers]; ``None`` where it is not a linear combination of the updates.
        scores: The number per client that decides its verdict [n], as the rule defines it.
        coordinates: SkyMask's principal coordinates of the masks [n + 1, 2], the server last.
        masks: SkyMask's binary masks [n + 1, d], bool, the server last.
        state: Tensors that the rule gets back next round.
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
    """Average the accepted updates.

    Args:
        updates: Updates [n, d].
        accepted: The verdicts [n], bool.
        scores: Scores for the result [n].
        coordinates: Coordinates for the result [n + 1, 2].
        masks: Masks for the result [n + 1, d].
        state: State for the result.

    Returns:
        The aggregation; its update is zero if no client is accepted.
    """
    weights = accepted.to(updates.dtype)
    weights = weights / weights.sum().clamp_min(1)
    none = torch.zeros_like(updates[0])
    update = column_blocks.mean(updates, accepted) if bool(accepted.any()) else none
    return Aggregation(update, accepted, weights, scores, coordinates, masks, state or {})


def clipped_mean(
    updates: Tensor, accepted: Tensor, limit: Tensor, *, scores: Tensor | None = None
) -> Aggregation:
    """Average the accepted updates, each clipped to a length.

    The update is the mean of Δ_i · min(1, limit / ‖Δ_i‖) over the accepted clients.

    Args:
        updates: Updates [n, d].
        accepted: The verdicts [n], bool.
        limit: Largest length of an update, a scalar.
        scores: Scores for the result [n].

    Returns:
        The aggregation; its update is zero if no client is accepted.

    >>> import torch
    >>> updates = torch.tensor([[3.0, 4.0], [0.0, 1.0], [9.0, 9.0]])
    >>> result = clipped_mean(updates, torch.tensor([True, True, False]), torch.tensor(2.5))
    >>> result.update.tolist(), result.weights.tolist()
    ([0.75, 1.5], [0.25, 0.5, 0.0])
    """
    weights = accepted * clipping(column_blocks.squared_lengths(updates).sqrt(), limit)
    weights = weights / accepted.sum().clamp_min(1)
    return Aggregation(column_blocks.weighted_sum(weights, updates), accepted, weights, scores)


@dataclass(frozen=True)
class Mixture:
    """Rows mixed from the updates of a round, which a defense gets instead of the updates.

    Attributes:
        mixing: The coefficients [m, n], float64; the mixed rows are mixing · Δ, [m, d].
        row_of: For each client i the mixed row that represents it [n], int64; its verdict is the
            client's.
    """

    mixing: Tensor
    row_of: Tensor
