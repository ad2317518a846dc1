"""Tests of Krum, Multi-Krum and Bulyan against brute force and byzfl."""

import itertools
import statistics
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close

from skymask.defenses import (
    bulyan,
    krum,
    multi_krum,
)
from tests.support.updates import (
    EXACT,
    SIZES,
    benign,
    column,
    indices,
    matrices,
    normal,
)


def brute_force_krum(updates, f):
    scores = []
    for i, row in enumerate(updates):
        others = [np.sum((row - other) ** 2) for j, other in enumerate(updates) if j != i]
        scores.append(sum(sorted(others)[: len(updates) - f - 2]))
    return np.array(scores)


@given(
    updates=st.booleans().flatmap(lambda whole: matrices(st.integers(3, 11), whole)),
    data=st.data(),
)
def test_krum_scores_and_choice_are_those_of_brute_force(updates, data):
    f = data.draw(st.integers(0, len(updates) - 3))
    outcome = krum(torch.from_numpy(updates), f)
    expected = brute_force_krum(updates, f)
    slack = 1e-9 * (1 + np.abs(updates).max() ** 2)
    assert_close(outcome.scores, torch.from_numpy(expected), rtol=1e-9, atol=slack)
    assert outcome.accepted.sum() == 1
    chosen = int(outcome.accepted.nonzero())
    assert expected[chosen] <= expected.min() + slack
    assert_close(outcome.update, torch.from_numpy(updates[chosen]))


def test_krum_by_hand():
    # n − f − 2 = 2 nearest: 2 scores 1 + 4, 3 scores 1 + 1, 4 scores 1 + 4, the others more
    updates = torch.tensor([[4.0], [100.0], [2.0], [3.0], [-50.0]])
    outcome = krum(updates, 1)
    assert_close(outcome.scores[[0, 2, 3]], torch.tensor([5.0, 5.0, 2.0], dtype=torch.float64))
    assert outcome.accepted.tolist() == [False, False, False, True, False]
    assert outcome.update.tolist() == [3.0]


def test_krum_with_one_neighbour_does_not_depend_on_the_order():
    # 1 and 1.5 are each other's nearest; the next neighbour of 1 is nearer
    updates = torch.tensor([[0.0], [1.0], [1.5], [9.0]])
    for order in itertools.permutations(range(4)):
        assert krum(updates[list(order)], 1).update.tolist() == [1.0]


def best_by_krum(updates, left, f):
    """The client that Krum picks from ``left``, its score and all its distances."""
    ranked = []
    for i in left:
        others = sorted(float(np.sum((updates[i] - updates[j]) ** 2)) for j in left if j != i)
        ranked.append((sum(others[: max(len(left) - f - 2, 1)]), others, i))
    return min(ranked)


def picked_one_by_one(updates, f, picks):
    left = list(range(len(updates)))
    for _ in range(picks):
        left.remove(best_by_krum(updates, left, f)[2])
    return sorted(set(range(len(updates))) - set(left))


@pytest.mark.parametrize(("n", "f"), SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_multi_krum_is_the_mean_of_the_best_scores(n, f, seed):
    updates = normal(n, 4, seed=seed)
    left, ranks = range(n), []
    for i in left:
        others = sorted(float((updates[i] - updates[j]).square().sum()) for j in left if j != i)
        # one neighbour makes ties, which those behind it decide
        ranks.append((sum(others[: n - f - 2]), others))
    sums = [rank[0] for rank in ranks]
    for m in (None, 1, n - 1):
        outcome = multi_krum(updates, f, m=m)
        best = sorted(sorted(range(n), key=lambda i: ranks[i])[: n - f if m is None else m])
        assert indices(outcome.accepted) == best
        assert_close(outcome.update, updates[best].mean(dim=0))
        assert_close(outcome.scores, torch.tensor(sums, dtype=torch.float64), **EXACT)


@pytest.mark.parametrize(("n", "f"), [(7, 1), (9, 2), (10, 3), (12, 4), (4, 0)])
def test_one_pick_is_krum_and_byzfl_calls_it_krum_of_one_more(byzfl, n, f):
    updates = normal(n, 5, seed=n)
    outcome = multi_krum(updates, f, m=1)
    assert_close(outcome.scores, krum(updates, f).scores)
    assert outcome.accepted.equal(krum(updates, f).accepted)
    # byzfl takes one neighbour more; so its f + 1 has the neighbours of f here
    if 2 * (f + 1) < n:
        array = updates.numpy()
        assert_close(outcome.update.numpy(), byzfl.Krum(f + 1)(array), **EXACT)
        best = multi_krum(updates, f, m=n - f - 1)
        assert_close(best.update.numpy(), byzfl.MultiKrum(f + 1)(array), **EXACT)


@pytest.mark.parametrize(("n", "f"), [(3, 0), (4, 0), (8, 0), (5, 1), (9, 2), (12, 2), (13, 5)])
@pytest.mark.parametrize("seed", range(3))
def test_iterative_multi_krum_picks_and_rescores_until_2f_plus_2_remain(n, f, seed):
    updates = normal(n, 3, seed=seed)
    expected = picked_one_by_one(updates.numpy(), f, n - 2 * f - 2)
    outcome = multi_krum(updates, f, iterative=True)
    assert indices(outcome.accepted) == expected
    assert int((~outcome.accepted).sum()) == 2 * f + 2
    assert_close(outcome.update, updates[expected].mean(dim=0))


def test_multi_krum_by_hand():
    updates = column(0, 1, 2, 9, 3)
    # two neighbours: 1 + 4, 1 + 1, 1 + 1, 36 + 49, 1 + 4
    outcome = multi_krum(updates, 1)
    assert_close(outcome.scores, column(5, 2, 2, 85, 5).flatten())
    assert outcome.accepted.tolist() == [True, True, True, False, True]
    assert multi_krum(updates, 1, m=2).update.item() == 1.5
    # iterative picks one: of 1 and 2, equal, the next neighbour of 2 is as near, then 49 < 64
    single = multi_krum(updates, 1, iterative=True)
    assert indices(single.accepted) == [2]


def test_iterative_scores_are_those_of_the_clients_last_pass():
    # f = 0, n = 4: first two neighbours, 5, 2.5, 5.5, 149.5 or so; then one of those left
    updates = column(0, 1, 2.5, 11)
    outcome = multi_krum(updates, 0, iterative=True)
    # pass 1 picks the 1 (1 + 2.25); of 0, 2.5 and 11 the next, by one neighbour, is 2.5 (6.25)
    assert indices(outcome.accepted) == [1, 2]
    assert_close(outcome.scores, column(6.25, 3.25, 6.25, 72.25).flatten())


@pytest.mark.parametrize("options", [{}, {"m": 1}, {"m": 2}])
def test_the_order_of_two_pairs_of_nearest_clients_does_not_matter(options):
    # one neighbour counts: both of a pair have one score, and two pairs may have the same
    updates = column(0, 1, 10, 11)
    updates[3] += 0.25
    kept = set()
    for order in itertools.permutations(range(4)):
        outcome = multi_krum(updates[list(order)], 1, **options)
        kept.add(tuple(sorted(updates[list(order)][outcome.accepted].flatten().tolist())))
    assert len(kept) == 1


@pytest.mark.parametrize(("n", "f"), [(3, 0), (6, 0), (7, 1), (8, 1), (11, 2), (14, 2), (19, 4)])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_bulyan_is_that_of_brute_force(n, f, whole, seed):
    updates = normal(n, 4, seed=seed)
    if whole:
        # ties in the second step, but not in the first
        updates = torch.cat([(2 * updates[:, :3]).round(), 50 * updates[:, 3:]], dim=1)
    picked = picked_one_by_one(updates.numpy(), f, n - 2 * f)
    outcome = bulyan(updates, f)
    assert indices(outcome.accepted) == picked
    assert outcome.weights is None
    expected = []
    for values in updates[picked].T.tolist():
        middle = statistics.median(values)
        nearest = sorted(values, key=lambda v: (abs(v - middle), v))[: n - 4 * f]
        expected.append(statistics.fmean(nearest))
    assert_close(outcome.update, torch.tensor(expected, dtype=torch.float64))


def test_bulyan_by_hand():
    # picked 2 (1 + 1 + 4 + 4), 3, 1, 4, 6; never 0 or 99; nearest to their median 3: 2, 3, 4
    outcome = bulyan(column(0, 1, 2, 3, 4, 6, 99), 1)
    assert indices(outcome.accepted) == [1, 2, 3, 4, 5]
    assert outcome.update.item() == 3
    assert outcome.scores[2].item() == 10
    # θ = 6: the median of 1, 2, 3, 4, 5, 7 is 3.5, nearest 2, 3, 4, 5
    assert bulyan(column(1, 2, 3, 4, 5, 7, 99, -50), 1).update.item() == 3.5


def test_of_two_values_equally_near_the_median_bulyan_takes_the_lower():
    # f = 1, θ = 5, β = 3: of 0, 4, 5, 6, 10 all three; of 1, 1, 5, 9, 9 the 5 and the two 1
    other = column(0, 0.001, 0.002, 0.003, 0.004, 5000, -5000)
    values = column(9, 1, 5, 9, 1, 77, 77)
    outcome = bulyan(torch.cat([1e-6 * values, other], dim=1), 1)
    assert indices(outcome.accepted) == [0, 1, 2, 3, 4]
    assert_close(outcome.update[0].item(), 1e-6 * 7 / 3)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_the_clients_does_not_change_the_picks_of_bulyan(seed):
    # the last passes count one neighbour, and then the two nearest clients have one score
    updates = normal(7, 3, seed=seed)
    picked = bulyan(updates, 1).accepted
    for order in list(itertools.permutations(range(7)))[:: 97 + seed]:
        assert bulyan(updates[list(order)], 1).accepted.equal(picked[list(order)])


@pytest.mark.parametrize(("n", "f"), [(11, 2), (15, 3), (20, 4)])
def test_bulyan_outvotes_the_one_copy_it_picks(n, f):
    updates = 1 + 0.1 * normal(n, 50, seed=n)
    updates[:f] = -50
    outcome = bulyan(updates, f)
    assert outcome.accepted[:f].sum() == 1
    assert (outcome.update - 1).abs().max() < 0.2


def test_bulyan_cuts_long_updates_in_parts(monkeypatch):
    updates = normal(11, 10)
    whole = bulyan(updates, 2).update
    # the package's attribute of that name is the function
    monkeypatch.setattr(sys.modules["skymask.defenses.bulyan"], "COLUMNS", 3)
    assert_close(bulyan(updates, 2).update, whole, rtol=0, atol=0)


@pytest.mark.parametrize("seed", range(10))
def test_krum_picks_a_benign_client_despite_one_huge_update(seed):
    updates, mean = benign(10, 100, seed)
    updates[0], updates[1] = 1e12, -50 * mean
    assert not krum(updates, 2).accepted[:2].any()
