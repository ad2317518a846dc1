"""Tests of FLTrust."""

import pytest
import torch
from torch.testing import assert_close

from skymask.defenses import fltrust
from tests.support.updates import benign


def test_fltrust_by_hand():
    server = torch.tensor([2.0, 0.0])
    updates = torch.tensor([[1.0, 0.0], [3.0, 4.0], [-1.0, 0.0], [0.0, 5.0]])
    outcome = fltrust(updates, server)
    # trust 1, 0.6, 0, 0; each row scaled to length 2
    expected = (1.0 * torch.tensor([2.0, 0.0]) + 0.6 * torch.tensor([1.2, 1.6])) / 1.6
    assert_close(outcome.update, expected)
    assert_close(outcome.scores, torch.tensor([1, 0.6, 0, 0], dtype=torch.float64))
    assert outcome.accepted.tolist() == [True, True, False, False]


def test_fltrust_does_not_depend_on_the_length_of_an_update():
    source = torch.Generator().manual_seed(0)
    updates, server = torch.randn(6, 9, generator=source), torch.randn(9, generator=source)
    stretched = updates * torch.tensor([1e-3, 1.0, 10.0, 1e4, 0.5, 2.0])[:, None]
    assert_close(fltrust(stretched, server).update, fltrust(updates, server).update)


def test_fltrust_gives_a_zero_update_no_trust():
    server = torch.tensor([1.0, 1.0])
    outcome = fltrust(torch.tensor([[0.0, 0.0], [3.0, 3.0]]), server)
    assert outcome.accepted.tolist() == [False, True]
    assert_close(outcome.update, server)


@pytest.mark.parametrize("server", [[1.0, 1.0], [0.0, 0.0]])
def test_fltrust_accepts_no_client_opposed_to_the_server_or_next_to_a_zero_server_update(server):
    outcome = fltrust(torch.tensor([[-1.0, -1.0], [-2.0, 0.0]]), torch.tensor(server))
    assert not outcome.accepted.any()
    assert outcome.update.eq(0).all()
    assert outcome.weights.eq(0).all()


def test_fltrust_handles_an_update_of_almost_no_length():
    updates, mean = benign(8, 100, seed=0)
    updates[3] = 1e-42 * mean
    outcome = fltrust(updates, mean)
    assert outcome.update.isfinite().all()
    assert outcome.update.norm() <= 1.01 * mean.norm()
