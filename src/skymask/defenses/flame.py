"""FLAME."""

import math

import torch
from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Aggregation, clipped_mean
from skymask.numerics import column_blocks
from skymask.numerics.distances import cosine_distances
from skymask.numerics.hdbscan import density_clusters
from skymask.numerics.order_statistics import midpoint_median


@requires(lambda epsilon: epsilon > 0, "epsilon must be positive")
@requires(lambda delta: 0 < delta < 1, "delta must lie in (0, 1)")
@judges
def flame(
    updates: Tensor,
    generator: torch.Generator,
    *,
    epsilon: float = 3000.0,
    delta: float = 0.01,
) -> Aggregation:
    r"""Keep the cluster of more than half of the clients, clip it, average it, add noise.

    1. HDBSCAN on 1 − cos(Δ_i, Δ_j), clusters of at least ⌊n/2⌋ + 1 clients, min samples 1, a single
       cluster allowed. There is room for one cluster, and it is accepted: the clients that are
       connected at the least distance at which so many are.
    2. With S the median of ‖Δ_i‖ over all n clients (the midpoint of the middle two if n is even),
       the accepted updates are clipped to Δ_i · min(1, S/‖Δ_i‖) and averaged.
    3. Each coordinate gets noise from N(0, (λS)²) with

       .. math:: \lambda = \sqrt{2 \ln(1.25/\delta)} / \epsilon

    Args:
        updates: Finite updates [n, d], one row per client.
        generator: Random numbers, on the CPU.
        epsilon: Privacy parameter ε.
        delta: Privacy parameter δ, in (0, 1).

    Returns:
        The aggregation; the ``weights`` are those of the mean without the noise.

    The code released with SkyMask passes the variance (λS)² to a function that expects a standard
    deviation; here λS is the standard deviation.

    Source: Nguyen et al., "FLAME: Taming Backdoors in Federated Learning", USENIX Security 2022.
    """
    most = len(updates) // 2 + 1
    accepted = density_clusters(cosine_distances(updates), most, allow_single=True) == 0
    length = midpoint_median(column_blocks.squared_lengths(updates).sqrt())
    kept = clipped_mean(updates, accepted, length)
    deviation = math.sqrt(2 * math.log(1.25 / delta)) / epsilon * length
    # drawn in float64, so that runs in either precision add the same numbers
    noise = torch.randn(updates.shape[1], generator=generator, dtype=torch.float64)
    update = kept.update.double() + deviation * noise.to(updates.device)
    return Aggregation(update.to(updates.dtype), accepted, kept.weights)
