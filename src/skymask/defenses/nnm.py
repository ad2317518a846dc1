"""Nearest-neighbour mixing (NNM)."""

import torch
from torch import Tensor

from skymask.contracts import judges, requires
from skymask.defenses.aggregation import Mixture
from skymask.numerics.distances import squared_distances


@requires(lambda n, f: n > f, "nnm needs n > f clients")
@judges
def nnm(updates: Tensor, assumed_malicious: int) -> Mixture:
    """Replace each update by the mean of its n − f nearest updates, itself included.

    Args:
        updates: Finite updates [n, d], one row per client.
        assumed_malicious: Assumed number f of malicious clients.

    Returns:
        A mixture of n rows, row i for client i. Which of several equally near updates counts is
        left to rounding.

    Raises:
        RequirementError: If n ≤ f.

    Source: Allouah et al., "Fixing by Mixing: A Recipe for Optimal Byzantine ML under
    Heterogeneity", AISTATS 2023.

    >>> nnm(torch.tensor([[0.0], [1.0], [5.0]]), 1).mixing.tolist()
    [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]
    """
    kept = len(updates) - assumed_malicious
    # below every distance, so that a client is its own neighbour before its copies are
    distances = squared_distances(updates).fill_diagonal_(-1)
    nearest = distances.argsort(dim=1, stable=True)[:, :kept]
    mixing = torch.zeros_like(distances).scatter_(1, nearest, 1 / kept)
    return Mixture(mixing, torch.arange(len(updates), device=updates.device))
