"""Tests of DnC against a singular value decomposition."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from skymask.defenses import (
    dnc,
)
from tests.support.updates import column, indices, normal, seeded


def dropped_by_svd(updates, count, coordinates):
    centred = updates[:, coordinates] - updates[:, coordinates].mean(axis=0)
    top = np.linalg.svd(centred, full_matrices=False)[2][0]
    return set(np.argsort((centred @ top) ** 2)[len(updates) - count :])


@pytest.mark.parametrize(
    ("n", "f", "removed"), [(7, 1, 1.0), (10, 3, 1.0), (11, 2, 1.5), (9, 0, 1)]
)
@pytest.mark.parametrize("subsample", [4, 15, 1000])
@pytest.mark.parametrize("seed", range(3))
def test_dnc_is_that_of_a_singular_value_decomposition(n, f, removed, subsample, seed):
    updates, draws = normal(n, 20, seed=seed), seeded(seed)
    dropped = [
        dropped_by_svd(
            updates.numpy(), round(removed * f), torch.randperm(20, generator=draws)[:subsample]
        )
        for _ in range(3)
    ]
    options = {"iterations": 3, "subsample": subsample, "removed": removed}
    outcome = dnc(updates, f, seeded(seed), **options)
    kept = sorted(set(range(n)) - set().union(*dropped))
    assert indices(outcome.accepted) == kept
    assert outcome.scores.tolist() == [sum(i in one for one in dropped) for i in range(n)]
    expected = updates[kept].mean(dim=0) if kept else torch.zeros(20, dtype=torch.float64)
    assert_close(outcome.update, expected)


def test_dnc_by_hand():
    # centred at 2: squares 4, 1, 0, 36, 9; the direction of the second coordinate is the minor one
    updates = torch.cat([column(0, 1, 2, 8, -1), 0.01 * column(0, 1, 0, 0, 1)], dim=1)
    assert dnc(updates, 1, seeded()).accepted.tolist() == [1, 1, 1, 0, 1]
    assert dnc(updates, 2, seeded()).accepted.tolist() == [1, 1, 1, 0, 0]
    assert dnc(updates, 1, seeded(), removed=2.0).accepted.tolist() == [1, 1, 1, 0, 0]
    assert dnc(updates, 3, seeded()).accepted.tolist() == [0, 1, 1, 0, 0]


def test_dnc_keeps_equal_updates_and_is_zero_if_all_clients_were_dropped_once():
    assert dnc(torch.ones(5, 3), 2, seeded()).accepted.all()
    # on one random coordinate each time, everybody stands out once
    updates = torch.eye(4, dtype=torch.float64)
    outcome = dnc(updates, 1, seeded(), iterations=40, subsample=1)
    assert not outcome.accepted.any()
    assert outcome.update.eq(0).all()
