"""HDBSCAN on a distance matrix, independent of ties and row order.

With ``min_samples`` 1 the mutual reachability distance of HDBSCAN is the distance itself, and its
tree is that of single linkage. The distances of clustering rules have many ties (identical updates;
shares of a few clusterings), and a binary tree breaks them by the order of the rows. Here a node
has as many branches as its ties need.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Vector = npt.NDArray[np.float64]

# smaller distances count as this, so that densities stay finite
TOUCHING = 1e-12


@dataclass(frozen=True)
class _Cluster:
    """A node of the condensed tree: a run of rows in the order of :func:`_chain`.

    ``first`` is the run at the birth of the cluster, ``last`` when it breaks up; ``stability`` is
    Σ (1/d at which a row leaves − 1/d of the birth).
    """

    first: tuple[int, int]
    last: tuple[int, int]
    stability: float
    children: list[_Cluster]


def density_clusters(distances: Tensor, smallest: int, *, allow_single: bool = False) -> Tensor:
    """Cluster by HDBSCAN with ``min_samples`` 1 and the excess of mass.

    Args:
        distances: Symmetric matrix of distances [n, n].
        smallest: Least number of rows in a cluster (``min_cluster_size``).
        allow_single: Whether all rows together count as a cluster. If so, as in other libraries,
            the rows that remain when that cluster breaks up get its label.

    Returns:
        The labels [n], int64, from 0 in no particular order; −1 is noise.

    Source: Campello et al., "Density-Based Clustering Based on Hierarchical Density Estimates",
    PAKDD 2013.

    >>> line = torch.tensor([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0], [50.0]])
    >>> density_clusters((line - line.T).abs(), 3).tolist()
    [0, 0, 0, 1, 1, 1, -1]
    """
    order, links = _chain(distances.detach().double().cpu().numpy())
    root = _condense(links, (0, len(order)), 0.0, smallest)
    if allow_single:
        runs = _best(_Cluster(root.last, root.last, root.stability, root.children))[1]
    else:
        runs = [run for child in root.children for run in _best(child)[1]]
    labels = np.full(len(order), -1)
    for label, (start, end) in enumerate(runs):
        labels[order[start:end]] = label
    return torch.from_numpy(labels).to(distances.device)


def _chain(distances: Vector) -> tuple[npt.NDArray[np.int64], Vector]:
    """Return Prim's order of the rows, and the length of the link to each from those before it.

    The clusters of single linkage at height h are the runs of this order between links ≥ h.
    """
    n = len(distances)
    order, links = np.zeros(n, dtype=np.int64), np.zeros(n)
    nearest = distances[0].copy()
    waiting = np.ones(n, dtype=bool)
    waiting[0] = False
    for k in range(1, n):
        order[k] = row = np.where(waiting, nearest, np.inf).argmin() if k < n - 1 else -1
        if row < 0 or not waiting[row]:  # the last row, or only infinite distances are left
            order[k] = row = int(waiting.argmax())
        links[k] = nearest[row]
        waiting[row] = False
        nearest = np.minimum(nearest, distances[row])
    return order, links


def _condense(links: Vector, first: tuple[int, int], birth: float, smallest: int) -> _Cluster:
    """Cut a run at its longest links, again and again, until it breaks up."""
    (start, end), stability = first, 0.0
    while end - start > 1:
        inner = links[start + 1 : end]
        density = 1 / max(float(inner.max()), TOUCHING)
        bounds = [start, *(start + 1 + np.flatnonzero(inner == inner.max())).tolist(), end]
        parts = list(pairwise(bounds))
        large = [part for part in parts if part[1] - part[0] >= smallest]
        if len(large) == 1:
            stays = large[0]
            stability += (end - start - (stays[1] - stays[0])) * (density - birth)
            start, end = stays
            continue
        stability += (end - start) * (density - birth)
        children = [_condense(links, part, density, smallest) for part in large]
        return _Cluster(first, (start, end), stability, children)
    return _Cluster(first, (start, end), stability, [])


def _best(cluster: _Cluster) -> tuple[float, list[tuple[int, int]]]:
    """Return stability and runs of the most stable choice of ``cluster`` or clusters below it."""
    below = [_best(child) for child in cluster.children]
    total = sum(stability for stability, _ in below)
    if total > cluster.stability:
        return total, [run for _, runs in below for run in runs]
    return cluster.stability, [cluster.first]
