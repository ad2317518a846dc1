"""AlignIns."""

import torch
from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Aggregation, clipped_mean
from skymask.defenses.outliers import near_median
from skymask.numerics import column_blocks
from skymask.numerics.distances import cosine_similarities
from skymask.numerics.order_statistics import midpoint_median
from skymask.numerics.selection import largest, rounded_down


@requires(lambda share: 0 < share <= 1, "share must lie in (0, 1]")
@requires(lambda sign_limit: sign_limit > 0, "sign_limit must be positive")
@requires(lambda cosine_limit: cosine_limit > 0, "cosine_limit must be positive")
@judges
def alignins(
    updates: Tensor,
    global_parameters: Tensor,
    *,
    share: float = 0.3,
    sign_limit: float = 1.0,
    cosine_limit: float = 1.0,
) -> Aggregation:
    r"""Keep the clients whose signs and whose direction are usual, clip them, and average.

    1. With the majority sign :math:`s = \operatorname{sign} \sum_i \operatorname{sign} \Delta_i`,
       p_i is the share of the :math:`\lfloor k d \rfloor` largest :math:`\lvert\Delta_{ij}\rvert`
       (at least one) that have the sign s_j, and c_i = cos(Δ_i, w).
    2. Client i is accepted if p_i is less than ``sign_limit`` · σ_p from the median of all p, and
       c_i less than ``cosine_limit`` · σ_c from that of all c, with σ the standard deviation over
       the clients (ddof = 0). A check whose σ is 0 is passed by all.
    3. With M the median length of the accepted, the update is their mean of Δ_i · min(1, M/‖Δ_i‖),
       zero if no client is accepted.

    Args:
        updates: Finite updates [n, d], one row per client.
        global_parameters: Global model w [d].
        share: Share k of the coordinates whose signs count, in (0, 1].
        sign_limit: Largest deviation of p_i, in standard deviations.
        cosine_limit: Largest deviation of c_i, in standard deviations.

    Returns:
        The aggregation; ``scores`` are the p_i.

    At the defaults about 45 % of alike clients are accepted: this is what the rule costs without an
    attack. Two groups of equal size are at exactly one standard deviation, so that no client is
    accepted. The authors' code takes w and Δ with the counters of batch normalisation, which
    dominate the cosines, and weights clients by their samples.

    Source: Xu, Zhang & Hu, "Detecting Backdoor Attacks in Federated Learning via Direction
    Alignment Inspection", CVPR 2025.
    """
    width = updates.shape[1]
    majority = column_blocks.fill(
        torch.empty_like(updates[0]), lambda block: updates[:, block].sign().sum(dim=0).sign()
    )
    count = max(1, rounded_down(share, width))
    agreement = torch.stack([_agreement(row, majority, count) for row in updates])
    cosines = cosine_similarities(updates, global_parameters)
    accepted = near_median(agreement, sign_limit) & near_median(cosines, cosine_limit)
    if not bool(accepted.any()):
        zero = torch.zeros_like(updates[0])
        return Aggregation(zero, accepted, accepted.to(updates.dtype), agreement)
    limit = midpoint_median(column_blocks.squared_lengths(updates).sqrt()[accepted])
    return clipped_mean(updates, accepted, limit, scores=agreement)


def _agreement(row: Tensor, majority: Tensor, count: int) -> Tensor:
    """Return the share of the ``count`` largest entries of a row [d] with the majority's sign."""
    return ((row.sign() == majority) & largest(row, count)).double().sum() / count
