"""The geometric median."""

import torch
from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Aggregation
from skymask.numerics import column_blocks
from skymask.numerics.parallel import across

SAME = 1e-10
"""Points nearer than this, beside their own length, are one point."""


@requires(lambda tolerance: tolerance > 0, "tolerance must be positive")
@requires(lambda max_steps: max_steps >= 1, "max_steps must be at least 1")
@judges
def geometric_median(
    updates: Tensor, *, tolerance: float = 1e-6, max_steps: int = 1000
) -> Aggregation:
    """The point argmin_z Σ_i ‖z − Δ_i‖, by Weiszfeld's iteration.

    z ← Σ_i Δ_i / ‖z − Δ_i‖ / Σ_i 1 / ‖z − Δ_i‖, with the step of Vardi and Zhang where z meets a
    Δ_i.  It starts from the Δ_i with the least sum of distances and ends once the mean of the unit
    vectors from z to the Δ_i is no longer than ``tolerance``, which is a step of that length beside
    the harmonic mean of the distances, or after ``max_steps`` steps.  An update that is a minimum
    itself is taken at once; of several (two clients, or an even number on a line) the mean.

    ``updates`` is [n, d].  There is no verdict per client; the ``weights`` are those of the convex
    combination that z is.  Nothing is smoothed: where the authors' code bounds ‖z − Δ_i‖ from
    below, this one tells by the first-order condition.  Raises ValueError for a ``tolerance`` or
    ``max_steps`` out of range.  Source: Pillutla et al., IEEE TSP 2022; Vardi & Zhang, PNAS 2000.

    >>> geometric_median(torch.tensor([[0.0], [1.0], [90.0]])).update
    tensor([1.])
    """
    points = _coordinates(updates)
    lengths = points.norm(dim=1)
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    same = distances <= SAME * (lengths[:, None] + lengths[None, :])
    inverse = torch.where(same, 0.0, 1 / distances)
    pulls = inverse @ points - inverse.sum(dim=1, keepdim=True) * points
    minima = pulls.norm(dim=1) <= same.sum(dim=1) + 1e-9 * len(points)
    if bool(minima.any()):
        weights = minima.double() / minima.sum()
    else:
        first = same[distances.sum(dim=1).argmin()].double()
        weights = _weiszfeld(points, first / first.sum(), tolerance * len(points), max_steps)
    return Aggregation(column_blocks.weighted_sum(weights, updates), weights=weights)


def _coordinates(rows: Tensor) -> Tensor:
    """Points [n, min(n, d)] with the mutual distances of ``rows`` [n, d].

    By orthogonal transformations, of blocks of columns and then of what they leave, and no Gram
    matrix, which would lose half of the digits.
    """
    shortest = rows[column_blocks.squared_lengths(rows).argmin()].double()

    def triangle(block: slice) -> Tensor:
        offsets = rows[:, block].double() - shortest[block]
        found: Tensor = torch.linalg.qr(offsets.T, mode="r").R
        return found

    parts = column_blocks.cuts(rows.shape[1], column_blocks.columns_of(rows.device))
    triangles = across(triangle, parts, rows.device)
    if len(triangles) == 1:
        return triangles[0].T
    whole: Tensor = torch.linalg.qr(torch.cat(triangles), mode="r").R
    return whole.T


def _weiszfeld(points: Tensor, weights: Tensor, slack: float, steps: int) -> Tensor:
    """The weights [n] of z, from those it starts with to a pull of at most ``slack``."""
    lengths = points.norm(dim=1)
    for _ in range(steps):
        place = weights @ points
        offsets = points - place
        distances = offsets.norm(dim=1)
        here = distances <= SAME * (lengths + place.norm())
        inverse = torch.where(here, 0.0, 1 / distances)
        pull, met = float((inverse @ offsets).norm()), int(here.sum())
        if pull <= met + slack:
            break
        # points that z has met hold it back with a force of at most their number
        stay = met / pull
        weights = (1 - stay) * inverse / inverse.sum() + stay * here / max(met, 1)
    return weights
