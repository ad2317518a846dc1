"""Norm clipping."""

import torch
from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Mixture
from skymask.numerics import column_blocks
from skymask.numerics.clipping import clipping
from skymask.numerics.order_statistics import midpoint_median


@requires(lambda radius: radius is None or radius > 0, "radius must be positive")
@judges
def norm_clip(updates: Tensor, *, radius: float | None = None) -> Mixture:
    """Shorten each update to a largest length.

    Row i of the mixture is min(1, radius / ‖Δ_i‖) Δ_i.

    Args:
        updates: Finite updates [n, d], one row per client.
        radius: Largest length, in units of the updates. If ``None`` it is the median length of the
            round, the midpoint of the middle two if n is even.

    Returns:
        A mixture of n rows, row i for client i.

    Source: static and median clipping as in Sun et al., "Can You Really Backdoor Federated
    Learning?", arXiv 1911.07963, 2019.

    >>> norm_clip(torch.tensor([[2.0], [-8.0]]), radius=4.0).mixing.tolist()
    [[1.0, 0.0], [0.0, 0.5]]
    """
    lengths = column_blocks.squared_lengths(updates).sqrt()
    limit = midpoint_median(lengths) if radius is None else lengths.new_tensor(radius)
    everyone = torch.arange(len(updates), device=updates.device)
    return Mixture(clipping(lengths, limit).diag(), everyone)
