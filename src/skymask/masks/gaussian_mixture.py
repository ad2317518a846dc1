"""Deterministic fits of two Gaussians in the plane."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

# scikit-learn is half of a job's start-up time, so it is loaded where it is used
if TYPE_CHECKING:
    from sklearn.mixture import GaussianMixture

Points = npt.NDArray[np.float64]


def two_gaussians(points: Points, *, own_covariance: bool = False) -> GaussianMixture:
    """Fit two Gaussians from several starts and return the fit with the best BIC.

    Each start takes one cluster of a Ward tree, cut into 2, 3 and 4, against the rest. So a small
    dense group next to an outlier is detected, and the order of the rows does not matter.

    A Gaussian with its own covariance fits one or two rows without bound, since two points lie on a
    line, and is meaningless. So a fit in which one has fewer than three rows is repeated with a
    shared covariance.

    Args:
        points: Points [m, 2], m ≥ 3.
        own_covariance: Whether both always have their own covariance.

    Returns:
        The fitted scikit-learn model.
    """
    fits = []
    for group in _starts(points):
        fit = _fit(points, group, "full")
        labels = fit.predict(points)
        if not own_covariance and 1 <= min(labels.sum(), len(points) - labels.sum()) <= 2:
            fit = _fit(points, labels == 1, "tied")
        fits.append(fit)
    return min(fits, key=lambda fit: fit.bic(points))


def bic_gain(points: Points, two: GaussianMixture) -> float:
    """Return by how much two Gaussians describe points better than one, as BIC per row.

    Args:
        points: Points [m, 2].
        two: The fit of two Gaussians.

    Returns:
        BIC of one Gaussian less that of ``two``, divided by m.
    """
    from sklearn.mixture import GaussianMixture

    one = GaussianMixture(1).fit(points)
    return float(one.bic(points) - two.bic(points)) / len(points)


def _starts(points: Points) -> list[npt.NDArray[np.bool_]]:
    from sklearn.cluster import AgglomerativeClustering

    starts: dict[tuple[bool, ...], npt.NDArray[np.bool_]] = {}
    for count in range(2, min(4, len(points) - 1) + 1):
        labels = AgglomerativeClustering(count).fit_predict(points)
        for label in range(count):
            group = labels == label
            starts.setdefault(tuple(group == group[0]), group)
    return list(starts.values())


def _fit(points: Points, group: npt.NDArray[np.bool_], covariance: str) -> GaussianMixture:
    """Fit two Gaussians, starting with ``group`` against the rest."""
    from sklearn.mixture import GaussianMixture

    parts = [points[group], points[~group]]
    shares = np.array([len(part) / len(points) for part in parts])
    covariances = np.stack([_covariance(part) for part in parts])
    if covariance == "tied":
        covariances = np.tensordot(shares, covariances, axes=1)
    return GaussianMixture(
        2,
        covariance_type=covariance,
        weights_init=shares,
        means_init=[part.mean(axis=0) for part in parts],
        precisions_init=np.linalg.inv(covariances),
    ).fit(points)


def _covariance(points: Points) -> Points:
    offsets = points - points.mean(axis=0)
    # the floor that scikit-learn adds to every covariance
    covariance: Points = offsets.T @ offsets / len(points) + 1e-6 * np.eye(2)
    return covariance
