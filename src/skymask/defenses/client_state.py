"""Tables with a row per client, for rules that remember clients from round to round.

A client whose update is not finite has no row in that round, so what is remembered goes by the
clients' numbers and not by the place in the round.
"""

import torch
from torch import Tensor


def union(known: Tensor | None, clients: Tensor) -> Tensor:
    """The numbers of all clients seen so far and now, ascending.

    >>> union(torch.tensor([0, 2]), torch.tensor([3, 2])).tolist()
    [0, 2, 3]
    """
    numbers = clients if known is None else torch.cat([known, clients])
    everybody: Tensor = torch.unique(numbers)
    return everybody


def places(clients: Tensor, everybody: Tensor) -> Tensor:
    """Where each of ``clients`` [n] stands in ``everybody``, ascending, which holds them all.

    >>> places(torch.tensor([3, 0]), torch.tensor([0, 2, 3])).tolist()
    [2, 0]
    """
    return torch.searchsorted(everybody, clients)


def widened(table: Tensor, known: Tensor, everybody: Tensor, missing: float = 0.0) -> Tensor:
    """A copy of ``table``, a row per client of ``known``, with a row for each of ``everybody``.

    >>> widened(torch.tensor([[5.0]]), torch.tensor([2]), torch.tensor([1, 2])).tolist()
    [[0.0], [5.0]]
    """
    wide = table.new_full((len(everybody), *table.shape[1:]), missing)
    wide[places(known, everybody)] = table
    return wide
