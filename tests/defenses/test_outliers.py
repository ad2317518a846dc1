"""Values near the median of all clients."""

import pytest
import torch

from skymask.defenses.outliers import near_median


@pytest.mark.parametrize("half", [1, 2, 3, 7, 10])
def test_two_groups_of_one_size_are_exactly_one_deviation_away(half):
    for low in range(30):
        for high in range(low + 1, 31):
            values = torch.tensor([low / 30] * half + [high / 30] * half, dtype=torch.float64)
            assert not near_median(values, 1.0).any()
            assert near_median(values, 1.001).all()


def test_values_that_are_equal_but_for_rounding_are_near():
    source = torch.Generator().manual_seed(0)
    rows = torch.randn(9, 28, generator=source)
    rows /= rows.norm(dim=1, keepdim=True)
    lengths = rows.double().norm(dim=1)
    assert lengths.unique().numel() > 1
    assert near_median(lengths, 1.0).all()
    # but a difference of one per cent is none of rounding
    lengths[3] *= 1.01
    assert near_median(lengths, 1.0).tolist() == [client != 3 for client in range(9)]


def test_one_value_is_near_itself():
    assert near_median(torch.tensor([0.3]), 1.0).all()
    assert near_median(torch.zeros(5), 1.0).all()
