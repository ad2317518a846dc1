"""Distances and cosines of a set of vectors, from one Gram matrix.

They have float64 precision where it matters: the distance of two updates of one round is small
compared with their length, and float32 would lose the digits that distinguish them.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from skymask.numerics import column_blocks

# pairs closer than this, relative to their squared distances from the origin, have lost digits
CLOSE = {torch.float32: 1e-2, torch.float64: 1e-6}
# products added in float32 before float64 takes over: where they are all of one size, as with rows
# of one magnitude, rounding has the same direction each time and grows with their number
SUM = 512


def squared_distances(rows: Tensor) -> Tensor:
    """Return the squared Euclidean distances between all pairs of rows.

    D_ij = G_ii + G_jj − 2 G_ij with G the Gram matrix of the rows less an origin, at first the
    shortest of them. So close rows keep their digits next to a huge one, and despite a large common
    part. Rows that are close even so, or too large for float32, are computed again in float64, each
    group of them with one of its own rows as the origin, and again as long as any are close. For
    the others the relative error is about 1e-7, and below 1e-4 for rows of one magnitude, where
    rounding does not average out; it is about 1e-10 in float64.

    Args:
        rows: Rows [n, d], of any floating dtype.

    Returns:
        The squared distances [n, n], float64, never negative, with 0 on the diagonal; NaN between
        a row that is not finite and the others.

    >>> squared_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]])).tolist()
    [[0.0, 25.0], [25.0, 0.0]]
    """
    inf = float("inf")
    lengths = column_blocks.squared_lengths(rows).nan_to_num(nan=inf, posinf=inf)
    dtype = torch.float64 if rows.dtype == torch.float64 else torch.float32
    distances, close = _distances(rows, int(lengths.argmin()), dtype)
    if not bool(lengths.isfinite().all()):
        # a row that is not finite has no distance from any other, whatever the origin
        lost = ~rows.isfinite().all(dim=1)
        close[lost] = close[:, lost] = False
    groups = _groups(close)
    while groups:
        group = groups.pop()
        part = rows if len(group) == len(rows) else rows[group]
        result, close = _distances(part, int(lengths[group].argmin()), torch.float64)
        distances[group[:, None], group] = result
        groups += [group[smaller] for smaller in _groups(close)]
    return distances


def _distances(rows: Tensor, origin: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Return squared distances [n, n], and flags [n, n] of those that have lost digits.

    They are computed from the differences to the row ``origin``, whose own distances are exact.
    """
    base = rows[origin].to(dtype)
    gram = _gram(rows, lambda block: rows[:, block].to(dtype) - base[block])
    squares = gram.diagonal()
    sums = squares[:, None] + squares[None, :]
    distances = (sums - 2 * gram).clamp_min_(0).fill_diagonal_(0)
    close = ~(distances > CLOSE[dtype] * sums) | ~distances.isfinite()
    if dtype == torch.float64:
        # in float32 these may have overflowed or underflowed
        close &= sums != 0
        close[origin] = close[:, origin] = False
    return distances, close.fill_diagonal_(False)


def _groups(linked: Tensor) -> list[Tensor]:
    """Return the indices of each connected part of a symmetric graph [n, n] with two or more."""
    labels = torch.arange(len(linked), device=linked.device)
    linked = linked | torch.eye(len(linked), dtype=torch.bool, device=linked.device)
    while True:
        least = torch.where(linked, labels, len(linked)).amin(dim=1)
        if least.equal(labels):
            break
        labels = least
    numbers, counts = torch.unique(labels, return_counts=True)
    return [torch.nonzero(labels == number).flatten() for number in numbers[counts > 1].tolist()]


def binary_gram(rows: Tensor) -> Tensor:
    """Return the exact Gram matrix of rows of zeros and ones.

    Sums within a block are integers that float32 represents exactly.

    Args:
        rows: Rows [n, d] of zeros and ones.

    Returns:
        The Gram matrix [n, n], float64.
    """
    return _gram(rows, lambda block: rows[:, block].to(torch.float32))


def sign_gram(rows: Tensor) -> Tensor:
    """Return the exact Gram matrix of the signs of rows.

    Args:
        rows: Rows [n, d].

    Returns:
        The numbers of entries with equal signs less those with opposite signs [n, n], float64.

    >>> sign_gram(torch.tensor([[2.0, -1.0, 0.0], [3.0, 4.0, 5.0]])).tolist()
    [[2.0, 0.0], [0.0, 3.0]]
    """
    return _gram(rows, lambda block: rows[:, block].sign().to(torch.float32))


def absolute_distances(rows: Tensor) -> Tensor:
    """Return the sums of absolute differences between all pairs of rows.

    Args:
        rows: Rows [n, d].

    Returns:
        The distances [n, n], float64.

    >>> absolute_distances(torch.tensor([[0.0, 0.0], [3.0, -4.0]])).tolist()
    [[0.0, 7.0], [7.0, 0.0]]
    """
    pairs = column_blocks.total(
        rows.shape[1], rows.device, lambda block: torch.pdist(rows[:, block].double(), p=1)
    )
    distances = rows.new_zeros(len(rows), len(rows), dtype=torch.float64)
    # in the order of the pairs i < j
    distances[*torch.triu_indices(len(rows), len(rows), 1, device=rows.device)] = pairs
    return distances + distances.T


def distances_of(gram: Tensor) -> Tensor:
    """Return the squared distances [n, n] of vectors from their exact Gram matrix [n, n].

    >>> distances_of(torch.tensor([[2.0, 1.0], [1.0, 1.0]])).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    squares = gram.diagonal()
    return squares[:, None] + squares[None, :] - 2 * gram


def centred_gram(rows: Tensor) -> Tensor:
    """Return the symmetric Gram matrix [n, n], float64, of ``rows`` [n, d] less their mean."""

    def centred(block: slice) -> Tensor:
        part = rows[:, block].double()
        return part - part.mean(dim=0)

    return _gram(rows, centred)


def _gram(rows: Tensor, part: Callable[[slice], Tensor]) -> Tensor:
    """Sum part partᵀ over blocks of the columns of ``rows`` [n, d]; float64, exactly symmetric."""
    half = len(rows) // 2

    def product(block: slice) -> Tensor:
        values = part(block)
        products = torch.zeros(len(values), len(values), dtype=torch.float64, device=rows.device)
        # the lower triangle mirrors the upper one
        products[:half] = _product(values[:half], values)
        products[half:, half:] = _product(values[half:], values[half:])
        return products

    gram = column_blocks.total(rows.shape[1], rows.device, product)
    gram[half:, :half] = gram[:half, half:].T
    return (gram + gram.T) / 2


def _product(some: Tensor, others: Tensor) -> Tensor:
    """Return ``some @ others.T`` in float64; float32 sums longer than SUM are float64."""
    if some.dtype == torch.float64:
        return some @ others.T
    result = some.new_zeros(len(some), len(others), dtype=torch.float64)
    for few in column_blocks.cuts(some.shape[1], SUM):
        result += some[:, few] @ others[:, few].T
    return result


def cosine_similarities(rows: Tensor, reference: Tensor) -> Tensor:
    """Return the cosine of each row with a reference vector.

    Args:
        rows: Rows [n, d].
        reference: Reference vector [d].

    Returns:
        The cosines [n], float64, 0 where a vector is zero.

    >>> cosine_similarities(torch.eye(2), torch.tensor([1.0, 0.0])).tolist()
    [1.0, 0.0]
    """
    reference = reference.double()
    products = column_blocks.total(
        rows.shape[1], rows.device, lambda block: rows[:, block].double() @ reference[block]
    )
    lengths = column_blocks.squared_lengths(rows).sqrt() * reference.norm()
    return torch.where(lengths > 0, products / lengths.clamp_min(1e-300), 0.0)


def cosine_matrix(rows: Tensor) -> Tensor:
    """Return the cosines between all pairs of rows.

    Args:
        rows: Rows [n, d].

    Returns:
        The cosines [n, n], float64 in [−1, 1], exactly symmetric: 0 for a zero row, 1 on the
        diagonal of the others.

    >>> cosine_matrix(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])).tolist()
    [[1.0, 0.0, -1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 1.0]]
    """
    lengths = column_blocks.squared_lengths(rows).sqrt()
    factors = torch.where(lengths > 0, 1 / lengths.clamp_min(1e-300), 0.0)[:, None]
    cosines = _gram(rows, lambda block: rows[:, block].double() * factors).clamp_(-1, 1)
    cosines.diagonal().copy_(lengths > 0)
    return cosines


def cosine_distances(rows: Tensor) -> Tensor:
    """Return 1 − cosine between all pairs of rows, for rules that compare them.

    They are rounded to 12 decimals, so that equal rows are at distance 0 and at one distance from
    any other row, whatever their order.

    Args:
        rows: Rows [n, d].

    Returns:
        The distances [n, n], float64; a zero row is at distance 1 from all others.

    >>> cosine_distances(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])).tolist()
    [[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]]
    """
    return (1 - cosine_matrix(rows)).round(decimals=12).fill_diagonal_(0)


def neighbour_sums(distances: Tensor, neighbours: int) -> Tensor:
    """Sum the least entries of each row, without the diagonal.

    With squared distances the sums are Krum's scores.

    Args:
        distances: Symmetric matrix [n, n].
        neighbours: Number of entries to sum.

    Returns:
        The sums [n].

    >>> line = torch.tensor([[0.0], [1.0], [1.5], [9.0]])
    >>> neighbour_sums(squared_distances(line), 1).tolist()
    [1.0, 0.25, 0.25, 56.25]
    """
    others = distances.clone().fill_diagonal_(float("inf"))
    return others.sort(dim=1).values[:, :neighbours].sum(dim=1)
