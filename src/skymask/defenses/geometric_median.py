"""Geometric median."""

import torch
from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Aggregation
from skymask.numerics import column_blocks
from skymask.numerics.parallel import parallel_map

SAME = 1e-10
"""Points nearer than this, relative to their lengths, are one point."""


@requires(lambda tolerance: tolerance > 0, "tolerance must be positive")
@requires(lambda max_steps: max_steps >= 1, "max_steps must be at least 1")
@judges
def geometric_median(
    updates: Tensor, *, tolerance: float = 1e-6, max_steps: int = 1000
) -> Aggregation:
    r"""Find the point with the least sum of distances to the updates, by Weiszfeld's iteration.

    .. math::

        \arg\min_z \sum_i \lVert z - \Delta_i\rVert, \quad
        z \leftarrow \frac{\sum_i \Delta_i / \lVert z - \Delta_i\rVert}
        {\sum_i 1 / \lVert z - \Delta_i\rVert}

    with the step of Vardi and Zhang where z meets a Δ_i. It starts at the Δ_i with the least sum of
    distances. It ends when the mean of the unit vectors from z to the Δ_i is no longer than
    ``tolerance`` (which compares the length of a step with the harmonic mean of the distances), or
    after ``max_steps`` steps. An update that is a minimum itself is the result; if there are
    several (two clients, or an even number on a line), their mean. Nothing is smoothed: where the
    authors' code bounds ‖z − Δ_i‖ from below, this one tests the first-order condition.

    Args:
        updates: Finite updates [n, d], one row per client.
        tolerance: Length of the mean unit vector at which the iteration ends.
        max_steps: Largest number of steps.

    Returns:
        The aggregation, without verdicts; z is a convex combination with these ``weights``.

    Source: Pillutla, Kakade & Harchaoui, "Robust Aggregation for Federated Learning", IEEE TSP
    2022; Vardi & Zhang, "The multivariate L1-median and associated data depth", PNAS 2000.

    >>> geometric_median(torch.tensor([[0.0], [1.0], [90.0]])).update
    tensor([1.])
    """
    points = _coordinates(updates)
    lengths = points.norm(dim=1)
    distances = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    same = distances <= SAME * (lengths[:, None] + lengths[None, :])
    inverse = torch.where(same, 0.0, 1 / distances)
    # of the differences: a difference of sums would lose the digits of a close pair
    pulls = [row @ (points - point) for row, point in zip(inverse, points, strict=True)]
    copies = same.double().sum(dim=1)
    minima = torch.stack(pulls).norm(dim=1) <= copies + 1e-9 * len(points)
    if bool(minima.any()):
        weights = minima.double() / minima.sum()
    else:
        first = same[distances.sum(dim=1).argmin()].double()
        weights = _weiszfeld(points, first / first.sum(), tolerance * len(points), max_steps)
    return Aggregation(column_blocks.weighted_sum(weights, updates), weights=weights)


def _coordinates(rows: Tensor) -> Tensor:
    """Return points [n, min(n, d)] with the mutual distances of ``rows`` [n, d].

    They come from QR decompositions of blocks of columns and then of the stacked triangles. A Gram
    matrix would lose half of the digits.
    """
    shortest = rows[column_blocks.squared_lengths(rows).argmin()].double()

    def triangle(block: slice) -> Tensor:
        offsets = rows[:, block].double() - shortest[block]
        factor: Tensor = torch.linalg.qr(offsets.T, mode="r").R
        return factor

    parts = column_blocks.cuts(rows.shape[1], column_blocks.columns_of(rows.device))
    triangles = parallel_map(triangle, parts, rows.device)
    if len(triangles) == 1:
        return triangles[0].T
    whole: Tensor = torch.linalg.qr(torch.cat(triangles), mode="r").R
    return whole.T


def _weiszfeld(points: Tensor, weights: Tensor, slack: float, steps: int) -> Tensor:
    """Iterate the weights [n] of z until the pull is at most ``slack``."""
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
        # points at z pull it back with a force of at most their number
        stay = met / pull
        weights = (1 - stay) * inverse / inverse.sum() + stay * here / max(met, 1)
    return weights
