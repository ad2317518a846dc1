"""Tests of HDBSCAN against scikit-learn."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from skymask.numerics.hdbscan import density_clusters
from tests.support.clusters import library, partition


@settings(max_examples=200)
@given(
    n=st.integers(2, 40),
    groups=st.integers(1, 4),
    seed=st.integers(0, 9999),
    smallest=st.integers(2, 8),
    single=st.booleans(),
)
def test_clusters_are_those_of_scikit_learn_where_there_are_no_ties(
    n, groups, seed, smallest, single
):
    source = np.random.default_rng(seed)
    points = source.normal(size=(n, 3)) + 6 * source.normal(size=(groups, 3))[np.arange(n) % groups]
    distances = cdist(points, points)
    found = density_clusters(torch.from_numpy(distances), smallest, allow_single=single)
    assert partition(found) == partition(library(distances, smallest, single))


def test_some_of_those_clusterings_have_nested_clusters_and_noise():
    # two tight pairs of groups: the four are more stable than the two
    centres = torch.tensor([0.0, 1.0, 20.0, 21.0])
    offsets = torch.tensor([0.0, 0.03, 0.07])
    line = torch.cat([(centres[:, None] + offsets).flatten(), torch.tensor([50.0])])
    distances = (line[:, None] - line).abs()
    expected = {frozenset({3 * k, 3 * k + 1, 3 * k + 2}) for k in range(4)}
    assert partition(density_clusters(distances, 3)) == expected
    assert partition(library(distances.double(), 3)) == expected
    # and with groups of at least four, the two
    expected = {frozenset(range(6)), frozenset(range(6, 12))}
    assert partition(density_clusters(distances, 4)) == expected


@given(seed=st.integers(0, 9999), n=st.integers(1, 16), single=st.booleans())
def test_ties_are_not_broken_by_the_order_of_the_rows(seed, n, single):
    source = torch.Generator().manual_seed(seed)
    points = torch.randint(0, 4, (n, 2), generator=source).double()
    distances = torch.cdist(points, points, p=1)
    order = torch.randperm(n, generator=source)
    plain = density_clusters(distances, 3, allow_single=single)
    other = density_clusters(distances[order][:, order], 3, allow_single=single)
    assert partition(other) == partition_of(partition(plain), order)


def partition_of(clusters, order):
    place = {int(row): k for k, row in enumerate(order)}
    return {frozenset(place[row] for row in cluster) for cluster in clusters}


@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_rows_all_at_one_distance_are_noise_unless_one_cluster_is_allowed(n):
    for distance in (0.0, 1.0):
        distances = distance * (1 - torch.eye(n))
        assert density_clusters(distances, 2).eq(-1).all()
        assert density_clusters(distances, 2, allow_single=True).eq(0).all()
