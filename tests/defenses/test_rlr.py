"""Robust learning rate."""

import pytest
import torch
from torch.testing import assert_close

from skymask.defenses import fedavg, rlr

ROWS = torch.tensor([[1.0, -1, 2, 0], [1, 1, -2, 0], [1, -1, 2, 0], [-5, -1, 2, 3]])


@pytest.mark.parametrize(
    ("threshold", "expected"),
    [(3, [0.5, 0.5, -1.0, -0.75]), (2, [-0.5, -0.5, 1.0, -0.75])],
)
def test_by_hand(threshold, expected):
    assert rlr(ROWS, 0, threshold=threshold).update.tolist() == expected


def test_the_threshold_is_one_more_than_the_attackers():
    for assumed in (1, 2, 3):
        expected = rlr(ROWS, 0, threshold=assumed + 1).update
        assert rlr(ROWS, assumed).update.equal(expected)


def test_without_a_threshold_it_is_fedavg_and_beyond_n_its_opposite():
    plain = fedavg(ROWS).update
    assert_close(rlr(ROWS, 0, threshold=0).update, plain)
    assert_close(rlr(ROWS, 0, threshold=5).update, -plain)


def test_opposite_updates_give_the_opposite_result():
    rows = torch.randn(9, 40, generator=torch.Generator().manual_seed(1))
    assert rlr(-rows, 3).update.equal(-rlr(rows, 3).update)


def test_attackers_alone_do_not_decide_a_coordinate():
    # three attackers agree where benign clients are split
    benign = torch.tensor([[1.0], [-1.0]]).repeat(4, 1)
    rows = torch.cat([benign, torch.full((3, 1), 10.0)])
    result = rlr(rows, 3)
    assert result.update.item() < 0
    assert result.accepted is None
    assert result.weights is None
