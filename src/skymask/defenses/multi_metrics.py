"""Multi-metrics."""

import torch
from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Aggregation, mean_of
from skymask.defenses.krum_selection import least_scores
from skymask.numerics import column_blocks
from skymask.numerics.distances import absolute_distances, cosine_distances
from skymask.numerics.selection import rounded_down


@requires(lambda share: 0 < share <= 1, "share must lie in (0, 1]")
@judges
def multi_metrics(updates: Tensor, *, share: float = 0.3) -> Aggregation:
    r"""Keep a share of the clients, those least apart by three distances weighted together.

    .. math::

        x_i = \Big(\sum_k (1 - \cos(\Delta_i, \Delta_k))^2,\;
        \sum_k \lVert\Delta_i - \Delta_k\rVert_1,\;
        \sum_k \big\lvert \lVert\Delta_i\rVert - \lVert\Delta_k\rVert \big\rvert\Big), \quad
        \text{score}_i = x_i^\top C^{-1} x_i

    with C the sample covariance of the x_i (its pseudo-inverse where it is singular). The
    :math:`\lfloor p n \rfloor` clients, at least one, with the least scores are accepted and
    averaged.

    Args:
        updates: Finite updates [n, d], one row per client.
        share: Share p of the clients that are accepted, in (0, 1].

    Returns:
        The aggregation; ``scores`` as above.

    At the default 70 % of the clients are rejected in every round, whether or not they attack. The
    x_i are not centred, so this is no Mahalanobis distance, as published; a few equal attackers far
    away are now and then kept (of 10 clients with one to four copies of −50 μ, one was in 0 to 9 %
    of the cases). The authors' code compares models w_i, the text updates, as here.

    Source: Huang et al., "Multi-metrics Adaptively Identifies Backdoors in Federated Learning",
    ICCV 2023.
    """
    n = len(updates)
    lengths = column_blocks.squared_lengths(updates).sqrt()
    features = torch.stack(
        [
            cosine_distances(updates).square().sum(dim=1),
            absolute_distances(updates).sum(dim=1),
            (lengths[:, None] - lengths).abs().sum(dim=1),
        ],
        dim=1,
    )
    # units do not matter, and without them no column is lost to rounding
    features = features / features.amax(dim=0).clamp_min(1e-300)
    centred = features - features.mean(dim=0)
    inverse = torch.linalg.pinv(centred.T @ centred / max(n - 1, 1), hermitian=True)
    scores = ((features @ inverse) * features).sum(dim=1)
    accepted = least_scores(scores, features, max(1, rounded_down(share, n)))
    return mean_of(updates, accepted, scores=scores)
