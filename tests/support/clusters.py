"""Clusters as sets of rows, and those of scikit-learn."""

import numpy as np
from sklearn.cluster import HDBSCAN


def partition(labels):
    """The clusters as sets of rows, without the noise."""
    labels = np.asarray(labels)
    return {frozenset(np.flatnonzero(labels == k).tolist()) for k in set(labels.tolist()) - {-1}}


def library(distances, smallest, single=False):
    return HDBSCAN(
        min_cluster_size=smallest,
        min_samples=1,
        metric="precomputed",
        allow_single_cluster=single,
        copy=True,
    ).fit_predict(np.asarray(distances))
