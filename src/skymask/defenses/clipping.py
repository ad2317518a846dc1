"""What rules share that clip the updates they keep."""

from torch import Tensor

from skymask import blocks
from skymask.defenses.aggregation import Aggregation
from skymask.geometry import clipping


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
    weights = accepted * clipping(blocks.squared_lengths(updates).sqrt(), limit)
    weights = weights / accepted.sum().clamp_min(1)
    return Aggregation(blocks.weighted_sum(weights, updates), accepted, weights, scores)
