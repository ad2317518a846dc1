"""Tests of the attack of Fang et al. on Krum."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch.testing import assert_close

from skymask.attacks import (
    fang_krum,
)
from skymask.defenses import krum
from tests.support.updates import among, updates_of


def krum_pick(rows, neighbours):
    scores = []
    for i, row in enumerate(rows):
        squares = sorted(((row - other) ** 2).sum() for j, other in enumerate(rows) if j != i)
        scores.append(sum(squares[:neighbours]))
    return scores


def krum_lambda(benign, f, threshold):
    n, d = len(benign) + f, benign.shape[1]
    s = np.sign(benign.sum(axis=0))
    sums = []
    for i, row in enumerate(benign):
        lengths = sorted(np.linalg.norm(row - b) for j, b in enumerate(benign) if j != i)
        sums.append(sum(lengths[: n - f - 2]))
    step = min(sums) / ((n - 2 * f - 1) * d**0.5)
    step += max(np.linalg.norm(row) for row in benign) / d**0.5
    while step >= threshold:
        scores = krum_pick(np.concatenate([np.tile(-step * s, (f, 1)), benign]), n - f - 2)
        if min(scores[:f]) < min(scores[f:]):
            return step
        step /= 2
    return step


@pytest.mark.parametrize("size", [(4, 1, 3), (6, 2, 5), (7, 2, 40), (10, 4, 1), (13, 5, 9)])
@pytest.mark.parametrize("spread", [0.1, 3.0])
@pytest.mark.parametrize("seed", range(3))
def test_fang_krum_equals_an_implementation_with_loops(size, spread, seed):
    n, f, d = size
    updates, malicious = updates_of(n, f, d, seed, spread)
    benign = updates[~malicious].numpy()
    for threshold in (1e-5, 0.5):
        expected = -krum_lambda(benign, f, threshold) * np.sign(benign.sum(axis=0))
        rows = fang_krum(updates, malicious, threshold=threshold)[malicious].numpy()
        assert_allclose(rows, np.tile(expected, (f, 1)), rtol=1e-9)


@pytest.mark.parametrize("dimension", [1, 4])
def test_fang_krum_by_hand(dimension):
    # two neighbours each: the bound is (2 + 3) / 1 + 11 = 16, a crafted score (2 + λ)², and the
    # least benign score, of 4, is 2² + 3² = 13: 16, 8, 4 and 2 are too far out, 1 is not
    updates, malicious = among(2.0, 4.0, 7.0, 11.0, attackers=2, dimension=dimension)
    rows = fang_krum(updates, malicious)[malicious]
    assert_close(rows, torch.full((2, dimension), -1.0, dtype=torch.float64))
    assert_close(fang_krum(-updates, malicious)[malicious], -rows)


def test_fang_krum_ends_below_its_threshold_where_krum_never_picks_an_attacker():
    # one neighbour: a crafted score is (1 + λ)², never below the 1² of the first two; the bound is
    # 1 / 1 + 4 = 5
    updates, malicious = among(1.0, 2.0, 4.0, attackers=1)
    assert fang_krum(updates, malicious, threshold=0.7)[malicious].item() == -0.625
    assert fang_krum(updates, malicious, threshold=0.6)[malicious].item() == -0.3125
    sent = -fang_krum(updates, malicious)[malicious].item()
    assert 0.5e-5 <= sent < 1e-5


@pytest.mark.parametrize("seed", range(5))
def test_krum_picks_an_attacker_of_fang_krum_and_none_twice_as_far(seed):
    updates, malicious = updates_of(12, 4, 30, seed, spread=2.0)
    attacked = fang_krum(updates, malicious)
    assert krum(attacked, 4).accepted[malicious].any()
    farther = torch.where(malicious[:, None], 2 * attacked, attacked)
    assert not krum(farther, 4).accepted[malicious].any()
