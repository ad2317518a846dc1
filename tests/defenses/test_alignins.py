"""AlignIns."""

import pytest
import torch
from torch.testing import assert_close

from skymask.defenses import alignins
from skymask.numerics.order_statistics import midpoint_median

ROWS = torch.tensor([[1.0, -1, 2, 0], [1, 1, -2, 0], [1, -1, 2, 0], [-5, -1, 2, 3]])


def rows(n=20, d=400, seed=0):
    source = torch.Generator().manual_seed(seed)
    return 0.3 + torch.randn(n, d, generator=source), torch.randn(d, generator=source)


def test_two_groups_of_equal_size_are_both_rejected_by_hand():
    result = alignins(ROWS, torch.ones(4), share=0.5)
    assert result.scores.tolist() == [1.0, 0.5, 1.0, 0.5]
    assert not result.accepted.any()
    assert result.update.tolist() == [0.0] * 4
    assert result.weights.tolist() == [0.0] * 4


def test_the_length_of_the_model_does_not_matter():
    updates, model = rows()
    one, other = alignins(updates, model), alignins(updates, 1000 * model)
    assert one.accepted.equal(other.accepted)
    assert one.update.equal(other.update)


def test_an_opposite_update_is_dropped():
    for seed in range(5):
        updates, model = rows(seed=seed)
        updates[3] = -updates.mean(dim=0)
        result = alignins(updates, model, sign_limit=2.0, cosine_limit=2.0)
        assert not result.accepted[3]
        assert result.accepted.float().mean() > 0.6


def test_the_accepted_are_clipped_to_their_median_length():
    updates, model = rows()
    updates[5] *= 4
    result = alignins(updates, model, sign_limit=9.0, cosine_limit=9.0)
    assert result.accepted.all()
    lengths = updates.norm(dim=1)
    limit = lengths.sort().values[9:11].mean()
    expected = (updates * (limit / lengths).clamp(max=1)[:, None]).mean(dim=0)
    assert_close(result.update, expected)


def test_the_median_length_is_of_the_accepted_only():
    updates, model = rows()
    updates += 1
    opposite = -50 * updates.mean(dim=0)
    updates[:6] = opposite
    result = alignins(updates, model)
    assert not result.accepted[:6].any()
    lengths = updates.norm(dim=1)
    limit = midpoint_median(lengths[result.accepted]).float()
    assert limit != midpoint_median(lengths).float()
    clipped = updates * (limit / lengths).clamp(max=1)[:, None]
    assert_close(result.update, clipped[result.accepted].mean(dim=0))


def test_alike_clients_are_accepted_at_about_45_percent():
    shares = [alignins(*rows(20, 2000, seed)).accepted.double().mean().item() for seed in range(25)]
    assert sum(shares) / len(shares) == pytest.approx(0.45, abs=0.06)


def test_equal_updates_are_all_accepted():
    updates, model = rows(1)
    assert alignins(updates.repeat(6, 1), model).accepted.all()
    assert alignins(updates, model).accepted.all()
    assert alignins(torch.zeros(5, 9), torch.zeros(9)).accepted.all()


def test_the_limit_of_lengths_is_the_median_of_the_accepted():
    updates, w = (values.double() for values in rows())
    # the accepted are short, so that the median of all is another one
    updates *= torch.where(alignins(updates, w).accepted, 1.0, 9.0)[:, None]
    result = alignins(updates, w)
    lengths = updates.norm(dim=1)
    limit = lengths[result.accepted].quantile(0.5)
    assert lengths.quantile(0.5) > 2 * limit
    clipped = updates * (limit / lengths).clamp(max=1)[:, None]
    assert_close(result.update, clipped[result.accepted].mean(dim=0))
