"""Principal component analysis through the Gram matrix."""

import torch
from torch import Tensor

from skymask.numerics.distances import centred_gram


def principal_coordinates(rows: Tensor, components: int = 2) -> tuple[Tensor, Tensor]:
    """Compute the principal coordinates of ``rows`` through their n × n Gram matrix.

    Args:
        rows: Rows [n, d].
        components: Number of components.

    Returns:
        The coordinates [n, components] and each component's share of the total variance
        [components], float64. The sign of a component is chosen so that its entry of largest
        magnitude is positive. Components that do not exist (fewer rows, no variance) are zero.
    """
    return coordinates_of(centred_gram(rows), components)


def coordinates_of(gram: Tensor, components: int = 2) -> tuple[Tensor, Tensor]:
    """Compute :func:`principal_coordinates` of the vectors with a given Gram matrix.

    Args:
        gram: Gram matrix [n, n], float64. It is centred here, which an exact matrix survives
            without loss but for the last digits.
        components: Number of components.

    Returns:
        As :func:`principal_coordinates`.
    """
    means = gram.mean(dim=0)
    gram = gram - means[:, None] - means[None, :] + means.mean()
    values, vectors = torch.linalg.eigh(gram)
    values, vectors = values.flip(0).clamp_min(0), vectors.flip(1)
    total = values.sum()
    coordinates = torch.zeros(len(gram), components, dtype=torch.float64, device=gram.device)
    shares = torch.zeros(components, dtype=torch.float64, device=gram.device)
    for k in range(min(components, len(gram))):
        # the rest of an eigenvalue that is zero in exact arithmetic is noise, not a direction
        if values[k] <= 1e-12 * max(float(values[0]), 1e-300):
            break
        vector = vectors[:, k]
        sign = torch.sign(vector[vector.abs().argmax()])
        coordinates[:, k] = vector * sign * values[k].sqrt()
        shares[k] = values[k] / total
    return coordinates, shares
