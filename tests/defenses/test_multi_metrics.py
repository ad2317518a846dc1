"""Multi-metrics."""

import pytest
import torch
from torch.testing import assert_close

from skymask.defenses import multi_metrics


def rows(n=10, d=60, seed=0):
    return 0.5 + torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_three_clients_by_hand():
    updates = torch.tensor([[3.0, 4.0], [4.0, 3.0], [0.0, 1.0]], dtype=torch.float64)
    cosines = {(0, 1): 24 / 25, (0, 2): 4 / 5, (1, 2): 3 / 5}
    absolute = {(0, 1): 2.0, (0, 2): 6.0, (1, 2): 6.0}
    lengths = {(0, 1): 0.0, (0, 2): 4.0, (1, 2): 4.0}

    def summed(pairs, change=lambda value: value):
        return [sum(change(v) for pair, v in pairs.items() if i in pair) for i in range(3)]

    features = [summed(cosines, lambda c: (1 - c) ** 2), summed(absolute), summed(lengths)]
    x = torch.tensor(features, dtype=torch.float64).T
    # three values of three columns: the covariance is singular
    scale = x.amax(dim=0)
    inverse = torch.linalg.pinv(torch.cov((x / scale).T), hermitian=True)
    expected = torch.einsum("ij,jk,ik->i", x / scale, inverse, x / scale)
    result = multi_metrics(updates, share=0.7)
    assert_close(result.scores, expected)
    assert result.accepted.sum() == 2


def test_scores_are_not_centred_and_do_not_depend_on_units():
    updates = rows()
    result = multi_metrics(updates)
    cosines = torch.nn.functional.cosine_similarity(updates[:, None], updates[None], dim=2)
    lengths = updates.norm(dim=1)
    x = torch.stack(
        [
            (1 - cosines).square().sum(dim=1),
            (updates[:, None] - updates[None]).abs().sum(dim=(1, 2)),
            (lengths[:, None] - lengths).abs().sum(dim=1),
        ],
        dim=1,
    ).double()
    inverse = torch.linalg.inv(torch.cov(x.T))
    expected = torch.einsum("ij,jk,ik->i", x, inverse, x)
    assert_close(result.scores, expected, rtol=1e-3, atol=1e-3)
    assert_close(multi_metrics(1000 * updates).scores, result.scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("share", "kept"), [(0.3, 3), (0.35, 3), (0.01, 1), (1.0, 10)])
def test_a_share_of_the_clients_is_accepted(share, kept):
    assert multi_metrics(rows(), share=share).accepted.sum() == kept


@pytest.mark.parametrize(("share", "n", "kept"), [(0.29, 100, 29), (0.57, 100, 57), (0.28, 25, 7)])
def test_a_share_whose_product_is_not_exact(share, n, kept):
    assert multi_metrics(rows(n, 5), share=share).accepted.sum() == kept


def test_one_opposed_client_is_rejected():
    for seed in range(10):
        updates = rows(seed=seed)
        updates[4] = -50 * updates.mean(dim=0)
        assert not multi_metrics(updates).accepted[4]


def test_the_order_of_the_clients_does_not_matter():
    order = torch.randperm(10, generator=torch.Generator().manual_seed(4))
    one, other = multi_metrics(rows()), multi_metrics(rows()[order])
    assert other.accepted.equal(one.accepted[order])


def test_identical_updates_and_one_client():
    assert multi_metrics(rows(1).repeat(6, 1)).accepted.sum() == 1
    assert multi_metrics(rows(1)).accepted.tolist() == [True]
