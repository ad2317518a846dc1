"""Tables with a row per client, kept from round to round.

A client whose update is not finite has no row in that round, so rows belong to the clients' numbers
and not to their positions in the round.
"""

import torch
from torch import Tensor


def union(known: Tensor | None, clients: Tensor) -> Tensor:
    """Return the numbers of all clients so far, ascending.

    Args:
        known: Numbers of the clients in earlier rounds [m], int64, or ``None``.
        clients: Numbers of the clients in this round [n], int64.

    Returns:
        The numbers of all of them, each once, int64.

    >>> union(torch.tensor([0, 2]), torch.tensor([3, 2])).tolist()
    [0, 2, 3]
    """
    numbers = clients if known is None else torch.cat([known, clients])
    result: Tensor = torch.unique(numbers)
    return result


def positions(clients: Tensor, numbers: Tensor) -> Tensor:
    """Return the position of each of ``clients`` [n] in ``numbers``, which is ascending.

    >>> positions(torch.tensor([3, 0]), torch.tensor([0, 2, 3])).tolist()
    [2, 0]
    """
    return torch.searchsorted(numbers, clients)


def extended(table: Tensor, known: Tensor, numbers: Tensor, missing: float = 0.0) -> Tensor:
    """Copy a table with a row per client and add rows for new clients.

    Args:
        table: Table [m, ...].
        known: Numbers of the clients in ``table`` [m], int64, ascending.
        numbers: Numbers of all clients, which contain ``known``, ascending.
        missing: Value of the new rows.

    Returns:
        The table with a row for each of ``numbers``.

    >>> extended(torch.tensor([[5.0]]), torch.tensor([2]), torch.tensor([1, 2])).tolist()
    [[0.0], [5.0]]
    """
    wide = table.new_full((len(numbers), *table.shape[1:]), missing)
    wide[positions(known, numbers)] = table
    return wide
