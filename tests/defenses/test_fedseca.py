"""FedSECA."""

import pytest
import torch
from torch.testing import assert_close

from skymask.defenses import fedseca
from skymask.numerics.order_statistics import midpoint_median

ROWS = torch.tensor([[1.0, -1, 2, 0], [1, 1, -2, 0], [1, -1, 2, 0], [-5, -1, 2, 3]])


def rows(n=9, d=50, seed=0):
    return 0.2 + torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_by_hand():
    result = fedseca(ROWS, sparsity=0.0)
    assert result.scores.tolist() == [0.5, 0.0, 0.5, 0.5]
    assert result.update.tolist() == pytest.approx([1.0, -0.79741, 1.59482, 0.0], abs=1e-5)
    assert (result.accepted, result.weights) == (None, None)


@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9])
def test_the_order_of_the_clients_does_not_matter(sparsity):
    order = torch.randperm(9, generator=torch.Generator().manual_seed(4))
    one, other = (fedseca(r, sparsity=sparsity) for r in (rows(), rows()[order]))
    assert_close(one.update, other.update)
    assert one.scores[order].equal(other.scores)


@pytest.mark.parametrize("n", [4, 9])
def test_signs_are_the_elected_ones_and_values_no_larger_than_the_median(n):
    updates = rows(n)
    result = fedseca(updates, sparsity=0.0)
    elected = (result.scores[:, None] * updates.sign()).sum(dim=0).sign()
    assert torch.isin(result.update.sign() * elected, torch.tensor([0.0, 1.0])).all()
    lengths = updates.norm(dim=1).double()
    clipped = updates * (midpoint_median(lengths) / lengths).clamp(max=1)[:, None]
    assert (result.update.abs() <= midpoint_median(clipped.abs()) * (1 + 1e-6)).all()


def test_entries_that_are_small_in_the_raw_update_do_not_count():
    updates = torch.tensor([[9.0, 0.1], [9.0, 0.1], [9.0, 0.1]])
    assert fedseca(updates, sparsity=0.5).update.tolist() == pytest.approx([9.0, 0.0])
    # ⌈0.5 · 3⌉ = 2 are kept
    assert (fedseca(torch.ones(3, 3), sparsity=0.5).update != 0).sum() == 2


def test_entries_that_are_set_to_zero_are_not_part_of_the_mean():
    updates = torch.tensor([[9.0, 0.1], [0.1, 9.0], [9.0, 0.1]])
    assert fedseca(updates, sparsity=0.5).update[0].item() == pytest.approx(9.0)


def test_opposed_clients_have_no_vote():
    updates = rows(10) + 1
    updates[:3] = -20 * updates[3:].mean(dim=0)
    result = fedseca(updates, sparsity=0.0)
    assert result.scores[:3].max() == 0
    assert result.scores[3:].min() > 0


@pytest.mark.parametrize("n", [7, 10, 23])
def test_a_vote_that_is_tied_elects_no_sign(n):
    source = torch.Generator().manual_seed(n)
    updates = torch.randint(-1, 2, (n, 12), generator=source).double()
    tied = 0
    for _ in range(100):
        updates = updates[:, torch.randperm(12, generator=source)]
        updates[:, 0] = torch.randint(-1, 2, (n,), generator=source).double()
        result = fedseca(updates, sparsity=0.0)
        votes = ((n * result.scores).round()[:, None] * updates.sign()).sum(dim=0)
        tied += int((votes == 0).sum())
        assert result.update[votes == 0].eq(0).all()
    assert tied > 10


def test_one_client_and_zeros():
    one = torch.tensor([[1.0, -2.0, 0.0]])
    assert fedseca(one, sparsity=0.0).update.tolist() == [1.0, -2.0, 0.0]
    assert fedseca(torch.zeros(4, 3)).update.tolist() == [0.0] * 3
