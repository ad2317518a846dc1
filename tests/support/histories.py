"""Rounds of updates for defenses that keep a state."""

import torch

from tests.support.updates import normal

# who is there in each round: client 2 misses two, client 8 comes late, 5 goes for good
PRESENT = [
    [0, 1, 2, 3, 4, 5, 6],
    [0, 1, 2, 3, 4, 5, 6],
    [0, 1, 2, 3, 4, 5, 6],
    [0, 1, 3, 4, 5, 6],
    [8, 6, 4, 3, 2, 1, 0, 5],
    [0, 1, 2, 3, 4, 6, 8],
    [0, 1, 3, 4, 6, 8],
    [1, 0, 2, 3, 4, 6, 8],
    [0, 1, 2, 3, 4, 6, 8],
]


def history(seed, d=10, dtype=torch.float64):
    """Updates of each round: gradients of a quadratic with noise; clients 1 and 4 are erratic."""
    root = normal(d, d, seed=seed)
    hessian = root @ root.T / d + torch.eye(d)

    def updates(round_, model, clients):
        noise = normal(9, d, seed=1000 * seed + round_)
        scale = torch.full((9,), 0.02)
        scale[[1, 4]] = 1.0
        rows = -0.2 * hessian @ model + scale[:, None] * noise
        return rows[clients].to(dtype)

    return normal(d, seed=seed + 7).to(dtype), updates
