"""FedSECA: sign election and coordinate-wise aggregation."""

import torch
from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Aggregation
from skymask.numerics import column_blocks
from skymask.numerics.clipping import clipping
from skymask.numerics.distances import sign_gram
from skymask.numerics.order_statistics import midpoint_median
from skymask.numerics.selection import largest, rounded_up


@requires(lambda sparsity: 0 <= sparsity < 1, "sparsity must lie in [0, 1)")
@judges
def fedseca(updates: Tensor, *, sparsity: float = 0.9) -> Aggregation:
    r"""Elect the sign of each coordinate by votes, and average the clamped values that have it.

    1. With the concordance :math:`\omega_{ik} = \frac{1}{d} \sum_j \operatorname{sign}
       \Delta_{ij} \operatorname{sign} \Delta_{kj}`, the reputation of client i is :math:`\rho_i =
       \max(0, \frac{1}{n} \sum_k \operatorname{sign} \omega_{ik})`, k = i included.
    2. The elected signs are :math:`e_j = \operatorname{sign} \sum_i \rho_i \operatorname{sign}
       \Delta_{ij}`.
    3. V_i is Δ_i clipped to the median length, in which then each V_ij is clamped so that its
       absolute value is at most the median of these over the clients, and all but the
       :math:`\lceil (1 - \gamma) d \rceil` entries with the largest
       :math:`\lvert\Delta_{ij}\rvert` are set to 0.
    4. The update is the mean of the V_ij with e_j V_ij > 0, and 0 where there are none.

    Medians are the midpoint of the middle two if n is even.

    Args:
        updates: Finite updates [n, d], one row per client.
        sparsity: Share γ of the entries that is set to 0, in [0, 1).

    Returns:
        The aggregation, without verdicts; ``scores`` are the reputations ρ.

    The code released with the paper adds a momentum of the server, does not clip lengths, and votes
    after clamping and sparsification.

    Source: Benjamin et al., "FedSECA: Sign Election and Coordinate-wise Aggregation of Gradients
    for Byzantine Tolerant Federated Learning", CVPR 2025.

    >>> rows = torch.tensor([[1.0, -1, 2, 0], [1, 1, -2, 0], [1, -1, 2, 0], [-5, -1, 2, 3]])
    >>> result = fedseca(rows, sparsity=0.0)
    >>> result.scores.tolist(), [round(v, 4) for v in result.update.tolist()]
    ([0.5, 0.0, 0.5, 0.5], [1.0, -0.7974, 1.5948, 0.0])
    """
    # n ρ, whole numbers: a vote that is tied sums to exactly 0
    agreeing = sign_gram(updates).sign().sum(dim=1).clamp_min(0)
    lengths = column_blocks.squared_lengths(updates).sqrt()
    factors = clipping(lengths, midpoint_median(lengths))[:, None]
    count = rounded_up(1 - sparsity, updates.shape[1])
    kept = torch.stack([largest(row, count) for row in updates])

    def of_block(block: slice) -> Tensor:
        part = updates[:, block].double()
        elected = (agreeing[:, None] * part.sign()).sum(dim=0).sign()
        values = part * factors
        limit = midpoint_median(values.abs())
        values = values.clamp(-limit, limit) * kept[:, block]
        agree = elected * values > 0
        total = torch.where(agree, values, 0.0).sum(dim=0)
        return (total / agree.sum(dim=0).clamp_min(1)).to(updates.dtype)

    update = column_blocks.fill(torch.empty_like(updates[0]), of_block)
    return Aggregation(update, scores=agreeing / len(updates))
