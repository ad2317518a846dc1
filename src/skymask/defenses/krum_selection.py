"""Selection of clients by Krum scores."""

import torch
from torch import Tensor


def least_scores(scores: Tensor, ordered: Tensor, count: int) -> Tensor:
    """Select the clients with the least scores.

    Of equal scores, the one with the lesser row of ``ordered``, compared entry by entry, is less.
    Krum needs this: two clients that are each other's nearest have the same score if only one
    neighbour counts, and their order must not decide.

    Args:
        scores: Scores [n].
        ordered: Sorted distances of each client [n, m].
        count: Number of clients to select, from 1 to n.

    Returns:
        Flags of the selected clients [n], bool.

    >>> rows = torch.tensor([[1.0, 3.0], [1.0, 2.0], [9.0, 9.0]])
    >>> least_scores(torch.tensor([1.0, 1.0, 9.0]), rows, 1)
    tensor([False,  True, False])
    """
    limit = scores.kthvalue(count).values
    chosen = scores < limit
    tied = torch.nonzero(scores == limit).flatten().tolist()
    missing = count - int(chosen.sum())
    if missing < len(tied):
        tied.sort(key=lambda row: ordered[row].tolist())
    chosen[tied[:missing]] = True
    return chosen


def repeated_krum(distances: Tensor, assumed_malicious: int, picks: int) -> tuple[Tensor, Tensor]:
    """Select by Krum, remove, and compute the scores of the others again, ``picks`` times.

    Of the n' clients left, the one with the least sum over its n' − f − 2 nearest others is
    selected (over one where that is less; ties are broken by the next neighbours). The distances
    are sorted once.

    Args:
        distances: Squared distances of the clients [n, n].
        assumed_malicious: Assumed number f of malicious clients.
        picks: Number of clients to select.

    Returns:
        Flags of the selected clients [n], bool, and the score of each in its last pass [n].

    >>> from skymask.numerics.distances import squared_distances
    >>> line = torch.tensor([[0.0], [1.0], [2.5], [9.0]])
    >>> repeated_krum(squared_distances(line), 0, 1)[0]
    tensor([False,  True, False, False])
    """
    left = torch.arange(len(distances), device=distances.device)
    picked = torch.zeros_like(left, dtype=torch.bool)
    scores = distances.new_zeros(len(distances))
    values, others = distances.sort(dim=1)
    values, others = _without(values, others, left[:, None])
    for _ in range(picks):
        scores[left] = sums = values[:, : max(len(left) - assumed_malicious - 2, 1)].sum(dim=1)
        best = least_scores(sums, values, 1)
        picked[left[best]] = True
        values, others = _without(values[~best], others[~best], left[best])
        left = left[~best]
    return picked, scores


def _without(values: Tensor, others: Tensor, client: Tensor) -> tuple[Tensor, Tensor]:
    """Remove from two matrices the entry of each row where ``others`` is ``client``."""
    kept = others != client
    shape = (len(others), max(others.shape[1] - 1, 0))
    return values[kept].reshape(shape), others[kept].reshape(shape)
