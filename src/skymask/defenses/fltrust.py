"""FLTrust."""

import torch
from torch import Tensor

from skymask.contracts import judges
from skymask.defenses.aggregation import Aggregation
from skymask.numerics import column_blocks
from skymask.numerics.distances import cosine_similarities


@judges
def fltrust(updates: Tensor, server_update: Tensor) -> Aggregation:
    """Weigh each update by its trust score and scale it to the server's own update.

    With c_i = ReLU(cos(Δ_i, Δ_0)):   Σ_i c_i (‖Δ_0‖ / ‖Δ_i‖) Δ_i / Σ_i c_i

    ``updates`` is [n, d], ``server_update`` Δ_0 is [d].  The ``scores`` are c; a client is
    accepted where c_i > 0; if nobody is, the update is zero.  Source: Cao et al., NDSS 2021.
    """
    scores = cosine_similarities(updates, server_update).clamp_min(0)
    lengths = column_blocks.squared_lengths(updates).sqrt()
    scale = torch.where(lengths > 0, server_update.double().norm() / lengths, 0.0)
    total = scores.sum()
    weights = scores * scale / total if total > 0 else torch.zeros_like(scores)
    # float64 to the end: the weight of a tiny update can exceed float32
    update = column_blocks.weighted_sum(weights, updates)
    return Aggregation(update, scores > 0, weights, scores)
