"""What a defense returns."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from skymask import blocks


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
    update = blocks.mean(updates, accepted) if bool(accepted.any()) else nobody
    return Aggregation(update, accepted, weights, scores, coordinates, masks, state or {})
