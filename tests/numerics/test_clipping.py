"""Tests of vectors shortened to a limit."""

import torch
from torch.testing import assert_close

from skymask.numerics.clipping import clipping, shortened


def test_the_longest_vectors_are_shortened_to_the_limit_to_the_last_digits():
    rows = torch.full((3, 5), 1e38)
    rows[1] *= -3
    rows[2] = 1e-7
    # as float32 these factors have few digits
    limit = torch.tensor(1e-5, dtype=torch.float64)
    factors = clipping(rows.double().norm(dim=1), limit)
    assert factors[2] == 1
    result = shortened(rows, factors)
    assert_close(result[:2].double().norm(dim=1), limit.expand(2), rtol=1e-6, atol=0)
    assert result[2].equal(rows[2])


def test_rows_that_are_short_enough_are_not_copied():
    rows = torch.ones(2, 3)
    assert shortened(rows, torch.ones(2)) is rows
