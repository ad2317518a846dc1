"""Defense of Tolpegin et al."""

import torch
from torch import Tensor

from skymask.contracts import judges
from skymask.defenses.aggregation import Aggregation, mean_of
from skymask.numerics.pca import principal_coordinates


@judges
def tolpegin(updates: Tensor) -> Aggregation:
    """Project the standardised updates to two principal components and keep the larger cluster.

    Each coordinate is centred and divided by its standard deviation over the clients; one that is
    equal for all stays 0. 2-means starts from the best cut along the first or the second component,
    without randomness. If both clusters are of one size, or all updates are equal, all clients are
    kept.

    Args:
        updates: Finite updates [n, d], one row per client.

    Returns:
        The aggregation; the update is the mean of the accepted clients.

    The authors look only at the weights of one output class, over several rounds, and by eye; here
    it is the whole update of one round.

    Source: Tolpegin et al., "Data Poisoning Attacks Against Federated Learning Systems", ESORICS
    2020.

    >>> tolpegin(torch.tensor([[1.0], [1.5], [9.0]])).accepted
    tensor([ True,  True, False])
    """
    constant = updates.amax(dim=0) == updates.amin(dim=0)
    values = updates.double()
    spread = values.std(dim=0, correction=0)
    # rounding gives equal values a spread, and dividing by it would blow up noise
    standard = torch.where(constant, 0.0, (values - values.mean(dim=0)) / spread)
    points, _ = principal_coordinates(standard)
    second = _two_means(points)
    twice = 2 * int(second.sum())
    if twice == len(updates) or bool((points == 0).all()):
        return mean_of(updates, torch.ones_like(second))
    return mean_of(updates, second if twice > len(updates) else ~second)


def _two_means(points: Tensor, steps: int = 100) -> Tensor:
    """Return one of two clusters of centred ``points`` [n, 2], as flags [n]."""
    second = _best_cut(points)
    for _ in range(steps):
        if bool(second.all()) or not bool(second.any()):
            break
        first_centre, second_centre = points[~second].mean(dim=0), points[second].mean(dim=0)
        nearer = (points - second_centre).norm(dim=1) < (points - first_centre).norm(dim=1)
        if nearer.equal(second):
            break
        second = nearer
    return second


def _best_cut(points: Tensor) -> Tensor:
    """Cut points [n, 2] in two along an axis, with the least sum of squares within the parts."""
    n = len(points)
    sizes = torch.arange(1, n, dtype=points.dtype, device=points.device)
    best, chosen = -1.0, torch.zeros(n, dtype=torch.bool, device=points.device)
    for axis in range(points.shape[1]):
        order = points[:, axis].argsort()
        heads = points[order].cumsum(dim=0)[:-1].square().sum(dim=1)
        # the gain of a cut over none: all points sum to zero, so both parts' sums are of one length
        gains = heads / sizes + heads / (n - sizes)
        if n > 1 and float(gains.max()) > best:
            best, chosen = float(gains.max()), torch.zeros_like(chosen)
            chosen[order[int(gains.argmax()) + 1 :]] = True
    return chosen
