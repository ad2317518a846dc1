"""Clipping by length."""

import torch
from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Mixture, clipping
from skymask.numerics import column_blocks
from skymask.numerics.order_statistics import midpoint_median


@requires(lambda radius: radius is None or radius > 0, "radius must be positive")
@judges
def norm_clip(updates: Tensor, *, radius: float | None = None) -> Mixture:
    """Shorten each update to the length ``radius``: min(1, radius / ‖Δ_i‖) Δ_i.

    Without a ``radius`` it is the median length of the round, the midpoint of the middle two when
    n is even.  ``updates`` is [n, d]; the mixture has n rows, row i for client i.  Raises
    ValueError for a ``radius`` of zero or less.  Source: static and median clipping as in
    Sun et al., arXiv 1911.07963, 2019.

    >>> norm_clip(torch.tensor([[2.0], [-8.0]]), radius=4.0).mixing.tolist()
    [[1.0, 0.0], [0.0, 0.5]]
    """
    lengths = column_blocks.squared_lengths(updates).sqrt()
    limit = midpoint_median(lengths) if radius is None else lengths.new_tensor(radius)
    everyone = torch.arange(len(updates), device=updates.device)
    return Mixture(clipping(lengths, limit).diag(), everyone)
