"""FLTrust."""

import torch
from torch import Tensor

from skymask.contracts import judges
from skymask.defenses.aggregation import Aggregation
from skymask.numerics import column_blocks
from skymask.numerics.distances import cosine_similarities


@judges
def fltrust(updates: Tensor, server_update: Tensor) -> Aggregation:
    r"""Weight each update by its cosine with the server's update and scale it to that length.

    .. math::

        \frac{\sum_i c_i \frac{\lVert\Delta_0\rVert}{\lVert\Delta_i\rVert} \Delta_i}{\sum_i c_i},
        \quad c_i = \max(0, \cos(\Delta_i, \Delta_0))

    Args:
        updates: Finite updates [n, d], one row per client.
        server_update: The server's own update Δ_0 [d].

    Returns:
        The aggregation; ``scores`` are c, and a client is accepted if c_i > 0. The update is zero
        if no client is accepted.

    Source: Cao et al., "FLTrust: Byzantine-robust Federated Learning via Trust Bootstrapping", NDSS
    2021.
    """
    scores = cosine_similarities(updates, server_update).clamp_min(0)
    lengths = column_blocks.squared_lengths(updates).sqrt()
    scale = torch.where(lengths > 0, server_update.double().norm() / lengths, 0.0)
    total = scores.sum()
    weights = scores * scale / total if total > 0 else torch.zeros_like(scores)
    # float64 to the end: the weight of a tiny update can exceed float32
    update = column_blocks.weighted_sum(weights, updates)
    return Aggregation(update, scores > 0, weights, scores)
