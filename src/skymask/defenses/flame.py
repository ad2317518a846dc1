"""FLAME: cluster by cosine, clip to the median norm, add noise."""

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
    """Keep the cluster of more than half of the clients, clip it, average it, add noise.

    1. HDBSCAN on 1 − cos(Δ_i, Δ_j), clusters of at least ⌊n/2⌋ + 1 clients, min samples 1, a
       single cluster allowed: there is room for one cluster, and it is accepted.  It holds the
       clients that hang together at the least distance at which so many do.
    2. S = median of ‖Δ_i‖ over all n clients (the midpoint of the middle two when n is even); the
       accepted are clipped, Δ_i · min(1, S/‖Δ_i‖).
    3. The update is their mean plus N(0, (λS)²) per coordinate, λ = √(2 ln(1.25/δ)) / ε.

    ``updates`` is [n, d].  The ``weights`` are those of the mean; the noise comes on top.  The
    code released with SkyMask gives the variance (λS)² to a function that expects a standard
    deviation; here λS is the standard deviation.  Raises ValueError unless ε > 0 and 0 < δ < 1.
    Source: Nguyen et al., USENIX Security 2022.
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
