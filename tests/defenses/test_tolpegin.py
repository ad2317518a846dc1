"""Tests of the defense of Tolpegin et al. against scikit-learn."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from skymask.defenses import (
    tolpegin,
)
from tests.support.updates import column, normal, seeded


def two_groups(n, f, d, seed):
    updates = normal(n, d, seed=seed)
    updates[torch.randperm(n, generator=seeded(seed))[:f]] += 4
    return updates


@pytest.mark.parametrize(("n", "f"), [(7, 2), (10, 4), (11, 5), (20, 6)])
@pytest.mark.parametrize("seed", range(3))
def test_tolpegin_is_scikit_learns_scaler_pca_and_2_means(n, f, seed):
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    # coordinates of unlike scales, so that standardising them matters
    updates = two_groups(n, f, 12, seed) * 10.0 ** torch.arange(-6, 6)
    updates[:, 3] = 0.1
    points = PCA(2).fit_transform(StandardScaler().fit_transform(updates.numpy()))
    labels = KMeans(2, n_init=50, random_state=0).fit_predict(points)
    larger = torch.from_numpy(labels == np.bincount(labels).argmax())
    assert np.bincount(labels).max() * 2 > n
    outcome = tolpegin(updates)
    assert outcome.accepted.equal(larger)
    assert_close(outcome.update, updates[larger].mean(dim=0))


@pytest.mark.parametrize("n", [9, 15, 31])
def test_without_groups_tolpegin_ends_at_a_fixed_point_of_2_means(n):
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    for seed in range(20):
        updates = normal(n, 5, seed=seed)
        points = PCA(2).fit_transform(StandardScaler().fit_transform(updates.numpy()))
        kept = tolpegin(updates).accepted.numpy()
        assert 2 * kept.sum() > n
        centres = points[kept].mean(axis=0), points[~kept].mean(axis=0)
        near, far = (np.linalg.norm(points - centre, axis=1) for centre in centres)
        assert ((near <= far) == kept).all()


def test_tolpegin_weights_all_coordinates_equally():
    # only the small first coordinates tell the groups apart
    updates = torch.cat([1e-4 * two_groups(9, 3, 20, 1), 1e4 * normal(9, 1, seed=5)], dim=1)
    odd = two_groups(9, 3, 20, 1).mean(dim=1) > 2
    assert odd.sum() == 3
    assert tolpegin(updates).accepted.equal(~odd)


def test_tolpegin_ignores_rounding_noise_in_a_constant_coordinate():
    groups = column(1, 1.2, 1.1, 5, 5.2)
    constant = torch.full((5, 300), 0.1, dtype=torch.float64)
    assert tolpegin(torch.cat([groups, constant], dim=1)).accepted.tolist() == [1, 1, 1, 0, 0]
    assert tolpegin(constant).accepted.all()


@pytest.mark.parametrize("values", [(1, 9), (1, 2, 50, 51), (4,), (3, 3, 3)])
def test_tolpegin_keeps_all_clients_if_no_cluster_is_larger(values):
    outcome = tolpegin(column(*values))
    assert outcome.accepted.all()
    assert_close(outcome.update.item(), float(np.mean(values)))
