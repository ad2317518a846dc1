"""The stateless robust rules against byzfl, brute force and hand-computed cases."""

import itertools
import re
import statistics
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch.testing import assert_close

from skymask.contracts import RequirementError
from skymask.data.datasets import vision  # noqa: F401  declares what torchvision lacks beside byzfl
from skymask.defenses import (
    bucketing,
    bulyan,
    dnc,
    fedavg,
    geometric_median,
    krum,
    median,
    multi_krum,
    nnm,
    norm_clip,
    signguard,
    tolpegin,
    trimmed_mean,
)

EXACT = {"rtol": 1e-9, "atol": 1e-9}


@pytest.fixture(scope="module")
def byzfl():
    return pytest.importorskip("byzfl")


def matrices(rows, whole_numbers):
    """Random float64 matrices; whole numbers are full of ties."""
    shape = st.tuples(rows, st.integers(1, 5))
    if whole_numbers:
        elements = st.integers(-3, 3).map(float)
    else:
        elements = st.floats(-100, 100, allow_subnormal=False)
    return shape.flatmap(lambda s: hnp.arrays(np.float64, s, elements=elements))


either = st.booleans().flatmap(lambda whole: matrices(st.integers(1, 11), whole))


def draw(n, d, seed=0, dtype=torch.float64):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def column(*values):
    return torch.tensor(values, dtype=torch.float64)[:, None]


SIZES = [(3, 0), (7, 1), (8, 1), (9, 3), (10, 2), (11, 2), (12, 4)]


# mean, trimmed mean, median


@pytest.mark.parametrize(("n", "f"), SIZES)
def test_mean_trimmed_mean_and_median_are_those_of_byzfl(byzfl, n, f):
    updates = draw(n, 6, seed=n)
    array = updates.numpy()
    assert_close(fedavg(updates).update.numpy(), byzfl.Average()(array), **EXACT)
    assert_close(trimmed_mean(updates, f).update.numpy(), byzfl.TrMean(f)(array), **EXACT)
    assert_close(median(updates).update.numpy(), byzfl.Median()(array), **EXACT)


@given(updates=either)
def test_median_is_that_of_the_standard_library(updates):
    expected = [statistics.median(values) for values in updates.T.tolist()]
    outcome = median(torch.from_numpy(updates))
    assert_close(outcome.update, torch.tensor(expected, dtype=torch.float64))
    assert outcome.accepted is None
    assert outcome.weights is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [((7, 1, 3), 3), ((7, 1, 3, 4), 3.5), ((5,), 5), ((2, 2, 9, 9), 5.5), ((-1, 6), 2.5)],
)
def test_median_by_hand(values, expected):
    assert median(column(*values)).update.item() == expected


def test_the_midpoint_of_two_huge_values_is_finite():
    assert median(torch.full((2, 1), 3e38)).update.isfinite().all()


# Multi-Krum


def best_by_krum(updates, left, f):
    """The client that Krum picks from ``left``, the sum and all the distances it rests on."""
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


def indices(flags):
    return torch.nonzero(flags).flatten().tolist()


@pytest.mark.parametrize(("n", "f"), SIZES)
@pytest.mark.parametrize("seed", range(3))
def test_multi_krum_is_the_mean_of_the_best_scores(n, f, seed):
    updates = draw(n, 4, seed)
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
    updates = draw(n, 5, seed=n)
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
    updates = draw(n, 3, seed)
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


def test_iterative_scores_are_those_of_the_last_pass_that_saw_the_client():
    # f = 0, n = 4: first two neighbours, 5, 2.5, 5.5, 149.5 or so; then one of those left
    updates = column(0, 1, 2.5, 11)
    outcome = multi_krum(updates, 0, iterative=True)
    # pass 1 picks the 1 (1 + 2.25); of 0, 2.5 and 11 the next, by one neighbour, is 2.5 (6.25)
    assert indices(outcome.accepted) == [1, 2]
    assert_close(outcome.scores, column(6.25, 3.25, 6.25, 72.25).flatten())


@pytest.mark.parametrize("options", [{}, {"m": 1}, {"m": 2}])
def test_two_pairs_of_nearest_clients_are_told_apart_whatever_their_order(options):
    # one neighbour counts: both of a pair have one score, and two pairs may have the same
    updates = column(0, 1, 10, 11)
    updates[3] += 0.25
    kept = set()
    for order in itertools.permutations(range(4)):
        outcome = multi_krum(updates[list(order)], 1, **options)
        kept.add(tuple(sorted(updates[list(order)][outcome.accepted].flatten().tolist())))
    assert len(kept) == 1


# Bulyan


@pytest.mark.parametrize(("n", "f"), [(3, 0), (6, 0), (7, 1), (8, 1), (11, 2), (14, 2), (19, 4)])
@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_bulyan_is_that_of_brute_force(n, f, whole, seed):
    updates = draw(n, 4, seed)
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
def test_the_order_of_the_clients_does_not_move_the_picks_of_bulyan(seed):
    # the last passes count one neighbour, and then the two nearest clients have one score
    updates = draw(7, 3, seed)
    picked = bulyan(updates, 1).accepted
    for order in list(itertools.permutations(range(7)))[:: 97 + seed]:
        assert bulyan(updates[list(order)], 1).accepted.equal(picked[list(order)])


@pytest.mark.parametrize(("n", "f"), [(11, 2), (15, 3), (20, 4)])
def test_bulyan_outvotes_the_one_copy_it_picks(n, f):
    updates = 1 + 0.1 * draw(n, 50, seed=n)
    updates[:f] = -50
    outcome = bulyan(updates, f)
    assert outcome.accepted[:f].sum() == 1
    assert (outcome.update - 1).abs().max() < 0.2


def test_bulyan_cuts_long_updates_in_parts(monkeypatch):
    updates = draw(11, 10)
    whole = bulyan(updates, 2).update
    # the package's attribute of that name is the function
    monkeypatch.setattr(sys.modules["skymask.defenses.bulyan"], "COLUMNS", 3)
    assert_close(bulyan(updates, 2).update, whole, rtol=0, atol=0)


# the geometric median


def pull(updates, place):
    """The sum of the unit vectors from ``place`` to the updates elsewhere."""
    offsets = updates - place
    lengths = offsets.norm(dim=1, keepdim=True)
    away = lengths.flatten() > 1e-9
    return (offsets[away] / lengths[away]).sum(dim=0)


@pytest.mark.parametrize(("n", "d"), [(3, 2), (4, 3), (7, 1), (9, 5), (10, 40), (20, 3), (12, 1)])
@pytest.mark.parametrize("seed", range(3))
def test_geometric_median_is_that_of_byzfl(byzfl, n, d, seed):
    updates = draw(n, d, seed)
    outcome = geometric_median(updates, tolerance=1e-10)
    other = torch.from_numpy(byzfl.GeometricMedian(nu=1e-12, T=5000)(updates.numpy()))
    assert outcome.accepted is None

    def total(place):
        return (updates - place).norm(dim=1).sum()

    assert total(outcome.update) <= total(other) * (1 + 1e-9)
    if d > 1:  # on a line with an even number the minimum is an interval
        assert_close(outcome.update, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("n", "d"), [(3, 2), (8, 3), (15, 30), (50, 4), (2, 7)])
@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-11])
@pytest.mark.parametrize("seed", range(5))
def test_geometric_median_meets_the_first_order_condition(n, d, tolerance, seed):
    updates = draw(n, d, seed) ** 3
    outcome = geometric_median(updates, tolerance=tolerance)
    met = int(((updates - outcome.update).norm(dim=1) <= 1e-9).sum())
    limit = met + tolerance * n * 1.001 + 1e-8
    assert pull(updates, outcome.update).norm() <= limit
    assert_close(outcome.weights.sum().item(), 1.0)
    assert (outcome.weights >= 0).all()
    assert_close(outcome.weights @ updates, outcome.update)


def test_geometric_median_by_hand():
    # an equilateral triangle: its centre; an obtuse one (over 120°): that corner
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]], dtype=torch.float64)
    assert_close(geometric_median(corners).update, corners.mean(dim=0), rtol=1e-5, atol=1e-5)
    obtuse = torch.tensor([[-9.0, 1.0], [0.0, 0.0], [8.0, 1.0]])
    assert geometric_median(obtuse).update.tolist() == [0.0, 0.0]
    assert geometric_median(obtuse).weights.tolist() == [0.0, 1.0, 0.0]
    # a square: where the diagonals meet; the corner of a pair outweighs one other
    square = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
    assert_close(geometric_median(square).update, torch.ones(2), rtol=0, atol=1e-5)
    pair = torch.tensor([[5.0, 1.0], [5.0, 1.0], [0.0, 7.0]])
    assert geometric_median(pair).update.tolist() == [5.0, 1.0]
    assert geometric_median(pair).weights.tolist() == [0.5, 0.5, 0.0]


@pytest.mark.parametrize(
    ("values", "expected"), [((0, 4), 2), ((9, 0, 1, 5), 3), ((0, 1, 99), 1), ((3, 3, 8, 8), 5.5)]
)
def test_geometric_median_on_a_line_is_the_median(values, expected):
    assert_close(geometric_median(column(*values)).update.item(), float(expected))


def test_geometric_median_leaves_an_update_that_is_no_minimum():
    # the first is nearest to all, and the iteration starts at it
    updates = torch.tensor([[0.0, 0.1], [3, 0], [-3, 0.3], [0, 3], [0, -3], [0.2, 3]]).double()
    start = (updates[:, None] - updates[None]).norm(dim=2).sum(dim=1).argmin()
    outcome = geometric_median(updates, tolerance=1e-9)
    assert start == 0
    assert (outcome.update - updates[0]).norm() > 1e-3
    assert pull(updates, outcome.update).norm() <= 1e-8


def test_the_step_of_vardi_and_zhang_from_an_update_and_its_copy():
    # the pair at the start is nearest to all, and the four others pull with more than its force
    updates = torch.tensor([[0, 0], [0, 0], [10, 10], [10, -10], [9, 11], [9, -11]]).double()
    others = updates[2:]
    lengths = others.norm(dim=1, keepdim=True)
    unhindered = (others / lengths).sum(dim=0) / (1 / lengths).sum()
    force = (others / lengths).sum(dim=0).norm()
    assert force > 2
    expected = updates[0] + (1 - 2 / force) * unhindered
    assert_close(geometric_median(updates, max_steps=1).update, expected)


def test_one_huge_update_hardly_moves_the_geometric_median():
    updates = draw(9, 30, dtype=torch.float32)
    usual = geometric_median(updates[1:]).update
    updates[0] = 1e12
    outcome = geometric_median(updates)
    assert (outcome.update - usual).norm() < 2
    assert pull(updates.double(), outcome.update.double()).norm() < 1e-4


def test_geometric_median_stops_after_max_steps():
    updates = draw(9, 4)
    few, many = (geometric_median(updates, max_steps=k, tolerance=1e-12) for k in (1, 1000))
    assert pull(updates, few.update).norm() > 10 * pull(updates, many.update).norm()


# Tolpegin et al.


def two_groups(n, f, d, seed):
    updates = draw(n, d, seed)
    updates[torch.randperm(n, generator=seeded(seed))[:f]] += 4
    return updates


@pytest.mark.parametrize(("n", "f"), [(7, 2), (10, 4), (11, 5), (20, 6)])
@pytest.mark.parametrize("seed", range(3))
def test_tolpegin_is_scikit_learns_scaler_pca_and_2_means(n, f, seed):
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    # coordinates of unlike scales, so that standardising them matters
    updates = two_groups(n, f, 12, seed) * 10.0 ** torch.arange(-6, 6)
    updates[:, 3] = 0.1
    points = PCA(2).fit_transform(StandardScaler().fit_transform(updates.numpy()))
    labels = KMeans(2, n_init=50, random_state=0).fit_predict(points)
    larger = torch.from_numpy(labels == np.bincount(labels).argmax())
    assert np.bincount(labels).max() * 2 > n
    outcome = tolpegin(updates)
    assert outcome.accepted.equal(larger)
    assert_close(outcome.update, updates[larger].mean(dim=0))


@pytest.mark.parametrize("n", [9, 15, 31])
def test_without_groups_tolpegin_still_ends_where_2_means_has_no_better_place(n):
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    for seed in range(20):
        updates = draw(n, 5, seed)
        points = PCA(2).fit_transform(StandardScaler().fit_transform(updates.numpy()))
        kept = tolpegin(updates).accepted.numpy()
        assert 2 * kept.sum() > n
        centres = points[kept].mean(axis=0), points[~kept].mean(axis=0)
        near, far = (np.linalg.norm(points - centre, axis=1) for centre in centres)
        assert ((near <= far) == kept).all()


def test_tolpegin_rests_on_every_coordinate_alike():
    # only the small first coordinates tell the groups apart
    updates = torch.cat([1e-4 * two_groups(9, 3, 20, 1), 1e4 * draw(9, 1, 5)], dim=1)
    odd = two_groups(9, 3, 20, 1).mean(dim=1) > 2
    assert odd.sum() == 3
    assert tolpegin(updates).accepted.equal(~odd)


def test_rounding_noise_in_a_constant_coordinate_says_nothing():
    groups = column(1, 1.2, 1.1, 5, 5.2)
    constant = torch.full((5, 300), 0.1, dtype=torch.float64)
    assert tolpegin(torch.cat([groups, constant], dim=1)).accepted.tolist() == [1, 1, 1, 0, 0]
    assert tolpegin(constant).accepted.all()


@pytest.mark.parametrize("values", [(1, 9), (1, 2, 50, 51), (4,), (3, 3, 3)])
def test_tolpegin_keeps_everybody_where_no_cluster_is_the_larger(values):
    outcome = tolpegin(column(*values))
    assert outcome.accepted.all()
    assert_close(outcome.update.item(), float(np.mean(values)))


# DnC


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
    updates, draws = draw(n, 20, seed), seeded(seed)
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


def test_dnc_keeps_equal_updates_and_sends_nothing_when_all_were_dropped_once():
    assert dnc(torch.ones(5, 3), 2, seeded()).accepted.all()
    # on one random coordinate each time, everybody stands out once
    updates = torch.eye(4, dtype=torch.float64)
    outcome = dnc(updates, 1, seeded(), iterations=40, subsample=1)
    assert not outcome.accepted.any()
    assert outcome.update.eq(0).all()


# SignGuard


def test_signguard_by_hand():
    # lengths 2, 2, 4, 1, 10: M = 2; 10 is too long for 3 M
    base = torch.tensor([[1.0, 1.0, 1.0, -1.0]], dtype=torch.float64) / 2
    updates = torch.tensor([[2.0], [2.0], [4.0], [1.0], [10.0]], dtype=torch.float64) * base
    outcome = signguard(updates, seeded(), share=1.0)
    assert outcome.accepted.tolist() == [True, True, True, True, False]
    # the 4 is cut to 2, the 1 stays
    assert_close(outcome.update, (2 + 2 + 2 + 1) / 4 * base[0])
    assert_close(outcome.weights, torch.tensor([1, 1, 0.5, 1, 0]).double() / 4)


def test_the_bounds_of_signguard_are_shares_of_the_midpoint_median():
    # M = 2.5
    updates = column(0.24, 0.26, 2, 3, 7.4, 7.6) * torch.ones(1, 4) / 2
    kept = signguard(updates, seeded()).accepted.tolist()
    assert kept == [False, True, True, True, True, False]
    wide = signguard(updates, seeded(), lower=0.0, upper=10.0)
    assert wide.accepted.all()
    assert signguard(updates, seeded(), lower=0.9, upper=1.0).accepted.tolist() == [0] * 6


def signs(*counts):
    """Rows of 20 coordinates with so many ones, zeros, and minus ones for the rest."""
    rows = [[1.0] * p + [0.0] * z + [-1.0] * (20 - p - z) for p, z in counts]
    return torch.tensor(rows, dtype=torch.float64)


def test_signguard_keeps_the_largest_cluster_of_sign_shares():
    usual = [(14, 0), (15, 0), (14, 0), (13, 0), (14, 1)]
    for other in [(4, 0), (5, 0), (4, 0)], [(14, 6), (14, 5)], [(7, 7), (7, 7), (7, 6)], [(20, 0)]:
        updates = signs(*usual, *other)
        outcome = signguard(updates, seeded(), share=1.0, lower=0.0, upper=9.0)
        assert indices(outcome.accepted) == [0, 1, 2, 3, 4]
    # the larger of two, whoever is in it
    turned = -signs((14, 0), (14, 0), (3, 0), (3, 0), (3, 0))
    assert indices(signguard(turned, seeded(), share=1.0).accepted) == [2, 3, 4]


def test_signguard_keeps_all_clusters_that_are_the_largest():
    updates = signs((15, 0), (15, 0), (5, 0), (5, 0), (10, 0))
    kept = signguard(updates, seeded(), share=1.0).accepted
    assert indices(kept) == [0, 1, 2, 3]


def test_signguard_counts_signs_on_the_share_of_coordinates_it_draws():
    # 2 of 20 coordinates are looked at; only there do three clients differ
    chosen = torch.randperm(20, generator=seeded(3))[:2]
    updates = torch.ones(8, 20, dtype=torch.float64)
    updates[:3, chosen] = -1
    assert indices(signguard(updates, seeded(3)).accepted) == [3, 4, 5, 6, 7]
    unseen = torch.ones(8, 20, dtype=torch.float64)
    hidden = torch.randperm(20, generator=seeded(3))[2:]
    unseen[:3, hidden] = -1
    assert signguard(unseen, seeded(3)).accepted.all()


def test_signguard_sends_nothing_when_nobody_is_accepted():
    # the larger cluster by signs is that of the huge ones
    updates = torch.cat([1e-3 * signs((15, 0), (15, 0)), 1e3 * signs((2, 0), (2, 0), (2, 0))])
    outcome = signguard(updates, seeded(), share=1.0, upper=0.9, lower=0.5)
    assert not outcome.accepted.any()
    assert outcome.update.eq(0).all()


# pre-aggregators


@pytest.mark.parametrize(("n", "f"), [(1, 0), (2, 1), (5, 0), (7, 2), (10, 4), (9, 8)])
@pytest.mark.parametrize("seed", range(3))
def test_nnm_is_that_of_byzfl(byzfl, n, f, seed):
    updates = draw(n, 6, seed)
    mixture = nnm(updates, f)
    expected = byzfl.NNM(f)(updates.numpy())
    assert_close((mixture.mixing @ updates).numpy(), expected, **EXACT)
    assert mixture.row_of.tolist() == list(range(n))
    assert mixture.mixing.diagonal().gt(0).all()


def test_a_client_is_its_own_neighbour_before_its_copies_are():
    mixing = nnm(column(1, 1, 1, 1, 5), 3).mixing
    assert mixing.diagonal().tolist() == [0.5] * 5


@pytest.mark.parametrize(("n", "size"), [(1, 2), (6, 2), (7, 2), (10, 3), (5, 1), (4, 9), (11, 4)])
@pytest.mark.parametrize("seed", range(3))
def test_bucketing_is_that_of_byzfl_with_its_permutation(byzfl, n, size, seed):
    updates = draw(n, 6, seed).float()
    mixture = bucketing(updates, seeded(seed), size=size)
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    expected = byzfl.Bucketing(size)(updates)
    torch.set_rng_state(state)
    assert_close(mixture.mixing.float() @ updates, expected)
    counts = mixture.row_of.bincount()
    assert len(counts) == bucketing.leaves(n, size) == len(expected)
    assert counts[:-1].eq(size).all()
    for client, row in enumerate(mixture.row_of.tolist()):
        assert mixture.mixing[row, client] > 0


@pytest.mark.parametrize("radius", [0.5, 2.0, 100.0])
def test_norm_clip_is_that_of_byzfl(byzfl, radius):
    updates = draw(9, 6)
    expected = byzfl.Clipping(radius)(updates.numpy().copy())
    mixture = norm_clip(updates, radius=radius)
    assert_close((mixture.mixing @ updates).numpy(), expected, **EXACT)


def test_norm_clip_by_default_clips_to_the_midpoint_median():
    updates = column(-8, 2, 4, 1)
    assert (norm_clip(updates).mixing @ updates).flatten().tolist() == [-3, 2, 3, 1]
    zero = norm_clip(torch.zeros(3, 2))
    assert zero.mixing.isfinite().all()


# where the rules are defined


@pytest.mark.parametrize(
    ("rule", "n", "f", "options", "sentence"),
    [
        (
            multi_krum,
            3,
            1,
            {},
            "multi_krum needs n ≥ f + 3 clients, n ≥ 2 f + 3 if it is iterative",
        ),
        (multi_krum, 6, 2, {"iterative": True}, "multi_krum needs n ≥ f + 3 clients, n ≥ 2 f"),
        (bulyan, 6, 1, {}, "bulyan: bulyan needs n ≥ 4 f + 3 clients (n = 6, f = 1)"),
        (bulyan, 10, 2, {}, "bulyan: bulyan needs n ≥ 4 f + 3 clients (n = 10, f = 2)"),
        (nnm, 2, 2, {}, "nnm: nnm needs n > f clients (n = 2, f = 2)"),
        (dnc, 2, 2, {"generator": seeded()}, "dnc must not remove all n clients (n = 2, f = 2"),
    ],
)
def test_undefined_n_and_f_are_refused_and_one_client_more_is_not(rule, n, f, options, sentence):
    with pytest.raises(RequirementError, match=re.escape(sentence)):
        rule(torch.ones(n, 2), f, **options)
    rule(torch.ones(n + 1, 2), f, **options)


@pytest.mark.parametrize(
    ("rule", "options", "sentence"),
    [
        (multi_krum, {"m": 0}, "m must lie between 1 and n"),
        (multi_krum, {"m": 9}, "m must lie between 1 and n"),
        (multi_krum, {"m": 3, "iterative": True}, "m has no meaning if iterative"),
        (geometric_median, {"tolerance": 0.0}, "tolerance must be positive"),
        (geometric_median, {"max_steps": 0}, "max_steps must be at least 1"),
        (dnc, {"iterations": 0}, "iterations must be at least 1"),
        (dnc, {"subsample": 0}, "subsample must be at least 1"),
        (dnc, {"removed": -0.1}, "removed must not be negative"),
        (signguard, {"lower": 4.0}, "it must hold that 0 ≤ lower ≤ upper"),
        (signguard, {"lower": -0.1}, "it must hold that 0 ≤ lower ≤ upper"),
        (signguard, {"share": 0.0}, "share must lie in (0, 1]"),
        (signguard, {"share": 1.1}, "share must lie in (0, 1]"),
        (bucketing, {"size": 0}, "size must be at least 1"),
        (norm_clip, {"radius": 0.0}, "radius must be positive"),
    ],
)
def test_parameters_out_of_range_are_refused_with_a_sentence(rule, options, sentence):
    offers = {
        multi_krum: {"assumed_malicious": 1},
        dnc: {"assumed_malicious": 1, "generator": seeded()},
        signguard: {"generator": seeded()},
        bucketing: {"generator": seeded()},
    }
    with pytest.raises(RequirementError, match=re.escape(sentence)):
        rule(torch.ones(8, 2), **offers.get(rule, {}), **options)
