"""Work on blocks of columns against the same on the whole matrix."""

import pytest
import torch
from torch.testing import assert_close

from skymask.numerics import column_blocks

WIDTHS = [1, 10, column_blocks.COLUMNS["cpu"], 3 * column_blocks.COLUMNS["cpu"] + 7]


def matrix(count, width, dtype=torch.float32):
    return torch.randn(count, width, generator=torch.Generator().manual_seed(0)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("width", WIDTHS)
def test_lengths_are_those_of_the_whole_rows(width, dtype):
    rows = matrix(5, width, dtype)
    before, origin = rows.clone(), rows[2] + 1
    exact = rows.double()
    assert_close(column_blocks.squared_lengths(rows), exact.square().sum(dim=1), rtol=1e-12, atol=0)
    expected = (exact - origin.double()).square().sum(dim=1)
    assert_close(column_blocks.squared_lengths(rows, origin), expected, rtol=1e-12, atol=0)
    assert rows.equal(before)


def test_lengths_beyond_float32_are_right():
    rows = torch.tensor([[1e38, 1e38], [1e-38, 0.0]])
    expected = rows.double().square().sum(dim=1)
    assert_close(column_blocks.squared_lengths(rows), expected, rtol=1e-12, atol=0)


def test_lengths_without_the_compiler(monkeypatch):
    rows = matrix(5, 9000)
    found = column_blocks.squared_lengths(rows)
    monkeypatch.setattr(column_blocks, "installed", lambda _: False)
    assert_close(column_blocks.squared_lengths(rows), found, rtol=1e-12, atol=0)


@pytest.mark.parametrize("chosen", [[0], [1, 4], [0, 1, 2, 4], [0, 1, 2, 3, 4]])
def test_means_are_of_the_chosen_rows(chosen):
    rows = matrix(5, 300)
    flags = torch.zeros(5, dtype=torch.bool)
    flags[chosen] = True
    assert_close(column_blocks.mean(rows, flags), rows[chosen].mean(dim=0))
    assert_close(column_blocks.mean(rows), rows.mean(dim=0))


def test_means_of_16_bit_rows_whose_sum_overflows_are_finite():
    rows = torch.full((5, 3), 6e4, dtype=torch.float16)
    flags = torch.tensor([True, True, True, True, False])
    assert column_blocks.mean(rows, flags).equal(rows[0])
    assert column_blocks.mean(rows).equal(rows[0])


@pytest.mark.parametrize("width", WIDTHS)
def test_totals_and_weighted_sums_go_over_all_blocks(width):
    rows = matrix(4, width)
    found = column_blocks.total(
        width, rows.device, lambda block: rows[:, block].double().sum(dim=1)
    )
    assert_close(found, rows.double().sum(dim=1))
    weights = matrix(3, 4)
    assert_close(column_blocks.weighted_sum(weights, rows), weights @ rows, rtol=1e-5, atol=1e-5)
    assert_close(
        column_blocks.weighted_sum(weights[0], rows), weights[0] @ rows, rtol=1e-5, atol=1e-5
    )
