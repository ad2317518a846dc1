"""Tests of the mimic attack against an implementation with loops."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skymask.attacks import (
    mimic,
)
from tests.support.updates import (
    updates_of,
)


def copied(updates, malicious, state, **parameters):
    """The client that mimic copies, and its state."""
    result, state = mimic(updates, malicious, state, **parameters)
    rows = result[malicious]
    assert (rows == rows[0]).all()
    same = torch.nonzero((updates == rows[0]).all(dim=1) & ~malicious).flatten()
    assert len(same) == 1
    return int(same), state


@pytest.mark.parametrize("size", [(9, 2, 30), (10, 4, 3), (6, 3, 200)])
@pytest.mark.parametrize("seed", range(4))
def test_mimic_learns_as_an_implementation_with_loops(size, seed):
    n, f, d = size
    rounds = [updates_of(n, f, d, 100 * seed + t)[0] for t in range(6)]
    malicious = updates_of(n, f, d, seed)[1]
    state, z, mu, found, expected = {}, None, None, [], []
    for t, updates in enumerate(rounds):
        target, state = copied(updates, malicious, state, warm_up=6)
        found.append(target)
        honest = {i: updates[i].numpy() for i in range(n) if not malicious[i]}
        mean = sum(honest.values()) / len(honest)
        mu = mean if mu is None else (t * mu + mean) / (t + 1)
        if z is None:
            z = np.linalg.svd(np.stack([row - mean for row in honest.values()]))[2][0]
            farthest = max(honest, key=lambda i: abs((honest[i] - mean) @ z))
            z = z * np.sign((honest[farthest] - mean) @ z)
        else:
            u = sum(((row - mu) @ z) * (row - mu) for row in honest.values())
            z = t * z + u / np.linalg.norm(u)
            z /= np.linalg.norm(z)
        expected.append(max(honest, key=lambda i: honest[i] @ z))
        if t < 5:
            assert_allclose(state["direction"].numpy(), z, atol=1e-9)
            assert_allclose(state["mean"].numpy(), mu, atol=1e-12)
            assert state["rounds"].tolist() == [t + 1]
    assert found == expected
    assert len(set(found)) > 1
    assert set(state) == {"target"}


def test_mimic_stays_with_its_target_after_the_warm_up():
    updates, malicious = updates_of(8, 3, 10, seed=0)
    first, state = copied(updates, malicious, {}, warm_up=1)
    assert state["target"].tolist() == [first]
    others = set()
    for seed in range(1, 8):
        updates = updates_of(8, 3, 10, seed)[0]
        target, state = copied(updates, malicious, state, warm_up=1)
        assert target == first
        others.add(copied(updates, malicious, {}, warm_up=1)[0])
    assert len(others) > 1


def test_mimic_ignores_updates_that_are_not_finite():
    updates, malicious = updates_of(7, 2, 10, seed=0)
    target, _ = copied(updates, malicious, {})
    updates[target, 3] = math.nan
    second, state = copied(updates, malicious, {})
    assert second != target
    broken = torch.full_like(updates, math.nan)
    result, after = mimic(broken, malicious, state)
    assert result.isnan().all()
    assert after is state
    assert mimic(broken, malicious, {})[1] == {}


def test_mimic_learns_for_ten_rounds_by_default_and_nothing_from_equal_updates():
    updates, malicious = torch.ones(6, 4), torch.arange(6) < 2
    state = {}
    for rounds in range(1, 10):
        result, state = mimic(updates, malicious, state)
        assert result.equal(updates)
        assert state["rounds"].tolist() == [rounds]
        assert state["direction"].tolist() == [0.0] * 4
    assert mimic(updates, malicious, state)[1]["target"].tolist() == [2]
