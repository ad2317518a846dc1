"""Selection of a share of the entries of a vector."""

import pytest
import torch

from skymask.numerics.selection import largest, rounded_down, rounded_up, smallest


@pytest.mark.parametrize("total", [1, 7, 10, 100, 999])
def test_shares_of_a_total_are_exact_integers(total):
    for count in range(total + 1):
        assert rounded_down(count / total, total) == rounded_up(count / total, total) == count
        assert rounded_down((count + 0.5) / total, total) == count
        assert rounded_up((count + 0.5) / total, total) == count + 1


@pytest.mark.parametrize("count", range(9))
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_the_first_of_equal_values_are_selected(count, dtype):
    values = torch.tensor([2, -1, 2, 0, 2, -1, 5, 0], dtype=dtype)
    expected = torch.zeros(8, dtype=torch.bool)
    expected[values.argsort(stable=True)[:count]] = True
    assert smallest(values, count).equal(expected)
    expected = torch.zeros(8, dtype=torch.bool)
    expected[values.abs().argsort(stable=True, descending=True)[:count]] = True
    assert largest(values, count).equal(expected)
