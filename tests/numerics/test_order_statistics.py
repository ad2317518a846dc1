"""Means of the middle of a column against sorting, and the network that finds them."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from skymask.numerics import kernels, order_statistics
from skymask.numerics.order_statistics import middle_mean, network
from tests.support.threads import with_threads


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 7, 8, 11])
def test_a_network_sorts_all_zeros_and_ones(count):
    # which is to sort everything, by the zero-one principle
    rows = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
    for i, j in network(count):
        assert i < j
        rows[:, [i, j]] = np.sort(rows[:, [i, j]], axis=1)
    assert (np.diff(rows, axis=1) >= 0).all()


@pytest.mark.parametrize(("count", "dropped"), [(7, 2), (8, 3), (9, 4), (10, 1)])
def test_comparisons_left_out_do_not_change_the_middle(count, dropped):
    rows = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
    expected = np.sort(rows, axis=1)
    assert len(network(count, dropped)) <= len(network(count))
    for i, j in network(count, dropped):
        rows[:, [i, j]] = np.sort(rows[:, [i, j]], axis=1)
    middle = slice(dropped, count - dropped)
    assert (rows[:, middle] == expected[:, middle]).all()


WIDTHS = [1, kernels.TILE - 1, kernels.TILE, 33 * kernels.TILE + 5]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("count", "dropped"), [(1, 0), (2, 0), (5, 2), (100, 20), (100, 49)])
def test_middle_means_are_those_of_sorted_columns(count, dropped, width, monkeypatch):
    rows = torch.randn(count, width, generator=torch.Generator().manual_seed(0))
    before = rows.clone()
    found = middle_mean(rows, dropped)
    ordered = rows.double().sort(dim=0).values[dropped : count - dropped]
    assert_close(found, ordered.mean(dim=0).float(), rtol=1e-6, atol=1e-7)
    assert rows.equal(before)
    monkeypatch.setattr(order_statistics, "installed", lambda _: False)
    assert_close(middle_mean(rows, dropped), found, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("count", "dropped"), [(4, -1), (4, 2), (5, 3), (1, 1)])
def test_a_middle_without_values_is_refused(count, dropped):
    with pytest.raises(ValueError, match=rf"dropped must lie in \[0, n / 2\), not {dropped}"):
        middle_mean(torch.ones(count, 3), dropped)


def test_bits_do_not_depend_on_the_number_of_threads():
    rows = torch.randn(9, 70 * kernels.TILE, generator=torch.Generator().manual_seed(0))
    found = with_threads(lambda: middle_mean(rows, 2))
    assert found[1].equal(found[0])
    assert found[2].equal(found[0])
