"""Synthetic updates next to the received ones (FoundationFL)."""

import torch
from torch import Tensor

from skymask.contracts import judges, leaves, requires
from skymask.defenses.aggregation import Mixture
from skymask.numerics import column_blocks


@leaves(lambda n, copies: n + (n // 2 if copies is None else copies))
@requires(lambda copies: copies is None or copies >= 0, "copies must not be negative")
@judges
def foundation(updates: Tensor, *, copies: int | None = None) -> Mixture:
    r"""Add copies of the update that is farthest from the extremes of all.

    With hi and lo the largest and the smallest value of each coordinate, the score of a client is
    :math:`\min(\lVert\Delta_i - hi\rVert, \lVert\Delta_i - lo\rVert)`. The update with the largest
    score (the first of equal ones) is added m times, and a coordinate-wise rule such as ``median``
    or ``trimmed_mean`` follows.

    Args:
        updates: Finite updates [n, d], one row per client.
        copies: Number m of copies; ``None`` for ⌊n / 2⌋.

    Returns:
        A mixture of n + m rows: row i is the update of client i, and represents it.

    The copies may be an attacker's: f clients that all send −5 times the benign mean can have the
    largest score. By default the rule behind then faces a majority of attackers where f > n / 4.

    Source: Fang et al., "Do We Really Need to Design New Byzantine-robust Aggregation Rules?", NDSS
    2025 (arXiv 2501.17381).

    >>> rows = torch.tensor([[1.0, -1, 2, 0], [1, 1, -2, 0], [1, -1, 2, 0], [-5, -1, 2, 3]])
    >>> foundation(rows, copies=2).mixing.tolist()[3:]
    [[0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]
    """
    n = len(updates)

    def of_block(block: slice) -> Tensor:
        part = updates[:, block].double()
        ends = torch.stack([part.amax(dim=0), part.amin(dim=0)])
        return (part - ends[:, None]).square().sum(dim=2)

    squares = column_blocks.total(updates.shape[1], updates.device, of_block)
    farthest = int(squares.amin(dim=0).argmax())
    own = torch.eye(n, dtype=torch.float64, device=updates.device)
    added = own[farthest].repeat(n // 2 if copies is None else copies, 1)
    return Mixture(torch.cat([own, added]), torch.arange(n, device=updates.device))
