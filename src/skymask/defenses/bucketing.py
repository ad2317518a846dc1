"""Bucketing."""

import torch
from torch import Tensor

from skymask.contracts import judges, leaves, requires
from skymask.defenses.aggregation import Mixture


@leaves(lambda n, size: -(-n // size))
@requires(lambda size: size >= 1, "size must be at least 1")
@judges
def bucketing(updates: Tensor, generator: torch.Generator, *, size: int = 2) -> Mixture:
    """Put the clients into random buckets and average within each.

    A random permutation is cut into ⌈n / size⌉ runs of ``size`` clients, of which the last may be
    shorter; row b is the mean of the updates in run b and represents its clients.

    Args:
        updates: Finite updates [n, d], one row per client.
        generator: Random numbers, on the CPU.
        size: Clients per bucket.

    Returns:
        A mixture of ⌈n / size⌉ rows.

    Source: Karimireddy et al., "Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing",
    ICLR 2022.
    """
    n = len(updates)
    order = torch.randperm(n, generator=generator)
    row_of = torch.empty(n, dtype=torch.int64)
    row_of[order] = torch.arange(n) // size
    inside = row_of == torch.arange(-(-n // size))[:, None]
    mixing = inside.double() / inside.sum(dim=1, keepdim=True)
    return Mixture(mixing.to(updates.device), row_of.to(updates.device))
