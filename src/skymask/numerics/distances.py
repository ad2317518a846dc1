"""Distances, cosines and principal coordinates of a set of vectors, from one Gram matrix.

To float64's digits where it matters: two updates of one round are close beside their own length,
and float32 would lose the digits that tell them apart.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from skymask.numerics import column_blocks

# squared distance beside the squared lengths under which a pair is computed in float64
CLOSE = 1e-2
# products that are added in float32 before float64 takes over: where they are all of one size, as
# with rows of one magnitude, rounding goes the same way each time and grows with their number
SUM = 512


def squared_distances(rows: Tensor) -> Tensor:
    """Squared Euclidean distances between all pairs of ``rows`` [n, d], float64 [n, n].

    D_ij = G_ii + G_jj − 2 G_ij with G the Gram matrix of the rows less the shortest of them; so
    close rows keep their digits beside a huge one, and beside what they have in common.  Rows that
    are close to another even so, or too large for float32, are computed once more in float64; of
    the others the relative error is about 1e-7, and below 1e-4 for rows of one magnitude, where
    rounding does not average out.  The diagonal is 0 and rounding never leaves a
    negative entry.

    >>> squared_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]])).tolist()
    [[0.0, 25.0], [25.0, 0.0]]
    """
    base = rows[column_blocks.squared_lengths(rows).argmin()]
    distances, squares = _distances(rows, base, rows.dtype)
    if rows.dtype == torch.float64:
        return distances
    doubtful = ~(distances > CLOSE * (squares[:, None] + squares[None, :]))
    doubtful |= ~distances.isfinite()
    again = torch.nonzero(doubtful.fill_diagonal_(False).any(dim=1)).flatten()
    if len(again):
        held = rows if len(again) == len(rows) else rows[again]
        distances[again[:, None], again] = _distances(held, base, torch.float64)[0]
    return distances


def _distances(rows: Tensor, base: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Squared distances [n, n] and squared lengths [n] of ``rows`` less ``base``."""
    base = base.to(dtype)
    gram = _gram(rows, lambda block: rows[:, block].to(dtype) - base[block])
    squares = gram.diagonal().clone()
    distances = (squares[:, None] + squares[None, :] - 2 * gram).clamp_min_(0)
    return distances.fill_diagonal_(0), squares


def binary_gram(rows: Tensor) -> Tensor:
    """Gram matrix of ``rows`` [n, d] of zeros and ones, float64 [n, n]; every digit is right.

    Sums within a block are integers that float32 holds.
    """
    return _gram(rows, lambda block: rows[:, block].to(torch.float32))


def distances_of(gram: Tensor) -> Tensor:
    """The squared distances [n, n] of the vectors whose Gram matrix [n, n] is exact.

    >>> distances_of(torch.tensor([[2.0, 1.0], [1.0, 1.0]])).tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    squares = gram.diagonal()
    return squares[:, None] + squares[None, :] - 2 * gram


def centred_gram(rows: Tensor) -> Tensor:
    """Gram matrix of ``rows`` [n, d] less their mean, float64 [n, n], exactly symmetric."""

    def centred(block: slice) -> Tensor:
        part = rows[:, block].double()
        return part - part.mean(dim=0)

    return _gram(rows, centred)


def _gram(rows: Tensor, part: Callable[[slice], Tensor]) -> Tensor:
    """Σ part part^T over blocks of the columns of ``rows`` [n, d]; float64, exactly symmetric."""
    half = len(rows) // 2

    def product(block: slice) -> Tensor:
        values = part(block)
        found = torch.zeros(len(values), len(values), dtype=torch.float64, device=rows.device)
        # what is below the diagonal mirrors what is above
        found[:half] = _product(values[:half], values)
        found[half:, half:] = _product(values[half:], values[half:])
        return found

    gram = column_blocks.total(rows.shape[1], rows.device, product)
    gram[half:, :half] = gram[:half, half:].T
    return (gram + gram.T) / 2


def _product(some: Tensor, others: Tensor) -> Tensor:
    """``some @ others.T``, float64; of float32, sums longer than SUM are float64."""
    if some.dtype == torch.float64:
        return some @ others.T
    found = some.new_zeros(len(some), len(others), dtype=torch.float64)
    for few in column_blocks.cuts(some.shape[1], SUM):
        found += some[:, few] @ others[:, few].T
    return found


def cosine_similarities(rows: Tensor, reference: Tensor) -> Tensor:
    """Cosine of each row of ``rows`` [n, d] with ``reference`` [d], float64 [n].

    It is 0 where a vector is zero.

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
    """Cosines between all pairs of ``rows`` [n, d], float64 [n, n], exactly symmetric.

    They lie in [−1, 1]; those of a zero row are 0, and the diagonal of the others is 1.

    >>> cosine_matrix(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])).tolist()
    [[1.0, 0.0, -1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 1.0]]
    """
    lengths = column_blocks.squared_lengths(rows).sqrt()
    factors = torch.where(lengths > 0, 1 / lengths.clamp_min(1e-300), 0.0)[:, None]
    cosines = _gram(rows, lambda block: rows[:, block].double() * factors).clamp_(-1, 1)
    cosines.diagonal().copy_(lengths > 0)
    return cosines


def cosine_distances(rows: Tensor) -> Tensor:
    """1 − cosine between all pairs of ``rows`` [n, d], float64 [n, n], for rules that compare them.

    They are rounded to 12 decimals, so that equal rows are at distance 0 and at one distance from
    any other, whatever their order.  A zero row is at distance 1 from all others.

    >>> cosine_distances(torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0]])).tolist()
    [[0.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 0.0]]
    """
    return (1 - cosine_matrix(rows)).round(decimals=12).fill_diagonal_(0)


def neighbour_sums(distances: Tensor, neighbours: int) -> Tensor:
    """Per row of a symmetric matrix [n, n], the sum of its least ``neighbours`` entries, [n].

    The diagonal does not count: with squared distances these are Krum's scores.

    >>> line = torch.tensor([[0.0], [1.0], [1.5], [9.0]])
    >>> neighbour_sums(squared_distances(line), 1).tolist()
    [1.0, 0.25, 0.25, 56.25]
    """
    others = distances.clone().fill_diagonal_(float("inf"))
    return others.sort(dim=1).values[:, :neighbours].sum(dim=1)
