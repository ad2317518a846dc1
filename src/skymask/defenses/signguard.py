"""SignGuard."""

import torch
from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Aggregation, clipped_mean
from skymask.numerics import column_blocks
from skymask.numerics.order_statistics import midpoint_median


@requires(lambda lower, upper: 0 <= lower <= upper, "it must hold that 0 ≤ lower ≤ upper")
@requires(lambda share: 0 < share <= 1, "share must lie in (0, 1]")
@judges
def signguard(
    updates: Tensor,
    generator: torch.Generator,
    *,
    lower: float = 0.1,
    upper: float = 3.0,
    share: float = 0.1,
) -> Aggregation:
    """Keep usual lengths and the largest cluster of signs, clip to the median length, average.

    With M the median of the ‖Δ_i‖ (the midpoint of the middle two if n is even), a client is
    accepted if

    1. ``lower`` · M ≤ ‖Δ_i‖ ≤ ``upper`` · M, and
    2. it is in the largest MeanShift cluster of the clients' shares of positive, zero and negative
       coordinates. The bandwidth is the mean distance to the ⌊n/2⌋-th nearest client, itself
       counted. If several clusters are the largest, all of them are kept.

    The update is the mean of min(1, M / ‖Δ_i‖) Δ_i over the accepted, zero if there are none.

    Args:
        updates: Finite updates [n, d], one row per client.
        generator: Random numbers, on the CPU.
        lower: Least length as a multiple of M.
        upper: Largest length as a multiple of M.
        share: Share of the coordinates, drawn at random, on which signs are counted; at least one.

    Returns:
        The aggregation.

    This is the paper's plain SignGuard; its variants add a similarity to the signs. The released
    code takes adjacent coordinates and divides each share by the largest among the clients.

    Source: Xu et al., "Byzantine-robust Federated Learning through Collaborative Malicious Gradient
    Filtering", ICDCS 2022.
    """
    lengths = column_blocks.squared_lengths(updates).sqrt()
    usual = midpoint_median(lengths)
    accepted = (lengths >= lower * usual) & (lengths <= upper * usual)
    d = updates.shape[1]
    chosen = torch.randperm(d, generator=generator)[: max(1, round(share * d))]
    accepted &= _largest_cluster(updates[:, chosen.to(updates.device)].sign())
    return clipped_mean(updates, accepted, usual)


def _largest_cluster(signs: Tensor) -> Tensor:
    """Flag the rows [n] of ``signs`` [n, b] in the largest cluster by shares of 1, 0 and −1."""
    from sklearn.cluster import MeanShift, estimate_bandwidth

    shares = torch.stack([(signs == s).double().mean(dim=1) for s in (1, 0, -1)], dim=1)
    features = shares.cpu().numpy()
    # rows of equal shares are one cluster even where all distances are zero; and a distance that
    # equals the bandwidth is within it, whichever way rounding goes
    bandwidth = estimate_bandwidth(features, quantile=0.5, random_state=0) * (1 + 1e-9)
    bandwidth = max(bandwidth, 0.5 / signs.shape[1])
    labels = torch.from_numpy(MeanShift(bandwidth=bandwidth).fit_predict(features))
    sizes = labels.bincount()
    return (sizes == sizes.max())[labels].to(signs.device)
