"""FreqFed."""

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from skymask.contracts import judges
from skymask.defenses.aggregation import Aggregation, mean_of
from skymask.models.flat_parameters import Layout
from skymask.numerics.distances import cosine_distances
from skymask.numerics.hdbscan import density_clusters


@judges
def freqfed(
    updates: Tensor, layout: Layout, *, layers: Literal["all", "last"] = "all"
) -> Aggregation:
    r"""Keep the largest cluster of clients by the low frequencies of their updates.

    1. Each layer of Δ_i, as a matrix (first axis × the others), goes through the orthonormal
       two-dimensional DCT-II. Of R rows and C columns the entries u < R/2, v < C/2 with
       u + v ≤ (R + C)/4 are kept; of a vector the lower half. F_i joins them for all layers.
    2. HDBSCAN on 1 − cos(F_i, F_j), clusters of at least two clients, min samples 1. The largest
       cluster is accepted (the first of equal ones) and averaged; clients outside of all clusters
       are not.

    Args:
        updates: Finite updates [n, d], one row per client.
        layout: Split of the d coordinates into layers, such as ``Layout.of(module)``.
        layers: ``"all"``, or ``"last"`` for the last tensor with two or more axes.

    Returns:
        The aggregation. Without any cluster no client is accepted.

    Alike clients form clusters by chance: of 20 about a third are accepted. This is what the rule
    costs without an attack.

    The paper has no public code, and ports of it differ in the layers, the cut, the size of a
    cluster, and in whether clients outside of all clusters can win; this is one definition. The
    rule depends on the order of neurons: the same network in another order has another DCT.

    Source: Fereidooni et al., "FreqFed: A Frequency Analysis-Based Approach for Mitigating
    Poisoning Attacks in Federated Learning", NDSS 2024 (arXiv 2312.04432).
    """
    columns = layout.columns(updates)
    shapes = dict(zip(layout.names, layout.shapes, strict=True))
    names = list(shapes)
    if layers == "last":
        names = ([name for name in names if len(shapes[name]) > 1] or names)[-1:]
    spectra = np.concatenate(
        [low_frequencies(columns[name].double().cpu().numpy(), shapes[name]) for name in names],
        axis=1,
    )
    distances = cosine_distances(torch.from_numpy(spectra))
    labels = density_clusters(distances, 2).to(updates.device)
    accepted = torch.zeros(len(updates), dtype=torch.bool, device=updates.device)
    if bool((labels >= 0).any()):
        accepted = labels == labels[labels >= 0].bincount().argmax()
    return mean_of(updates, accepted)


def low_frequencies(
    rows: npt.NDArray[np.float64], shape: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    """Return the low frequencies of a layer of each client.

    Args:
        rows: Layer of each client [n, k], flattened row by row.
        shape: Shape of the layer, with k entries.

    Returns:
        Coefficients of the DCT [n, m].

    >>> low_frequencies(np.ones((1, 4)), (4,)).round(9).tolist()
    [[2.0, 0.0]]
    """
    # slow to load, so it is loaded where it is used
    from scipy.fft import dctn

    if len(shape) < 2:
        spectrum = dctn(rows, axes=(1,), norm="ortho")
        return np.ascontiguousarray(spectrum[:, : (rows.shape[1] + 1) // 2])
    height = shape[0]
    spectrum = dctn(rows.reshape(len(rows), height, -1), axes=(1, 2), norm="ortho")
    width = spectrum.shape[2]
    u, v = np.arange(height)[:, None], np.arange(width)
    low = (u < height / 2) & (v < width / 2) & (u + v <= (height + width) / 4)
    return np.ascontiguousarray(spectrum[:, low])
